"""A batch's results file on the run page: its index, its rows, and what bounds them."""

from __future__ import annotations

import io
import json
import tracemalloc

import pytest

from airflow_kling.plugins import batches
from airflow_kling.plugins.batches import Index, Results, open_batches, open_results
from airflow_kling.plugins.files import MediaFault, read_roots
from airflow_kling.plugins.items import Batch, Instance, Run, as_json, batch_of, page_of, summary


def row(number, status="succeeded", outputs=1, **more):
    made = [{"index": at, "kind": "image", "uri": f"/m/{number}-{at}.png"} for at in range(outputs)]
    facts = {"row": number, "source": f"/in/{number}.png", "status": status, "task_id": f"T{number}", "outputs": made}
    return facts | {"family": "image-expansion", "units": 8.0, "error": None} | more


def lost(number, status, **more):
    return row(number, status, 0, **{"task_id": None, "units": None, "error": "why"} | more)


ROWS = [
    row(1),
    lost(2, "refused"),
    row(3, outputs=2, units=16.0),
    row(4, task_id="T1"),  # the same picture, paid once
    lost(5, "unfinished", task_id="T5"),
    lost(6, "skipped"),
    lost(7, "failed", task_id="T7", units=8.0),
]


def written(rows):
    return io.BytesIO(b"".join(each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n" for each in rows))


def results(rows=ROWS, state="success", task_id="batch"):
    stream = written(rows)
    index = Index(stream)
    return Results(Instance(task_id, -1, state, batch=Batch("/m/r.jsonl", {})), index, stream)


def run_of(*batches, instances=()):
    batch_instances = [each._instance for each in batches]
    rows = {(each._instance.task_id, -1): each for each in batches}
    return Run([*batch_instances, *instances], rows)


@pytest.mark.parametrize(
    ("state", "counts"),
    [
        ("success", {"done": 4, "failed": 3, "other": 1}),
        ("failed", {"done": 4, "failed": 3, "other": 1}),
        ("up_for_retry", {"done": 4, "failed": 2, "waiting": 2}),
    ],
)
def test_rows_are_counted_by_what_became_of_them(state, counts):
    told = summary(run_of(results(state=state)).sections())
    assert {name: told[name] for name in ("done", "waiting", "failed", "other") if told[name]} == counts
    # Of T1 once; what was refused or not begun costs nothing, and of T5 nobody knows.
    assert (told["units"], told["usd"], told["unpriced"]) == (32.0, round(32 * 0.0035, 4), 1)


@pytest.mark.parametrize("group", [None, "done", "failed", "other", "waiting"])
@pytest.mark.parametrize("limit", [1, 3, 100])
def test_pages_go_over_all_sections_in_their_order(group, limit):
    plain = Instance("then", -1, "success", rows=[row(9, "succeeded")])
    run = run_of(results(), results(task_id="second"), instances=[plain])
    sections = run.sections()
    whole = page_of(sections, group, 0, 10_000)
    pages = [page_of(sections, group, offset, limit) for offset in range(0, len(whole) + limit, limit)]
    assert [item.key for page in pages for item in page] == [item.key for item in whole]
    assert all(item.group == group for item in whole if group)
    assert len(whole) == (17 if group is None else summary(sections)[group])


def test_a_row_as_the_page_shows_it():
    films = [
        row(1, family="image-to-video", task_id="F1", source="task T3"),
        row(2, family="image-to-video", task_id="F2", source="task T99"),
        row(3, family="image-to-video", task_id="F3", source="https://host/a.png"),
    ]
    pictures = [*ROWS, row(8, outputs=1, source="s3://conn@bucket/cat.png")]
    pictures[0]["outputs"][0]["border"] = [0.25, -0.1, 1, 1.1]
    run = run_of(results(pictures), results(films, task_id="film"))
    told = [as_json(item, {"prompt": "of the batch"}, run) for item in page_of(run.sections(), None, 0, 100)]
    first, refused = told[0], told[1]
    assert (first["media"], first["source"]["media"]) == ("media/batch/-1/0/0", "source/batch/-1/0")
    border = {"left": 0.25, "top": -0.1, "width": 0.75, "height": 1.2, "exact": True}
    assert first["source"]["border"] == pytest.approx(border)
    assert (first["row"], first["state"], first["usd"], first["prompt"]) == (1, "succeeded", 0.028, None)
    assert (refused["media"], refused["message"], refused["state"], refused["source"]["media"]) == (
        *(None, "why", "refused"),
        None,
    )
    assert told[8]["source"] == {"text": "s3://conn@bucket/cat.png", "media": "source/batch/-1/7", "border": None}
    # Of what another batch made: its first picture. A URL is fetched from nowhere.
    assert [row["source"]["media"] for row in told[9:]] == ["media/batch/-1/2/0", None, None]


@pytest.mark.parametrize(
    "line",
    [
        *(b"{", b"[]", b"7", b"\xff\xfe", b"[" * 60_000, b'{"status": "succeeded"}', b"9" * 5_000),
        *(
            json.dumps(each).encode()
            for each in (
                row(1, "odd"),
                row(1, status=["succeeded"]),
                row(1, task_id=7),
                row(1, task_id="T" * 300),
                row(1, outputs=0) | {"outputs": [7]},
                row(1, family=None),
            )
        ),
    ],
)
def test_a_line_that_is_no_row_hides_no_other(line):
    shown = results([row(1), line + b"\n", b"\n", row(3)]).page(None, 0, 9)
    assert [item.group for item in shown] == ["done", "failed", "done"]
    assert shown[1].manifest["error"] == "this row of the results cannot be read"
    assert shown[2].output["uri"] == "/m/3-0.png"


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\n\n", b"\x89PNG\r\n\x1a\n" * 9, b"[" * 300_000),
        *(json.dumps(row(1)).encode() + much for much in (b" " * 200_000, b"\n" * 200_000)),
    ],
)
def test_what_is_no_results_file_is_told(content):
    with pytest.raises(MediaFault, match="no file of a batch"):
        Index(io.BytesIO(content))


def test_ten_thousand_rows_take_little_memory_and_a_page_few_reads(monkeypatch):
    # As long as an operator's.
    long = {"sha256": "d" * 64, "width": 1, "height": 1, "size_bytes": 10**6, "border": [0.123456] * 4}
    stream = written(row(n) | {"outputs": [row(n)["outputs"][0] | long]} for n in range(10_000))
    tracemalloc.start()
    index = Index(stream)
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(index) == 10_000
    assert kept < 3_000_000
    assert most < 12_000_000
    reads = []
    stream.read, read = lambda size=-1: reads.append(size) or read(size), stream.read
    found = Results(Instance("batch", -1, "success", batch=Batch("r", {})), index, stream)
    assert [item.manifest["row"] for item in found.page("done", 9_990, 10_014)] == list(range(9_990, 10_000))
    assert (len(reads), max(reads) < 1_000) == (10, True)


def test_a_file_of_too_many_rows_is_cut(monkeypatch):
    monkeypatch.setattr(batches, "MAX_ROWS", 3)
    index = Index(written(ROWS))
    assert (len(index), index.truncated) == (4, True)  # three rows, one of two pictures
    assert not Index(written(ROWS[:3])).truncated
    # Rows of many pictures each are as many entries.
    crowded = Index(written(row(number) | {"outputs": [{}] * 1_000} for number in range(9)))
    assert (len(crowded), crowded.truncated) == (1_000, True)


def test_results_are_read_again_when_they_change_only(tmp_path, monkeypatch):
    made = []
    real = Index.__init__
    monkeypatch.setattr(Index, "__init__", lambda index, stream: (made.append(1), real(index, stream))[1])
    path = tmp_path / "r.jsonl"
    path.write_bytes(written(ROWS).getvalue())
    instance = Instance("batch", -1, "success", batch=Batch(str(path), {}))
    roots = read_roots(str(tmp_path))
    for _ in range(3):
        with open_results(instance, roots) as found:
            assert found.row(2)["task_id"] == "T3"
    assert len(made) == 1
    path.with_suffix(".new").write_bytes(written(ROWS[2:]).getvalue())
    path.with_suffix(".new").replace(path)
    with open_results(instance, roots) as found:
        assert found.row(0)["task_id"] == "T3"
        with pytest.raises(MediaFault, match="no such row"):
            found.row(5)
    assert len(made) == 2


def test_of_many_batches_only_some_are_read_and_the_wanted_one_first(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(written(ROWS).getvalue())
    batch = Batch(str(path), {"units": 8.0, "family": "image-expansion", "counts": {"succeeded": 3, "x": 1}})
    instances = [Instance("batch", number, "success", batch=batch) for number in range(batches.MAX_OPEN + 2)]
    with open_batches(instances, read_roots(str(tmp_path))) as (opened, reasons):
        assert list(opened) == [("batch", number) for number in range(batches.MAX_OPEN)]
        run = Run(instances, opened, reasons)
        (item,) = page_of(run.sections("batch", batches.MAX_OPEN), None, 0, 9)
        told = as_json(item, {}, run)["batch"]
        assert (told["counts"], told["reason"]) == ({"succeeded": 3}, "its pictures are shown by themselves")
        assert summary(run.sections())["units"] == batches.MAX_OPEN * 32 + 2 * 8
    with open_batches(instances, read_roots("/nowhere")) as (opened, reasons):
        assert not opened
        assert set(reasons.values()) == {"it lies outside [kling] media_roots"}


@pytest.mark.parametrize(
    ("told", "results", "rows"),
    [
        (({"results": "/r", "rows": 2}, None, None), "/r", 2),
        (('{"results": "/r", "rows": 2}', "/old", {"rows": 1}), "/r", 2),
        ((None, "/r", {"rows": 9}), "/r", 9),
        ((None, '"/r"', '{"rows": 9}'), "/r", 9),
        ((None, None, {"rows": 9}), None, 9),
        ((None, 7, {"rows": "x"}), None, "x"),
    ],
)
def test_what_a_batch_tells(told, results, rows):
    batch = batch_of(*told)
    assert (batch.results, batch.told["rows"]) == (results, rows)


@pytest.mark.parametrize(
    "told", [(None,) * 3, (None, "/r", None), ({"results": 7}, None, None), ({"results": "/r", "outputs": []}, "/r", 7)]
)
def test_what_is_no_batch(told):
    assert batch_of(*told) is None


@pytest.mark.parametrize("odd", [None, [], "x", {"counts": 7, "rows": "9" * 5_000, "done": [], "units": float("nan")}])
def test_an_odd_progress_is_shown(odd):
    instance = Instance("batch", -1, "running", batch=Batch(None, odd if isinstance(odd, dict) else {}))
    run = Run([instance])
    told = as_json(run.items[0], {}, run)
    assert json.dumps(told, allow_nan=False)
    assert (told["batch"]["rows"], told["batch"]["counts"], told["group"]) == (None, {}, "waiting")
