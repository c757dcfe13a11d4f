"""Pictures reach Kling whole and upright, or are refused with a reason."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from types import SimpleNamespace

import numpy
import pytest
from PIL import ExifTags, Image, ImageFile

from airflow_kling.api.checks import MAX_IMAGE_BYTES
from airflow_kling.api.inputs import InputFault
from airflow_kling.media.picture import encode_picture, probe_picture, read_picture

ORIENTATION = ExifTags.Base.Orientation
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


@pytest.fixture
def cat(photographs):
    """A photograph of 451x300."""
    return Image.open(photographs / "chelsea.png").convert("RGB")


@pytest.fixture
def saved(tmp_path):
    """Write bytes, or a picture, to a file."""

    def save(content, name="picture.jpg", **options):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.save(path, **options)
        return path

    return save


def encoded(picture, picture_format="JPEG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, picture_format, **options)
    return buffer.getvalue()


def read(path):
    return base64.b64decode(read_picture(path, "picture").base64, validate=True)


def noise(width, height):
    return Image.fromarray(numpy.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=numpy.uint8))


def exif_of(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def jpeg_with_thumbnail(picture):
    """A JPEG whose EXIF data holds a small JPEG, end mark included, as cameras write it."""
    thumbnail = encoded(picture.resize((96, 64)))
    tiff = b"II*\x00\x08\x00\x00\x00\x00\x00\x0e\x00\x00\x00\x02\x00"
    tiff += b"\x01\x02\x04\x00\x01\x00\x00\x00\x2c\x00\x00\x00\x02\x02\x04\x00\x01\x00\x00\x00"
    tiff += len(thumbnail).to_bytes(4, "little")
    return encoded(picture, exif=b"Exif\x00\x00" + tiff + thumbnail)


# -- what is refused ---------------------------------------------------------------------------------------------


class Unreadable:
    """A path whose storage refuses."""

    def __init__(self, error):
        self.error = error

    def open(self, mode):
        raise self.error


@pytest.mark.parametrize(
    ("error", "limit"),
    [
        (FileNotFoundError(2, "No such file or directory"), "an existing file"),
        (IsADirectoryError(21, "Is a directory"), "a file"),
        (PermissionError(13, "Permission denied"), "a readable file (Permission denied)"),
        (OSError("the bucket is gone"), "a readable file (OSError)"),
    ],
)
def test_storage_that_refuses_is_told_apart(error, limit):
    with pytest.raises(InputFault) as refused:
        read_picture(Unreadable(error), "s3://bucket/cat.png")
    assert (refused.value.field, refused.value.value, refused.value.limit) == ("image", "s3://bucket/cat.png", limit)


class Failing(io.BytesIO):
    """A stream whose storage fails at a byte."""

    def __init__(self, content, good):
        super().__init__(content)
        self.good = good

    def read(self, size=-1):
        self.good -= 1
        if self.good < 0:
            raise OSError(5, "Input/output error")
        return super().read(size)


def test_storage_that_fails_while_reading_is_not_taken_for_a_damaged_picture():
    content = encoded(four_corners(), exif=exif_of(6))
    reads = CountingStream(content)
    encode_picture(reads, "phone")
    for good in range(reads.reads):
        stream = Failing(content, good)
        with pytest.raises(InputFault) as refused:
            read_picture(SimpleNamespace(open=lambda mode, stream=stream: stream), "s3://bucket/phone.jpg")
        assert refused.value.limit == "a readable file (Input/output error)"


@pytest.mark.parametrize(("name", "limit"), [("missing.png", "an existing file"), ("", "a file")])
def test_missing_file_and_folder_are_refused(tmp_path, name, limit):
    with pytest.raises(InputFault) as refused:
        read(tmp_path / name)
    assert refused.value.limit == limit


@pytest.mark.parametrize(
    ("content", "limit"),
    [
        pytest.param(b"", "not empty", id="empty"),
        pytest.param(b"a text, not a picture " * 40, "a JPG or PNG", id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "a JPG or PNG", id="signature-alone"),
        pytest.param(b"<!doctype html><title>Sign in</title>", "a JPG or PNG", id="page"),
    ],
)
def test_files_that_are_no_pictures_are_refused(saved, content, limit):
    with pytest.raises(InputFault) as refused:
        read(saved(content))
    assert refused.value.limit == limit


@pytest.mark.parametrize("picture_format", ["GIF", "WEBP", "BMP", "TIFF"])
def test_other_formats_are_refused_whatever_their_name(saved, cat, picture_format):
    with pytest.raises(InputFault, match="JPG or PNG"):
        read(saved(encoded(cat, picture_format), "cat.jpg"))


@pytest.mark.parametrize(
    ("size", "refused_for"),
    [
        ((300, 300), None),
        ((299, 400), "at least 300 px"),
        ((400, 299), "at least 300 px"),
        ((750, 300), None),
        ((300, 750), None),
        ((751, 300), "between 1:2.5 and 2.5:1"),
        ((300, 751), "between 1:2.5 and 2.5:1"),
    ],
)
def test_limits_of_size_and_shape(saved, size, refused_for):
    path = saved(Image.new("RGB", size, RED), "picture.png")
    if refused_for is None:
        assert read(path) == path.read_bytes()
        return
    with pytest.raises(InputFault, match=refused_for) as refused:
        read(path)
    assert f"{size[0]}x{size[1]}" in str(refused.value)


@pytest.mark.parametrize(("over", "accepted"), [(0, True), (1, False)])
def test_limit_of_bytes(saved, cat, over, accepted):
    whole = encoded(cat)
    path = saved(whole + bytes(MAX_IMAGE_BYTES + over - len(whole)))
    if accepted:
        assert len(read(path)) == MAX_IMAGE_BYTES
        return
    with pytest.raises(InputFault, match=re.escape("at most 10,485,760 bytes")):
        read(path)


# -- truncated files ---------------------------------------------------------------------------------------------

KINDS = {
    "baseline": encoded,
    "progressive": lambda cat: encoded(cat, progressive=True),
    "thumbnail": jpeg_with_thumbnail,
    "restarts": lambda cat: encoded(cat, restart_marker_rows=1),
    "png": lambda cat: encoded(cat, "PNG"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [0.3, 0.5, 0.9, 0.999, -1, -2, -8])
def test_truncated_pictures_are_refused(cat, kind, kept):
    whole = KINDS[kind](cat)
    part = whole[: kept if kept < 0 else int(len(whole) * kept)]
    with pytest.raises(InputFault, match=r"its end is missing|JPG or PNG"):
        encode_picture(io.BytesIO(part), "cat")


def test_end_mark_of_a_thumbnail_is_never_taken_for_that_of_a_cut_picture(cat):
    whole = jpeg_with_thumbnail(cat.resize((2000, 1330)))
    assert len(whole) > 80_000
    for kept in range(60_000, 80_000, 500):
        with pytest.raises(InputFault, match="its end is missing"):
            encode_picture(io.BytesIO(whole[:kept]), "cat")


@pytest.mark.parametrize("kind", KINDS)
def test_files_cut_inside_the_header_are_refused_as_cut(cat, kind):
    whole = KINDS[kind](cat)
    for kept in range(3, 600, 17):
        with pytest.raises(InputFault, match=r"its end is missing|JPG or PNG"):
            encode_picture(io.BytesIO(whole[:kept]), "cat")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("garbage", [1, 1000, 65_535, 65_536, 65_537, 200_000])
def test_whole_pictures_with_something_appended_are_accepted_as_they_are(cat, kind, garbage):
    content = KINDS[kind](cat) + b"\x00\x00\x00\x18ftypmp42".ljust(garbage, b"\x00")[:garbage]
    assert base64.b64decode(encode_picture(io.BytesIO(content), "cat").base64) == content


def test_fill_bytes_before_a_marker_are_skipped(cat):
    content = encoded(cat)
    content = content[:2] + b"\xff\xff\xff" + content[2:]
    assert base64.b64decode(encode_picture(io.BytesIO(content), "cat").base64) == content


# -- turned pictures ---------------------------------------------------------------------------------------------


def corners(picture):
    width, height = picture.size
    spots = [(20, 20), (width - 20, 20), (20, height - 20), (width - 20, height - 20)]
    pixels = [picture.convert("RGB").getpixel(spot) for spot in spots]
    return [
        min((RED, GREEN, BLUE, WHITE), key=lambda c: sum(abs(a - b) for a, b in zip(c, p, strict=True))) for p in pixels
    ]


def four_corners():
    picture = Image.new("RGB", (600, 400))
    for colour, spot in zip((RED, GREEN, BLUE, WHITE), ((0, 0), (300, 0), (0, 200), (300, 200)), strict=True):
        picture.paste(colour, (*spot, spot[0] + 300, spot[1] + 200))
    return picture


TURNS = {
    2: [GREEN, RED, WHITE, BLUE],
    3: [WHITE, BLUE, GREEN, RED],
    4: [BLUE, WHITE, RED, GREEN],
    5: [RED, BLUE, GREEN, WHITE],
    6: [BLUE, RED, WHITE, GREEN],
    7: [WHITE, GREEN, BLUE, RED],
    8: [GREEN, WHITE, RED, BLUE],
}


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", TURNS)
def test_turned_picture_arrives_upright(orientation, picture_format):
    content = encoded(four_corners(), picture_format, exif=exif_of(orientation))
    sent = Image.open(io.BytesIO(base64.b64decode(encode_picture(io.BytesIO(content), "phone").base64)))
    assert sent.format == picture_format
    assert sent.size == ((400, 600) if orientation >= 5 else (600, 400))
    assert corners(sent) == TURNS[orientation]
    assert sent.getexif().get(ORIENTATION, 1) == 1


@pytest.mark.parametrize("orientation", [1, 6])
def test_checksum_is_that_of_the_file_however_it_is_turned(orientation):
    content = encoded(four_corners(), exif=exif_of(orientation))
    assert encode_picture(io.BytesIO(content), "phone").sha256 == hashlib.sha256(content).hexdigest()


def test_turned_picture_keeps_its_colour_profile():
    profile = b"not a real profile, kept all the same"
    content = encoded(four_corners(), exif=exif_of(6), icc_profile=profile)
    sent = Image.open(io.BytesIO(base64.b64decode(encode_picture(io.BytesIO(content), "phone").base64)))
    assert sent.info["icc_profile"] == profile


def test_turned_picture_stays_under_the_limit():
    content = encoded(noise(2600, 1900), quality=89, exif=exif_of(6))
    assert len(content) < MAX_IMAGE_BYTES < len(encoded(noise(2600, 1900), quality=95, subsampling=0))
    sent = base64.b64decode(encode_picture(io.BytesIO(content), "phone").base64)
    assert len(sent) <= MAX_IMAGE_BYTES
    assert Image.open(io.BytesIO(sent)).size == (1900, 2600)


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG"])
def test_turned_picture_that_stays_over_the_limit_is_refused(monkeypatch, picture_format):
    monkeypatch.setattr("airflow_kling.media.picture.MAX_IMAGE_BYTES", 1000)
    monkeypatch.setattr("airflow_kling.media.picture.check_limits", lambda probe, name: None)
    with pytest.raises(InputFault, match="turned upright"):
        encode_picture(io.BytesIO(encoded(four_corners(), picture_format, exif=exif_of(3))), "phone")


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("exif", [None, exif_of(1), exif_of(0)], ids=["none", "upright", "zero"])
def test_upright_picture_is_sent_byte_for_byte(saved, cat, picture_format, exif):
    path = saved(encoded(cat, picture_format, **({"exif": exif} if exif else {})))
    assert read(path) == path.read_bytes()


@pytest.mark.parametrize("name", ["astronaut.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg", "camera.png"])
def test_photographs_of_all_modes_are_sent_byte_for_byte(photographs, name):
    assert read(photographs / name) == (photographs / name).read_bytes()


@pytest.mark.parametrize(
    "tiff",
    [
        pytest.param(b"this is no TIFF header at all", id="garbage"),
        pytest.param(b"", id="empty"),
        pytest.param(b"II*\x00\x08\x00\x00\x00\x05\x00\x12", id="cut"),
        pytest.param(
            b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x02\x00\x04\x00\x00\x00odd\x00\x00\x00\x00\x00",
            id="orientation-in-words",
        ),
    ],
)
def test_good_pixels_under_broken_exif_are_accepted(cat, tiff):
    content = encoded(cat, exif=b"Exif\x00\x00" + tiff)
    assert base64.b64decode(encode_picture(io.BytesIO(content), "cat").base64) == content


def test_turned_picture_with_damaged_pixels_is_refused():
    whole = encoded(four_corners(), "PNG", exif=exif_of(6))
    start = whole.index(b"IDAT") + 4
    damaged = whole[:start] + bytes(60) + whole[start + 60 :]
    with pytest.raises(InputFault):
        encode_picture(io.BytesIO(damaged), "phone")


# -- probing -----------------------------------------------------------------------------------------------------


class CountingStream(io.BytesIO):
    """Counts the bytes that are read."""

    count = reads = 0

    def read(self, size=-1):
        data = super().read(size)
        self.count += len(data)
        self.reads += 1
        return data


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG"])
def test_probing_reads_the_header_and_no_pixels(monkeypatch, picture_format):
    content = encoded(
        noise(1600, 1200), picture_format, exif=exif_of(6), **({"quality": 98} if picture_format == "JPEG" else {})
    )
    assert len(content) > 2_000_000
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("the pixels were decoded"))
    stream = CountingStream(content)
    probe = probe_picture(stream, "big")
    assert (probe.format, probe.width, probe.height, probe.size_bytes, probe.turned) == (
        picture_format,
        1600,
        1200,
        len(content),
        True,
    )
    assert stream.count < 70_000


def test_an_implausible_number_of_pixels_is_refused_before_decoding(monkeypatch, cat):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputFault, match="plausible size"):
        probe_picture(io.BytesIO(encoded(cat)), "bomb")


def test_phone_picture_of_two_frames_counts_as_jpeg(cat):
    content = encoded(cat, "MPO", save_all=True, append_images=[cat.resize((320, 300))])
    assert probe_picture(io.BytesIO(content), "phone").format == "JPEG"
    assert base64.b64decode(encode_picture(io.BytesIO(content), "phone").base64) == content
