"""What the run page makes of manifests, states and rendered fields."""

from __future__ import annotations

import json

import pytest

from airflow_kling.plugins.items import (
    Instance,
    Run,
    as_json,
    border,
    price,
    rows_of,
    source_text,
    summary,
    usual_seconds,
)


def manifest(task_id="T1", *uris, status="succeeded", **more):
    outputs = [{"index": at, "kind": "image", "uri": uri} for at, uri in enumerate(uris)]
    return {"family": "image-expansion", "task_id": task_id, "status": status, "outputs": outputs, "units": 8} | more


def instance(task_id="t", state="success", *rows, map_index=-1, **more):
    return Instance(task_id, map_index, state, rows=rows, **more)


def shown(run, fields=()):
    return [as_json(item, dict(fields), run) for item in run.items]


def test_each_output_is_an_item():
    run = Run([instance("t", "success", manifest("T1", "/a.png", "/b.png")), instance("u", "deferred")])
    assert [(row["media"], row["uri"], row["group"]) for row in shown(run)] == [
        ("media/t/-1/0/0", "/a.png", "done"),
        ("media/t/-1/0/1", "/b.png", "done"),
        (None, None, "waiting"),
    ]


def test_a_task_that_one_submitted_and_another_collected_is_shown_once_with_its_source():
    run = Run(
        [
            instance("submit", "success", manifest("T1", status="submitted"), map_index=4),
            instance("watch", "success", manifest("T1", "/a.png")),
        ]
    )
    (item,) = run.items
    assert item.key == ("watch", -1, 0, 0)
    assert run.submitter(item).task_id == "submit"
    source = as_json(item, {"image": "/in/cat.png", "left": 1}, run)["source"]
    assert source["media"] == "source/submit/4"
    assert source["border"] == {"left": 0.5, "top": 0, "width": 0.5, "height": 1, "exact": True}


@pytest.mark.parametrize("waits", [True, False])
def test_a_submitted_task_waits_unless_another_waits_for_it(waits):
    instances = [instance("submit", "success", manifest("T1", status="submitted"))]
    instances += [instance("watch", "deferred", remote_id="T1")] if waits else []
    (row,) = shown(Run(instances))
    assert (row["task_id"], row["group"]) == ("watch" if waits else "submit", "waiting")


@pytest.mark.parametrize(
    ("state", "group"),
    [
        (None, "waiting"),
        ("up_for_retry", "waiting"),
        ("deferred", "waiting"),
        ("failed", "failed"),
        ("upstream_failed", "failed"),
        ("skipped", "other"),
        ("a state of later", "waiting"),
    ],
)
def test_groups(state, group):
    assert Run([instance("t", state)]).items[0].group == group


def test_a_row_of_many_may_have_failed():
    run = Run(
        [instance("batch", "success", manifest("T1", "/a.png"), manifest("T2", status="failed", message="<b>no"))]
    )
    assert [(row["group"], row["message"]) for row in shown(run)] == [("done", None), ("failed", "<b>no")]


def test_source_is_another_tasks_output():
    made, image = manifest("T1", "/a.png", "/b.png"), manifest("T1", "gone")
    made["outputs"][1] |= {"width": 800, "height": 400}
    run = Run([instance("first", "success", made), instance("second", "success", manifest("T2", "/c.png"))])
    fields = {"image": image, "image_index": "1", "aspect_ratio": "1:1"}
    source = as_json(run.items[2], fields, run)["source"]
    assert source["media"] == "media/first/-1/0/1"
    place = {"left": 0, "top": 0.25, "width": 1, "height": 0.5, "exact": False}
    assert source["border"] == pytest.approx(place, abs=1e-4)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("https://u:p@host/a.png?X-Amz-Signature=abc#x", "https://host/a.png"),
        ("HTTPS://host/a.png?sig=1", "https://host/a.png"),
        ("s3://conn@bucket/a.png", "s3://conn@bucket/a.png"),
        ("data:image/png;base64,AAAA", "data:***"),
        (manifest("T9"), "the result of remote task T9"),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_source_is_called_without_a_secret(image, text):
    assert source_text(image) == text


@pytest.mark.parametrize(
    ("fields", "size", "place"),
    [
        ({"up": "0.5", "down": 0.5}, None, (0, 0.25, 1, 0.5)),
        ({"left": 0.5, "right": 0.3}, None, (0.277778, 0, 0.555556, 1)),
        ({"aspect_ratio": "2:1", "anchor": "left"}, (600, 600), (0, 0, 0.5, 1)),
        ({"pixels": [0, 0, 100, 0]}, (300, 300), (0.25, 0, 0.75, 1)),
        ({"aspect_ratio": "2:1"}, None, None),
        ({"aspect_ratio": "nonsense"}, (600, 600), None),
        ({"left": "Truncated"}, None, None),
        ({}, None, None),
    ],
)
def test_border(fields, size, place):
    found = border(fields, size)
    names = ("left", "top", "width", "height")
    assert (found and [found[name] for name in names]) == (place and pytest.approx(list(place), abs=1e-4))


@pytest.mark.parametrize(
    "value",
    [
        *(None, 7, "text", '"text"', "[" * 200_000, f'{{"units": {"9" * 5_000}}}', [], {}, {"family": "x"}),
        {"family": 1, "outputs": []},
        {"family": "x", "outputs": [1]},
        *({"family": "x", "task_id": odd, "outputs": [{}]} for odd in ([], {}, 7)),
        {"family": "x", "outputs": [{}] * 1_001},
    ],
)
def test_what_is_no_manifest_is_nothing(value):
    assert rows_of(value) == []


def test_manifest_may_be_a_text():
    assert rows_of(json.dumps(manifest("T1", "/a.png"))) == [manifest("T1", "/a.png")]


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), 1e300, True, "8", [8], None])
def test_odd_numbers_count_for_nothing(odd):
    row = manifest("T1", "/a.png", units=odd)
    row["outputs"][0] |= {"width": odd, "size_bytes": odd, "uri": odd}
    run = Run([instance("t", "success", row)])
    told = shown(run)[0]
    assert {told[name] for name in ("units", "usd", "width", "size_bytes", "uri")} - {"8"} == {None}
    assert json.dumps([told, summary(run.sections())], allow_nan=False)


@pytest.mark.parametrize(
    ("fields", "more", "output"),
    [
        ({"image": {"task_id": []}}, {}, {}),
        ({"image": {"task_id": {}}}, {}, {}),
        ({"image": {"task_id": "T1"}, "image_index": 10**5_000}, {}, {}),
        ({"image": {"task_id": "T1"}, "image_index": "9" * 5_000}, {}, {}),
        ({"image": "/in/\ud800.png", "prompt": 10**5_000}, {"message": 10**5_000}, {}),
        ({"image": "/a.png", "up": "nan"}, {"status": []}, {"kind": []}),
        ({"image": "/a.png", "down": "inf"}, {"message": []}, {"kind": {}}),
        ({"image": "/a.png", "up": -1}, {}, {"uri": "/\ud800.png", "width": 10**5_000}),
    ],
)
def test_an_odd_result_is_shown_and_hides_no_other(fields, more, output):
    row = manifest("T1", "/a.png", **more)
    row["outputs"][0] |= output
    told = shown(Run([instance("t", "success", row), instance("u")]), fields)
    assert json.dumps(told, allow_nan=False, ensure_ascii=False).encode()
    assert (told[0]["kind"], told[0]["message"], len(told)) == ("image", None, 2)
    assert told[0]["source"]["border"] is None


def test_summary_counts_a_remote_tasks_units_once():
    clip = manifest("T2", "/c.mp4", family="image-to-video", units=2)
    rows = [instance("t", "success", manifest("T1", "/a.png", "/b.png")), instance("u", "success", clip)]
    told = summary(Run([*rows, instance("v", "failed")]).sections())
    assert told == {
        "total": 4,
        "done": 3,
        "waiting": 0,
        "failed": 1,
        "other": 0,
        "units": 10,
        "usd": round(8 * 0.0035 + 2 * 0.14, 4),
        "unpriced": 0,
    }
    assert price(manifest("T1", family="nonesuch")) is None


def test_usual_time_is_the_median_of_what_is_known():
    took = [
        {"created_at": "2026-11-20T10:00:00Z", "finished_at": f"2026-11-20T10:{minutes:02}:00Z"}
        for minutes in (1, 2, 30)
    ]
    odd = [{"created_at": "2026-11-20T10:00:00", "finished_at": "2026-11-20T10:00:00Z"}, {"created_at": 7}, {}]
    assert usual_seconds([*took, *odd]) == 120
    assert usual_seconds(odd) is None
