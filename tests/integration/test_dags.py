"""The example DAGs, run by real Airflow against the emulator over real sockets."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image, ImageChops

SECRETS = ("emulator-key", "emulator-secret", "Signature=", "base64,")


def path_of(uri: str) -> Path:
    return Path(urlsplit(uri).path)


def assert_nothing_secret(text: str) -> None:
    assert [secret for secret in SECRETS if secret in text] == []


@pytest.mark.parametrize(("gateway", "key_pair"), [("cometapi", False), ("kling", False), ("kling", True)])
def test_expand_image_stores_what_was_asked_for(kling_emulator, run_dag, photograph, tmp_path, gateway, key_pair):
    connection = kling_emulator.connection_uri(gateway, key_pair=key_pair)
    conf = {
        "image": str(photograph),
        "left": 0.25,
        "right": 0.5,
        "up": 0.1,
        "down": 0.0,
        "n": 2,
        "output_path": str(tmp_path / "out"),
    }
    run = run_dag("kling_expand_image", "expand", conf, AIRFLOW_CONN_KLING_DEFAULT=connection)
    assert run.code == 0, run.log[-4000:]

    ledger = kling_emulator.state.ledger()
    assert [row["outcome"] for row in ledger["creates"]] == ["accepted"]
    manifest = run.result
    assert manifest["task_id"] == ledger["creates"][0]["task_id"]
    assert manifest["external_task_id"] == ledger["creates"][0]["external_task_id"]
    assert (manifest["status"], manifest["units"], len(manifest["outputs"])) == ("succeeded", 16, 2)
    with Image.open(photograph) as original:
        for output in manifest["outputs"]:
            stored = path_of(output["uri"])
            assert hashlib.sha256(stored.read_bytes()).hexdigest() == output["sha256"]
            with Image.open(stored) as picture:
                assert picture.size == (output["width"], output["height"]) == (600 + 150 + 300, 400 + 40)
                kept = picture.crop((150, 40, 750, 440))
            assert ImageChops.difference(kept, original).getbbox() is None
    assert not any(row["authorization"] for row in ledger["downloads"])
    assert_nothing_secret(run.log)


@pytest.mark.parametrize("dag_id", ["kling_submit_and_watch", "kling_own_operator"])
def test_submit_and_watch_splits_the_work(kling_emulator, run_dag, photograph, tmp_path, dag_id):
    conf = {"image": str(photograph), "output_path": str(tmp_path / "out")}
    connection = kling_emulator.connection_uri()
    run = run_dag(dag_id, "watch", conf, AIRFLOW_CONN_KLING_DEFAULT=connection)
    assert run.code == 0, run.log[-4000:]
    assert run.result["outputs"][0]["width"] == 1200
    assert path_of(run.result["outputs"][0]["uri"]).stat().st_size == run.result["outputs"][0]["size_bytes"]
    assert len(kling_emulator.state.ledger()["creates"]) == 1
    assert_nothing_secret(run.log)


def test_bad_input_costs_nothing_and_is_not_retried(kling_emulator, run_dag, tmp_path):
    missing = tmp_path / "missing.jpg"
    conf = {"image": str(missing), "output_path": str(tmp_path / "out")}
    connection = kling_emulator.connection_uri()
    run = run_dag("kling_expand_image", "expand", conf, AIRFLOW_CONN_KLING_DEFAULT=connection)
    assert run.code != 0
    assert "KlingInputError" in run.log
    assert "an existing file" in run.log
    assert "UP_FOR_RETRY" not in run.log
    assert kling_emulator.state.ledger()["creates"] == []


def test_a_missing_route_is_a_clear_error(kling_emulator_factory, run_dag, photograph, tmp_path):
    from airflow_kling.emulator.settings import EmulatorSettings

    emulator = kling_emulator_factory(EmulatorSettings(gateway_routes=("image-generation",)))
    conf = {"image": str(photograph), "output_path": str(tmp_path / "out")}
    run = run_dag("kling_expand_image", "expand", conf, AIRFLOW_CONN_KLING_DEFAULT=emulator.connection_uri())
    assert run.code != 0
    assert "KlingRouteUnavailable" in run.log
    assert "use another gateway" in run.log
