"""What can go wrong with the API, as a pure exception with all that is known of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from airflow_kling.api.inputs import InputFault


class FaultKind(StrEnum):
    """What a fault means for the caller; the error classes of DAG authors follow it one to one."""

    INPUT = "input"
    AUTH = "auth"
    ACCOUNT = "account"
    CONTENT = "content"
    ROUTE = "route"
    NOT_FOUND = "not-found"
    DUPLICATE = "duplicate"
    RATE = "rate"
    CONCURRENCY = "concurrency"
    SERVER = "server"
    CONNECTION = "connection"
    UNKNOWN = "submission-unknown"
    EXISTS = "exists"


class Created(StrEnum):
    """Whether a create that ended in a fault can have made a task, and so a bill."""

    NO = "no"
    MAY_EXIST = "may-exist"


@dataclass(frozen=True, slots=True)
class FaultInfo:
    """
    All that is known of a fault.

    :param kind: What it means.
    :param message: The vendor's own words, or ours where no answer came; redacted and bounded.
    :param code: Kling's business code, or a gateway's word; None where the answer held none.
    :param http_status: HTTP status of the answer; None where no answer came.
    :param request_id: The vendor's id of the request, for its support.
    :param created: Whether a create with this end can have made a task.
    :param retry_after: Seconds the server asks to wait, if it does.
    :param hint: What to do about it.
    """

    kind: FaultKind
    message: str
    code: int | str | None = None
    http_status: int | None = None
    request_id: str | None = None
    created: Created = Created.MAY_EXIST
    retry_after: float | None = None
    hint: str = ""


class ApiFault(Exception):
    """An answer that is no task, or no answer at all; :attr:`info` holds what is known."""

    def __init__(self, info: FaultInfo) -> None:
        super().__init__(info)
        self.info = info

    def __str__(self) -> str:
        info = self.info
        facts = {"code": info.code, "HTTP": info.http_status, "request id": info.request_id}
        known = ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)
        text = f"{info.message} ({known})" if known else info.message
        return f"{text}. {info.hint}" if info.hint else text

    def replace(self, **changes: Any) -> ApiFault:
        """Return the same fault with some facts changed."""
        return ApiFault(replace(self.info, **changes))


def api_fault_from_input(fault: InputFault) -> ApiFault:
    """Return a refused input as a fault that an event can carry."""
    return ApiFault(FaultInfo(FaultKind.INPUT, str(fault), created=Created.NO))
