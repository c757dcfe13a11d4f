"""What an earlier run made is found again only while it is young, stored and whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from airflow_kling.lifecycle.reuse import find_made, remember_made

NOW = 1_800_000_000.0
AGE = 86_400.0


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "T1-0.png"
    path.write_bytes(b"picture")
    return path


@pytest.fixture
def kept(tmp_path, picture):
    """Keep a manifest of that picture, and return the file that holds it."""
    path = tmp_path / ".kling" / "made" / "print.json"
    sha256 = hashlib.sha256(b"picture").hexdigest()
    manifest = {"task_id": "T1", "outputs": [{"uri": str(picture), "sha256": sha256}]}
    remember_made(path, manifest, NOW)
    return path


def find(path, now=NOW):
    return find_made(path, AGE, now, Path)


def test_what_is_stored_and_whole_is_found(kept):
    assert find(kept)["task_id"] == "T1"


@pytest.mark.parametrize(("later", "found"), [(AGE, True), (AGE + 1, False)])
def test_only_while_it_is_young(kept, later, found):
    assert (find(kept, NOW + later) is not None) is found


def test_a_changed_file_is_not_whole(kept, picture):
    picture.write_bytes(b"pictur")
    assert find(kept) is None


def test_a_missing_file_is_not_stored(kept, picture):
    picture.unlink()
    assert find(kept) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"at": 1}', b'{"at": "x", "manifest": {"outputs": [{}]}}'])
def test_a_damaged_memory_is_none(kept, content):
    kept.write_bytes(content)
    assert find(kept) is None


def test_nothing_was_made(tmp_path):
    assert find(tmp_path / "none.json") is None


def test_a_task_without_outputs_is_not_reused(kept):
    remember_made(kept, {"task_id": "T1", "outputs": []}, NOW)
    assert find(kept) is None


def test_an_output_that_was_not_stored_is_not_reused(kept):
    remember_made(kept, {"task_id": "T1", "outputs": [{"uri": None, "sha256": None}]}, NOW)
    assert find(kept) is None
