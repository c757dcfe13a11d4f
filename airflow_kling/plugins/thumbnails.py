"""Small pictures for the run page, made once and kept in memory."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from typing import BinaryIO

from airflow_kling.plugins.files import MediaFault

SIZES = {"small": 420, "large": 1600}
"""Longest side in pixels."""
MAX_PIXELS = 120_000_000
MAX_BYTES = 64 * 1024 * 1024
"""Of one picture."""
CACHE_BYTES = 48 * 1024 * 1024
CONTENT_TYPE = "image/webp"
_QUALITY = {"small": 74, "large": 82}


class Cache:
    """
    The thumbnails used last, as many as fit.

    :param limit: Bytes.
    """

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit = limit
        self._size = 0
        self._kept: OrderedDict[tuple[str, ...], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, ...]) -> bytes | None:
        """Return a thumbnail, None where it is not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: tuple[str, ...], content: bytes) -> None:
        """Keep a thumbnail, and drop what was used longest ago where there is no room."""
        with self._lock:
            self._size += len(content) - len(self._kept.pop(key, b""))
            self._kept[key] = content
            while self._size > self._limit:
                self._size -= len(self._kept.popitem(last=False)[1])

    @property
    def size(self) -> int:
        """Bytes kept."""
        return self._size


def thumbnail(stream: BinaryIO, size: int, variant: str) -> bytes:
    """
    Return a smaller picture, upright, without metadata.

    :param stream: A picture, seekable.
    :param size: Its bytes.
    :param variant: ``small`` or ``large``.
    :raises MediaFault: for one that is damaged or too large.
    """
    from PIL import Image, ImageOps

    longest = SIZES[variant]
    if size > MAX_BYTES:
        raise MediaFault(f"a picture of more than {MAX_BYTES >> 20} MB is not shown; open the file", 415)
    try:
        with Image.open(stream, formats=("PNG", "JPEG", "WEBP")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise MediaFault("a picture of that many pixels is not shown; open the file", 415)
            image.draft("RGB", (longest, longest))
            upright = ImageOps.exif_transpose(image)
            if upright.mode not in ("RGB", "RGBA"):
                upright = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
            upright.thumbnail((longest, longest), Image.Resampling.BICUBIC, reducing_gap=2.0)
            content = io.BytesIO()
            upright.save(content, "WEBP", quality=_QUALITY[variant], method=1, exif=b"")
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, Image.DecompressionBombError):
        raise MediaFault("the picture is damaged", 415) from None
    return content.getvalue()


def picture_size(stream: BinaryIO) -> tuple[int, int]:
    """
    Return width and height in pixels, as the picture is seen.

    :param stream: A picture, seekable.
    :raises MediaFault: for one that cannot be read.
    """
    from airflow_kling.api.inputs import InputFault
    from airflow_kling.media.picture import upright_size

    try:
        return upright_size(stream, "the source")
    except InputFault:
        raise MediaFault("the picture is damaged", 415) from None
