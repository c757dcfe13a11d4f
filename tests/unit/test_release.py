"""What a release promises: one version, metadata that names all there is, versions of Airflow that were run."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import tomllib
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import BaseHook, BaseOperator, BaseOperatorLink, BaseSensorOperator
from airflow.triggers.base import BaseTrigger

import airflow_kling
from airflow_kling.get_provider_info import get_provider_info

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
INFO = get_provider_info()
ROWS = re.findall(
    # The tests' own column may not be told before they have run.
    r"^\| [\w.-]+ \| (\d[\w.]+) \| (\d[\w.]+) \| (?:[\d,]+|not run) \| [^|]+ \| passed \|$",
    (ROOT / "docs" / "versions.md").read_text(),
    re.MULTILINE,
)


def test_the_changelog_begins_with_the_version():
    assert re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0] == airflow_kling.__version__


def ours(package, base):
    """Return the public classes of a folder of ours, by module."""
    found = {}
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        for each in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(each) and issubclass(each, base) and each.__module__ == module.name:
                found.setdefault(module.name, []).append(each)
    return found


@pytest.mark.parametrize(
    ("kind", "base"), [("hooks", BaseHook), ("sensors", BaseSensorOperator), ("triggers", BaseTrigger)]
)
def test_the_metadata_names_every_module(kind, base):
    named = {module for row in INFO[kind] for module in row["python-modules"]}
    assert named == set(ours(f"airflow_kling.{kind}", base))


def test_the_metadata_names_every_operator_and_link():
    (module,) = (module for row in INFO["operators"] for module in row["python-modules"])
    exported = {getattr(importlib.import_module(module), name) for name in importlib.import_module(module).__all__}
    operators = {each for found in ours("airflow_kling.operators", BaseOperator).values() for each in found}
    assert exported <= operators
    assert {each for each in operators - exported if not each.__subclasses__()} == set()
    links = {each for found in ours("airflow_kling.operators", BaseOperatorLink).values() for each in found}
    named = {f"{each.__module__}.{each.__name__}" for each in links if not each.__subclasses__()}
    assert set(INFO["extra-links"]) == named


def test_the_logo_is_served():
    app = pytest.importorskip("airflow_kling.plugins.app", exc_type=ImportError)
    (logo,) = (row["logo"] for row in INFO["integrations"])
    folder, _, name = logo.rpartition("/")
    assert (folder, app.STATIC[name]) == ("/kling/static", "image/svg+xml")


def test_every_version_that_is_claimed_has_a_lane_that_passed():
    readme = (ROOT / "README.md").read_text()
    (head,) = re.findall(r"^\| Airflow \|(.*)\|$", readme, re.MULTILINE)
    claimed = re.findall(r"\d+\.\d+", head)
    assert claimed
    assert [version for version in claimed if not any(each.startswith(f"{version}.") for each, _ in ROWS)] == []
    pythons = re.findall(r":: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), re.MULTILINE)
    assert [version for version in pythons if not any(each.startswith(f"{version}.") for _, each in ROWS)] == []
