"""Reading the pictures of a batch, those apart of which is known already what became; loaded when a task runs."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from airflow_kling.api.checks import is_url
from airflow_kling.api.inputs import InputFault
from airflow_kling.hooks.storage import storage_path
from airflow_kling.lifecycle.batch import Picture
from airflow_kling.lifecycle.batch_journal import Journal
from airflow_kling.lifecycle.batch_results import RowStatus
from airflow_kling.lifecycle.batch_rows import Row, stamp_of
from airflow_kling.lifecycle.record import Stage, record_from_json
from airflow_kling.lifecycle.submit import OnExisting
from airflow_kling.operators.batch_picture import Reframed, key_of, picture_of
from airflow_kling.operators.work import external_id_of

M_MMAP_THRESHOLD = -3
LARGE_BLOCK = 256 << 10


class Reader:
    """
    Gives the picture of a row; used by several threads.

    :param operator: With its fields rendered.
    :param ti: The task instance.
    :param journal: What is remembered.
    :param epoch: Number of tries before the user's last clear.
    :param settings: Tells whether all parameters of the batch are those of an earlier run.
    """

    def __init__(self, operator: Any, ti: Any, journal: Journal, epoch: int, settings: str) -> None:
        self._operator = operator
        self._ti = ti
        self._journal = journal
        self._epoch = epoch
        self._settings = settings

    def read(self, row: Row, *, only_known: bool) -> Picture | tuple[str, dict[str, Any]] | None:
        """
        Return a row's picture; its key and end where that is known; None where it is not to be begun.

        :param row: The row.
        :param only_known: Whether nothing more is begun.
        :raises InputFault: for a picture or parameters that Kling would refuse.
        """
        if row.fault:
            raise InputFault("images", row.fault, "a row with an image and known parameters", "correct the row")
        made = picture_of(self._operator, row.image, row.own)
        stamp = self._stamp(row)
        seen = self._journal.get("seen", row.name)
        known = seen is not None and stamp and seen[0] == stamp
        if not known and only_known:
            return None
        identity = seen[1] if known else made.read()
        key = key_of(identity, row.own)
        if end := self._kept(key):
            if not known:
                self._journal.put("seen", row.name, [stamp, identity, end["units"]])
            return key, end
        fields = self._journal.get("record", f"{key}/0")
        record = record_from_json(fields) if fields else None
        begun = record is not None and (record.stage is not Stage.REFUSED or record.earlier is not None)
        if only_known and not begun:
            return None
        if known and not begun:
            made.read()
        slots, units, weight = made.price(record if begun else None)
        if isinstance(made, Reframed) and not made.needs_pass:
            end = made.keep(external_id_of(self._ti, key)) | {"epoch": self._epoch, "settings": self._settings}
            self._journal.put("end", key, end)
            return key, end
        if units is None and begun and known:
            units = seen[2]
        if not known or seen[2] != units:
            self._journal.put("seen", row.name, [stamp, identity, units])
        if not begun:
            self._check_price(slots, units)
        return Picture(key, made, slots, units, weight, begun=begun, rejoins=begun)

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


def return_large_blocks() -> None:
    """
    Have the C library give pictures back to the system as soon as they are freed.

    By default glibc keeps blocks of up to 32 MB, once freed, in a heap per thread, where they are torn into pieces.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
