"""The steps of a batch: reading, submitting, asking, storing, and what follows each; loaded when a task runs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_kling.api.faults import ApiFault, FaultKind
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.redact import reason_of
from airflow_kling.exceptions import KlingError
from airflow_kling.lifecycle.batch import Batch, Picture
from airflow_kling.lifecycle.batch_results import (
    Results,
    RowStatus,
    is_final,
    not_begun,
    row_of_end,
    row_of_fault,
    row_of_stop,
)
from airflow_kling.lifecycle.batch_rows import Row
from airflow_kling.lifecycle.end import end_of
from airflow_kling.lifecycle.record import Stage
from airflow_kling.lifecycle.wait import Decision, Outcome
from airflow_kling.operators.batch_accounts import Answer
from airflow_kling.operators.batch_end import row_of_error
from airflow_kling.operators.batch_process import Process
from airflow_kling.operators.batch_reading import Reader
from airflow_kling.operators.batch_store import Storer
from airflow_kling.operators.batch_submit import NotBegunAgain, Sender
from airflow_kling.operators.batch_threads import Kind, Threads
from airflow_kling.operators.outcome import count_failed, count_made, tell_submitted

if TYPE_CHECKING:
    from airflow_kling.lifecycle.submit import Submitted


class Steps:
    """
    Has each step done by a thread; what follows it is decided in the loop, where all methods are called.

    :param process: Of the batch, connected.
    """

    def __init__(self, process: Process, batch: Batch, results: Results, threads: Threads) -> None:
        self._process = process
        self._operator = process.operator
        self._batch = batch
        self._results = results
        self._threads = threads
        self._sender, self._storer = Sender(process, batch), Storer(process)
        self.reader = Reader(process)
        #: The rows that are being read, by number, and the pictures that are being stored, by key.
        self.reading: dict[int, Row] = {}
        self.storing: dict[str, Picture] = {}
        #: Whether is being asked for the running tasks.
        self.asking = False
        #: Why what is to be kept cannot be, if so.
        self.broken = ""

    def read(self, row: Row, *, only_known: bool) -> None:
        """Have a row's picture read."""
        self.reading[row.number] = row
        job = partial(self.reader.read, row, only_known=only_known)
        self._threads.start(Kind.READ, job, partial(self._on_read, row))

    def send(self, picture: Picture) -> None:
        """Have a picture's next task made."""
        self._threads.start(Kind.SEND, partial(self._sender.send, picture), partial(self._on_sent, picture))

    def ask(self, pictures: list[Picture]) -> None:
        """Have running tasks asked for."""
        self.asking = True
        job = partial(self._process.accounts.ask_all, pictures, self._threads.pool(Kind.ASK_ONE))
        self._threads.start(Kind.ASK, job, self._on_answers)

    def commit(self) -> None:
        """Have the journal stored as far as it is not."""
        self._threads.start(Kind.STORE, self._process.journal.commit, self._on_committed)

    def end(self, picture: Picture, end: dict[str, Any]) -> None:
        """Take note of how a picture ended."""
        if is_final(end):
            self._process.keep_end(picture.key, end)
            self._batch.on_end(picture, end["units"])
        self._results.end_picture(picture.key, end)

    def fail(self, error: Exception) -> None:
        """Stop, for what is to be kept cannot be."""
        text = reason_of(error)
        self.broken = self.broken or text
        if isinstance(error, ApiFault) and error.info.kind is FaultKind.EXISTS:
            self._batch.stopped = error  # whatever else was the matter: the results are another process's
        told = f"what is made or remembered cannot be stored ({text})"
        self._batch.stop(error if isinstance(error, ApiFault) else told)

    # -- what follows ----------------------------------------------------------------------------------------------

    def _on_read(self, row: Row, found: Picture | tuple[str, dict[str, Any]] | Exception | None) -> None:
        del self.reading[row.number]
        if isinstance(found, Picture):
            if self._results.wait(row.number, found.key):
                self._batch.add(found)
        elif isinstance(found, tuple):
            self._results.end_known(row.number, *found)
        else:
            self._results.end(row.number, row_of_error(found) if found else not_begun())

    def _on_sent(self, picture: Picture, submitted: Submitted | Exception) -> None:
        if isinstance(submitted, Exception):
            self._on_not_sent(picture, submitted)
            return
        task, now = submitted.task, time.time()
        tell_submitted(self._process.context, submitted)
        self._batch.on_accepted(picture, task, submitted.kling_conn_id, now)
        if task.status.ended:
            self._on_decision(picture, self._batch.on_task(picture, task, now, single=False))

    def _on_not_sent(self, picture: Picture, error: Exception) -> None:
        batch = self._batch
        if isinstance(error, ApiFault) and error.info.kind is not FaultKind.EXISTS:
            given_up = batch.on_fault(picture, error, time.time())
            if given_up is not None:
                self.end(picture, row_of_fault(given_up, picture.made.tasks))
        elif isinstance(error, NotBegunAgain):
            batch.stop(batch.budget.text)
            batch.on_refused(picture)
            self.end(picture, not_begun("not begun again", picture.made.tasks))
        elif isinstance(error, (InputFault, KlingError)):
            batch.on_refused(picture)
            self.end(picture, row_of_error(error, picture.made.tasks))
        else:
            self.fail(error)

    def _on_answers(self, answers: Iterable[Answer] | Exception) -> None:
        self.asking = False
        if isinstance(answers, Exception):
            raise answers
        now = time.time()
        for picture, answer, single in answers:
            if isinstance(answer, ApiFault):
                believed = self._process.accounts.account(picture.kling_conn_id).lookup_by_external_id
                decision = self._batch.on_poll_fault(picture, answer, now, believed=believed)
            else:
                decision = self._batch.on_task(picture, answer, now, single=single)
            self._on_decision(picture, decision)

    def _on_decision(self, picture: Picture, decision: Decision | None) -> None:
        if decision is None or picture.task is None:
            return
        if self.broken:
            self.end(picture, row_of_stop(picture, self._operator.family))
        elif decision.outcome is Outcome.SUCCEEDED and decision.task is not None:
            self.storing[picture.key] = picture
            job = partial(self._storer.store, picture, decision.task)
            self._threads.start(Kind.STORE, job, partial(self._on_stored, picture))
        else:
            end = end_of(decision, picture.task.task_id, self._operator.family, picture.kling_conn_id)
            if decision.outcome is Outcome.FAILED and decision.task is not None:
                count_failed(self._process.context, end)
                self._process.keep_done([decision.task])
            self.end(picture, row_of_end(end, self._operator.timeout, picture.made.tasks))

    def _on_stored(self, picture: Picture, end: dict[str, Any] | Exception | None) -> None:
        del self.storing[picture.key]
        if isinstance(end, Exception):
            self.fail(end)
            self.end(picture, row_of_stop(picture, self._operator.family))
        elif end is None:
            self._on_next_pass(picture)
        else:
            if end["status"] == RowStatus.SUCCEEDED.value:
                count_made(self._process.context, picture.made.tasks, picture.kling_conn_id)
                self._process.keep_done(picture.made.tasks, len(end["outputs"]))
            self.end(picture, end)

    def _on_next_pass(self, picture: Picture) -> None:
        picture.slots, picture.weight = picture.made.next_price()
        record = self._process.journal.get("record", f"{picture.key}/{picture.made.number}")
        made = record is not None and record["stage"] != Stage.REFUSED.value
        picture.rejoins = made and (record["epoch"] >= self._process.epoch or not picture.doubtful)
        self._batch.on_next_pass(picture)

    def _on_committed(self, error: Exception | None) -> None:
        if error is not None:
            self.fail(error)
