"""The pictures of a batch: from a folder, a list, a JSONL or CSV manifest, or what another task made."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from airflow_kling.api.checks import is_url
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.redact import redact
from airflow_kling.lifecycle.fingerprint import source_of_url
from airflow_kling.lifecycle.source import is_manifest

RESULTS = "results"
"""The key of a batch's own result that names its results manifest."""

PROGRESS = "progress"
"""The XCom that tells how far a batch is."""

ENDINGS = (".jpg", ".jpeg", ".png")
MANIFESTS = (".jsonl", ".ndjson", ".csv")
IMAGE = "image"
KEY_LENGTH = 32
NUMBER = re.compile(r"\s*[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})\s*")
_ADVICE = "give a folder or prefix, a list, a .jsonl or .csv manifest, or another Kling operator's output"


@dataclass(frozen=True, slots=True)
class Row:
    """
    One line of the results.

    :param number: From 1, in the order given.
    :param image: URL, path, storage URI, or manifest.
    :param own: Parameters of this picture alone.
    :param stamp: What changes when the file does: its size and time, where a listing tells.
    :param fault: Why it can be no picture, if it cannot.
    """

    number: int
    image: Any
    own: Mapping[str, Any] = field(default_factory=dict)
    stamp: str = ""
    fault: str = ""

    @property
    def name(self) -> str:
        """How results and messages call it: nothing of a link shows that may be a key."""
        if isinstance(self.image, Mapping):
            return redact(_told(self.image))
        text = str(self.image or "")
        with suppress(ValueError):  # no address
            if is_url(text):
                parts = urlsplit(text)
                text = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
        return redact(text)

    @property
    def lookup(self) -> str:
        """What it is remembered by, from which no link can be read."""
        text = _told(self.image) if isinstance(self.image, Mapping) else str(self.image or "")
        with suppress(ValueError):  # no address
            text = source_of_url(text) if is_url(text) else text
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def read_rows(images: object, *, open_path: Callable[[str], Any], fields: Iterable[str]) -> list[Row]:
    """
    Return what the parameter names, in a stable order.

    :param images: Folder or prefix, list, manifest's file, or what another Kling operator returned.
    :raises InputFault: for what is no source of pictures at all, and for one without any.
    """
    known = frozenset(fields)
    if isinstance(images, Mapping):
        found = _of_result(images, open_path)
    elif isinstance(images, (list, tuple)):
        found = ((None, row) for row in _each_output(images))
    elif isinstance(images, str) and images.strip():
        found = _of_name(images.strip(), open_path)
    else:
        raise InputFault("images", images, "given", _ADVICE)
    rows = [_row(number, row, known, stamp or "") for number, (stamp, row) in enumerate(found, 1)]
    if not rows:
        shown = images if isinstance(images, str) else "an empty list"
        raise InputFault("images", redact(str(shown)), "at least one JPG or PNG", "check the place, or skip the task")
    return rows


Found = Iterator[tuple[str | None, Any]]


def _of_name(name: str, open_path: Callable[[str], Any]) -> Found:
    lowered = name.lower()
    if lowered.startswith(("{", "[")):
        raise InputFault(
            "images", "a rendered list", "the list itself", "pass operator.output, or set render_template_as_native_obj"
        )
    if not is_url(name) and lowered.endswith(MANIFESTS):
        return _of_manifest(name, open_path)
    if is_url(name) or lowered.endswith(ENDINGS):
        return iter([(None, name)])
    return _of_folder(name, open_path)


def _of_folder(name: str, open_path: Callable[[str], Any]) -> Found:
    path = open_path(name)
    with _readable(name, "folder", " or prefix"):
        listed = path.fs.ls(path.path, detail=True)
    files = [
        (str(row["name"]).rstrip("/").rpartition("/")[2], row)
        for row in listed
        if row.get("type") != "directory" and str(row["name"]).lower().endswith(ENDINGS)
    ]
    # Hidden ones are what somebody is still writing.
    for base, row in sorted((pair for pair in files if not pair[0].startswith(".")), key=lambda pair: pair[0]):
        yield stamp_of(row), f"{name.rstrip('/')}/{base}"


@contextmanager
def _readable(name: str, noun: str, or_else: str = "") -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        advice = "check the place, as the worker sees it"
        raise InputFault("images", name, f"an existing {noun}{or_else}", advice) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputFault("images", name, f"a readable {noun} ({reason})", "check its permissions") from None


def stamp_of(info: Mapping[str, Any]) -> str:
    """Return what changes when a file does, empty where the storage tells nothing."""
    names = ("ETag", "etag", "mtime", "LastModified", "updated")
    changed = next((info[name] for name in names if info.get(name)), None)
    return "" if changed is None else f"{info.get('size')}:{changed}"


def _of_manifest(name: str, open_path: Callable[[str], Any]) -> Found:
    try:
        with _readable(name, "manifest"), open_path(name).open("rb") as file:
            text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputFault("images", name, "a manifest in UTF-8", "save it as such") from None
    folder = name.rpartition("/")[0] if "/" in name else "."
    for row in _csv_rows(text, name) if name.lower().endswith(".csv") else _json_rows(text):
        yield None, _beside(row, folder)


def _csv_rows(text: str, name: str) -> Iterator[Any]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = reader.fieldnames or []
    except csv.Error:
        columns = []
    if IMAGE not in columns:
        raise InputFault("images", name, f"a CSV with a column {IMAGE}", "name its columns in the first line")
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _Broken(f"is no line of CSV ({error})")
            continue
        if None in row:
            yield _Broken(f"has more than {len(columns)} columns")
            continue
        yield {column: value for column, value in row.items() if value not in (None, "")}


def _json_rows(text: str) -> Iterator[Any]:
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            yield _Broken(f"is no JSON ({error})")
            continue
        if isinstance(row, Mapping) and is_manifest(row) and isinstance(row.get("outputs"), list):
            yield from _each_output([row])
        else:
            yield row


def _told(manifest: Mapping[str, Any]) -> str:
    if manifest.get("task_id") is not None:
        return f"task {manifest['task_id']}"
    # Made without a task: its file is all there is.
    outputs = manifest.get("outputs") or [{}]
    return str(outputs[0].get("uri"))


class _Broken:
    """A line that cannot be read."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def _of_result(result: Mapping[str, Any], open_path: Callable[[str], Any]) -> Found:
    if isinstance(result.get(RESULTS), str):
        return _of_manifest(result[RESULTS], open_path)
    if is_manifest(result):
        return ((None, row) for row in _each_output([result]))
    raise InputFault("images", sorted(map(str, result)), "what a Kling operator returned", _ADVICE)


def _each_output(rows: Iterable[Any]) -> Iterator[Any]:
    """Give each row; of what another batch made, only the rows that hold a picture."""
    for row in rows:
        if isinstance(row, Mapping) and is_manifest(row) and "row" in row and not row.get("outputs"):
            continue
        yield row


def _beside(row: Any, folder: str) -> Any:
    """Return a row whose relative path is one beside the manifest."""
    if isinstance(row, str):
        return _placed(row, folder)
    if isinstance(row, Mapping) and isinstance(row.get(IMAGE), str):
        return {**row, IMAGE: _placed(row[IMAGE], folder)}
    return row


def _placed(name: str, folder: str) -> str:
    name = name.strip()
    if not name or "://" in name or name.startswith(("/", "~")):
        return name
    return f"{folder}/{name}"


def _row(number: int, row: Any, known: frozenset[str], stamp: str) -> Row:
    if isinstance(row, _Broken):
        return Row(number, None, fault=f"row {number} {row.reason}")
    if isinstance(row, str):
        return Row(number, row, stamp=stamp)
    if not isinstance(row, Mapping):
        return Row(number, None, fault=f"row {number} is a {type(row).__name__}, not a text or a mapping")
    if is_manifest(row):
        return Row(number, row)
    own = {str(name): value for name, value in row.items() if name != IMAGE and value is not None}
    unknown = sorted(set(own) - known)
    if not row.get(IMAGE):
        return Row(number, None, fault=f"row {number} names no {IMAGE}")
    if unknown:
        names = ", ".join(sorted(known))
        return Row(number, row[IMAGE], fault=f"row {number} has {', '.join(unknown)}, which is none of {names}")
    return Row(number, row[IMAGE], own)


def key_of(identity: str, own: Mapping[str, Any]) -> str:
    """Return what makes a picture this one in its batch: its content or link, never its place in the list."""
    told = json.dumps([identity, _canonical(own)], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:KEY_LENGTH]


def _canonical(value: object) -> object:
    """Return a value as it would be however it is written: what saves a table anew writes 0.5 as 0.50, or as a text."""
    if isinstance(value, Mapping):
        return {str(name): _canonical(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(each) for each in value]
    if isinstance(value, (int, float, str)) and not isinstance(value, bool) and NUMBER.fullmatch(str(value)):
        return str(Fraction(str(value)))
    return value
