"""Operators that feed each other, mapped ones, and results reused by a later run, through real Airflow."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def test_chained_mapped_and_reused(kling_emulator, run_dag, photograph, tmp_path):
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

    again = run_dag("kling_chain", "second", {}, **environment)
    assert again.code == 0, again.log[-4000:]
    # Another run pays for the chain, and for nothing that was made from the same pictures before.
    assert [row["n"] for row in kling_emulator.state.ledger()["creates"]] == [1, 2, 1, 1, 1, 2]
    assert again.log.count("its result is reused") >= 2
