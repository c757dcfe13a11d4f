"""The official test vector of signed callbacks is accepted, and nothing that differs from it."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
import standardwebhooks.webhooks

from airflow_kling.api.callback import hints_at_end, verify_signature
from airflow_kling.api.faults import ApiFault, FaultKind
from airflow_kling.api.inputs import InputFault

VECTOR = json.loads(
    (Path(__file__).parent / "documented" / "callback-signature-vector.json").read_text(encoding="utf-8")
)
SECRET, HEADERS, BODY = VECTOR["secret"], VECTOR["headers"], VECTOR["body"].encode()
SIGNED_AT = int(HEADERS["webhook-timestamp"])
TOLERANCE = 5 * 60


@pytest.fixture
def clock(monkeypatch):
    """Set the time that the library sees; the moment of the signature until told otherwise."""

    def set_to(seconds: float) -> None:
        class Frozen(datetime.datetime):
            @classmethod
            def now(cls, tz=None):
                return cls.fromtimestamp(seconds, tz)

        monkeypatch.setattr(standardwebhooks.webhooks, "datetime", Frozen)

    set_to(SIGNED_AT)
    return set_to


@pytest.mark.usefixtures("clock")
def test_official_vector_is_accepted():
    verify_signature(SECRET, HEADERS, BODY)
    assert hints_at_end(BODY)


@pytest.mark.usefixtures("clock")
def test_one_valid_signature_of_several_is_enough_while_a_secret_rotates():
    others = "v1,bm90IHRoaXMgb25l v1a,b3RoZXI="

    verify_signature(SECRET, HEADERS | {"webhook-signature": f"{others} {HEADERS['webhook-signature']}"}, BODY)


@pytest.mark.parametrize("age", [-TOLERANCE, TOLERANCE])
def test_signature_of_five_minutes_is_accepted(clock, age):
    clock(SIGNED_AT + age)

    verify_signature(SECRET, HEADERS, BODY)


@pytest.mark.parametrize("age", [-TOLERANCE - 1, TOLERANCE + 1, 86_400])
def test_older_or_future_signature_is_refused(clock, age):
    clock(SIGNED_AT + age)

    assert refusal(SECRET, HEADERS, BODY).kind is FaultKind.AUTH


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("secret", "headers", "body"),
    [
        pytest.param(SECRET, {}, BODY.replace(b"succeeded", b"failed"), id="body"),
        pytest.param(SECRET, {}, BODY + b" ", id="one byte more"),
        pytest.param(SECRET, {}, b"", id="empty body"),
        pytest.param("whsec_b3RoZXIgc2VjcmV0IG90aGVyIHNlY3JldA==", {}, BODY, id="secret"),
        pytest.param(SECRET, {"webhook-id": "9876543211"}, BODY, id="id"),
        pytest.param(SECRET, {"webhook-timestamp": str(SIGNED_AT + 1)}, BODY, id="time"),
        pytest.param(SECRET, {"webhook-timestamp": "yesterday"}, BODY, id="unreadable time"),
        pytest.param(SECRET, {"webhook-id": ""}, BODY, id="no id"),
        pytest.param(SECRET, {"webhook-timestamp": ""}, BODY, id="no time"),
        pytest.param(SECRET, {"webhook-signature": ""}, BODY, id="no signature"),
        pytest.param(SECRET, {"webhook-signature": "v1,bm90IHRoaXMgb25l"}, BODY, id="signature"),
        pytest.param(
            SECRET, {"webhook-signature": HEADERS["webhook-signature"].replace("v1,", "v2,")}, BODY, id="version"
        ),
    ],
)
def test_anything_changed_is_refused(secret, headers, body):
    info = refusal(secret, HEADERS | headers, body)

    assert info.kind is FaultKind.AUTH
    assert secret not in info.message


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param({"webhook-signature": "garbage"}, BODY, id="signature without a version"),
        pytest.param({"webhook-signature": "v1,a"}, BODY, id="signature that is no base64"),
        pytest.param({}, b"\xff\xfe", id="body that is no text"),
    ],
)
def test_what_a_stranger_can_post_is_refused_not_crashed_on(headers, body):
    assert refusal(SECRET, HEADERS | headers, body).kind is FaultKind.AUTH


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_a"])
def test_unusable_secret_is_refused_not_crashed_on(secret):
    with pytest.raises(InputFault, match="whsec_"):
        verify_signature(secret, HEADERS, BODY)


def refusal(secret, headers, body):
    with pytest.raises(ApiFault) as caught:
        verify_signature(secret, headers, body)
    return caught.value.info
