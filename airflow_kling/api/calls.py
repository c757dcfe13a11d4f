"""The requests of the API as data, the same for both transports: create, query one, query a list; when to re-send."""

from __future__ import annotations

import random
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Protocol, TypeVar
from urllib.parse import quote, urlencode

from airflow_kling.api.codes import CODES
from airflow_kling.api.envelope import Answer, Page, parse_packs, parse_page, parse_task, parse_tasks
from airflow_kling.api.families import Family, get_family
from airflow_kling.api.faults import Created, FaultInfo, FaultKind
from airflow_kling.api.gateways import GATEWAYS, Account
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.models import Pack, Task

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 30.0
READ_TIMEOUT_PER_MB = 4.0
"""Seconds; a gateway reads the whole picture before it answers."""

MAX_ANSWER_BYTES = 1024 * 1024
MAX_LIST_BYTES = 8 * 1024 * 1024
MAX_PAGE_SIZE = 500
MAX_PAGE = 1000

PROBE_TASK_ID = "airflow-kling-connection-test"
"""The id of a task that does not exist: asking for it is free, and tells a missing route from a missing task."""

PACKS_BACK = 400 * 86_400
"""Seconds within which a resource pack was bought that may be in force: the longest lasts a year."""

ATTEMPTS = 4
FIRST_DELAY = 1.0
MAX_DELAY = 30.0

T = TypeVar("T")


class TaskRequest(Protocol):
    """A checked request of any family."""

    @property
    def family(self) -> Family: ...

    @property
    def external_task_id(self) -> str | None: ...

    @property
    def slots(self) -> int: ...

    @property
    def units(self) -> float | None: ...

    @property
    def price(self) -> float | None: ...

    def body(self, down_ratio_field: str = ...) -> bytes: ...

    def parameters(self) -> dict[str, object]: ...


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """
    One HTTP request, and what makes sense of its answer.

    :param parse: From the answer to what was asked; raises ApiFault.
    :param body: JSON of a ``POST``.
    :param max_answer_bytes: Where reading an answer is broken off.
    """

    method: str
    url: str
    parse: Callable[[Answer], T] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    max_answer_bytes: int = MAX_ANSWER_BYTES

    @property
    def read_timeout(self) -> float:
        """Seconds to wait for the answer."""
        return READ_TIMEOUT + READ_TIMEOUT_PER_MB * len(self.body or b"") / 1e6

    @property
    def headers(self) -> dict[str, str]:
        """Headers beside the authorization."""
        headers = {"Accept": "application/json"}
        return headers if self.body is None else headers | {"Content-Type": "application/json"}


def create_call(account: Account, request: TaskRequest) -> Call[Task]:
    """Return the call that makes a task, and a bill."""
    body = request.body(account.down_ratio_field)
    return Call("POST", account.url(request.family.route), partial(parse_task, request.family), body)


def query_call(account: Account, family: str, task_id: str) -> Call[Task]:
    """Return the call that asks for one task, by either of its ids."""
    row = get_family(family)
    if not isinstance(task_id, str) or task_id.strip() in ("", ".", ".."):
        raise InputFault("task_id", task_id, "the id of a task", "pass the task_id that the submitting step returned")
    return Call("GET", account.url(row.route, quote(task_id.strip(), safe="")), partial(parse_task, row))


def list_call(account: Account, family: str, page: int, page_size: int) -> Call[list[Task]]:
    """Return the call that asks for a page of tasks, newest first."""
    return _page_call(account, family, page, page_size, parse_tasks)


def page_call(account: Account, family: str, page: int, wanted: Container[str]) -> Call[Page]:
    """Return the call that asks for a whole page of tasks and reads those that are wanted."""
    return _page_call(account, family, page, MAX_PAGE_SIZE, partial(parse_page, wanted=wanted))


def _page_call(
    account: Account, family: str, page: int, page_size: int, parse: Callable[[Family, Answer], T]
) -> Call[T]:
    row = get_family(family)
    for name, value, most in (("page", page, MAX_PAGE), ("page_size", page_size, MAX_PAGE_SIZE)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise InputFault(name, value, f"a whole number from 1 to {most:,}", "correct it")
    query = urlencode({"pageNum": page, "pageSize": page_size})
    url = f"{account.url(row.route)}?{query}"
    return Call("GET", url, partial(parse, row), max_answer_bytes=MAX_LIST_BYTES)


def packs_call(account: Account, now: float) -> Call[list[Pack]] | None:
    """
    Return the call that asks for the account's resource packs, None where the gateway documents none.

    :param now: Seconds since the epoch; packs are found by the time they were bought.
    """
    route = GATEWAYS[account.gateway].packs_route
    if route is None:
        return None
    query = urlencode({"start_time": int((now - PACKS_BACK) * 1000), "end_time": int(now * 1000)})
    return Call("GET", f"{account.base_url}/{route}?{query}", parse_packs)


def may_resend(method: str, info: FaultInfo, attempt: int, *, token_renewable: bool) -> bool:
    """
    Return whether the same request may be sent again at once by the transport.

    A read may whenever the fault passes by itself. A create may only where nothing can have been accepted: never
    reached, or refused for a token that a new one replaces.

    :param attempt: How many were made, from 1.
    :param token_renewable: Whether a new token can differ from the refused one.
    """
    row = CODES.get(info.code) if info.code is not None else None
    if row is not None and row.fresh_token:
        return attempt == 1 and token_renewable
    if attempt >= ATTEMPTS or (info.retry_after or 0) > MAX_DELAY:
        return False
    if method == "GET":
        return info.kind in (FaultKind.SERVER, FaultKind.CONNECTION, FaultKind.RATE, FaultKind.CONCURRENCY)
    return info.kind is FaultKind.CONNECTION and info.created is Created.NO


def resend_delay(info: FaultInfo, attempt: int, uniform: Callable[[float, float], float] = random.uniform) -> float:
    """
    Return the seconds to wait before the next attempt: what the server asks, else doubling with jitter.

    :param attempt: How many were made, from 1.
    """
    if info.retry_after is not None:
        return info.retry_after + uniform(0, 0.5)
    ceiling = min(FIRST_DELAY * 2 ** (attempt - 1), MAX_DELAY)
    return uniform(ceiling / 2, ceiling)
