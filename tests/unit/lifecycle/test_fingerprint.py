"""The fingerprint changes with everything that would change the picture, and with nothing else."""

from __future__ import annotations

from itertools import combinations

import pytest

from airflow_kling.lifecycle.fingerprint import (
    SIGNATURE_PARAMETERS,
    fingerprint,
    source_of_content,
    source_of_task,
    source_of_url,
)

FACTS = {
    "family": "image-expansion",
    "source": "sha256:ab",
    "parameters": {"n": 1, "up_expansion_ratio": 0.5},
    "conn_id": "kling_default",
    "base_url": "https://k",
}
URL = "https://cdn.example/cat.png"


def test_same_facts_make_the_same_print_in_any_order():
    turned = FACTS | {"parameters": dict(reversed(FACTS["parameters"].items()))}
    assert fingerprint(**FACTS) == fingerprint(**turned)


def test_each_fact_counts():
    changed = [
        FACTS,
        *(FACTS | {name: f"{FACTS[name]}x"} for name in FACTS if name != "parameters"),
        FACTS | {"parameters": {"n": 2, "up_expansion_ratio": 0.5}},
        FACTS | {"parameters": {"n": 1, "up_expansion_ratio": 0.25}},
        FACTS | {"parameters": {"n": 1, "up_expansion_ratio": 0.5, "prompt": "a beach"}},
        FACTS | {"parameters": {"n": 1, "down_expansion_ratio": 0.5}},
        # No fact may flow into its neighbour.
        FACTS | {"family": "image-", "source": "expansionsha256:ab"},
        FACTS | {"conn_id": "kling_defaulthttps://k", "base_url": ""},
    ]
    prints = [fingerprint(**facts) for facts in changed]
    assert all(one != other for one, other in combinations(prints, 2))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"{URL}?X-Amz-Signature=1&X-Amz-Date=2&size=9", f"{URL}?size=9&X-Amz-Signature=3"),
        (f"{URL}?X-Goog-Expires=1", f"{URL}?x-goog-signature=2"),
        (f"{URL}?X-OSS-Credential=1", URL),
        (f"{URL}?x-tos-date=1&x-bce-request-id=2", URL),
        *((f"{URL}?{name.upper()}=1&size=9", f"{URL}?{name}=2&size=9") for name in sorted(SIGNATURE_PARAMETERS)),
        (f"{URL}?a=1&b=2", f"{URL}?b=2&a=1"),
        (f"{URL}#top", URL),
        (f"{URL}?", URL),
    ],
)
def test_signature_order_and_fragment_of_a_link_do_not_count(one, other):
    assert source_of_url(one) == source_of_url(other)


@pytest.mark.parametrize(
    "other",
    [
        "https://cdn.example/dog.png",
        "https://other.example/cat.png",
        "http://cdn.example/cat.png",
        "https://cdn.example:8443/cat.png",
        f"{URL}?version=2",
        f"{URL}?version=",
        f"{URL}?versions=1",
        f"{URL}?signatures=1",
        f"{URL}?x-amzn=1",
    ],
)
def test_everything_else_of_a_link_counts(other):
    assert source_of_url(other) != source_of_url(URL)
    assert source_of_url(f"{URL}?version=1") != source_of_url(f"{URL}?version=2")


def test_sources_of_different_kinds_are_different():
    sources = [
        source_of_url(URL),
        source_of_task("T1", 0),
        source_of_task("T1", 1),
        source_of_task("T2", 0),
        source_of_content("T1"),
        source_of_content("T2"),
    ]
    assert len(set(sources)) == len(sources)


def test_value_that_is_not_json_does_not_fail_after_the_fact():
    assert fingerprint(**FACTS | {"parameters": {"extra": b"x"}}) != fingerprint(**FACTS)
