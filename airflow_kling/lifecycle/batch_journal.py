"""What a batch remembers: a journal of segments, each written once with many entries, and compacted now and then."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from airflow_kling.api.faults import ApiFault, Created, FaultInfo, FaultKind
from airflow_kling.lifecycle.files import make_folder, whole_file, write_whole
from airflow_kling.lifecycle.record import Record, Stage, record_from_json

COMPACT_AFTER = 256
"""Segments after which all of them are replaced by one."""

OWNER_CHECK = 2.0
"""Seconds after which is looked again whether another process of the same task has taken over."""

OWNER = "owner"
SUFFIX = ".jsonl"
Entry = tuple[str, str, Any]


class Journal:
    """
    The memory of one batch, in a folder of its own.

    What is put counts once :meth:`commit` has returned: whoever comes first writes a segment with all that is waiting,
    the others find theirs written. A segment is one object, never appended to, so that any storage will do. Each
    process writes its own, and takes the journal over when it begins; one that was taken over from writes no more.

    :param folder: Of this batch alone, in any storage.
    :param now: Seconds of a clock that is never set.
    """

    def __init__(self, folder: Any, *, now: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._now = now
        self._id = uuid.uuid4().hex[:12]
        self._writing = threading.Lock()
        self._changing = threading.Lock()
        self._pending: list[Entry] = []
        self._segments: list[Any] = []
        self._generation = 0
        self._count = 0
        self._owned_at = 0.0
        self.found = False
        self._state: dict[str, dict[str, Any]] = {"record": {}, "end": {}, "seen": {}}

    def open(self) -> None:
        """
        Read what is there, and take it over.

        :raises ApiFault: where it cannot be read: what was paid would not be known.
        """
        try:
            make_folder(self._folder)
            with suppress(FileNotFoundError):  # a prefix without keys
                found = [path for path in self._folder.iterdir() if path.name.endswith(SUFFIX)]
                self._segments = sorted(found, key=lambda path: path.name)
            for path in self._segments:
                self._read(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unreadable(self._folder, f"{type(error).__name__}: {error}") from None
        self.found = bool(self._segments)
        if self._segments:
            self._generation = int(self._segments[-1].name.partition("-")[0]) + 1
        write_whole(self._folder / OWNER, self._id.encode())
        self._owned_at = self._now()

    def get(self, kind: str, key: str) -> Any:
        """
        Return what was put last, None if nothing was.

        :param kind: ``record``, ``end`` or ``seen``.
        :param key: Of what.
        """
        return self._state[kind].get(key)

    def items(self, kind: str) -> dict[str, Any]:
        """Return all of a kind, by their keys."""
        with self._changing:
            return dict(self._state[kind])

    def put(self, kind: str, key: str, value: Any) -> None:
        """
        Remember something with the next commit.

        :param kind: ``record``, ``end`` or ``seen``.
        :param key: Of what.
        :param value: JSON; None forgets it.
        """
        with self._changing:
            self._put((kind, key, value))
            self._pending.append((kind, key, value))

    @property
    def waiting(self) -> bool:
        """Whether something is put that no commit has stored."""
        return bool(self._pending)

    def put_durably(self, kind: str, key: str, value: Any) -> None:
        """Remember something, and return once it is stored; where it cannot be, it counts as never put."""
        before = self.get(kind, key)
        entry = (kind, key, value)
        with self._changing:
            self._put(entry)
            self._pending.append(entry)
        try:
            self.commit()
        except BaseException:
            with self._changing:
                if entry in self._pending:
                    self._pending.remove(entry)
                    self._put((kind, key, before))
            raise

    def commit(self) -> None:
        """
        Store what was put.

        :raises ApiFault: where another process has taken over.
        :raises OSError: or whatever the storage raises.
        """
        with self._writing:
            with self._changing:
                batch = list(self._pending)
            if not batch:
                return
            self._check_owner()
            if self._count % COMPACT_AFTER == COMPACT_AFTER - 1 or (not self._count and len(self._segments) > 1):
                self._compact()
                return
            self._write(_lines(batch))
            with self._changing:
                del self._pending[: len(batch)]

    def _compact(self) -> None:
        with self._changing:
            entries = [(kind, key, value) for kind, rows in self._state.items() for key, value in rows.items()]
            waiting = len(self._pending)
        old = self._segments
        self._segments = []
        try:
            self._write(_lines([("base", "", True), *entries]))
        except BaseException:
            self._segments = old
            raise
        with self._changing:
            del self._pending[:waiting]
        for path in old:
            with suppress(Exception):  # one that stays is read, and passed over for the base that follows
                path.unlink(missing_ok=True)

    def _write(self, content: bytes) -> None:
        path = self._folder / f"{self._generation:06d}-{self._id}-{self._count:06d}{SUFFIX}"
        with whole_file(path) as file:
            file.write(content)
        self._count += 1
        self._segments.append(path)

    def _check_owner(self) -> None:
        if self._now() - self._owned_at < OWNER_CHECK:
            return
        with (self._folder / OWNER).open("rb") as file:
            owner = file.read().decode(errors="replace")
        if owner != self._id:
            raise _overtaken()
        self._owned_at = self._now()

    def _read(self, path: Any) -> None:
        with path.open("rb") as file:
            content = file.read()
        for line in content.splitlines():
            kind, key, value = json.loads(line)
            if kind == "base":
                for rows in self._state.values():
                    rows.clear()
            else:
                self._put((kind, key, value))

    def _put(self, entry: Entry) -> None:
        kind, key, value = entry
        if value is None:
            self._state[kind].pop(key, None)
        else:
            self._state[kind][key] = value


class JournalRecords:
    """
    The record of one remote task in a journal.

    :param journal: Of the batch.
    :param key: Of the task.
    """

    durable = True

    def __init__(self, journal: Journal, key: str) -> None:
        self._journal = journal
        self._key = key

    @property
    def survive_clear(self) -> bool:
        """Whether it is there after a clear: the author may have changed the folder, and then nothing is there."""
        return self._journal.found

    def load(self) -> Record | None:
        fields = self._journal.get("record", self._key)
        try:
            return None if fields is None else record_from_json(fields)
        except ValueError as error:
            raise _unreadable(self._key, str(error)) from None

    def save(self, record: Record) -> None:
        if record.stage is Stage.INTENT:
            self._journal.put_durably("record", self._key, record.to_json())
            return
        # What has happened stays true: where it cannot be stored now, it is with the next commit that can.
        self._journal.put("record", self._key, record.to_json())
        self._journal.commit()


def _lines(entries: list[Entry]) -> bytes:
    return b"".join(_line(entry) for entry in entries)


def _line(entry: Entry) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


def _unreadable(place: object, reason: str) -> ApiFault:
    return ApiFault(
        FaultInfo(
            FaultKind.CONNECTION,
            f"the journal {place} of what the batch submitted cannot be read: {reason}",
            created=Created.NO,
            hint="Nothing was sent. If it stays so, mend or remove it; without it pictures may be paid twice",
        )
    )


def _overtaken() -> ApiFault:
    return ApiFault(
        FaultInfo(
            FaultKind.EXISTS,
            "this process was overtaken: another one of the same batch goes on with it",
            created=Created.NO,
            hint="Nothing more was sent by this one",
        )
    )
