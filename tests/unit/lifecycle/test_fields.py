"""Fields at any depth that take something from elsewhere: resolved by their names, told by what identifies them."""

from __future__ import annotations

import json

import pytest

from airflow_kling.api.families import OutputKind
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.models import Output, Task, TaskStatus
from airflow_kling.lifecycle.fields import check_sources, resolve_fields, unsigned_fields

CLIP = {"family": "image-to-video", "task_id": "T1", "kling_conn_id": "kling_other", "outputs": []}
PICTURE = CLIP | {"family": "image-expansion"}
LINK = "https://cdn.example/0.png?Expires=1&Signature=s"


def made(conn_id, task_id, family):
    kind = OutputKind.VIDEO if family == "image-to-video" else OutputKind.IMAGE
    outputs = (Output(0, kind, LINK, id="V0"), Output(1, kind, "https://cdn.example/1.png"))
    return Task(family, task_id, status=TaskStatus.SUCCEEDED, outputs=outputs)


def resolved(fields, **options):
    return resolve_fields(fields, get_task=made, open_path=lambda name: pytest.fail(f"opened {name}"), **options)


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        pytest.param({"video_id": CLIP}, {"video_id": "V0"}, id="clip"),
        pytest.param({"video_id": "V7"}, {"video_id": "V7"}, id="id of a clip"),
        pytest.param({"origin_video_id": CLIP}, {"origin_video_id": "V0"}, id="clip by a longer name"),
        pytest.param({"image": PICTURE}, {"image": LINK}, id="picture"),
        pytest.param({"mask": LINK}, {"mask": LINK}, id="link"),
        pytest.param({"sound": PICTURE}, {"sound": LINK}, id="manifest under any name"),
        pytest.param({"image": None, "mask": ""}, {"image": None, "mask": ""}, id="nothing"),
        pytest.param({"n": 2, "prompt": "a lake"}, {"n": 2, "prompt": "a lake"}, id="no source"),
        pytest.param({"a": [{"image": PICTURE}, 1]}, {"a": [{"image": LINK}, 1]}, id="deep"),
    ],
)
def test_what_is_taken_from_elsewhere_is_put_in_place(fields, sent):
    assert resolved(fields).fields == sent


def test_index_chooses_the_output_of_its_field():
    assert resolved({"sound": PICTURE}, indexes={"sound": 1}).fields == {"sound": "https://cdn.example/1.png"}


def test_clip_without_an_id_is_refused():
    with pytest.raises(InputFault, match="a clip with an id"):
        resolved({"video_id": CLIP}, indexes={"video_id": 1})


def test_identity_holds_no_signature_and_tells_tasks_apart():
    assert "Signature" not in resolved({"image": LINK, "text": f" {LINK}"[1:]}).identity
    told = {resolved({"video_id": clip}).identity for clip in (CLIP, CLIP | {"task_id": "T2"}, "V0")}
    assert len(told) == 3
    assert json.loads(unsigned := json.dumps(unsigned_fields({"a": [LINK]})))["a"] != [LINK]
    assert "Signature" not in unsigned


DATA = "data:image/png;base64,AAAA"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"video_id": PICTURE}, "that of a clip"),
        ({"video_id": "{'task_id': 'T1'}"}, "render_template_as_native_obj"),
        ({"image": CLIP}, "that of a picture"),
        ({"image": DATA}, "characters of data"),
        ({"sound": {"task_id": "T1", "family": 7}}, "a manifest with task_id and family"),
        ({"sound": DATA}, "a link, not the data itself"),
        ({"sound": "x" * 9_000}, "a link, not the data itself"),
    ],
)
def test_what_can_be_no_source_is_refused_before_anything_is_read(fields, words):
    with pytest.raises(InputFault, match=words):
        check_sources({"deep": [fields]}, lambda value: True)
    check_sources(fields, lambda value: False)  # what is not there yet is not looked at


def test_sources_and_other_values_pass_the_check():
    check_sources({"image": LINK, "video_id": "V7", "mask": None, "sound": PICTURE, "prompt": "a lake", "n": 2}, bool)
