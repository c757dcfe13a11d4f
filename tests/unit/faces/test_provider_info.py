"""What Airflow reads of the provider at start-up is light, valid, and names what exists."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import airflow
import jsonschema
import pytest

from airflow_kling.get_provider_info import CONNECTION_FIELDS, get_provider_info

ROOT = Path(__file__).parents[3]
KINDS = ("hooks", "operators", "sensors", "triggers")


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_metadata_is_valid_by_airflows_own_schema():
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_metadata_is_plain_json():
    assert json.loads(json.dumps(get_provider_info())) == get_provider_info()


def test_reading_the_metadata_loads_nothing_else():
    code = (
        "import sys; before = set(sys.modules); import airflow_kling.get_provider_info as m; m.get_provider_info();"
        "print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert set(loaded.split()) <= {"__future__", "airflow_kling", "airflow_kling.get_provider_info"}


def test_package_is_named_as_the_distribution_and_registered(project):
    assert get_provider_info()["package-name"] == project["name"]
    (entry,) = project["entry-points"]["apache_airflow_provider"].values()
    module, function = entry.split(":")
    assert getattr(importlib.import_module(module), function) is get_provider_info


@pytest.mark.parametrize("kind", KINDS)
def test_modules_exist_and_hold_what_they_promise(kind):
    for row in get_provider_info()[kind]:
        for name in row["python-modules"]:
            module = importlib.import_module(name)
            own = [
                item
                for item in vars(module).values()
                if inspect.isclass(item) and item.__module__.startswith("airflow_kling.")
            ]
            assert any(item.__name__.startswith("Kling") for item in own)


def test_connection_type_is_that_of_its_hook():
    (row,) = get_provider_info()["connection-types"]
    module, name = row["hook-class-name"].rsplit(".", 1)
    hook = getattr(importlib.import_module(module), name)
    assert (row["connection-type"], row["hook-name"]) == (hook.conn_type, hook.hook_name)
    assert hook.conn_name_attr in inspect.signature(hook).parameters
    assert inspect.signature(hook).parameters[hook.conn_name_attr].default == hook.default_conn_name


@pytest.mark.parametrize("name", CONNECTION_FIELDS)
def test_field_of_the_form_has_a_schema_that_its_empty_value_passes(name):
    row = CONNECTION_FIELDS[name]
    jsonschema.Draft202012Validator.check_schema(row["schema"])
    jsonschema.validate(row["schema"].get("default"), row["schema"])
    assert row["label"]
    assert row["description"]
