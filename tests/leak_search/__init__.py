"""Searches what real runs leave behind, databases, logs and files, for keys, base64 of pictures and signed links."""

from __future__ import annotations

import base64
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from packaging.version import Version

from airflow_kling.emulator.settings import DEFAULT_ACCESS_KEY, DEFAULT_KEY, DEFAULT_SECRET_KEY

#: What every signature of an emulator in these suites begins with, so that it is known wherever it stands.
SIGNATURE = "51647ea7ab1e"
KEYS = (DEFAULT_KEY, DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY)
_MEDIA = re.compile(rb"\x89PNG|\xff\xd8\xff|RIFF|....ftyp|GIF8", re.DOTALL)
_SQLITE = b"SQLite format 3\0"
_STEP, _OVERLAP = 1 << 20, 1 << 12
_RUN = re.compile(rb"[A-Za-z0-9+/_-]{400,}")
_BEFORE_3_4 = Version(version("apache-airflow")).release < (3, 4)
#: Where Airflow keeps XComs and rendered fields: from 3.4 on for each try.
_XCOM, _RENDERED = ("xcom", "rendered_task_instance_fields") if _BEFORE_3_4 else ("xcom_v2", "rtif_v2")
#: Kept of what Airflow deletes or overwrites: triggers, events, earlier values of XComs and rendered fields.
KEPT = {
    "trigger": ("insert", "kwargs"),
    "task_instance": ("update", "next_kwargs"),
    _XCOM: ("delete", "value"),
    _RENDERED: ("delete", "rendered_fields"),
}


@dataclass(frozen=True, order=True, slots=True)
class Leak:
    """
    Something that should not be there.

    :param place: The file, or the database's table and column.
    :param what: Which kind of secret.
    """

    place: str
    what: str


def mark_signatures(patch: object) -> None:
    """
    Have all emulators of this process sign their links recognisably.

    :param patch: Of pytest.
    """
    from airflow_kling.emulator.links import Signer

    sign = Signer._signature
    patch.setattr(Signer, "_signature", lambda *facts: SIGNATURE + sign(*facts)[len(SIGNATURE) :])  # type: ignore[attr-defined]


def keep_deleted(database: Path) -> None:
    """
    Make a migrated database of Airflow keep what Airflow would delete from it.

    :param database: SQLite.
    """
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.execute("CREATE TABLE IF NOT EXISTS leak_search_kept (place TEXT, value BLOB)")
        for table, (event, column) in KEPT.items():
            opened.execute(f"SELECT {column} FROM {table} LIMIT 0")  # a trigger would not miss it before it fires
            row = "OLD" if event == "delete" else "NEW"
            opened.execute(
                f"CREATE TRIGGER IF NOT EXISTS leak_search_{table} AFTER {event} ON {table} "
                f"BEGIN INSERT INTO leak_search_kept VALUES ('{table}.{column}', {row}.{column}); END"
            )


def search(places: Iterable[Path]) -> list[Leak]:
    """
    Return every leak in all files below some folders; pictures and clips themselves are none.

    :param places: Folders and files.
    """
    found: set[Leak] = set()
    for top in places:
        for path in [top, *top.rglob("*")] if top.is_dir() else [top]:
            if path.is_file() and not path.is_symlink():
                shown = path.name if path == top else f"{top.name}/{path.relative_to(top)}"
                found.update(Leak(place, what) for place, what in _of_file(path, shown))
    return sorted(found)


def leaks_in(content: bytes) -> set[str]:
    """
    Return the kinds of secrets in some bytes.

    :param content: Of a text, of JSON, a pickle, or anything.
    """
    kinds = {what for what, pattern in _PATTERNS.items() if pattern.search(content)}
    if any(_is_base64(match) for match in _RUN.findall(content)):
        kinds.add("a long base64")
    return kinds


def _encoded(text: str) -> Iterator[bytes]:
    """Give a text as it is, and what of it stands in base64, wherever in that it begins."""
    yield re.escape(text.encode())
    for shift in range(3):
        coded = base64.b64encode(bytes(shift) + text.encode())
        yield re.escape(coded[4 if shift else 0 : len(coded) // 4 * 4 - 4])


_PATTERNS = {
    "a key": re.compile(b"|".join(code for key in KEYS for code in _encoded(key))),
    "a token of a key": re.compile(rb"eyJhbGciOiJIUzI1NiIs[\w-]+\.eyJpc3MiOiJlbXVsYXRvci[\w-]+"),
    "a signed link": re.compile(rb"(?i)" + SIGNATURE.encode() + rb"|Signature(=|%3D|\\u003d)[0-9a-f]{32}"),
    "base64 of a picture": re.compile(
        rb"(/9j/[A-Za-z0-9+/]{4}|iVBORw0KGgo|data:image/\w+;base64,)[A-Za-z0-9+/_-]{40,}"
    ),
    "a picture's bytes": re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff\xe0..JFIF\0", re.DOTALL),
}


def _is_base64(run: bytes) -> bool:
    # Of a hash or a word repeated there are fewer kinds of characters.
    return len(set(run)) > 40


def _of_file(path: Path, shown: str) -> Iterator[tuple[str, str]]:
    with path.open("rb") as file:
        first = file.read(16)
        if _MEDIA.match(first):
            return
        if first.startswith(_SQLITE):
            yield from _of_database(path, shown)
            return
        content = first + file.read(_STEP)
        while True:
            yield from ((shown, what) for what in leaks_in(content))
            piece = file.read(_STEP)
            if not piece:
                return
            content = content[-_OVERLAP:] + piece


def _of_database(path: Path, shown: str) -> Iterator[tuple[str, str]]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        database.text_factory = bytes
        tables = [name.decode() for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            cursor = database.execute(f'SELECT * FROM "{table}"')
            columns = [column[0] for column in cursor.description]
            kept = "place" in columns
            for row in cursor:
                for column, value in zip(columns, row, strict=True):
                    if isinstance(value, bytes):
                        place = row[0].decode() if kept else f"{table}.{column}"
                        yield from ((f"{shown}: {place}", what) for what in leaks_in(value))
