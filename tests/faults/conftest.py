"""A life in Airflow without Airflow's processes: tries, deferrals and back-off in a time that costs none."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSensorTimeout, TaskDeferred

from airflow_kling.emulator.server import EmulatorServer
from airflow_kling.emulator.settings import EmulatorSettings
from airflow_kling.operators.kling import KlingExpandImageOperator
from airflow_kling.sensors.kling import KlingTaskSensor

RETRIES = 2
RETRY_DELAY = 30.0
LATENCY = 30.0
TIMEOUT = 900
SUBMIT_TIMEOUT = 600
IMAGE = "https://example.com/photo.jpg"

#: What Airflow ends a task with at once, whatever its retries.
FINAL = (AirflowFailException, AirflowSensorTimeout)


class Clock:
    """Tells the machine's time plus what was slept; nobody waits."""

    def __init__(self) -> None:
        self._real = time.time
        self._slept = 0.0
        self.meanwhile: Callable[[], object] = lambda: None

    def time(self) -> float:
        """Return the seconds since the epoch."""
        return self._real() + self._slept

    def sleep(self, seconds: float) -> None:
        """
        Let time pass.

        :param seconds: How much.
        """
        self._slept += max(seconds, 0.0)
        self.meanwhile()

    async def asleep(self, seconds: float) -> None:
        """Let time pass, in an event loop."""
        self.sleep(seconds)

    async def wait_for(self, future: asyncio.Future[None], seconds: float) -> None:
        """Let the time pass in which nobody sets the future."""
        self.sleep(seconds)
        raise TimeoutError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, polls_sleep: Callable[[Callable[[float], None]], object]) -> Clock:
    """Replace every clock and every sleep, also those that are bound as defaults."""
    from airflow_kling.hooks.client import AsyncClient, SyncClient
    from airflow_kling.lifecycle.submit import Submission
    from airflow_kling.lifecycle.watch import watch

    clock = Clock()
    monkeypatch.setattr(time, "time", clock.time)
    monkeypatch.setattr(time, "sleep", clock.sleep)
    monkeypatch.setattr(SyncClient.__init__, "__defaults__", (clock.sleep,))
    monkeypatch.setattr(AsyncClient.__init__, "__defaults__", (clock.asleep,))
    for function in (watch, Submission.__init__):
        monkeypatch.setitem(function.__kwdefaults__, "now", clock.time)
        monkeypatch.setitem(function.__kwdefaults__, "sleep", clock.sleep)
    polls_sleep(clock.sleep)
    loop = {"get_running_loop": asyncio.get_running_loop, "wait_for": clock.wait_for}
    monkeypatch.setattr("airflow_kling.triggers.slots.asyncio", SimpleNamespace(**loop))
    return clock


@pytest.fixture(scope="session")
def fault_emulator() -> Iterator[EmulatorServer]:
    """An emulator for all rows, reset before each; its pictures are not looked at."""
    with EmulatorServer(EmulatorSettings(latency=LATENCY, pictures="canned", stall_seconds=5.0)) as server:
        yield server


class Store(dict[str, str]):
    """Airflow's task state store: what comes in goes through JSON."""

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self[key]) if key in self else default

    def set(self, key: str, value: Any) -> None:
        self[key] = json.dumps(value)


@dataclass
class TaskInstance:
    """As much of a task instance as operators and sensors touch."""

    task_id: str
    try_number: int = 1
    dag_id: str = "dag"
    run_id: str = "run"
    map_index: int = -1
    max_tries: int = RETRIES
    task: Any = field(default_factory=lambda: SimpleNamespace(retries=RETRIES))

    def xcom_push(self, key: str, value: Any) -> None:
        json.dumps(value)


@dataclass
class End:
    """
    How a row ended.

    :param error: What the last try raised; None for success.
    :param manifest: What a successful run gives.
    :param tries: Of the task that ended it.
    """

    error: Exception | None
    manifest: dict[str, Any] | None
    tries: int

    @property
    def name(self) -> str:
        """``success``, or the class of the error."""
        return type(self.error).__name__ if self.error else "success"


class Airflow:
    """
    Runs tasks as Airflow would: again after an error that may pass, resumed by their triggers.

    :param clock: The time that passes between.
    :param folder: Where results go.
    """

    def __init__(self, clock: Clock, folder: Path) -> None:
        self._clock = clock
        self._folder = folder

    def run(self, mode: str, prompt: str) -> End:
        """
        Run the operator, in the split shape the sensor after it.

        :param mode: ``deferrable``, ``not deferrable`` or ``split``.
        :param prompt: Holds the emulator's words.
        """
        if mode != "split":
            return self._try(self._operator(prompt, str(self._folder), deferrable=mode == "deferrable"))
        submitted = self._try(self._operator(prompt, None, wait_for_completion=False))
        if submitted.manifest is None:
            return submitted
        return self._try(
            KlingTaskSensor(
                task_id="watch",
                kling_task_id=submitted.manifest["task_id"],
                output_path=str(self._folder),
                deferrable=True,
                timeout=TIMEOUT,
            )
        )

    def _operator(self, prompt: str, output_path: str | None, **parameters: Any) -> KlingExpandImageOperator:
        return KlingExpandImageOperator(
            task_id="make",
            image=IMAGE,
            left=0.5,
            prompt=prompt,
            output_path=output_path,
            timeout=TIMEOUT,
            submit_timeout=SUBMIT_TIMEOUT,
            **parameters,
        )

    def _try(self, task: Any) -> End:
        ti, store = TaskInstance(task.task_id), Store()
        while True:
            try:
                return End(None, self._execute(task, {"ti": ti, "task_state_store": store}), ti.try_number)
            except Exception as error:
                if isinstance(error, FINAL) or ti.try_number > RETRIES:
                    return End(error, None, ti.try_number)
            ti.try_number += 1
            self._clock.sleep(RETRY_DELAY)

    def _execute(self, task: Any, context: dict[str, Any]) -> dict[str, Any]:
        run = lambda: task.execute(context)  # noqa: E731 - what the next worker is to call
        while True:
            try:
                return run()
            except TaskDeferred as deferral:
                method, event = deferral.method_name, self._fire(deferral)
                run = lambda: task.resume_execution(method, {"event": event}, context)  # noqa: B023, E731

    def _fire(self, deferral: TaskDeferred) -> dict[str, Any]:
        """Run the trigger as the triggerer makes it from the database, within the deferral's time."""
        end = self._clock.time() + deferral.timeout.total_seconds()
        _, arguments = deferral.trigger.serialize()
        trigger = type(deferral.trigger)(**json.loads(json.dumps(arguments)))

        async def first_event() -> Any:
            return await anext(trigger.run())

        payload = asyncio.run(first_event()).payload
        assert self._clock.time() <= end, "Airflow would have ended the deferral"
        return json.loads(json.dumps(payload))


@pytest.fixture
def airflow(clock: Clock, fault_emulator: EmulatorServer, tmp_path: Path) -> Airflow:
    """An Airflow in which no time passes, but for the emulator's pictures."""
    fault_emulator.state.reset()
    clock.meanwhile = fault_emulator.wait_for_pictures
    return Airflow(clock, tmp_path)
