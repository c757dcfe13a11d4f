"""The picture that a reframing begins with, read whole: its size decides the plan."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from airflow_kling.api.checks import MAX_IMAGE_BYTES, is_url
from airflow_kling.api.faults import ApiFault, Created
from airflow_kling.api.inputs import InputFault
from airflow_kling.lifecycle.fingerprint import source_of_content
from airflow_kling.lifecycle.source import Source
from airflow_kling.media.edit import cut_picture
from airflow_kling.media.picture import TAKEN, check_whole, probe_picture, reading, upright_size

if TYPE_CHECKING:
    from airflow_kling.lifecycle.collect import Fetch
    from airflow_kling.media.picture import Openable
    from airflow_kling.media.reframe import Box

MAX_SOURCE_BYTES = 50 * 1024 * 1024
"""What is sent has at most 10 MB; a heavier picture is read all the same, for it may be cut or made lighter."""
_STEP = 1 << 20


@dataclass(frozen=True, slots=True)
class Original:
    """
    A picture in memory.

    :param size: Width and height in pixels, as it is seen.
    :param source: What to send of it where nothing is cut, and what makes it this picture.
    :param as_it_is: Whether Kling takes it without a change: upright, and at most 10 MB.
    :param name: How messages call it.
    """

    data: bytes = field(repr=False)
    size: tuple[int, int]
    source: Source
    as_it_is: bool
    name: str

    def cut(self, box: Box | None) -> Source:
        """
        Return a part of it, to be sent.

        :param box: In pixels of the upright picture; None for all of it.
        """
        if box is None and self.as_it_is:
            return self.source
        identity = f"{self.source.identity}#{','.join(map(str, box))}" if box else self.source.identity
        return Source(cut_picture(self.data, box, self.name).base64, identity)


def read_original(
    image: object, *, resolve: Callable[[], Source], open_path: Callable[[str], Openable], fetch: Fetch
) -> Original:
    """
    Return the picture that a parameter names.

    :param resolve: Gives the link or base64 of a URL or a manifest.
    :raises InputFault: for a picture that is missing, damaged, of another type, or of more than 50 MB.
    :raises ApiFault: where it cannot be downloaded.
    """
    name = str(image).strip()
    if not isinstance(image, Mapping) and not is_url(name):
        with reading(open_path(name), name) as stream:
            data = _gathered(iter(partial(stream.read, _STEP), b""), name)
        encoded = base64.b64encode(data).decode("ascii") if len(data) <= MAX_IMAGE_BYTES else ""
        return _original(data, Source(encoded, source_of_content(hashlib.sha256(data).hexdigest())), name)
    source = resolve()
    if not is_url(source.image):
        return _original(base64.b64decode(source.image), source, "the stored picture")
    return fetch_original(source, fetch, "the picture of the URL")


def fetch_original(source: Source, fetch: Fetch, name: str, formats: tuple[str, ...] = TAKEN) -> Original:
    """
    Return the picture behind a link.

    :param name: How messages call it; a link may be a signed one, and is never shown.
    :param formats: Which are allowed; what Kling does not take is made a JPG before it is sent.
    """
    try:
        data = _gathered(fetch(source.image), name)
    except ApiFault as fault:
        hint = "Nothing was sent for it. A retry reads it again"
        raise fault.replace(message=f"{name}: {fault.info.message}", hint=hint, created=Created.NO) from None
    return _original(data, source, name, formats)


def _original(data: bytes, source: Source, name: str, formats: tuple[str, ...] = TAKEN) -> Original:
    stream = io.BytesIO(data)
    probe = probe_picture(stream, name, formats)
    check_whole(stream, probe.format, name)
    as_it_is = probe.format in TAKEN and not probe.turned and probe.size_bytes <= MAX_IMAGE_BYTES
    return Original(data, upright_size(stream, name, formats), source, as_it_is, name)


def _gathered(chunks: Iterable[bytes], name: str) -> bytes:
    data = io.BytesIO()
    for chunk in chunks:
        data.write(chunk)
        if data.tell() > MAX_SOURCE_BYTES:
            limit = f"at most {MAX_SOURCE_BYTES:,} bytes (50 MB)"
            raise InputFault("image", f"{name} of more than that", limit, "make it smaller")
    return data.getvalue()
