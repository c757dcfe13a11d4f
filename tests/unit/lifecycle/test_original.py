"""The picture that a reframing begins with: from anywhere, bounded, and never shown with its link."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from airflow_kling.api.faults import ApiFault, Created, FaultInfo, FaultKind
from airflow_kling.exceptions import KlingInputError
from airflow_kling.lifecycle.original import MAX_SOURCE_BYTES, fetch_original, read_original
from airflow_kling.lifecycle.source import Source
from airflow_kling.media.picture import MADE
from airflow_kling.media.reframe import Box

LINK = "https://cdn.example/a.png?X-Amz-Signature=secret"


def content(size=(400, 500), picture_format="PNG", **options):
    file = io.BytesIO()
    Image.new("RGB", size, "olive").save(file, picture_format, **options)
    return file.getvalue()


def read(image, *, resolved=None, pieces=()):
    return read_original(image, resolve=lambda: resolved, open_path=Path, fetch=lambda _: iter(pieces))


def turned(tag=6):
    exif = Image.Exif()
    exif[0x0112] = tag
    return exif


def test_a_file_is_sent_as_it_is(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(content())
    original = read(str(path))
    assert (original.size, original.as_it_is) == ((400, 500), True)
    assert base64.b64decode(original.cut(None).image) == content()
    part = original.cut(Box(0, 0, 300, 400))
    assert part.identity == f"{original.source.identity}#0,0,300,400"
    assert Image.open(io.BytesIO(base64.b64decode(part.image))).size == (300, 400)


def test_a_link_is_sent_as_a_link_unless_it_is_cut():
    source = Source(LINK, "https://cdn.example/a.png")
    data = content()
    original = read(LINK, resolved=source, pieces=[data[:100], data[100:]])
    assert original.cut(None) is source
    assert not original.cut(Box(0, 0, 300, 400)).image.startswith("http")
    assert "secret" not in repr(original)


def test_a_manifest_of_a_stored_file_is_that_file():
    source = Source(base64.b64encode(content()).decode(), "sha256:0")
    assert read({"task_id": None, "family": "image-expansion"}, resolved=source).data == content()


@pytest.mark.parametrize(("options", "size"), [({"exif": turned()}, (500, 400)), ({"exif": turned(3)}, (400, 500))])
@pytest.mark.parametrize("picture_format", ["PNG", "JPEG"])
def test_what_is_turned_is_sent_upright(tmp_path, options, size, picture_format):
    path = tmp_path / "a"
    path.write_bytes(content(picture_format=picture_format, **options))
    original = read(str(path))
    assert (original.size, original.as_it_is) == (size, False)
    sent = Image.open(io.BytesIO(base64.b64decode(original.cut(None).image)))
    assert (sent.size, sent.getexif().get(0x0112)) == (size, None)


def test_what_is_heavier_than_kling_takes_is_read_and_made_lighter(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(content((1900, 2000), compress_level=0))
    original = read(str(path))
    assert (original.as_it_is, original.source.image) == (False, "")
    assert 0 < len(base64.b64decode(original.cut(None).image)) <= 10 * 1024 * 1024


@pytest.mark.parametrize("where", ["file", "link"])
def test_nothing_is_read_beyond_the_bound(tmp_path, where):
    asked = []

    def pieces():
        for _ in range(100):
            asked.append(1)
            yield bytes(1 << 20)

    if where == "link":
        with pytest.raises(KlingInputError, match="50 MB"):
            read_original(LINK, resolve=lambda: Source(LINK, ""), open_path=Path, fetch=lambda _: pieces())
        assert len(asked) == 51
        return
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(MAX_SOURCE_BYTES + 1)
    with pytest.raises(KlingInputError, match="50 MB"):
        read(str(path))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not empty"),
        (b"GIF89a", "JPG or PNG"),
        (content()[:-12], "its end is missing"),
        (content(picture_format="JPEG")[:-30], "its end is missing"),
        (content(picture_format="WEBP"), "JPG or PNG"),
    ],
)
def test_what_is_no_whole_picture_is_refused(tmp_path, data, said):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(KlingInputError, match=said):
        read(str(path))


@pytest.mark.parametrize(("make", "said"), [(Path.mkdir, "a file"), (lambda _: None, "an existing file")])
def test_what_is_no_file_is_refused(tmp_path, make, said):
    make(tmp_path / "a.png")
    with pytest.raises(KlingInputError, match=said):
        read(str(tmp_path / "a.png"))


def test_webp_that_came_back_is_sent_as_a_jpg():
    data = content(picture_format="WEBP")
    came = fetch_original(Source(LINK, "task:T1:0"), lambda _: iter([data]), "it", MADE)
    assert (came.size, came.as_it_is) == ((400, 500), False)
    assert base64.b64decode(came.cut(None).image)[:3] == b"\xff\xd8\xff"
    with pytest.raises(KlingInputError, match="JPG or PNG"):
        fetch_original(Source(LINK, "task:T1:0"), lambda _: iter([data[:-50]]), "it", MADE)


def test_a_failed_download_says_that_nothing_was_sent():
    def fail(_):
        raise ApiFault(FaultInfo(FaultKind.CONNECTION, "download of a result failed: HTTP 403", http_status=403))
        yield b""

    with pytest.raises(ApiFault, match="the picture of the URL") as raised:
        read_original(LINK, resolve=lambda: Source(LINK, ""), open_path=Path, fetch=fail)
    assert raised.value.info.created is Created.NO
    assert "Nothing was sent" in str(raised.value)
    assert "secret" not in str(raised.value)
