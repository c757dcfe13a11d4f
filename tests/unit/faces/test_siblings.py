"""The siblings of the expansion: parameters checked when they can be, sent as they are meant, and told by identity."""

from __future__ import annotations

import base64
import io
import json
import logging
from functools import partial

import pytest
from airflow.providers.common.compat.sdk import DAG
from PIL import Image

from airflow_kling.api.families import FAMILIES
from airflow_kling.api.rules import FIELDS
from airflow_kling.emulator.server import EmulatorServer
from airflow_kling.emulator.settings import EmulatorSettings
from airflow_kling.exceptions import KlingInputError
from airflow_kling.operators import kling
from airflow_kling.operators.work import make_work

URL = "https://example.com/cat.png"
PICTURE = {"family": "image-expansion", "task_id": "T0", "kling_conn_id": "kling_other", "outputs": []}
CLIP = PICTURE | {"family": "image-to-video"}
MASKS = [{"mask": URL, "trajectories": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}]
BASE64 = "iVBORw0KGgo" * 1000

film = partial(kling.KlingImageToVideoOperator, task_id="film", image=URL)
tell = partial(kling.KlingTextToVideoOperator, task_id="tell", prompt="a cat")
extend = partial(kling.KlingExtendVideoOperator, task_id="extend", video_id="clip-1")
draw = partial(kling.KlingGenerateImageOperator, task_id="draw", prompt="a cat")
make = partial(kling.KlingTaskOperator, task_id="make", family="lip-sync", fields={"input": {"video_id": "clip-1"}})


@pytest.fixture(autouse=True)
def busy(monkeypatch, sleeps):
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def picture(colour="red"):
    buffer = io.BytesIO()
    Image.new("RGB", (600, 450), colour).save(buffer, "PNG")
    return buffer.getvalue()


def sent_by(operator, context, server):
    operator.render_template_fields(context)
    operator.wait_for_completion = False
    operator.execute(context)
    return json.loads(server.requests[-1].body)


def clip_answer(**output):
    data = {"task_id": "T0", "task_status": "succeed", "task_result": {"videos": [{"url": URL} | output]}}
    return 200, {"code": 0, "message": "SUCCEED", "request_id": "r-1", "data": data}


# -- at parse time ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "parameters", "field"),
    [
        (film, {"image": None}, "image"),
        (film, {"image": ""}, "image"),
        (film, {"image": BASE64}, "image"),
        (film, {"image": CLIP | {"task_id": 7}}, "image"),
        (film, {"image_tail": "data:image/png;base64,AAAA"}, "image_tail"),
        (film, {"image_tail": {"uri": "x"}}, "image_tail"),
        (film, {"static_mask": b"\x89PNG"}, "static_mask"),
        (film, {"dynamic_masks": [MASKS[0] | {"mask": BASE64}]}, "dynamic_masks.mask"),
        (film, {"dynamic_masks": [{"mask": URL, "trajectories": []}]}, "dynamic_masks.trajectories"),
        (film, {"image_index": -1}, "image_index"),
        (film, {"image_index": 0.5}, "image_index"),
        (film, {"image_index": True}, "image_index"),
        (film, {"image_index": float("nan")}, "image_index"),
        (film, {"image_index": "first"}, "image_index"),
        (film, {"duration": 7}, "duration"),
        (film, {"model_name": "kling-v2-6", "cfg_scale": 0.5}, "cfg_scale"),
        (film, {"model_name": "kling-v2-6", "sound": True}, "sound"),
        # The picture is not known yet, and what does not depend on it is.
        (film, {"image": "{{ ds }}", "model_name": "kling-v2-5-turbo", "image_tail": PICTURE}, "image_tail"),
        (film, {"image_tail": PICTURE, "static_mask": "mask.png"}, "image_tail, static_mask"),
        (film, {"multi_shot": "true"}, "multi_shot"),
        (film, {"callback_url": "ftp://x"}, "callback_url"),
        (film, {"extra_body": {"mode": "pro"}}, "extra_body"),
        (tell, {"prompt": ""}, "prompt"),
        (tell, {"aspect_ratio": "4:3"}, "aspect_ratio"),
        (tell, {"camera_control": {"type": "simple", "config": {}}}, "camera_control.config"),
        (tell, {"watermark": "false"}, "watermark"),
        (extend, {"video_id": ""}, "video_id"),
        (extend, {"video_id": None}, "video_id"),
        (extend, {"video_id": "x" * 129}, "video_id"),
        (extend, {"video_id": str(CLIP)}, "video_id"),
        (extend, {"video_id": PICTURE}, "video_id"),
        (extend, {"video_id": {"task_id": "T0"}}, "video_id"),
        (extend, {"video_index": "-1"}, "video_index"),
        (extend, {"cfg_scale": 1.1}, "cfg_scale"),
        (draw, {"prompt": None}, "prompt"),
        (draw, {"image": PICTURE, "negative_prompt": "dogs"}, "negative_prompt"),
        (draw, {"image_fidelity": 0.5}, "image_fidelity"),
        (draw, {"n": 10}, "n"),
        (draw, {"image_index": -1}, "image_index"),
        (make, {"family": "lipsync"}, "family"),
        (make, {"fields": "{'n': 1}"}, "fields"),
        (make, {"fields": {"n": 10}}, "n"),
        (make, {"fields": {"external_task_id": "x"}}, "fields"),
        (make, {"fields": {"input": {"image_list": [{"image": BASE64}]}}}, "fields.input.image_list.image"),
        (make, {"fields": {"input": {"sound_file": "UklGRg==" * 2000}}}, "fields.input.sound_file"),
        (make, {"fields": {"input": {"video_id": PICTURE}}}, "fields.input.video_id"),
        (make, {"fields": {"input": {"image": CLIP}}}, "fields.input.image"),
        (make, {"fields": {"rows": [PICTURE | {"task_id": None}]}}, "fields.rows"),
        (film, {"image": CLIP}, "image"),
        (make, {"callback_url": "ftp://x"}, "callback_url"),
    ],
)
def test_what_kling_would_refuse_is_refused_at_parse_time(build, parameters, field):
    with pytest.raises(KlingInputError) as refused:
        build(**parameters)
    assert refused.value.field == field
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (film, {"image": "{{ ds }}"}),
        (film, {"image": PICTURE, "image_index": "{{ params.n }}"}),
        (film, {"image": None, "image_tail": "{{ ds }}", "model_name": "{{ ds }}"}),
        (film, {"duration": "{{ params.n }}", "cfg_scale": "{{ params.up }}", "model_name": "kling-v2-6"}),
        (film, {"camera_control": {"type": "{{ ds }}"}}),
        (film, {"dynamic_masks": [{"mask": "{{ ds }}", "trajectories": "{{ ds }}"}]}),
        (film, {"model_name": "kling-v9", "mode": "4k", "duration": 12, "cfg_scale": 0}),
        (tell, {"prompt": None, "multi_prompt": "{{ ds }}"}),
        (extend, {"video_id": CLIP}),
        (draw, {"image": "{{ ds }}", "negative_prompt": "dogs", "n": "{{ params.n }}"}),
        (make, {"family": "{{ ds }}", "fields": {"n": "{{ params.n }}", "image": ["{{ ds }}", PICTURE]}}),
    ],
)
def test_what_may_become_right_is_let_through(build, parameters):
    operator = build(**parameters)
    assert {name: getattr(operator, name) for name in parameters} == parameters


def test_every_field_of_the_request_is_a_parameter_and_templated():
    for build in (film, tell, extend, draw):
        operator = build()
        own = FIELDS[operator.family].keys() - {"external_task_id"}
        assert all(hasattr(operator, name) for name in own)
        assert own - set(operator.template_fields) == {"watermark", "multi_shot"} & own


def test_outputs_of_others_set_the_order():
    with DAG("clips", schedule=None):
        first, clip = draw(task_id="first"), film(task_id="clip")
        second = film(task_id="second", image=first.output, image_tail=first.output, model_name="kling-v2-5-turbo",
                      mode="pro")  # fmt: skip
        third = extend(task_id="third", video_id=clip.output)
        fourth = make(task_id="fourth", fields={"input": [{"video_id": clip.output}, first.output]})
        kling.KlingImageToVideoOperator.partial(task_id="mapped", duration=5).expand(image=[URL, URL])
    ups = [task.upstream_task_ids for task in (second, third, fourth)]
    assert ups == [{"first"}, {"clip"}, {"first", "clip"}]


# -- what is sent ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "parameters", "body"),
    [
        (
            film,
            {"duration": "{{ '5' }}", "cfg_scale": "{{ '0.5' }}", "mode": "", "prompt": "{{ ds }}", "sound": False,
             "image_tail": "", "watermark": True, "callback_url": "https://x/y", "extra_body": {"new": 1}},
            {"image": URL, "prompt": "2026-11-20", "duration": "5", "sound": "off", "cfg_scale": 0.5,
             "watermark_info": {"enabled": True}, "callback_url": "https://x/y", "new": 1},
        ),
        (tell, {"duration": "{{ params.n * 5 }}"}, {"prompt": "a cat", "duration": "10"}),
        (extend, {"video_id": " {{ 'clip-9' }} "}, {"video_id": "clip-9"}),
        (draw, {"n": "{{ params.n }}", "pool_slots": 2}, {"prompt": "a cat", "n": 2}),
        (
            make,
            {"fields": {"input": {"video_id": "{{ 'clip-9' }}", "image_list": [{"image": URL}]}, "new": None},
             "extra_body": {"old": 1}, "callback_url": "https://x/y"},
            {"input": {"video_id": "clip-9", "image_list": [{"image": URL}]}, "new": None, "old": 1,
             "callback_url": "https://x/y"},
        ),
    ],
)  # fmt: skip
def test_body_is_what_the_author_asked(serve, connect, context, build, parameters, body):
    server = serve("submitted")
    connect(server)
    sent = sent_by(build(**parameters), context, server)
    assert sent.pop("external_task_id").startswith("af-")
    assert sent == body
    assert server.requests[0].target.endswith(FAMILIES[build().family].route)


@pytest.mark.parametrize(
    ("build", "parameters", "field"),
    [
        (film, {"duration": "{{ 7 }}"}, "duration"),
        (film, {"image": "{{ '' }}"}, "image"),
        (film, {"image_index": "{{ -1 }}"}, "image_index"),
        (film, {"image_tail": "{{ 'missing.png' }}", "model_name": "kling-v2-1", "mode": "pro"}, "image_tail"),
        (extend, {"video_id": "{{ {'task_id': 'T0'} }}"}, "video_id"),
        (draw, {"n": "{{ 0 }}"}, "n"),
        (make, {"fields": "{{ params }}"}, "fields"),
        (make, {"family": "{{ ds }}"}, "family"),
        (make, {"fields": {"image": "{{ 'missing.png' }}"}}, "fields.image"),
    ],
)
def test_rendered_text_is_checked_before_anything_is_sent(serve, connect, context, build, parameters, field):
    server = serve("submitted")
    connect(server)
    with pytest.raises(KlingInputError) as refused:
        sent_by(build(**parameters), context, server)
    assert (refused.value.field, server.connections) == (field, 0)


def test_pictures_come_from_files_and_from_other_tasks(serve, connect, context, tmp_path):
    server, other = serve("submitted"), serve("succeed")
    other.files = {"/0.png": (200, picture()), "/1.png": (200, picture())}
    connect(server)
    connect(other, "kling_other")
    (tmp_path / "mask.png").write_bytes(picture())
    mask = str(tmp_path / "mask.png")
    masks = [MASKS[0] | {"mask": mask}, MASKS[0] | {"mask": PICTURE}]
    body = sent_by(film(image=PICTURE, image_index="1", static_mask=mask, dynamic_masks=masks), context, server)
    assert body["image"] == f"{other.url}/1.png"
    assert base64.b64decode(body["static_mask"]) == picture()
    assert body["static_mask"] == body["dynamic_masks"][0]["mask"]
    assert body["dynamic_masks"][1]["mask"] == f"{other.url}/0.png"

    fields = {"human_image": mask, "video_url": CLIP, "rows": [{"image": PICTURE}, PICTURE]}
    other.script = ["succeed", clip_answer(), "succeed"]
    body = sent_by(make(family="virtual-try-on", fields=fields), context, server)
    assert base64.b64decode(body["human_image"]) == picture()
    assert body["video_url"] == URL
    assert body["rows"] == [{"image": f"{other.url}/0.png"}, f"{other.url}/0.png"]


@pytest.mark.parametrize("build", [lambda clip: extend(video_id=clip), lambda clip: make(fields={"my_video_id": clip})])
def test_clip_of_another_task_is_asked_for_its_id(serve, connect, context, build):
    server, other = serve("submitted"), serve(clip_answer(id="clip-7"))
    connect(server)
    connect(other, "kling_other")
    body = sent_by(build(CLIP), context, server)
    assert "clip-7" in (body.get("video_id"), body.get("my_video_id"))
    assert other.requests[0].target.endswith("/image2video/T0")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("failed", "task T0, which is failed"),
        ("processing", "task T0, which is processing"),
        (clip_answer(), "output 0 of task T0: must be a clip with an id"),
        (clip_answer(id="c", index=1), "output 0 of task T0: must be one of 1"),
    ],
)
def test_clip_that_is_none_costs_nothing(serve, connect, context, answer, said):
    server, other = serve("submitted"), serve(answer)
    connect(server)
    connect(other, "kling_other")
    with pytest.raises(KlingInputError, match="video_id") as refused:
        sent_by(extend(video_id=CLIP), context, server)
    assert said in str(refused.value)
    assert server.connections == 0


@pytest.mark.parametrize("build", [film, draw])
def test_clip_asked_from_a_failed_expansion_costs_nothing(serve, connect, context, build):
    server, other = serve("submitted"), serve("failed")
    connect(server)
    connect(other, "kling_other")
    with pytest.raises(KlingInputError, match="image=task T0, which is failed"):
        sent_by(build(image=PICTURE), context, server)
    assert server.connections == 0


def test_unknown_model_only_warns(serve, connect, context, caplog, monkeypatch):
    server = serve("submitted")
    connect(server)
    monkeypatch.setattr(kling.KlingImageToVideoOperator, "log", logging.getLogger("told"))
    body = sent_by(film(model_name="kling-v9"), context, server)
    assert body["model_name"] == "kling-v9"
    assert caplog.text.count("model_name=kling-v9: not among the models") == 1


@pytest.mark.parametrize(
    ("operator", "slots"),
    [
        (film(), 1),
        (draw(n="3"), 3),
        (make(fields={"n": 3}), 1),
        (make(family="omni-image", fields={"n": "3"}), 3),
        (make(family="omni-image", fields={}), 1),
    ],
)
def test_slots_are_those_of_the_account(operator, slots):
    assert operator.slots() == slots


# -- what identifies it ----------------------------------------------------------------------------------------


def signed(number, name="a"):
    return f"https://cdn.example/{name}.png?Expires={number}&Signature=s{number}"


def fingerprint(build, context, server, signature, parameters):
    """Return the fingerprint where other tasks' links, and all `*` of the parameters, are signed like this."""
    links = {"images": [{"index": 0, "url": signed(signature)}, {"index": 1, "url": signed(signature, "b")}]}
    data = {"task_id": "T0", "task_status": "succeed", "task_result": links}
    server.script = [(200, {"code": 0, "message": "SUCCEED", "request_id": "r-1", "data": data})]
    given = json.loads(json.dumps(parameters).replace("*", str(signature)))
    return make_work(build(**given), context).fingerprint()


TAIL = {"model_name": "kling-v2-1", "mode": "pro"}
LINK = "https://x/c.png?id=1&Signature=*"


@pytest.mark.parametrize(
    ("build", "parameters", "other"),
    [
        (film, {"image": LINK}, {"image": "https://x/c.png?id=2&Signature=*"}),
        (film, {"image": PICTURE}, {"image": PICTURE, "image_index": 1}),
        (film, TAIL | {"image_tail": LINK}, TAIL | {"image_tail": URL}),
        (film, TAIL | {"image_tail": PICTURE}, TAIL | {"image_tail": URL}),
        (film, TAIL | {"image_tail": PICTURE}, TAIL | {"image_tail": PICTURE, "image": PICTURE}),
        (film, {"static_mask": LINK}, {"static_mask": URL}),
        (film, {"dynamic_masks": [MASKS[0] | {"mask": LINK}]}, {"dynamic_masks": MASKS}),
        (film, {"dynamic_masks": MASKS}, {"dynamic_masks": [MASKS[0] | {"trajectories": [{"x": 1, "y": 2}] * 2}]}),
        (film, {"extra_body": {"new": [LINK]}}, {"extra_body": {"new": [URL]}}),
        (draw, {"image": PICTURE}, {"image": LINK}),
        (draw, {"image": PICTURE}, {"image": PICTURE, "resolution": "2k"}),
        (tell, {}, {"prompt": "a dog"}),
        (extend, {"video_id": "clip-1"}, {"video_id": "clip-2"}),
        (make, {"fields": {"a": [{"image": PICTURE, "url": LINK}]}}, {"fields": {"a": [{"image": PICTURE}]}}),
        (make, {"fields": {"a": {"url": PICTURE}}}, {"fields": {"b": {"url": PICTURE}}}),
        (make, {"fields": {"a": 1}}, {"fields": {"a": 1}, "extra_body": {"b": 1}}),
    ],
)
def test_fingerprint_is_that_of_the_pictures_and_not_of_their_links(serve, connect, context, build, parameters, other):
    server = serve("succeed")
    connect(server)
    connect(server, "kling_other")
    first = fingerprint(build, context, server, 1, parameters)
    assert first == fingerprint(build, context, server, 2, parameters)
    assert first != fingerprint(build, context, server, 1, other)


def test_what_is_not_given_is_not_in_the_identity():
    identity = film(image_tail="", static_mask=None).read_source().identity
    assert json.loads(identity) == {"image": URL}


# -- to the end ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def emulator():
    with EmulatorServer(EmulatorSettings(latency=0, engine="reflect", pictures="canned")) as server:
        yield server


@pytest.mark.parametrize(
    ("build", "parameters", "kind", "number"),
    [
        (film, {"image": "cat.png"}, "video", 1),
        (tell, {}, "video", 1),
        (extend, {}, "video", 1),
        (draw, {"n": 2, "pool_slots": 2}, "image", 2),
        (make, {"family": "image-to-video", "fields": {"image": "cat.png"}}, "video", 1),
    ],
)
def test_each_is_made_waited_for_and_stored(emulator, monkeypatch, context, tmp_path, build, parameters, kind, number):
    monkeypatch.setenv("AIRFLOW_CONN_KLING_DEFAULT", emulator.connection_uri("kling"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat.png").write_bytes(picture())
    if build is extend:
        clip = tell(task_id="before").execute(context)
        parameters = {"video_id": clip}
    operator = build(output_path=str(tmp_path / "out"), **parameters)
    context["ti"].task_id = operator.task_id
    manifest = operator.execute(context)
    assert (manifest["status"], manifest["family"]) == ("succeeded", operator.family)
    assert [row["kind"] for row in manifest["outputs"]] == [kind] * number
    assert len(list((tmp_path / "out").glob("*-[0-9].*"))) == number
