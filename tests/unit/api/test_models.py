"""A request is checked on construction, and its body is what was asked."""

from __future__ import annotations

import base64
import json
import math
import re
from collections import OrderedDict
from types import MappingProxyType

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from airflow_kling.api.checks import MAX_IMAGE_BYTES, largest_ratios
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.models import ExpandRequest, TaskStatus

URL = "https://example.com/cat.jpg"
TINY = base64.b64encode(bytes(range(48))).decode()
MAX_AREA = 3.0
PROPERTY = settings(max_examples=500, deadline=None, derandomize=True, database=None)


def request(**fields) -> ExpandRequest:
    return ExpandRequest(**({"image": URL, "up": 0.5} | fields))


def refusal(**fields) -> InputFault:
    with pytest.raises(InputFault) as caught:
        request(**fields)
    return caught.value


def sent(asked: ExpandRequest, *names: str) -> dict:
    return json.loads(asked.body(*names))


# Ratios.


@pytest.mark.parametrize("side", ["up", "down", "left", "right"])
@pytest.mark.parametrize(
    ("ratio", "number"),
    [(2, 2.0), (2.0, 2.0), ("2", 2.0), (0.1, 0.1), ("0.25", 0.25), (" 1.5 ", 1.5), (1e-9, 1e-9)],
)
def test_ratio_from_0_to_2_is_taken_as_a_number(side, ratio, number):
    asked = request(**({"up": 0} | {side: ratio}))

    assert getattr(asked, side) == number
    assert sent(asked)[f"{side}_expansion_ratio"] == number


@pytest.mark.parametrize("side", ["up", "down", "left", "right"])
@pytest.mark.parametrize(
    "ratio",
    [
        *(2.0000001, -0.0000001, -1, "2.1", "-1", 10**300, math.nan, "nan", math.inf, -math.inf, "inf"),
        *("", "half", "0,5", None, True, False, [1], {}, 1j),
    ],
)
def test_other_ratio_is_refused_with_the_name_of_its_side(side, ratio):
    fault = refusal(**{side: ratio})

    assert fault.field == side
    assert ("height" if side in ("up", "down") else "width") in fault.advice
    assert "0 to 2" in fault.limit


@pytest.mark.parametrize("field", ["up", "n"])
def test_number_too_large_for_a_float_is_refused(field):
    refusal(**{field: 10**400})


@pytest.mark.parametrize("zero", [0, 0.0, -0.0, "0"])
def test_expansion_of_nothing_is_refused(zero):
    assert "at least one side" in refusal(up=zero, down=zero, left=zero, right=zero).limit


@pytest.mark.parametrize("side", ["up", "down", "left", "right"])
def test_side_that_is_not_named_is_not_expanded(side):
    asked = ExpandRequest(image=URL, **{side: 0.5})

    assert {name: getattr(asked, name) for name in ("up", "down", "left", "right") if name != side} == dict.fromkeys(
        {"up", "down", "left", "right"} - {side}, 0.0
    )


def test_minus_zero_is_sent_as_zero():
    assert b"-0" not in request(left=-0.0).body()


@pytest.mark.parametrize(
    "ratios",
    [
        (2, 0, 0, 0),
        (0, 0, 0, 2),
        (1, 1, 0, 0),
        (0.5, 0.5, 0.25, 0.25),
        (0.1495, 0.1495, 0.6547, 0.6547),
        ((math.sqrt(3) - 1) / 2,) * 4,
    ],
)
def test_three_times_the_area_is_taken(ratios):
    asked = request(**dict(zip(("up", "down", "left", "right"), ratios, strict=True)))

    assert (asked.up, asked.down, asked.left, asked.right) == ratios


@pytest.mark.parametrize(
    "ratios",
    [(1, 1, 0.0001, 0), (2, 0, 0, 0.0001), (1, 1, 1, 1), (0.3661, 0.3661, 0.3661, 0.3661), (2, 2, 2, 2), (2, 1, 0, 0)],
)
def test_more_is_refused_with_ratios_that_fit(ratios):
    fault = refusal(**dict(zip(("up", "down", "left", "right"), ratios, strict=True)))
    advised = {side: float(ratio) for side, ratio in re.findall(r"(up|down|left|right) ([\d.]+)", fault.advice)}

    assert "3 times the area" in fault.limit
    assert len(advised) == 4
    assert request(**advised)


ratio = st.integers(0, 20_000).map(lambda step: step / 10_000) | st.floats(1e-6, 2)


@PROPERTY
@given(ratio, ratio, ratio, ratio)
@example(1.0, 1.0, 1.0, 1.0)
@example(2.0, 2.0, 0.0, 0.0)
@example(0.0, 0.0, 2.0, 1.0)
def test_largest_ratios_fit_keep_proportions_and_are_not_needlessly_small(up, down, left, right):
    ratios = (up, down, left, right)
    assume((1 + up + down) * (1 + left + right) > MAX_AREA + 1e-6)

    fitting = largest_ratios(*ratios)

    assert area(fitting) <= MAX_AREA + 1e-9
    assert area([fit + 1e-4 if asked else 0 for fit, asked in zip(fitting, ratios, strict=True)]) >= MAX_AREA - 1e-9
    scales = [(fit / asked, (fit + 1e-4) / asked) for fit, asked in zip(fitting, ratios, strict=True) if asked]
    assert max(low for low, _ in scales) <= min(high for _, high in scales) + 1e-9
    assert all(fit == 0 for fit, asked in zip(fitting, ratios, strict=True) if not asked)
    assert all(0 <= fit <= asked for fit, asked in zip(fitting, ratios, strict=True))


def area(ratios) -> float:
    up, down, left, right = ratios
    return (1 + up + down) * (1 + left + right)


@pytest.mark.parametrize("speck", [1e-17, 1e-300])
def test_largest_ratios_beside_a_speck(speck):
    assert largest_ratios(2, 2, speck, 0) == (1.0, 1.0, 0.0, 0.0)


# Number of pictures.


@pytest.mark.parametrize(("n", "number"), [(1, 1), (9, 9), ("3", 3), (4.0, 4), ("5.0", 5)])
def test_number_of_pictures(n, number):
    asked = request(n=n)

    assert (asked.n, asked.slots, asked.units) == (number, number, 8.0 * number)
    assert sent(asked)["n"] == number
    assert b'"n": %d' % number in asked.body()


@pytest.mark.parametrize("n", [0, 10, -1, 1.5, "1.5", "", "many", None, True, math.nan, math.inf, [1]])
def test_other_number_of_pictures_is_refused(n):
    assert refusal(n=n).field == "n"


# The picture.


@pytest.mark.parametrize(
    ("given_image", "image"),
    [
        (URL, URL),
        (f"  {URL}\n", URL),
        (f" {URL}", URL),
        (f"{URL}\n", URL),
        ("HTTP://example.com/Cat.JPG?x=1", "HTTP://example.com/Cat.JPG?x=1"),
        (TINY, TINY),
        (f"\t{TINY} ", TINY),
        (f"data:image/png;base64,{TINY}", TINY),
        (f"DATA:image/svg+xml;charset=utf-8;BASE64,{TINY}", TINY),
        (f"data:;base64,{TINY}", TINY),
        (f"{TINY[:20]}\n{TINY[20:40]}\r\n{TINY[40:]}\n", TINY),
        (f"data:image/jpeg;base64,{TINY[:20]}\n{TINY[20:]}", TINY),
        ("QQ==", "QQ=="),
        ("QUI=", "QUI="),
    ],
)
def test_picture(given_image, image):
    asked = request(image=given_image)

    assert asked.image == image
    assert sent(asked)["image"] == image


@pytest.mark.parametrize(
    "image",
    [
        *(None, b"QUJD", 5, "", "   ", "QUJ", "QQ=", "Q===", "QU=D", "QUJD*A==", "QU JDQQ==", "QUJ-", "QUJé"),
        *("cat.jpg", "data:image/png;base64,", "data:image/png,QUJD", "data:image/png;base64,QUJ"),
        *("ftp://example.com/cat.jpg", f"{URL} {URL}", f"{URL}\n{URL}"),
    ],
)
def test_other_picture_is_refused(image):
    assert refusal(image=image).field == "image"


@pytest.mark.parametrize(("length", "taken"), [(8192, True), (8193, False)])
def test_length_of_a_url(length, taken):
    image = URL + "x" * (length - len(URL))

    assert (request(image=image).image == image) if taken else refusal(image=image)


def test_picture_of_10_mb_is_taken_and_sent_unchanged():
    image = base64.b64encode(b"\xff" * MAX_IMAGE_BYTES).decode()

    assert sent(request(image=image))["image"] == image


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(1),
        pytest.param(2),
        3,
    ],
)
def test_larger_picture_is_refused_without_showing_it(more):
    fault = refusal(image=base64.b64encode(b"\xff" * (MAX_IMAGE_BYTES + more)).decode())

    assert fault.field == "image"
    assert "////" not in str(fault)
    assert len(str(fault)) < 300


# Prompt, callback, external id.


@pytest.mark.parametrize("prompt", ["a", "x" * 2500, 'ünïcödé \U0001f431 "quoted" \\ \n'])
def test_prompt_is_sent(prompt):
    assert sent(request(prompt=prompt))["prompt"] == prompt


@pytest.mark.parametrize("prompt", ["x" * 2501, 5, ["a"], b"a", True])
def test_other_prompt_is_refused(prompt):
    fault = refusal(prompt=prompt)

    assert fault.field == "prompt"
    assert "xxx" not in str(fault)


@pytest.mark.parametrize("url", ["https://me.example/hook", "http://10.0.0.1:8080/x?y=1", "HTTPS://me.example"])
def test_callback_url_is_sent(url):
    assert sent(request(callback_url=url))["callback_url"] == url


@pytest.mark.parametrize("url", ["me.example", "ftp://me.example", "https://me.example/a b", "https://me\n", 5, True])
def test_other_callback_url_is_refused(url):
    assert refusal(callback_url=url).field == "callback_url"


@pytest.mark.parametrize("task_id", ["a", "x" * 128, "af-1.b_c:D"])
def test_external_task_id_is_sent(task_id):
    assert sent(request(external_task_id=task_id))["external_task_id"] == task_id


@pytest.mark.parametrize("task_id", ["x" * 129, "a/b", "a b", "a?b", "ä", "a\n", 5, True, ["a"]])
def test_other_external_task_id_is_refused(task_id):
    assert refusal(external_task_id=task_id).field == "external_task_id"


@pytest.mark.parametrize("task_id", [".", ".."])
def test_external_task_id_that_would_change_the_path_is_refused(task_id):
    refusal(external_task_id=task_id)


@pytest.mark.parametrize("field", ["prompt", "callback_url", "external_task_id"])
@pytest.mark.parametrize("empty", [None, ""])
def test_empty_text_is_not_sent(field, empty):
    asked = request(**{field: empty})

    assert getattr(asked, field) is None
    assert field not in sent(asked)


# Further fields, the body.


@pytest.mark.parametrize(
    "extra",
    [{}, {"new_field": 1}, {"nested": {"a": [1, None, "ü"]}}, OrderedDict(a=1), MappingProxyType({"a": True})],
)
def test_extra_fields_are_sent(extra):
    body = sent(request(extra_body=extra))

    assert {name: body[name] for name in extra} == dict(extra)


def test_extra_fields_are_copied():
    extra = {"a": 1}
    asked = request(extra_body=extra)
    extra["prompt"] = "smuggled"

    assert "prompt" not in sent(asked)


@pytest.mark.parametrize(
    "extra",
    [
        *(
            None,
            [("a", 1)],
            "a=1",
            {1: "a"},
            {"a": math.nan},
            {"a": math.inf},
            {"a": {1, 2}},
            {"a": b"b"},
            {"a": object()},
        ),
        *({name: 1} for name in ("image", "n", "prompt", "watermark_info", "callback_url", "external_task_id")),
        *({f"{side}_expansion_ratio": 1} for side in ("up", "down", "bottom", "left", "right")),
    ],
)
def test_other_extra_fields_are_refused(extra):
    assert refusal(extra_body=extra).field == "extra_body"


@pytest.mark.parametrize("image", [URL, TINY])
def test_body_holds_every_field(image):
    asked = request(
        image=image,
        up=0.1,
        down="0.2",
        left=0.3,
        right=0,
        prompt='a "cat"',
        n=2,
        watermark=True,
        callback_url="https://me.example",
        external_task_id="shop-42",
        extra_body={"new": [1]},
    )

    assert sent(asked) == {
        "image": image,
        "up_expansion_ratio": 0.1,
        "down_expansion_ratio": 0.2,
        "left_expansion_ratio": 0.3,
        "right_expansion_ratio": 0.0,
        "prompt": 'a "cat"',
        "n": 2,
        "watermark_info": {"enabled": True},
        "callback_url": "https://me.example",
        "external_task_id": "shop-42",
        "new": [1],
    }


@pytest.mark.parametrize("image", [URL, TINY])
@pytest.mark.parametrize("spelling", ["down_expansion_ratio", "bottom_expansion_ratio", "lower"])
def test_body_of_little_holds_all_four_ratios_and_the_number(image, spelling):
    assert sent(request(image=image), spelling) == {
        "image": image,
        "up_expansion_ratio": 0.5,
        spelling: 0.0,
        "left_expansion_ratio": 0.0,
        "right_expansion_ratio": 0.0,
        "n": 1,
    }


@PROPERTY
@given(
    st.binary(min_size=1, max_size=200).map(lambda raw: base64.b64encode(raw).decode()) | st.just(URL),
    st.text(max_size=50),
    st.floats(0.001, 2),
    st.dictionaries(st.text(max_size=5).map("x_{}".format), st.text() | st.integers() | st.none() | st.booleans()),
)
def test_body_is_json_that_says_what_was_asked(image, prompt, up, extra):
    body = sent(ExpandRequest(image=image, up=up, prompt=prompt, extra_body=extra))

    assert (body["image"], body.get("prompt", ""), body["up_expansion_ratio"]) == (image, prompt, up)
    assert {name: body[name] for name in extra} == extra


def test_checked_request_cannot_be_changed():
    with pytest.raises(AttributeError):
        request().up = 9


# What is shown.


@pytest.mark.parametrize("image", [TINY, "https://example.com/cat.jpg?Signature=s3cr3t"])
def test_picture_is_not_shown(image):
    shown = repr(request(image=image))

    assert image not in shown
    assert "s3cr3t" not in shown


@pytest.mark.parametrize(
    "fields", [{"callback_url": "https://me.example/hook?token=s3cr3t"}, {"extra_body": {"token": "s3cr3t"}}]
)
def test_secrets_of_a_request_are_not_shown(fields):
    assert "s3cr3t" not in repr(request(**fields))


@pytest.mark.parametrize("image", ["https://example.com/cat.jpg?Signature=s3cr3t x", "A" * 401])
def test_refusal_does_not_show_the_picture(image):
    fault = refusal(image=image)

    assert "s3cr3t" not in str(fault)
    assert "AAAA" not in str(fault)
    assert not any("s3cr3t" in str(fact) or "AAAA" in str(fact) for fact in fault.args)


@pytest.mark.parametrize(("status", "ended"), list(zip(TaskStatus, [False, False, True, True], strict=True)))
def test_a_task_has_ended_when_it_succeeded_or_failed(status, ended):
    assert status.ended is ended
