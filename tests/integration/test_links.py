"""The links beside a task in Airflow's UI are there while it is deferred, and after it failed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from airflow_kling.airflow_version import AIRFLOW
from airflow_kling.emulator.settings import EmulatorSettings
from airflow_kling.operators.links import KlingFilesLink, KlingRunLink, KlingTaskLink

HERE = Path(__file__).parent


def test_links_show_while_deferred_and_after_failure(kling_emulator_factory, airflow_environment, photograph, tmp_path):
    emulator = kling_emulator_factory(EmulatorSettings(latency=0.2, engine="reflect"))
    environment = airflow_environment | {
        "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW_CONN_KLING_DEFAULT": emulator.connection_uri("kling"),
        "KLING_TEST_PICTURES": str(photograph),
    }
    command = [sys.executable, str(HERE / "shown_links.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, cwd=tmp_path)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert {name: row["state"] for name, row in told.items()} == {
        "fails": "failed",
        "made": "success",
        "watch": "success",
    }
    ids = {row["task_id"] for row in emulator.state.ledger()["creates"] if row["outcome"] == "accepted"}
    assert {row["task_id"] for row in told.values()} == ids
    for name, row in told.items():
        page = row["links"].pop(KlingRunLink.name) or ""
        assert page.endswith("" if AIRFLOW < (3, 1) else f"?task_id={name}&map_index=-1")
        address = f"{emulator.url}/v1/images/editing/expand/{row['task_id']}"
        # Nothing is stored: that link is there, and leads nowhere.
        assert {name: link or None for name, link in row["links"].items()} == {
            KlingTaskLink.name: address,
            KlingFilesLink.name: None,
        }
    assert told["fails"]["early"] == told["fails"]["links"][KlingTaskLink.name]
