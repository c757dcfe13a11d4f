"""Which files may be served, and how."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from PIL import Image

from airflow_kling.hooks import storage
from airflow_kling.plugins.files import MediaFault, open_media, read_roots, roots_of
from airflow_kling.plugins.thumbnails import MAX_BYTES, Cache, content_type, picture_size, thumbnail


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    folder.mkdir()
    Image.new("RGB", (900, 300), "red").save(folder / "a.png")
    Image.new("RGB", (10, 10)).save(tmp_path / "beside.png")
    return folder


def served(uri, roots):
    try:
        with open_media(str(uri), read_roots(str(roots)), hostname="worker-7") as file:
            return file.content_type
    except MediaFault as fault:
        return fault.status


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("  ,\n,", 0),
        ("relative", 0),
        ("/", 0),
        ("file:///", 0),
        ("/a, /b\ns3://conn@bucket/a", 3),
        ("s3://bucket", 1),
        ("http://host/", 0),
        ("HTTPS://host/a", 0),
        ("s3://", 0),
        ("s3://bucket/a/../b", 0),
        ("simplecache::s3://bucket", 0),
        ("file://host/a", 0),
    ],
)
def test_roots(text, count):
    assert len(read_roots(text)) == count


def test_what_lies_below_a_root_is_served(root, tmp_path):
    (tmp_path / "alias").symlink_to(root)
    (root / "within.png").symlink_to(root / "a.png")
    for uri in (root / "a.png", f"file://{root}/a.png", f"{root}/./b/../a.png", root / "within.png"):
        assert served(uri, root) == "image/png"
    # Either may be written by another name.
    assert served(tmp_path / "alias" / "a.png", root) == served(root / "a.png", tmp_path / "alias") == "image/png"


def test_what_lies_elsewhere_is_not(root, tmp_path):
    (root / "link.png").symlink_to(tmp_path / "beside.png")
    (root / "up").symlink_to(tmp_path)
    (tmp_path / "root-too").mkdir()
    (tmp_path / "root-too" / "a.png").write_bytes((root / "a.png").read_bytes())
    for uri in ("link.png", "up/beside.png", "../beside.png", "../root-too/a.png", "../root"):
        assert served(root / uri, root) == 403
    assert served(root / "a.png", "") == served("a.png", root) == 403
    assert served(f"{root}/\ud800.png", root) == 404


def test_a_folder_that_turns_into_a_link_is_not_followed(root, tmp_path, monkeypatch):
    (root / "folder").mkdir()
    (root / "folder" / "beside.png").write_bytes((root / "a.png").read_bytes())
    opened = os.open

    def swapped(path, flags, *rest, **more):
        if str(path).endswith("folder/beside.png"):
            (root / "folder").rename(tmp_path / "moved")
            (root / "folder").symlink_to(tmp_path)
        return opened(path, flags, *rest, **more)

    monkeypatch.setattr("airflow_kling.plugins.files.os.open", swapped)
    assert served(root / "folder" / "beside.png", root) == 403


def test_a_missing_file_names_the_worker_that_has_it(root):
    for hostname, words in (("worker-7", "worker worker-7 wrote it to its own disk"), (None, "moved or deleted")):
        with (
            pytest.raises(MediaFault, match=words),
            open_media(str(root / "b.png"), read_roots(str(root)), hostname=hostname),
        ):
            pass


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("s3://conn@bucket/wide/a.png", True),
        ("S3://conn@bucket/wide/a.png", True),
        ("s3://conn@bucket/wider/a.png", False),
        ("s3://other@bucket/wide/a.png", False),
        ("s3://bucket/wide/a.png", False),
        ("s3://conn@bucket/wide/../a.png", False),
        ("s3://conn@bucket/wide//a.png", False),
        ("s3://conn@bucket/wide/a.png?versionId=1", False),
        ("gs://conn@bucket/wide/a.png", False),
        ("s3://conn@bucket/wide/a.png::http://host", False),
    ],
)
def test_a_bucket_is_asked_below_the_root_alone(root, monkeypatch, uri, allowed):
    asked, real = [], storage.storage_path

    def storage_path(name):
        asked.append(name)
        return real(str(root / "a.png"))

    monkeypatch.setattr(storage, "storage_path", storage_path)
    assert served(uri, "s3://conn@bucket/wide") == ("image/png" if allowed else 403)
    assert asked == ([uri] if allowed else [])


def test_a_storage_that_fails_says_no_secret(monkeypatch):
    def storage_path(name):
        raise PermissionError("key=secret")

    monkeypatch.setattr(storage, "storage_path", storage_path)
    with pytest.raises(MediaFault) as caught, open_media("s3://b/a.png", read_roots("s3://b")):
        pass
    assert caught.value.reason == "the API server cannot read the storage (PermissionError)"


class Stream(io.BytesIO):
    """Of a storage that connects when it is read, and fails from some byte on."""

    def __init__(self, content, fails_at):
        super().__init__(content)
        self.fails_at = fails_at

    def read(self, size=-1):
        if self.tell() >= self.fails_at:
            raise ConnectionResetError(104, "https://host/?sig=secret")
        return super().read(size)


@pytest.fixture
def bucket(root, monkeypatch):
    """A storage of one picture; what it is opened with, and its streams, are kept."""
    kept = SimpleNamespace(options=[], streams=[], info={"ETag": "1"}, fails_at=1 << 30, content=b"")

    def opened(mode, **options):
        kept.options.append(options)
        kept.streams.append(Stream(kept.content, kept.fails_at))
        return kept.streams[-1]

    def storage_path(uri):
        fs = SimpleNamespace(info=lambda path, refresh: {"size": len(kept.content), **kept.info})
        return SimpleNamespace(fs=fs, path="b/a.png", protocol=uri.partition(":")[0], open=opened)

    kept.content = (root / "a.png").read_bytes()
    monkeypatch.setattr(storage, "storage_path", storage_path)
    return kept


def test_a_storage_that_fails_when_it_is_read_says_no_secret(bucket):
    bucket.fails_at = 0
    with pytest.raises(MediaFault) as caught, open_media("s3://b/a.png", read_roots("s3://b")):
        pass
    assert caught.value.reason == "the API server cannot read the storage (ConnectionResetError)"
    assert caught.value.__suppress_context__
    assert [stream.closed for stream in bucket.streams] == [True]
    for ask in (thumbnail, lambda stream, size, variant: picture_size(stream, size)):
        with pytest.raises(MediaFault, match=r"\(ConnectionResetError\)$"):
            ask(Stream(bucket.content, 0), 1, "small")


@pytest.mark.parametrize(("scheme", "options"), [("s3", {"block_size": 1 << 20}), ("gs", {})])
def test_a_bucket_is_read_in_small_steps(bucket, scheme, options):
    assert served(f"{scheme}://b/a.png", f"{scheme}://b") == "image/png"
    assert bucket.options == [options]


@pytest.mark.parametrize(("info", "tagged"), [({}, False), ({"ETag": None}, False), ({"mtime": 1}, True)])
def test_a_storage_that_names_no_version_has_no_tag(bucket, info, tagged):
    bucket.info = info
    with open_media("gs://b/a.png", read_roots("gs://b")) as file:
        assert bool(file.tag) == tagged


def test_a_root_may_be_of_one_dag(root, tmp_path):
    (tmp_path / "theirs").mkdir()
    for text in (f"{tmp_path}/{{dag_id}}", f"s3://b/{{dag_id}}/x, {tmp_path}/{{dag_id}}/"):
        with open_media(str(root / "a.png"), roots_of(text, "root")):
            pass
        with pytest.raises(MediaFault, match="outside"), open_media(str(root / "a.png"), roots_of(text, "theirs")):
            pass
        for dag_id in (".", "..", "", "root/..", "a,/", "a\n/"):
            with pytest.raises(MediaFault, match="id cannot be"):
                roots_of(text, dag_id)
    assert roots_of(str(root), "..") == read_roots(str(root))


def test_pictures_that_would_harm_the_server(tmp_path):
    def refused(image, reason, tail=b"", **options):
        path = tmp_path / "a"
        image.save(path, **options)
        content = path.read_bytes() + tail
        with pytest.raises(MediaFault, match=reason):
            thumbnail(io.BytesIO(content), len(content), "small")

    refused(Image.new("1", (8_000, 5_001)), "many pixels", format="PNG")
    refused(Image.new("L", (9, 9)), "damaged", b"\xff\xda" * 101, format="JPEG", progressive=True)
    for ask in (picture_size, lambda stream, size: thumbnail(stream, size, "small")):
        with pytest.raises(MediaFault, match="64 MB"):
            ask(io.BytesIO(b""), MAX_BYTES + 1)


def test_size_of_a_webp(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.webp")
    assert picture_size(io.BytesIO((tmp_path / "a.webp").read_bytes()), 1) == (30, 20)


@pytest.mark.parametrize(("variant", "size"), [("small", (420, 140)), ("large", (900, 300))])
def test_thumbnail(root, variant, size):
    with (root / "a.png").open("rb") as stream:
        content = thumbnail(stream, 1, variant)
    with Image.open(__import__("io").BytesIO(content)) as image:
        assert (image.format, content_type(content), image.size) == ("JPEG", "image/jpeg", size)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "CMYK", "I;16"])
def test_thumbnail_of_any_mode(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new(mode, (500, 500)).save(path)
    with path.open("rb") as stream:
        kind = "image/webp" if mode == "LA" else "image/jpeg"
        assert content_type(thumbnail(stream, 1, "small")) == kind


def test_thumbnail_is_upright_and_tells_no_place(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "at home"
    Image.new("RGB", (600, 300)).save(tmp_path / "a.jpg", exif=exif, comment="at home", xmp=b"at home")
    with (tmp_path / "a.jpg").open("rb") as stream:
        content = thumbnail(stream, 1, "small")
    assert b"at home" not in content
    with Image.open(__import__("io").BytesIO(content)) as image:
        assert image.size == (210, 420)


def test_cache_keeps_what_was_used_last_and_no_more_than_fits():
    cache = Cache(limit=100)
    for number in range(9):
        cache.put((str(number),), bytes(30))
        cache.get(("0",))
    assert cache.size <= 100
    assert [number for number in range(9) if cache.get((str(number),))] == [0, 7, 8]
    cache.put(("huge",), bytes(101))
    assert cache.size == 0
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: cache.put((str(number % 50),), bytes(30)), range(5_000)))
    assert cache.size == 90
