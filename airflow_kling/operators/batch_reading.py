"""Reading the pictures of a batch, those apart of which is known already what became; loaded when a task runs."""

from __future__ import annotations

import copy
import ctypes
import hashlib
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_kling.api.checks import is_url
from airflow_kling.api.inputs import InputFault
from airflow_kling.hooks.storage import storage_path
from airflow_kling.lifecycle.batch import Picture
from airflow_kling.lifecycle.batch_prices import is_paid, paid_keys, price_of
from airflow_kling.lifecycle.batch_results import RowStatus
from airflow_kling.lifecycle.batch_rows import Row, key_of, stamp_of
from airflow_kling.lifecycle.record import Record, Stage, record_from_json
from airflow_kling.lifecycle.submit import RESULT_LIFETIME, OnExisting
from airflow_kling.operators.batch_picture import Plain
from airflow_kling.operators.batch_process import Process
from airflow_kling.operators.batch_reframed import Reframed
from airflow_kling.operators.instance import external_id_of

if TYPE_CHECKING:
    from airflow_kling.lifecycle.collect import Fetch

M_MMAP_THRESHOLD = -3
LARGE_BLOCK = 256 << 10


class Reader:
    """Gives the picture of a row; used by several threads."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._operator = process.operator
        self._journal = process.journal
        self._epoch = process.epoch
        self._settings = process.settings
        #: The pictures that rows take up, and those known of that no row was found for yet.
        self.keys: set[str] = set()
        self._missing = paid_keys(self._journal).keys() | self._journal.keys("end")

    def read(self, row: Row, *, only_known: bool) -> Picture | tuple[str, dict[str, Any]] | None:
        """
        Return a row's picture; its key and end where that is known; None where it is not to be begun.

        :param only_known: Whether nothing more is begun.
        :raises InputFault: for a picture or parameters that Kling would refuse.
        """
        if row.fault:
            raise InputFault("images", row.fault, "a row with an image and known parameters", "correct the row")
        fetch = self._process.accounts.fetch(self._operator.kling_conn_id)
        made = picture_of(self._operator, row.image, row.own, fetch)
        stamp = self._stamp(row)
        seen = self._journal.get("seen", row.lookup)
        known = seen is not None and stamp and seen[0] == stamp
        if not known and only_known and (stamp or seen is None) and not self._missing:
            return None
        try:
            identity = seen[1] if known else _hidden(made.read())
        except Exception:
            # Whatever reading the source raises: a task that is paid is not lost because its source is.
            if seen is None or not self._is_remembered(key_of(seen[1], row.own)):
                raise
            identity, known = seen[1], True
        key = key_of(identity, row.own)
        self._missing.discard(key)
        if end := self._kept(key):
            if not known:
                self._journal.put("seen", row.lookup, [stamp, identity])
            return key, end
        fields = self._journal.get("record", f"{key}/0")
        record = record_from_json(fields) if fields else None
        exists = record is not None and is_paid(fields)
        doubtful = exists and self._is_doubtful(record, key)
        refused = record is not None and record.stage is Stage.REFUSED
        anew = doubtful and (refused or self._operator.on_existing == OnExisting.RESUBMIT.value)
        begun = exists and not anew
        if only_known and not begun:
            return None
        if known and not begun:
            made.read()
        slots, units, weight = made.price(record if begun else None)
        if isinstance(made, Reframed) and not made.needs_pass:
            end = made.keep(external_id_of(self._process.ti, key))
            self._process.keep_end(key, end)
            return key, end
        if begun and (kept := price_of(self._journal, key).units) is not None:
            units = kept  # one that is dearer now asks the budget once it is to be sent
        if not known:
            self._journal.put("seen", row.lookup, [stamp, identity])
        if not begun:
            self._check_price(slots, units)
        self.keys.add(key)
        return Picture(
            key, made, slots, units, weight, begun=begun, rejoins=exists and not doubtful, doubtful=doubtful, anew=anew
        )

    def _is_remembered(self, key: str) -> bool:
        record = self._journal.get("record", f"{key}/0")
        return self._journal.get("end", key) is not None or (record is not None and is_paid(record))

    def _is_doubtful(self, record: Record | None, key: str) -> bool:
        """Return whether a clear may make another task of a picture: then it waits for a slot as new ones do."""
        on_existing, settings = self._operator.on_existing, price_of(self._journal, key).settings
        end = self._journal.get("end", key)
        if record is not None and record.stage is Stage.REFUSED and record.earlier is not None:
            # What stands counts; the price that is kept is that of the refused one.
            record, settings = record.earlier, end["settings"] if end else "unknown"
        if record is None or record.epoch >= self._epoch or on_existing == OnExisting.FAIL.value:
            return False
        settings = settings or (end["settings"] if end else self._settings)
        failed = end is not None and end["status"] == RowStatus.FAILED.value
        expired = time.time() - record.at > RESULT_LIFETIME
        return on_existing == OnExisting.RESUBMIT.value or failed or expired or settings != self._settings

    def _stamp(self, row: Row) -> str:
        """Return what changes when the source does; a link and a task's output are what they are."""
        if row.stamp or isinstance(row.image, Mapping) or is_url(str(row.image)):
            return row.stamp or "-"
        with suppress(Exception):  # reading it says better what is wrong
            path = storage_path(str(row.image))
            return stamp_of(path.fs.info(path.path))
        return ""

    def _check_price(self, slots: int, units: float | None) -> None:
        operator = self._operator
        if operator.max_concurrency and slots > operator.max_concurrency:
            raise InputFault("n", slots, f"at most max_concurrency={operator.max_concurrency}", "make the two fit")
        if operator.budget is not None and units is None:
            raise InputFault("budget", operator.budget, "left out where no list price is known", "leave it out")

    def _kept(self, key: str) -> dict[str, Any] | None:
        """Return the end of a picture that counts for this run, too."""
        end = self._journal.get("end", key)
        if end is None or end["epoch"] == self._epoch:
            return end  # type: ignore[no-any-return]
        is_same = end["status"] == RowStatus.SUCCEEDED.value and end["settings"] == self._settings
        if not is_same or self._operator.on_existing != OnExisting.REATTACH.value:
            return None
        whole = all(storage_path(row["uri"]).exists() for row in end["outputs"])
        return end if whole else None


def picture_of(operator: Any, image: Any, own: Mapping[str, Any], fetch: Fetch) -> Plain:
    """
    Return a picture of the batch.

    :param own: Parameters of this picture alone.
    :raises InputFault: for parameters that make no sense.
    """
    one = copy.copy(operator)
    # Past the setters, which keep a DAG's dependencies up to date.
    one.__dict__.update(operator.own_parameters(own), image=image)
    one._check_constants()
    return Reframed(one, fetch) if getattr(one, "reframes", False) else Plain(one)


def _hidden(identity: str) -> str:
    """Return an identity to be kept: links, of which a clip may have several, may hold a key."""
    return f"link:{hashlib.sha256(identity.encode()).hexdigest()}" if "://" in identity else identity


def return_large_blocks() -> None:
    """
    Have the C library give pictures back to the system as soon as they are freed.

    By default glibc keeps blocks of up to 32 MB, once freed, in a heap per thread, where they are torn into pieces.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
