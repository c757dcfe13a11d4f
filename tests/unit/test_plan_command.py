"""``airflow-kling plan``: a table or JSON, a drawing on request, and one line for bad input."""

from __future__ import annotations

import argparse
import json
import socket

import pytest
from PIL import Image

from airflow_kling.plan_command import add_arguments, run


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "portrait.jpg"
    Image.new("RGB", (1080, 1920), "teal").save(path)
    return path


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("the plan connects to something")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def plan(capsys):
    """Run the command; return its exit code and what it wrote."""

    def run_it(*arguments):
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        code = run(parser.parse_args([str(argument) for argument in arguments]))
        return code, *capsys.readouterr()

    return run_it


def test_table(plan, photo):
    code, out, err = plan(photo, "--aspect", "16:9")
    assert (code, err) == (0, "")
    assert "crop     1080 x 1822 px" in out
    assert "8 units, $0.028" in out
    assert "Nothing was sent, and nothing was paid." in out
    assert "estimates" in out


def test_every_option_counts(plan, photo):
    code, out, _ = plan(photo, "--size", "1600x900", "--anchor", "0.2,0.4", "--fit", "passes", "--n", 2, "--json")
    told = json.loads(out)
    assert code == 0
    assert len(told["passes"]) == 2
    assert told["passes"][0]["left"] > told["passes"][0]["right"]
    assert (told["units"], told["resize"], told["preview"]) == (24, [1600, 900], None)
    assert json.loads(plan(photo, "--aspect", "2", "--max-crop", "0.2", "--json")[1])["units"] == 8
    assert json.loads(plan(photo, "--aspect", "3", "--fit", "passes", "--no-video", "--json")[1])["units"] == 16


def test_nothing_to_buy(plan, photo):
    code, out, _ = plan(photo, "--aspect", "9:16")
    assert code == 0
    assert "price    nothing" in out
    assert "estimates" not in out


@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_preview(plan, photo, tmp_path, json_too):
    target = tmp_path / "plan.png"
    code, out, _ = plan(photo, "--aspect", "16:9", "--preview", target, *json_too)
    assert code == 0
    assert str(target) in out
    with Image.open(target) as drawing:
        assert drawing.format == "PNG"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--aspect, --size=none"),
        (["--aspect", "16:9", "--size", "3x3"], "--aspect, --size=both"),
        (["--aspect", "wide"], "--aspect=wide: must be width to height"),
        (["--aspect", "3:1"], "or say --no-video"),
        (["--aspect", "16:9", "--fit", "fail"], "say --fit auto"),
        (["--aspect", "16:9", "--fit", "nice"], "--fit=nice: must be one of auto"),
        (["--aspect", "16:9", "--max-crop", "2"], "--max-crop=2"),
        (["--aspect", "16:9", "--n", "0"], "--n=0"),
        (["--aspect", "16:9", "--anchor", "1.5,0"], "--anchor=1.5,0"),
        (["--size", "90000x90000"], "--size=90000x90000 px: must be within reach of 4 passes"),
    ],
)
def test_bad_input_is_one_line(plan, photo, arguments, message):
    code, out, err = plan(photo, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("case", ["missing", "folder", "text", "empty", "cut off", "small"])
def test_bad_photo_is_one_line(plan, photo, tmp_path, case):
    bad = tmp_path / "bad.jpg"
    if case == "folder":
        bad.mkdir()
    elif case == "small":
        Image.new("RGB", (200, 300)).save(bad)
    elif case != "missing":
        bad.write_bytes({"text": b"hello", "empty": b"", "cut off": photo.read_bytes()[:-100]}[case])
    code, out, err = plan(bad, "--aspect", "16:9")
    assert (code, out) == (2, "")
    assert err.startswith("PHOTO=")
    assert err.count("\n") == 1


def test_preview_goes_nowhere_else(plan, photo, tmp_path):
    before = photo.read_bytes()
    for target in (photo, tmp_path / "none" / "plan.png", tmp_path):
        code, out, err = plan(photo, "--aspect", "16:9", "--preview", target)
        assert (code, out) == (2, "")
        assert err.startswith("--preview=")
    assert photo.read_bytes() == before
