"""Files of any storage: written whole or not at all, and read in small steps."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO

#: Protocols whose keys appear at once, when an upload is completed: no partial file, no rename, no folder to make.
OBJECT_STORES = frozenset({"s3", "s3a"})
#: The smallest part that S3 takes, and it takes 10,000 of a file: each is held several times while it is sent.
_PART_BYTES = 5 << 20
#: s3fs would fetch and hold 50 MB.
_READ_AHEAD = 1 << 16


def make_folder(path: Any) -> None:
    """Make a folder, with what is above it; an object store needs none, and must not be given a bucket for a typo."""
    if not _is_object(path):
        path.mkdir(parents=True, exist_ok=True)


def list_folder(path: Any) -> list[Any]:
    """Return what lies in a folder, nothing where there is none: a prefix without keys is none."""
    try:
        return list(path.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextlib.contextmanager
def whole_file(path: Any) -> Iterator[BinaryIO]:
    """Give a file to write, which others see once the block ends well, in place of what was there; or never."""
    with _upload(path) if _is_object(path) else _partial(path) as file:
        yield file


def write_whole(path: Any, content: bytes) -> None:
    """
    Write a small file, and the folder it needs, so that a reader finds the old or the new content, never half of it.
    """
    make_folder(path.parent)
    with whole_file(path) as file:
        file.write(content)


def open_sparingly(path: Any) -> BinaryIO:
    """Open a file whose headers alone will be read."""
    file: BinaryIO = path.open("rb", block_size=_READ_AHEAD) if _is_object(path) else path.open("rb")
    return file


def _is_object(path: Any) -> bool:
    return getattr(path, "protocol", "") in OBJECT_STORES


def _is_local(path: Any) -> bool:
    return getattr(path, "protocol", "file") in ("file", "local")


@contextlib.contextmanager
def _partial(path: Any) -> Iterator[BinaryIO]:
    partial = path.parent / f".{path.name}.{uuid.uuid4().hex}.part"
    try:
        with partial.open("wb") as file:
            yield file
            if _is_local(path):
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if _is_local(path):
        with contextlib.suppress(OSError):  # a mount whose folders cannot be synced
            _sync_folder(path.parent)


def _sync_folder(folder: Any) -> None:
    descriptor = os.open(getattr(folder, "path", folder), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _upload(path: Any) -> Iterator[BinaryIO]:
    # Not a with block of its own: that completes the upload of half a file, and so would its finalizer.
    file = path.fs.open(path.path, "wb", block_size=_PART_BYTES)
    try:
        yield file
        file.close()
    except BaseException:
        with contextlib.suppress(Exception):  # the parts stay unseen; a bucket's lifecycle rule removes them
            file.discard()
        file.closed = True
        raise
