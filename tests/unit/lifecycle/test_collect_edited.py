"""What is stored may be other bytes than the vendor's: whole or not at all, told in the manifest."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from PIL import Image

from airflow_kling.api.families import OutputKind
from airflow_kling.api.faults import ApiFault
from airflow_kling.api.models import Output, Task, TaskStatus
from airflow_kling.lifecycle.collect import collect, manifest

TASK = Task(
    "image-expansion",
    "T1",
    status=TaskStatus.SUCCEEDED,
    outputs=tuple(Output(index, OutputKind.IMAGE, f"https://cdn.example/{index}.png") for index in (0, 1)),
)


def picture(picture_format, size):
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, picture_format)
    return buffer.getvalue()


PNG, JPEG = picture("PNG", (40, 30)), picture("JPEG", (20, 10))


def fetch(url):
    yield PNG[:20]
    yield PNG[20:]


def test_the_bytes_of_an_edit_are_what_is_stored_and_told(tmp_path):
    seen = []

    def edit(file, output):
        seen.append((output.index, file.read(), [path.name for path in tmp_path.rglob("*.png")]))
        return JPEG if output.index == 0 else None

    stored = collect(TASK, tmp_path, fetch, edit=edit)
    assert seen == [(0, PNG, []), (1, PNG, [])]  # whole, and not yet visible
    assert sorted(path.name for path in tmp_path.iterdir()) == ["T1-0.jpg", "T1-1.png"]
    for row, content, size in zip(stored.values(), (JPEG, PNG), ((20, 10), (40, 30)), strict=True):
        assert Path(row.uri).read_bytes() == content
        assert (row.width, row.height) == size
        assert (row.size_bytes, row.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    first, second = manifest(TASK, "kling_default", stored)["outputs"]
    assert first["edited"] is True
    assert "edited" not in second


@pytest.mark.parametrize(
    ("answer", "error"), [(ZeroDivisionError("bug"), ZeroDivisionError), (b"no picture", ApiFault), (b"", ApiFault)]
)
def test_an_edit_that_fails_leaves_no_file(tmp_path, answer, error):
    def edit(file, output):
        if isinstance(answer, bytes):
            return answer
        raise answer

    with pytest.raises(error):
        collect(TASK, tmp_path, fetch, edit=edit)
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_is_too_large_is_never_shown_to_an_edit(tmp_path):
    with pytest.raises(ApiFault, match="more than 50 bytes"):
        collect(TASK, tmp_path, fetch, max_bytes=50, edit=lambda file, output: pytest.fail("shown"))
    assert list(tmp_path.iterdir()) == []
