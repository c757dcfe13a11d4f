"""What the pictures of a batch cost over its tries and clears, as far as its journal tells."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_kling.lifecycle.batch import Budget, Picture
from airflow_kling.lifecycle.batch_journal import Journal
from airflow_kling.lifecycle.batch_prices import Charges, Price, charge_known, price_of
from airflow_kling.lifecycle.record import Record, Stage


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path)
    journal.open()
    return journal


def record(stage, external_id, epoch=0, **facts):
    return Record(stage, external_id, "kling_default", "f", epoch, 0, 1.0, **facts)


def picture(units, number=0):
    return Picture("k", SimpleNamespace(number=number), units=units, begun=True)


def charges(journal, epoch=0, budget=100.0):
    return Charges(journal, Budget(budget), "settings", epoch)


@pytest.mark.parametrize(("stage", "before"), [(Stage.REFUSED, 8.0), (Stage.SUBMITTED, 24.0)])
def test_a_create_that_was_refused_has_cost_nothing(journal, stage, before):
    first = record(Stage.SUBMITTED, "a")
    journal.put("record", "k/0", record(stage, "b", 1, earlier=first).to_json())
    journal.put("seen", "price/k", list(Price(16.0, "old", 1, 8.0)))
    assert charges(journal, 2).charge(picture(16.0), "c", 16.0, stopped=False)
    assert price_of(journal, "k") == (16.0, "settings", 2, before)


def test_a_later_pass_that_makes_it_dearer_is_remembered(journal):
    journal.put("record", "k/0", record(Stage.SUBMITTED, "a").to_json())
    journal.put("seen", "price/k", list(Price(16.0, "old", 0)))
    assert charges(journal).charge(picture(16.0, 1), "b", 40.0, stopped=False)
    assert price_of(journal, "k") == (40.0, "old", 0, 0.0)
    assert not charges(journal, budget=50.0).charge(picture(40.0, 1), "b", 64.0, stopped=False)
    assert price_of(journal, "k").units == 40.0


def end(units, epoch):
    return {"units": units, "epoch": epoch}


@pytest.mark.parametrize(
    ("ended", "left", "price", "spent", "reserved"),
    [
        pytest.param(end(7.0, 1), None, Price(8.0, "s", 1, 16.0), 23.0, False, id="ended"),
        pytest.param(end(None, 1), None, Price(8.0, "s", 1), 8.0, False, id="ended, units not told"),
        pytest.param(end(7.0, 0), Stage.INTENT, Price(8.0, "s", 1, 16.0), 16.0, True, id="another under way since"),
        pytest.param(end(7.0, 0), None, Price(8.0, "s", 1, 16.0), 16.0, False, id="another that was not sent"),
        pytest.param(None, Stage.SUBMITTED, None, 0.0, True, id="under way"),
        pytest.param(None, Stage.REFUSED, None, 0.0, False, id="refused"),
    ],
)
def test_budget_begins_with_what_earlier_tries_began(journal, ended, left, price, spent, reserved):
    for kind, key, value in (
        ("end", "k", ended),
        ("seen", "price/k", price and list(price)),
        ("record", "k/0", left and record(left, "a").to_json()),
    ):
        if value is not None:
            journal.put(kind, key, value)
    budget = Budget(100.0)
    charge_known(journal, budget)
    assert (budget.spent, budget.holds("k")) == (spent, reserved)


def test_task_behind_a_refused_create_is_paid_and_the_create_not(journal):
    journal.put("record", "k/0", record(Stage.REFUSED, "b", earlier=record(Stage.SUBMITTED, "a")).to_json())
    budget = Budget(100.0)
    charge_known(journal, budget)
    assert (budget.spent, budget.holds("k")) == (0.0, False)


def test_create_without_a_price_is_refused_by_a_budget_alone(journal):
    assert not charges(journal).charge(picture(None), "a", None, stopped=False)
    assert charges(journal, budget=None).charge(picture(None), "a", None, stopped=False)


@pytest.mark.parametrize(("stopped", "budget"), [(True, 100.0), (False, 4.0)])
def test_another_task_after_a_clear_needs_a_batch_that_goes_on_and_a_budget(journal, stopped, budget):
    journal.put("record", "k/0", record(Stage.SUBMITTED, "a").to_json())
    assert not charges(journal, 1, budget).charge(picture(8.0), "b", 8.0, stopped=stopped)
    assert price_of(journal, "k") == Price()
