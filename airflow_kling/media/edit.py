"""Pictures cut, scaled and pasted over: what a plan asks for beside its passes."""

from __future__ import annotations

import hashlib
import io
import sys
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

from airflow_kling.api.checks import MAX_IMAGE_BYTES
from airflow_kling.api.inputs import InputFault
from airflow_kling.media.picture import (
    DAMAGED,
    MADE,
    Encoded,
    encode_base64,
    open_upright,
    probe_picture,
    save_within,
)

if TYPE_CHECKING:
    from PIL import Image

    from airflow_kling.media.reframe import Box, Plan


def cut_picture(data: bytes, box: Box | None, name: str) -> Encoded:
    """
    Return a part of a picture in the form that Kling accepts: upright, and made lighter where it is too heavy.

    :param data: A JPG or PNG.
    :param box: The part, in pixels of the upright picture; None for all of it.
    :raises InputFault: for a damaged picture, or one that no quality brings below 10 MB.
    """
    image, picture_format, profile = open_upright(io.BytesIO(data), name)
    content = save_within(image.crop(box) if box else image, picture_format, profile)
    if len(content) > MAX_IMAGE_BYTES:
        raise InputFault("image", f"{name}, cut", f"at most {MAX_IMAGE_BYTES:,} bytes (10 MB)", "make it smaller")
    return Encoded(encode_base64(content), hashlib.sha256(content).hexdigest())


def finish_picture(stream: BinaryIO, rest: Plan, original: bytes | None = None) -> bytes | None:
    """
    Return the final picture, None where the one that came back is final as it is.

    :param stream: The picture that came back from the last pass, seekable.
    :param rest: The plan for what is left of it: a cut and a size, no pass.
    :param original: The picture that all began with, to be pasted back over its place: at its own resolution, the
        result being enlarged to that, or at the result's where that is higher or a size was asked for.
    :raises InputFault: for a picture that cannot be read, or an original of another size than was planned for.
    """
    most = MAX_IMAGE_BYTES if rest.target.for_video else sys.maxsize
    probe = probe_picture(stream, "the result", MADE)
    if not (rest.crop or rest.resize or original or probe.turned or probe.size_bytes > most):
        return None
    stream.seek(0)
    image, picture_format, profile = open_upright(stream, "the result")
    if rest.crop:
        image = image.crop(rest.crop)
    if original:
        image = _pasted(image, rest, original)
    elif rest.resize:
        image = _scaled(image, rest.resize)
    return save_within(image, picture_format, profile, most)


def pasted_size(rest: Plan, width: int = 1) -> tuple[int, int]:
    """
    Return width and height in pixels of the final picture with the original pasted back.

    :param width: Of the picture that came back, cut; pixels.
    """
    if rest.resize:
        return rest.resize
    frame, aspect = rest.frame, rest.aspect
    scale = max(Fraction(1), width / frame.width)
    # The shorter side follows from the longer one: a frame is as skewed as what came back for it.
    if aspect >= 1:
        across = round(frame.width * scale)
        return across, max(1, round(across / aspect))
    down = round(frame.height * scale)
    return max(1, round(down * aspect)), down


def _pasted(image: Image.Image, rest: Plan, original: bytes) -> Image.Image:
    source, _, _ = open_upright(io.BytesIO(original), "the original")
    if source.size != rest.source:
        found, planned = ("{}x{} px".format(*size) for size in (source.size, rest.source))
        raise InputFault(
            "image",
            f"a picture of {found}",
            f"the one of {planned} that was expanded, to be pasted back",
            "put it back, or leave out preserve_original; what is paid is kept and not paid again",
        )
    frame, kept = rest.frame, rest.kept
    size = pasted_size(rest, image.width)
    across, down = size[0] / frame.width, size[1] / frame.height
    part = source.crop(kept) if kept != (0, 0, *source.size) else source
    # Of a palette, or of one transparent colour, Pillow makes no mask.
    part = part.convert("RGBA") if part.has_transparency_data else part
    part = _scaled(part, (round(kept.size[0] * across), round(kept.size[1] * down)))
    canvas = _scaled(image.convert("RGB"), size)
    place = round((kept.left - frame.left) * across), round((kept.top - frame.top) * down)
    canvas.paste(part.convert("RGB"), place, part if part.mode == "RGBA" else None)
    return canvas


def _scaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    from PIL import Image

    if image.size == size:
        return image
    try:
        return (image.convert("RGB") if image.mode == "P" else image).resize(size, Image.Resampling.LANCZOS)
    except DAMAGED as error:
        raise InputFault("image", "the result", "an undamaged picture", str(error)) from None
