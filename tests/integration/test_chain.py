"""Operators that feed each other, mapped ones, and results reused by a later run, through real Airflow."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from PIL import Image

from airflow_kling.airflow_version import AIRFLOW


def asset_extras(home: str) -> list[dict]:
    """Return the extra of every asset event in Airflow's database."""
    with sqlite3.connect(Path(home) / "airflow.db") as database:
        tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
        table = "asset_event" if "asset_event" in tables else "dataset_event"
        return [json.loads(extra) for (extra,) in database.execute(f"select extra from {table}")]


def check_assets(manifest: dict, home: str) -> None:
    files = [{name: row[name] for name in ("uri", "size_bytes", "sha256")} for row in manifest["outputs"]]
    told = {"files": files, "family": "image-expansion", "task_id": manifest["task_id"], "units": 16} | files[0]
    extras = [extra for extra in asset_extras(home) if extra["task_id"] == manifest["task_id"]]
    assert told in extras
    # The alias has an asset of its own for each file.
    assert {extra["uri"] for extra in extras if len(extra["files"]) == 1} == {row["uri"] for row in files}


def test_chained_mapped_and_reused(kling_emulator, airflow_environment, run_dag, photograph, tmp_path):
    other = tmp_path / "other.png"
    Image.new("RGB", (400, 320), "teal").save(other)
    environment = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent / "dags"),
        "AIRFLOW_CONN_KLING_DEFAULT": kling_emulator.connection_uri("kling"),
        "KLING_TEST_PICTURES": f"{photograph}:{other}",
        "KLING_TEST_OUT": str(tmp_path / "out"),
    }
    run = run_dag("kling_chain", "second", {}, **environment)
    assert run.code == 0, run.log[-4000:]
    # 600x400, first a fifth higher, then three tenths wider.
    assert [(row["width"], row["height"]) for row in run.result["outputs"]] == [(780, 480)] * 2
    creates = kling_emulator.state.ledger()["creates"]
    assert [row["n"] for row in creates] == [1, 2, 1, 1]
    assert len({row["external_task_id"] for row in creates}) == 4
    assert "pool_slots" not in run.log

    if AIRFLOW >= (3, 1):
        check_assets(run.result, airflow_environment["AIRFLOW_HOME"])

    again = run_dag("kling_chain", "second", {}, **environment)
    assert again.code == 0, again.log[-4000:]
    # Another run pays for the chain, and for nothing that was made from the same pictures before.
    assert [row["n"] for row in kling_emulator.state.ledger()["creates"]] == [1, 2, 1, 1, 1, 2]
    assert again.log.count("its result is reused") >= 2
