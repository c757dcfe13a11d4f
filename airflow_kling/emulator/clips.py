"""Clips of the emulator: a camera that moves over a real picture, or on from a clip's last frame, as an MP4."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

FRAMES_PER_SECOND = 24

BOXES = {"std": (1280, 720), "pro": (1920, 1080), "4k": (3840, 2160)}
"""Longer and shorter side in pixels that a mode's clips fit into (Kling's document: 720p, 1080p, 4K)."""

ZOOM = 1.15
"""How much closer the camera is at the end."""

#: Encoders in the order of preference, with their options. One thread, so that the same order makes the same bytes.
ENCODERS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "ultrafast", "crf": "26"},
    "libopenh264": {},
    "mpeg4": {"qscale": "5"},
}

MISSING = "Clips need PyAV, which is not installed here: pip install 'airflow-provider-kling[emulator]'"


class ClipsUnavailable(Exception):
    """PyAV is missing."""

    def __init__(self) -> None:
        super().__init__(MISSING)


def clip_size(width: int, height: int, mode: str) -> tuple[int, int]:
    """
    Return the size of a clip: the picture's aspect, as large as the mode allows, both sides even.

    :param mode: ``std``, ``pro`` or ``4k``.
    """
    longer, shorter = BOXES[mode]
    scale = min(longer / max(width, height), shorter / min(width, height))
    # To the nearest: it stays within the mode, whose sides are even, and 2134x1200 becomes 1280x720.
    even = [max(2, 2 * round(side * scale / 2)) for side in (width, height)]
    return even[0], even[1]


def frame_count(seconds: int) -> int:
    """Return the frames of a clip: one more than the seconds hold, as the documents' "5.041" says of 5 seconds."""
    return seconds * FRAMES_PER_SECOND + 1


def duration_text(frames: int) -> str:
    """Return a clip's length as the answers say it: seconds, cut off after three digits."""
    return f"{frames * 1000 // FRAMES_PER_SECOND / 1000:.3f}"


def camera_move(
    picture: Image.Image, size: tuple[int, int], frames: int, *, seed: int = 0, tail: Image.Image | None = None
) -> Iterator[Image.Image]:
    """
    Yield the frames of a slow move into a picture; the first one is the whole picture.

    :param picture: RGB.
    :param size: Of the clip in pixels.
    :param seed: Where the camera goes; any integer.
    :param tail: RGB picture that the second half turns into, and the last frame is.
    """
    roomy = ImageOps.fit(picture, (round(size[0] * ZOOM), round(size[1] * ZOOM)), Image.Resampling.BICUBIC)
    end = None if tail is None else ImageOps.fit(tail, size, Image.Resampling.BICUBIC)
    direction = 2 * math.pi * (seed * 0.381966 % 1)
    for number in range(frames):
        done = number / max(1, frames - 1)
        box = _window(roomy.size, _eased(done), direction)
        frame = roomy.resize(size, Image.Resampling.BILINEAR, box=box)
        yield frame if end is None or done < 0.5 else Image.blend(frame, end, _eased(2 * done - 1))


def continued(source: bytes, seconds: int, *, seed: int = 0) -> Iterator[Image.Image]:
    """
    Yield the frames of a clip, and then those of a move on from its last one.

    :raises ClipsUnavailable: without PyAV.
    """
    last = None
    for frame in read_frames(source):
        last = frame
        yield frame
    if last is not None:
        # Its first frame is the last one once more.
        yield from itertools.islice(camera_move(last, last.size, frame_count(seconds), seed=seed), 1, None)


def write_clip(path: Path, frames: Iterable[Image.Image]) -> int:
    """
    Write an MP4: H.264 where PyAV has it, MPEG-4 elsewhere; 24 frames per second, yuv420p; return the number of frames.

    :param frames: RGB pictures of one size, both sides even.
    :raises ClipsUnavailable: without PyAV.
    """
    av = _load()
    number = 0
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = None
        for picture in frames:
            if stream is None:
                stream = _add_stream(container, picture.size)
            frame = av.VideoFrame.from_image(picture)
            frame.pts = number
            container.mux(stream.encode(frame))
            number += 1
        if stream is not None:
            container.mux(stream.encode(None))
    return number


def read_frames(source: bytes) -> Iterator[Image.Image]:
    """
    Yield the frames of a clip as RGB pictures.

    :raises ClipsUnavailable: without PyAV.
    """
    with _load().open(io.BytesIO(source)) as container:
        for frame in container.decode(video=0):
            yield frame.to_image()


def _window(size: tuple[int, int], done: float, direction: float) -> tuple[float, float, float, float]:
    """Return what the camera sees: all at first, at the end less by the zoom, off the middle in its direction."""
    width, height = size
    zoom = 1 + (ZOOM - 1) * done
    seen = width / zoom, height / zoom
    left = (width - seen[0]) * (0.5 + 0.4 * math.cos(direction))
    top = (height - seen[1]) * (0.5 + 0.4 * math.sin(direction))
    return left, top, min(left + seen[0], width), min(top + seen[1], height)


def _eased(done: float) -> float:
    return done * done * (3 - 2 * done)


def _add_stream(container: Any, size: tuple[int, int]) -> Any:
    name = _encoder()
    stream = container.add_stream(name, rate=FRAMES_PER_SECOND, options=ENCODERS[name])
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 1
    return stream


@functools.cache
def _encoder() -> str:
    av = _load()
    for name in ENCODERS:
        with contextlib.suppress(av.codec.codec.UnknownCodecError):
            av.codec.Codec(name, "w")
            return name
    raise ClipsUnavailable


def _load() -> Any:
    # Here and nowhere else: everything but clips works without it.
    try:
        import av
    except ImportError:
        raise ClipsUnavailable from None
    return av
