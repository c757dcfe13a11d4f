"""The example DAGs that make clips and go over folders, in a local folder and in a bucket of S3, by real Airflow."""

from __future__ import annotations

import hashlib
import io
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import av
import pytest
from PIL import Image

SECRETS = ("emulator-key", "emulator-secret", "Signature=", "base64,", "loopback-secret")


@dataclass
class Place:
    """Where a test's pictures and results lie: a prefix, what reads a URI below it, and what all is there."""

    uri: str
    read: object
    names: object
    put: object
    environment: dict[str, str] = field(default_factory=dict)


@pytest.fixture(params=["file", "s3"])
def place(request, tmp_path):
    if request.param == "s3":
        bucket = request.getfixturevalue("bucket")

        def put(path):
            bucket.client.put_object(Bucket=bucket.name, Key=f"in/{path.name}", Body=path.read_bytes())
            return f"s3://aws_loopback@{bucket.name}/in/{path.name}"

        def read(uri):
            return bucket.read(urlsplit(uri).path.lstrip("/"))

        return Place(bucket.uri, read, bucket.keys, put, bucket.environment)

    folder = tmp_path / "in"
    folder.mkdir()

    def names():
        return [str(path.relative_to(tmp_path)) for path in tmp_path.joinpath("out").rglob("*") if path.is_file()]

    return Place(
        f"file://{tmp_path}/out",
        lambda uri: Path(urlsplit(uri).path).read_bytes(),
        names,
        lambda path: f"file://{shutil.copy(path, folder)}",
    )


@pytest.fixture
def portrait(tmp_path, photograph):
    """A photograph of 405x720 px: 9:16, and so more than three times the area away from 16:9."""
    path = tmp_path / "portrait.jpg"
    with Image.open(photograph) as image:
        image.resize((1080, 720)).crop((300, 0, 705, 720)).save(path, quality=92)
    return path


def assert_stored(row, place):
    content = place.read(row["uri"])
    assert (len(content), hashlib.sha256(content).hexdigest()) == (row["size_bytes"], row["sha256"])
    return io.BytesIO(content)


def assert_no_litter(names):
    assert [name for name in names if name.endswith(".part")] == []


def test_a_portrait_becomes_a_wide_picture_and_a_clip(kling_emulator, run_dag, place, portrait):
    conf = {"image": place.put(portrait), "output_path": place.uri, "anchor": "0.5,0.4"}
    connection = kling_emulator.connection_uri()
    run = run_dag("kling_expand_to_video", "film", conf, AIRFLOW_CONN_KLING_DEFAULT=connection, **place.environment)
    assert run.code == 0, run.log[-4000:]

    expand, film = kling_emulator.state.ledger()["creates"]
    assert [expand["family"], film["family"]] == ["image-expansion", "image-to-video"]
    (row,) = run.result["outputs"]
    assert (row["kind"], row["width"], row["height"]) == ("video", 1280, 720)
    with av.open(assert_stored(row, place)) as clip:
        stream = clip.streams.video[0]
        frames = sum(1 for _ in clip.decode(stream))
        assert (stream.width, stream.height) == (1280, 720)
        assert abs(frames / stream.average_rate - row["duration"]) < 0.1
    pictures = [name for name in place.names() if name.endswith((".png", ".jpg")) and "in/" not in name]
    assert len(pictures) == 1
    assert_no_litter(place.names())
    assert [secret for secret in SECRETS if secret in run.log] == []


def test_a_catalogue_survives_a_bad_picture_and_pays_for_what_is_new_alone(
    kling_emulator, run_dag, place, portrait, photograph, tmp_path
):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    folder = {place.put(path).rpartition("/")[0] for path in (portrait, photograph, bad)}
    conf = {"folder": folder.pop(), "output_path": place.uri}
    environment = {"AIRFLOW_CONN_KLING_DEFAULT": kling_emulator.connection_uri()} | place.environment
    run = run_dag("kling_catalogue", "report", conf, **environment)
    assert run.code == 0, run.log[-4000:]
    assert run.result == {"pictures": 2, "units": 16}
    assert "bad.jpg" in run.log
    assert "JPG or PNG" in run.log

    again = run_dag("kling_catalogue", "report", conf, **environment)
    assert again.code == 0, again.log[-4000:]
    assert again.result == run.result
    assert len(kling_emulator.state.ledger()["creates"]) == 2
    assert_no_litter(place.names())
