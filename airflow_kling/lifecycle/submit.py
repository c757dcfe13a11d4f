"""Exactly-once submission: intent before the create, id after it, and every unclear outcome resolved before another."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from airflow_kling.api.calls import TaskRequest
from airflow_kling.api.faults import ApiFault, Created, FaultInfo, FaultKind
from airflow_kling.api.models import Task, TaskStatus
from airflow_kling.api.redact import reason_of
from airflow_kling.lifecycle.client import Client
from airflow_kling.lifecycle.lookup import CannotTell, look_up
from airflow_kling.lifecycle.record import Record, Records, Stage

RESULT_LIFETIME = 30 * 86_400.0
"""Seconds that Kling keeps results ("cleared after 30 days")."""

RUNS = 3
"""How often the record is read again where another process of the same task writes it."""

RESEND_DELAYS = (2.0, 4.0)
"""Seconds before a create is sent again, once it is known that the last one made nothing."""

_LOOK_UP_HINT = "No other was sent. The next try, or a clear, looks again before it sends one"
_STOPPED = "an earlier try was stopped between sending the create and knowing its end"


class OnExisting(StrEnum):
    """What a rerun or a clear does with the task that an earlier one made."""

    REATTACH = "reattach"
    RESUBMIT = "resubmit"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Work:
    """
    What is to be made once.

    :param external_id: The id for an epoch and a generation.
    :param build: The checked request with that id.
    :param fingerprint: What would change the picture; read only when it is needed.
    :param conn_ids: The connection, and those to fall back to where it lacks the route.
    :param epoch: Number of tries before the user's last clear: 0 until one, and higher after each.
    :param retried: Whether an earlier try of this epoch may have submitted.
    :param source_size: Width and height in pixels of the picture that a reframing was planned for.
    :param origin: The task instance that it is made for: DAG, run, task, map index.
    """

    family: str
    external_id: Callable[[int, int], str]
    build: Callable[[str], TaskRequest]
    fingerprint: Callable[[], str]
    conn_ids: tuple[str, ...]
    epoch: int = 0
    retried: bool = False
    on_existing: OnExisting = OnExisting.REATTACH
    source_size: tuple[int, int] | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Submitted:
    """
    A task that exists.

    :param is_new: Whether its id was not known before: it was made now, or by an earlier try that did not live to tell.
    """

    task: Task
    kling_conn_id: str
    is_new: bool = False


class Submission:
    """Makes the task of one piece of work, or finds the one that was made."""

    def __init__(
        self,
        work: Work,
        records: Records,
        client_for: Callable[[str], Client],
        log: logging.Logger,
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._work = work
        self._records = records
        self._client_for = client_for
        self._log = log
        self._now = now
        self._sleep = sleep
        #: The connection of the last create, and the external id of one that may be under way.
        self.kling_conn_id = work.conn_ids[0]
        self.in_flight = ""
        #: The record as this process last read or wrote it: another process of the same task may write it, too.
        self._seen: Record | None = None
        self._unsent: Record | None = None
        #: The id of a task that only an intent was known of.
        self._learned = ""

    def run(self) -> Submitted:
        """
        Return the task, made now or before.

        :raises ApiFault: of kind ``concurrency`` or ``rate`` where the account is busy and nothing was made; of kind
            ``submission-unknown`` where nothing can tell whether a task exists; of kind ``exists`` where
            ``on_existing="fail"`` meets one; of any other kind where none was made, or where ``created`` says so.
        """
        for _ in range(RUNS):
            self._unsent = None
            self._seen = self._records.load()
            try:
                return self._run(self._seen or self._unrecorded())
            except _Changed:
                self._log.info("The record was changed by another process of this task: it is read again")
        raise _busy_record()

    def _run(self, record: Record | None) -> Submitted:
        while record is not None:
            if self._is_new_request(record):
                if record.stage is Stage.INTENT:
                    self._log.warning("%s; on_existing='resubmit' goes on regardless", _STOPPED)
                return self._create_next(record)
            if record.stage is Stage.SUBMITTED:
                return self._take_up(record)
            task = self._resolve(record) if record.stage is Stage.INTENT else None
            if task is not None:
                self._learned = task.task_id
                return self._judge(task, replace(record, stage=Stage.SUBMITTED, task_id=task.task_id))
            if record.earlier is None:
                return self._create(record.generation, record.external_task_id)
            self._unsent, record = record, record.earlier
        return self._create(generation=0)

    # -- what an earlier try or run left -------------------------------------------------------------------------

    def _is_cleared(self, record: Record) -> bool:
        return self._work.epoch > record.epoch

    def _is_new_request(self, record: Record) -> bool:
        return self._work.on_existing is OnExisting.RESUBMIT and self._is_cleared(record)

    def _take_up(self, record: Record) -> Submitted:
        """Go on from a task that was made."""
        if self._is_cleared(record) and self._work.on_existing is OnExisting.FAIL:
            raise _exists(record.task_id or record.external_task_id, self._work.family)
        task = self._ask(record)
        if task is None:
            return self._create_next(record)
        return self._judge(task, record)

    def _judge(self, task: Task, record: Record) -> Submitted:
        """Decide on a task that exists: rejoin it, or make the next generation."""
        cleared = self._is_cleared(record)
        if cleared and self._work.on_existing is OnExisting.FAIL:
            raise _exists(task.task_id, task.family)
        anew = self._reason_for_another(task, record) if cleared else ""
        if anew:
            self._log.info("Kling task %s %s: another is made", task.task_id, anew)
            return self._create_next(record)
        # Not read again by the same try, which goes on after a deferral: it would be asked for at every step.
        if not cleared and self._work.retried and self._made_from_another_input(record):
            self._log.warning(
                "Kling task %s was made from another input; it counts for this run all the same. Clear the task to "
                "have one made from the input of now",
                task.task_id,
            )
        self._log.info(
            "Kling task %s (%s) rejoined, it is %s; no other is made", task.task_id, task.family, task.status.value
        )
        return self._remember(replace(record, epoch=self._work.epoch), task)

    def _reason_for_another(self, task: Task, record: Record) -> str:
        if task.status is TaskStatus.FAILED:
            return "had failed"
        if task.status is TaskStatus.SUCCEEDED and self._now() - _ended_at(task, record) > RESULT_LIFETIME:
            return "has expired"
        return "was made from another input" if self._made_from_another_input(record) else ""

    def _made_from_another_input(self, record: Record) -> bool:
        if not record.fingerprint:
            return False
        try:
            return record.fingerprint != self._work.fingerprint()
        except Exception as error:
            # Whatever reading the source raises: a task that is paid is not lost because its source is.
            self._log.warning("The input cannot be read any more: %s", reason_of(error))
            return False

    def _ask(self, record: Record) -> Task | None:
        """Return the recorded task; None where it has expired and the task was cleared since."""
        client = self._client_for(record.kling_conn_id)
        try:
            return client.get_task(record.task_id or record.external_task_id, self._work.family)
        except ApiFault as fault:
            # A young one that is not known was made by another account: no reason to pay again.
            expired = fault.info.kind is FaultKind.NOT_FOUND and self._now() - record.at > RESULT_LIFETIME
            if not expired or not self._is_cleared(record):
                message = f"Kling task {record.task_id} was made, and asking for it failed: {fault.info.message}"
                raise fault.replace(message=message, created=Created.MAY_EXIST) from None
        self._log.info("Kling task %s has expired: another is made", record.task_id)
        return None

    def _resolve(self, record: Record) -> Task | None:
        """Return the task of an intent; None where certainly none was made."""
        client = self._client_for(record.kling_conn_id)
        task = self._settle(client, record, _STOPPED)
        if task is None:
            self._log.info("No Kling task has the id %s: the create is sent again", record.external_task_id)
        return task

    def _unrecorded(self) -> Record | None:
        """Return the record of a task that only the gateway remembers, None where nothing can have been made."""
        work = self._work
        resubmits = work.on_existing is OnExisting.RESUBMIT
        cleared = work.epoch > 0 and not resubmits and not self._records.survive_clear
        retried = work.retried and not self._records.durable
        if not cleared and not retried:
            return None
        found: Record | None = None
        for generation in range(1 if resubmits else work.epoch + 1):
            external_id = self._external_id(generation)
            located = self._locate(external_id)
            if located is None:
                break
            conn_id, task = located
            # Its epoch and input are not known: it counts as made from this input, and by an earlier try if there was
            # one, for then a failure is told and not paid for again.
            epoch = work.epoch if resubmits or work.retried else work.epoch - 1
            found = Record(Stage.SUBMITTED, external_id, conn_id, "", epoch, generation, self._now(), task.task_id)
            if task.status is not TaskStatus.FAILED:
                break
        return found

    def _locate(self, external_id: str) -> tuple[str, Task] | None:
        """Ask every connection that may have been used for the id."""
        blind: Client | None = None
        for conn_id in self._work.conn_ids:
            client = self._client_for(conn_id)
            try:
                task = self._look_up(client, external_id, None)
            except CannotTell:
                blind = blind or client
                continue
            if task is not None:
                return conn_id, task
        if blind is not None:
            what = "an earlier try or run may have submitted a task, and no record tells whether it did"
            raise _unknown(what, external_id, blind)
        return None

    # -- making one ----------------------------------------------------------------------------------------------

    def _create_next(self, record: Record) -> Submitted:
        """Make the task after one that stands: its id is taken."""
        lost = self._unsent
        if lost is not None and not self._is_new_request(lost):
            # Under the id of the lost create, whatever the parameters say now: should it arrive yet, one is refused.
            return self._create(lost.generation, lost.external_task_id, earlier=_standing(record))
        return self._create(record.generation + 1, earlier=_standing(record))

    def _create(self, generation: int, external_id: str = "", earlier: Record | None = None) -> Submitted:
        """Send the create over the first connection that has the route."""
        work = self._work
        external_id = external_id or self._external_id(generation)
        *first, last = work.conn_ids
        try:
            for conn_id in work.conn_ids:
                self._client_for(conn_id)  # one that cannot be used is refused before anything is sent
            request = work.build(external_id)
        except Exception:
            if self._seen is None:
                # Tells a later clear that nothing was sent; the place may be what is refused.
                with contextlib.suppress(Exception):
                    self._write(Record(Stage.REFUSED, external_id, last, "", work.epoch, generation, self._now()))
            raise
        intent = Record(
            stage=Stage.INTENT,
            external_task_id=external_id,
            kling_conn_id=last,
            fingerprint=work.fingerprint(),
            epoch=work.epoch,
            generation=generation,
            at=self._now(),
            earlier=earlier,
            source_size=work.source_size,
            family=work.family,
            origin=work.origin,
        )
        for conn_id in first:
            try:
                return self._create_over(request, replace(intent, kling_conn_id=conn_id))
            except ApiFault as fault:
                if fault.info.kind is not FaultKind.ROUTE or fault.info.created is not Created.NO:
                    raise
                self._log.warning("Connection %s lacks the route (%s): the next one is used", conn_id, fault)
        return self._create_over(request, intent)

    def _create_over(self, request: TaskRequest, intent: Record) -> Submitted:
        client = self._client_for(intent.kling_conn_id)
        self.kling_conn_id = intent.kling_conn_id
        for delay in (*RESEND_DELAYS, None):
            intent = replace(intent, at=self._now())
            self._intend(intent)
            self.in_flight = intent.external_task_id
            try:
                task = client.submit(request)
            except ApiFault as fault:
                made = self._after_fault(fault, client, intent, is_first=delay == RESEND_DELAYS[0])
                if made is not None:
                    return self._remember(intent, made)
                if delay is None:
                    raise fault  # the intent stays: one of the creates may arrive yet
                self._sleep(delay)
            else:
                self._log.info(
                    "Kling task %s (%s) submitted to %s, external id %s: %s",
                    task.task_id,
                    task.family,
                    client.account.gateway,
                    intent.external_task_id,
                    estimate_text(request),
                )
                return self._remember(intent, task)
        raise AssertionError("the last delay is None")

    def _after_fault(self, fault: ApiFault, client: Client, intent: Record, *, is_first: bool) -> Task | None:
        """Return the task that a failed create made after all; None where it may be sent again."""
        kind, created = fault.info.kind, fault.info.created
        if kind is not FaultKind.DUPLICATE and created is Created.NO:
            if is_first:
                self._refuse(intent)
                self.in_flight = ""
            # Behind an unclear sending the intent stays, and no other connection is tried.
            raise fault if is_first or kind is not FaultKind.ROUTE else fault.replace(created=Created.MAY_EXIST)
        what = f"the create ended in: {fault.info.message}"
        task = self._settle(client, intent, what)
        if task is not None:
            self._log.info("Kling task %s was made although %s; it is rejoined", task.task_id, what)
        elif kind is FaultKind.DUPLICATE:
            raise _unknown(what, intent.external_task_id, client)
        return task

    def _settle(self, client: Client, intent: Record, what: str) -> Task | None:
        """Return the task of an unclear create, None where certainly none was made; raise where that stays unclear."""
        try:
            return self._look_up(client, intent.external_task_id, intent.at)
        except CannotTell:
            raise _unknown(what, intent.external_task_id, client) from None
        except ApiFault as fault:
            # Of the look-up, not of the create: nothing about the create is settled.
            message = (
                f"a Kling task with the id {intent.external_task_id} may exist and be billed, for {what}; looking for "
                f"it failed: {fault.info.message}"
            )
            raise fault.replace(message=message, created=Created.MAY_EXIST, hint=_LOOK_UP_HINT) from None

    def _look_up(self, client: Client, external_id: str, since: float | None) -> Task | None:
        return look_up(client, self._work.family, external_id, since, now=self._now, sleep=self._sleep)

    def _intend(self, intent: Record) -> None:
        """Save the intent, unless another process of this task has written the record since it was read."""
        current = self._records.load()
        if current is not None and current.epoch > intent.epoch:
            raise _overtaken(intent)
        if current != self._seen:
            raise _Changed
        self._write(intent)

    def _refuse(self, intent: Record) -> None:
        """Save that the create certainly made nothing, unless another process has written the record since."""
        if self._records.load() == intent:
            self._write(replace(intent, stage=Stage.REFUSED))

    def _remember(self, record: Record, task: Task) -> Submitted:
        """Save the task's id; a store that fails now does not lose a task that is paid."""
        known = replace(record, stage=Stage.SUBMITTED, task_id=task.task_id, earlier=None)
        for delay in (*RESEND_DELAYS, None):
            try:
                current = self._records.load()
                if current is None or current == self._seen:
                    self._write(known)
            except Exception as error:  # whatever a storage raises
                reason = reason_of(error)
                self._log.warning("Kling task %s exists, but its record could not be saved: %s", task.task_id, reason)
                if delay is not None:
                    self._sleep(delay)
            else:
                if current is not None and current.epoch > known.epoch:
                    raise _overtaken(known)
                break
        is_new = record.stage is Stage.INTENT or task.task_id == self._learned
        return Submitted(task, record.kling_conn_id, is_new)

    def _write(self, record: Record) -> None:
        self._records.save(record)
        self._seen = record if self._records.durable else None

    def _external_id(self, generation: int) -> str:
        epoch = self._work.epoch if self._work.on_existing is OnExisting.RESUBMIT else 0
        return self._work.external_id(epoch, generation)


def estimate_text(request: TaskRequest) -> str:
    """Return what a request will cost by Kling's price list, in words."""
    if request.units is None or request.price is None:
        return "no list price is known"
    unit = "unit" if request.units == 1 else "units"
    return f"{request.units:g} {unit}, ${request.price:.3f} at Kling's list price"


class _Changed(Exception):
    """Another process of this task has written the record since this one read it."""


def is_pressure(fault: ApiFault) -> bool:
    """Return whether a create was refused because the account is busy: nothing was made, and waiting helps."""
    return fault.info.kind in (FaultKind.RATE, FaultKind.CONCURRENCY) and fault.info.created is Created.NO


def _standing(record: Record) -> Record | None:
    """Return the last task that is known to have been made."""
    return replace(record, earlier=None) if record.stage is Stage.SUBMITTED else record.earlier


def _ended_at(task: Task, record: Record) -> float:
    moment = task.updated_at or task.created_at
    return moment.timestamp() if moment else record.at


def _exists(task_id: str, family: str) -> ApiFault:
    return ApiFault(
        FaultInfo(
            FaultKind.EXISTS,
            f'Kling task {task_id} ({family}) was made before this task was cleared; on_existing="fail" stops here',
            created=Created.NO,
            hint='Nothing was sent. Use on_existing="reattach" to take it, or "resubmit" to pay for another',
        )
    )


def _busy_record() -> ApiFault:
    return ApiFault(
        FaultInfo(
            FaultKind.CONNECTION,
            "another process of this task keeps writing its record",
            created=Created.MAY_EXIST,
            hint="The next try takes up what the other one made",
        )
    )


def _overtaken(record: Record) -> ApiFault:
    made = f"it made the Kling task {record.task_id}, which is billed" if record.task_id else "nothing was sent"
    return ApiFault(
        FaultInfo(
            FaultKind.EXISTS,
            f"this process was overtaken: the task has been cleared and started anew since; {made}",
            created=Created.NO,
        )
    )


def _unknown(what: str, external_id: str, client: Client) -> ApiFault:
    account = client.account
    return ApiFault(
        FaultInfo(
            FaultKind.UNKNOWN,
            f"a task may exist and may have been billed: {what}, and the gateway {account.gateway} at "
            f"{account.base_url} cannot be asked for it by its external id {external_id}",
            hint=(
                "Look for that id, or for a task of that minute, in the gateway's console. If there is one, watch it "
                "with KlingTaskSensor(kling_task_id=…). If there is none, or a second one may be paid, set "
                'on_existing="resubmit" and clear the task. No retry is made by itself'
            ),
        )
    )
