"""What importing costs: DAG files stay light, and the pure parts stay free of Airflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"requests", "aiohttp", "PIL", "jwt", "numpy", "tenacity", "standardwebhooks"}
BASES = """
from airflow.providers.common.compat import sdk
import airflow.triggers.base
for name in ("BaseOperator", "BaseSensorOperator", "BaseHook", "PokeReturnValue", "AirflowSkipException", "conf"):
    getattr(sdk, name)
"""


def imported(*modules, first=""):
    """Return what each module's import loads, in a process of its own, after what came before."""
    code = f"""
import importlib, json, sys
{first}
told = {{}}
for name in {modules!r}:
    before = set(sys.modules)
    importlib.import_module(name)
    told[name] = sorted(set(sys.modules) - before)
print("\\n" + json.dumps(told))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def packages(names):
    return {name.split(".")[0] for name in names}


@pytest.fixture(scope="module")
def faces():
    return imported(*(f"airflow_kling.{face}.kling" for face in ("operators", "sensors", "triggers")), first=BASES)


@pytest.mark.parametrize("face", ["operators", "sensors", "triggers"])
def test_dag_file_loads_nothing_heavy(faces, face):
    assert packages(faces[f"airflow_kling.{face}.kling"]) & HEAVY == set()
    assert not [name for name in faces[f"airflow_kling.{face}.kling"] if name.startswith("airflow_kling.hooks")]


def modules_of(folder):
    files = (ROOT / "airflow_kling" / folder).rglob("*.py")
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in sorted(files)]


@pytest.mark.parametrize("folder", ["api", "media", "lifecycle"])
def test_pure_parts_load_no_airflow_and_nothing_heavy(folder):
    loaded = {name for names in imported(*modules_of(folder)).values() for name in names}
    assert "airflow" not in packages(loaded)
    assert packages(loaded) & HEAVY == set()


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [("api", {"api"}), ("media", {"api", "media"}), ("lifecycle", {"api", "media", "lifecycle"})],
)
def test_imports_run_one_way(folder, allowed):
    loaded = {name for names in imported(*modules_of(folder)).values() for name in names}
    ours = {name.split(".")[1] for name in loaded if name.startswith("airflow_kling.")}
    assert ours <= allowed
