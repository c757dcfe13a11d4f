"""Collecting: the outputs of a finished task to storage, and the manifest that tells of them."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, BinaryIO

from airflow_kling.api.families import OutputKind
from airflow_kling.api.faults import ApiFault, FaultInfo, FaultKind
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.models import Output, Task
from airflow_kling.api.redact import redact
from airflow_kling.lifecycle.files import make_folder, open_sparingly, whole_file, write_whole
from airflow_kling.media.clip import Clip, probe_clip

SIGNATURE_LENGTH = 16
DEFAULT_NAME = "{task_id}-{index}"
MAX_OUTPUT_BYTES = 4 * 1024**3
PROBE_NAME = ".kling-probe"
EXPIRED_STATUSES = (401, 403, 404, 410)
_STEP = 1 << 20

#: First bytes -> kind and ending of the file's name.
SIGNATURES: tuple[tuple[re.Pattern[bytes], OutputKind, str], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), OutputKind.IMAGE, ".png"),
    (re.compile(rb"\xff\xd8\xff"), OutputKind.IMAGE, ".jpg"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), OutputKind.IMAGE, ".webp"),
    (re.compile(rb"....ftyp", re.DOTALL), OutputKind.VIDEO, ".mp4"),
    (re.compile(rb"RIFF....WAVE", re.DOTALL), OutputKind.AUDIO, ".wav"),
    (re.compile(rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]"), OutputKind.AUDIO, ".mp3"),
)


Fetch = Callable[[str], Iterator[bytes]]
#: Given a whole download, returns the bytes to store in its place, or None to keep it.
Edit = Callable[[BinaryIO, Output], bytes | None]


@dataclass(frozen=True, slots=True)
class Stored:
    """
    Where an output lies, and what it is.

    :param uri: Its place.
    :param width: Pixels, of a picture or clip.
    :param height: Pixels, of a picture or clip.
    :param size_bytes: Bytes written.
    :param sha256: Checksum of the bytes.
    :param edited: Whether these are other bytes than the vendor's.
    :param duration: Seconds, of a clip, by its headers.
    """

    uri: str
    width: int | None
    height: int | None
    size_bytes: int
    sha256: str
    edited: bool = False
    duration: float | None = None


def collect(
    task: Task,
    directory: Any,
    fetch: Fetch,
    *,
    renew: Callable[[], Task] | None = None,
    name: str = DEFAULT_NAME,
    max_bytes: int = MAX_OUTPUT_BYTES,
    edit: Edit | None = None,
) -> dict[int, Stored]:
    """
    Store every output of a task; a file is there whole or not at all.

    :param task: A task that succeeded.
    :param directory: Where to put the files; made if it is not there.
    :param fetch: Gives the bytes behind a URL.
    :param renew: Asks for the task again, for a link that has expired.
    :param name: What files are called, without their ending: a text with ``{task_id}`` and ``{index}``.
    :param max_bytes: Size at which a download is broken off.
    :param edit: Is shown every whole download before it becomes visible, and may have other bytes stored instead.
    :raises InputFault: for a name that leaves the folder.
    :raises ApiFault: where an output cannot be downloaded, is too large, or is not what it should be.
    """
    names = {output.index: file_name(name, task.task_id, output.index) for output in task.outputs}
    _refuse_twins(name, names.values())
    make_folder(directory)
    outputs = {output.index: output for output in task.outputs}

    def store(index: int) -> Stored:
        return _store(task, outputs[index], directory, names[index], fetch, max_bytes, edit)

    stored = {}
    for index in names:
        try:
            stored[index] = store(index)
        except ApiFault as fault:
            if renew is None or fault.info.http_status not in EXPIRED_STATUSES:
                raise
            outputs |= {output.index: output for output in renew().outputs}
            renew = None
            stored[index] = store(index)
    return stored


def file_name(template: str, task_id: str, index: int | str) -> str:
    """
    Return the name of an output's file, without its ending.

    :param template: A text with ``{task_id}`` and ``{index}``; folders below the output path are allowed.
    :param task_id: The vendor's id, which is not trusted.
    :param index: Position of the output, or another word in its place.
    :raises InputFault: for a template that cannot be filled in, or that leaves the folder.
    """
    safe_id = re.sub(r"[^A-Za-z0-9._-]", "_", task_id)
    if safe_id != task_id:
        safe_id += f"-{hashlib.sha256(task_id.encode(errors='replace')).hexdigest()[:8]}"
    # Replaced, not formatted: a format could ask for a gigabyte of padding, or for attributes.
    name = template.replace("{task_id}", safe_id).replace("{index}", str(index))
    if "{" in name or "}" in name:
        raise InputFault("output_name", template, "a text with {task_id} and {index} only", "correct it")
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or any(part.strip(". ") == "" for part in parts):
        raise InputFault("output_name", template, "a name below the output path", "use letters, digits, - and _")
    return name


def check_names(template: str, n: int) -> None:
    """
    Refuse a template that cannot name the outputs of a task, before anything is paid.

    :param template: A text with ``{task_id}`` and ``{index}``.
    :param n: How many outputs there will be.
    :raises InputFault: for one that cannot be filled in, leaves the folder, or gives two outputs one name.
    """
    _refuse_twins(template, [file_name(template, "task", index) for index in range(n)])


def check_writable(directory: Any) -> None:
    """
    Refuse a folder or prefix that cannot be written to, before anything is paid.

    :param directory: Where the results would go; made if it is not there.
    :raises InputFault: naming it.
    """
    probe = directory / PROBE_NAME
    try:
        write_whole(probe, b"-")
    except Exception as error:  # whatever the storage raises
        raise InputFault(
            "output_path",
            str(directory),
            f"a place that can be written to ({type(error).__name__}: {redact(str(error))})",
            "check its credentials and permissions",
        ) from None
    with contextlib.suppress(Exception):  # one name, so that whoever may write but not delete is left one file
        probe.unlink(missing_ok=True)


def manifest(
    task: Task,
    kling_conn_id: str,
    stored: dict[int, Stored] | None = None,
    *,
    include_urls: bool = False,
    earlier: Sequence[Task] = (),
    borders: Mapping[int, Sequence[float]] | None = None,
) -> dict[str, Any]:
    """
    Return what every operator gives as XCom; what is not known is None.

    :param task: The task.
    :param kling_conn_id: The connection that made it.
    :param stored: Where its outputs lie, by index.
    :param include_urls: Whether to add the signed links, which XCom then shows.
    :param earlier: The tasks of the passes before it: ``units`` is the sum, and ``passes`` has the ids of all.
    :param borders: Where the source lies in the outputs, by index: left, top, right, bottom, as shares of the output.
    """
    stored, borders = stored or {}, borders or {}
    passes = {"passes": [each.task_id for each in (*earlier, task)]} if earlier else {}
    return {
        "family": task.family,
        "task_id": task.task_id,
        "external_task_id": task.external_task_id,
        "kling_conn_id": kling_conn_id,
        "status": task.status.value,
        "outputs": [
            _output_row(output, stored.get(output.index))
            | ({"border": list(borders[output.index])} if output.index in borders else {})
            | ({"url": output.url} if include_urls else {})
            for output in task.outputs
        ],
        "units": total_units((*earlier, task)),
        "created_at": _iso(task.created_at),
        "finished_at": _iso(task.updated_at) if task.status.ended else None,
    } | passes


def total_units(tasks: Iterable[Task]) -> float | None:
    """
    Return what tasks cost together; None where one does not tell.

    :param tasks: All of them.
    """
    units = [task.units for task in tasks]
    return None if None in units else sum(filter(None, units))


def store_manifest(made: Mapping[str, Any], directory: Any, name: str, label: str) -> None:
    """
    Write a manifest beside its files, as JSON; without signed links, where it holds them: the folder may be public.

    :param made: The manifest.
    :param directory: The folder or prefix of the results.
    :param name: What files are called; ``{index}`` becomes ``manifest``.
    :param label: Id of the task, for the name.
    """
    content = json.dumps(without_links(made), indent=2) + "\n"
    write_whole(directory / f"{file_name(name, label, 'manifest')}.json", content.encode())


def without_links(made: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return a manifest without the signed links that it may hold.

    :param made: The manifest.
    """
    rows = [{name: value for name, value in row.items() if name != "url"} for row in made["outputs"]]
    return {**made, "outputs": rows}


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


def _refuse_twins(template: str, names: Collection[str]) -> None:
    if len(set(names)) < len(names):
        raise InputFault("output_name", template, "different for each output", "add {index} to it")


def _output_row(output: Output, stored: Stored | None) -> dict[str, Any]:
    names = ("uri", "width", "height", "duration", "size_bytes", "sha256")
    row = {"index": output.index, "kind": output.kind.value} | {name: getattr(stored, name, None) for name in names}
    if output.duration is not None:
        row["duration"] = output.duration
    return row | ({"edited": True} if stored and stored.edited else {})


def _store(
    task: Task, output: Output, directory: Any, name: str, fetch: Fetch, max_bytes: int, edit: Edit | None
) -> Stored:
    chunks = fetch(output.url)
    first = b""
    while len(first) < SIGNATURE_LENGTH and (chunk := next(chunks, b"")):
        first += chunk
    ending = _ending(first, task, output)
    download = _bounded(itertools.chain([first], chunks), task, output, max_bytes)
    if edit is None:
        return _write(directory, name + ending, download, output)
    with tempfile.TemporaryFile() as whole:
        for chunk in download:
            whole.write(chunk)
        whole.seek(0)
        edited = edit(whole, output)
        if edited is not None:
            return replace(_write(directory, name + _ending(edited, task, output), [edited], output), edited=True)
        whole.seek(0)
        return _write(directory, name + ending, iter(partial(whole.read, _STEP), b""), output)


def _bounded(chunks: Iterable[bytes], task: Task, output: Output, max_bytes: int) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            message = f"output {output.index} of task {task.task_id} has more than {max_bytes:,} bytes"
            hint = "The task is paid; its links live for about 30 days"
            raise ApiFault(FaultInfo(FaultKind.SERVER, message, hint=hint))
        yield chunk


def _write(directory: Any, name: str, chunks: Iterable[bytes], output: Output) -> Stored:
    path = directory / name
    if "/" in name:
        make_folder(path.parent)
    digest, size = hashlib.sha256(), 0
    hashed: Future[None] | None = None
    # The checksum takes as long as all the rest on a fast network: beside it, one piece behind.
    with whole_file(path) as file, ThreadPoolExecutor(1) as beside:
        for chunk in chunks:
            if hashed:
                hashed.result()
            hashed = beside.submit(digest.update, chunk)
            file.write(chunk)
            size += len(chunk)
    look = _probe(path, output.kind)
    return Stored(str(path), look.width, look.height, size, digest.hexdigest(), duration=look.duration)


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


def _probe(path: Any, kind: OutputKind) -> Clip:
    from PIL import Image

    try:
        with open_sparingly(path) as file:
            if kind is OutputKind.VIDEO:
                return probe_clip(file)
            if kind is OutputKind.IMAGE:
                with Image.open(file) as image:
                    return Clip(image.width, image.height)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        pass  # it is stored, and that is what counts
    return Clip()


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None
