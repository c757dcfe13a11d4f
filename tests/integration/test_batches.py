"""Two batches in a row, run by real Airflow against the emulator: the second films what the first expanded."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from airflow_kling.emulator.settings import EmulatorSettings

SECRETS = ("emulator-key", "Signature=", "base64,")


@pytest.mark.parametrize("gateway", ["kling", "cometapi"])
def test_two_batches_in_a_row(kling_emulator_factory, run_dag, tmp_path, gateway):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(5):
        Image.new("RGB", (480, 360), (40 * number, 90, 120)).save(folder / f"{number}.png")
    (folder / "bad.jpg").write_bytes(b"no picture")
    emulator = kling_emulator_factory(EmulatorSettings(latency=1.0, quota=2, engine="reflect"))
    run = run_dag(
        "kling_batch",
        "film",
        {"images": str(folder), "output_path": str(tmp_path / "out")},
        AIRFLOW_CONN_KLING_DEFAULT=emulator.connection_uri(gateway),
    )
    assert run.code == 0, run.log[-4000:]
    assert (run.result["rows"], run.result["counts"]["succeeded"]) == (5, 5)
    ledger = emulator.state.ledger()
    made = [row for row in ledger["creates"] if row["outcome"] == "accepted"]
    assert len({row["external_task_id"] for row in made}) == len(made) == ledger["billed_tasks"] == 10
    assert run.log.count("are waited for in the triggerer") >= 2  # some versions print a line twice
    rows = [json.loads(line) for line in Path(urlsplit(run.result["results"]).path).read_text().splitlines()]
    assert {row["family"] for row in rows} == {"image-to-video"}
    assert all(Path(urlsplit(row["outputs"][0]["uri"]).path).stat().st_size for row in rows)
    assert [secret for secret in SECRETS if secret in run.log] == []
