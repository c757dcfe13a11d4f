"""Results on S3, against a server of it on loopback: whole keys, no litter, and refusals before anything is paid."""

from __future__ import annotations

import gc
import hashlib
import io
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from PIL import Image

from airflow_kling.api.families import OutputKind
from airflow_kling.api.faults import ApiFault, FaultInfo, FaultKind
from airflow_kling.api.models import Output, Task, TaskStatus
from airflow_kling.exceptions import KlingInputError
from airflow_kling.hooks.storage import storage_path
from airflow_kling.lifecycle.collect import collect
from airflow_kling.lifecycle.record import FileRecords, Record, Stage
from airflow_kling.lifecycle.reuse import find_made, remember_made
from airflow_kling.operators.kling import KlingExpandImageOperator

MEGABYTE = 1 << 20
CLIP = [b"\x00\x00\x00\x18ftypmp42".ljust(MEGABYTE, b"\x00")] + [bytes(MEGABYTE)] * 20
TASK = Task(
    "video",
    "T1",
    status=TaskStatus.SUCCEEDED,
    outputs=(Output(0, OutputKind.VIDEO, "https://cdn.example/0.mp4?sign=old"),),
)
PICTURE = Task("image-expansion", "T1", outputs=(Output(0, OutputKind.IMAGE, "https://cdn.example/0.png"),))


def png(size):
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def strangers_refused(bucket, monkeypatch):
    """The server knows nobody from here on: every key is a wrong one."""
    from moto import settings

    monkeypatch.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)


@pytest.fixture
def context():
    ti = SimpleNamespace(dag_id="dag", run_id="run", task_id="expand", map_index=-1, try_number=1, max_tries=0)
    ti.task, ti.xcom_push = SimpleNamespace(retries=0), lambda **_: None
    return {"ti": ti}


def expand(bucket, **fields):
    fields = {"output_path": bucket.uri, "n": 2} | fields
    return KlingExpandImageOperator(task_id="expand", image="https://example.com/a.png", up=0.5, **fields)


# -- from the operator to the keys -----------------------------------------------------------------------------


def test_results_lie_under_the_prefix_and_a_repeated_run_gives_the_same(bucket, serve, connect, context, sleeps):
    server = serve("submitted", "succeed")
    server.files |= {"/0.png": (200, png((30, 20))), "/1.png": (200, png((40, 25)))}
    connect(server)
    operator = expand(bucket, output_name="2026-11-20/{task_id}-{index}", reuse="30d")
    manifest = operator.execute(context)
    keys = [f"a/prefix/2026-11-20/T1-{index}.png" for index in (0, 1)]
    for row, key, (_, content), size in zip(
        manifest["outputs"], keys, server.files.values(), [(30, 20), (40, 25)], strict=True
    ):
        assert bucket.read(key) == content == storage_path(row["uri"]).read_bytes()
        assert row["uri"] == f"s3://aws_loopback@{bucket.name}/{key}"
        assert (row["sha256"], row["size_bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
        assert (row["width"], row["height"]) == size
    everything = bucket.keys()
    told = f"{keys[0].rpartition('-')[0]}-manifest.json"
    assert [key for key in everything if "/.kling" not in key] == [*keys, told]
    assert json.loads(bucket.read(told)) == manifest
    assert not [key for key in everything if key.endswith((".part", "probe"))]
    assert bucket.uploads() == []
    context["ti"].run_id = "another"
    assert operator.execute(context)["outputs"] == manifest["outputs"]
    assert bucket.keys() == everything
    assert [seen.method for seen in server.requests].count("POST") == 1


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        pytest.param({"output_path": "s3://aws_loopback@no-such-bucket/x"}, "output_path", id="bucket"),
        pytest.param({"output_name": "../{index}"}, "output_name", id="escape"),
        pytest.param({"output_name": "shoes"}, "output_name", id="twins"),
    ],
)
def test_a_place_or_name_that_cannot_be_is_refused_before_the_create(
    bucket, serve, connect, context, sleeps, fields, refused
):
    server = serve("submitted", "succeed")
    connect(server)
    with pytest.raises(KlingInputError, match=refused):
        expand(bucket, **fields).execute(context)
    assert "POST" not in [seen.method for seen in server.requests]
    assert "no-such-bucket" not in [row["Name"] for row in bucket.client.list_buckets()["Buckets"]]


def test_wrong_keys_are_found_out_before_the_create(strangers_refused, bucket, serve, connect, context, sleeps):
    server = serve("submitted", "succeed")
    connect(server)
    with pytest.raises(Exception, match=r"output_path|Nothing was sent"):
        expand(bucket).execute(context)
    assert "POST" not in [seen.method for seen in server.requests]


# -- whole or not at all ---------------------------------------------------------------------------------------


def test_a_reader_sees_the_earlier_clip_until_the_new_one_is_whole(bucket):
    path = storage_path(bucket.uri) / "T1-0.mp4"
    path.write_bytes(b"earlier")
    seen = []

    def fetch(url):
        for piece in CLIP:
            yield piece
            seen.append((bucket.read("a/prefix/T1-0.mp4"), len(bucket.uploads())))

    collect(TASK, storage_path(bucket.uri), fetch)
    assert {content for content, _ in seen} == {b"earlier"}
    assert seen[-1][1] == 1  # parts were sent meanwhile
    assert bucket.read("a/prefix/T1-0.mp4") == b"".join(CLIP)
    assert (bucket.keys(), bucket.uploads()) == (["a/prefix/T1-0.mp4"], [])


def broken_off(url):
    yield from CLIP[:-1]
    raise ApiFault(FaultInfo(FaultKind.CONNECTION, "lost"))


@pytest.mark.parametrize(
    ("task", "fetch", "options"),
    [
        pytest.param(TASK, broken_off, {}, id="broken off"),
        pytest.param(TASK, lambda url: iter(CLIP), {"max_bytes": 20 * MEGABYTE}, id="too large"),
        pytest.param(TASK, lambda url: iter([png((9, 9))]), {}, id="picture for clip"),
        pytest.param(PICTURE, lambda url: iter(CLIP), {}, id="clip for picture"),
        pytest.param(PICTURE, lambda url: iter([png((9, 9))]), {"edit": lambda file, output: b"no picture"}, id="edit"),
    ],
)
def test_what_fails_leaves_neither_key_nor_upload(bucket, task, fetch, options):
    with pytest.raises(ApiFault):
        collect(task, storage_path(bucket.uri), fetch, **options)
    gc.collect()  # a file that was not closed is no reason to complete it
    assert (bucket.keys(), bucket.uploads()) == ([], [])


def test_an_upload_that_the_server_breaks_off_leaves_nothing(bucket, monkeypatch):
    from moto.s3.models import S3Backend

    def full(*arguments, **options):
        raise ZeroDivisionError  # answered with status 500

    monkeypatch.setattr(S3Backend, "complete_multipart_upload", full)
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    with pytest.raises(Exception):  # noqa: B017, PT011  # whatever s3fs makes of it
        collect(TASK, storage_path(bucket.uri), lambda url: iter(CLIP))
    assert (bucket.keys(), bucket.uploads()) == ([], [])


def test_an_edit_is_stored_in_place_of_the_download(bucket):
    edited = png((7, 5))
    stored = collect(PICTURE, storage_path(bucket.uri), lambda url: iter([png((9, 9))]), edit=lambda *_: edited)
    assert (stored[0].width, stored[0].edited) == (7, True)
    assert bucket.read("a/prefix/T1-0.png") == edited


def test_an_expired_link_is_renewed(bucket):
    fresh = replace(TASK, outputs=(replace(TASK.outputs[0], url="https://cdn.example/0.mp4?sign=new"),))

    def fetch(url):
        if url.endswith("old"):
            raise ApiFault(FaultInfo(FaultKind.CONNECTION, "HTTP 403", http_status=403))
        yield from CLIP[:1]

    collect(TASK, storage_path(bucket.uri), fetch, renew=lambda: fresh)
    assert bucket.keys() == ["a/prefix/T1-0.mp4"]


# -- records and reuse -----------------------------------------------------------------------------------------

RECORD = Record(Stage.INTENT, "af-1", "kling_default", "print", 0, 0, 1.0)


def test_a_record_is_kept_on_s3(bucket):
    records = FileRecords(storage_path(bucket.uri) / ".kling" / "af-1.json")
    assert records.load() is None
    for record in (RECORD, replace(RECORD, stage=Stage.SUBMITTED, task_id="T1")):
        records.save(record)
        assert records.load() == record
    assert bucket.keys() == ["a/prefix/.kling/af-1.json"]


def test_a_record_that_may_not_be_read_is_not_taken_for_absent(strangers_refused, bucket):
    with pytest.raises(ApiFault, match="Nothing was sent"):
        FileRecords(storage_path(bucket.uri) / ".kling" / "af-1.json").load()


def test_only_what_is_still_whole_on_s3_is_reused(bucket):
    made = storage_path(bucket.uri) / ".kling" / "made" / "print.json"
    picture = storage_path(bucket.uri) / "T1-0.png"
    picture.write_bytes(b"picture")
    manifest = {"task_id": "T1", "outputs": [{"uri": str(picture), "sha256": hashlib.sha256(b"picture").hexdigest()}]}
    remember_made(made, manifest, 100.0)
    assert find_made(made, 60.0, 120.0, storage_path) == manifest
    picture.write_bytes(b"another")
    assert find_made(made, 60.0, 120.0, storage_path) is None
    picture.unlink()
    assert find_made(made, 60.0, 120.0, storage_path) is None
