"""One process of a batch: whose it is, and where its results and its memory lie; loaded when a task runs."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_kling.hooks.storage import storage_path
from airflow_kling.lifecycle.batch_journal import Journal
from airflow_kling.lifecycle.batch_kept import note_done
from airflow_kling.lifecycle.batch_results import Results, progress
from airflow_kling.lifecycle.batch_rows import PROGRESS, RESULTS
from airflow_kling.lifecycle.collect import check_names, check_writable
from airflow_kling.lifecycle.files import OBJECT_STORES, write_whole
from airflow_kling.operators.batch_accounts import Accounts
from airflow_kling.operators.instance import epoch_of, external_id_of, first_try_of_epoch
from airflow_kling.operators.links import push_batch_links
from airflow_kling.operators.records import record_folder, record_path

if TYPE_CHECKING:
    from airflow_kling.api.models import Task


class Process:
    """What all parts of one process of a batch share."""

    #: Its accounts, and what tells all parameters of the batch from those of an earlier run.
    accounts: Accounts
    settings: str

    def __init__(self, operator: Any, context: Mapping[str, Any]) -> None:
        self.operator = operator
        self.context = context
        self.ti = context["ti"]
        self.epoch = epoch_of(self.ti)
        self.id = external_id_of(self.ti)
        self.place = storage_path(operator.output_path)
        self.folder = record_folder(record_path() or operator.output_path) / self.id
        self.journal = Journal(self.folder)
        self.results_path = self.place / f"{self.id}.jsonl"

    def open(self, *, resumed: bool) -> None:
        """Take the journal over, and refuse what would fail at the end."""
        push_batch_links(self.context, self.operator.output_path)
        check_writable(self.place)
        # Before all that may fail: a later try then knows that this one sent nothing.
        self.journal.open(self._first_try(), resumed=resumed)
        if self.operator.output_name:
            check_names(self.operator.output_name, self.operator.slots())
            self.operator.check_name()

    def _first_try(self) -> int:
        """Return the first try that would have left its journal here, where none is."""
        if record_path():
            return 1
        # All workers see the same bucket, though a clear may bring another path; a folder may be a worker's own.
        shared = getattr(self.folder, "protocol", "") in OBJECT_STORES
        return first_try_of_epoch(self.ti) if shared else int(self.ti.try_number)

    def keep_done(self, tasks: Sequence[Task], outputs: int = 0) -> None:
        """
        Remember with the next commit that the tasks of a picture ended and were dealt with.

        :param outputs: How many files were made of the last one.
        """
        note_done(self.journal, tasks, outputs, time.time())

    def connect(self) -> None:
        """Read the connections, those of earlier tasks, too."""
        operator = self.operator
        self.accounts = Accounts((operator.kling_conn_id, *operator.fallback_conn_ids), operator.family)
        base_url = self.accounts.account(operator.kling_conn_id).base_url
        told = [operator.settings(), operator.kling_conn_id, base_url]
        self.settings = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]
        self.accounts.know({record["kling_conn_id"] for _, record in self.journal.items("record")})

    def keep_end(self, key: str, end: Mapping[str, Any]) -> None:
        """Remember how a picture ended, with the next commit."""
        self.journal.put("end", key, {**end, "epoch": self.epoch, "settings": self.settings})

    def write_results(self, results: Results) -> None:
        """Write the results manifest, and tell where it is."""
        write_whole(self.results_path, b"".join(results.lines()))
        self.ti.xcom_push(key=RESULTS, value=str(self.results_path))

    def tell_progress(self, results: Results, running: int) -> None:
        """Tell Airflow how far the batch is, for those who look at its page."""
        with suppress(Exception):  # what is paid is not lost because nobody can be told
            self.ti.xcom_push(key=PROGRESS, value=progress(results, running))
