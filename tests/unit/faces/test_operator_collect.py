"""KlingCollectOperator stores what was submitted elsewhere; assets are told of what was stored."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from airflow_kling.exceptions import KlingPermanentError, KlingTaskFailed, KlingTransientError
from airflow_kling.operators.kling import KlingCollectOperator
from airflow_kling.operators.push import push

MANIFEST = {
    "family": "image-expansion",
    "task_id": "T1",
    "units": 16.0,
    "outputs": [
        {"index": 0, "uri": "s3://aws@bucket/a/0.png", "size_bytes": 3, "sha256": "aa", "width": 1},
        {"index": 1, "uri": "s3://aws@bucket/a/1.png", "size_bytes": 4, "sha256": "bb", "width": 1},
        {"index": 2, "uri": None, "size_bytes": None, "sha256": None, "width": None},
    ],
}
FILES = [
    {"uri": "s3://aws@bucket/a/0.png", "size_bytes": 3, "sha256": "aa"},
    {"uri": "s3://aws@bucket/a/1.png", "size_bytes": 4, "sha256": "bb"},
]


def operator(**fields):
    return KlingCollectOperator(task_id="collect", kling_task_id="T1", **fields)


def test_a_finished_task_is_stored(serve, connect, context, ti, tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20)).save(buffer, "PNG")
    server = serve("succeed")
    server.files["/0.png"] = (200, buffer.getvalue())
    connect(server)
    manifest = operator(output_path=str(tmp_path), output_name="shoes").execute(context)
    assert (tmp_path / "shoes.png").read_bytes() == buffer.getvalue()
    assert manifest["outputs"][0]["width"] == 30
    assert ti.xcoms == {"task_id": "T1", "uris": [manifest["outputs"][0]["uri"]]}
    assert {seen.method for seen in server.requests} == {"GET"}


@pytest.mark.parametrize(
    ("word", "error"),
    [("processing", KlingTransientError), ("submitted", KlingTransientError), ("failed", KlingTaskFailed)],
)
def test_what_cannot_be_collected_says_why(serve, connect, context, tmp_path, word, error):
    connect(serve(word))
    with pytest.raises(error, match="T1") as raised:
        operator(output_path=str(tmp_path)).execute(context)
    assert isinstance(raised.value, KlingPermanentError) == (word == "failed")


class Event:
    def __init__(self):
        self.extra, self.added = {}, []

    def add(self, asset, extra=None):
        self.added.append((asset, extra))


class FakeAsset:
    uri = "kling://pictures"


class FakeAlias:
    name = "pictures"


def tell(ti, outlet):
    event = Event()
    context = {"ti": ti, "outlet_events": {outlet: event}}
    assert push(context, [outlet], MANIFEST) is MANIFEST
    return event


def test_an_asset_is_told_of_every_file_that_was_stored(ti):
    event = tell(ti, FakeAsset())
    assert event.extra == FILES[0] | {"files": FILES, "family": "image-expansion", "task_id": "T1", "units": 16.0}
    assert ti.xcoms["uris"] == [file["uri"] for file in FILES]


def test_an_alias_gets_an_asset_for_each_file_without_the_connection(ti):
    added = tell(ti, FakeAlias()).added
    assert [asset.uri for asset, _ in added] == ["s3://bucket/a/0.png", "s3://bucket/a/1.png"]
    assert [extra["files"] for _, extra in added] == [[file] for file in FILES]
