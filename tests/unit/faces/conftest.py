"""What Airflow hands to a task, and a triggerer that does not sleep."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest


class TaskInstance:
    """As much of a task instance as the faces touch."""

    dag_id, run_id, task_id, map_index, try_number, max_tries = "dag", "run", "task", -1, 1, 0
    first_reschedule_date = None
    task = SimpleNamespace(retries=0)

    def __init__(self):
        self.xcoms, self.links = {}, {}

    def xcom_push(self, key, value):
        if not key.startswith("_link_"):
            self.xcoms[key] = value
        elif value:  # an empty one is no link
            self.links[key] = value

    def get_first_reschedule_date(self, context):
        return self.first_reschedule_date


@pytest.fixture
def ti():
    return TaskInstance()


@pytest.fixture
def context(ti):
    return {"ti": ti, "ds": "2026-11-20", "params": {"up": 0.25, "n": 2}}


@pytest.fixture
def fire(polls_sleep):
    """Run a trigger to its event; ``delays`` are the seconds it would have slept, ``meanwhile`` runs in each."""
    delays = []

    def run(trigger):
        async def first_event():
            events = trigger.run()
            event = await anext(events)
            assert [extra async for extra in events] == []
            return event

        return json.loads(json.dumps(asyncio.run(first_event()).payload))

    def sleep(seconds):
        delays.append(seconds)
        run.meanwhile()

    polls_sleep(sleep)
    run.delays, run.meanwhile = delays, lambda: None
    return run
