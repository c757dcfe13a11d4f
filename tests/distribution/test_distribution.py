"""The wheel and the sdist: that they build, check, hold what they should and nothing more, and are the same package."""

from __future__ import annotations

import email
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import airflow_kling

ROOT = Path(__file__).parents[2]
MOST = 400_000
"""Bytes of the wheel: all of it is code. Emulator, demo and example DAGs take 90,000 of them."""


def run(*command, cwd):
    done = subprocess.run([sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with wheel and sdist, as they are uploaded."""
    folder = tmp_path_factory.mktemp("dist")
    run("hatchling", "build", "--directory", str(folder), cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def sdist(built):
    return next(built.glob("*.tar.gz"))


def contents(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_they_are_fit_for_an_index(built, wheel, sdist):
    assert run("twine", "check", "--strict", str(wheel), str(sdist), cwd=built).count("PASSED") == 2


def test_the_wheel_is_small(wheel):
    assert wheel.stat().st_size <= MOST


def test_the_wheel_holds_the_package_and_the_example_dags_alone(wheel):
    info = f"airflow_provider_kling-{airflow_kling.__version__}.dist-info"
    told = {f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
    package = {str(path.relative_to(ROOT)) for path in (ROOT / "airflow_kling").rglob("*") if path.is_file()}
    package.remove("airflow_kling/emulator/README.md")
    dags = {f"airflow_kling/example_dags/{path.name}" for path in (ROOT / "dags").glob("*.py")}
    held = set(contents(wheel))
    assert held == told | dags | {name for name in package if "__pycache__" not in name}
    allowed = {".py", ".typed", ".html", ".css", ".js", ".svg"}
    assert {Path(name).suffix or Path(name).name for name in held - told} <= allowed | {"py.typed"}


def test_the_metadata_is_what_the_code_says(wheel):
    (metadata,) = (text for name, text in contents(wheel).items() if name.endswith("/METADATA"))
    fields = email.message_from_bytes(metadata)
    assert (fields["Name"], fields["Version"]) == ("airflow-provider-kling", airflow_kling.__version__)
    assert fields["License-Expression"] == "Apache-2.0"
    assert fields["Description-Content-Type"] == "text/markdown"


def test_the_sdist_makes_the_same_wheel(sdist, wheel, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert {path.name for path in source.iterdir()} >= {".ci", "constraints", "docs", "noxfile.py", "tests"}
    run("hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "again"), cwd=source)
    (again,) = (tmp_path / "again").glob("*.whl")
    assert contents(again) == contents(wheel)
    assert again.name == wheel.name
