"""Running a batch: threads that read, submit, ask and store, and one loop that decides; loaded when a task runs."""

from __future__ import annotations

import hashlib
import json
import logging
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from airflow_kling.api.faults import ApiFault, Created, FaultInfo, FaultKind
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.redact import redact
from airflow_kling.exceptions import (
    KlingError,
    KlingPermanentError,
    KlingTaskFailed,
    KlingTransientError,
    error_from_fault,
)
from airflow_kling.hooks.storage import storage_path
from airflow_kling.lifecycle.batch import Batch, Budget, Picture
from airflow_kling.lifecycle.batch_journal import Journal, JournalRecords
from airflow_kling.lifecycle.batch_quota import Quota
from airflow_kling.lifecycle.batch_results import Results, RowStatus, end_row, progress, progress_text
from airflow_kling.lifecycle.batch_rows import PROGRESS, RESULTS, Row, read_rows
from airflow_kling.lifecycle.collect import check_names, check_writable
from airflow_kling.lifecycle.end import end_of, end_text
from airflow_kling.lifecycle.files import write_whole
from airflow_kling.lifecycle.fingerprint import fingerprint
from airflow_kling.lifecycle.record import Stage
from airflow_kling.lifecycle.submit import OnExisting, Submission, Work
from airflow_kling.lifecycle.wait import Decision, Outcome
from airflow_kling.operators.batch_accounts import Accounts, Answer
from airflow_kling.operators.batch_picture import store, total_units
from airflow_kling.operators.batch_reading import (
    Price,
    Reader,
    is_paid,
    keep_price,
    paid_keys,
    price_of,
    return_large_blocks,
)
from airflow_kling.operators.links import push_batch_links
from airflow_kling.operators.work import RECORD_FOLDER, epoch_of, external_id_of, first_try_of_epoch, record_path

if TYPE_CHECKING:
    from airflow_kling.api.calls import TaskRequest
    from airflow_kling.api.models import Task
    from airflow_kling.lifecycle.end import End
    from airflow_kling.lifecycle.pressure import Pressure

REPORT_EVERY = 30.0
COMMIT_EVERY = 2.0
READERS, SENDERS, ASKERS, STORERS = 2, 8, 8, 4
TAIL = "tail.json"
LONG_PAUSE = 20.0
"""Seconds of waiting for a first free slot that are worth a deferral."""

SHOWN_ORPHANS = 20
STORE_DELAYS = (2.0, 6.0)
"""Seconds before storing is tried again."""

_KEPT = (RowStatus.SUCCEEDED.value, RowStatus.FAILED.value)
_log = logging.getLogger(__name__)


class StorageRefused(Exception):
    """A folder or bucket that does not take what is to be kept: nothing more can be done."""


class NotBegunAgain(Exception):
    """A create that would pay for a picture once more, after the batch has stopped or over its budget."""


class BatchRun:
    """
    One process of a batch.

    Each process goes over all rows from the first: what was made is found in the journal, at no cost. So it goes on
    after a deferral, a retry and a clear alike.

    :param operator: With its fields rendered.
    :param context: Airflow's context.
    :param pressure: The wait for a free slot of the account so far.
    :param event: What the trigger of the tail told, if that is what it goes on after.
    """

    def __init__(
        self, operator: Any, context: Mapping[str, Any], pressure: Pressure, event: Mapping[str, Any] | None = None
    ) -> None:
        self._operator = operator
        self._context = context
        self._ti = context["ti"]
        self._epoch = epoch_of(self._ti)
        self._id = external_id_of(self._ti)
        self._place = storage_path(operator.output_path)
        self.folder = storage_path(record_path() or operator.output_path) / RECORD_FOLDER / self._id
        self._journal = Journal(self.folder)
        self._results_path = self._place / f"{self._id}.jsonl"
        self._results = Results([])
        quota = Quota(operator.max_concurrency, operator.submit_timeout)
        if pressure.attempts:
            quota.resume(pressure)
        self._resumed = bool(event or pressure.attempts)
        outcome = event.get("outcome") if event else Outcome.SUCCEEDED.value
        # A tail that was not waited for to its end is asked for here, for it would be deferred in vain.
        self._defers = operator.deferrable and outcome == Outcome.SUCCEEDED.value
        timeout = 0.0 if outcome == Outcome.TIMED_OUT.value else operator.timeout
        self.batch = Batch(quota, Budget(operator.budget), operator.poll_interval, timeout)
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._rows: deque[Row] = deque()
        self._of_key: dict[str, list[int]] = {}
        self._ends: dict[str, dict[str, Any]] = {}
        self._reading = self._storing = 0
        self._asking = False
        self._committed = 0.0
        self._broken = ""
        self._reports = deque[tuple[float, int]](maxlen=4)
        # A line for each of ten thousand pictures is no log.
        self._quiet = logging.getLogger(f"{__name__}.pictures")
        self._quiet.setLevel(logging.WARNING)

    # -- the whole -------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """
        Return what the batch made: counts, units and the place of its results manifest.

        :raises KlingError: where too few pictures were made.
        """
        operator = self._operator
        return_large_blocks()
        push_batch_links(self._context, operator.output_path)
        check_writable(self._place)
        # Before all that may fail: a later try then knows that this one sent nothing.
        self._journal.open(self._ti.try_number, resumed=self._resumed)
        if operator.output_name:
            check_names(operator.output_name, operator.slots())
            operator.check_name()
        try:
            rows = read_rows(operator.images, open_path=storage_path, fields=operator.row_fields)
        except InputFault:
            self._write_results()
            raise
        self._results, self._rows = Results(rows), deque(rows)
        self._accounts = Accounts((operator.kling_conn_id, *operator.fallback_conn_ids), operator.family)
        self._settings = self._hash_settings()
        self._charge_known()
        self._accounts.know({record["kling_conn_id"] for record in self._journal.items("record").values()})
        self._reader = Reader(operator, self._ti, self._journal, self._epoch, self._settings)
        self._report(force=True)
        pools = [ThreadPoolExecutor(size, "kling-batch") for size in (READERS, SENDERS, 1, ASKERS, STORERS)]
        self._readers, self._senders, self._asker, self._askers, self._storers = pools
        wait = False
        try:
            self._loop()
            wait = True
        finally:
            for pool in pools:
                pool.shutdown(wait=wait, cancel_futures=True)
        while not self._events.empty():
            self._events.get()()
        return self._end()

    def _charge_known(self) -> None:
        """Charge the budget with all that earlier tries and runs began."""
        journal, budget = self._journal, self.batch.budget
        ends, paid = journal.items("end"), paid_keys(journal)
        for key in ends.keys() | paid.keys():
            end, price = ends.get(key), price_of(journal, key)
            budget.spent += price.before
            if end is not None and end["epoch"] >= price.epoch:
                budget.release(key, price.cost(end))
            elif paid.get(key):
                budget.reserve(key, price.units)

    def _loop(self) -> None:
        while not self._broken:
            now = time.time()
            self._feed(now)
            self._report()
            if self._is_over():
                return
            self._defer_if_idle(now)
            timeout = min(self.batch.wake_at(now, asking=self._asking) - now, 1.0)
            with suppress(queue.Empty):
                self._events.get(timeout=max(timeout, 0.005))()
                while True:
                    self._events.get_nowait()()

    def _feed(self, now: float) -> None:
        batch = self.batch
        only_known = batch.stopped is not None
        while self._rows and (only_known or batch.wants_more(self._reading)) and self._reading < 2 * READERS:
            self._reading += 1
            self._readers.submit(self._read, self._rows.popleft(), only_known)
        for picture in batch.sends(now):
            self._senders.submit(self._send, picture)
        for picture in batch.dropped():
            self._end_picture(picture, end_row(RowStatus.SKIPPED, error="not begun"))
        if self._journal.waiting and now - self._committed > COMMIT_EVERY and not self._broken:
            # What is lost of it costs a download, no more.
            self._committed = now
            self._storers.submit(self._commit)
        if not self._asking and (asked := batch.polls(now)):
            self._asking = True
            self._asker.submit(self._ask, asked)

    def _is_over(self) -> bool:
        batch = self.batch
        return not (self._rows or self._reading or batch.ready or batch.sending or batch.running or self._storing)

    # -- reading ---------------------------------------------------------------------------------------------------

    def _read(self, row: Row, only_known: bool) -> None:
        try:
            done = self._read_row(row, only_known)
        except Exception as error:  # whatever reading a source raises
            end = _refused(error)
            done = lambda: self._results.end(row.number, end)  # noqa: E731
        self._events.put(partial(self._on_read, done))

    def _on_read(self, done: Callable[[], None]) -> None:
        self._reading -= 1
        done()

    def _read_row(self, row: Row, only_known: bool) -> Callable[[], None]:
        """Return what the loop is to do about a row."""
        found = self._reader.read(row, only_known=only_known)
        if isinstance(found, Picture):
            return partial(self._on_picture, row, found)
        if found is None:
            return partial(self._results.end, row.number, end_row(RowStatus.SKIPPED, error="not begun"))
        return partial(self._on_known, row, *found)

    def _on_known(self, row: Row, key: str, end: dict[str, Any]) -> None:
        if key not in self._ends:
            self._ends[key] = end
        self._results.end(row.number, end, key)

    def _on_picture(self, row: Row, picture: Picture) -> None:
        if end := self._ends.get(picture.key):
            self._results.end(row.number, end, picture.key)
        elif picture.key in self._of_key:
            self._of_key[picture.key].append(row.number)
        else:
            self._of_key[picture.key] = [row.number]
            self.batch.add(picture)

    # -- submitting ------------------------------------------------------------------------------------------------

    def _send(self, picture: Picture) -> None:
        try:
            work = self._work(picture)
            key = f"{picture.key}/{picture.made.number}"
            records = JournalRecords(self._journal, key, first_try_of_epoch(self._ti))
            submitted = Submission(work, records, self._accounts.client, self._quiet).run()
        except Exception as error:  # of the source, the storage or Kling
            self._events.put(partial(self._on_not_sent, picture, error))
        else:
            picture.made.forget()
            self._events.put(partial(self._on_sent, picture, submitted.task, submitted.kling_conn_id))

    def _work(self, picture: Picture) -> Work:
        made, key = picture.made, picture.key
        operator, step, number = self._operator, made.step(), made.number
        source = cache(step.read_source)
        first_try = first_try_of_epoch(self._ti)

        def hash_input() -> str:
            base_url = self._accounts.account(operator.kling_conn_id).base_url
            parameters = step.parameters(source())
            return fingerprint(operator.family, source().identity, parameters, operator.kling_conn_id, base_url)

        def build(external_id: str) -> TaskRequest:
            request: TaskRequest = step.build_request(source(), external_id)
            self._charge(picture)
            return request

        return Work(
            family=operator.family,
            external_id=lambda epoch, generation: external_id_of(self._ti, f"{key}/{number}", epoch, generation),
            build=build,
            fingerprint=cache(hash_input),
            conn_ids=self._accounts.conn_ids,
            epoch=self._epoch,
            retried=self._ti.try_number > first_try,
            on_existing=OnExisting(operator.on_existing),
            source_size=made.source_size,
        )

    def _charge(self, picture: Picture) -> None:
        """Take note of what a create costs that is about to be sent, or refuse it."""
        key, batch = picture.key, self.batch
        record = self._journal.get("record", f"{key}/{picture.made.number}")
        price = price_of(self._journal, key)
        kept = price.epoch >= 0
        resubmits = self._operator.on_existing == OnExisting.RESUBMIT.value
        stands = record is not None and is_paid(record) and (record["stage"] != Stage.INTENT.value or resubmits)
        if not stands or (price.epoch if kept else record["epoch"]) >= self._epoch:
            if not kept:
                keep_price(self._journal, key, Price(picture.units, self._settings, self._epoch))
            return
        if (batch.stopped is not None and not picture.anew) or not batch.budget.admits_again(picture):
            raise NotBegunAgain
        before = price.before + price.cost(self._journal.get("end", key))
        keep_price(self._journal, key, Price(picture.units, self._settings, self._epoch, before))

    def _on_sent(self, picture: Picture, task: Task, kling_conn_id: str) -> None:
        now = time.time()
        self.batch.on_accepted(picture, task, kling_conn_id, now)
        if task.status.ended:
            self._on_answer(picture, task, now)

    def _on_not_sent(self, picture: Picture, error: Exception) -> None:
        if isinstance(error, ApiFault) and error.info.kind is not FaultKind.EXISTS:
            given_up = self.batch.on_fault(picture, error, time.time())
            if given_up is not None:
                self._end_picture(picture, _row_of_fault(picture, given_up))
        elif isinstance(error, NotBegunAgain):
            self.batch.stop(self.batch.budget.text)
            self.batch.on_fault(picture, _as_fault(error), time.time())
            self._end_picture(picture, end_row(RowStatus.SKIPPED, error="not begun again"))
        elif isinstance(error, (InputFault, KlingError)):
            self.batch.on_fault(picture, _as_fault(error), time.time())
            self._end_picture(picture, _refused(error))
        else:
            self._break(error)

    # -- asking ----------------------------------------------------------------------------------------------------

    def _ask(self, pictures: list[Picture]) -> None:
        answers: list[Answer] = []
        try:
            for conn_id in {picture.kling_conn_id for picture in pictures}:
                group = {p.task.task_id: p for p in pictures if p.kling_conn_id == conn_id and p.task is not None}
                answers += self._accounts.ask(conn_id, group, self._askers)
        except Exception as error:
            reason = redact(f"{type(error).__name__}: {error}")
            _log.error("Asking for %d tasks failed: %s", len(pictures), reason)  # its trace may hold a link
            fault = ApiFault(FaultInfo(FaultKind.CONNECTION, reason))
            answers = [(picture, fault, True) for picture in pictures]
        self._events.put(partial(self._on_answers, answers))

    def _on_answers(self, answers: Iterable[Answer]) -> None:
        self._asking = False
        now = time.time()
        for picture, answer, single in answers:
            if isinstance(answer, ApiFault):
                believed = self._accounts.account(picture.kling_conn_id).lookup_by_external_id
                decision = self.batch.on_poll_fault(picture, answer, now, believed=believed)
                if decision is not None:
                    self._on_decision(picture, decision)
            else:
                self._on_answer(picture, answer, now, single=single)

    def _on_answer(self, picture: Picture, task: Task, now: float, *, single: bool = False) -> None:
        decision = self.batch.on_task(picture, task, now, single=single)
        if decision is not None and not self._broken:
            self._on_decision(picture, decision)

    def _on_decision(self, picture: Picture, decision: Decision) -> None:
        if decision.outcome is Outcome.SUCCEEDED and decision.task is not None:
            self._storing += 1
            self._storers.submit(self._store, picture, decision.task)
            return
        assert picture.task is not None
        end = end_of(decision, picture.task.task_id, self._operator.family, picture.kling_conn_id)
        self._end_picture(picture, _row_of_end(picture, end, self._operator.timeout))

    # -- storing ---------------------------------------------------------------------------------------------------

    def _store(self, picture: Picture, task: Task) -> None:
        done: Callable[[], None]
        try:
            done = self._store_patiently(picture, task)
        except (ApiFault, KlingError, InputFault) as error:
            made = picture.made.tasks
            units = total_units(made if _has(made, task) else [*made, task])
            text = redact(str(error))
            final = isinstance(error, InputFault) and _has(made, task)
            status = RowStatus.FAILED if final else RowStatus.UNFINISHED
            end = self._row(status, picture, task_id=task.task_id, units=units, error=text)
            done = partial(self._end_picture, picture, end)
        except Exception as error:  # whatever the storage raises
            done = partial(self._break, error)
        self._events.put(partial(self._on_stored, done))

    def _store_patiently(self, picture: Picture, task: Task) -> Callable[[], None]:
        made, conn_id = picture.made, picture.kling_conn_id
        fetch = self._accounts.fetch(conn_id)
        for delay in (*STORE_DELAYS, None):
            try:
                if not task.outputs:
                    task = self._accounts.client(conn_id).get_task(task.task_id, task.family)
                if not _has(made.tasks, task) and made.took(task, fetch):
                    return partial(self._on_next_pass, picture)
                renew = lambda task: self._accounts.client(conn_id).get_task(task.task_id, task.family)  # noqa: E731
                end = store(made, self._place, self._operator.output_name, fetch, renew, conn_id)
                return partial(self._end_picture, picture, end)
            except Exception as error:
                # What came back between passes may be whole the next time; a name that leaves the folder stays one.
                if delay is None or (isinstance(error, InputFault) and _has(made.tasks, task)):
                    raise
                time.sleep(delay)
        raise AssertionError("the last delay is None")

    def _on_stored(self, done: Callable[[], None]) -> None:
        self._storing -= 1
        done()

    def _on_next_pass(self, picture: Picture) -> None:
        picture.slots, picture.weight = picture.made.next_price()
        record = self._journal.get("record", f"{picture.key}/{picture.made.number}")
        made = record is not None and record["stage"] != Stage.REFUSED.value
        picture.rejoins = made and (record["epoch"] >= self._epoch or not picture.anew)
        self.batch.on_next_pass(picture)

    # -- ends ------------------------------------------------------------------------------------------------------

    def _row(self, status: RowStatus, picture: Picture, **facts: Any) -> dict[str, Any]:
        return end_row(status, family=self._operator.family, kling_conn_id=picture.kling_conn_id, **facts)

    def _end_picture(self, picture: Picture, end: dict[str, Any]) -> None:
        if end["status"] in _KEPT:
            end = end | {"epoch": self._epoch, "settings": self._settings}
            self._journal.put("end", picture.key, end)
        if end["status"] == RowStatus.SUCCEEDED.value or end["units"] is not None:
            self.batch.on_end(picture, end["units"])
        self._ends[picture.key] = end
        for number in self._of_key.pop(picture.key, ()):
            self._results.end(number, end, picture.key)

    def _commit(self) -> None:
        try:
            self._journal.commit()
        except Exception as error:  # whatever the storage raises
            self._events.put(partial(self._break, error))

    def _break(self, error: Exception) -> None:
        """Stop, for what is to be kept cannot be."""
        text = redact(f"{type(error).__name__}: {error}")
        self._broken = self._broken or text
        told = f"what is made or remembered cannot be stored ({text})"
        self.batch.stop(error if isinstance(error, ApiFault) else told)

    def _end(self) -> dict[str, Any]:
        for row in self._rows:
            with suppress(Exception):
                self._read_row(row, only_known=True)()
        for picture in (*self.batch.running.values(), *self.batch.sending.values(), *self.batch.ready):
            self._end_unfinished(picture)
        try:
            self._journal.commit()
        except ApiFault as fault:
            if fault.info.kind is FaultKind.EXISTS:
                self.batch.stopped = fault
        except Exception as error:  # of the storage; what is lost of it costs a download, no more
            _log.warning("The journal's end could not be stored: %s", redact(f"{type(error).__name__}: {error}"))
        self._warn_of_orphans()
        self._report(force=True)
        stopped = self.batch.stopped
        verdict = self._results.verdict(self._operator.min_success_ratio, str(stopped or ""))
        if isinstance(stopped, ApiFault) and stopped.info.kind is FaultKind.EXISTS:
            # Another process goes on, or goes on no more: the results are its.
            raise error_from_fault(stopped.info, verdict.text)
        try:
            self._write_results()
            text = f"{verdict.text}. All rows: {self._results_path}"
        except Exception as error:  # whatever the storage raises
            self._broken = self._broken or redact(f"{type(error).__name__}: {error}")
            text = f"{verdict.text}. The results manifest could not be written ({self._broken})"
        if self._broken:
            raise KlingTransientError(f"{text}. A retry goes on where it stopped, and pays for nothing again")
        if not verdict.failed:
            self._operator.log.info("%s", text)
            return self._outcome()
        if isinstance(stopped, ApiFault):
            raise error_from_fault(stopped.info, text)
        if stopped:
            raise KlingPermanentError(text)
        raise KlingTransientError(text) if verdict.passing else KlingTaskFailed(text)

    def _warn_of_orphans(self) -> None:
        """Name what is paid, and belongs to no row any more."""
        ends, records = self._journal.items("end"), self._journal.items("record")
        keys = paid_keys(self._journal).keys() - ends.keys() - self._reader.keys
        orphans = [record for name, record in records.items() if name.rpartition("/")[0] in keys]
        names = [record.get("task_id") or record["external_task_id"] for record in orphans]
        if names:
            shown = ", ".join(sorted(names)[:SHOWN_ORPHANS]) + ", …" * (len(names) > SHOWN_ORPHANS)
            text = "%d tasks may be billed whose pictures are in no row that can be read any more: %s"
            self._operator.log.warning(text, len(names), shown)

    def _end_unfinished(self, picture: Picture) -> None:
        if picture.task is not None:
            text = f"Kling task {picture.task.task_id} goes on and is billed when it ends; a retry takes it up"
            end = self._row(RowStatus.UNFINISHED, picture, task_id=picture.task.task_id, error=text)
        elif picture.begun or picture.key in self.batch.sending:
            text = "its create may have arrived, and be billed; a retry looks for it before it sends another"
            end = self._row(RowStatus.UNFINISHED, picture, error=text)
        else:
            end = end_row(RowStatus.SKIPPED, error="not begun")
        self._ends[picture.key] = end
        for number in self._of_key.pop(picture.key, ()):
            self._results.end(number, end, picture.key)

    def _outcome(self) -> dict[str, Any]:
        outcome = {
            RESULTS: str(self._results_path),
            "family": self._operator.family,
            "rows": len(self._results),
            "counts": self._results.counts(),
            "units": self._results.units,
        }
        for outlet in self._operator.outlets:
            if hasattr(outlet, "uri"):
                self._context["outlet_events"][outlet].extra = outcome
        return outcome

    def _write_results(self) -> None:
        write_whole(self._results_path, b"".join(self._results.lines()))
        self._ti.xcom_push(key=RESULTS, value=str(self._results_path))

    # -- deferring -------------------------------------------------------------------------------------------------

    def _defer_if_idle(self, now: float) -> None:
        batch = self.batch
        if not self._defers or batch.sending or self._storing or self._asking or self._reading:
            return
        if batch.running and not self._rows and not batch.ready:
            self._defer_tail(now)
        quota = batch.quota
        if quota.pressure is not None and not batch.running and quota.paused_until - now > LONG_PAUSE:
            from airflow_kling.triggers.kling import KlingSlotTrigger

            self._leave()
            operator = self._operator
            trigger = KlingSlotTrigger(operator.kling_conn_id, quota.paused_until, **quota.pressure.to_json())
            operator._defer(trigger, operator.resume_submission.__name__, quota.paused_until - now)

    def _defer_tail(self, now: float) -> None:
        from airflow_kling.triggers.batch import KlingBatchTrigger

        running = list(self.batch.running.values())
        ids = [[picture.kling_conn_id, picture.task.task_id] for picture in running if picture.task]
        deadline = max(picture.wait.deadline for picture in running if picture.wait)
        write_whole(self.folder / TAIL, json.dumps(ids).encode())
        self._leave()
        operator = self._operator
        operator.log.info("All pictures are submitted: the last %d are waited for in the triggerer", len(ids))
        trigger = KlingBatchTrigger(str(self.folder / TAIL), operator.family, operator.poll_interval, deadline)
        operator._defer(trigger, operator.execute_complete.__name__, deadline - now)

    def _leave(self) -> None:
        self._journal.commit()
        self._report(force=True)

    def killed_text(self) -> str:
        """Return what goes on remotely when this process is killed."""
        running, sending = len(self.batch.running), len(self.batch.sending)
        return (
            f"{running:,} remote tasks of the batch go on and are billed when they end, for the API has no cancel; "
            f"{sending:,} more were being submitted. A retry or a rerun takes them up again and makes no others"
        )

    # -- what all use ----------------------------------------------------------------------------------------------

    def _hash_settings(self) -> str:
        operator = self._operator
        base_url = self._accounts.account(operator.kling_conn_id).base_url
        told = [operator.settings(), operator.kling_conn_id, base_url]
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def _report(self, *, force: bool = False) -> None:
        now, results = time.time(), self._results
        if self._reports and not force and now - self._reports[-1][0] < REPORT_EVERY:
            return
        first = self._reports[0] if self._reports else (now, results.done)
        seconds = now - first[0]
        rate = (results.done - first[1]) / seconds if seconds > 0 else 0.0
        self._reports.append((now, results.done))
        self._operator.log.info("%s", progress_text(results, len(self.batch.running), rate))
        with suppress(Exception):  # what is paid is not lost because nobody can be told
            self._ti.xcom_push(key=PROGRESS, value=progress(results, len(self.batch.running)))


def _has(tasks: Iterable[Task], task: Task) -> bool:
    return task.task_id in {each.task_id for each in tasks}


def _refused(error: Exception) -> dict[str, Any]:
    """Return the row of a picture that nothing was sent for."""
    passing = isinstance(error, KlingTransientError) or (
        isinstance(error, ApiFault) and error.info.kind in (FaultKind.CONNECTION, FaultKind.SERVER, FaultKind.RATE)
    )
    status = RowStatus.UNFINISHED if passing else RowStatus.REFUSED
    known = isinstance(error, (InputFault, ApiFault, KlingError))
    return end_row(status, error=redact(str(error) if known else f"{type(error).__name__}: {error}"))


def _as_fault(error: Exception) -> ApiFault:
    return ApiFault(FaultInfo(FaultKind.INPUT, redact(str(error)), created=Created.NO))


def _row_of_fault(picture: Picture, fault: ApiFault) -> dict[str, Any]:
    statuses = {
        FaultKind.UNKNOWN: RowStatus.UNKNOWN,
        FaultKind.INPUT: RowStatus.REFUSED,
        FaultKind.CONTENT: RowStatus.REFUSED,
        FaultKind.DUPLICATE: RowStatus.UNKNOWN,
        FaultKind.CONCURRENCY: RowStatus.SKIPPED,
    }
    return end_row(statuses.get(fault.info.kind, RowStatus.UNFINISHED), error=str(fault))


def _row_of_end(picture: Picture, end: End, timeout: float) -> dict[str, Any]:
    status = RowStatus.FAILED if end.outcome is Outcome.FAILED else RowStatus.UNFINISHED
    return end_row(
        status,
        task_id=end.task_id,
        family=end.family,
        kling_conn_id=end.kling_conn_id,
        units=end.units,
        error=end_text(end, timeout),
    )
