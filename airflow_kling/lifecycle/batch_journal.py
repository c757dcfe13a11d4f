"""What a batch remembers: a journal of segments, each written once with many entries, and compacted now and then."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from airflow_kling.api.faults import ApiFault, Created, FaultInfo, FaultKind
from airflow_kling.lifecycle.files import list_folder, make_folder, whole_file, write_whole
from airflow_kling.lifecycle.record import Record, Stage, record_from_json

COMPACT_AFTER = 256
"""Segments after which all of them are replaced by one."""

OWNER = "owner"
EOF = "eof"
SUFFIX = ".jsonl"
NOTHING = b"null"
#: Kind, key, and JSON that was put, which takes a fifth of the memory that its objects would.
Entry = tuple[str, str, bytes]


class Journal:
    """
    The memory of one batch, in a folder of its own.

    What is put counts once :meth:`commit` has returned: whoever comes first writes a segment with all that is waiting,
    the others find theirs written. A segment is one object, never appended to, so that any storage will do. Each
    process writes its own, and takes the journal over before it reads; it looks whether it still owns it after each
    write. So of two at once, either the new one reads what the old one wrote, or the old one is told and sends nothing.

    :param folder: Of this batch alone, in any storage.
    """

    def __init__(self, folder: Any) -> None:
        self._folder = folder
        self._id = uuid.uuid4().hex[:12]
        self._writing = threading.Lock()
        self._changing = threading.Lock()
        self._pending: list[Entry] = []
        self._segments: list[Any] = []
        self._generation = 0
        self._count = 0
        self._owner = self._last_owner = ""
        #: Whether another process has taken it over since.
        self.overtaken = False
        #: Whether an earlier process of the batch was here, even if it stored nothing.
        self.found = False
        #: The first try that it knows all of: what an earlier one made may have been remembered elsewhere.
        self.since = 1
        self._state: dict[str, dict[str, bytes]] = {"record": {}, "end": {}, "seen": {}, "done": {}}

    def open(self, try_number: int = 1, *, resumed: bool = False) -> None:
        """
        Take it over, and read what is there.

        :param try_number: Of the task, from 1.
        :param resumed: Whether an earlier process of this try left one.
        :raises ApiFault: where it cannot be read, or one that was left is not there: what was paid would not be known.
        """
        with self._reading():
            before = self._last_owner = self._read_owner()
            self.found = bool(before or self._list())
            if resumed and not self.found:
                raise _lost(self._folder)
            make_folder(self._folder)
            if before:
                generation, _, since = before.split("-")
                self._generation, self.since = int(generation) + 1, int(since)
            elif not self.found:
                self.since = try_number
            while self._claim():  # and again where it becomes a later generation, for another may have come between
                self._segments = self._list()
                if self._segments:
                    self._generation = max(self._generation, int(self._segments[-1].name.partition("-")[0]) + 1)
            self._read_all()

    def look(self) -> None:
        """
        Read what is there and take nothing over, for a process may be going on with it.

        :raises ApiFault: where it cannot be read.
        """
        with self._reading():
            self._read_all()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unreadable(self._folder, f"{type(error).__name__}: {error}") from None

    def _read_all(self) -> None:
        for tries_left in (2, 1, 0):
            # Another process has compacted meanwhile, or was overtaken and took back what it did not send.
            with suppress(*([FileNotFoundError] if tries_left else [])):
                submitted: dict[str, Any] = {}
                self._clear()
                for path in self._list():
                    self._read(path, submitted)
                self._learn(submitted)
                return

    def _clear(self) -> None:
        for rows in self._state.values():
            rows.clear()

    def _list(self) -> list[Any]:
        found = [path for path in list_folder(self._folder) if path.name.endswith(SUFFIX)]
        # Of two that began at once the one that owned it last comes last.
        owner = "-".join(self._last_owner.split("-")[:2]) + "-"
        return sorted(found, key=lambda path: (path.name.partition("-")[0], path.name.startswith(owner), path.name))

    def _read_owner(self) -> str:
        with suppress(FileNotFoundError), (self._folder / OWNER).open("rb") as file:
            return str(file.read().decode())
        return ""

    def _claim(self) -> bool:
        """Say that it is ours; return whether that was not said before."""
        owner = f"{self._generation:06d}-{self._id}-{self.since}"
        if owner == self._owner:
            return False
        write_whole(self._folder / OWNER, owner.encode())
        self._owner = owner
        return True

    def get(self, kind: str, key: str) -> Any:
        """
        Return what was put last, None if nothing was.

        :param kind: ``record``, ``end``, ``seen`` or ``done``.
        """
        packed = self._state[kind].get(key)
        return None if packed is None else json.loads(packed)

    def keys(self, kind: str) -> set[str]:
        """Return the keys of all of a kind."""
        with self._changing:
            return set(self._state[kind])

    def items(self, kind: str) -> Iterator[tuple[str, Any]]:
        """Yield all of a kind, each with its key."""
        with self._changing:
            rows = list(self._state[kind].items())
        for key, packed in rows:
            yield key, json.loads(packed)

    def put(self, kind: str, key: str, value: Any) -> None:
        """
        Remember something with the next commit.

        :param value: JSON; None forgets it.
        """
        self._add(kind, key, value)

    def _add(self, kind: str, key: str, value: Any) -> Entry:
        entry = (kind, key, _packed(value))
        with self._changing:
            self._put(entry)
            self._pending.append(entry)
        return entry

    @property
    def waiting(self) -> bool:
        """Whether something is put that no commit has stored."""
        return bool(self._pending)

    def put_durably(self, kind: str, key: str, value: Any) -> None:
        """Remember something, and return once it is stored; where it cannot be, it counts as never put."""
        before = self._state[kind].get(key, NOTHING)
        entry = self._add(kind, key, value)
        try:
            self.commit()
        except BaseException:
            with self._changing:
                if any(each is entry for each in self._pending):
                    self._pending = [each for each in self._pending if each is not entry]
                    self._put((kind, key, before))
            raise

    def commit(self) -> None:
        """
        Store what was put.

        :raises ApiFault: where another process has taken over.
        :raises OSError: or whatever the storage raises.
        """
        with self._writing:
            if self.overtaken:
                self._write_what_happened()
                raise _overtaken()
            with self._changing:
                batch = list(self._pending)
            if not batch:
                return
            if self._count % COMPACT_AFTER == COMPACT_AFTER - 1 or (not self._count and len(self._segments) > 1):
                self._compact()
                return
            path = self._write(batch)
            # Before they count as stored: whoever put one of them is told itself, and sends nothing.
            try:
                self._check_owner()
            except ApiFault:
                if self._write_what_happened():
                    with suppress(Exception):  # creates that are not sent now
                        self._segments.remove(path)
                        path.unlink(missing_ok=True)
                raise
            self._forget(batch)

    def _compact(self) -> None:
        with self._changing:
            entries = [(kind, key, packed) for kind, rows in self._state.items() for key, packed in rows.items()]
            batch = list(self._pending)
        old = self._segments
        self._segments = []
        try:
            self._write([("base", "", _packed(True)), *entries])
            self._check_owner()
        except BaseException:
            # A base of one that was overtaken would hide what the other has written since.
            for path in self._segments:
                with suppress(Exception):
                    path.unlink(missing_ok=True)
            self._segments = old
            raise
        self._forget(batch)
        for path in old:
            with suppress(Exception):  # one that stays is read, and passed over for the base that follows
                path.unlink(missing_ok=True)

    def _forget(self, batch: list[Entry]) -> None:
        """Drop what is written; by identity, for a neighbour that failed may have taken its own back meanwhile."""
        written = set(map(id, batch))
        with self._changing:
            self._pending = [entry for entry in self._pending if id(entry) not in written]

    def _write_what_happened(self) -> bool:
        """
        Write what is true whoever goes on with the batch: all but creates that are not known to have made a task.

        Returns whether it is stored.
        """
        with self._changing:
            told = [entry for entry in self._pending if entry[0] != "record" or _is_submitted(json.loads(entry[2]))]
        if told:
            try:
                self._write(told)
            except Exception:  # whatever the storage raises: that it was overtaken is told all the same
                return False
            self._forget(told)
        return True

    def _write(self, entries: list[Entry]) -> Any:
        path = self._folder / f"{self._generation:06d}-{self._id}-{self._count:06d}{SUFFIX}"
        # Never again that name: a store may yet finish what was given up.
        self._count += 1
        with whole_file(path) as file:
            for line in _lines([*entries, (EOF, "", _packed(len(entries)))]):
                file.write(line)
        self._segments.append(path)
        return path

    def check(self) -> None:
        """
        Look whether it is still ours.

        :raises ApiFault: where another process has taken over.
        """
        with self._writing:
            self._check_owner()

    def _check_owner(self) -> None:
        self.overtaken = self.overtaken or self._read_owner() != self._owner
        if self.overtaken:
            raise _overtaken()

    def _learn(self, submitted: Mapping[str, Any]) -> None:
        """Put the ids of tasks that only an overtaken process told of, whose segments a later base hides."""
        for name, record in self.items("record"):
            if record["stage"] != Stage.SUBMITTED.value and record["external_task_id"] in submitted:
                self.put("record", name, submitted[record["external_task_id"]])

    def _read(self, path: Any, submitted: dict[str, Any]) -> None:
        with path.open("rb") as file:
            lines = [json.loads(line) for line in file.read().splitlines()]
        if not lines or lines.pop() != [EOF, "", len(lines)]:
            raise ValueError(f"{path.name} is cut")
        for kind, key, value in lines:
            if kind == "record" and _is_submitted(value):
                submitted[value["external_task_id"]] = value
            if kind == "base":
                self._clear()
            else:
                self._put((kind, key, _packed(value)))

    def _put(self, entry: Entry) -> None:
        kind, key, packed = entry
        if packed == NOTHING:
            self._state[kind].pop(key, None)
        else:
            self._state[kind][key] = packed


class JournalRecords:
    """
    The record of one remote task in a journal.

    :param first_try: Number of the first try since the user's last clear.
    """

    def __init__(self, journal: Journal, key: str, first_try: int = 1) -> None:
        self._journal = journal
        self._key = key
        self._first_try = first_try

    @property
    def durable(self) -> bool:
        """Whether nothing was made where nothing is there: an earlier try may have had another folder."""
        return self._journal.since <= self._first_try or self._journal.get("record", self._key) is not None

    @property
    def survive_clear(self) -> bool:
        """Whether it is there after a clear: the author may have changed the folder, and then nothing is there."""
        return self._journal.since <= 1

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


def _is_submitted(record: Any) -> bool:
    return isinstance(record, Mapping) and record.get("stage") == Stage.SUBMITTED.value


def _lines(entries: Iterable[Entry]) -> Iterator[bytes]:
    for kind, key, packed in entries:
        yield b"[%b,%b,%b]\n" % (_packed(kind), _packed(key), packed)


def _packed(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _unreadable(place: object, reason: str) -> ApiFault:
    return ApiFault(
        FaultInfo(
            FaultKind.CONNECTION,
            f"the journal {place} of what the batch submitted cannot be read: {reason}",
            created=Created.NO,
            hint="Nothing was sent. If it stays so, mend or remove it; without it pictures may be paid twice",
        )
    )


def _lost(place: object) -> ApiFault:
    return ApiFault(
        FaultInfo(
            FaultKind.EXISTS,
            f"the batch was deferred, and its journal is not at {place}: output_path must be shared by all workers. "
            "Nothing was sent",
            created=Created.NO,
            hint="What was submitted before goes on and is billed. Mend the path, then clear the task",
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
