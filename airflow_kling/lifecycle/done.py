"""What is kept of every remote task that ended, beside the records: its manifest, one small file under its day."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from airflow_kling.lifecycle.collect import file_name, without_links
from airflow_kling.lifecycle.files import list_folder, write_whole

FOLDER = "done"


@dataclass(frozen=True, slots=True)
class Done:
    """
    A remote task that ended and was dealt with.

    :param at: Seconds since the epoch at which it was.
    :param manifest: See :func:`~airflow_kling.lifecycle.collect.manifest`.
    :param origin: The task instance it was for, as far as it is known.
    :param part_of: The remote task that went on from this one: the last pass of a reframing.
    """

    at: float
    manifest: Mapping[str, Any]
    origin: Mapping[str, Any] = field(default_factory=dict)
    part_of: str = ""

    @property
    def day(self) -> date:
        """The day, in UTC."""
        return datetime.fromtimestamp(self.at, UTC).date()


def keep_done(records: Any, done: Done) -> None:
    """
    Keep a task's end; written again it replaces itself.

    :param done: What to keep; signed links in it are left out.
    """
    task_id = str(done.manifest["task_id"])
    fields = {
        "at": done.at,
        "origin": dict(done.origin),
        "part_of": done.part_of,
        "manifest": without_links(done.manifest),
    }
    path = records / FOLDER / done.day.isoformat() / f"{_stem(task_id)}.json"
    write_whole(path, json.dumps(fields).encode())


def failed_manifest(family: str, task_id: str, kling_conn_id: str, units: float | None) -> dict[str, Any]:
    """Return what is kept of a task that failed."""
    own = {"family": family, "task_id": task_id, "kling_conn_id": kling_conn_id}
    return own | {"status": "failed", "outputs": [], "units": units}


def read_done(records: Any, since: date) -> Iterator[Done]:
    """Yield what was kept since a day; what cannot be read is left out."""
    for day in _listed(records / FOLDER):
        if day.name < since.isoformat():
            continue
        for path in _listed(day):
            try:
                with path.open("rb") as file:
                    fields = json.loads(file.read())
                done = _done_from_json(fields)
            except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
                continue
            yield done


def _done_from_json(fields: Any) -> Done:
    manifest, origin = fields["manifest"], fields.get("origin") or {}
    if not (isinstance(manifest, Mapping) and isinstance(manifest["task_id"], str) and isinstance(origin, Mapping)):
        raise ValueError("not of a task that ended")
    if not all(isinstance(row, Mapping) for row in manifest["outputs"]):
        raise ValueError("not of outputs")
    done = Done(float(fields["at"]), manifest, origin, str(fields.get("part_of") or ""))
    done.day  # noqa: B018  # raises for a moment that is none
    return done


class DoneIds:
    """Which remote tasks were dealt with, on whatever day."""

    def __init__(self, records: Any) -> None:
        self._names = {path.name for day in _listed(records / FOLDER) for path in _listed(day)}

    def __contains__(self, task_id: object) -> bool:
        return f"{_stem(str(task_id))}.json" in self._names


def _stem(task_id: str) -> str:
    return file_name("{task_id}", task_id, 0)


def _listed(folder: Any) -> list[Any]:
    """Return what lies in a folder, sorted; files that are being written are left out."""
    return sorted((path for path in list_folder(folder) if not path.name.endswith(".part")), key=lambda path: path.name)
