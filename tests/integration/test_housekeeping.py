"""kling_report and kling_recover, run by real Airflow over what earlier runs left."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from urllib.request import url2pathname

import pytest
from PIL import Image

from airflow_kling.airflow_version import AIRFLOW
from airflow_kling.emulator.settings import EmulatorSettings
from airflow_kling.emulator.testing import TEST_LATENCY

SECRETS = ("emulator-key", "emulator-secret", "Signature=", "base64,")
TEST_DAGS = str(Path(__file__).parent / "dags")


@pytest.fixture
def run(run_dag, photograph, tmp_path, kling_emulator_factory):
    """Run a DAG against an emulator of its own, with records in a folder; those of the tests lie elsewhere."""
    settings = EmulatorSettings(latency=TEST_LATENCY, engine="reflect", quota=None)

    def go(dag_id, task_id, conf=None, **environment):
        environment = {
            "AIRFLOW_CONN_KLING_DEFAULT": go.emulator.connection_uri("kling"),
            "AIRFLOW__KLING__RECORD_PATH": str(tmp_path / "records"),
            "KLING_TEST_PICTURES": str(photograph),
            # dag.test of Airflow 3.0 takes no asset for active that no DAG processor has seen.
            **({"KLING_REPORT_ASSETS": ""} if AIRFLOW == (3, 0) else {}),
            "KLING_TEST_OUT": str(tmp_path / "out"),
            **({"AIRFLOW__CORE__DAGS_FOLDER": TEST_DAGS} if dag_id in ("kling_abandoned", "kling_kept") else {}),
            **environment,
        }
        done = run_dag(dag_id, task_id, conf or {}, **environment)
        assert done.code == 0, done.log[-4000:]
        assert [secret for secret in SECRETS if secret in done.log] == []
        return done

    go.emulator = kling_emulator_factory(settings)
    return go


def rows_of(uri):
    return list(csv.DictReader(io.StringIO(local(uri).read_text())))


def local(uri):
    return Path(url2pathname(uri.removeprefix("file://")))


def test_recover_collects_what_no_run_did_and_report_sums_it_up(run, tmp_path):
    run("kling_abandoned", "made")
    kept = run("kling_kept", "expand").result
    run.emulator.wait_for_pictures()
    creates = len(run.emulator.state.ledger()["creates"])
    assert (creates, len(kept["passes"])) == (5, 2)

    done = run("kling_recover", "recover", {"min_age_hours": 0})
    counts = {fate: count for fate, count in done.result["counts"].items() if count}
    assert counts == {"recovered": 1, "failed": 1, "still running": 1, "collected before": 2}
    (recovered,) = (row for row in done.result["findings"] if row["fate"] == "recovered")
    assert recovered["origin"]["dag_id"] == "kling_abandoned"
    assert recovered["units"] == 8
    with Image.open(local(recovered["uris"][0])) as picture:
        assert picture.size == (720, 400)
    assert local(recovered["uris"][0]).parent == tmp_path / "records" / "recovered"
    assert "of kling_abandoned.made" in done.log

    again = run("kling_recover", "recover", {"min_age_hours": 0}).result
    assert again["counts"]["recovered"] == again["counts"]["failed"] == 0
    assert again["counts"]["collected before"] == 4
    assert len(run.emulator.state.ledger()["creates"]) == creates

    told = run("kling_report", "report", {"output_path": str(tmp_path / "report")}).result
    rows = {row["dag_id"]: row for row in rows_of(told["csv"])}
    assert (rows["kling_abandoned"]["tasks"], rows["kling_abandoned"]["failed"]) == ("2", "1")
    assert rows["kling_abandoned"]["units"] == "8"
    assert float(rows["kling_kept"]["units"]) == kept["units"] == 16
    assert told["units"] == run.emulator.state.ledger()["units"]
    with Image.open(local(told["chart"])) as chart:
        assert (chart.format, chart.size) == ("PNG", (1200, 600))
        assert len(chart.convert("RGB").getcolors(100_000)) > 5


@pytest.mark.skipif(AIRFLOW < (3, 1), reason="dag.test before Airflow 3.1 stores no asset events")
def test_report_reads_asset_events_where_nothing_is_kept(run, tmp_path):
    kept = run("kling_kept", "expand", AIRFLOW__KLING__RECORD_PATH="").result
    told = run("kling_report", "report", {"output_path": str(tmp_path / "r")}, AIRFLOW__KLING__RECORD_PATH="").result
    (row,) = (row for row in rows_of(told["csv"]) if row["dag_id"] == "kling_kept")
    assert float(row["units"]) >= kept["units"] > 0
    assert float(row["usd_at_list_price"]) == pytest.approx(float(row["units"]) * 0.0035)
    assert not os.path.exists(tmp_path / "records")


def test_recover_without_a_folder_is_skipped(run_dag):
    done = run_dag("kling_recover", "recover", {}, AIRFLOW__KLING__RECORD_PATH="")
    assert done.result is None
    assert "set [kling] record_path" in done.log
