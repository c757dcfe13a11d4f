"""Resource packs of an account: what the documented answer tells, and what is left of an odd one."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_kling.api.auth import ApiKey
from airflow_kling.api.calls import packs_call
from airflow_kling.api.envelope import Answer, parse_packs
from airflow_kling.api.faults import ApiFault, FaultKind
from airflow_kling.api.gateways import Account

ROW = {
    "resource_pack_name": "Trial-Image-1000Units-9Con-1Months",
    "total_quantity": 1000.0,
    "remaining_quantity": 118.5,
    "invalid_time": 1_800_000_000_000,
    "status": "online",
}


def answer(data, status=200, **fields):
    return Answer(status, {}, json.dumps({"code": 0, "message": "SUCCEED", "data": data} | fields).encode())


def packs(*rows, **inner):
    return parse_packs(answer({"code": 0, "msg": "", "resource_pack_subscribe_infos": list(rows), **inner}))


def test_the_documented_answer():
    used, pack = {**ROW, "status": "runOut", "resource_pack_name": "Video"}, packs(ROW)[0]
    assert (pack.total, pack.remaining, pack.in_force) == (1000.0, 118.5, True)
    assert (pack.kind, pack.concurrency, pack.ends_at.year) == ("image", 9, 2027)
    assert [row.kind for row in packs(used, ROW)] == ["image", "video"]  # those in force first


@pytest.mark.parametrize(
    ("name", "kind", "concurrency"),
    [
        ("", "", None),
        ("Video Generation - 10,000 entries", "video", None),
        ("X-20Con", "", 20),
        ("9Contracts", "", None),
    ],
)
def test_names(name, kind, concurrency):
    (pack,) = packs(ROW | {"resource_pack_name": name})
    assert (pack.kind, pack.concurrency) == (kind, concurrency)


@pytest.mark.parametrize("row", [{}, {"remaining_quantity": "x", "invalid_time": -1, "status": 7}])
def test_odd_rows_tell_what_they_can(row):
    (pack,) = packs(row, None, "x", 3)
    assert (pack.total, pack.remaining, pack.ends_at, pack.in_force) == (None, None, None, False)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (answer({"code": 1002, "msg": "invalid"}), FaultKind.AUTH),
        (answer([]), FaultKind.SERVER),
        (answer({"resource_pack_subscribe_infos": "x"}), FaultKind.SERVER),
        (answer(None, code=1302, message="QPS"), FaultKind.RATE),
        (Answer(200, {}, b"<html>"), FaultKind.SERVER),
    ],
)
def test_what_is_no_list_of_packs(given, kind):
    with pytest.raises(ApiFault) as raised:
        parse_packs(given)
    assert raised.value.info.kind is kind


def test_an_account_without_packs():
    assert parse_packs(answer({"code": 0, "msg": ""})) == []


@pytest.mark.parametrize("gateway", ["kling", "kling-cn", "cometapi"])
def test_only_kling_is_asked_outside_the_prefix_and_with_get(gateway):
    call = packs_call(Account(gateway, "https://k.example", "/v1", ApiKey("k")), 1_800_000_000.0)
    if gateway == "cometapi":
        assert call is None
        return
    parts = urlsplit(call.url)
    query = {name: int(value) for name, (value,) in parse_qs(parts.query).items()}
    assert (call.method, parts.path) == ("GET", "/account/costs")
    assert query["end_time"] - query["start_time"] == 400 * 86_400_000
