"""What can be wrong with an Airflow deployment: pools, triggerer, the place of records, what tells it from others."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from airflow_kling.api.inputs import InputFault
from airflow_kling.api.redact import reason_of, redact
from airflow_kling.doctor.findings import Finding, State

SUBJECT = "airflow"
_LOCAL = ("", "localhost", "127.0.0.1", "::1", "0.0.0.0")  # noqa: S104 - read, not bound
_FIX = "airflow-kling doctor --fix-pools"
#: Slots, whether deferred tasks count, description: of a pool that is missing.
_NO_POOL = (None, False, None)


@dataclass(frozen=True, slots=True)
class WantedPool:
    """
    A pool that bounds what is in flight.

    :param kind: Of the resource pack whose concurrency it is as large as.
    :param slots: How large to make it where no pack tells.
    """

    name: str
    kind: str
    slots: int

    @property
    def description(self) -> str:
        """What it is for."""
        return f"concurrency of the {self.kind} pack"


POOLS = (WantedPool("kling_images", "image", 9), WantedPool("kling_clips", "video", 5))


def findings(concurrency: Mapping[str, int], *, fix_pools: bool) -> Iterator[Finding]:
    """
    Yield a finding per check.

    :param concurrency: Tasks in flight that the resource packs allow, by kind, as far as it is known.
    :param fix_pools: Whether to make the pools that are missing, and to have the others count deferred tasks.
    """
    yield from _pools(concurrency, fix_pools=fix_pools)
    yield _triggerer()
    yield _deployment()
    yield _records()


# -- what the metadata database tells ------------------------------------------------------------------------------


def _pools(concurrency: Mapping[str, int], *, fix_pools: bool) -> Iterator[Finding]:
    try:
        _check_database()
        from airflow.models.pool import Pool
        from airflow.utils.session import create_session

        with create_session() as session:
            found = {
                pool.pool: (pool.slots, pool.include_deferred, pool.description)
                for pool in Pool.get_pools(session=session)
            }
            mended: dict[str, int] = {}
            for wanted in POOLS if fix_pools else ():
                slots, counts, description = found.get(wanted.name, _NO_POOL)
                if slots is None or not counts:
                    slots = concurrency.get(wanted.kind, wanted.slots) if slots is None else slots
                    description = description or wanted.description
                    Pool.create_or_update_pool(wanted.name, slots, description, True, session=session)
                    mended[wanted.name] = slots
    except Exception as error:  # whatever a database raises
        yield _no_database("pools", State.FAIL if fix_pools else State.UNKNOWN, error)
        return
    for wanted in POOLS:
        if wanted.name in mended:
            text = f"{wanted.name} is mended: {mended[wanted.name]} slots, counting deferred tasks"
            yield _told("pools", State.OK, text)
        else:
            slots, counts, _ = found.get(wanted.name, _NO_POOL)
            yield _pool(wanted, slots, counts, concurrency.get(wanted.kind))


def _pool(wanted: WantedPool, slots: int | None, counts: bool, allowed: int | None) -> Finding:
    by_hand = f'airflow pools set {wanted.name} {allowed or wanted.slots} "{wanted.description}" --include-deferred'
    if slots is None:
        text = f"{wanted.name} is missing: nothing bounds the {wanted.kind} tasks in flight"
        return _told("pools", State.WARN, text, f"{_FIX}, or: {by_hand}")
    if not counts:
        text = f"{wanted.name} does not count deferred tasks, and so bounds nothing while they wait"
        return _told("pools", State.FAIL, text, _FIX)
    if slots == 0:
        return _told("pools", State.FAIL, f"{wanted.name} has no slots: its tasks never run", by_hand)
    if slots < 0 or (allowed is not None and slots > allowed):
        size = "no limit" if slots < 0 else f"{slots} slots"
        than = f", more than the {allowed} of the resource pack" if allowed else ""
        return _told("pools", State.WARN, f"{wanted.name} has {size}{than}: the rest waits for 1303 to pass", by_hand)
    return _told("pools", State.OK, f"{wanted.name}: {slots} slots, counting deferred tasks")


def _triggerer() -> Finding:
    try:
        _check_database()
        from airflow.jobs.job import Job
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session() as session:
            query = select(Job).where(Job.job_type == "TriggererJob", Job.state == "running")
            beats = [(job.is_alive(), _since(job.latest_heartbeat)) for job in session.scalars(query)]
    except Exception as error:  # whatever a database raises
        return _no_database("triggerer", State.UNKNOWN, error)
    alive = [seconds for lives, seconds in beats if lives]
    if alive:
        text = f"{len(alive)} alive, the last heartbeat {min(alive):.0f} s ago"
        return _told("triggerer", State.OK, text)
    last = f"; the last heartbeat is {min(seconds for _, seconds in beats):.0f} s old" if beats else ""
    text = f"none is alive{last}: tasks with deferrable=True would wait until one is"
    return _told("triggerer", State.FAIL, text, "start one: airflow triggerer")


def _since(moment: datetime | None) -> float:
    return (datetime.now(UTC) - moment).total_seconds() if moment else float("inf")


def _check_database() -> None:
    """Keep a database of SQLite from being made by asking for it."""
    from airflow.providers.common.compat.sdk import conf

    address = conf.get("database", "sql_alchemy_conn", fallback="")
    scheme, _, path = address.partition(":///")
    if scheme.startswith("sqlite") and path and not os.path.exists(path.partition("?")[0]):
        raise FileNotFoundError("there is no database at [database] sql_alchemy_conn")


def _no_database(check: str, state: State, error: Exception) -> Finding:
    reason = redact(str(error).partition("\n")[0]) if isinstance(error, FileNotFoundError) else type(error).__name__
    text = f"the metadata database cannot be read from here ({reason})"
    return _told(check, state, text, "run this where the scheduler runs, or `airflow db migrate` first")


# -- what the configuration tells ----------------------------------------------------------------------------------


def _deployment() -> Finding:
    from airflow.providers.common.compat.sdk import conf

    from airflow_kling.lifecycle.identity import deployment_tag
    from airflow_kling.operators.instance import deployment_name

    name = deployment_name()
    tag = deployment_tag(name)
    if conf.get("kling", "deployment", fallback=""):
        return _told("deployment", State.OK, f"[kling] deployment is set; ids begin with af-{tag}")
    if _host_of(name) in _LOCAL:
        text = f"nothing tells it from another: the base URL is {name or 'empty'}, so that ids begin with af-{tag}"
        advice = "set [kling] deployment, the same for all workers, if two deployments share an account"
        return _told("deployment", State.WARN, text, advice)
    return _told("deployment", State.OK, f"told from others by its base URL {name}; ids begin with af-{tag}")


def _host_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return address


def _records() -> Finding:
    from airflow_kling.airflow_version import AIRFLOW
    from airflow_kling.hooks.storage import storage_path
    from airflow_kling.lifecycle.collect import check_writable
    from airflow_kling.operators.records import record_folder, record_path

    place = record_path()
    if place:
        try:
            check_writable(record_folder(place))
        except InputFault as fault:
            return _told("records", State.FAIL, f"[kling] record_path: {fault}", "without records no task is submitted")
        except Exception as error:  # whatever a storage raises that cannot even be named
            text = reason_of(error)
            return _told("records", State.FAIL, f"[kling] record_path {redact(place)}: {text}", "correct it")
        return _told("records", State.OK, f"[kling] record_path {storage_path(place)} can be written to")
    advice = "set [kling] record_path; kling_report and kling_recover read it, too"
    if AIRFLOW >= (3, 4):
        return _told("records", State.WARN, "in Airflow's task state store, which a clear discards", advice)
    if AIRFLOW >= (3, 3):
        return _told("records", State.OK, "in Airflow's task state store", advice)
    text = "only beside the results: an operator without output_path remembers nothing"
    return _told("records", State.WARN, text, advice)


def _told(check: str, state: State, text: str, advice: str = "") -> Finding:
    return Finding(SUBJECT, check, state, text, advice)
