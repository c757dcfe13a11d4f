"""Faults on demand: their table, the rules that fire them, and the words in a prompt that do the same."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, NamedTuple


class Place(StrEnum):
    """Which request a fault meets."""

    CREATE = "create"
    QUERY = "query"
    LIST = "list"
    DOWNLOAD = "download"


class Stage(Enum):
    """When in a request a fault comes; reads change nothing, so there it makes no difference."""

    READING = "before the body is read"
    BEFORE = "before the task is accepted"
    LOOKUP = "when an external id is looked up"
    FATE = "in what becomes of the accepted task"
    AFTER = "after the task is accepted"


class Effect(Enum):
    """What a fault does."""

    RESET = "the connection is reset"
    STALL = "the answer is held back"
    CODE = "the answer is a code"
    PAGE = "the answer is a web page"
    TRUNCATE = "the answer breaks off"
    LOOKUP = "external ids are unknown"
    HANG = "the task never ends"
    FAIL = "the task fails"
    UNKNOWN_WORD = "the task ends in a status that no document lists"
    EXPIRED = "the link counts as expired"
    CORRUPT = "the file is no picture"


ANSWERING = frozenset({Stage.READING, Stage.BEFORE, Stage.AFTER})
"""The stages of faults in an answer, which is all that a read can have."""

_CREATE = (Place.CREATE,)
_API = (Place.CREATE, Place.QUERY, Place.LIST)
_ALL = tuple(Place)


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One row of the table.

    :param stage: When it comes in a create.
    :param places: Which requests it can meet.
    :param default_places: Which it meets where nothing is said.
    :param code: Kling's code, of an effect that answers with one.
    :param http_status: HTTP status, of an effect that answers with a page.
    """

    name: str
    effect: Effect
    stage: Stage
    places: tuple[Place, ...] = _API
    default_places: tuple[Place, ...] = _CREATE
    code: int | None = None
    http_status: int = 200


_E, _S = Effect, Stage

#: Every fault that the emulator knows.
FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("reset-before-reading", _E.RESET, _S.READING, _ALL),
        Fault("reset-after-accepting", _E.RESET, _S.AFTER, _ALL),
        Fault("stall-after-accepting", _E.STALL, _S.AFTER, _ALL),
        Fault("error-before-accepting", _E.CODE, _S.BEFORE, code=5000),
        Fault("error-after-accepting", _E.CODE, _S.AFTER, code=5000),
        Fault("bad-gateway-after-accepting", _E.PAGE, _S.AFTER, _ALL, http_status=502),
        Fault("truncated-json", _E.TRUNCATE, _S.BEFORE),
        Fault("truncated-json-after-accepting", _E.TRUNCATE, _S.AFTER),
        Fault("html-page", _E.PAGE, _S.BEFORE, _ALL),
        Fault("html-page-after-accepting", _E.PAGE, _S.AFTER, _ALL),
        Fault("clock-skew", _E.CODE, _S.BEFORE, code=1003),
        Fault("content", _E.CODE, _S.BEFORE, _CREATE, code=1301),
        Fault("rate", _E.CODE, _S.BEFORE, code=1302),
        Fault("concurrency", _E.CODE, _S.BEFORE, _CREATE, code=1303),
        Fault("balance", _E.CODE, _S.BEFORE, _CREATE, code=1102),
        Fault("hang", _E.HANG, _S.FATE, _CREATE),
        Fault("fail", _E.FAIL, _S.FATE, _CREATE),
        Fault("unknown-word", _E.UNKNOWN_WORD, _S.FATE, _CREATE),
        Fault("no-lookup", _E.LOOKUP, _S.LOOKUP, (Place.CREATE, Place.QUERY), (Place.CREATE, Place.QUERY)),
        Fault("expired-download", _E.EXPIRED, _S.BEFORE, (Place.DOWNLOAD,), (Place.DOWNLOAD,)),
        Fault("corrupt-download", _E.CORRUPT, _S.BEFORE, (Place.DOWNLOAD,), (Place.DOWNLOAD,)),
    )
}

#: The words of the codes that faults answer with, as the documents print them.
MESSAGES: dict[int, str] = {
    1003: "Authorization is not yet valid",
    1102: "Account balance not enough",
    1301: "The content of the input violates the content security policy",
    1302: "Too many requests",
    1303: "parallel task over resource pack limit",
    5000: "Server internal error",
}

_WORD = re.compile(r"\[emulator:([^\]@=]*)(?:@([^\]=]*))?(?:=([^\]]*))?\]")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a request is about, as far as rules and counters need it."""

    account: str = ""
    external_task_id: str | None = None
    prompt: str | None = None
    task_id: str | None = None

    def holds(self, text: str) -> bool:
        """Return whether external id or prompt contain the text."""
        return text in (self.external_task_id or "") or text in (self.prompt or "")


@dataclass(slots=True)
class FaultRule:
    """
    A fault and when to fire it.

    :param times: How often still; None for always.
    :param probability: Of each chance taken, 0-1.
    :param match: Part of the external id or prompt of those it meets; None for all.
    """

    fault: Fault
    places: tuple[Place, ...]
    times: int | None = None
    probability: float = 1.0
    match: str | None = None
    fired: int = 0
    dice: random.Random = field(default_factory=random.Random, repr=False)

    def describe(self) -> dict[str, Any]:
        """Return the rule as the control route shows it."""
        return {
            "fault": self.fault.name,
            "on": [place.value for place in self.places],
            "times": self.times,
            "probability": self.probability,
            "match": self.match,
            "fired": self.fired,
        }

    def meets(self, place: Place, stages: Collection[Stage], subject: Subject) -> bool:
        """Return whether it fires now; a chance taken is a throw of its own dice."""
        if place not in self.places or self.fault.stage not in stages or self.times == 0:
            return False
        if self.match is not None and not subject.holds(self.match):
            return False
        return self.probability >= 1 or self.dice.random() < self.probability

    def spend(self) -> Fault:
        """Count one firing."""
        self.fired += 1
        if self.times is not None:
            self.times -= 1
        return self.fault


class PromptWord(NamedTuple):
    """
    A fault that a prompt asks for.

    :param times: How often; None for always.
    """

    fault: Fault
    places: tuple[Place, ...]
    times: int | None


def prompt_words(prompt: str | None) -> Iterator[PromptWord]:
    """
    Yield the faults that a prompt asks for: ``[emulator:fault]``, ``[emulator:fault=times]``, and either with
    ``@create``, ``@query`` or ``@download`` after the fault's name.

    :raises ValueError: for a word that names no fault, or one that cannot happen there.
    """
    for name, place, times in _WORD.findall(prompt or ""):
        fault = _fault(name)
        if place == Place.LIST.value:
            raise ValueError("on='list': a list belongs to no prompt; add a rule instead")
        yield PromptWord(fault, _places(fault, place or None), _times(times or None))


class FaultBook:
    """
    Holds the rules, and decides which fault meets a request; not thread-safe by itself.

    :param seed: Of the rules that have a probability.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """Remove all rules and counts, and start the dice anew."""
        self.rules: list[FaultRule] = []
        self.counts: Counter[str] = Counter()
        self._added = 0
        self._spent_words: Counter[tuple[str, ...]] = Counter()

    def add(self, fields: Mapping[str, Any]) -> FaultRule:
        """
        Add a rule.

        :param fields: ``fault``; optional ``on``, ``times``, ``probability``, ``match``.
        :raises ValueError: for fields that cannot be meant.
        """
        unknown = set(fields) - {"fault", "on", "times", "probability", "match"}
        if unknown:
            raise ValueError(f"unknown fields {', '.join(sorted(map(str, unknown)))}")
        fault = _fault(fields.get("fault"))
        match = fields.get("match")
        if match is not None and not isinstance(match, str):
            raise ValueError("match: must be text")
        rule = FaultRule(
            fault,
            _places(fault, fields.get("on")),
            _times(fields.get("times")),
            _probability(fields.get("probability")),
            match or None,
            # Each rule throws its own dice, so that one rule's chances do not shift another's.
            dice=random.Random(f"{self._seed}/{self._added}"),
        )
        self._added += 1
        self.rules.append(rule)
        return rule

    def clear(self) -> None:
        """Remove all rules; what fired stays counted."""
        self.rules.clear()

    def fire_unread(self) -> Fault | None:
        """Return the fault that meets a create of which nothing is read yet: only rules without ``match`` can."""
        for rule in self.rules:
            if rule.match is None and rule.meets(Place.CREATE, {Stage.READING}, Subject()):
                return self._count(rule.spend())
        return None

    def fire(self, place: Place, stages: Collection[Stage], subject: Subject) -> Fault | None:
        """Return the fault that meets a request, the prompt's before the rules', or None."""
        for word in prompt_words(subject.prompt):
            if place in word.places and word.fault.stage in stages and self._spend_word(word, place, subject):
                return self._count(word.fault)
        for rule in self.rules:
            had_its_chance = place is Place.CREATE and rule.fault.stage is Stage.READING and rule.match is None
            if not had_its_chance and rule.meets(place, stages, subject):
                return self._count(rule.spend())
        return None

    def _spend_word(self, word: PromptWord, place: Place, subject: Subject) -> bool:
        if word.times is None:
            return True
        # A prompt's creates count together whatever their external ids, so that "=1" lets a retry through.
        whose = (subject.account, subject.prompt or "") if place is Place.CREATE else (subject.task_id or "",)
        key = (word.fault.name, place.value, *whose)
        self._spent_words[key] += 1
        return self._spent_words[key] <= word.times

    def _count(self, fault: Fault) -> Fault:
        self.counts[fault.name] += 1
        return fault


def _fault(name: object) -> Fault:
    fault = FAULTS.get(name) if isinstance(name, str) else None
    if fault is None:
        raise ValueError(f"fault={str(name)[:40]!r}: must be one of {', '.join(FAULTS)}")
    return fault


def _places(fault: Fault, on: object) -> tuple[Place, ...]:
    if on is None:
        return fault.default_places
    names = on if isinstance(on, list) else [on]
    places = tuple(place for name in names for place in fault.places if place.value == name)
    if not names or len(places) != len(names):
        raise ValueError(f"on={on!r}: {fault.name} can meet {', '.join(fault.places)}")
    return places


def _times(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"times={value!r}: must be a whole number from 1, or nothing for always")
    return value


def _probability(value: object) -> float:
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"probability={value!r}: must be a number from 0 to 1")
    return float(value)
