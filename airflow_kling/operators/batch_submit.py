"""Submitting a picture of a batch, once and within the budget; loaded when a task runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from airflow_kling.lifecycle.batch import Batch, Picture
from airflow_kling.lifecycle.batch_journal import JournalRecords
from airflow_kling.lifecycle.batch_prices import Charges
from airflow_kling.lifecycle.submit import Submission, Submitted
from airflow_kling.operators.batch_process import Process
from airflow_kling.operators.instance import first_try_of_epoch
from airflow_kling.operators.work import work_of

if TYPE_CHECKING:
    from airflow_kling.api.calls import TaskRequest
    from airflow_kling.lifecycle.source import Source


class NotBegunAgain(Exception):
    """A create that would pay for a picture once more, after the batch has stopped or over its budget."""


class Sender:
    """Submits pictures; used by several threads."""

    def __init__(self, process: Process, batch: Batch) -> None:
        self._process = process
        self._batch = batch
        self._charges = Charges(process.journal, batch.budget, process.settings, process.epoch)
        # A line for each of ten thousand pictures is no log.
        self._quiet = logging.getLogger(f"{__name__}.pictures")
        self._quiet.setLevel(logging.WARNING)

    def send(self, picture: Picture) -> Submitted:
        """
        Return a picture's next task, made now or before.

        :raises NotBegunAgain: where it would be paid for once more, and may not be.
        :raises ApiFault: or whatever the source, the storage or Kling raises.
        """
        process, made, step = self._process, picture.made, picture.made.step()
        accounts, operator = process.accounts, process.operator
        number = f"{picture.key}/{made.number}"

        def build(source: Callable[[], Source], external_id: str) -> TaskRequest:
            request: TaskRequest = step.build_request(source(), external_id)
            units = made.price_of(request)
            if not self._charges.charge(picture, external_id, units, stopped=self._batch.stopped is not None):
                raise NotBegunAgain
            return request

        work = work_of(
            operator,
            process.ti,
            step,
            build,
            number=number,
            conn_ids=accounts.conn_ids,
            base_url=lambda: accounts.account(operator.kling_conn_id).base_url,
            source_size=made.source_size,
        )
        records = JournalRecords(process.journal, number, first_try_of_epoch(process.ti))
        submitted = Submission(work, records, accounts.client, self._quiet).run()
        made.forget()
        return submitted
