"""Collecting is whole or not at all, bounded, named inside the folder, and renews an expired link."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from PIL import Image

from airflow_kling.api.families import OutputKind
from airflow_kling.api.faults import ApiFault, FaultInfo, FaultKind
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.models import Output, Task, TaskStatus
from airflow_kling.lifecycle.collect import check_names, check_writable, collect, file_name

TASK = Task(
    "image-expansion",
    "T1",
    status=TaskStatus.SUCCEEDED,
    outputs=tuple(Output(index, OutputKind.IMAGE, f"https://cdn.example/{index}.png?sign=old") for index in (0, 1)),
)
FRESH = replace(TASK, outputs=tuple(replace(row, url=row.url.replace("old", "new")) for row in TASK.outputs))


@pytest.fixture(scope="module")
def content():
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(buffer, "PNG")
    return buffer.getvalue()


def expired(status):
    return ApiFault(FaultInfo(FaultKind.CONNECTION, f"HTTP {status}", http_status=status))


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_an_expired_link_is_renewed_by_asking_for_the_task_again(tmp_path, content, status):
    asked = []

    def fetch(url):
        asked.append(url[-3:])
        if url.endswith("old"):
            raise expired(status)
        yield content

    collect(TASK, tmp_path, fetch, renew=lambda: FRESH)
    assert names(tmp_path) == ["T1-0.png", "T1-1.png"]
    assert asked == ["old", "new", "new"]


@pytest.mark.parametrize(("status", "renewed"), [(403, FRESH), (500, FRESH), (403, None)])
def test_what_stays_broken_is_told_once_it_was_renewed(tmp_path, content, status, renewed):
    def fetch(url):
        raise expired(status)
        yield content

    with pytest.raises(ApiFault, match=f"HTTP {status}"):
        collect(TASK, tmp_path, fetch, renew=(lambda: renewed) if renewed else None)
    assert names(tmp_path) == []


def test_a_download_that_breaks_off_leaves_the_earlier_file_whole(tmp_path, content):
    (tmp_path / "T1-0.png").write_bytes(b"earlier")

    def fetch(url):
        yield content[:40]
        raise expired(500)

    with pytest.raises(ApiFault):
        collect(TASK, tmp_path, fetch)
    assert names(tmp_path) == ["T1-0.png"]
    assert (tmp_path / "T1-0.png").read_bytes() == b"earlier"


def test_a_result_beyond_the_limit_is_not_stored(tmp_path, content):
    with pytest.raises(ApiFault, match="more than 50 bytes"):
        collect(TASK, tmp_path, lambda url: iter([content[:30], content[30:]]), max_bytes=50)
    assert names(tmp_path) == []


def test_a_result_of_just_the_limit_is_stored(tmp_path, content):
    collect(TASK, tmp_path, lambda url: iter([content]), max_bytes=len(content))
    assert len(names(tmp_path)) == 2


def test_names_follow_the_template_into_folders(tmp_path, content):
    stored = collect(TASK, tmp_path, lambda url: iter([content]), name="2026-11-20/shoes-{index}")
    assert names(tmp_path) == ["2026-11-20/shoes-0.png", "2026-11-20/shoes-1.png"]
    assert stored[1].uri.endswith("2026-11-20/shoes-1.png")


@pytest.mark.parametrize(
    "template",
    ["../{index}", "/etc/{index}", "a/../../{index}", "a//{index}", "", ".", "a/./{index}", "a\\{index}", "a\n{index}",
     "{other}", "{0}", "{index", "{task_id}/ /{index}"],
)  # fmt: skip
def test_a_name_that_leaves_the_folder_is_refused(template):
    with pytest.raises(InputFault, match="output_name"):
        file_name(template, "T1", 0)


@pytest.mark.parametrize("task_id", ["../../etc", "a/b", "..", "a b\n", "."])
def test_a_task_id_of_the_server_never_leaves_the_folder(task_id):
    assert "/" not in file_name("x{task_id}-{index}", task_id, 0)


def test_outputs_that_would_share_a_name_are_refused_before_anything_is_fetched(tmp_path):
    def fetch(url):
        raise AssertionError("fetched")

    with pytest.raises(InputFault, match="index"):
        collect(TASK, tmp_path, fetch, name="shoes")
    collect(replace(TASK, outputs=()), tmp_path, fetch, name="shoes")


@pytest.mark.parametrize(("template", "n"), [("shoes", 2), ("{task_id}", 9), ("../{index}", 1), ("{other}-{index}", 2)])
def test_names_that_could_not_be_stored_are_found_out_beforehand(template, n):
    with pytest.raises(InputFault, match="output_name"):
        check_names(template, n)


@pytest.mark.parametrize(("template", "n"), [("shoes", 1), ("{task_id}/{index}", 9)])
def test_names_that_can_be_stored_pass(template, n):
    check_names(template, n)


def test_whoever_may_write_but_not_delete_may_go_on(tmp_path, monkeypatch):
    def refuse(self, missing_ok=False):
        raise PermissionError

    monkeypatch.setattr(type(tmp_path), "unlink", refuse)
    for _ in range(2):
        check_writable(tmp_path)
    assert names(tmp_path) == [".kling-probe"]


def test_a_folder_that_can_be_written_to_is_made_and_left_empty(tmp_path):
    check_writable(tmp_path / "new" / "er")
    assert list((tmp_path / "new" / "er").iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputFault, match="output_path"):
        check_writable(tmp_path / "file" / "below")
