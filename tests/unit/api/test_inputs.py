"""A refused input names what to correct, hides secrets, and needs no Airflow."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_kling.api.inputs import InputFault, shown

ROOT = Path(__file__).parents[3]


def test_refused_input_is_a_value_error_that_names_all_four():
    fault = InputFault("up", 3, "from 0 to 2", "give less")

    assert isinstance(fault, ValueError)
    assert str(fault) == "up=3: must be from 0 to 2; give less"
    assert (fault.field, fault.value, fault.limit, fault.advice) == ("up", "3", "from 0 to 2", "give less")


def test_refused_input_survives_pickling():
    fault = pickle.loads(pickle.dumps(InputFault("up", 3, "from 0 to 2", "give less")))

    assert isinstance(fault, InputFault)
    assert str(fault) == "up=3: must be from 0 to 2; give less"


def test_refused_input_keeps_no_secret():
    fault = InputFault("url", "https://h/x?Signature=s3cr3t", "a URL", "correct it")

    assert "s3cr3t" not in f"{fault} {fault.args} {vars(fault)} {pickle.dumps(fault)!r}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        (5, "5"),
        (None, "None"),
        (["a", 1], "['a', 1]"),
        ("two\nlines", "two lines"),
        ("Bearer abcdefghijk", "Bearer ***"),
        ({"Authorization": "Bearer abcdefghijk"}, "{'Authorization': 'Bearer ***'}"),
        ("x y " * 20, ("x y " * 20).strip()),
        ("x y " * 30, ("x y " * 30)[:79] + "…"),
    ],
)
def test_value_as_it_may_be_shown(value, text):
    assert shown(value) == text


ALONE = """
import importlib, json, pkgutil, sys
import airflow_kling.api
for module in pkgutil.iter_modules(airflow_kling.api.__path__):
    importlib.import_module(f"airflow_kling.api.{module.name}")
try:
    airflow_kling.api.models.ExpandRequest(image="https://h/x.png", up=3)
except airflow_kling.api.inputs.InputFault as fault:
    bases = [base.__name__ for base in type(fault).__mro__]
print(json.dumps({"bases": bases, "modules": sorted(sys.modules)}))
"""


def test_contract_alone_loads_no_airflow_and_raises_a_plain_value_error():
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    seen = json.loads(done.stdout)
    loaded = {module.partition(".")[0] for module in seen["modules"]}

    assert seen["bases"] == ["InputFault", "ValueError", "Exception", "BaseException", "object"]
    assert "airflow_kling.api.callback" in seen["modules"]
    assert not loaded & {"airflow", "requests", "aiohttp", "jwt", "PIL", "numpy", "standardwebhooks"}
