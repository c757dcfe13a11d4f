"""Pictures on their way to Kling: probe the header, check the limits, make the ``image`` field."""

from __future__ import annotations

import base64
import hashlib
import io
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from airflow_kling.api.checks import MAX_IMAGE_BYTES
from airflow_kling.api.inputs import InputFault

if TYPE_CHECKING:
    from PIL import Image

MIN_SIDE = 300
MAX_ASPECT = 2.5
_CHUNK = 3 << 18  # a multiple of 3, so that the base64 of chunks can be joined
_BLOCK = 1 << 16
_ORIENTATION = 0x0112
_TURNED = range(2, 9)
_ON_ITS_SIDE = range(5, 9)
_QUALITIES = (95, 90, 85, 75)
_JPEG_MODES = ("RGB", "L", "CMYK")
_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = 0xDA
#: What Pillow raises for damaged files; its UnidentifiedImageError is an OSError.
DAMAGED = (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error)
_FORMATS = {"JPEG": "JPEG", "MPO": "JPEG", "PNG": "PNG", "WEBP": "WEBP"}
#: What Kling takes, and what may come back: its documents do not say which.
TAKEN = ("JPEG", "PNG")
MADE = (*TAKEN, "WEBP")
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B")
_ADVICE = "give a JPG or PNG of at most 10 MB, at least 300 px on each side, between 1:2.5 and 2.5:1"


class Openable(Protocol):
    """A path of any storage: pathlib's and Airflow's ``ObjectStoragePath`` alike."""

    def open(self, mode: str) -> BinaryIO: ...


@dataclass(frozen=True, slots=True)
class Probe:
    """
    What the header of a picture says; its size in pixels is the stored one.

    :param format: ``JPEG`` or ``PNG``; ``WEBP``, where that is allowed.
    :param turned: Whether EXIF asks for the picture to be turned before it is shown.
    """

    format: str
    width: int
    height: int
    size_bytes: int
    turned: bool


@dataclass(frozen=True, slots=True)
class Encoded:
    """
    A picture as it is sent.

    :param base64: Without a ``data:`` prefix.
    :param sha256: Of the file's bytes, as they were before any turning.
    """

    base64: str = field(repr=False)
    sha256: str


def read_picture(path: Openable, name: str) -> Encoded:
    """
    Return the picture in the form that Kling accepts.

    :raises InputFault: for a file that is missing, unreadable, empty, of another type, truncated, or out of limits.
    """
    with reading(path, name) as stream:
        return encode_picture(stream, name)


@contextmanager
def reading(path: Openable, name: str) -> Iterator[BinaryIO]:
    """
    Open a picture's file, and say in words what is wrong with it.

    :param name: How messages call it, here and elsewhere in this module.
    :raises InputFault: for a file that is missing or unreadable.
    """
    try:
        with path.open("rb") as stream:
            yield stream
    except InputFault:
        raise
    except FileNotFoundError:
        raise InputFault("image", name, "an existing file", "check the path, as the worker sees it") from None
    except IsADirectoryError:
        raise InputFault("image", name, "a file", "name one picture, not a folder") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputFault("image", name, f"a readable file ({reason})", "check its permissions and storage") from None


def encode_picture(stream: BinaryIO, name: str) -> Encoded:
    """
    Return the picture, turned upright if its EXIF data asks for that.

    Kling does not say whether it heeds EXIF, and "up" must mean what the user sees.

    :param stream: A seekable file.
    :raises InputFault: for a picture that Kling would refuse.
    """
    probe = probe_picture(stream, name)
    check_limits(probe, name)
    check_whole(stream, probe.format, name)
    if not probe.turned:
        return _encode(stream)
    sha256 = _encode(stream).sha256
    stream.seek(0)
    content = save_within(*open_upright(stream, name))
    if len(content) > MAX_IMAGE_BYTES:
        raise InputFault(
            "image",
            f"{name}, turned upright as its EXIF data asks",
            f"at most {MAX_IMAGE_BYTES:,} bytes",
            "compress it",
        )
    return Encoded(encode_base64(content), sha256)


def encode_base64(content: bytes) -> str:
    """Return base64, made in steps."""
    return _encode(io.BytesIO(content)).base64


def _encode(stream: BinaryIO) -> Encoded:
    stream.seek(0)
    text = io.BytesIO()
    digest = hashlib.sha256()
    while chunk := _read_all(stream, _CHUNK):
        text.write(base64.b64encode(chunk))
        digest.update(chunk)
    return Encoded(text.getvalue().decode("ascii"), digest.hexdigest())


def _read_all(stream: BinaryIO, size: int) -> bytes:
    """Read that many bytes, or what is left: a storage may give fewer at a time, and base64 wants whole triples."""
    data = stream.read(size)
    while 0 < len(data) < size and (more := stream.read(size - len(data))):
        data += more
    return data


def probe_picture(stream: BinaryIO, name: str, formats: tuple[str, ...] = TAKEN) -> Probe:
    """
    Return what the header says; the pixels are not read.

    :param stream: A seekable file.
    :raises InputFault: for an empty file, or one of another format.
    """
    from PIL import Image

    size = stream.seek(0, io.SEEK_END)
    if size == 0:
        raise InputFault("image", name, "not empty", "check how the file was written")
    stream.seek(0)
    try:
        with Image.open(stream, formats=formats) as image:
            return Probe(_FORMATS[str(image.format)], image.width, image.height, size, _is_turned(image))
    except Image.DecompressionBombError:
        raise InputFault("image", name, "of a plausible size in pixels", _ADVICE) from None
    except DAMAGED as error:
        if getattr(error, "errno", None):
            raise  # the storage's own error, not Pillow's
        raise InputFault("image", name, "a JPG or PNG", _ADVICE) from None


def check_limits(probe: Probe, name: str) -> None:
    """
    Refuse a picture out of Kling's limits: 10 MB, 300 px, 1:2.5 to 2.5:1 (document "Image Expansion").

    :raises InputFault: naming the limit.
    """
    width, height = probe.width, probe.height
    if probe.size_bytes > MAX_IMAGE_BYTES:
        raise InputFault(
            "image",
            f"{name} of {probe.size_bytes:,} bytes",
            f"at most {MAX_IMAGE_BYTES:,} bytes (10 MB)",
            "compress it",
        )
    if min(width, height) < MIN_SIDE:
        raise InputFault(
            "image", f"{name} of {width}x{height} px", f"at least {MIN_SIDE} px on each side", "enlarge it"
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InputFault(
            "image", f"{name} of {width}x{height} px", "between 1:2.5 and 2.5:1", "crop it, or expand its shorter side"
        )


def check_whole(stream: BinaryIO, picture_format: str, name: str) -> None:
    """
    Refuse a truncated file, without decoding it.

    :param stream: A seekable file.
    :param picture_format: ``JPEG``, ``PNG`` or ``WEBP``.
    :raises InputFault: where the end of the picture is missing.
    """
    if not _IS_WHOLE[picture_format](stream):
        raise InputFault("image", name, "a whole file, but its end is missing", "copy or upload it again")


def _is_turned(image: Image.Image) -> bool:
    # A PNG's EXIF data may stand behind the pixels, and Pillow would decode them to get there.
    if image.format == "PNG" and "exif" not in image.info:
        return False
    return image.getexif().get(_ORIENTATION) in _TURNED


def upright_size(stream: BinaryIO, name: str, formats: tuple[str, ...] = TAKEN) -> tuple[int, int]:
    """
    Return width and height of a picture in pixels as it is seen: turned, if its EXIF data asks for that.

    :param stream: A seekable file; its pixels are not read.
    :raises InputFault: for an empty file, or one of another format.
    """
    from PIL import Image

    probe = probe_picture(stream, name, formats)
    if probe.turned:
        stream.seek(0)
        with Image.open(stream, formats=formats) as image:
            if image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE:
                return probe.height, probe.width
    return probe.width, probe.height


def open_upright(stream: BinaryIO, name: str) -> tuple[Image.Image, str, bytes | None]:
    """
    Return a picture as it is seen, its format (``PNG``, else ``JPEG``) and its colour profile.

    :param stream: At its beginning.
    :raises InputFault: for a damaged picture.
    """
    from PIL import Image, ImageOps

    try:
        # Not every format that Pillow knows: some would start other programs.
        with Image.open(stream, formats=MADE) as image:
            picture_format = "PNG" if image.format == "PNG" else "JPEG"
            return _shallow(ImageOps.exif_transpose(image)), picture_format, image.info.get("icc_profile")
    except (*DAMAGED, Image.DecompressionBombError) as error:
        if getattr(error, "errno", None):
            raise  # the storage's own error, not Pillow's
        raise InputFault("image", name, "an undamaged JPG or PNG", _ADVICE) from None


def _shallow(image: Image.Image) -> Image.Image:
    """Return 16 bits of grey as 8: Pillow would cut them off at white."""
    if image.mode not in _DEEP_MODES:
        return image
    return image.convert("I").point(lambda value: value * (1 / 256) + 0).convert("L")


def save_within(image: Image.Image, picture_format: str, profile: bytes | None, most: int = MAX_IMAGE_BYTES) -> bytes:
    """
    Return a picture's file: a PNG where that is light enough, else a JPEG of the best quality that is.

    :param picture_format: ``PNG`` or ``JPEG``.
    :param profile: Its colour profile.
    :param most: Bytes; a file of the lowest quality may be heavier.
    """
    content = b""
    if picture_format == "PNG" and len(content := _saved(image, "PNG", profile)) <= most:
        return content
    for quality in _QUALITIES:
        content = _saved(on_white(image), "JPEG", profile, quality=quality, subsampling=0)
        if len(content) <= most:
            break
    return content


def on_white(image: Image.Image) -> Image.Image:
    """Return a picture without transparency, in a mode that a JPEG can have."""
    from PIL import Image

    if not image.has_transparency_data:
        return image if image.mode in _JPEG_MODES else image.convert("RGB")
    opaque = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB")


def _saved(image: Image.Image, picture_format: str, profile: bytes | None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, picture_format, icc_profile=profile, **options)
    return buffer.getvalue()


def _jpeg_is_whole(stream: BinaryIO) -> bool:
    """Look for the end mark behind the start of the scan: a thumbnail in the header has an end mark of its own."""
    scan = _jpeg_scan_offset(stream)
    if scan is None:
        return False
    end = stream.seek(0, io.SEEK_END)
    tail = b""
    # Backwards: the mark is at the very end, unless a phone appended a clip.
    while end > scan:
        start = max(scan, end - _BLOCK)
        stream.seek(start)
        block = stream.read(end - start)
        if _JPEG_END in block + tail:
            return True
        tail, end = block[:1], start
    return False


def _jpeg_scan_offset(stream: BinaryIO) -> int | None:
    stream.seek(2)
    while True:
        marker = stream.read(2)
        while len(marker) == 2 and marker == b"\xff\xff":
            marker = marker[1:] + stream.read(1)  # fill bytes
        if len(marker) < 2 or marker[0] != 0xFF:
            return None
        if marker[1] == _JPEG_SCAN:
            return stream.tell()
        length = stream.read(2)
        if len(length) < 2:
            return None
        stream.seek(int.from_bytes(length, "big") - 2, io.SEEK_CUR)


def _png_is_whole(stream: BinaryIO) -> bool:
    size = stream.seek(0, io.SEEK_END)
    position = 8
    while position + 12 <= size:
        stream.seek(position)
        header = stream.read(8)
        position += 12 + int.from_bytes(header[:4], "big")
        if header[4:] == b"IEND":
            return position <= size
    return False


#: A WEBP that is not whole cannot even be opened.
_IS_WHOLE: dict[str, Callable[[BinaryIO], bool]] = {
    "JPEG": _jpeg_is_whole,
    "PNG": _png_is_whole,
    "WEBP": lambda _: True,
}
