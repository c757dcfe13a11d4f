"""The emulator's check of a create's body, one row per documented rule."""

from __future__ import annotations

import base64
import json

import pytest

from airflow_kling.api.families import FAMILIES
from airflow_kling.api.models import ExpandRequest
from airflow_kling.emulator.refusals import Refusal
from airflow_kling.emulator.settings import Dialect
from airflow_kling.emulator.validation import CHECKS, check_create, decode_body

FAMILY = FAMILIES["image-expansion"]
RATIOS = {f"{side}_expansion_ratio": 0.1 for side in ("up", "down", "left", "right")}
ABSENT = object()


def no_fetch(url):
    raise OSError("HTTP 404")


def check(fields, fetch=no_fetch):
    return check_create(FAMILY, fields, fetch)


@pytest.fixture
def body(picture_text):
    def make(**changes):
        fields = {"image": picture_text()} | RATIOS | changes
        return {name: value for name, value in fields.items() if value is not ABSENT}

    return make


def test_a_minimal_body(body, picture_bytes):
    order, job = check(body())
    assert (order.n, order.external_task_id, order.prompt, order.watermark) == (1, None, None, False)
    assert job.source == picture_bytes()
    assert job.options == {"up": 0.1, "down": 0.1, "left": 0.1, "right": 0.1}


def test_a_full_body(body):
    fields = body(
        n=9,
        prompt="p" * 2500,
        watermark_info={"enabled": True},
        callback_url="https://example.com/hook",
        external_task_id="shop-42",
        a_field_of_tomorrow=1,
    )
    order, _ = check(fields)
    assert (order.n, order.external_task_id, order.watermark) == (9, "shop-42", True)
    assert order.callback_url == "https://example.com/hook"
    assert "not called" in order.note
    assert (order.slots, order.units) == (9, 72.0)


def test_our_own_request_is_accepted(picture_text):
    request = ExpandRequest(image=picture_text(), up=0.25, left=1.0, n=2, external_task_id="af-1", watermark=True)
    for dialect, spelling in ((Dialect.KLING, "down_expansion_ratio"), (Dialect.GATEWAY, "bottom_expansion_ratio")):
        order, job = check(decode_body(request.body(spelling), dialect))
        assert (order.n, order.external_task_id, job.options["left"]) == (2, "af-1", 1.0)


@pytest.mark.parametrize("name", ["prompt", "external_task_id", "callback_url"])
def test_an_empty_string_is_absent(body, name):
    order, _ = check(body(**{name: ""}))
    assert getattr(order, name) is None


@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({"image": ABSENT}, 1200, "image"),
        ({"image": ""}, 1200, "image"),
        ({"image": 7}, 1201, "image"),
        ({"image": "not base64!"}, 1201, "image"),
        ({"image": "http://127.0.0.1:9/gone.png"}, 1201, "image"),
        ({"up_expansion_ratio": ABSENT}, 1200, "up_expansion_ratio"),
        ({"down_expansion_ratio": ABSENT}, 1200, "down_expansion_ratio"),
        ({"left_expansion_ratio": None}, 1200, "left_expansion_ratio"),
        ({"right_expansion_ratio": "0.1"}, 1201, "right_expansion_ratio"),
        ({"right_expansion_ratio": True}, 1201, "right_expansion_ratio"),
        ({"up_expansion_ratio": 2.01}, 1201, "up_expansion_ratio"),
        ({"up_expansion_ratio": -0.1}, 1201, "up_expansion_ratio"),
        ({"up_expansion_ratio": float("nan")}, 1201, "up_expansion_ratio"),
        (dict.fromkeys(RATIOS, 1), 1201, "up_expansion_ratio"),
        ({"up_expansion_ratio": 2.0}, 1201, "3 times"),
        (dict.fromkeys(RATIOS, 0), 1201, "up_expansion_ratio"),
        ({"n": 0}, 1201, "n "),
        ({"n": 10}, 1201, "n "),
        ({"n": "2"}, 1201, "n "),
        ({"n": 2.0}, 1201, "n "),
        ({"n": True}, 1201, "n "),
        ({"prompt": "p" * 2501}, 1201, "prompt"),
        ({"prompt": 5}, 1201, "prompt"),
        ({"prompt": "[emulator:typo]"}, 1201, "prompt"),
        ({"watermark_info": True}, 1201, "watermark_info"),
        ({"watermark_info": {"enabled": "yes"}}, 1201, "watermark_info"),
        ({"callback_url": "ftp://example.com"}, 1201, "callback_url"),
        ({"external_task_id": 42}, 1201, "external_task_id"),
    ],
)
def test_refused(body, changes, code, named):
    with pytest.raises(Refusal) as caught:
        check(body(**changes))
    assert (caught.value.code, caught.value.http_status) == (code, 400)
    assert named in caught.value.message
    assert len(caught.value.message) < 500


def test_a_data_prefix_is_refused(body, picture_text):
    with pytest.raises(Refusal, match="data:") as caught:
        check(body(image=f"data:image/png;base64,{picture_text()}"))
    assert caught.value.code == 1201


@pytest.mark.parametrize(
    ("picture", "start"),
    [
        ((299, 320), "Image pixel is invalid"),
        ((320, 299), "Image pixel is invalid"),
        ((1000, 300), "Image pixel is invalid"),
        ((300, 751), "Image pixel is invalid"),
        ((320, 320, "GIF"), "Image format is invalid"),
        ((320, 320, "WEBP"), "Image format is invalid"),
    ],
)
def test_pictures_out_of_limits(body, picture_text, picture, start):
    with pytest.raises(Refusal) as caught:
        check(body(image=picture_text(*picture)))
    assert caught.value.code == 1201
    assert caught.value.message.startswith(start)


@pytest.mark.parametrize("picture", [(300, 300), (750, 300), (300, 750), (320, 320, "JPEG")])
def test_pictures_at_the_limits(body, picture_text, picture):
    check(body(image=picture_text(*picture)))


def test_pictures_that_are_too_heavy(body, picture_bytes):
    heavy = picture_bytes() + bytes(10 * 1024 * 1024)
    with pytest.raises(Refusal, match="10,485,760") as caught:
        check(body(image=base64.b64encode(heavy).decode()))
    assert caught.value.code == 1201
    with pytest.raises(Refusal, match="10,485,760"):
        check(body(image="http://127.0.0.1/heavy.png"), lambda url: (heavy, ""))


def test_a_picture_by_url(body, picture_bytes):
    order, job = check(body(image="https://example.com/a.png"), lambda url: (picture_bytes(), "a stand-in"))
    assert (job.source, order.note) == (picture_bytes(), "a stand-in")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_bodies_that_are_no_object(text):
    with pytest.raises(Refusal) as caught:
        decode_body(text, Dialect.KLING)
    assert caught.value.code == 1200


def test_the_gateways_spellings(body):
    old = body(n="2", bottom_expansion_ratio=0.5, down_expansion_ratio=ABSENT)
    order, job = check(decode_body(json.dumps(old).encode(), Dialect.GATEWAY))
    assert (order.n, job.options["down"]) == (2, 0.5)
    with pytest.raises(Refusal, match="down_expansion_ratio is required"):
        check(decode_body(json.dumps(old).encode(), Dialect.KLING))


def test_one_spelling_at_a_time(body):
    both = json.dumps(body(bottom_expansion_ratio=0.5)).encode()
    with pytest.raises(Refusal, match="give one"):
        decode_body(both, Dialect.GATEWAY)
    check(decode_body(both, Dialect.KLING))


def test_families_that_are_known_by_name_only():
    with pytest.raises(Refusal, match="avatar is not emulated") as caught:
        check_create(FAMILIES["avatar"], {}, no_fetch)
    assert (caught.value.code, caught.value.http_status) == (1203, 404)
    assert set(CHECKS) <= set(FAMILIES)
