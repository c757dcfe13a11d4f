"""What the pictures of a batch cost over its tries and clears, as far as its journal tells."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_kling.lifecycle.batch import Budget, Picture
from airflow_kling.lifecycle.batch_journal import Journal
from airflow_kling.lifecycle.batch_prices import Charges, Price, price_of
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
