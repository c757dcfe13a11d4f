"""Batches against the emulator: two in a row by real Airflow, and one whose pictures, results and memory are on S3."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from PIL import Image

from airflow_kling.emulator.settings import EmulatorSettings
from airflow_kling.exceptions import KlingInputError, KlingTransientError
from airflow_kling.operators import batch_run, housekeeping
from airflow_kling.operators.kling import KlingExpandBatchOperator, KlingImageToVideoBatchOperator

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


# -- on S3 -----------------------------------------------------------------------------------------------------------

PICTURES = 6


@pytest.fixture
def account(kling_emulator_factory, monkeypatch):
    emulator = kling_emulator_factory(EmulatorSettings(latency=0.2, quota=4, engine="reflect"))
    monkeypatch.setenv("AIRFLOW_CONN_KLING_DEFAULT", emulator.connection_uri("kling"))
    monkeypatch.setattr("airflow_kling.operators.batch_store.STORE_DELAYS", (0.0,))
    return emulator


def fill(bucket):
    for number in range(PICTURES):
        file = io.BytesIO()
        Image.new("RGB", (400, 300), (number, 80, 90)).save(file, "PNG")
        bucket.client.put_object(Bucket=bucket.name, Key=f"a/prefix/in/{number}.png", Body=file.getvalue())


def run(operator, **facts):
    facts = {"try_number": 1, "max_tries": 0} | facts
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id=operator.task_id, map_index=-1, task=operator, **facts)
    ti.xcom_push = lambda **_: None
    return operator.execute({"ti": ti})


def expand(bucket, **fields):
    facts = {"images": f"{bucket.uri}in/", "output_path": f"{bucket.uri}out/", "left": 0.5, "deferrable": False}
    return KlingExpandBatchOperator(**{"task_id": "batch", "poll_interval": 0.2} | facts | fields)


def accepted(emulator):
    rows = [row for row in emulator.state.ledger()["creates"] if row["outcome"] == "accepted"]
    assert len({row["external_task_id"] for row in rows}) == len(rows)
    return len(rows)


def contents(bucket, place, ending):
    keys = bucket.keys()
    return [key for key in keys if key.startswith(f"a/prefix/{place}") and key.endswith(ending)]


def rows_of(bucket):
    (key,) = contents(bucket, "out/af-", ".jsonl")
    return [json.loads(line) for line in bucket.read(key).splitlines()]


def refuse(monkeypatch, place, after):
    """Let the server refuse what is written to a place, after some keys; returns what lets it take them again."""
    from moto.s3.models import S3Backend

    real, written, context = S3Backend.put_object, [], monkeypatch.context()
    patch = context.__enter__()

    def put_object(backend, bucket_name, key_name, *arguments, **options):
        if place in key_name:
            written.append(key_name)
            if len(written) > after:
                raise ZeroDivisionError  # answered with status 500
        return real(backend, bucket_name, key_name, *arguments, **options)

    patch.setattr(S3Backend, "put_object", put_object)
    patch.setattr("s3fs.core.S3FileSystem.retries", 1)
    patch.setenv("AWS_MAX_ATTEMPTS", "1")
    return lambda: context.__exit__(None, None, None)


@pytest.mark.parametrize("place", ["/.kling/", "/out/emu-"])
def test_a_bucket_that_refuses_while_running_stops_cleanly_and_a_retry_goes_on(account, bucket, monkeypatch, place):
    fill(bucket)
    let = refuse(monkeypatch, place, after=5)
    with pytest.raises(KlingTransientError, match="pays for nothing again"):
        run(expand(bucket))
    rows, paid = rows_of(bucket), accepted(account)
    assert len(rows) == PICTURES
    assert sum(row["task_id"] is not None or "may have arrived" in (row["error"] or "") for row in rows) >= paid > 0
    let()
    made = run(expand(bucket), try_number=2)
    assert (made["counts"]["succeeded"], accepted(account)) == (PICTURES, PICTURES)
    outputs = {row["outputs"][0]["uri"].rpartition("/")[2] for row in rows_of(bucket)}
    assert outputs == {key.rpartition("/")[2] for key in contents(bucket, "out/", ".png")}
    assert bucket.uploads() == []


class Killed(BaseException):
    """The process ends here."""


def test_a_batch_on_s3_that_was_killed_pays_once_and_another_films_its_results(account, bucket, monkeypatch):
    fill(bucket)
    with monkeypatch.context() as patch:
        report, told = batch_run.BatchRun._report, []

        def die(batch, *, force=False):
            told.append(1)
            if accepted(account) >= 2:
                raise Killed
            report(batch, force=force)

        patch.setattr(batch_run.BatchRun, "_report", die)
        with pytest.raises(Killed):
            run(expand(bucket))
    made = run(expand(bucket), try_number=2)
    assert (made["counts"]["succeeded"], made["spent"]["units"], accepted(account)) == (PICTURES, 48.0, PICTURES)
    requests = account.state.ledger()["requests"]
    run(expand(bucket), try_number=3)
    assert account.state.ledger()["requests"] == requests  # all is known
    found = housekeeping.recover(f"{bucket.uri}out/", f"{bucket.uri}recovered/", 0.0)["counts"]
    assert {fate: count for fate, count in found.items() if count} == {"collected before": PICTURES}
    film = KlingImageToVideoBatchOperator(
        task_id="film", images=made["results"], output_path=f"{bucket.uri}clips/", poll_interval=0.2, deferrable=False
    )
    clips = run(film)
    assert (clips["counts"]["succeeded"], accepted(account)) == (PICTURES, 2 * PICTURES)
    assert len(contents(bucket, "clips/", ".mp4")) == PICTURES


def test_an_empty_prefix_ends_clearly_with_a_manifest(account, bucket):
    with pytest.raises(KlingInputError, match=r"at least one JPG or PNG|existing folder"):
        run(expand(bucket))
    assert (rows_of(bucket), accepted(account)) == ([], 0)
