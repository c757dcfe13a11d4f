"""``airflow-kling demo`` as a user runs it, in an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import av
import pytest
from PIL import Image, ImageChops

LIMIT = 180
FIXED = {"result.json", "before-after.png", "contact-sheet.html"}


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("airflow-kling")), "demo", *arguments]
    environment = os.environ | {"AIRFLOW_HOME": str(folder / "the-users-own")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT)


def made(done: subprocess.CompletedProcess[str], out: Path) -> tuple[list[Path], Path]:
    """Return pictures and clip of a run, once all that it left is there, told, and named by the sheet."""
    assert done.returncode == 0, done.stdout + done.stderr
    manifests = json.loads((out / "result.json").read_text())
    *pictures, clip = (
        Path(urlsplit(row["uri"]).path) for name in ("expand", "film") for row in manifests[name]["outputs"]
    )
    (before,) = out.glob("before.*")
    names = {path.name for path in (*pictures, clip)}
    assert {path.name for path in out.iterdir()} >= names | FIXED | {before.name}
    assert all(path.parent == out for path in (*pictures, clip))
    assert [name for name in (*names, before.name, *FIXED) if name not in done.stdout] == []
    sheet = (out / "contact-sheet.html").read_text()
    assert all(f'src="./{path.name}"' in sheet for path in (before, pictures[0], clip))
    for manifest in manifests.values():
        assert manifest["task_id"] in done.stdout
    return pictures, clip


def played(clip: Path) -> tuple[int, tuple[int, int]]:
    """Return how many frames of a clip can be decoded, and their size."""
    with av.open(str(clip)) as container:
        frames = list(container.decode(video=0))
    return len(frames), (frames[0].width, frames[0].height)


def test_without_options_a_sample_becomes_a_wide_picture_and_a_clip(tmp_path):
    done = demo(tmp_path)
    out = tmp_path / "kling-demo" / "out"
    (picture,), clip = made(done, out)
    with Image.open(picture) as image, Image.open(out / "before-after.png") as comparison:
        assert abs(image.width * 9 - image.height * 16) <= 16
        assert comparison.width > comparison.height
    assert played(clip) == (121, (1280, 720))
    for told in ("16:9", "8 units, $0.028", "1 unit, $0.140", "$0.168"):
        assert told in done.stdout
        assert told in (out / "contact-sheet.html").read_text()
    assert not (tmp_path / "the-users-own").exists()


def test_ratios_and_the_other_options_do_what_they_say(tmp_path, photograph):
    done = demo(tmp_path, "--image", str(photograph), "--up", "0.5", "--n", "2", "--prompt", "sky", "--out", "mine")
    pictures, clip = made(done, tmp_path / "mine")
    assert [Image.open(picture).size for picture in pictures] == [(600, 600)] * 2
    assert played(clip)[1] == (720, 720)
    assert (tmp_path / "mine" / "before.jpg").read_bytes() == photograph.read_bytes()


def test_an_aspect_and_an_anchor_say_where_the_picture_sits(tmp_path, photograph):
    done = demo(tmp_path, "--image", str(photograph), "--aspect", "1:1", "--anchor", "bottom")
    (picture,), _ = made(done, tmp_path / "kling-demo" / "out")
    with Image.open(picture) as after, Image.open(photograph) as before:
        assert after.size == (600, 600)
        assert ImageChops.difference(after.convert("RGB").crop((0, 200, 600, 600)), before).getbbox() is None
    # The sheet marks the old border there.
    assert "left: 0.0000%; top: 33.3333%; width: 100.0000%" in (picture.parent / "contact-sheet.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"), [(["--image", "nowhere.jpg"], "an existing file"), (["--aspect", "9:1"], "--aspect=9:1")]
)
def test_bad_input_is_told_before_anything_starts(tmp_path, arguments, told):
    done = demo(tmp_path, *arguments)
    assert done.returncode == 2
    assert told in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "kling-demo" / "airflow").exists()
