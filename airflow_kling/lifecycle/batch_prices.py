"""What the pictures of a batch cost, as its journal tells, and whether one may be paid for once more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from airflow_kling.lifecycle.batch import Budget, Picture
from airflow_kling.lifecycle.batch_journal import Journal
from airflow_kling.lifecycle.record import Stage


class Price(NamedTuple):
    """
    What is remembered of a picture's price, when its create is sent.

    :param units: List price of all its tasks; None where none is known.
    :param settings: Tells the parameters that it was sent with.
    :param epoch: Number of tries before the clear that it was sent after.
    :param before: Units that earlier tasks cost, which a clear had made anew.
    """

    units: float | None = None
    settings: str = ""
    epoch: int = -1
    before: float = 0.0

    def cost(self, end: Mapping[str, Any] | None) -> float:
        """Return what the picture cost, the earlier tasks apart."""
        told = end["units"] if end is not None and end["epoch"] >= self.epoch else None
        return (self.units or 0.0) if told is None else float(told)


def price_of(journal: Journal, key: str) -> Price:
    """Return what is remembered of the price of a picture."""
    return Price(*(journal.get("seen", f"price/{key}") or ()))


def is_paid(record: Mapping[str, Any]) -> bool:
    """Return whether a task may exist by a record of the journal, or by the one before it."""
    return record["stage"] != Stage.REFUSED.value or record.get("earlier") is not None


def paid_keys(journal: Journal) -> dict[str, bool]:
    """Return the pictures of which a task may exist, and whether one of the last create may."""
    keys: dict[str, bool] = {}
    for name, record in journal.items("record"):
        if is_paid(record):
            key = name.rpartition("/")[0]
            keys[key] = keys.get(key, False) or record["stage"] != Stage.REFUSED.value
    return keys


def charge_known(journal: Journal, budget: Budget) -> None:
    """Charge the budget with all that earlier tries and runs began."""
    paid = paid_keys(journal)
    for key in journal.keys("end") | paid.keys():
        end, price = journal.get("end", key), price_of(journal, key)
        budget.spent += price.before
        if end is not None and end["epoch"] >= price.epoch:
            budget.release(key, price.cost(end))
        elif paid.get(key):
            budget.reserve(key, price.units)


class Charges:
    """
    Takes note of what a create costs that is about to be sent, or refuses it; used by several threads.

    :param journal: What is remembered; a price is stored with the next commit, which is that of the create's intent.
    :param epoch: Number of tries before the user's last clear.
    """

    def __init__(self, journal: Journal, budget: Budget, settings: str, epoch: int) -> None:
        self._journal = journal
        self._budget = budget
        self._settings = settings
        self._epoch = epoch

    def charge(self, picture: Picture, external_id: str, units: float | None, *, stopped: bool) -> bool:
        """
        Return whether a picture's next create may be sent, and take note of its price.

        :param external_id: Of the create: another one than that of a task that may exist makes another task.
        :param units: List price of all its tasks, by what is to be sent.
        :param stopped: Whether the batch begins nothing more.
        """
        key, number = picture.key, picture.made.number
        record = self._journal.get("record", f"{key}/{number}")
        price = price_of(self._journal, key)
        kept = price.epoch >= 0
        another = record is not None and is_paid(record) and record["external_task_id"] != external_id
        more = (units or 0.0) > (picture.units or 0.0)
        picture.units = units
        if units is None and self._budget.units is not None:
            return False
        if another and (price.epoch if kept else record["epoch"]) < self._epoch:
            if (stopped and not picture.anew) or not self._budget.admits_again(picture):
                return False
            # One that was refused cost nothing, and what stands before it is in the sum already.
            cost = price.cost(self._end(key)) if record["stage"] != Stage.REFUSED.value else 0.0
            self._keep(key, Price(units, self._settings, self._epoch, price.before + cost))
            return True
        if more and not self._budget.admits_more(picture):
            return False
        if not number or not kept or more:
            # What was kept before is of a create that made nothing, or of fewer or cheaper passes.
            settings = price.settings if number and kept else self._settings
            self._keep(key, Price(units, settings, price.epoch if kept else self._epoch, price.before))
        return True

    def _end(self, key: str) -> Mapping[str, Any] | None:
        end: Mapping[str, Any] | None = self._journal.get("end", key)
        return end

    def _keep(self, key: str, price: Price) -> None:
        if price != price_of(self._journal, key):
            self._journal.put("seen", f"price/{key}", list(price))
