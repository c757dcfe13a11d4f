"""The route that takes Kling's callbacks: without login, by its token; what they say is looked up before it counts."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from airflow.configuration import conf
from airflow.exceptions import AirflowConfigException
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.providers.common.compat.sdk import mask_secret
from airflow.triggers.base import TriggerEvent
from airflow.utils.session import create_session
from airflow.utils.sqlalchemy import with_row_locks
from airflow.utils.state import TaskInstanceState
from anyio import CapacityLimiter, to_thread
from sqlalchemy import select

from airflow_kling.api.callback import (
    ROUTE,
    Addressee,
    check_callback_secret,
    hints_at_end,
    is_token,
    verify_signature,
)
from airflow_kling.api.faults import ApiFault
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.redact import reason_of
from airflow_kling.hooks.kling import KlingHook
from airflow_kling.lifecycle.end import end_of
from airflow_kling.lifecycle.wait import Outcome, Wait
from airflow_kling.triggers.kling import KlingTaskTrigger

log = logging.getLogger(__name__)

MAX_BODY = 256 * 1024
BODY_SECONDS = 10.0

LOOKS_AT_A_TIME = 4
MAX_ATTENDED = 2_000
GAP = 2.0
"""Seconds between two looks at one task instance, whatever is posted."""
LOOKS = 3
"""For one callback, where the task has not ended when it is asked for: a query may lag behind."""

QUIET = 10.0
"""Seconds in which refusals of one kind are counted, and not logged each."""

_PATH = re.compile(r"/callbacks/([^/]{1,250})/([^/]{1,250})/([^/]{1,250})/(-1|\d{1,9})/(?P<token>[^/]{1,64})\Z")
_HEADERS = [
    (b"content-length", b"0"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'"),
]


class Refusal(Exception):
    """
    A callback that is not taken.

    :param reason: For the log; nothing that a stranger chose.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Tally:
    """Logs the first of its kind at once, and how many followed when some seconds have passed."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def tell(self, kind: str, example: str = "") -> None:
        """
        Count one.

        :param kind: One of few.
        """
        if kind in self._counts:
            self._counts[kind] += 1
            return
        self._counts[kind] = 0
        log.warning("%s%s", kind, f", {example}" if example else "")
        asyncio.get_running_loop().call_later(QUIET, self._flush, kind)

    def _flush(self, kind: str) -> None:
        if more := self._counts.pop(kind):
            log.warning("%s: %d more in %.0f s", kind, more, QUIET)


class Looks:
    """
    Looks at what callbacks hint at, in threads: few at a time, and at each task instance at most once in some seconds.

    :param look: Looks at one; returns whether another look is worth it.
    :param gap: Seconds between two looks at the same.
    """

    def __init__(self, look: Callable[[Addressee], bool], gap: float = GAP) -> None:
        self._look = look
        self._gap = gap
        self._left: dict[Addressee, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._limiter: CapacityLimiter | None = None
        self.tally = Tally()

    def __len__(self) -> int:
        return len(self._left)

    def begin(self, addressee: Addressee) -> bool:
        """
        Look at a task instance soon; returns whether there is room to remember it.

        :param addressee: Of a callback whose token is right.
        """
        if addressee in self._left:
            self._left[addressee] = LOOKS
            return True
        if len(self._left) >= MAX_ATTENDED:
            return False
        self._left[addressee] = LOOKS
        task = asyncio.get_running_loop().create_task(self._attend(addressee))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _attend(self, addressee: Addressee) -> None:
        # Not before a loop runs.
        self._limiter = self._limiter or CapacityLimiter(LOOKS_AT_A_TIME)
        try:
            while self._left[addressee] > 0:
                before = self._left[addressee] = self._left[addressee] - 1
                try:
                    again = await to_thread.run_sync(
                        self._look, addressee, limiter=self._limiter, abandon_on_cancel=True
                    )
                except Exception as error:
                    # Whatever the database, a secrets backend or the gateway raises: polls go on.
                    self.tally.tell(
                        "A Kling task could not be looked at after its callback, polls go on",
                        reason_of(error),
                    )
                    again = True
                if not again and self._left[addressee] == before:
                    self._left[addressee] = 0
                await asyncio.sleep(self._gap)
        finally:
            del self._left[addressee]


class Callbacks:
    """
    The ASGI application: one route, which takes callbacks, and answers before it acts.

    :param secret: What the tokens were made with; without one there is no route.
    :param signing_secret: What Kling signs with; without one no signature is asked for.
    """

    def __init__(self, secret: str, signing_secret: str, looks: Looks) -> None:
        self._secret = secret
        self._signing_secret = signing_secret
        self._looks = looks

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        match = _PATH.search(scope["path"])
        # Airflow logs each request by what stands here when it is answered, and a token is not to be logged.
        shown = scope["path"][: match.start("token")] if match else f"{ROUTE}/"
        scope["path"] = f"{shown}***"
        scope["raw_path"] = quote(scope["path"]).encode()
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        status, headers = 202, _HEADERS
        try:
            await self._take(match, scope, receive)
        except Refusal as refusal:
            kind = f"Refused Kling callbacks with {refusal.status}: {refusal.reason}"
            self._looks.tally.tell(kind, repr(scope["path"][:500]))
            # What is left of the body is not read.
            status, headers = refusal.status, [*_HEADERS, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body"})

    async def _take(self, match: re.Match[str] | None, scope: Any, receive: Any) -> None:
        """Refuse a callback, or begin to look at what it hints at."""
        if not self._secret or match is None:
            raise Refusal(404, "no such route" if self._secret else "[kling] callback_secret is not set")
        if scope["method"] != "POST":
            raise Refusal(405, "not posted")
        dag_id, run_id, task_id, map_index, token = match.groups()
        addressee = Addressee(dag_id, run_id, task_id, int(map_index))
        if not is_token(token, self._secret, addressee):
            raise Refusal(403, "the token is not that of the task instance")
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        body = await _read(headers, receive)
        try:
            if self._signing_secret:
                verify_signature(self._signing_secret, headers, body)
        except ApiFault:
            raise Refusal(403, "the signature or its time is not right") from None
        try:
            ended = hints_at_end(body)
        except ApiFault:
            raise Refusal(400, "the body is no task") from None
        if ended and not self._looks.begin(addressee):
            raise Refusal(503, "too many wait to be looked at")


async def _read(headers: dict[str, str], receive: Any) -> bytes:
    if int(headers.get("content-length", 0)) > MAX_BODY:
        raise Refusal(413, "the body is too large")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refusal(400, "the body was not sent to its end")
                body += message.get("body", b"")
                if len(body) > MAX_BODY:
                    raise Refusal(413, "the body is too large")
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        raise Refusal(408, "the body did not come") from None


def make_callbacks() -> Callbacks:
    """Return the application, as Airflow's configuration wants it: closed where that cannot be meant."""
    try:
        secret = conf.get("kling", "callback_secret", fallback="") or ""
        signing_secret = conf.get("kling", "callback_signing_secret", fallback="") or ""
    except AirflowConfigException:
        # Of a command or a secrets backend: it may tell the secret, and the API server shows more than our page.
        log.error("Kling's callbacks are all refused: a callback secret cannot be read. Correct [kling], and restart")
        return Callbacks("", "", Looks(look))
    for told in filter(None, (secret, signing_secret)):
        mask_secret(told)
    try:
        if secret:
            check_callback_secret(secret)
        if signing_secret:
            _check_signing(signing_secret)
    except (InputFault, ImportError) as error:
        log.error("Kling's callbacks are all refused: %s", error)
        secret = ""
    return Callbacks(secret, signing_secret, Looks(look))


def _check_signing(secret: str) -> None:
    try:
        verify_signature(secret, {}, b"")
    except ImportError:
        raise ImportError(
            "pip install 'airflow-provider-kling[callback]' for [kling] callback_signing_secret"
        ) from None
    except ApiFault:
        pass  # it is a secret, and nothing was signed


# --- what a callback leads to: in a thread, with the trigger's own connection and id, whatever the body says ----------


def look(addressee: Addressee) -> bool:
    """Wake a task instance that waits for a Kling task, if that has ended; returns whether another look is worth it."""
    waiting = _waiting(addressee)
    if waiting is None:
        return False
    trigger_id, trigger = waiting
    client = KlingHook(trigger.kling_conn_id).client
    with client.session:
        task = client.get_task(trigger.kling_task_id, trigger.family, resend=False)
    wait = Wait(trigger.kling_task_id, poll_interval=trigger.poll_interval, deadline=trigger.deadline)
    decision = wait.on_task(task, time.time())
    if decision.outcome not in (Outcome.SUCCEEDED, Outcome.FAILED):
        return True
    end = end_of(decision, trigger.kling_task_id, trigger.family, trigger.kling_conn_id)
    if _wake(addressee, trigger_id, end.payload()):
        told = "Kling task %s has %s: its callback has woken DAG %s, run %s, task %s, map index %d"
        log.info(told, end.task_id, end.outcome.value, *addressee)
    return False


def _waiting(addressee: Addressee) -> tuple[int, KlingTaskTrigger] | None:
    """Return the trigger that a task instance is deferred on, None where it is on none that watches a task."""
    with create_session() as session:
        row = session.scalar(
            select(Trigger).join(TaskInstance, TaskInstance.trigger_id == Trigger.id).where(*_is_deferred(addressee))
        )
        if row is None or row.classpath != f"{KlingTaskTrigger.__module__}.{KlingTaskTrigger.__qualname__}":
            return None
        return row.id, KlingTaskTrigger(**row.kwargs)


def _wake(addressee: Addressee, trigger_id: int, payload: dict[str, Any]) -> bool:
    """Let a task instance go on as the triggerer would; returns whether it still was on that trigger."""
    with create_session() as session:
        still = select(TaskInstance.id).where(*_is_deferred(addressee), TaskInstance.trigger_id == trigger_id)
        if session.scalar(with_row_locks(still, session=session)) is None:
            return False
        Trigger.submit_event(trigger_id, TriggerEvent(payload), session=session)
    return True


def _is_deferred(addressee: Addressee) -> list[Any]:
    names = addressee._asdict().items()
    return [
        TaskInstance.state == TaskInstanceState.DEFERRED,
        *(getattr(TaskInstance, name) == at for name, at in names),
    ]
