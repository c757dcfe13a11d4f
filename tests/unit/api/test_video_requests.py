"""Requests for clips and pictures: the documented limits from both sides, contradictions, warnings, and the body."""

from __future__ import annotations

import base64
import json
import math

import pytest

from airflow_kling.api.calls import create_call
from airflow_kling.api.families import FAMILIES
from airflow_kling.api.gateways import resolve_account
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.requests import (
    AnyRequest,
    ExtendVideoRequest,
    GenerateImageRequest,
    ImageToVideoRequest,
    TextToVideoRequest,
)
from airflow_kling.api.rules import check_any_fields, check_fields, models_of

URL = "https://example.com/cat.jpg?Signature=s3cr3t"
TINY = base64.b64encode(bytes(range(48))).decode()
CAMERA = {"type": "simple", "config": {"zoom": 5}}
POINTS = [{"x": 1, "y": 2}, {"x": 3, "y": 4}]
MASKS = [{"mask": TINY, "trajectories": POINTS}]

V1, V15, V16, V2M, V21, V21M, V25, V26, V3 = (
    f"kling-v{name}" for name in ("1", "1-5", "1-6", "2-master", "2-1", "2-1-master", "2-5-turbo", "2-6", "3")
)
ALL = (V1, V15, V16, V2M, V21, V21M, V25, V26, V3)
SETTINGS = [(mode, seconds) for mode in ("std", "pro", "4k") for seconds in (3, 5, 10, 15)]

#: Where the documents let a setting be used: model -> (mode, seconds). Models that are missing do not take it.
CLIPS = {model: {(mode, seconds) for mode in ("std", "pro") for seconds in (5, 10)} for model in ALL if model != V3}
CLIPS[V3] = set(SETTINGS)
PRO = {("pro", 5), ("pro", 10)}
ANY_5 = {("std", 5), ("pro", 5)}
TAIL = {V1: ANY_5, V15: PRO, V16: PRO, V21: PRO, V25: PRO, V26: PRO, V3: set(SETTINGS)}
BRUSH = {V1: ANY_5, V15: {("pro", 5)}}
CAMERA_OF_IMAGE = {V1: {("std", 5)}, V15: {("pro", 5)}}
CAMERA_OF_TEXT = {V1: {("std", 5)}}
SOUND = {V26: PRO, V3: set(SETTINGS)}


def film(**fields):
    return ImageToVideoRequest(**({"image": URL} | fields))


def tell(**fields):
    return TextToVideoRequest(**({"prompt": "a cat"} | fields))


def draw(**fields):
    return GenerateImageRequest(**({"prompt": "a cat"} | fields))


def refusal(make, **fields):
    with pytest.raises(InputFault) as caught:
        make(**fields)
    return caught.value


def sent(request):
    return json.loads(request.body())


def passes(make, **fields):
    try:
        make(**fields)
    except InputFault:
        return False
    return True


# What the models take.


@pytest.mark.parametrize("model", ALL)
@pytest.mark.parametrize(
    ("make", "fields", "table"),
    [
        (film, {}, CLIPS),
        (film, {"image_tail": URL}, TAIL),
        (film, {"static_mask": TINY}, BRUSH),
        (film, {"dynamic_masks": MASKS}, BRUSH),
        (film, {"camera_control": CAMERA}, CAMERA_OF_IMAGE),
        (film, {"sound": "on"}, SOUND),
        (tell, {"camera_control": CAMERA}, CAMERA_OF_TEXT),
        (tell, {"sound": "on"}, SOUND),
    ],
)
def test_model_takes_a_setting_where_the_documents_say_so(make, fields, table, model):
    taken = {(m, s) for m, s in SETTINGS if passes(make, model_name=model, mode=m, duration=s, **fields)}

    assert taken == table.get(model, set())


@pytest.mark.parametrize("model", ALL)
def test_cfg_scale_is_not_for_version_2(model):
    assert passes(film, model_name=model, cfg_scale=0.5) is not model.startswith("kling-v2")


@pytest.mark.parametrize("model", ALL)
def test_several_shots_are_for_version_3(model):
    assert passes(film, model_name=model, multi_shot=True, shot_type="intelligence") is (model == V3)


@pytest.mark.parametrize(("model", "alone"), [(V1, False), (V15, True), (V16, True), (V21, True), (V25, False),
                                              (V26, False), (V3, False)])  # fmt: skip
def test_last_frame_without_a_first(model, alone):
    mode = "std" if model == V1 else "pro"
    assert passes(film, image=None, image_tail=URL, model_name=model, mode=mode) is alone


def test_last_frame_silences_version_2_6():
    assert refusal(film, image_tail=URL, model_name=V26, mode="pro", sound="on").field == "sound"
    film(image_tail=URL, model_name=V3, sound="on")


@pytest.mark.parametrize("kind", ["down_back", "forward_up", "right_turn_forward", "left_turn_forward"])
def test_camera_of_version_1_5_is_simple(kind):
    fault = refusal(film, model_name=V15, mode="pro", camera_control={"type": kind})
    assert fault.field == "camera_control.type"
    film(model_name=V1, camera_control={"type": kind})


@pytest.mark.parametrize(("model", "taken"), [(V25, False), (V26, False), (V3, True)])
def test_elements(model, taken):
    assert passes(film, model_name=model, element_list=[{"element_id": 7}]) is taken


def test_without_a_name_the_documented_default_counts():
    assert refusal(film, duration=15).limit == "one of 5, 10 seconds with kling-v1 (the documented default)"
    assert "model_name" not in sent(film(duration=10))


@pytest.mark.parametrize(
    "fields",
    [
        *({"mode": "4k"}, {"duration": 15}, {"sound": "on"}, {"cfg_scale": 0.1}),
        *({"image_tail": TINY}, {"static_mask": TINY}, {"camera_control": CAMERA}),
    ],
)
def test_unknown_model_only_warns(fields):
    request = film(model_name="kling-v9", **fields)

    assert sent(request)["model_name"] == "kling-v9"
    assert (request.units, request.price) == (None, None)
    (warning,) = request.warnings
    assert "kling-v9" in warning
    assert V26 in warning


@pytest.mark.parametrize("model", [V15, V21])
def test_model_of_another_family_only_warns(model):
    assert tell(model_name=model).warnings
    assert not film(model_name=model).warnings


def test_model_lists():
    assert models_of("image-to-video") == ALL
    assert models_of("text-to-video") == (V1, V16, V2M, V21M, V25, V26, V3)
    assert models_of("video-extension") == ()


# Prices: US dollars per second of the list, at 0.14 a unit.


@pytest.mark.parametrize(
    ("model", "mode", "usd"),
    [
        (V1, "std", 0.028), (V1, "pro", 0.098), (V15, "std", 0.056), (V15, "pro", 0.098), (V16, "std", 0.056),
        (V16, "pro", 0.098), (V21, "std", 0.056), (V21, "pro", 0.098), (V25, "std", 0.042), (V25, "pro", 0.07),
        (V26, "std", 0.042), (V26, "pro", 0.07), (V2M, "std", 0.28), (V21M, "pro", 0.28), (V3, "std", 0.084),
        (V3, "pro", 0.112), (V3, "4k", 0.42), (None, None, 0.028),
    ],
)  # fmt: skip
def test_price_of_a_silent_clip(model, mode, usd):
    request = film(model_name=model, mode=mode, duration=10)
    assert math.isclose(request.price, usd * 10)
    assert math.isclose(request.units * 0.14, usd * 10)


@pytest.mark.parametrize(("model", "mode", "usd"), [(V26, "pro", 0.14), (V3, "std", 0.126), (V3, "pro", 0.168),
                                                    (V3, "4k", 0.42)])  # fmt: skip
def test_price_of_sound(model, mode, usd):
    assert math.isclose(tell(model_name=model, mode=mode, sound=True).price, usd * 5)


def test_price_of_voices():
    voices = [{"voice_id": "v"}]
    assert math.isclose(film(model_name=V26, mode="pro", sound="on", voice_list=voices).price, 0.168 * 5)
    assert film(model_name=V3, sound="on", voice_list=voices).price is None


@pytest.mark.parametrize(("fields", "units"), [
    ({"model_name": "kling-v2-1"}, 8), ({"model_name": "kling-v2-1", "image": URL}, 16), ({"model_name": V3}, 16),
    ({}, None), ({"model_name": V15}, None), ({"model_name": "kling-v9"}, None),
])  # fmt: skip
def test_price_of_pictures(fields, units):
    request = draw(n=2, **fields)
    assert request.units == units
    assert request.price == (None if units is None else units * 0.0035)


def test_slots():
    assert (film().slots, tell().slots, ExtendVideoRequest(video_id="v").slots, draw(n=9).slots) == (1, 1, 1, 9)
    assert ExtendVideoRequest(video_id="v").units is None


# Fields alone.


@pytest.mark.parametrize(("value", "seconds"), [(5, "5"), ("5", "5"), ("10", "10"), (10.0, "10"), (" 5 ", "5")])
def test_duration_is_sent_as_text(value, seconds):
    assert sent(film(duration=value))["duration"] == seconds


@pytest.mark.parametrize("value", [2, 16, 4.5, True, "five", math.nan, math.inf, 10**400, [5]])
def test_other_durations_are_refused(value):
    assert refusal(film, model_name=V3, duration=value).field == "duration"


@pytest.mark.parametrize(("value", "word"), [(True, "on"), (False, "off"), ("on", "on"), ("off", "off")])
def test_sound_is_a_word(value, word):
    assert sent(film(model_name=V3, sound=value))["sound"] == word


@pytest.mark.parametrize("make", [film, tell, draw])
@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_prompt_limit(make, field):
    assert sent(make(**{field: "p" * 2500}))[field] == "p" * 2500
    assert refusal(make, **{field: "p" * 2501}).field == field


@pytest.mark.parametrize("make", [tell, draw])
@pytest.mark.parametrize("empty", [None, ""])
def test_text_needs_a_prompt(make, empty):
    assert refusal(make, prompt=empty).field == "prompt"


@pytest.mark.parametrize(("field", "value"), [
    ("mode", "hd"), ("mode", 1), ("sound", "yes"), ("sound", 1), ("cfg_scale", 1.01), ("cfg_scale", -0.01),
    ("cfg_scale", math.nan), ("cfg_scale", True), ("image", "not base64!"), ("image_tail", 7), ("static_mask", "?"),
    ("watermark", "false"), ("multi_shot", "yes"), ("model_name", 7), ("model_name", "m" * 129),
    ("element_list", [{"element_id": 1}] * 4), ("element_list", [{"id": 1}]), ("element_list", [{"element_id": ""}]),
    ("element_list", "e"), ("voice_list", [{"voice_id": "v"}] * 3), ("callback_url", "ftp://a"),
    ("external_task_id", "a/b"), ("extra_body", {"mode": "pro"}), ("extra_body", {"watermark_info": {}}),
    ("extra_body", {"a": math.nan}), ("extra_body", [1]),
])  # fmt: skip
def test_refused_with_the_name_of_the_field(field, value):
    assert refusal(film, **{field: value}).field.partition(".")[0] == field


@pytest.mark.parametrize("value", [0, 1, "0.5", 0.0])
def test_cfg_scale_limits(value):
    assert sent(film(cfg_scale=value))["cfg_scale"] == float(value)


@pytest.mark.parametrize(("points", "taken"), [(1, False), (2, True), (77, True), (78, False)])
def test_points_of_a_mask(points, taken):
    masks = [{"mask": TINY, "trajectories": [{"x": 1, "y": 1}] * points}]
    assert passes(film, dynamic_masks=masks) is taken


@pytest.mark.parametrize(("count", "taken"), [(6, True), (7, False)])
def test_number_of_masks(count, taken):
    assert passes(film, dynamic_masks=MASKS * count) is taken


@pytest.mark.parametrize("mask", [{"mask": TINY}, {"trajectories": POINTS}, {"mask": "?", "trajectories": POINTS},
                                  {"mask": TINY, "trajectories": [{"x": 1}, {"x": 2}]},
                                  {"mask": TINY, "trajectories": POINTS, "speed": 1}])  # fmt: skip
def test_other_masks_are_refused(mask):
    assert refusal(film, dynamic_masks=[mask]).field.startswith("dynamic_masks")


@pytest.mark.parametrize(("config", "taken"), [
    ({"pan": 10}, True), ({"pan": -10}, True), ({"pan": 10.1}, False), ({"pan": -10.1}, False), ({"pan": 0}, False),
    ({}, False), (None, False), ({"pan": 1, "tilt": 0}, True), ({"pan": 1, "tilt": 1}, False), ({"spin": 1}, False),
    ({"pan": "far"}, False),
])  # fmt: skip
def test_simple_camera_moves_one_way(config, taken):
    assert passes(film, camera_control={"type": "simple", "config": config}) is taken


@pytest.mark.parametrize("camera", [{"type": "spin"}, {"config": {"pan": 1}}, "simple",
                                    {"type": "down_back", "config": {"pan": 1}}])  # fmt: skip
def test_other_cameras_are_refused(camera):
    assert refusal(film, camera_control=camera).field.startswith("camera_control")


@pytest.mark.parametrize("video_id", [None, "", " ", 7, "v" * 129])
def test_extension_needs_a_clip(video_id):
    assert refusal(ExtendVideoRequest, video_id=video_id).field == "video_id"


@pytest.mark.parametrize(("make", "taken", "refused"), [
    (tell, ("16:9", "9:16", "1:1"), ("4:3", "21:9", "16x9")),
    (draw, ("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9"), ("auto", "5:4")),
])  # fmt: skip
def test_aspects(make, taken, refused):
    assert all(passes(make, aspect_ratio=ratio) for ratio in taken)
    assert not any(passes(make, aspect_ratio=ratio) for ratio in refused)


# Fields that contradict each other.


def test_a_clip_of_a_picture_needs_one():
    assert refusal(film, image=None).field == "image"
    assert refusal(film, image="").field == "image"


@pytest.mark.parametrize("first", ["image_tail", "static_mask", "dynamic_masks", "camera_control"])
@pytest.mark.parametrize("second", ["image_tail", "static_mask", "dynamic_masks", "camera_control"])
def test_frame_brush_and_camera_exclude_each_other(first, second):
    values = {"image_tail": TINY, "static_mask": TINY, "dynamic_masks": MASKS, "camera_control": CAMERA}
    fields = {name: values[name] for name in (first, second)}
    alike = first == second or {first, second} == {"static_mask", "dynamic_masks"}

    assert passes(film, model_name="kling-v9", **fields) is alike
    if not alike:
        fault = refusal(film, model_name="kling-v9", **fields)
        assert first in fault.field
        assert second in fault.field


@pytest.mark.parametrize(("sound", "taken"), [("on", True), ("off", False), (None, False)])
def test_voices_need_sound(sound, taken):
    assert passes(film, model_name=V3, sound=sound, voice_list=[{"voice_id": "v"}] * 2) is taken


SHOTS = [{"index": 1, "prompt": "p" * 512, "duration": 2}]


@pytest.mark.parametrize(("fields", "field"), [
    ({"multi_shot": True}, "shot_type"),
    ({"multi_shot": True, "shot_type": "customize"}, "multi_prompt"),
    ({"multi_shot": True, "shot_type": "intelligence", "multi_prompt": SHOTS}, "multi_prompt"),
    ({"multi_shot": True, "shot_type": "other"}, "shot_type"),
    ({"shot_type": "customize"}, "shot_type"),
    ({"multi_prompt": SHOTS}, "multi_prompt"),
    ({"multi_shot": True, "shot_type": "customize", "multi_prompt": SHOTS * 7}, "multi_prompt"),
    ({"multi_shot": True, "shot_type": "customize", "multi_prompt": [SHOTS[0] | {"prompt": "p" * 513}]},
     "multi_prompt.prompt"),
    ({"multi_shot": True, "shot_type": "customize", "multi_prompt": [SHOTS[0] | {"duration": 0}]},
     "multi_prompt.duration"),
    ({"multi_shot": True, "shot_type": "customize", "multi_prompt": [SHOTS[0] | {"index": math.inf}]},
     "multi_prompt.index"),
])  # fmt: skip
@pytest.mark.parametrize("make", [film, tell])
def test_shots_that_contradict_themselves(make, fields, field):
    assert refusal(make, model_name=V3, **fields).field == field


def test_shots():
    request = tell(prompt=None, model_name=V3, multi_shot=True, shot_type="customize", multi_prompt=SHOTS * 6)
    assert sent(request)["multi_prompt"] == [SHOTS[0] | {"duration": "2"}] * 6
    assert "duration" in SHOTS[0]
    assert SHOTS[0]["duration"] == 2


@pytest.mark.parametrize(("fields", "field"), [
    ({"image": URL, "negative_prompt": "dogs"}, "negative_prompt"),
    ({"image_reference": "face"}, "image_reference"),
    ({"image_fidelity": 0.5}, "image_fidelity"),
    ({"image": URL, "human_fidelity": 0.5}, "human_fidelity"),
    ({"image": URL, "image_reference": "face", "human_fidelity": 0.5}, "human_fidelity"),
    ({"image": URL, "image_reference": "subject", "model_name": V3}, "image_reference"),
    ({"image": URL, "image_reference": "subject", "model_name": V1}, "image_reference"),
    ({"image": URL, "model_name": V15}, "image_reference"),
    ({"image": URL, "image_fidelity": 0.5, "model_name": V3}, "image_fidelity"),
    ({"element_list": [{"element_id": 1}], "model_name": V21}, "element_list"),
    ({"element_list": [{"element_id": 1}] * 11}, "element_list"),
    ({"image": URL, "element_list": [{"element_id": 1}] * 10}, "element_list"),
    ({"resolution": "2k", "model_name": V1}, "resolution"),
    ({"resolution": "2k", "model_name": V15}, "resolution"),
    ({"image": URL, "resolution": "2k", "model_name": "kling-v2"}, "resolution"),
    ({"resolution": "4k"}, "resolution"),
    ({"model_name": "kling-v2-new"}, "image"),
    ({"aspect_ratio": "21:9", "model_name": V1}, "aspect_ratio"),
    ({"n": 0}, "n"), ({"n": 10}, "n"), ({"n": 1.5}, "n"),
])  # fmt: skip
def test_pictures_that_contradict_the_documents(fields, field):
    assert refusal(draw, **fields).field == field


@pytest.mark.parametrize("fields", [
    {"image": URL, "image_reference": "subject", "human_fidelity": 0, "image_fidelity": 1, "model_name": V21},
    {"image": URL, "image_reference": "face", "model_name": V15},
    {"element_list": [{"element_id": 1}] * 10, "model_name": V3},
    {"image": URL, "element_list": [{"element_id": 1}] * 9},
    {"resolution": "2k", "model_name": "kling-v2"}, {"resolution": "2k", "model_name": V21},
    {"image": URL, "model_name": "kling-v2-new"}, {"aspect_ratio": "21:9", "model_name": V15}, {"n": "9"},
    {"image": URL, "image_reference": "subject", "resolution": "2k", "model_name": "kling-v9"},
])  # fmt: skip
def test_pictures_within_the_documents(fields):
    draw(**fields)


# What an operator knows when its DAG is parsed.


def test_what_is_not_known_yet_contradicts_nothing():
    check_fields("image-to-video", {"sound": "on"})
    check_fields("image-to-video", {"model_name": V26, "sound": "on"})
    with pytest.raises(InputFault, match="mode"):
        check_fields("image-to-video", {"model_name": V26, "mode": "std", "sound": "on"})


def test_an_operators_pictures_are_no_pictures_yet():
    fields = {"image": "s3://bucket/a.png", "image_tail": {"task_id": "T1", "family": "image-expansion"}}
    fields |= {"model_name": V26, "mode": "std", "duration": None}
    with pytest.raises(InputFault, match="image_tail"):
        check_fields("image-to-video", fields, pictures=False)
    assert check_fields("image-to-video", fields | {"mode": "pro"}, pictures=False)["image"] == "s3://bucket/a.png"


# The body.


def test_little_is_sent_where_little_is_asked():
    assert sent(film()) == {"image": URL}
    assert sent(tell()) == {"prompt": "a cat"}
    assert sent(ExtendVideoRequest(video_id="v-9")) == {"video_id": "v-9"}
    assert sent(draw()) == {"prompt": "a cat", "n": 1}


def test_body_holds_every_field():
    own = {"callback_url": "https://me.example", "external_task_id": "shop-42"}
    voice, element = [{"voice_id": "v"}], [{"element_id": 7}]
    request = film(
        image=f"data:image/png;base64,{TINY}", image_tail=URL, prompt='a "cat" ü', negative_prompt="dogs",
        model_name=V3, mode="4k", duration=15, sound=True, cfg_scale=0.25, element_list=element, voice_list=voice,
        watermark=True, extra_body={"new": [1]}, **own,
    )  # fmt: skip
    assert sent(request) == own | {
        "image": TINY, "image_tail": URL, "prompt": 'a "cat" ü', "negative_prompt": "dogs", "model_name": V3,
        "mode": "4k", "duration": "15", "sound": "on", "cfg_scale": 0.25, "element_list": element,
        "voice_list": voice, "watermark_info": {"enabled": True}, "new": [1],
    }  # fmt: skip


def test_a_heavy_picture_goes_whole_into_the_body():
    heavy = base64.b64encode(bytes(range(256)) * 12_000).decode()
    assert sent(film(image=heavy, model_name=V3, image_tail=heavy)) == {
        "image": heavy, "image_tail": heavy, "model_name": V3,
    }  # fmt: skip


def test_masks_and_camera_are_sent():
    assert sent(film(static_mask=TINY, dynamic_masks=MASKS))["dynamic_masks"] == MASKS
    assert sent(tell(camera_control=CAMERA))["camera_control"] == CAMERA


def test_checked_request_cannot_be_changed():
    with pytest.raises(AttributeError):
        film().prompt = "another"
    with pytest.raises(AttributeError):
        AnyRequest("avatar", {}).fields = {}


@pytest.mark.parametrize("request_", [film(image_tail=TINY, callback_url="https://me.example?t=s3cr3t"),
                                      film(dynamic_masks=MASKS, extra_body={"token": "s3cr3t"}), draw(image=URL),
                                      AnyRequest("avatar", {"image": TINY, "token": "s3cr3t"})])  # fmt: skip
def test_data_are_not_shown(request_):
    assert "s3cr3t" not in repr(request_)
    assert TINY not in repr(request_)


def test_parameters_tell_further_pictures_apart():
    one, other = (film(model_name=V3, image_tail=tail).parameters() for tail in (TINY, URL))
    assert one["image_tail"] != other["image_tail"]
    assert "image" not in one
    assert "s3cr3t" not in str(other)
    masks = film(dynamic_masks=MASKS).parameters()["dynamic_masks"]
    assert TINY not in str(masks)


def test_parameters_leave_out_what_does_not_show():
    request = tell(callback_url="https://me.example", external_task_id="shop-42", duration=5)
    assert request.parameters() == {"prompt": "a cat", "duration": "5"}


# Any family.


def test_any_family_sends_its_fields_as_they_are():
    request = AnyRequest("avatar", {"image": URL, "n": None}, "shop-42", "https://me.example")
    own = {"external_task_id": "shop-42", "callback_url": "https://me.example"}
    assert sent(request) == {"image": URL, "n": None} | own
    assert (request.family, request.slots, request.units, request.warnings) == (FAMILIES["avatar"], 1, None, ())


@pytest.mark.parametrize(("family", "fields", "slots", "units"), [
    ("image-expansion", {"n": 3}, 3, 24.0), ("omni-image", {"n": "4"}, 4, None), ("omni-image", {}, 1, None),
    ("omni-video", {"n": 2}, 1, None),
])  # fmt: skip
def test_slots_of_any_family(family, fields, slots, units):
    request = AnyRequest(family, fields)
    assert (request.slots, request.units) == (slots, units)
    assert request.price == (None if units is None else units * 0.0035)


@pytest.mark.parametrize(("family", "fields", "field"), [
    ("nothing", {}, "family"), (None, {}, "family"), ("avatar", None, "fields"), ("avatar", {1: 2}, "fields"),
    ("avatar", {"a": math.inf}, "fields"), ("avatar", {"a": b"b"}, "fields"), ("avatar", {"n": 10}, "n"),
    ("avatar", {"callback_url": "https://a"}, "fields"), ("avatar", {"external_task_id": "a"}, "fields"),
])  # fmt: skip
def test_other_requests_of_any_family_are_refused(family, fields, field):
    assert refusal(AnyRequest, family=family, fields=fields).field == field


def test_fields_of_any_family_are_copied():
    fields = {"a": 1}
    request = AnyRequest("avatar", fields)
    fields["b"] = 2
    assert sent(request) == {"a": 1}
    assert check_any_fields(fields) is not fields


def test_an_empty_body_is_json():
    assert sent(AnyRequest("avatar", {})) == {}


@pytest.mark.parametrize(
    "request_", [film(), tell(), draw(), ExtendVideoRequest(video_id="v"), AnyRequest("avatar", {})]
)
def test_requests_become_calls(request_):
    fields = dict.fromkeys(("login", "host", "schema", "port"))
    account = resolve_account(**fields, password="sk-x", extra={"gateway": "kling"})
    call = create_call(account, request_)
    assert call.url.endswith(f"/v1/{request_.family.route}")
    assert call.body == request_.body()
