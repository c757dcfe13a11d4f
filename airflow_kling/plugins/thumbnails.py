"""Small pictures for the run page, made once and kept in memory."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Sized
from typing import Any, BinaryIO, Generic, TypeVar

from airflow_kling.plugins.files import MediaFault, storage_errors

SIZES = {"small": 420, "large": 1600}
"""Longest side in pixels."""
MAX_PIXELS = 40_000_000
"""Of one picture: they take four bytes each, and as many again while they are scaled."""
MAX_BYTES = 64 * 1024 * 1024
"""Of one picture."""
MAX_SCANS = 100
"""Of a JPEG: each goes over all of its pixels, and takes no more than some bytes to ask for."""
CACHE_BYTES = 48 * 1024 * 1024
_QUALITY = {"small": 78, "large": 85}
_FORMATS = ("PNG", "JPEG", "WEBP")
_STEP = 1 << 20
_JPEG, _SCAN = b"\xff\xd8", b"\xff\xda"


Content = TypeVar("Content", bound=Sized)


class Cache(Generic[Content]):
    """
    What was used last, thumbnails above all, as much as fits.

    :param limit: Sum of the lengths: of thumbnails, bytes.
    """

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit = limit
        #: Sum of the lengths of what is kept.
        self.size = 0
        self._kept: OrderedDict[tuple[str, ...], Content] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, ...]) -> Content | None:
        """Return what is kept under a key, None where nothing is."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: tuple[str, ...], content: Content) -> None:
        """Keep something, and drop what was used longest ago where there is no room."""
        with self._lock:
            if key in self._kept:
                self.size -= len(self._kept.pop(key))
            self.size += len(content)
            self._kept[key] = content
            while self.size > self._limit:
                self.size -= len(self._kept.popitem(last=False)[1])


def thumbnail(stream: BinaryIO, size: int, variant: str) -> bytes:
    """
    Return a smaller picture, upright, without metadata.

    :param stream: A picture, seekable.
    :param variant: ``small`` or ``large``.
    :raises MediaFault: for one that is damaged or too large.
    """
    from PIL import Image, ImageOps

    longest = SIZES[variant]
    picture = _read_picture(stream, size)
    try:
        with Image.open(picture, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise MediaFault("a picture of that many pixels is not shown; open the file", 415)
            image.draft("RGB", (longest, longest))
            image.load()
            scaled: Image.Image = image
            if image.mode not in ("RGB", "RGBA"):
                scaled = image.convert("RGBA" if image.has_transparency_data else "RGB")
            # Scaled before it is turned: a turned picture is another one of that size.
            scaled.thumbnail((longest, longest), Image.Resampling.BICUBIC, reducing_gap=2.0)
            content = io.BytesIO()
            # WebP is a tenth smaller, and takes twenty times as long to make.
            form: dict[str, Any] = {"format": "WEBP", "method": 1} if scaled.mode == "RGBA" else {"format": "JPEG"}
            upright = ImageOps.exif_transpose(scaled)
            upright.info.clear()  # comments and all else that would be written with it
            upright.save(content, quality=_QUALITY[variant], **form)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, Image.DecompressionBombError):
        raise MediaFault("the picture is damaged", 415) from None
    return content.getvalue()


def content_type(content: bytes) -> str:
    """Return the content type of a thumbnail."""
    return "image/jpeg" if content.startswith(_JPEG) else "image/webp"


def _read_picture(stream: BinaryIO, size: int) -> BinaryIO:
    """Return the file in memory: Pillow would ask the storage for it in small pieces, some of them again and again."""
    _check_size(size)
    picture = io.BytesIO()
    with storage_errors():
        while piece := stream.read(_STEP):
            picture.write(piece)
            _check_size(picture.tell())
    content = picture.getvalue()  # shares its memory
    if content.startswith(_JPEG) and content.count(_SCAN) > MAX_SCANS:
        raise MediaFault("the picture is damaged", 415)
    picture.seek(0)
    return picture


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise MediaFault(f"a picture of more than {MAX_BYTES >> 20} MB is not shown; open the file", 415)


def picture_size(stream: BinaryIO, size: int) -> tuple[int, int]:
    """
    Return width and height in pixels, as the picture is seen.

    :raises MediaFault: for one that cannot be read, or is too large.
    """
    from airflow_kling.api.inputs import InputFault
    from airflow_kling.media.picture import MADE, upright_size

    _check_size(size)
    try:
        with storage_errors(through=InputFault):
            return upright_size(stream, "the source", MADE)
    except InputFault:
        raise MediaFault("the picture is damaged", 415) from None
