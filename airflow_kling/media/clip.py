"""Size and length of a clip, from the headers of its MP4 boxes: nothing is decoded, and little is read."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

#: Boxes looked at before a file is given up: whole clips have about a dozen on the way.
_MAX_BOXES = 1000
_HEADER, _LARGE = struct.Struct(">I4s"), struct.Struct(">Q")
#: By the box's version: what comes before, then timescale and duration.
_MOVIE_HEADER = {0: struct.Struct(">12xII"), 1: struct.Struct(">20xIQ")}
#: By the box's version: what comes before, then a and b of the matrix, and width and height in 1/65536 px.
_TRACK_HEADER = {0: struct.Struct(">40xii28xII"), 1: struct.Struct(">52xii28xII")}


@dataclass(frozen=True, slots=True)
class Clip:
    """What a clip's headers tell: pixels, as shown, and seconds; what they do not tell is None."""

    width: int | None = None
    height: int | None = None
    duration: float | None = None


def probe_clip(file: BinaryIO) -> Clip:
    """
    Return what the headers of an MP4 tell; of a damaged or another file, nothing.

    :param file: Any file that can seek; of gigabytes, some hundred bytes are read.
    """
    try:
        return _probe(file)
    except (struct.error, KeyError):  # a box that ends early, or of a version to come
        return Clip()


def _probe(file: BinaryIO) -> Clip:
    left = iter(range(_MAX_BOXES))
    width = height = duration = None
    end = file.seek(0, io.SEEK_END)
    for kind, start, stop in _boxes(file, 0, end, left):
        if kind != b"moov":
            continue
        for inner, at, until in _boxes(file, start, stop, left):
            if inner == b"mvhd":
                duration = _duration(file, at, until)
            elif inner == b"trak" and width is None:
                heads = (_pixels(file, *head) for name, *head in _boxes(file, at, until, left) if name == b"tkhd")
                width, height = next(heads, (None, None))
        break
    return Clip(width, height, duration)


def _boxes(file: BinaryIO, at: int, end: int, left: Iterator[int]) -> Iterator[tuple[bytes, int, int]]:
    """Give kind, start and end of the content of each box in a part of the file, as far as they are whole."""
    while at < end and next(left, None) is not None:
        file.seek(at)
        size, kind = _HEADER.unpack(file.read(_HEADER.size))
        start = at + _HEADER.size
        if size == 1:
            (size,) = _LARGE.unpack(file.read(_LARGE.size))
            start += _LARGE.size
        stop = at + size if size else end
        if not start <= stop <= end:
            return
        yield kind, start, stop
        at = stop


def _fields(file: BinaryIO, at: int, until: int, layouts: dict[int, struct.Struct]) -> tuple[int, ...]:
    file.seek(at)
    content = file.read(min(until - at, 128))
    layout = layouts[content[0] if content else -1]
    return layout.unpack_from(content)


def _duration(file: BinaryIO, at: int, until: int) -> float | None:
    timescale, length = _fields(file, at, until, _MOVIE_HEADER)
    unknown = length in (0, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)  # 0: told by the fragments alone
    return None if unknown or not timescale else round(length / timescale, 3)


def _pixels(file: BinaryIO, at: int, until: int) -> tuple[int, int] | tuple[None, None]:
    upright, turned, *size = _fields(file, at, until, _TRACK_HEADER)
    width, height = (round(side / 65536) for side in size)
    if not width or not height:  # a track of sound
        return None, None
    return (height, width) if turned and not upright else (width, height)
