"""Where a picture comes from: each kind of source becomes the field `image`, or is refused without showing the data."""

from __future__ import annotations

import base64
import io
import pathlib

import pytest

from airflow_kling.api.families import OutputKind
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.models import Output, Task, TaskStatus
from airflow_kling.lifecycle.fields import resolve_fields
from airflow_kling.lifecycle.source import check_image_source, resolve_image

MANIFEST = {"family": "image-expansion", "task_id": "T1", "kling_conn_id": "kling_other", "outputs": []}
PIXELS = base64.b64encode(bytes(range(256)) * 40).decode()


class Storage:
    """Opens one picture under any name, and remembers the names."""

    def __init__(self, content=b""):
        self.content, self.names = content, []

    def __call__(self, name):
        self.names.append(name)
        return self

    def open(self, mode):
        return io.BytesIO(self.content)


def no_task(*asked):
    pytest.fail(f"asked for a task: {asked}")


def no_path(name):
    pytest.fail(f"opened {name}")


def finished(indexes=(0, 1), status=TaskStatus.SUCCEEDED):
    outputs = tuple(Output(index, OutputKind.IMAGE, f"https://cdn.example/{index}.png?sign=1") for index in indexes)
    return Task("image-expansion", "T1", status=status, outputs=outputs)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/cat.png?X-Amz-Signature=abc%2F&x=1#here",
        "HTTP://EXAMPLE.COM/cat",
        pytest.param(
            "https://example.com/cat.png?X-Amz-Security-Token=" + "a" * 2500,
            id="long",
        ),
    ],
)
def test_url_is_passed_on_untouched_and_unread(url):
    assert resolve_image(url, get_task=no_task, open_path=no_path).image == url


@pytest.mark.parametrize("name", ["/data/cat.png", "cat.png", "s3://conn@bucket/key.png", "file:///data/cat.png"])
@pytest.mark.parametrize("kind", [str, pathlib.PurePosixPath])
def test_file_of_any_storage_becomes_base64(photographs, name, kind):
    storage = Storage((photographs / "coffee.png").read_bytes())
    assert base64.b64decode(resolve_image(kind(name), get_task=no_task, open_path=storage).image) == storage.content
    assert storage.names == [str(kind(name))]


def test_file_that_is_no_picture_is_refused():
    with pytest.raises(InputFault, match="JPG or PNG") as refused:
        resolve_image("s3://bucket/notes.txt", get_task=no_task, open_path=Storage(b"only words here"))
    assert refused.value.value == "s3://bucket/notes.txt"


@pytest.mark.parametrize(("conn_id", "asked"), [("kling_other", "kling_other"), (None, ""), ("", "")])
@pytest.mark.parametrize("index", [0, 1])
def test_manifest_is_asked_for_by_its_id_and_connection(conn_id, asked, index):
    calls = []

    def get_task(*call):
        calls.append(call)
        return finished()

    url = resolve_image(MANIFEST | {"kling_conn_id": conn_id}, get_task=get_task, open_path=no_path, index=index).image
    assert url == f"https://cdn.example/{index}.png?sign=1"
    assert calls == [(asked, "T1", "image-expansion")]


@pytest.mark.parametrize("status", [TaskStatus.FAILED, TaskStatus.SUBMITTED, TaskStatus.PROCESSING])
def test_manifest_of_a_task_without_success_is_refused(status):
    with pytest.raises(InputFault, match=f"task T1, which is {status.value}"):
        resolve_image(MANIFEST, get_task=lambda *asked: finished((), status), open_path=no_path)


@pytest.mark.parametrize(("indexes", "index"), [((0, 1), 2), ((1,), 0)])
def test_output_that_is_not_there_is_refused(indexes, index):
    with pytest.raises(InputFault, match=f"output {index} of task T1"):
        resolve_image(MANIFEST, get_task=lambda *asked: finished(indexes), open_path=no_path, index=index)


EDITED = MANIFEST | {"outputs": [{"index": 0, "uri": "s3://c@b/0.png"}, {"index": 1, "uri": "/1.png", "edited": True}]}
UNPAID = EDITED | {"task_id": None}


@pytest.mark.parametrize(
    ("manifest", "index", "name"), [(EDITED, 1, "/1.png"), (UNPAID, 0, "s3://c@b/0.png"), (UNPAID, 1, "/1.png")]
)
def test_output_that_was_finished_here_is_read_where_it_is_stored(photographs, manifest, index, name):
    storage = Storage((photographs / "coffee.png").read_bytes())
    found = resolve_image(manifest, get_task=no_task, open_path=storage, index=index)
    same = resolve_image("/copy.png", get_task=no_task, open_path=storage)
    assert base64.b64decode(found.image) == storage.content
    assert storage.names == [name, "/copy.png"]
    assert found.identity == same.identity


def test_output_beside_one_that_was_finished_here_is_asked_for():
    assert resolve_image(EDITED, get_task=lambda *asked: finished(), open_path=no_path).identity == "task:T1:0"


@pytest.mark.parametrize("row", [{"uri": None, "edited": True}, {"uri": "/1.png", "edited": False}, {}])
def test_output_without_a_stored_file_or_unedited_is_asked_for(row):
    manifest = MANIFEST | {"outputs": [{"index": 0} | row]}
    assert resolve_image(manifest, get_task=lambda *asked: finished(), open_path=no_path).identity == "task:T1:0"


@pytest.mark.parametrize(
    ("manifest", "index", "said"),
    [
        (EDITED, 1, "image_tail=/1.png: must be an existing file; check the path"),
        (UNPAID, 2, "image_tail=output 2 of a manifest without a task"),
        (MANIFEST | {"task_id": None}, 0, "image_tail=.* a manifest with task_id"),
        (MANIFEST | {"task_id": None, "outputs": [{"index": 0, "uri": None}]}, 0, "a manifest with task_id"),
    ],
)
def test_stored_file_that_is_not_there_is_refused(tmp_path, manifest, index, said):
    def open_path(name):
        return tmp_path / name.strip("/")

    with pytest.raises(InputFault, match=said):
        resolve_image(manifest, get_task=no_task, open_path=open_path, index=index, field="image_tail")


def test_failed_task_is_not_waited_for():
    with pytest.raises(InputFault, match="clear the step"):
        resolve_image(MANIFEST, get_task=lambda *asked: finished((), TaskStatus.FAILED), open_path=no_path)


def test_fields_are_resolved_at_any_depth_and_the_rest_is_left_alone(photographs):
    storage = Storage((photographs / "coffee.png").read_bytes())
    link = "https://x/a.mp4?id=1&Signature=abc"
    fields = {"a": {"b": [MANIFEST, {"image": "cat.png"}, None, 7, "text"]}, "link": link, "image": "", "mask": None}
    found = resolve_fields(fields, get_task=lambda *asked: finished(), open_path=storage)
    url, encoded = "https://cdn.example/0.png?sign=1", base64.b64encode(storage.content).decode()
    assert found.fields == {
        "a": {"b": [url, {"image": encoded}, None, 7, "text"]}, "link": link, "image": "", "mask": None,
    }  # fmt: skip
    assert '["task:T1:0", {"image": "sha256:' in found.identity
    assert '"link": "https://x/a.mp4?id=1"' in found.identity
    assert encoded not in repr(found)


@pytest.mark.parametrize("family", ["image-to-video", "text-to-audio", "no-such-family"])
def test_manifest_of_no_picture_is_refused_without_asking(family):
    with pytest.raises(InputFault):
        resolve_image(MANIFEST | {"family": family}, get_task=no_task, open_path=no_path)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param("  ", id="blank"),
        pytest.param(b"\x89PNG", id="bytes"),
        pytest.param(bytearray(b"\x89PNG"), id="bytearray"),
        pytest.param(["a.png"], id="list"),
        pytest.param(("a.png",), id="tuple"),
        pytest.param(7, id="number"),
        pytest.param({}, id="empty-mapping"),
        pytest.param({"task_id": "T1"}, id="no-family"),
        pytest.param({"task_id": 7, "family": "image-expansion"}, id="number-as-id"),
        pytest.param(str(MANIFEST), id="rendered-manifest"),
        pytest.param(f"  {MANIFEST}", id="rendered-manifest-indented"),
        pytest.param(str([MANIFEST]), id="rendered-list"),
        pytest.param(f"data:image/png;base64,{PIXELS[:200]}", id="data-url"),
        pytest.param(PIXELS, id="base64"),
    ],
)
def test_what_is_no_source_is_refused_without_reading(image):
    with pytest.raises(InputFault) as refused:
        check_image_source(image)
    assert refused.value.field == "image"
    assert len(str(refused.value)) < 500
    assert PIXELS[:40] not in str(refused.value)


@pytest.mark.parametrize("prefix", ["DATA:image/png;base64,", "\n data:image/png;base64,"])
def test_data_url_is_noticed_in_any_spelling(prefix):
    with pytest.raises(InputFault, match="not the picture itself"):
        check_image_source(prefix + PIXELS[:200])


@pytest.mark.parametrize("image", [MANIFEST, "https://x/{{ ds }}.png", "{{ ti.xcom_pull('a') }}", "/data/{{ ds }}.png"])
def test_what_may_become_a_source_is_let_through(image):
    check_image_source(image)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://x/cat.png?id=1&X-Amz-Signature=a", "https://x/cat.png?X-Amz-Signature=b&id=1", True),
        ("https://x/cat.png?id=1", "https://x/cat.png?id=2", False),
        ("https://x/cat.png", "https://y/cat.png", False),
        ("/a/coffee.png", "s3://b/copy.png", True),
        (MANIFEST, MANIFEST | {"outputs": [{}]}, True),
        (MANIFEST, MANIFEST | {"task_id": "T2"}, False),
    ],
)
def test_identity_is_that_of_the_picture_and_not_of_its_address(photographs, one, other, same):
    storage = Storage((photographs / "coffee.png").read_bytes())
    first, second = (
        resolve_image(image, get_task=lambda *asked: finished(), open_path=storage).identity for image in (one, other)
    )
    assert (first == second) is same
