"""``airflow-kling demo`` as a user runs it, in an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

LIMIT = 180


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("airflow-kling")), "demo", *arguments]
    environment = os.environ | {"AIRFLOW_HOME": str(folder / "the-users-own")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT)


def test_without_options_it_expands_a_sample_and_shows_where_it_lies(tmp_path):
    done = demo(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    out = tmp_path / "kling-demo" / "out"
    manifest = json.loads((out / "result.json").read_text())
    picture = Path(urlsplit(manifest["outputs"][0]["uri"]).path)
    assert picture.parent == out
    with Image.open(picture) as image, Image.open(out / "before-after.png") as comparison:
        assert image.width > image.height
        assert comparison.width > comparison.height
    for told in (manifest["task_id"], picture.name, "before-after.png", "result.json"):
        assert told in done.stdout
    assert not (tmp_path / "the-users-own").exists()


def test_options_do_what_they_say(tmp_path, photograph):
    done = demo(tmp_path, "--image", str(photograph), "--up", "0.5", "--n", "2", "--prompt", "sky", "--out", "mine")
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((tmp_path / "mine" / "result.json").read_text())
    assert [(row["width"], row["height"]) for row in manifest["outputs"]] == [(600, 600)] * 2
    assert (tmp_path / "mine" / "before-after.png").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--image", "nowhere.jpg"], "an existing file"),
        (["--up", "3"], "a number from 0 to 2"),
        (["--up", "1", "--left", "2"], "at most 3 times the area"),
        (["--n", "10"], "from 1 to 9"),
    ],
)
def test_bad_input_is_told_before_anything_starts(tmp_path, arguments, told):
    done = demo(tmp_path, *arguments)
    assert done.returncode == 2
    assert told in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "kling-demo" / "airflow").exists()
