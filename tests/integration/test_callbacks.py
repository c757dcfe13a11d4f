"""A callback ends a wait: the task leaves ``deferred`` although its next poll is an hour away."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import airflow
import pytest
from standalone.site import Site

from airflow_kling.emulator.settings import EmulatorSettings

if tuple(int(part) for part in airflow.__version__.split(".")[:2]) < (3, 1):
    pytest.skip("Airflow 3.1 has the first plugins that take requests", allow_module_level=True)

SECRET = "a secret of this test alone, of enough characters"
MADE = "select state, next_method from task_instance where task_id = 'make'"


@pytest.fixture
def emulator(kling_emulator_factory):
    return kling_emulator_factory(EmulatorSettings(latency=60, virtual_clock=True, pictures="canned"))


@pytest.fixture
def site(airflow_environment, emulator, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    environment = airflow_environment | {
        "AIRFLOW_CONN_KLING_DEFAULT": emulator.connection_uri("kling"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent / "dags"),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__KLING__CALLBACK_SECRET": SECRET,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "no_proxy": "127.0.0.1,localhost",
    }
    with Site(home, environment) as started:
        known = "select dag_id from dag where dag_id = 'kling_called_back'"
        started.wait("the DAG is read", lambda: started.answers() and started.query(known))
        yield started


def test_a_callback_wakes_the_task(site, emulator):
    site.ask("POST", "dags/kling_called_back/dagRuns", json={"logical_date": None})
    site.wait("the task is deferred", lambda: [row[0] for row in site.query(MADE)] == ["deferred"])
    # The trigger's first poll: the next one is an hour away.
    site.wait("the trigger has asked", lambda: sum(emulator.state.ledger()["requests"].values()) > 1)
    emulator.state.advance(60)
    site.wait("the run is done", lambda: site.state("kling_called_back") == "success")

    ledger = emulator.state.ledger()
    assert {(row["word"], row["http_status"]) for row in ledger["callbacks"]} == {
        (word, 202) for word in ("submitted", "succeed")
    }
    # One look by the callback, and the worker's; the poll before.
    assert ledger["requests"]["query"] + ledger["requests"]["list"] == 3
    assert ledger["billed_tasks"] == 1
    told = "\n".join(path.read_text(errors="replace") for path in site.home.rglob("*.log"))
    (url,) = {record.order.callback_url for record in emulator.state._books.tasks.values()}
    assert "its callback has woken" in told
    assert "/kling/callbacks/kling_called_back/" in url
    assert url.rpartition("/")[2] not in told
    assert SECRET not in told
    for table in ("rendered_task_instance_fields", "xcom", "trigger", "task_instance", "log"):
        assert url.rpartition("/")[2] not in str(site.query(f"select * from {table}"))
