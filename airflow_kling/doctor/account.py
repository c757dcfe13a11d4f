"""What a gateway tells of itself and of an account, asked with GET alone: nothing here can create a task."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any

from airflow_kling.api.auth import TOKEN_BACKDATE, TOKEN_LIFETIME, TOKEN_MARGIN, KeyPair
from airflow_kling.api.calls import PROBE_TASK_ID, Call, list_call, packs_call, query_call
from airflow_kling.api.envelope import Answer, parse_packs, parse_task, parse_tasks
from airflow_kling.api.families import FAMILIES, IMAGE_EXPANSION
from airflow_kling.api.faults import ApiFault, FaultKind
from airflow_kling.api.gateways import Account
from airflow_kling.api.models import Pack, Task
from airflow_kling.doctor.findings import Finding, State

SKEW = 60.0
"""Seconds from which on a clock that differs is worth a word; look-ups allow for ten minutes."""

LISTED = ("image-expansion", "image-generation", "image-to-video", "text-to-video")
"""Families in whose lists a task is looked for to prove the look-up with."""

LOW = 0.1
"""Share of a pack that is little."""

Ask = Callable[[Call[Answer]], Answer]
_ABSENT = (FaultKind.NOT_FOUND, FaultKind.ROUTE, FaultKind.INPUT)
#: Checks without which the others tell nothing.
_NEEDED = ("network", "base url", "key")


class Examination:
    """
    Asks one account.

    :param ask: Sends a call and returns the answer as it came; raises ApiFault where none comes.
    :param clock: Seconds since the epoch.
    """

    def __init__(self, conn_id: str, account: Account, ask: Ask, clock: Callable[[], float]) -> None:
        self._conn_id = conn_id
        self._account = account
        self._ask = ask
        self._clock = clock
        #: Resource packs in force, as far as the gateway told.
        self.packs: list[Pack] = []

    def findings(self) -> Iterator[Finding]:
        """Yield a finding per check; what makes the others pointless ends them."""
        for finding in self._checks():
            yield finding
            if finding.check in _NEEDED and finding.state is State.FAIL:
                yield self._told("everything else", State.UNKNOWN, "not asked, for the checks above failed")
                return

    def _checks(self) -> Iterator[Finding]:
        account = self._account
        began = self._clock()
        try:
            answer = self._send(query_call(account, IMAGE_EXPANSION, PROBE_TASK_ID))
        except ApiFault as error:
            host = account.base_url
            advice = "check the host of the connection, its proxy, and this machine's network"
            yield self._told("network", State.FAIL, f"{host} was not reached: {_reason(error)}", advice)
            return
        took = self._clock() - began
        yield self._told("network", State.OK, f"{account.base_url} answered in {took:.2f} s")
        fault = _fault_of(lambda: parse_task(FAMILIES[IMAGE_EXPANSION], answer))
        yield self._base_url(answer, fault)
        yield self._clock_skew(answer, began + took / 2)
        yield self._key(fault)
        there, routes = self._routes(fault)
        yield routes
        yield from self._look_ups([family for family in LISTED if family in there])
        yield self._units()

    def _told(self, check: str, state: State, text: str, advice: str = "") -> Finding:
        return Finding(self._conn_id, check, state, text, advice)

    def _send(self, call: Call[Any]) -> Answer:
        if call.method != "GET":
            raise AssertionError("the doctor asks and never creates")
        return self._ask(replace(call, parse=lambda answer: answer))

    # -- one answer ----------------------------------------------------------------------------------------------

    def _base_url(self, answer: Answer, fault: ApiFault | None) -> Finding:
        account = self._account
        if fault is not None and (answer.status < 400 or fault.info.kind is not FaultKind.AUTH):
            is_json = answer.body.lstrip()[:1] in (b"{", b"[") and not 300 <= answer.status < 400
            if not is_json:
                advice = "correct host and prefix of the connection: this is no API of Kling"
                return self._told("base url", State.FAIL, f"{account.base_url}: {fault.info.message}", advice)
        return self._told("base url", State.OK, f"{account.base_url}{account.prefix} (gateway {account.gateway})")

    def _clock_skew(self, answer: Answer, local: float) -> Finding:
        try:
            server = parsedate_to_datetime(answer.headers["date"]).timestamp()
        except (KeyError, TypeError, ValueError, IndexError, OverflowError):
            return self._told("clock", State.UNKNOWN, "the server does not tell the time")
        # The header has whole seconds: the middle of its second.
        skew = local - (server + 0.5)
        text = f"this machine is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the server"
        advice = "set this machine's clock (NTP)"
        if isinstance(self._account.credentials, KeyPair) and (
            skew > TOKEN_BACKDATE or -skew > TOKEN_LIFETIME - TOKEN_MARGIN
        ):
            return self._told("clock", State.FAIL, f"{text}: signed tokens are refused", advice)
        if abs(skew) > SKEW:
            return self._told("clock", State.WARN, text, advice)
        return self._told("clock", State.OK, "this machine and the server agree" if abs(skew) < 2 else text)

    def _key(self, fault: ApiFault | None) -> Finding:
        what = "AccessKey and SecretKey" if isinstance(self._account.credentials, KeyPair) else "the API key"
        if fault is None or fault.info.kind in (FaultKind.NOT_FOUND, FaultKind.INPUT):
            return self._told("key", State.OK, f"{what}: accepted")
        if fault.info.kind in (FaultKind.AUTH, FaultKind.ACCOUNT):
            is_refused = fault.info.kind is FaultKind.AUTH
            word = "refused" if is_refused else "accepted, but the account may not be used"
            return self._told("key", State.FAIL, f"{what}: {word}: {_short(fault)}", _lowered(fault.info.hint))
        return self._told("key", State.UNKNOWN, f"{what}: not refused, but not confirmed either: {_short(fault)}")

    # -- routes --------------------------------------------------------------------------------------------------

    def _routes(self, first: ApiFault | None) -> tuple[list[str], Finding]:
        told: dict[str, list[str]] = {"there": [], "missing": [], "not permitted": [], "unclear": []}
        for family in FAMILIES.values():
            fault = first if family.name == IMAGE_EXPANSION else self._probe(family.name)
            told[_presence(fault)].append(family.name)
        there = told.pop("there")
        rest = "; ".join(f"{word}: {', '.join(names)}" for word, names in told.items() if names)
        text = f"{len(there)} of {len(FAMILIES)} families answer{f' ({rest})' if rest else ''}"
        presence = _presence(first)
        if presence == "there":
            return there, self._told("routes", State.OK, text)
        advice = _lowered(first.info.hint) if first else ""
        state = State.UNKNOWN if presence == "unclear" else State.FAIL
        return there, self._told("routes", state, f"{IMAGE_EXPANSION} is {presence}: {_short(first)}. {text}", advice)

    def _probe(self, family: str) -> ApiFault | None:
        call = query_call(self._account, family, PROBE_TASK_ID)
        return _fault_of(lambda: parse_task(FAMILIES[family], self._send(call)))

    # -- look-ups ------------------------------------------------------------------------------------------------

    def _look_ups(self, families: list[str]) -> Iterator[Finding]:
        believed = self._account.list_tasks
        listed: list[Task] = []
        fault: ApiFault | None = None
        for family in families or [IMAGE_EXPANSION]:
            try:
                answer = self._send(list_call(self._account, family, 1, 30))
                listed += parse_tasks(FAMILIES[family], answer)
            except ApiFault as error:
                fault = error
                break
            if any(task.external_task_id for task in listed):
                break
        if fault is None:
            advice = "" if believed else 'if it is whole, the extra "list_tasks": "yes" makes use of it'
            text = f"answers, with {len(listed)} task(s) at first"
            text += "" if believed else "; not counted on, for the gateway does not document it"
            yield self._told("list", State.OK, text, advice)
        elif fault.info.kind not in _ABSENT:
            yield self._told("list", State.UNKNOWN, f"could not be asked: {_short(fault)}")
        elif believed:
            advice = 'set the extra "list_tasks" to "no"'
            yield self._told("list", State.FAIL, f"is counted on, but not there: {_short(fault)}", advice)
        else:
            yield self._told("list", State.OK, f"is not there ({_short(fault)}), and not counted on")
        yield self._by_external_id(next((task for task in listed if task.external_task_id), None))

    def _by_external_id(self, known: Task | None) -> Finding:
        believed = self._account.lookup_by_external_id
        if known is None:
            if believed:
                text = "counted on, as the gateway documents it; not proven, for no task with an external id is listed"
                return self._told("look-up", State.OK, text)
            text = "not counted on: an answer that is lost on the way to a create stops with KlingSubmissionUnknown"
            advice = 'if the gateway finds tasks by external_task_id, set the extra "lookup_by_external_id" to "yes"'
            return self._told("look-up", State.WARN, text, advice)
        external_id = str(known.external_task_id)
        try:
            answer = self._send(query_call(self._account, known.family, external_id))
            found = parse_task(FAMILIES[known.family], answer).task_id == known.task_id
            why = "" if found else "another task came"
        except ApiFault as fault:
            if fault.info.kind not in _ABSENT:
                return self._told("look-up", State.UNKNOWN, f"could not be asked: {_short(fault)}")
            found, why = False, _short(fault)
        if found:
            text = f"finds tasks by their external id (proven with {known.task_id})"
            advice = "" if believed else 'the extra "lookup_by_external_id": "yes" makes use of it'
            return self._told("look-up", State.OK, text, advice)
        if believed:
            advice = 'set the extra "lookup_by_external_id" to "no"'
            return self._told("look-up", State.FAIL, f"is counted on, but does not work: {why}", advice)
        return self._told("look-up", State.OK, f"does not work ({why}), and is not counted on")

    # -- units ---------------------------------------------------------------------------------------------------

    def _units(self) -> Finding:
        call = packs_call(self._account, self._clock())
        if call is None:
            text = f"unknown: {self._account.gateway} documents no way to ask"
            return self._told("units", State.UNKNOWN, text, "look into its console")
        try:
            packs = parse_packs(self._send(call))
        except ApiFault as fault:
            return self._told("units", State.UNKNOWN, f"could not be asked: {_short(fault)}")
        self.packs = [pack for pack in packs if pack.in_force]
        if not self.packs:
            text = f"no resource pack in force ({len(packs)} expired, used up or yet to begin)"
            return self._told("units", State.WARN, text, "buy one in Kling's console, unless the account is postpaid")
        text = "; ".join(map(_pack_text, self.packs))
        low = [pack for pack in self.packs if pack.total and (pack.remaining or 0) < LOW * pack.total]
        if low:
            return self._told("units", State.WARN, f"{text} (up to 12 h old)", "buy another pack before it is used up")
        return self._told("units", State.OK, f"{text} (up to 12 h old)")


def concurrency_of(packs: list[Pack]) -> dict[str, int]:
    """Return how many tasks an account may have in flight, by kind: the most of the packs in force."""
    most: dict[str, int] = {}
    for pack in packs:
        if pack.kind and pack.concurrency:
            most[pack.kind] = max(pack.concurrency, most.get(pack.kind, 0))
    return most


def _fault_of(parse: Callable[[], object]) -> ApiFault | None:
    try:
        parse()
    except ApiFault as fault:
        return fault
    return None


def _presence(fault: ApiFault | None) -> str:
    if fault is None or fault.info.kind is FaultKind.NOT_FOUND:
        return "there"
    words = {FaultKind.ROUTE: "missing", FaultKind.AUTH: "not permitted"}
    return words.get(fault.info.kind, "unclear")


def _pack_text(pack: Pack) -> str:
    left = "?" if pack.remaining is None else f"{pack.remaining:,g}"
    total = "?" if pack.total is None else f"{pack.total:,g}"
    until = f", until {pack.ends_at:%Y-%m-%d}" if pack.ends_at else ""
    return f"{pack.name or 'a pack'}: {left} of {total} units left{until}"


def _short(fault: ApiFault | None) -> str:
    """Return a fault without its hint, which is the advice."""
    return str(fault.replace(hint="")) if fault else ""


def _reason(fault: ApiFault) -> str:
    """Return what the operating system says of a dead network, without the libraries around it."""
    found = re.search(
        r"\[Errno -?\d+\] ([^\"')]+)|(timed out|no answer in time|certificate[^\"')]*)", fault.info.message
    )
    return next(filter(None, found.groups())).strip() if found else fault.info.message


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
