"""Collecting: the outputs of a finished task to storage, and the manifest that tells of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Protocol

from airflow_kling.api.families import OutputKind
from airflow_kling.api.faults import ApiFault, FaultInfo, FaultKind
from airflow_kling.api.models import Output, Task

SIGNATURE_LENGTH = 16

#: First bytes -> kind and ending of the file's name.
SIGNATURES: tuple[tuple[re.Pattern[bytes], OutputKind, str], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), OutputKind.IMAGE, ".png"),
    (re.compile(rb"\xff\xd8\xff"), OutputKind.IMAGE, ".jpg"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), OutputKind.IMAGE, ".webp"),
    (re.compile(rb"....ftyp", re.DOTALL), OutputKind.VIDEO, ".mp4"),
    (re.compile(rb"RIFF....WAVE", re.DOTALL), OutputKind.AUDIO, ".wav"),
    (re.compile(rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]"), OutputKind.AUDIO, ".mp3"),
)


class Directory(Protocol):
    """A folder or prefix of any storage."""

    def __truediv__(self, name: str) -> File: ...

    def mkdir(self, *, parents: bool, exist_ok: bool) -> None: ...


class File(Protocol):
    """A file of any storage."""

    def open(self, mode: str) -> BinaryIO: ...

    def unlink(self, missing_ok: bool) -> None: ...


Fetch = Callable[[str], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Stored:
    """
    Where an output lies, and what it is.

    :param uri: Its place.
    :param width: Pixels, of a picture.
    :param height: Pixels, of a picture.
    :param size_bytes: Bytes written.
    :param sha256: Checksum of the bytes.
    """

    uri: str
    width: int | None
    height: int | None
    size_bytes: int
    sha256: str


def collect(task: Task, directory: Directory, fetch: Fetch) -> dict[int, Stored]:
    """
    Store every output of a task.

    :param task: A task that succeeded.
    :param directory: Where to put the files; made if it is not there.
    :param fetch: Gives the bytes behind a URL.
    :raises ApiFault: where an output cannot be downloaded, or is not what it should be.
    """
    directory.mkdir(parents=True, exist_ok=True)
    return {output.index: _store(task, output, directory, fetch) for output in task.outputs}


def manifest(
    task: Task, kling_conn_id: str, stored: dict[int, Stored] | None = None, *, include_urls: bool = False
) -> dict[str, Any]:
    """
    Return what every operator gives as XCom; what is not known is None.

    :param task: The task.
    :param kling_conn_id: The connection that made it.
    :param stored: Where its outputs lie, by index.
    :param include_urls: Whether to add the signed links, which XCom then shows.
    """
    stored = stored or {}
    return {
        "family": task.family,
        "task_id": task.task_id,
        "external_task_id": task.external_task_id,
        "kling_conn_id": kling_conn_id,
        "status": task.status.value,
        "outputs": [
            _output_row(output, stored.get(output.index)) | ({"url": output.url} if include_urls else {})
            for output in task.outputs
        ],
        "units": task.units,
        "created_at": _iso(task.created_at),
        "finished_at": _iso(task.updated_at) if task.status.ended else None,
    }


def summary(task: Task, place: str | None) -> str:
    """
    Return the line that ends a task's log: outputs, units, seconds, and where it lies.

    :param task: A task that succeeded.
    :param place: Folder or prefix, if the outputs were stored.
    """
    facts = [f"{len(task.outputs)} {task.outputs[0].kind.value}(s)" if task.outputs else "nothing"]
    if task.units is not None:
        facts.append(f"{task.units:g} units")
    if task.created_at and task.updated_at:
        facts.append(f"{(task.updated_at - task.created_at).total_seconds():.0f} s")
    facts.append(f"stored in {place}" if place else "not stored")
    return ", ".join(facts)


def _output_row(output: Output, stored: Stored | None) -> dict[str, Any]:
    return {
        "index": output.index,
        "kind": output.kind.value,
        "uri": stored.uri if stored else None,
        "width": stored.width if stored else None,
        "height": stored.height if stored else None,
        "duration": output.duration,
        "size_bytes": stored.size_bytes if stored else None,
        "sha256": stored.sha256 if stored else None,
    }


def _store(task: Task, output: Output, directory: Directory, fetch: Fetch) -> Stored:
    chunks = fetch(output.url)
    first = b""
    while len(first) < SIGNATURE_LENGTH and (chunk := next(chunks, b"")):
        first += chunk
    ending = _ending(first, task, output)
    path = directory / f"{re.sub(r'[^A-Za-z0-9._-]', '_', task.task_id)}-{output.index}{ending}"
    digest, size = hashlib.sha256(first), len(first)
    try:
        with path.open("wb") as file:
            file.write(first)
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
    except BaseException:
        path.unlink(missing_ok=True)  # whole, or not there at all
        raise
    width, height = _pixels(path) if output.kind is OutputKind.IMAGE else (None, None)
    return Stored(str(path), width, height, size, digest.hexdigest())


def _ending(first: bytes, task: Task, output: Output) -> str:
    for pattern, kind, ending in SIGNATURES:
        if kind is output.kind and pattern.match(first):
            return ending
    raise ApiFault(
        FaultInfo(
            FaultKind.SERVER,
            f"output {output.index} of task {task.task_id} is no {output.kind.value} (its bytes begin otherwise)",
            hint="The task is paid; a retry collects it again and creates none",
        )
    )


def _pixels(path: File) -> tuple[int | None, int | None]:
    from PIL import Image

    try:
        with path.open("rb") as file, Image.open(file) as image:
            return image.width, image.height
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None, None


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None
