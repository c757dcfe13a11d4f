"""The demo's order, refused before Airflow starts, and its report on what came back."""

from __future__ import annotations

import pytest
from PIL import Image

from airflow_kling.cli import main
from airflow_kling.demo.order import order_of
from airflow_kling.demo.report import Report
from airflow_kling.media.reframe import Target


@pytest.fixture
def photo(tmp_path):
    """Make a picture of a size."""

    def made(width, height):
        path = tmp_path / "photo.png"
        Image.new("RGB", (width, height), "teal").save(path)
        return path

    return made


@pytest.fixture
def report(tmp_path, photo):
    """Report on a run that reframed a picture of a size, and gave one of another."""

    def made(size, after, *, task_id="t1", passes=None, **target):
        names = ("after.png", "clip.mp4")
        rows = [
            {"uri": (tmp_path / name).as_uri(), "width": after[0], "height": after[1], "size_bytes": 2_000_000}
            for name in names
        ]
        Image.new("RGB", after, "navy").save(tmp_path / names[0])
        order = order_of(Target(**target), photo(*size), "")
        expanded = {
            "family": "image-expansion",
            "task_id": task_id,
            "units": 8.0 * len(order.plan.passes),
            "outputs": [rows[0]],
        }
        film = {"family": "image-to-video", "task_id": "t9", "units": 1.0, "outputs": [rows[1] | {"duration": 5.041}]}
        done = Report(order, expanded | ({"passes": passes} if passes else {}), film, tmp_path, 12.3)
        done.write()
        return done.lines(), (tmp_path / "contact-sheet.html").read_text()

    return made


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--image", "."], "--image="),
        (["--up", "3"], "--up=3.0: must be a number from 0 to 2"),
        (["--up", "1", "--left", "2"], "at most 3 times the area"),
        (["--image", "photo.png", "--left", "2"], "for a clip; it would be 1800x400 px; choose another\n"),
        (["--left", "0.5", "--anchor", "top"], "--anchor=top: must be left out beside ratios"),
        (["--left", "0.5", "--aspect", "1:1"], "--aspect=1:1: must be left out beside --left"),
        (["--n", "10"], "--n=10: must be a whole number from 1 to 9"),
        (["--prompt", "x" * 2501], "--prompt=a text of 2,501 characters"),
        (
            ["--aspect", "3:1"],
            "--aspect=3:1: must be between 1:2.5 and 2.5:1, for a clip is made of it; choose another\n",
        ),
        (["--aspect", "wide"], "--aspect=wide: must be width to height"),
        (["--aspect", ""], "--aspect=: must be width to height"),
        (["--anchor", "2,0.5"], "--anchor=2,0.5: must be one of"),
        (["--image", "photo.png", "--out", "photo.png"], "--out=photo.png: must be a folder"),
        (["--image", "out/before.png", "--out", "out"], "another file than those that the demo writes"),
    ],
)
def test_bad_input_is_told_in_a_sentence_before_anything_starts(photo, tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "before.png").write_bytes(photo(600, 400).read_bytes())
    assert main(["demo", *arguments]) == 2
    shown = capsys.readouterr().out
    assert told in shown
    assert "for_video" not in shown
    assert not (tmp_path / "kling-demo" / "airflow").exists()


def test_heavy_or_tall_pictures_are_only_refused_where_they_are_sent_as_they_are(photo):
    tall = photo(390, 1000)
    assert order_of(Target(aspect_ratio="9:16"), tall, "").plan.passes
    with pytest.raises(ValueError, match=r"between 1:2\.5 and 2\.5:1"):
        order_of(Target(ratios=(0, 0, 0.5, 0.5), fit="fail"), tall, "")


def test_every_pass_and_its_price_is_told(report):
    lines, sheet = report((400, 1000), (1778, 1000), passes=["t1", "t2"], aspect_ratio="16:9")
    for shown in (lines, sheet):
        assert all(told in shown for told in ("1 of 2: left", "2 of 2: left", "16 units, $0.056", "$0.196", "t2", "t9"))
    assert "left: 38.7" in sheet


def test_a_crop_is_told_and_the_border_reaches_beyond(report):
    lines, sheet = report((900, 1600), (2700, 1519), aspect_ratio="16:9")
    assert "Cropped       5.1% of the picture" in lines
    assert "top: -2.7" in sheet


def test_a_picture_that_needs_no_pass_is_stored_and_filmed(report):
    lines, sheet = report((1600, 900), (1600, 900), task_id=None, aspect_ratio="16:9")
    assert "Expansion, 0 passes: 0 units, $0.000" in lines
    assert "None" not in lines + sheet
    assert "Came back" not in lines
    assert "left: 0.0000%; top: 0.0000%; width: 100.0000%; height: 100.0000%" in sheet
