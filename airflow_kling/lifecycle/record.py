"""What is remembered of a task over tries and clears, and where: Airflow's task state store, or a file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, BinaryIO, Protocol

from airflow_kling.api.faults import ApiFault, Created, FaultInfo, FaultKind
from airflow_kling.lifecycle.files import write_whole

VERSION = 1


class Stage(StrEnum):
    """How far a create is known to have come."""

    #: It was about to be sent; whether it was, and with what end, is not known.
    INTENT = "intent"
    #: It was certainly not accepted.
    REFUSED = "refused"
    #: It was accepted.
    SUBMITTED = "submitted"


@dataclass(frozen=True, slots=True)
class Record:
    """
    What is remembered of the last create of a piece of work.

    :param external_task_id: The id that we chose.
    :param fingerprint: What would change the picture.
    :param epoch: The clear it belongs to.
    :param generation: How many tasks of this work ended failed or expired before it.
    :param at: Seconds since the epoch at which it was about to be sent.
    :param task_id: The vendor's id, once accepted.
    :param earlier: The task that stands if this create turns out to have made none.
    :param source_size: Width and height in pixels of the picture that a reframing was planned for.
    :param family: Name of the family, for who reads the record without its operator.
    :param origin: The task instance that it was made for: DAG, run, task, map index.
    """

    stage: Stage
    external_task_id: str
    kling_conn_id: str
    fingerprint: str
    epoch: int
    generation: int
    at: float
    task_id: str | None = None
    earlier: Record | None = None
    source_size: tuple[int, int] | None = None
    family: str = ""
    origin: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return JSON."""
        earlier = self.earlier.to_json() if self.earlier else None
        size = list(self.source_size) if self.source_size else None  # Airflow's store takes no tuple
        changed = {"stage": self.stage.value, "version": VERSION, "earlier": earlier, "source_size": size}
        return asdict(self) | changed


def record_from_json(fields: object) -> Record:
    """
    Return the record.

    :param fields: What :meth:`Record.to_json` gave.
    :raises ValueError: for anything else.
    """
    if not isinstance(fields, Mapping) or fields.get("version") != VERSION:
        raise ValueError("not a record of this version")
    try:
        known = {name: value for name, value in fields.items() if name != "version"}
        earlier, size = known.get("earlier"), known.get("source_size")
        known["stage"] = Stage(known["stage"])
        known["earlier"] = record_from_json(earlier) if earlier else None
        known["source_size"] = (int(size[0]), int(size[1])) if size else None
        known["at"] = float(known["at"])
        record = Record(**known)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"not a record: {error}") from None
    texts = (record.external_task_id, record.kling_conn_id, record.fingerprint, record.family, record.task_id or "")
    numbers = (record.epoch, record.generation)
    if not (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(number, int) for number in numbers)
        and math.isfinite(record.at)
        and isinstance(record.origin, Mapping)
    ):
        raise ValueError("not a record: a field is of another type")
    return record


class Records(Protocol):
    """Where the record of one piece of work is kept."""

    @property
    def durable(self) -> bool:
        """Whether what was saved is there for the next try."""

    @property
    def survive_clear(self) -> bool:
        """Whether it is there after a clear of the task, too."""

    def load(self) -> Record | None: ...

    def save(self, record: Record) -> None: ...


class StateStore(Protocol):
    """Airflow's ``task_state_store`` (3.3 and later), one per task instance."""

    def get(self, key: str) -> Any: ...

    def set(self, key: str, value: Any) -> None: ...


class StateStoreRecords:
    """
    A record in Airflow's task state store.

    :param key: One per piece of work in the task.
    :param survive_clear: Whether Airflow keeps the store at a clear: 3.3 does, 3.4 by default does not.
    """

    durable = True

    def __init__(self, store: StateStore, key: str, *, survive_clear: bool = False) -> None:
        self._store = store
        self._key = key
        self.survive_clear = survive_clear

    def load(self) -> Record | None:
        value = self._store.get(self._key)
        return None if value is None else _parse(value, self._key)

    def save(self, record: Record) -> None:
        self._store.set(self._key, record.to_json())


class RecordPath(Protocol):
    """A file of any storage."""

    @property
    def parent(self) -> Any: ...

    def open(self, mode: str) -> BinaryIO: ...


class FileRecords:
    """
    A record in a file, for Airflow before 3.3 and for whoever wants it to survive a clear.

    :param path: Where it lies; one per piece of work.
    :param survive_clear: Whether the same path is sure to be looked at after a clear.
    """

    durable = True

    def __init__(self, path: RecordPath, *, survive_clear: bool = False) -> None:
        self._path = path
        self.survive_clear = survive_clear

    def load(self) -> Record | None:
        try:
            with self._path.open("rb") as file:
                content = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ImportError, ValueError):
            raise  # there is no such storage: the path is wrong, not the record
        except Exception as error:  # whatever the storage raises
            # Not readable is not absent: to take it for absent could pay twice.
            raise _unreadable(str(self._path), getattr(error, "strerror", None) or type(error).__name__) from None
        try:
            return _parse(json.loads(content), str(self._path))
        except ValueError:
            raise _unreadable(str(self._path), "its content is damaged") from None

    def save(self, record: Record) -> None:
        write_whole(self._path, json.dumps(record.to_json()).encode())


class NoRecords:
    """Nowhere: neither a task state store nor a path is given."""

    durable = False
    survive_clear = False

    def load(self) -> Record | None:
        return None

    def save(self, record: Record) -> None:
        pass


def load_each(named: Iterable[tuple[str, Records]]) -> Iterator[tuple[str, Record | ApiFault]]:
    """Yield the records that are there, by name; in place of one that cannot be read the fault that says why."""
    for name, records in named:
        try:
            record = records.load()
        except ApiFault as fault:
            yield name, fault
        else:
            if record is not None:
                yield name, record


def _parse(value: object, place: str) -> Record:
    try:
        return record_from_json(value)
    except ValueError as error:
        raise _unreadable(place, str(error)) from None


def _unreadable(place: str, reason: str) -> ApiFault:
    return ApiFault(
        FaultInfo(
            FaultKind.CONNECTION,
            f"the record {place} of what was submitted cannot be read: {reason}",
            created=Created.NO,
            hint="Nothing was sent. If it stays so, mend or remove the record; without it a second task may be paid",
        )
    )
