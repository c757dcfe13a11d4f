"""A clip's headers tell its size and length; damaged ones tell nothing, quickly."""

from __future__ import annotations

import io
import struct

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from airflow_kling.media.clip import Clip, probe_clip

TURNED = (0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
UPRIGHT = (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def box(kind, *parts, large=False, size=None):
    content = b"".join(parts)
    if large:
        return struct.pack(">I4sQ", 1, kind, len(content) + 16) + content
    return struct.pack(">I4s", len(content) + 8 if size is None else size, kind) + content


def mvhd(timescale, length, version=0):
    return box(b"mvhd", struct.pack(">B19xIQ" if version else ">B11xII", version, timescale, length), bytes(80))


def trak(width, height, matrix=UPRIGHT, version=0):
    head = struct.pack(">B51x" if version else ">B39x", version)
    content = struct.pack(">9iII", *matrix, int(width * 65536), int(height * 65536))
    return box(b"trak", box(b"edts", bytes(4)), box(b"tkhd", head, content), box(b"mdia", bytes(50)))


FTYP, MDAT = box(b"ftyp", b"isom" + bytes(8)), box(b"mdat", bytes(500))
SOUND, PICTURES = trak(0, 0), trak(1280, 720)


@pytest.fixture(scope="module", params=[{}, {"movflags": "faststart"}], ids=["moov-at-the-end", "moov-at-the-start"])
def real(request, tmp_path_factory):
    """A clip of PyAV, of 2 seconds."""
    path = tmp_path_factory.mktemp("clip") / "real.mp4"
    with av.open(str(path), "w", options=request.param) as container:
        stream = container.add_stream("mpeg4", 24)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for _ in range(48):
            container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (320, 180), "red"))))
        container.mux(stream.encode())
    return path.read_bytes()


def test_a_real_clip_tells_size_and_length(real):
    assert probe_clip(io.BytesIO(real)) == Clip(320, 180, 2.0)


@pytest.mark.parametrize(
    ("content", "clip"),
    [
        pytest.param([FTYP, MDAT, box(b"moov", mvhd(1000, 5041), SOUND, PICTURES)], Clip(1280, 720, 5.041), id="end"),
        pytest.param([FTYP, box(b"moov", mvhd(1000, 5041), PICTURES, trak(9, 9)), MDAT], Clip(1280, 720, 5.041),
                     id="start, first pictures count"),
        pytest.param([FTYP, box(b"mdat", bytes(99), large=True), box(b"moov", PICTURES, large=True)],
                     Clip(1280, 720, None), id="64-bit sizes"),
        pytest.param([FTYP, MDAT, box(b"moov", mvhd(600, 1 << 33, 1), trak(9, 7, version=1), size=0)],
                     Clip(9, 7, round((1 << 33) / 600, 3)), id="version 1, box to the end"),
        pytest.param([FTYP, box(b"moov", trak(1280, 720, TURNED))], Clip(720, 1280, None), id="turned"),
        *(pytest.param([FTYP, box(b"moov", mvhd(scale, length, version))], Clip(), id=f"length unknown {length:x}")
          for scale, length, version in ((0, 9, 0), (9, 0, 0), (9, 0xFFFFFFFF, 0), (9, (1 << 64) - 1, 1))),
        pytest.param([FTYP, box(b"moov", mvhd(10, 20), SOUND)], Clip(None, None, 2.0), id="sound alone"),
        pytest.param([FTYP, box(b"moov", mvhd(10, 20), box(b"trak"))], Clip(None, None, 2.0), id="empty track"),
        pytest.param([FTYP, MDAT], Clip(), id="no moov"),
        pytest.param([], Clip(), id="empty"),
        pytest.param([FTYP, b"\x00\x00\x00"], Clip(), id="header cut"),
        pytest.param([FTYP, struct.pack(">I4s", 1, b"mdat")], Clip(), id="64-bit header cut"),
        pytest.param([FTYP, box(b"moov", PICTURES, size=7), MDAT], Clip(), id="smaller than its header"),
        pytest.param([FTYP, box(b"mdat", b"", size=900), box(b"moov", PICTURES)], Clip(), id="larger than the file"),
        pytest.param([FTYP, box(b"moov", box(b"mvhd", b""))], Clip(), id="mvhd empty"),
        pytest.param([FTYP, box(b"moov", box(b"mvhd", bytes(9)))], Clip(), id="mvhd cut"),
        pytest.param([FTYP, box(b"moov", box(b"mvhd", b"\x07" + bytes(99)))], Clip(), id="mvhd of version 7"),
        pytest.param([FTYP, *[box(b"free")] * 2000, box(b"moov", PICTURES)], Clip(), id="too many boxes"),
    ],
)  # fmt: skip
def test_boxes_tell_what_they_hold(content, clip):
    assert probe_clip(io.BytesIO(b"".join(content))) == clip


class Counting(io.BytesIO):
    reads = size = 0

    def read(self, size=-1):
        data = super().read(size)
        self.reads, self.size = self.reads + 1, self.size + len(data)
        return data


def test_of_a_large_clip_little_is_read():
    file = Counting(b"".join([FTYP, box(b"mdat", bytes(10_000_000)), box(b"moov", mvhd(10, 20), SOUND, PICTURES)]))
    assert probe_clip(file).width == 1280
    assert file.size < 1000


@given(st.data())
def test_damage_gives_no_error_and_no_long_loop(real, data):
    content = bytearray(real)
    head = max(content.find(b"moov") - 4, 0)
    places = st.one_of(st.integers(0, 60), st.integers(head, head + 400), st.integers(0, len(content) - 1))
    for at in data.draw(st.lists(places.filter(lambda at: at < len(content)), max_size=8)):
        content[at] = data.draw(st.integers(0, 255))
    file = Counting(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    clip = probe_clip(file)
    assert file.reads <= 3000
    assert all(value is None or value >= 0 for value in (clip.width, clip.height, clip.duration))
