"""The emulator's account books: tasks, slots, units, faults and the ledger, told by a clock; one lock, no server."""

from __future__ import annotations

import heapq
import secrets
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from threading import RLock
from typing import Any

from airflow_kling.api.families import Family, OutputKind
from airflow_kling.emulator.clock import Clock, milliseconds
from airflow_kling.emulator.faults import Effect, Fault, FaultBook, Place, Stage, Subject
from airflow_kling.emulator.orders import FoundClip, MadeOutput, Order
from airflow_kling.emulator.refusals import Refusal, unknown_task
from airflow_kling.emulator.settings import RESULT_LIFETIME, Dialect, EmulatorSettings

SUBMITTED_SHARE = 0.25
MAX_SUBMITTED = 1.0
"""A task counts as submitted for a quarter of the latency, at most one second, then as processing."""

FAIL_MESSAGE = "Failure to pass the risk control system"
UNKNOWN_WORD = "archived"

CLIP_MARK = "-clip-"
"""Stands in a clip's id between its task's id and its number."""

SUBMITTED, PROCESSING, SUCCEED, FAILED = "submitted", "processing", "succeed", "failed"


@dataclass(slots=True)
class _Record:
    """A task as the emulator knows it; what it counts as follows from this and the clock."""

    task_id: str
    counter: int
    account: str
    order: Order
    created: float
    ready: float
    fate: Effect | None
    outputs: tuple[MadeOutput, ...] | None = None
    failure: str | None = None
    overdue: bool = False
    ended: float | None = None

    @property
    def is_made(self) -> bool:
        return self.outputs is not None or self.failure is not None or self.fate is not None

    @property
    def end_word(self) -> str:
        if self.fate is Effect.UNKNOWN_WORD:
            return UNKNOWN_WORD
        return FAILED if self.fate is Effect.FAIL or self.failure is not None else SUCCEED

    @property
    def subject(self) -> Subject:
        return Subject(self.account, self.order.external_task_id, self.order.prompt, self.task_id)


@dataclass(frozen=True, slots=True)
class TaskView:
    """
    A task at one moment.

    :param word: The status as the wire says it.
    :param created_at: Milliseconds.
    :param updated_at: Milliseconds.
    :param outputs: What it made; empty until it succeeded.
    :param expires: Seconds since the epoch at which its links end.
    """

    task_id: str
    order: Order
    word: str
    message: str
    created_at: int
    updated_at: int
    outputs: tuple[MadeOutput, ...]
    expires: float
    subject: Subject


@dataclass(frozen=True, slots=True)
class Accepted:
    """
    A create that made a task.

    :param number: Counts the tasks from 1; starts again at a reset.
    :param needs_outputs: Whether outputs are to be made; not for tasks that an injected fault ends otherwise.
    :param fault: What keeps the client from learning of it, if anything does.
    """

    task: TaskView
    number: int
    needs_outputs: bool
    fault: Fault | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRow:
    """
    One create in the ledger.

    :param at: Milliseconds.
    :param account: Who asked; None where that was not known.
    :param dialect: Prefix of the path.
    :param outcome: ``accepted`` or ``refused``.
    :param code: Kling's code: 0 for accepted, None where no answer had one.
    :param n: Outputs asked for; 0 where that was not known.
    :param units: What it costs by the list price once it succeeds.
    :param fault: Names of the injected faults, joined by ``+``.
    """

    at: int
    account: str | None
    dialect: str
    family: str
    external_task_id: str | None
    task_id: str | None = None
    outcome: str = "refused"
    code: int | str | None
    n: int
    units: float = 0.0
    fault: str | None
    note: str


@dataclass(slots=True)
class _Books:
    """Everything that a reset forgets, but the clock and the faults."""

    run: str = field(default_factory=lambda: secrets.token_hex(4))
    counter: int = 0
    tasks: dict[str, _Record] = field(default_factory=dict)
    by_external_id: dict[tuple[str, str], _Record] = field(default_factory=dict)
    by_family: dict[tuple[str, str], list[_Record]] = field(default_factory=lambda: defaultdict(list))
    due: list[tuple[float, int, _Record]] = field(default_factory=list)
    slots: Counter[str] = field(default_factory=Counter)
    max_slots: int = 0
    billed_tasks: int = 0
    units: float = 0.0
    spent: Counter[tuple[str, str]] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    creates: list[CreateRow] = field(default_factory=list)
    downloads: list[dict[str, Any]] = field(default_factory=list)
    callbacks: list[dict[str, Any]] = field(default_factory=list)


class EmulatorState:
    """What the emulator knows and decides."""

    def __init__(self, settings: EmulatorSettings | None = None) -> None:
        self.settings = settings or EmulatorSettings()
        self.clock = Clock(virtual=self.settings.virtual_clock)
        self._lock = RLock()
        self._faults = FaultBook(self.settings.seed)
        self._books = _Books()

    # Tasks

    def create(self, order: Order, *, account: str, dialect: Dialect) -> Accepted:
        """
        Accept a task, and write it into the ledger either way.

        :raises Refusal: for an external id that exists (1201), and where slots are lacking (1303).
        """
        with self._lock:
            self._settle()
            subject = Subject(account, order.external_task_id, order.prompt)
            try:
                self._check_external_id(subject, dialect)
                self._check_slots(order, account)
            except Refusal as refusal:
                self.refused(subject, dialect, order.family, code=refusal.code, n=order.n, note=refusal.message)
                raise
            fate = self._faults.fire(Place.CREATE, {Stage.FATE}, subject)
            record = self._accept(order, account, fate)
            after = self._faults.fire(Place.CREATE, {Stage.AFTER}, record.subject)
            self._books.creates.append(
                CreateRow(
                    at=milliseconds(record.created),
                    account=account,
                    dialect=dialect.value,
                    family=order.family.name,
                    external_task_id=order.external_task_id,
                    task_id=record.task_id,
                    outcome="accepted",
                    code=0,
                    n=order.n,
                    units=order.units,
                    fault="+".join(fault.name for fault in (fate, after) if fault) or None,
                    note=order.note,
                )
            )
            return Accepted(self._view(record), record.counter, fate is None, after)

    def refused(
        self,
        subject: Subject,
        dialect: Dialect,
        family: Family,
        *,
        code: int | str | None,
        n: int = 0,
        fault: Fault | None = None,
        note: str = "",
    ) -> None:
        """Write a create that made no task into the ledger."""
        with self._lock:
            self._books.creates.append(
                CreateRow(
                    at=self.now_ms(),
                    account=subject.account or None,
                    dialect=dialect.value,
                    family=family.name,
                    external_task_id=subject.external_task_id,
                    code=code,
                    n=n,
                    fault=fault.name if fault else None,
                    note=note,
                )
            )

    def find(self, ident: str, *, account: str, dialect: Dialect, family: Family) -> TaskView:
        """
        Return a task.

        :param ident: Task id or external id.
        :param account: Who asks; others' tasks are unknown.
        :param family: Of the route that was asked; tasks of others are unknown there.
        :raises Refusal: where there is none.
        """
        with self._lock:
            self._settle()
            record = self._books.tasks.get(ident) or self._by_external_id(ident, account, dialect)
            if record is None or record.account != account or record.order.family is not family:
                raise unknown_task(ident, on_gateway=dialect is Dialect.GATEWAY)
            # CometAPI's page on queries counts expired tasks among the unknown; Kling says nothing of the kind.
            if dialect is Dialect.GATEWAY and self.clock.now() >= record.created + RESULT_LIFETIME:
                raise unknown_task(ident, on_gateway=True)
            return self._view(record)

    def list_tasks(self, *, account: str, family: Family, page: int, page_size: int) -> list[TaskView]:
        """
        Return one page of an account's tasks, the newest first.

        :param page: From 1.
        """
        with self._lock:
            self._settle()
            newest_first = reversed(self._books.by_family[account, family.name])
            start = (page - 1) * page_size
            return [self._view(record) for record in islice(newest_first, start, start + page_size)]

    def task(self, task_id: str) -> TaskView | None:
        """Return a task of any account by its task id."""
        with self._lock:
            self._settle()
            record = self._books.tasks.get(task_id)
            return None if record is None else self._view(record)

    def find_clip(self, video_id: str, *, account: str) -> FoundClip | None:
        """
        Return a clip of a finished task that is not cleared yet; None where there is none.

        :param video_id: As the task's result says it.
        :param account: Whose; others' clips are unknown.
        """
        view = self.task(video_id.rpartition(CLIP_MARK)[0])
        if view is None or view.subject.account != account or self.clock.now() >= view.expires:
            return None
        for output in view.outputs:
            if output.fields.get("id") == video_id:
                return FoundClip(output.path, view.order.mode, float(output.fields["duration"]))
        return None

    def made(self, task_id: str, outputs: Sequence[MadeOutput]) -> None:
        """
        Take the outputs of a task; it succeeds as soon as its latency has passed too.

        :param task_id: A task; one that a reset has forgotten is passed over.
        """
        with self._lock:
            self._finish_making(task_id, tuple(outputs), None)

    def not_made(self, task_id: str, reason: str) -> None:
        """
        Let a task fail, as soon as its latency has passed too, because its outputs could not be made.

        :param task_id: A task; one that a reset has forgotten is passed over.
        :param reason: Becomes the ``task_status_msg``.
        """
        with self._lock:
            self._finish_making(task_id, None, reason)

    # Faults

    def fire(self, place: Place, stages: Collection[Stage], subject: Subject) -> Fault | None:
        """Return the injected fault that meets a request, see :meth:`FaultBook.fire`."""
        with self._lock:
            return self._faults.fire(place, stages, subject)

    def fire_unread(self) -> Fault | None:
        """Return the injected fault that meets a create before it is read."""
        with self._lock:
            return self._faults.fire_unread()

    def add_fault(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """
        Add a fault rule and return it as the control route shows it.

        :param fields: ``fault``; optional ``on`` (one place or a list), ``times``, ``probability``, ``match``.
        :raises ValueError: for fields that cannot be meant.
        """
        with self._lock:
            return self._faults.add(fields).describe()

    def fault_rules(self) -> list[dict[str, Any]]:
        """Return all fault rules."""
        with self._lock:
            return [rule.describe() for rule in self._faults.rules]

    def clear_faults(self) -> None:
        """Remove all fault rules."""
        with self._lock:
            self._faults.clear()

    # Clock, ledger, reset

    def now_ms(self) -> int:
        """Return the emulator's time in milliseconds."""
        return milliseconds(self.clock.now())

    def advance(self, seconds: float) -> None:
        """
        Let time pass.

        :param seconds: 0 or more.
        """
        with self._lock:
            self.clock.advance(seconds)

    def count(self, place: Place) -> None:
        """Count a request."""
        with self._lock:
            self._books.requests[place.value] += 1

    def downloaded(self, task_id: str, name: str, http_status: int, *, authorization: bool) -> None:
        """
        Write a download into the ledger.

        :param authorization: Whether the client sent a key along, which it must not.
        """
        row = {"task_id": task_id, "name": name, "http_status": http_status, "authorization": authorization}
        with self._lock:
            self._books.downloads.append({"at": self.now_ms()} | row)

    def called(self, task_id: str, word: str, http_status: int | None) -> None:
        """
        Write a callback into the ledger.

        :param word: The status that it told.
        :param http_status: The answer; None where none came.
        """
        row = {"task_id": task_id, "word": word, "http_status": http_status}
        with self._lock:
            self._books.callbacks.append({"at": self.now_ms()} | row)

    def ledger(self) -> dict[str, Any]:
        """Return the ledger as the control route shows it."""
        with self._lock:
            self._settle()
            books = self._books
            return {
                "creates": [asdict(row) for row in books.creates],
                "accepted_tasks": len(books.tasks),
                "billed_tasks": books.billed_tasks,
                "units": books.units,
                "requests": {place.value: books.requests[place.value] for place in Place},
                "downloads": list(map(dict, books.downloads)),
                "callbacks": list(map(dict, books.callbacks)),
                "faults": dict(self._faults.counts),
                "slots_in_use": dict(+books.slots),
                "max_slots_in_use": books.max_slots,
            }

    def spent(self, account: str, kind: OutputKind) -> float:
        """Return the units that an account has spent on one kind of output."""
        with self._lock:
            self._settle()
            return self._books.spent[account, kind.value]

    def reset(self) -> None:
        """Forget everything: tasks, ledger, fault rules, and what the clock was advanced."""
        with self._lock:
            self._books = _Books()
            self._faults.reset()
            self.clock.reset()

    # Below here the lock is held.

    def _check_external_id(self, subject: Subject, dialect: Dialect) -> None:
        external_id = subject.external_task_id
        if external_id is None or not self.settings.looks_up(dialect):
            return
        if (subject.account, external_id) not in self._books.by_external_id:
            return
        if self._faults.fire(Place.CREATE, {Stage.LOOKUP}, subject) is None:
            raise Refusal(1201, f"External_task_id {external_id} already exists")

    def _check_slots(self, order: Order, account: str) -> None:
        quota = self.settings.quota
        if quota is not None and self._books.slots[account] + order.slots > quota:
            raise Refusal(1303, "parallel task over resource pack limit")

    def _accept(self, order: Order, account: str, fate: Fault | None) -> _Record:
        books, now = self._books, self.clock.now()
        books.counter += 1
        record = _Record(
            task_id=f"emu-{books.run}-{books.counter:06d}",
            counter=books.counter,
            account=account,
            order=order,
            created=now,
            ready=now + self.settings.latency,
            fate=fate.effect if fate else None,
        )
        books.tasks[record.task_id] = record
        books.by_family[account, order.family.name].append(record)
        if order.external_task_id is not None:
            books.by_external_id[account, order.external_task_id] = record
        books.slots[account] += order.slots
        books.max_slots = max(books.max_slots, books.slots[account])
        if record.fate is not Effect.HANG:
            heapq.heappush(books.due, (record.ready, record.counter, record))
        return record

    def _by_external_id(self, ident: str, account: str, dialect: Dialect) -> _Record | None:
        record = self._books.by_external_id.get((account, ident))
        if record is None or not self.settings.looks_up(dialect):
            return None
        return None if self._faults.fire(Place.QUERY, {Stage.LOOKUP}, record.subject) else record

    def _settle(self) -> None:
        """End the tasks whose time has come; those whose outputs are still being made end when they are."""
        books, now = self._books, self.clock.now()
        while books.due and books.due[0][0] <= now:
            _, _, record = heapq.heappop(books.due)
            if record.is_made:
                self._end(record, record.ready)
            else:
                record.overdue = True

    def _finish_making(self, task_id: str, outputs: tuple[MadeOutput, ...] | None, failure: str | None) -> None:
        self._settle()
        record = self._books.tasks.get(task_id)
        if record is None or record.ended is not None:
            return
        record.outputs, record.failure = outputs, failure
        if record.overdue:
            self._end(record, self.clock.now())

    def _end(self, record: _Record, at: float) -> None:
        books = self._books
        record.ended = at
        books.slots[record.account] -= record.order.slots
        if record.end_word == SUCCEED:
            books.billed_tasks += 1
            books.units += record.order.units
            books.spent[record.account, record.order.family.kind.value] += record.order.units  # type: ignore[assignment]

    def _view(self, record: _Record) -> TaskView:
        word, updated = self._status(record)
        failed_by_fate = FAIL_MESSAGE if record.fate is Effect.FAIL else ""
        return TaskView(
            task_id=record.task_id,
            order=record.order,
            word=word,
            message=(record.failure or failed_by_fate) if word == FAILED else "",
            created_at=milliseconds(record.created),
            updated_at=milliseconds(updated),
            outputs=(record.outputs or ()) if word == SUCCEED else (),
            expires=updated + RESULT_LIFETIME,
            subject=record.subject,
        )

    def _status(self, record: _Record) -> tuple[str, float]:
        if record.ended is not None:
            return record.end_word, record.ended
        started = record.created + min(MAX_SUBMITTED, self.settings.latency * SUBMITTED_SHARE)
        return (SUBMITTED, record.created) if self.clock.now() < started else (PROCESSING, started)


def output_path(view: TaskView | None, name: str) -> Path | None:
    """Return the file of a finished task's output or its watermarked twin, by the name in its link."""
    return next((path for output in (view.outputs if view else ()) if (path := output.file(name))), None)
