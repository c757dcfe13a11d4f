"""``airflow-kling doctor`` beside a real metadata database: pools, triggerer, records, deployment."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

ALIVE = """
from datetime import datetime, UTC
from airflow.jobs.job import Job
from airflow.utils.session import create_session
with create_session() as session:
    job = Job(job_type="TriggererJob", state="running", latest_heartbeat=datetime.now(UTC))
    session.add(job)
"""
SPOIL = """
from airflow.models.pool import Pool
Pool.create_or_update_pool("kling_clips", 50, "clips", False)
"""


@pytest.fixture
def python(airflow_environment, tmp_path, kling_emulator):
    own = {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path / 'airflow.db'}",
        "AIRFLOW_CONN_KLING_DEFAULT": kling_emulator.connection_uri("kling"),
        "AIRFLOW__KLING__RECORD_PATH": str(tmp_path / "records"),
        "AIRFLOW__KLING__DEPLOYMENT": "tests",
        # Of the one heartbeat that these tests write; a busy machine takes longer than its 30 s to start the doctor.
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "600",
    }

    def run(*arguments, **environment):
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, env=airflow_environment | own | environment, capture_output=True, text=True, timeout=120
        )

    return run


def checks_of(done):
    assert "Traceback" not in done.stderr
    told = {}
    for row in json.loads(done.stdout)["checks"]:
        told.setdefault(row["check"], []).append((row["state"], row["text"]))
    return told


def test_doctor_beside_a_database(python):
    doctor = ("-m", "airflow_kling.cli", "doctor", "--json")
    without = python(*doctor)
    assert checks_of(without)["pools"][0][0] == checks_of(without)["triggerer"][0][0] == "unknown"
    assert without.returncode == 0

    python("-m", "airflow", "db", "migrate")
    python("-c", SPOIL)
    checks = checks_of(done := python(*doctor))
    assert done.returncode == 1
    assert [state for state, _ in checks["pools"]] == ["warn", "FAIL"]
    assert checks["triggerer"][0][0] == "FAIL"
    assert checks["records"][0][0] == checks["deployment"][0][0] == "ok"

    python("-c", ALIVE)
    mended = python(*doctor, "--fix-pools")
    assert mended.returncode == 0, mended.stdout
    checks = checks_of(python(*doctor))
    # The size that somebody chose stays, and is told to be more than the pack allows.
    assert [state for state, _ in checks["pools"]] == ["ok", "warn"]
    assert "9 slots, counting deferred tasks" in checks["pools"][0][1]
    assert "50 slots" in checks["pools"][1][1]
    assert "1 alive" in checks["triggerer"][0][1]


def test_doctor_tells_a_place_that_cannot_be_written_to(python, tmp_path):
    (tmp_path / "file").touch()
    done = python(
        "-m", "airflow_kling.cli", "doctor", "--json", AIRFLOW__KLING__RECORD_PATH=str(tmp_path / "file" / "records")
    )
    assert done.returncode == 1
    assert checks_of(done)["records"][0][0] == "FAIL"
