"""Random histories of one task: faults, kills, retries, clears, late posts; it is paid once and never lost."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import count, pairwise
from urllib.parse import unquote, urlsplit

import pytest

from airflow_kling.api.auth import ApiKey
from airflow_kling.api.calls import READ_TIMEOUT, create_call, list_call, may_resend, query_call, resend_delay
from airflow_kling.api.envelope import Answer
from airflow_kling.api.families import FAMILIES, IMAGE_EXPANSION
from airflow_kling.api.faults import ApiFault, Created, FaultInfo, FaultKind
from airflow_kling.api.gateways import Account
from airflow_kling.api.models import ExpandRequest
from airflow_kling.emulator.app import EmulatorApp
from airflow_kling.emulator.faults import FAULTS, Place, Stage
from airflow_kling.emulator.orders import Order
from airflow_kling.emulator.refusals import Refusal
from airflow_kling.emulator.settings import DEFAULT_KEY, RESULT_LIFETIME, Dialect, EmulatorSettings
from airflow_kling.lifecycle.pressure import Pressure
from airflow_kling.lifecycle.record import NoRecords, StateStoreRecords
from airflow_kling.lifecycle.submit import OnExisting, Submission, Work, is_pressure
from airflow_kling.lifecycle.wait import Outcome, Wait
from airflow_kling.lifecycle.watch import watch

SEEDS = range(int(os.environ.get("KLING_HISTORIES", "40")))
FAMILY = FAMILIES[IMAGE_EXPANSION]
RETRIES = 2
TIMEOUT = SUBMIT_TIMEOUT = 3600.0
TRANSIENT = {FaultKind.RATE, FaultKind.CONCURRENCY, FaultKind.SERVER, FaultKind.CONNECTION}
LOG = logging.getLogger("histories")

#: Dialect, whether it finds tasks by our id (and so refuses a second one), whether it lists them.
GATEWAYS = {
    "kling": (Dialect.KLING, True, True),
    "gateway": (Dialect.GATEWAY, True, False),
    "list": (Dialect.GATEWAY, False, True),
    "blind": (Dialect.GATEWAY, False, False),
}
LATE = {"kling": 86_400.0, "gateway": 86_400.0, "list": 60.0, "blind": 86_400.0}
"""How late a lost create may arrive. A list is given two minutes to show it; the others need no such bound."""


EVENTS = [*GATEWAYS, "kept", "nowhere", "dropped by a clear", "killed", "frozen", "woken", "late", "busy", "unknown"]


class Killed(BaseException):
    """The process ends here, as by SIGKILL."""


class TriggererRestarted(BaseException):
    """The wait goes on in another process, with the same deadline."""


@dataclass
class Airflow:
    """What Airflow and the DAG's author keep of the task."""

    try_number: int = 0
    first_try: int = 1
    mode: OnExisting = OnExisting.REATTACH
    input: int = 1
    store: dict[str, str] = field(default_factory=dict)

    @property
    def epoch(self):
        return self.first_try - 1

    def get(self, key):
        return json.loads(self.store[key]) if key in self.store else None

    def set(self, key, value):
        self.store[key] = json.dumps(value)


@dataclass(frozen=True)
class Made:
    """A create that was accepted, and in whose name it was sent."""

    task_id: str
    at: float
    epoch: int
    input: int
    gone_before: frozenset[str]


class Process:
    """A worker's process: runs until it is killed, freezes, or ends; a frozen one may go on when nobody expects it."""

    def __init__(self, body):
        self._body, self._turn, self._back = body, threading.Semaphore(0), threading.Semaphore(0)
        self.kill_at = self.freeze_at = None
        self.steps, self.frozen, self.result, self.error = Counter(), False, None, None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def go_on(self):
        """Let it run to its end, or until it freezes."""
        self.frozen = False
        self._turn.release()
        self._back.acquire()

    def gate(self, moment):
        """Be killed or freeze here, if it is the time."""
        self.steps["any"] += 1
        self.steps[moment] += 1
        for place in ("any", moment):
            if self.kill_at == (place, self.steps[place]):
                raise Killed
            if self.freeze_at == (place, self.steps[place]):
                self.frozen = True
                self._back.release()
                self._turn.acquire()

    def _run(self):
        self._turn.acquire()
        try:
            self.result = self._body(self)
        except BaseException as error:
            self.error = error
        self._back.release()


class Wire:
    """One account: a Call becomes a request to the emulator's application; resent as the transports do."""

    def __init__(self, history, process, airflow):
        self.account, self._history, self._process, self._airflow = history.account, history, process, airflow

    def submit(self, request):
        return self._send(create_call(self.account, request))

    def get_task(self, task_id, family=IMAGE_EXPANSION):
        return self._send(query_call(self.account, family, task_id))

    def list_tasks(self, family=IMAGE_EXPANSION, page=1, page_size=30):
        return self._send(list_call(self.account, family, page, page_size))

    def _send(self, call):
        for attempt in count(1):
            try:
                return self._send_once(call)
            except ApiFault as fault:
                if not may_resend(call.method, fault.info, attempt, token_renewable=False):
                    raise
                self._history.pass_time(resend_delay(fault.info, attempt, self._history.dice.uniform))
        return None

    def _send_once(self, call):
        history, what = self._history, call.method
        self._process.gate(f"before {what}")
        answer = history.send_late(call, self._airflow) if what == "POST" and history.is_late() else None
        if answer is None:
            answer = history.send(call, self._airflow)
        self._process.gate(f"after {what}")
        if isinstance(answer, Exception):
            raise ApiFault(FaultInfo(FaultKind.CONNECTION, "connection lost", created=Created.MAY_EXIST))
        return call.parse(answer)


class GatedRecords:
    """Records that a process may die before or after writing."""

    def __init__(self, records, process):
        self._records, self._process = records, process
        self.durable, self.survive_clear, self.load = records.durable, records.survive_clear, records.load

    def save(self, record):
        self._process.gate("before save")
        self._records.save(record)
        self._process.gate("after save")


class History:
    """One piece of work from its first try to its last clear, against an emulator of its own."""

    def __init__(self, seed, loop):
        self.dice, self._loop = random.Random(seed), loop
        dice = self.dice
        self.gateway = dice.choice([*GATEWAYS, "kling"])
        self.kept = dice.choice(["kept", "kept", "dropped by a clear", "nowhere"])
        self.has_look_up = self.gateway != "blind"
        dialect, looks_up, lists = GATEWAYS[self.gateway]
        self.app = EmulatorApp(
            EmulatorSettings(
                latency=dice.choice([1.0, 60.0, 900.0]),
                quota=dice.choice([None, 1, 2]),
                pictures="canned",
                virtual_clock=True,
                seed=seed,
                gateway_lookup=looks_up,
                gateway_list=lists,
            )
        )
        self.state = self.app.state
        self.account = Account(
            "kling", "http://emulator", dialect.value, ApiKey(DEFAULT_KEY), "down_expansion_ratio", looks_up, lists
        )
        self.airflow = Airflow(mode=self._mode())
        self.made, self.late, self.zombies, self.trace = [], [], [], []
        self.asked_anew, self.events, self.calm = set(), set(), False
        self.collected = self.fault = None

    # -- time and the wire -------------------------------------------------------------------------------------------

    def now(self):
        return self.state.clock.now()

    def pass_time(self, seconds):
        """Let time pass; lost creates arrive when theirs has come."""
        end = self.now() + max(seconds, 0.0)
        for due, call, airflow in sorted(self.late, key=lambda late: late[0]):
            if due <= end:
                self.late = [late for late in self.late if late[1] is not call]
                self.events.add("late")
                self.state.advance(max(due - self.now(), 0.0))
                self.send(call, airflow)
        self.state.advance(max(end - self.now(), 0.0))

    def is_late(self):
        return not self.calm and self.dice.random() < 0.15

    def send_late(self, call, airflow):
        """Lose a create on its way: it arrives when nobody waits for its answer any more."""
        self.late.append((self.now() + READ_TIMEOUT + self.dice.uniform(0, LATE[self.gateway]), call, airflow))
        self.pass_time(READ_TIMEOUT)
        return TimeoutError()

    def send(self, call, airflow):
        """Return the answer, or the exception that stands for none."""
        if self.zombies and self.dice.random() < 0.2:
            self.events.add("woken")
            self.zombies.pop().go_on()
        known = {None, *(row["task_id"] for row in self.state.ledger()["creates"])}
        try:
            answer = self._loop.run_until_complete(self._ask(call))
        except ConnectionError as error:
            answer = error
        for row in self.state.ledger()["creates"]:
            if row["task_id"] not in known:
                gone = frozenset(made.task_id for made in self.made if self._is_gone(made))
                self.made.append(Made(row["task_id"], self.now(), airflow.epoch, airflow.input, gone))
                self.trace.append(f"made {row['task_id']} {row['external_task_id']} in epoch {airflow.epoch}")
        return answer

    async def _ask(self, call):
        parts, messages = urlsplit(call.url), []
        headers = call.headers | {"host": "emulator", "authorization": f"Bearer {DEFAULT_KEY}"}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": call.method,
            "scheme": "http",
            "server": ("emulator", 80),
            "client": ("here", 1),
            "root_path": "",
            "path": unquote(parts.path),
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "extensions": {},
        }
        body = [{"type": "http.request", "body": call.body or b""}]

        async def receive():
            return body.pop() if body else {"type": "http.disconnect"}

        async def send(message):
            messages.append(message)

        await self.app(scope, receive, send)
        if not messages:
            raise ConnectionError("no answer in time")
        names = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        return Answer(messages[0]["status"], names, b"".join(message.get("body", b"") for message in messages[1:]))

    # -- one try -----------------------------------------------------------------------------------------------------

    def _attempt(self, process, airflow, retried):
        """Submit, wait for a slot and for the task, as the operator does."""
        wire = Wire(self, process, airflow)

        def submission():
            survive = self.kept == "kept"
            store = StateStoreRecords(self.airflow, "task", survive_clear=survive)
            kept = NoRecords() if self.kept == "nowhere" else store
            work = Work(
                IMAGE_EXPANSION,
                lambda epoch, generation: f"af-{epoch}-{generation}",
                lambda external_id: ExpandRequest(
                    image="https://x.example/y.png", up=0.5, prompt=f"v{airflow.input}", external_task_id=external_id
                ),
                lambda: f"print-{airflow.input}",
                ("kling_default",),
                airflow.epoch,
                retried,
                airflow.mode,
            )
            records = GatedRecords(kept, process)
            return Submission(work, records, lambda _: wire, LOG, now=self.now, sleep=self.pass_time)

        pressure, submitting = Pressure(self.now(), self.now() + SUBMIT_TIMEOUT), submission()
        while True:
            try:
                task = submitting.run().task
                break
            except ApiFault as fault:
                step = pressure.next(self.now(), fault.info.retry_after, self.dice.uniform) if is_pressure(fault) else 0
                if not step:
                    raise
                self.events.add("busy")
                pressure, delay = step
                self.pass_time(delay)
                process.gate("slot")
                # Deferred, another process goes on.
                submitting = submission() if self.dice.random() < 0.5 else submitting
        deadline = self.now() + TIMEOUT
        while True:
            wait = Wait(task.task_id, poll_interval=30.0, deadline=deadline, uniform=self.dice.uniform)
            try:
                return watch(wait, lambda: wire, IMAGE_EXPANSION, LOG, sleep=self._sleep_in_wait, now=self.now)
            except TriggererRestarted:
                self.pass_time(self.dice.uniform(0, 300))

    def _sleep_in_wait(self, seconds):
        self.pass_time(seconds)
        if not self.calm and self.dice.random() < 0.1:
            raise TriggererRestarted

    def _try_once(self, retried):
        """Return whether Airflow would try again."""
        self.airflow.try_number += 1
        airflow = replace(self.airflow)  # A process keeps what it started with.
        process = Process(lambda process: self._attempt(process, airflow, retried))
        if not self.calm and self.dice.random() < 0.4:
            moment = self.dice.choice(
                ["before save", "after save", "before POST", "after POST", "before GET", "after GET", "slot", "any"]
            )
            at = (moment, self.dice.choice([1, 1, 1, 2, 3]))
            # A process that lives on unseen needs a gateway that refuses the second create; a blind one is asked
            # for nothing once the intent is written.
            may_freeze = self.gateway in ("kling", "gateway") or (self.gateway == "blind" and moment == "before POST")
            may_freeze = may_freeze and self.kept == "kept" and self.airflow.mode is OnExisting.REATTACH
            if may_freeze and self.dice.random() < 0.5:
                process.freeze_at = at
            else:
                process.kill_at = at
        process.go_on()
        if process.frozen:
            self.events.add("frozen")
            self.zombies.append(process)
            self.trace.append(f"frozen {process.freeze_at}")
            return True
        return self._judge(process)

    def _judge(self, process):
        self.collected = self.fault = None
        error, decision = process.error, process.result
        end = error if decision is None else decision.outcome.value
        self.trace.append(f"try {self.airflow.try_number} of epoch {self.airflow.epoch}: {end!r}")
        if isinstance(error, Killed):
            self.events.add("killed")
            return True
        if error is not None and not isinstance(error, ApiFault):
            raise error
        if decision is not None and decision.outcome is Outcome.SUCCEEDED:
            self.collected = decision.task.task_id
            return False
        self.fault = error or decision.fault
        if self.fault is not None:
            self.events.update(["unknown"] if self.is_unknown else [])
            return self.fault.info.kind in TRANSIENT
        return decision.outcome is Outcome.TIMED_OUT

    def _tries(self):
        for number in range(RETRIES + 1):
            if not self._try_once(retried=number > 0):
                return
            self.pass_time(self.dice.uniform(0, 600))

    # -- the whole -----------------------------------------------------------------------------------------------------

    def play(self):
        """Live through a random history, then let everything come to rest and run once more."""
        dice = self.dice
        self._add_faults()
        self._tries()
        for _ in range(dice.choice([0, 1, 1, 2, 3])):
            self.pass_time(dice.choice([0.0, 60.0, 7200.0, RESULT_LIFETIME + 3600.0]))
            self._clear(self._mode(), changed=self.kept == "kept" and dice.random() < 0.25)
            self._add_faults()
            self._tries()
        self._come_to_rest()
        for _ in range(4):
            # The author takes what there is.
            self._clear(OnExisting.REATTACH)
            self._tries()
            if self.collected is not None or self.is_unknown:
                break

    @property
    def is_unknown(self):
        return self.fault is not None and self.fault.info.kind is FaultKind.UNKNOWN

    def _come_to_rest(self):
        self.calm = True
        self.state.clear_faults()
        while self.zombies or self.late:
            if self.zombies:
                self.zombies.pop().go_on()
            self.pass_time(86_400.0 + READ_TIMEOUT)
        self.trace.append("at rest")

    def _clear(self, mode, changed=False):
        self.airflow.first_try = self.airflow.try_number + 1
        self.airflow.mode = mode
        self.airflow.input += changed
        if mode is OnExisting.RESUBMIT:
            self.asked_anew.add(self.airflow.epoch)
        if self.kept == "dropped by a clear":
            self.airflow.store.clear()
        self.trace.append(f"clear {mode.value} {'changed' if changed else ''}")

    def _mode(self):
        # Which clears asked for another only the record tells.
        others = [OnExisting.RESUBMIT, OnExisting.FAIL] if self.kept == "kept" else [OnExisting.FAIL]
        return self.dice.choice([*[OnExisting.REATTACH] * 5, *others])

    def _add_faults(self):
        """Give the next requests faults of any kind, and other users of the account their tasks."""
        dice = self.dice
        for fault in dice.sample(list(FAULTS.values()), dice.randint(0, 4)):
            places = [place for place in fault.places if place is not Place.DOWNLOAD]
            # Look-up is believed where it is said to work; one that forgets is a gateway without it.
            if places and fault.stage is not Stage.LOOKUP:
                rule = {"fault": fault.name, "on": [dice.choice(places)], "times": dice.choice([1, 1, 2, 6])}
                self.state.add_fault(
                    rule | {"probability": dice.choice([1.0, 0.5]), "match": "v"}
                    if rule["on"] == [Place.CREATE] and fault.stage is not Stage.READING
                    else rule
                )
        for _ in range(dice.choice([0, 0, 1, 2])):
            order = Order(family=FAMILY, prompt="of somebody else", external_task_id=f"other-{dice.random()}")
            try:
                accepted = self.state.create(order, account="emulator", dialect=Dialect.KLING)
            except Refusal:
                continue
            self.state.made(accepted.task.task_id, ())

    # -- the verdict ---------------------------------------------------------------------------------------------------

    def _is_gone(self, made):
        """Return whether a task has failed, or its results have expired."""
        task = self.state.task(made.task_id)
        return task.word == "failed" or self.now() - task.updated_at / 1000 >= RESULT_LIFETIME

    def duplicates(self):
        """Return how many tasks were paid for that nothing asked for."""
        made = sorted(self.made, key=lambda one: one.epoch)
        return sum(not self._is_asked_for(earlier, later) for earlier, later in pairwise(made))

    def _is_asked_for(self, earlier, later):
        """Return whether a clear between the two lets the second be made."""
        clears = range(earlier.epoch + 1, later.epoch + 1)
        gone = earlier.task_id in later.gone_before
        return bool(clears) and (gone or later.input != earlier.input or bool(self.asked_anew.intersection(clears)))

    def lost(self):
        """Return whether the last run left a paid result behind: what was made last is what the author wants."""
        if not self.made:
            return 0
        last = max(self.made, key=lambda made: made.epoch)
        if self.collected == last.task_id or self._is_gone(last) or self.state.task(last.task_id).word != "succeed":
            return 0
        return 0 if self.is_unknown and not self.has_look_up else 1

    def close(self):
        self.app.close()


@pytest.fixture
def loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_histories(loop, capsys):
    duplicates = lost = 0
    seen = Counter()
    for seed in SEEDS:
        history = History(seed, loop)
        try:
            history.play()
            seen.update([history.gateway, history.kept, *history.events])
            wrong = (history.duplicates(), history.lost())
        finally:
            history.close()
        duplicates += wrong[0]
        lost += wrong[1]
        if any(wrong):
            print(f"seed {seed}: {wrong} {history.gateway}, records {history.kept}", *history.trace, sep="\n  ")
    # A suite that never meets a case proves nothing about it.
    assert all(seen[event] for event in EVENTS), seen
    with capsys.disabled():
        print(f"\nhistories {len(SEEDS)}, duplicates {duplicates}, lost {lost}")
    assert (duplicates, lost) == (0, 0)
