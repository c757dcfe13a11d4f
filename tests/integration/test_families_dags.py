"""The example DAGs that begin with text, and the one that stores a task by its id, by real Airflow."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit


def test_text_becomes_a_film_and_a_lost_clip_is_stored_by_its_id(kling_emulator, run_dag, tmp_path):
    connection = kling_emulator.connection_uri("kling")
    conf = {"scene": "a lake", "output_path": str(tmp_path / "out")}
    run = run_dag("kling_text_to_film", "extend", conf, AIRFLOW_CONN_KLING_DEFAULT=connection)
    assert run.code == 0, run.log[-4000:]
    ledger = kling_emulator.state.ledger()
    families = ["image-generation"] * 2 + ["image-to-video", "text-to-video", "video-extension"]
    assert sorted(row["family"] for row in ledger["creates"]) == families
    assert run.result["outputs"][0]["duration"] == 10.041

    clip = next(row for row in ledger["creates"] if row["family"] == "text-to-video")
    conf = {"kling_task_id": clip["task_id"], "family": "text-to-video", "output_path": str(tmp_path / "lost")}
    run = run_dag("kling_collect", "collect", conf, AIRFLOW_CONN_KLING_DEFAULT=connection)
    assert run.code == 0, run.log[-4000:]
    (row,) = run.result["outputs"]
    assert Path(urlsplit(row["uri"]).path).parent == tmp_path / "lost"
    assert len(kling_emulator.state.ledger()["creates"]) == len(ledger["creates"])
