"""
Pictures and clips on Celery, Redis and PostgreSQL, with deaths on the way: each is paid once, and none is lost.

    KLING_CLUSTER=1 pytest tests/cluster

Needs the programs of PostgreSQL and Redis, and beside the test requirements psycopg2-binary, asyncpg,
apache-airflow-providers-celery and celery < 5.7.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable

from crash.deployment import wait_until
from fleet.account import Account, draw_pictures
from fleet.fleet import DAG_ID, TRIGGERERS, TaskInstance

RUN_ID = "run"
MAPPED, BATCHED = 60, 240
MIDWAY = 120
"""Accepted tasks, of which most are the batch's."""

LIMIT = 300.0
RUN_LIMIT = 1200.0
BATCHES = {"expand_batch", "film_batch"}


def test_each_picture_is_paid_once(fleet, capsys, closing):
    begin = time.monotonic()

    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n{time.monotonic() - begin:4.0f} s: {text}", end="", flush=True)

    draw_pictures(fleet.home, mapped=MAPPED, batch=BATCHED)
    conf = {name: str(fleet.home / name) for name in ("mapped", "batch")} | {"output_path": str(fleet.home / "out")}
    fleet.site.trigger(DAG_ID, RUN_ID, conf)
    victims = _kill_the_batch_worker(fleet, say)
    _kill_a_triggerer(fleet, say)
    _cut_the_broker(fleet, say, "a batch and mapped tasks", lambda done, running: running & BATCHES)
    _cut_the_broker(fleet, say, "later mapped clips", lambda done, running: done["film"] > MAPPED / 3)
    wait_until("the run ends", lambda: fleet.run_state() in ("success", "failed"), RUN_LIMIT)
    ends = {ti.name: ti for ti in fleet.task_instances()}
    say(f"{fleet.run_state()}, with {fleet.peak:.1f} GiB at most")
    account = Account(fleet, RUN_ID, MAPPED, BATCHED)
    closing.append(account.line)

    assert fleet.run_state() == "success"
    assert account.complaints == []
    assert (account.billed, account.lost, account.duplicates) == (MAPPED + BATCHED, 0, 0)
    # The deaths were felt: a killed worker's tasks were tried again, and a cut broker handed messages out again.
    assert {name for name, tries in victims.items() if ends[name].tries <= tries} == set()
    assert fleet.said("Connection to broker lost") > 1
    assert fleet.said("unacknowledged message(s)")


def _kill_the_batch_worker(fleet, say) -> dict[tuple[str, int], int]:
    """Kill the worker that has the batch and mapped tasks too, while others are queued; returns its tasks and tries."""
    name = ""

    def under_way() -> bool:
        nonlocal name
        pids = {ti.task_id: ti.pid for ti in _running(fleet)}
        name = fleet.worker_of(pids.get("expand_batch")) or ""
        mapped = fleet.worker_of(pids.get("expand"))
        return bool(name) and mapped == name and fleet.broker.queued and fleet.kling.ledger()["accepted_tasks"] > MIDWAY

    wait_until("a batch and a mapped task run on one worker, and others are queued", under_way, LIMIT)
    family = fleet.site.family(name)
    fleet.site.kill(name)
    victims = {ti.name: ti.tries for ti in _running(fleet) if ti.pid in family}
    fleet.site.start(name)
    say(f"killed {name} with {_listed(name for name, _ in victims)}, while {fleet.broker.queued} messages were queued")
    assert ("expand_batch", -1) in victims
    return victims


def _kill_a_triggerer(fleet, say) -> None:
    """Kill the triggerer that more tasks wait in, and start it again once the other has them."""
    names = dict(zip(fleet.triggerer_ids(), TRIGGERERS, strict=True))
    dead = 0

    def waiting() -> dict[tuple[str, int], int]:
        return {ti.name: ti.tries for ti in fleet.task_instances() if ti.state == "deferred" and ti.triggerer == dead}

    def in_one() -> bool:
        nonlocal dead
        waits = Counter(ti.triggerer for ti in fleet.task_instances() if ti.state == "deferred" and ti.triggerer)
        dead, number = waits.most_common(1)[0] if waits else (0, 0)
        return number > 2

    wait_until("tasks wait in a triggerer", in_one, LIMIT)
    fleet.site.kill(names[dead])
    orphans, begin = waiting(), time.monotonic()
    wait_until("the other triggerer has them", lambda: not waiting(), LIMIT)
    fleet.site.start(names[dead])
    say(f"killed {names[dead]} with {len(orphans)} waits; the other had them within {time.monotonic() - begin:.0f} s")
    assert orphans
    assert {ti.name: ti.tries for ti in fleet.task_instances() if ti.name in orphans} == orphans


def _cut_the_broker(fleet, say, what: str, begun: Callable[[Counter[str], set[str]], object]) -> None:
    """Close the broker's connections, as soon as that runs and messages are neither done nor given up."""
    running: list[str] = []

    def under_way() -> bool:
        running[:] = [ti.task_id for ti in _running(fleet) if fleet.worker_of(ti.pid)]
        done = Counter(ti.task_id for ti in fleet.task_instances() if ti.state == "success")
        return len(running) > 2 and bool(begun(done, set(running)))

    wait_until(f"{what} run", under_way, LIMIT)
    queued, cut = fleet.broker.queued, fleet.broker.cut()
    say(f"cut {cut} connections of the broker under {_listed(running)}, while {queued} messages were queued")
    assert cut > 2


def _running(fleet) -> list[TaskInstance]:
    return [ti for ti in fleet.task_instances() if ti.state == "running"]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(Counter(names).items()))
