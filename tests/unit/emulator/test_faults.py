"""The emulator's faults: rules, prompts, and their counting."""

from __future__ import annotations

import pytest
from starlette.responses import Response

from airflow_kling.emulator.delivery import Delivery
from airflow_kling.emulator.faults import ANSWERING, FAULTS, Effect, FaultBook, Place, Stage, Subject, prompt_words

BEFORE = {Stage.BEFORE}


def fire(book, place=Place.CREATE, stages=BEFORE, **subject):
    fault = book.fire(place, stages, Subject(**subject))
    return fault.name if fault else None


def test_a_rule_fires_as_often_as_it_says():
    book = FaultBook()
    book.add({"fault": "rate", "times": 2})
    assert [fire(book) for _ in range(4)] == ["rate", "rate", None, None]
    assert book.counts == {"rate": 2}


def test_a_rule_without_times_always_fires():
    book = FaultBook()
    book.add({"fault": "rate"})
    assert {fire(book) for _ in range(20)} == {"rate"}


def test_a_rule_meets_what_it_matches():
    book = FaultBook()
    book.add({"fault": "rate", "match": "shop"})
    assert fire(book) is None
    assert fire(book, external_task_id="shop-42") == "rate"
    assert fire(book, prompt="a shop") == "rate"


def test_a_rule_meets_the_place_it_names():
    book = FaultBook()
    book.add({"fault": "rate", "on": ["query", "list"]})
    assert [fire(book, place, ANSWERING) for place in Place] == [None, "rate", "rate", None]


def test_probability_is_seeded_and_each_rule_throws_its_own_dice():
    def run(*rules):
        book = FaultBook(seed=7)
        for rule in rules:
            book.add(rule)
        return [fire(book) for _ in range(200)]

    rare = {"fault": "rate", "probability": 0.3}
    assert run(rare) == run(rare)
    assert 30 < run(rare).count("rate") < 90
    assert run(rare, {"fault": "content", "probability": 0.5}).count("rate") == run(rare).count("rate")


def test_reset_starts_the_dice_anew():
    book = FaultBook(seed=7)
    book.add({"fault": "rate", "probability": 0.5})
    first = [fire(book) for _ in range(30)]
    book.reset()
    assert (book.rules, book.counts) == ([], {})
    book.add({"fault": "rate", "probability": 0.5})
    assert [fire(book) for _ in range(30)] == first


def test_reset_before_reading_comes_before_or_with_the_body():
    book = FaultBook()
    book.add({"fault": "reset-before-reading"})
    stages = {Stage.READING, Stage.BEFORE}
    assert book.fire_unread().name == "reset-before-reading"
    assert fire(book, stages=stages, external_task_id="shop") is None
    book.clear()
    book.add({"fault": "reset-before-reading", "match": "shop"})
    assert book.fire_unread() is None
    assert fire(book, stages=stages, external_task_id="shop") == "reset-before-reading"
    assert fire(book, Place.QUERY, ANSWERING, external_task_id="shop") is None


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_can_be_asked_for_in_a_rule_and_in_a_prompt(name):
    rule = FaultBook().add({"fault": name, "times": 1})
    words = list(prompt_words(f"before [emulator:{name}=2] after"))
    assert (rule.fault.name, words[0].fault.name, words[0].times) == (name, name, 2)
    assert words[0].places == rule.places == FAULTS[name].default_places


def test_every_code_has_words():
    for fault in FAULTS.values():
        if fault.effect is Effect.CODE:
            assert Delivery(0).disturb(fault, Response(), "r-1").status_code >= 400


def test_a_prompts_creates_count_together_and_its_queries_per_task():
    book = FaultBook()
    create = "[emulator:rate=1]"
    assert [fire(book, prompt=create, account="a", external_task_id=str(i)) for i in range(3)] == ["rate", None, None]
    assert fire(book, prompt=create, account="b") == "rate"
    query = "[emulator:rate@query=1]"
    asked = [fire(book, Place.QUERY, ANSWERING, prompt=query, task_id=task) for task in ("t1", "t1", "t2")]
    assert asked == ["rate", None, "rate"]
    assert fire(book, prompt=query) is None


def test_several_words_in_one_prompt():
    prompt = "[emulator:hang][emulator:truncated-json@query=3] hill"
    assert [(word.fault.name, word.places, word.times) for word in prompt_words(prompt)] == [
        ("hang", (Place.CREATE,), None),
        ("truncated-json", (Place.QUERY,), 3),
    ]


@pytest.mark.parametrize(
    "prompt",
    [
        "[emulator:typo]",
        "[emulator:]",
        "[emulator:hang@query]",
        "[emulator:rate=0]",
        "[emulator:rate=x]",
        "[emulator:rate@list]",
    ],
)
def test_words_that_cannot_be_meant(prompt):
    with pytest.raises(ValueError, match=r"fault=|times=|on="):
        list(prompt_words(prompt))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"fault": "typo"},
        {"fault": "rate", "on": "download"},
        {"fault": "rate", "on": []},
        {"fault": "rate", "on": [{}]},
        {"fault": "rate", "times": 0},
        {"fault": "rate", "times": 1.5},
        {"fault": "rate", "probability": 1.5},
        {"fault": "rate", "probability": True},
        {"fault": "rate", "match": 5},
        {"fault": "rate", "twice": True},
    ],
)
def test_rules_that_cannot_be_meant(fields):
    book = FaultBook()
    with pytest.raises(ValueError, match=r"fault|on|times|probability|match|unknown"):
        book.add(fields)
    assert book.rules == []
