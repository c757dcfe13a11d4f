"""The loop of a batch: it alone decides, and threads read, submit, ask and store for it; loaded when a task runs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from airflow_kling.api.inputs import InputFault
from airflow_kling.hooks.storage import storage_path
from airflow_kling.lifecycle.batch import Batch, Budget
from airflow_kling.lifecycle.batch_prices import charge_known
from airflow_kling.lifecycle.batch_quota import Quota
from airflow_kling.lifecycle.batch_results import Progress, Results, not_begun, row_of_stop
from airflow_kling.lifecycle.batch_rows import Row, read_rows
from airflow_kling.lifecycle.wait import Outcome
from airflow_kling.operators.batch_end import commit_last, conclude
from airflow_kling.operators.batch_leave import defer_if_idle
from airflow_kling.operators.batch_process import Process
from airflow_kling.operators.batch_reading import return_large_blocks
from airflow_kling.operators.batch_steps import Steps
from airflow_kling.operators.batch_threads import READERS, Threads

if TYPE_CHECKING:
    from airflow_kling.lifecycle.pressure import Pressure

COMMIT_EVERY = 2.0


class BatchRun:
    """
    One process of a batch.

    Each process goes over all rows from the first: what was made is found in the journal, at no cost. So it goes on
    after a deferral, a retry and a clear alike.

    :param event: What the trigger of the tail told, if that is what it goes on after.
    """

    def __init__(
        self, operator: Any, context: Mapping[str, Any], pressure: Pressure, event: Mapping[str, Any] | None = None
    ) -> None:
        self._operator = operator
        self.process = Process(operator, context)
        quota = Quota(operator.max_concurrency, operator.submit_timeout)
        if pressure.attempts:
            quota.pressure = pressure
        self._resumed = bool(event or pressure.attempts)
        outcome = event.get("outcome") if event else Outcome.SUCCEEDED.value
        # A tail that was not waited for to its end is asked for here, for it would be deferred in vain.
        self._defers = operator.deferrable and outcome == Outcome.SUCCEEDED.value
        waited = outcome == Outcome.TIMED_OUT.value
        self.batch = Batch(quota, Budget(operator.budget), operator.poll_interval, operator.timeout, waited=waited)
        self.results = Results([])
        self._progress = Progress(self.results)
        self._rows: deque[Row] = deque()
        self.threads = Threads()
        self._committed = 0.0

    def run(self) -> dict[str, Any]:
        """
        Return what the batch made: counts, units and the place of its results manifest.

        :raises KlingError: where too few pictures were made.
        """
        operator, process = self._operator, self.process
        return_large_blocks()
        process.open(resumed=self._resumed)
        try:
            rows = read_rows(operator.images, open_path=storage_path, fields=operator.row_fields)
        except InputFault:
            if not process.results_path.exists():  # what an earlier try or run made is told there
                process.write_results(self.results)
            raise
        self._rows, self.results = deque(rows), Results(rows)
        self._progress = Progress(self.results)
        process.connect()
        charge_known(process.journal, self.batch.budget)
        self._steps = Steps(process, self.batch, self.results, self.threads)
        self._report(force=True)
        wait = False
        try:
            self._loop()
            wait = True
        finally:
            self.threads.close(wait=wait)
        self.threads.answer(0.0)
        return self._end()

    def _loop(self) -> None:
        steps = self._steps
        while not steps.broken:
            now = time.time()
            self._feed(now)
            self._report()
            if self._is_over():
                return
            if self._defers and not (steps.reading or steps.storing or steps.asking):
                self._leave_if_idle(now)
            timeout = min(self.batch.wake_at(now, asking=steps.asking) - now, 1.0)
            self.threads.answer(max(timeout, 0.005))

    def _feed(self, now: float) -> None:
        batch, steps = self.batch, self._steps
        only_known = batch.stopped is not None
        while self._rows and len(steps.reading) < 2 * READERS and (only_known or batch.wants_more(len(steps.reading))):
            steps.read(self._rows.popleft(), only_known=only_known)
        for picture in batch.sends(now):
            steps.send(picture)
        for picture in batch.dropped():
            steps.end(picture, not_begun())
        if self.process.journal.waiting and now - self._committed > COMMIT_EVERY:
            # What is lost of it costs a download, no more.
            self._committed = now
            steps.commit()
        if not steps.asking and (asked := batch.polls(now)):
            steps.ask(asked)

    def _is_over(self) -> bool:
        batch, steps = self.batch, self._steps
        return not (self._rows or steps.reading or batch.ready or batch.sending or batch.running or steps.storing)

    def _end(self) -> dict[str, Any]:
        batch, process, steps = self.batch, self.process, self._steps
        for row in (*steps.reading.values(), *self._rows):
            with suppress(Exception):  # whatever reading a source raises
                found = steps.reader.read(row, only_known=True)
                if isinstance(found, tuple):
                    self.results.end_known(row.number, *found)
                elif found is not None and self.results.wait(row.number, found.key):
                    batch.add(found)
        left = (batch.running.values(), batch.sending.values(), batch.ready, steps.storing.values())
        for picture in chain.from_iterable(left):
            sending = picture.key in batch.sending
            steps.end(picture, row_of_stop(picture, self._operator.family, sending=sending))
        commit_last(process, batch)
        self._report(force=True)
        return conclude(process, self.results, batch.stopped, steps.broken, steps.reader.keys)

    def _leave_if_idle(self, now: float) -> None:
        try:
            defer_if_idle(self.process, self.batch, now, more=bool(self._rows), told=partial(self._report, force=True))
        except Exception as error:  # whatever the storage raises
            self._steps.fail(error)

    def killed_text(self) -> str:
        """Return what goes on remotely when this process is killed."""
        running, sending = len(self.batch.running), len(self.batch.sending)
        return (
            f"{running:,} remote tasks of the batch go on and are billed when they end, for the API has no cancel; "
            f"{sending:,} more were being submitted. A retry or a rerun takes them up again and makes no others"
        )

    def _report(self, *, force: bool = False) -> None:
        if text := self._progress.text(len(self.batch.running), time.time(), force=force):
            self._operator.log.info("%s", text)
            self.process.tell_progress(self.results, len(self.batch.running))
