"""Our tables of codes and families hold what the official tables say."""

from __future__ import annotations

import json

import pytest

from airflow_kling.api.codes import CODES
from airflow_kling.api.envelope import Answer, parse_task
from airflow_kling.api.families import FAMILIES, OutputKind
from airflow_kling.api.faults import ApiFault, Created
from airflow_kling.exceptions import KlingError, KlingPermanentError, KlingTransientError, errors_for

#: code -> HTTP status, of the official table "error codes".
OFFICIAL_CODES = {
    1000: 401,
    1001: 401,
    1002: 401,
    1003: 401,
    1004: 401,
    1100: 429,
    1101: 429,
    1102: 429,
    1103: 403,
    1200: 400,
    1201: 400,
    1202: 404,
    1203: 404,
    1300: 400,
    1301: 400,
    1302: 429,
    1303: 429,
    1304: 429,
    5000: 500,
    5001: 503,
    5002: 504,
}
PASS_BY_THEMSELVES = {1302, 1303, 5000, 5001, 5002}
MAY_HAVE_MADE_A_TASK = {5000, 5001, 5002}
WORTH_A_FRESH_TOKEN = {1003, 1004}

#: route below the version -> list in task_result, of the documents of every asynchronous family.
OFFICIAL_FAMILIES = {
    "videos/text2video": "videos",
    "videos/image2video": "videos",
    "videos/multi-image2video": "videos",
    "videos/multi-elements": "videos",
    "videos/video-extend": "videos",
    "videos/effects": "videos",
    "videos/lip-sync": "videos",
    "videos/advanced-lip-sync": "videos",
    "videos/avatar/image2video": "videos",
    "videos/motion-control": "videos",
    "videos/omni-video": "videos",
    "images/generations": "images",
    "images/omni-image": "images",
    "images/multi-image2image": "images",
    "images/editing/expand": "images",
    "images/kolors-virtual-try-on": "images",
    "general/ai-multi-shot": "images",
    "audio/text-to-audio": "audios",
    "audio/video-to-audio": "audios",
}


def fault_of(code: int, http_status: int) -> ApiFault:
    body = json.dumps({"code": code, "message": "said so", "request_id": "r-1"}).encode()
    with pytest.raises(ApiFault) as caught:
        parse_task(FAMILIES["image-expansion"], Answer(http_status, {}, body))
    return caught.value


def test_every_official_code_has_a_row_with_its_http_status():
    ours = {code: row.http_status for code, row in CODES.items() if isinstance(code, int)}

    assert ours == OFFICIAL_CODES


@pytest.mark.parametrize("through", ["documented status", 200])
@pytest.mark.parametrize(
    "code",
    OFFICIAL_CODES,
)
def test_code_is_retried_only_where_it_passes_by_itself(code, through):
    with pytest.raises(KlingError) as caught, errors_for():
        raise fault_of(code, 200 if through == 200 else OFFICIAL_CODES[code])

    error = caught.value
    assert isinstance(error, KlingTransientError) == (code in PASS_BY_THEMSELVES)
    assert isinstance(error, KlingPermanentError) == (code not in PASS_BY_THEMSELVES)
    assert error.code == code


@pytest.mark.parametrize(("code", "http_status"), OFFICIAL_CODES.items())
def test_only_a_failing_server_may_have_made_a_task(code, http_status):
    created = fault_of(code, http_status).info.created

    assert created is (Created.MAY_EXIST if code in MAY_HAVE_MADE_A_TASK else Created.NO)


def test_fresh_token_helps_only_against_the_two_codes_of_its_times():
    assert {code for code, row in CODES.items() if row.fresh_token} == WORTH_A_FRESH_TOKEN


def test_every_asynchronous_family_has_its_route_and_no_other_has_one():
    assert {family.route: family.kind.key for family in FAMILIES.values()} == OFFICIAL_FAMILIES


def test_families_of_pictures_made_in_numbers_hold_a_slot_for_each():
    per_output = {family.route for family in FAMILIES.values() if family.slots_per_output}

    assert per_output <= {family.route for family in FAMILIES.values() if family.kind is OutputKind.IMAGE}
    assert per_output >= {
        "images/editing/expand",
        "images/generations",
        "images/omni-image",
        "images/multi-image2image",
    }
    assert "images/kolors-virtual-try-on" not in per_output


def test_families_that_list_no_query_by_external_id():
    without = {family.route for family in FAMILIES.values() if not family.lookup_by_external_id}

    assert without == {"videos/advanced-lip-sync", "general/ai-multi-shot"}
