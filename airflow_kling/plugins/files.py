"""Which files the run page may serve, and how they are opened: only what lies under a configured root."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from airflow_kling.lifecycle.collect import SIGNATURE_LENGTH, SIGNATURES
from airflow_kling.lifecycle.files import OBJECT_STORES

#: Ending of a stored file -> content type; what is none of these is not served.
CONTENT_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".mp4": "video/mp4",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
}

#: A root of these would let a manifest send the API server anywhere.
NEVER = frozenset({"http", "https", "ftp", "sftp", "data", "memory", "github", "simplecache", "filecache", "reference"})
_VERSIONS = ("ETag", "etag", "generation", "LastModified", "last_modified", "updated", "mtime")
#: Of an object store: s3fs would fetch and hold 50 MB for the first byte.
_READ_AHEAD = 1 << 20
#: In a root: the DAG whose run is shown.
DAG_ID = "{dag_id}"
#: What Airflow allows as an id.
_PLAIN_ID = re.compile(r"[\w.-]+")
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)(/.*)?", re.DOTALL)


class MediaFault(Exception):
    """
    A file that is not served.

    :param status: 403 where it may not be served, 404 where it cannot be found, 415 where it is something else.
    """

    def __init__(self, reason: str, status: int = 403) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


@dataclass(frozen=True, slots=True)
class Root:
    """
    A configured root.

    :param scheme: Of its storage; ``file`` for a folder.
    :param authority: Connection and bucket, empty for a folder.
    :param path: Folder with symlinks resolved, or prefix; both end with a slash.
    """

    scheme: str
    authority: str
    path: str


@dataclass(frozen=True, slots=True)
class Opened:
    """
    An open file.

    :param stream: Seekable.
    :param size: In bytes.
    :param content_type: By its first bytes.
    :param tag: Changes when the file does; None where its storage names nothing that would.
    """

    stream: BinaryIO
    size: int
    content_type: str
    tag: str | None


def read_roots(text: str) -> list[Root]:
    """
    Return the roots of ``[kling] media_roots``; what cannot be one counts for nothing.

    :param text: Folders and storage prefixes, separated by commas or lines.
    """
    roots = []
    for name in filter(None, map(str.strip, re.split(r"[,\n]", text))):
        scheme, authority, path = _parts(name)
        if scheme == "file" and os.path.isabs(path):
            # A root of "/" would be no limit.
            if (folder := os.path.realpath(path)) != "/":
                roots.append(Root(scheme, "", folder + "/"))
        elif scheme not in NEVER | {"file", ""} and authority and not _is_odd(path):
            roots.append(Root(scheme, authority, f"/{path.strip('/')}/".replace("//", "/")))
    return roots


def roots_of(text: str, dag_id: str) -> list[Root]:
    """
    Return the roots that the files of a DAG's runs may lie under.

    :param text: See :func:`read_roots`; ``{dag_id}`` in it stands for the DAG.
    :raises MediaFault: for an id that would lead to another folder than one of that name.
    """
    if DAG_ID not in text:
        return read_roots(text)
    if not _PLAIN_ID.fullmatch(dag_id) or not dag_id.strip("."):
        raise MediaFault("its DAG's id cannot be a folder of [kling] media_roots")
    return read_roots(text.replace(DAG_ID, dag_id))


@contextmanager
def open_media(uri: str, roots: Sequence[Root], *, hostname: str | None = None) -> Iterator[Opened]:
    """
    Open a stored file.

    :param hostname: The worker that wrote it, for what to say where a local file is not here.
    :raises MediaFault: for anything but a picture, clip or sound under a root.
    """
    with open_stored(uri, roots, hostname=hostname) as (stream, size, tag):
        yield Opened(stream, size, _content_type(stream), tag)


@contextmanager
def open_stored(
    uri: str, roots: Sequence[Root], *, hostname: str | None = None
) -> Iterator[tuple[BinaryIO, int, str | None]]:
    """
    Open a stored file of any kind; gives its stream, its size in bytes, and its tag as :class:`Opened` has it.

    :raises MediaFault: for what lies under no root.
    """
    if not roots:
        raise MediaFault("[kling] media_roots is not set: no stored file is shown")
    scheme, authority, path = _parts(uri)
    with (
        _open_local(path, roots, hostname)
        if scheme == "file"
        else _open_remote(uri, scheme, authority, path, roots) as found
    ):
        yield found


@contextmanager
def storage_errors(through: type[Exception] = MediaFault) -> Iterator[None]:
    """
    Make what a storage raises a :class:`MediaFault` that names its kind alone: its text may hold a signed URL.

    :param through: What is no storage's.
    """
    try:
        yield
    except (MediaFault, through):
        raise
    except FileNotFoundError:
        raise MediaFault("the file is missing: it was moved or deleted", 404) from None
    except Exception as error:  # whatever the storage raises
        raise MediaFault(f"the API server cannot read the storage ({type(error).__name__})", 404) from None


@contextmanager
def _open_local(path: str, roots: Sequence[Root], hostname: str | None) -> Iterator[tuple[BinaryIO, int, str]]:
    if not os.path.isabs(path) or "\0" in path:
        raise MediaFault("its place is no absolute path")
    try:
        real = os.path.realpath(path)
    except UnicodeError:  # half of a character
        raise MediaFault("its place is no path", 404) from None
    if not _is_under_folder(real, roots):
        raise MediaFault("it lies outside [kling] media_roots")
    try:
        # Not through a link that was put there since; and a pipe must not block.
        descriptor = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise MediaFault(_not_here(hostname), 404) from None
    except OSError as error:
        raise MediaFault(f"the API server cannot read it ({error.strerror})", 404) from None
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        # A folder on the way may have become a link between the two calls.
        if not stat.S_ISREG(found.st_mode) or not _is_still(real, found):
            raise MediaFault("it is no plain file")
        yield stream, found.st_size, f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"


@contextmanager
def _open_remote(
    uri: str, scheme: str, authority: str, path: str, roots: Sequence[Root]
) -> Iterator[tuple[BinaryIO, int, str | None]]:
    if _is_odd(path) or not any(
        (root.scheme, root.authority) == (scheme, authority) and path.startswith(root.path) for root in roots
    ):
        raise MediaFault("it lies outside [kling] media_roots")
    from airflow_kling.hooks.storage import storage_path

    with storage_errors():
        place = storage_path(uri)
        found: dict[str, Any] = place.fs.info(place.path, refresh=True)
        size = int(found["size"])
        stream = place.open("rb", **({"block_size": _READ_AHEAD} if place.protocol in OBJECT_STORES else {}))
    with stream:
        # What tells the storages' versions of a file apart, by any of their names for it.
        changed = [str(found[name]) for name in _VERSIONS if found.get(name)]
        digest = hashlib.sha256(repr(changed).encode()).hexdigest()[:16]
        yield stream, size, f"{digest}-{size:x}" if changed else None


def _parts(name: str) -> tuple[str, str, str]:
    """Return scheme, authority and path; a name without a scheme is a path of this machine."""
    if "::" in name or "\0" in name:
        return "", "", ""  # storages chained
    if match := _URI.fullmatch(name):
        scheme, authority, path = match[1].lower(), match[2], match[3] or "/"
        if scheme == "file":
            return ("file", "", path) if authority in ("", "localhost") else ("", "", "")
        return scheme, authority, path
    return ("", "", "") if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", name) else ("file", "", name)


def _is_odd(path: str) -> bool:
    """Return whether a key could mean another place than it says."""
    return (
        any(part in (".", "..") for part in path.split("/")) or any(sign in path for sign in "\\?#\0") or "//" in path
    )


def _is_under_folder(real: str, roots: Sequence[Root]) -> bool:
    return any(root.scheme == "file" and real.startswith(root.path) for root in roots)


def _is_still(real: str, found: os.stat_result) -> bool:
    try:
        return os.path.realpath(real) == real and os.path.samestat(os.stat(real, follow_symlinks=False), found)
    except OSError:
        return False


def _not_here(hostname: str | None) -> str:
    import socket

    if hostname and hostname not in (socket.gethostname(), socket.getfqdn()):
        return (
            f"worker {hostname} wrote it to its own disk, which the API server does not see: "
            "use shared storage, such as s3://…, for output_path"
        )
    return "the file is not here: it was moved or deleted, or the worker's disk is not the API server's"


def _content_type(stream: BinaryIO) -> str:
    with storage_errors():  # some storages connect at the first read
        first = stream.read(SIGNATURE_LENGTH)
        stream.seek(0)
    for pattern, _, ending in SIGNATURES:
        if pattern.match(first):
            return CONTENT_TYPES[ending]
    raise MediaFault("by its first bytes it is no picture, clip or sound", 415)
