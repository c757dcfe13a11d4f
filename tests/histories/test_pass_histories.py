"""Histories of one picture in several passes, killed anywhere: each pass is paid once, and the right picture stands."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from PIL import Image

import airflow_kling.hooks.kling as hook_module
from airflow_kling.emulator.server import EmulatorServer
from airflow_kling.emulator.settings import EmulatorSettings
from airflow_kling.exceptions import KlingError, KlingPermanentError
from airflow_kling.hooks.client import SyncClient
from airflow_kling.lifecycle import collect as collect_module
from airflow_kling.lifecycle.record import FileRecords, StateStoreRecords
from airflow_kling.operators.instance import epoch_of, external_id_of
from airflow_kling.operators.kling import KlingExpandImageOperator

SEEDS = range(int(os.environ.get("KLING_PASS_HISTORIES", "30")))
EVERY = int(os.environ.get("KLING_PASS_MOMENTS", "4"))
"""One moment of so many is killed in; with 1, every one is."""

LATENCY = 5.0
RETRIES = 3
KILLED_EVENTS = ["killed", "deferred", "waited", "file", "store", "failed", "lost answer", "changed", "vanished"]
CLEARS = ["reattach", "resubmit", "fail"]

#: Number of passes -> source, target, size of the final picture.
SHAPES = {
    2: ((306, 544), {"aspect_ratio": "16:9", "fit": "passes"}, (967, 544)),
    3: ((300, 300), {"pixels": (400, 400, 400, 400), "fit": "passes"}, (1100, 1100)),
}


class Killed(BaseException):
    """The process ends here, as by SIGKILL."""


class Gate:
    """Every place where a process reads or writes something outside itself; kills it at one of them."""

    def __init__(self):
        self.passed, self.kill_at, self.places = 0, None, []

    def __call__(self, place):
        self.passed += 1
        self.places.append(place)
        if self.passed == self.kill_at:
            raise Killed(place)

    def around(self, monkeypatch, owner, name):
        real = getattr(owner, name)

        def gated(*arguments, **options):
            self(f"before {name}")
            result = real(*arguments, **options)
            self(f"after {name}")
            return result

        monkeypatch.setattr(owner, name, gated)


class JsonStore:
    """Airflow's task state store: it takes what JSON has, and no tuple."""

    def __init__(self):
        self.rows = {}

    def get(self, key):
        return json.loads(self.rows[key]) if key in self.rows else None

    def set(self, key, value):
        _check_json(value)
        self.rows[key] = json.dumps(value)


def _check_json(value):
    if isinstance(value, dict):
        assert all(type(key) is str for key in value)
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            _check_json(each)
    else:
        assert value is None or type(value) in (str, int, float, bool), type(value)


class TaskInstance:
    """A try of a task, as Airflow numbers it."""

    dag_id, task_id, map_index = "dag", "task", -1

    def __init__(self, run_id, gate):
        self.run_id, self.try_number, self.max_tries, self.xcoms = run_id, 0, RETRIES, {}
        self.task, self._gate = SimpleNamespace(retries=RETRIES), gate

    def xcom_push(self, key, value):
        self._gate("before xcom")
        self.xcoms[key] = value
        self._gate("after xcom")

    def clear(self):
        self.max_tries = self.try_number + RETRIES


@pytest.fixture(scope="module")
def emulator():
    with EmulatorServer(EmulatorSettings(latency=LATENCY, engine="reflect")) as server:
        yield server


@pytest.fixture
def gate(monkeypatch, sleeps, polls_sleep, emulator):
    gate = Gate()

    def meanwhile():
        emulator.wait_for_pictures()
        emulator.state.advance(LATENCY)

    sleeps.meanwhile = meanwhile
    polls_sleep(lambda seconds: meanwhile())
    clock = SimpleNamespace(time=time.time, sleep=sleeps)
    monkeypatch.setattr("airflow_kling.operators.life.time", clock)
    for owner in (FileRecords, StateStoreRecords):
        gate.around(monkeypatch, owner, "load")
        gate.around(monkeypatch, owner, "save")
    gate.around(monkeypatch, SyncClient, "submit")
    gate.around(monkeypatch, SyncClient, "get_task")
    gate.around(monkeypatch, collect_module, "_write")
    real = hook_module.fetcher

    def fetcher(*arguments, **options):
        def fetch(url):
            gate("before download")
            for chunk in real(*arguments, **options)(url):
                yield chunk[: len(chunk) // 2]
                gate("in download")
                yield chunk[len(chunk) // 2 :]

        return fetch

    monkeypatch.setattr(hook_module, "fetcher", fetcher)
    monkeypatch.setenv("AIRFLOW_CONN_KLING_DEFAULT", emulator.connection_uri("kling"))
    monkeypatch.setenv("AIRFLOW__KLING__DEPLOYMENT", "histories")
    return gate


class World:
    """Airflow, its author and the vendor, around one task."""

    def __init__(self, emulator, gate, folder, *, passes=2, kept="store", deferrable=False, **options):
        emulator.state.reset()
        folder.mkdir(parents=True)
        self.emulator, self.gate, self.folder, self.kept = emulator, gate, folder, kept
        self.size, self.target, self.final = SHAPES[passes]
        self.passes = passes
        self.options = {"deferrable": deferrable, "on_existing": "reattach"} | options
        self.ti, self.store = TaskInstance(folder.name, gate), JsonStore()
        self.source = folder / "source.png"
        self.paint("olive")
        self.events, self.manifest, self.error = set(), None, None

    def paint(self, colour, size=None):
        Image.new("RGB", size or self.size, colour).save(self.source)

    def attempt(self, kill_at=None):
        """Run one try; return whether Airflow would run another."""
        self.ti.try_number += 1
        self.gate.passed, self.gate.kill_at, self.gate.places = 0, kill_at, []
        self.manifest = self.error = None
        context = {"ti": self.ti} | ({"task_state_store": self.store} if self.kept == "store" else {})
        method, arguments = "execute", {}
        try:
            while True:
                operator = KlingExpandImageOperator(
                    task_id="task",
                    image=str(self.source),
                    output_path=str(self.folder / "out"),
                    retries=RETRIES,
                    **self.target,
                    **self.options,
                )
                try:
                    self.manifest = getattr(operator, method)(context, **arguments)
                    return False
                except TaskDeferred as deferral:
                    self.events.add("deferred")
                    method, arguments = deferral.method_name, {"event": self._fire(deferral.trigger)}
        except Killed:
            self.events.add("killed")
            return True
        except KlingError as error:
            self.error = error
            return not isinstance(error, KlingPermanentError)
        finally:
            self.gate.kill_at = None

    def _fire(self, trigger):
        async def first_event():
            return await anext(trigger.run())

        return json.loads(json.dumps(asyncio.run(first_event()).payload))

    def tries(self, *kills):
        """Run tries until one is the last, each killed where it is said."""
        for number in range(RETRIES + 1):
            if not self.attempt(kills[number] if number < len(kills) else None):
                return

    def creates(self):
        return [row for row in self.emulator.state.ledger()["creates"] if row["task_id"]]

    def check_right(self):
        """The picture is what was asked for, whole, alone, and of the chain that is told."""
        assert self.error is None
        [row] = self.manifest["outputs"]
        path = Path(row["uri"].removeprefix("file://"))
        with Image.open(path) as image:
            image.load()
            wide, high = self.final
            assert abs(image.width * high - image.height * wide) <= max(wide, high)
            # Pasted back at its own size, the source is not where steps of a ten-thousandth would put it.
            assert abs(image.width - wide) <= (0.005 * wide if self.options.get("preserve_original") else 1)
        visible = {path.name for path in (self.folder / "out").iterdir() if path.name != ".kling"}
        assert path.name in visible
        assert not any(name.endswith(".part") for name in visible)
        assert len(self.manifest["passes"]) == self.passes
        assert self.manifest["task_id"] == self.manifest["passes"][-1] == self.ti.xcoms["task_id"]


@contextmanager
def _record_path(monkeypatch, kept, folder):
    with monkeypatch.context() as patched:
        if kept == "path":
            patched.setenv("AIRFLOW__KLING__RECORD_PATH", str(folder / "records"))
        yield


@pytest.mark.parametrize(
    ("passes", "kept", "deferrable"),
    [(2, "store", True), (2, "store", False), (2, "file", True), (2, "path", False), (3, "store", False)],
)
def test_a_kill_at_any_moment_costs_nothing(emulator, gate, monkeypatch, tmp_path, capsys, passes, kept, deferrable):
    with _record_path(monkeypatch, kept, tmp_path):
        whole = World(emulator, gate, tmp_path / "whole", passes=passes, kept=kept, deferrable=deferrable)
        whole.tries()
        whole.check_right()
        assert len(whole.creates()) == passes
        moments, wrong = range(1, gate.passed + 1), []
        assert {"before save", "after submit", "in download", "before xcom", "after _write"} <= set(gate.places)
        for moment in moments[moments.stop % EVERY :: EVERY]:
            world = World(emulator, gate, tmp_path / f"run{moment}", passes=passes, kept=kept, deferrable=deferrable)
            world.tries(moment)
            world.check_right()
            if (made := len(world.creates())) != passes or "killed" not in world.events:
                wrong.append((moment, made))
    with capsys.disabled():
        number = len(moments[moments.stop % EVERY :: EVERY])
        print(f"\npasses {passes}, records in {kept}: killed at {number} of {len(moments)} moments, wrong {len(wrong)}")
    assert wrong == []


class History(World):
    """A random one: kills, faults, changed and vanished sources, clears of all three kinds."""

    def __init__(self, seed, emulator, gate, folder):
        self.dice = dice = random.Random(seed)
        super().__init__(
            emulator,
            gate,
            folder,
            passes=dice.choice([2, 2, 3]),
            kept=dice.choice(["store", "path"]),
            deferrable=dice.random() < 0.5,
            preserve_original=dice.random() < 0.3,
        )
        self.made, self.version, self.asked_anew, self.trace = [], 0, set(), []
        self.events.update([self.kept, "deferred" if self.options["deferrable"] else "waited"])

    def note(self):
        """Write down what was made in a try, of what, and what of the earlier had failed by then."""
        known = {made["task_id"] for made in self.made}
        epoch = epoch_of(self.ti)
        ids = {
            external_id_of(
                self.ti, number, each if self.options["on_existing"] == "resubmit" else 0, generation
            ): number
            for number in range(self.passes)
            for each in range(epoch + 1)
            for generation in range(12)
        } | {external_id_of(self.ti, number, 0, generation): number for number in range(3) for generation in range(12)}
        for row in self.creates():
            if row["task_id"] in known:
                continue
            number = ids[row["external_task_id"]]
            before = next((made["task_id"] for made in reversed(self.made) if made["number"] == number - 1), None)
            self.made.append(
                {
                    "task_id": row["task_id"],
                    "number": number,
                    "epoch": epoch,
                    "input": before or self.version,
                    "anew": set(self.asked_anew),
                }
            )
            self.trace.append(f"try {self.ti.try_number}: made {row['task_id']}, pass {number}, epoch {epoch}")

    def duplicates(self):
        """Return how many were paid for that nothing asked for."""
        extra = 0
        for number in range(self.passes):
            rows = [made for made in self.made if made["number"] == number]
            for earlier, later in pairwise(rows):
                failed = self.emulator.state.task(earlier["task_id"]).word == "failed"
                anew = self.asked_anew.intersection(range(earlier["epoch"] + 1, later["epoch"] + 1))
                cleared = later["epoch"] > earlier["epoch"]
                extra += not (cleared and (failed or anew or later["input"] != earlier["input"]))
        return extra

    def lost(self):
        """Return whether the last run did not end with what was made last of every pass."""
        last = {made["number"]: made["task_id"] for made in self.made}
        return self.manifest is None or self.manifest.get("passes") != [last[number] for number in sorted(last)]

    def play(self):
        dice = self.dice
        for clear in range(dice.choice([1, 2, 3])):
            if clear:
                self.clear(dice.choice(CLEARS))
            for number in range(RETRIES + 1):
                self.disturb(first=number == 0)
                again = self.attempt(dice.choice([None, dice.randint(1, 70), dice.randint(1, 70)]))
                self.note()
                self.trace.append(f"try {self.ti.try_number}: {self.error!r} {sorted(self.events)}")
                if not again:
                    break
        self.emulator.state.clear_faults()
        if not self.source.exists():
            self.paint(f"#{self.version:02}0044")
        for _ in range(3):
            self.clear("reattach")
            self.tries()
            self.note()
            self.trace.append(f"at rest: {self.error!r}")
            if self.manifest:
                break

    def clear(self, mode):
        self.ti.clear()
        self.options["on_existing"] = mode
        self.events.add(mode)
        if mode == "resubmit":
            self.asked_anew.add(epoch_of(self.ti) if self.ti.try_number else 0)
        self.trace.append(f"clear {mode}")

    def disturb(self, *, first):
        dice, state = self.dice, self.emulator.state
        state.clear_faults()
        if dice.random() < 0.3:
            self.events.add("lost answer")
            state.add_fault({"fault": dice.choice(["reset-after-accepting", "truncated-json-after-accepting"])})
        if dice.random() < 0.15:
            self.events.add("failed")
            state.add_fault({"fault": "fail", "on": ["create"], "times": 1})
        if dice.random() < 0.2:
            state.add_fault({"fault": "expired-download", "on": ["download"], "times": dice.choice([1, 3])})
        if not first and dice.random() < 0.2:
            # The source is another one, or gone: what is paid counts all the same.
            self.version += 1
            self.events.add("vanished" if dice.random() < 0.5 else "changed")
            if dice.random() < 0.5 and not self.options["preserve_original"]:
                self.source.unlink(missing_ok=True)
            else:
                self.paint(f"#{self.version:02}0044")


def test_histories_of_passes(emulator, gate, monkeypatch, tmp_path, capsys):
    seen, duplicates, lost = Counter(), 0, 0
    for seed in SEEDS:
        history = History(seed, emulator, gate, tmp_path / f"h{seed}")
        with _record_path(monkeypatch, history.kept, history.folder):
            history.play()
        seen.update(history.events)
        wrong = (history.duplicates(), history.lost())
        duplicates, lost = duplicates + wrong[0], lost + wrong[1]
        if any(wrong):
            print(f"seed {seed}: {wrong}", *history.trace, sep="\n  ")
        else:
            history.check_right()
    with capsys.disabled():
        print(f"\npass histories {len(SEEDS)}, duplicates {duplicates}, lost {lost}")
    assert (duplicates, lost) == (0, 0)
    assert all(seen[event] for event in ["killed", "deferred", "waited", "store", "path", "failed", *CLEARS]), seen
