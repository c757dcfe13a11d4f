"""One row of the suite: begin a run, kill at a moment, let the remote task end, and see what became of both."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from airflow_kling.emulator.server import EmulatorServer

from .deployment import Deployment, kill_at_once, wait_until

LATENCY = 600.0
"""Seconds that a remote task takes; the emulator's clock is advanced once the moment has passed."""

MOMENT_LIMIT = 60.0
RUN_LIMIT = 120.0
ORPHAN_LIMIT = 20.0

#: The task that collects, by mode; the run's manifest is its XCom.
COLLECTOR = {"deferrable": "make", "waiting": "make", "split": "watch", "passes": "make"}

#: How many tasks a run pays, by mode; one where nothing is said.
PAID = {"passes": 2}

SOURCE_SIZE = (306, 544)
"""Pixels of the picture that takes two passes to 16:9."""


@dataclass
class Outcome:
    """
    How a row ended.

    :param state: Of the DAG run.
    :param seconds: From its begin to its end.
    :param accepted: Tasks that the emulator accepted.
    :param billed: Tasks that it billed.
    :param creates: Creates that reached it, refused ones too.
    :param tries: Of each Airflow task.
    :param complaints: What else is not as it should be.
    """

    state: str
    seconds: float
    accepted: int
    billed: int
    creates: int
    tries: dict[str, int]
    complaints: list[str] = field(default_factory=list)

    @property
    def lost(self) -> bool:
        """Whether the run did not end in success with a whole picture."""
        return self.state != "success" or bool(self.complaints)


@dataclass
class Row:
    """
    A run under way.

    :param site: Airflow.
    :param emulator: Kling.
    :param folder: Empty folder of the row.
    :param moment: When to kill, as in :data:`MOMENTS`.
    :param mode: Which shape.
    """

    site: Deployment
    emulator: EmulatorServer
    folder: Path
    moment: str
    mode: str
    _ended: int = 0

    def run(self) -> Outcome:
        """Begin, kill, let it end."""
        begin = time.monotonic()
        self.emulator.state.reset()
        (self.folder / "workers").mkdir()
        Image.new("RGB", SOURCE_SIZE, "olive").save(self.folder / "source.png")
        if self.moment == "answer-held":
            self.emulator.state.add_fault({"fault": "stall-after-accepting", "times": 1})
        self.site.trigger(self._dag_id, self._run_id, {"folder": str(self.folder), "moment": self.moment})
        MOMENTS[self.moment][1](self)
        self.let_the_task_end()
        state = self._wait_for_end()
        seconds = time.monotonic() - begin
        ledger = self.emulator.state.ledger()
        outcome = Outcome(
            state,
            seconds,
            ledger["accepted_tasks"],
            ledger["billed_tasks"],
            len(ledger["creates"]),
            {ti["task_id"]: ti["try_number"] for ti in self._task_instances()},
        )
        outcome.complaints += self._complaints() if state == "success" else []
        self._end_orphans()
        return outcome

    # -- what moments need ---------------------------------------------------------------------------------------

    def wait_for_accepted(self) -> None:
        """Wait until the emulator has accepted a task."""
        wait_until("a task is accepted", lambda: self.emulator.state.ledger()["accepted_tasks"], MOMENT_LIMIT)

    def wait_for_creates(self, number: int) -> None:
        """
        Wait until that many creates have come.

        :param number: Refused ones count too.
        """
        wait_until(f"{number} creates", lambda: len(self.emulator.state.ledger()["creates"]) >= number, MOMENT_LIMIT)

    def wait_for_fired(self) -> None:
        """Wait until the task's process says that it is about to die."""
        wait_until("the moment", (self.folder / "fired").exists, MOMENT_LIMIT)

    def wait_for_polls(self) -> None:
        """Wait until the task is watched: in the triggerer, unless it waits in its worker."""
        wait_until("two polls", lambda: self.emulator.state.ledger()["requests"]["query"] >= 2, MOMENT_LIMIT)
        if self.mode != "waiting":
            wait_until("a deferral", lambda: self._state_of(COLLECTOR[self.mode]) == "deferred", MOMENT_LIMIT)

    def let_the_task_end(self) -> None:
        """Advance the emulator's clock beyond the end of whatever is accepted."""
        self.wait_for_accepted()
        accepted = self.emulator.state.ledger()["accepted_tasks"]
        if accepted > self._ended:
            self._ended = accepted
            self.emulator.state.advance(LATENCY)

    def release_orphan(self) -> None:
        """Let the child that has lost its supervisor go on."""
        (self.folder / "go").touch()

    def kill_worker(self) -> None:
        """Kill the newest worker: supervisor and child."""
        child, supervisor = self._workers()[-1]
        kill_at_once([supervisor, child])

    def kill_and_restart(self, *names: str) -> None:
        """
        Kill components, all before the first is started again.

        :param names: Which.
        """
        for name in names:
            self.site.kill(name)
        for name in names:
            self.site.start(name)

    # -- what Airflow says ---------------------------------------------------------------------------------------

    @property
    def _dag_id(self) -> str:
        return f"kills_{self.mode}"

    @property
    def _run_id(self) -> str:
        return f"{self.moment}-{self.mode}"

    @property
    def _run_path(self) -> str:
        return f"dags/{self._dag_id}/dagRuns/{self._run_id}"

    def _task_instances(self) -> list[dict[str, Any]]:
        return self.site.get(f"{self._run_path}/taskInstances")["task_instances"]

    def _state_of(self, task_id: str) -> str | None:
        return next(ti["state"] for ti in self._task_instances() if ti["task_id"] == task_id)

    def _wait_for_end(self) -> str:
        def is_over() -> bool:
            self.let_the_task_end()  # a second one, should there be one, is to be told as such and not as a hang
            return self.site.get(self._run_path)["state"] in ("success", "failed")

        wait_until("the run ends", is_over, RUN_LIMIT)
        return self.site.get(self._run_path)["state"]

    def _complaints(self) -> list[str]:
        """Compare the stored picture with the manifest."""
        path = f"{self._run_path}/taskInstances/{COLLECTOR[self.mode]}/xcomEntries/return_value?stringify=false"
        manifest = self.site.get(path)["value"]
        outputs = manifest["outputs"]
        digests = [hashlib.sha256(Path(output["uri"].removeprefix("file://")).read_bytes()) for output in outputs]
        if not outputs or [digest.hexdigest() for digest in digests] != [output["sha256"] for output in outputs]:
            return ["the stored picture is not whole"]
        return [] if len(manifest.get("passes", [1])) == PAID.get(self.mode, 1) else ["not made of all passes"]

    # -- processes -----------------------------------------------------------------------------------------------

    def _workers(self) -> list[tuple[int, ...]]:
        """Return child and supervisor of every try, in their order."""
        files = sorted(path for path in (self.folder / "workers").iterdir() if not path.name.startswith("."))
        return [tuple(map(int, path.read_text().split())) for path in files]

    def _end_orphans(self) -> None:
        """No process of a row may reach into the next one."""
        children = [child for child, _ in self._workers()]
        end = time.monotonic() + ORPHAN_LIMIT
        while any(map(psutil.pid_exists, children)) and time.monotonic() < end:
            time.sleep(0.1)
        left = [child for child in children if psutil.pid_exists(child)]
        assert not left, f"task processes that do not end: {left}"


def _inside(row: Row) -> None:
    row.wait_for_fired()


def _while_collecting(row: Row) -> None:
    row.let_the_task_end()
    row.wait_for_fired()


def _while_the_answer_is_held(row: Row) -> None:
    row.wait_for_accepted()
    row.kill_worker()


def _while_waiting(row: Row) -> None:
    row.wait_for_polls()
    if row.mode == "waiting":
        row.kill_worker()
    else:
        row.kill_and_restart("triggerer")


def _everything_while_waiting(row: Row) -> None:
    row.wait_for_polls()
    row.kill_and_restart("triggerer", "scheduler")


def _orphan_posts_first(row: Row) -> None:
    row.wait_for_fired()
    row.release_orphan()
    row.wait_for_accepted()


def _orphan_posts_late(row: Row) -> None:
    row.wait_for_fired()
    row.wait_for_accepted()
    row.release_orphan()
    row.wait_for_creates(2)


#: Moment -> how the row's line says it, and how it is brought about.
MOMENTS: dict[str, tuple[str, Callable[[Row], None]]] = {
    "before-intent": ("before the intent is recorded", _inside),
    "before-post": ("before the POST", _inside),
    "answer-held": ("after the server accepted, before the answer", _while_the_answer_is_held),
    "after-answer": ("after the answer, before the record", _inside),
    "after-record": ("after the record, before the wait", _inside),
    "waited-for": ("while waited for (triggerer, or the worker that waits)", _while_waiting),
    "all-while-waited-for": ("while waited for (triggerer, scheduler and its workers)", _everything_while_waiting),
    "collecting": ("during collection", _while_collecting),
    "orphan-posts-first": ("before the POST, supervisor only; its child posts before the retry", _orphan_posts_first),
    "orphan-posts-late": ("before the POST, supervisor only; its child posts after the retry", _orphan_posts_late),
    "between-passes": ("between the end of pass 1 and the create of pass 2", _while_collecting),
    "after-second-post": ("after the POST of pass 2, before its record", _while_collecting),
}

PASS_MOMENTS = ("between-passes", "after-second-post")
"""Those of a run with several passes."""
