"""The plugin as Airflow loads it, in every process and on every version."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from airflow_kling.airflow_version import AIRFLOW
from airflow_kling.plugins.kling import KlingPlugin

ROOT = Path(__file__).parents[3]


def test_plugin_is_registered_and_valid():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["airflow.plugins"] == {"kling": f"{KlingPlugin.__module__}:{KlingPlugin.__name__}"}
    KlingPlugin.validate()


def test_loading_the_plugin_loads_no_application():
    code = (
        # Airflow 3.0 loads fastapi for the base of all plugins.
        "import sys; from airflow.plugins_manager import AirflowPlugin; before = set(sys.modules);"
        "from airflow_kling.plugins.kling import KlingPlugin; KlingPlugin().external_views;"
        "new = set(sys.modules) - before;"
        "print(*(name for name in new if name.startswith(('airflow_kling.plugins', 'PIL', 'fastapi'))))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert set(loaded.split()) == {"airflow_kling.plugins", "airflow_kling.plugins.kling"}


@pytest.mark.parametrize(
    ("base", "prefix"), [("", ""), ("http://host:8080", ""), ("https://host/airflow/", "/airflow")]
)
def test_views_are_below_airflows_own_address(monkeypatch, base, prefix):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base)
    views = {view["destination"]: view for view in KlingPlugin().external_views}
    assert views["nav"]["href"] == f"{prefix}/kling/"
    assert views["dag_run"]["href"] == f"{prefix}/kling/dags/{{DAG_ID}}/runs/{{RUN_ID}}"
    # Airflow finds a view by its route alone, whatever the destination.
    assert len({view["url_route"] for view in views.values()}) == len(views)


@pytest.mark.parametrize(
    ("missing", "served"),
    [("app", ["Kling callbacks"]), ("callbacks", ["Kling"]), ("", ["Kling callbacks", "Kling"])],
)
@pytest.mark.skipif(AIRFLOW < (3, 1), reason="Airflow has no such applications")
def test_what_does_not_fit_an_airflow_costs_no_more_than_itself(monkeypatch, caplog, missing, served):
    if missing:
        monkeypatch.setitem(sys.modules, f"airflow_kling.plugins.{missing}", None)
    assert [app["name"] for app in KlingPlugin().fastapi_apps] == served
    assert ("does not fit" in caplog.text) == bool(missing)


def test_pages_load_nothing_from_elsewhere_and_make_no_markup_of_data():
    folder = ROOT / "airflow_kling" / "plugins" / "static"
    for path in folder.iterdir():
        text = path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
        for word in ("http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write"):
            assert word not in text, (path.name, word)
