"""The request that we send is the documented one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_kling.api.gateways import resolve_account
from airflow_kling.api.models import ExpandRequest

DOCUMENT = json.loads(
    (Path(__file__).parent / "documented" / "request-expand-cometapi-2026-03.json").read_text(encoding="utf-8")
)


@pytest.fixture
def request_of_the_page() -> ExpandRequest:
    fields = DOCUMENT["body"]
    return ExpandRequest(
        image=fields["image"],
        up=fields["up_expansion_ratio"],
        down=fields["bottom_expansion_ratio"],
        left=fields["left_expansion_ratio"],
        right=fields["right_expansion_ratio"],
    )


def test_body_holds_the_documented_fields_and_the_default_of_n(request_of_the_page):
    body = json.loads(request_of_the_page.body(down_ratio_field="bottom_expansion_ratio"))

    assert body == DOCUMENT["body"] | {"n": 1}


def test_body_spells_the_lower_side_once_and_as_kling_does(request_of_the_page):
    body = json.loads(request_of_the_page.body())

    assert body["down_expansion_ratio"] == DOCUMENT["body"]["bottom_expansion_ratio"]
    assert "bottom_expansion_ratio" not in body


def test_address_is_the_documented_path(request_of_the_page):
    account = resolve_account(login=None, password="key", host=None, schema=None, port=None, extra={})

    address = account.url(request_of_the_page.family.route)

    assert address == f"https://api.cometapi.com{DOCUMENT['path']}"
    assert account.url(request_of_the_page.family.route, "T1") == f"{address}/T1"
