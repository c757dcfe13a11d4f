"""All of Airflow: a scheduled run makes a clip, its asset starts another DAG, a person approves before a third pays."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from standalone.site import Site

from airflow_kling.airflow_version import AIRFLOW

HAS_APPROVAL = AIRFLOW >= (3, 1)


@pytest.fixture
def site(airflow_environment, kling_emulator, photograph, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    environment = airflow_environment | {
        "AIRFLOW_CONN_KLING_DEFAULT": kling_emulator.connection_uri("kling"),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
        "KLING_EXAMPLE_IMAGE": str(photograph),
        "KLING_EXAMPLE_OUTPUT": str(tmp_path / "out"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "no_proxy": "127.0.0.1,localhost",
    }
    with Site(home, environment) as started:
        known = "select dag_id from dag where dag_id in ('kling_expand_to_video', 'kling_publish')"
        started.wait("the DAGs are read", lambda: len(started.query(known)) == 2)
        if AIRFLOW >= (3, 0):
            # Tasks need it: one that starts before it does costs a try.
            started.wait("the API server answers", started.answers)
        yield started


def approve(site, dag_id, task_id):
    """Run the DAG and approve; not before the scheduler saw the task pause, which Airflow 3.3 takes for a failure."""
    run = site.ask("POST", f"dags/{dag_id}/dagRuns", json={"logical_date": None})["dag_run_id"]
    detail = f"dags/{dag_id}/dagRuns/{run}/taskInstances/{task_id}/-1/hitlDetails"
    instance = f"TaskInstanceKey(dag_id='{dag_id}', task_id='{task_id}'"
    paused = f"executor event with state success for task instance {instance}"
    site.wait("the task has paused", lambda: paused in (site.home / "standalone.log").read_text(errors="replace"))
    request = site.ask("GET", detail)
    site.ask("PATCH", detail, json={"chosen_options": ["Approve"], "params_input": {}})
    return request


def test_scheduled_published_and_approved(site, kling_emulator, tmp_path):
    dag_ids = ["kling_expand_to_video", "kling_publish"]
    site.unpause(*dag_ids)
    if HAS_APPROVAL:
        site.unpause("kling_approve_then_film")
        request = approve(site, "kling_approve_then_film", "approve")
        assert str(tmp_path / "out") in request["body"]
        dag_ids.append("kling_approve_then_film")
    for dag_id in dag_ids:
        site.wait(f"{dag_id} is done", lambda dag_id=dag_id: site.state(dag_id) == "success")

    creates = kling_emulator.state.ledger()["creates"]
    families = ["image-expansion", "image-to-video"] * (2 if HAS_APPROVAL else 1)
    assert sorted(row["family"] for row in creates) == sorted(families)
    (published,) = site.query("select value from xcom where dag_id = 'kling_publish' and key = 'return_value'")
    clips = sorted(path.as_uri() for path in (tmp_path / "out").glob("*.mp4"))
    found = json.loads(published[0])
    assert set(json.loads(found) if isinstance(found, str) else found) <= set(clips)
    assert found
