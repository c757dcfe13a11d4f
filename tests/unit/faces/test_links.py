"""Links beside a task: pushed as soon as the remote task is known, without a secret, and never in the way."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_kling.airflow_version import AIRFLOW
from airflow_kling.exceptions import KlingTaskFailed
from airflow_kling.get_provider_info import get_provider_info
from airflow_kling.hooks.kling import KlingHook
from airflow_kling.hooks.storage import storage_path
from airflow_kling.operators.kling import KlingCollectOperator, KlingExpandImageOperator
from airflow_kling.operators.links import LINKS, KlingFilesLink, KlingRunLink, KlingTaskLink, console_page, push_links
from airflow_kling.sensors.kling import KlingTaskSensor

URL = "https://example.com/cat.png"
FAMILY = "image-expansion"
#: There from the submission on, whatever becomes of the task; Airflow before 3.1 has no place for the page.
RUN_PAGE = (
    {} if AIRFLOW < (3, 1) else {KlingRunLink.xcom_key: "/dags/dag/runs/run/plugin/kling-run?task_id=task&map_index=-1"}
)
AWS = "https://console.aws.amazon.com/s3/buckets/"
GOOGLE = "https://console.cloud.google.com/storage/browser/"


def account_of(conn_id):
    return lambda: KlingHook(conn_id).account


@pytest.fixture
def storage(monkeypatch, tmp_path):
    """Stand for the storage of s3 URIs, with these options of its connection; the records lie elsewhere."""

    def make(**options):
        bucket = SimpleNamespace(fs=SimpleNamespace(storage_options=options))
        path_of = lambda name: bucket if name.startswith("s3:") else storage_path(name)  # noqa: E731
        monkeypatch.setattr("airflow_kling.hooks.storage.storage_path", path_of)
        monkeypatch.setenv("AIRFLOW__KLING__RECORD_PATH", str(tmp_path))

    return make


@pytest.mark.parametrize(
    ("place", "page"),
    [
        ("s3://bucket/a/b", f"{AWS}bucket?prefix=a/b/"),
        ("s3://conn@bucket/a b/ü&x=1/", f"{AWS}bucket?prefix=a%20b/%C3%BC%26x%3D1/"),
        ("s3a://bucket", f"{AWS}bucket?prefix="),
        ("S3://key:secret@bucket/a?X-Amz-Signature=1", f"{AWS}bucket?prefix=a/"),
        ("gs://conn@bucket/a#secret", f"{GOOGLE}bucket/a/"),
        ("gcs://bucket/", f"{GOOGLE}bucket/"),
        ("abfs://conn@container/a", ""),
        ("file:///data/out", ""),
        ("/data/s3:/out", ""),
        ("s3:///a", ""),
        ("javascript://alert(1)", ""),
    ],
)
def test_console_page_of_a_folder(place, page):
    assert console_page(place) == page


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"anon": False}, True),
        ({"client_kwargs": None}, True),
        ({"endpoint_url": "http://minio:9000"}, False),
        ({"client_kwargs": {"endpoint_url": "http://minio:9000"}}, False),
    ],
)
def test_a_storage_of_ones_own_has_no_page_at_amazon(connect, context, ti, storage, options, shown):
    connect("https://api.cometapi.com")
    storage(**options)
    push_links(context, "T1", FAMILY, account_of("kling_default"), "s3://bucket/a")
    assert (KlingFilesLink.xcom_key in ti.links) is shown


@pytest.mark.parametrize(
    ("extra", "start"),
    [
        ({}, "https://api.cometapi.com/kling/v1"),
        ({"gateway": "kling-cn", "prefix": "/v9"}, "https://api-beijing.klingai.com/v9"),
    ],
)
def test_task_address_is_the_gateways_and_holds_no_key(connect, context, ti, extra, start):
    connect("", extra=extra)
    push_links(context, "T/1?key=x", FAMILY, account_of("kling_default"), None)
    assert ti.links == {KlingTaskLink.xcom_key: f"{start}/images/editing/expand/T%2F1%3Fkey%3Dx"} | RUN_PAGE


@pytest.mark.parametrize(
    ("task_id", "family", "conn_id"),
    [("T1", FAMILY, "nonesuch"), ("T1", "nonesuch", "kling_default"), ("", FAMILY, "kling_default")],
)
def test_what_hinders_a_link_does_not_hinder_the_task(connect, context, ti, task_id, family, conn_id):
    connect("https://api.cometapi.com")
    push_links(context, task_id, family, account_of(conn_id), "s3://nonesuch@bucket/a")
    assert KlingTaskLink.xcom_key not in ti.links


def expand(**parameters):
    return KlingExpandImageOperator(task_id="t", image=URL, up=0.5, **parameters)


TASKS = {
    "sync": (lambda out: expand(output_path=out), KlingTaskFailed),
    "deferrable": (lambda out: expand(output_path=out, deferrable=True), TaskDeferred),
    "collect": (lambda out: KlingCollectOperator(task_id="t", kling_task_id="T1", output_path=out), KlingTaskFailed),
    "poke": (lambda out: KlingTaskSensor(task_id="t", kling_task_id="T1", output_path=out), KlingTaskFailed),
    "defer": (
        lambda out: KlingTaskSensor(task_id="t", kling_task_id="T1", output_path=out, deferrable=True),
        TaskDeferred,
    ),
}


@pytest.mark.parametrize("kind", TASKS)
def test_links_are_there_while_waiting_and_after_failure(
    serve, connect, context, ti, storage, sleeps, monkeypatch, kind
):
    make, end = TASKS[kind]
    server = serve("submitted", "processing", "failed") if kind in ("sync", "deferrable") else serve("failed")
    connect(server)
    storage()
    monkeypatch.setattr("airflow_kling.operators.work.check_writable", lambda path: None)
    task = make("s3://bucket/a")
    seen = []
    sleeps.meanwhile = lambda: seen.append(dict(ti.links))
    with pytest.raises(end):
        task.execute(context)
    links = {
        KlingTaskLink.xcom_key: f"{server.url}/kling/v1/images/editing/expand/T1",
        KlingFilesLink.xcom_key: f"{AWS}bucket?prefix=a/",
    } | RUN_PAGE
    assert ti.links == links
    assert seen == ([links] * len(seen))
    assert bool(seen) is (kind == "sync")


def test_a_task_that_stores_nothing_links_to_no_folder(serve, connect, context, ti, storage):
    connect(serve("submitted"))
    storage()
    expand(output_path="s3://bucket/a", wait_for_completion=False).execute(context)
    assert set(ti.links) == {KlingTaskLink.xcom_key, *RUN_PAGE}


@pytest.mark.skipif(not RUN_PAGE, reason="Airflow before 3.1 has no place for the page")
def test_run_page_is_below_airflows_own_address(monkeypatch, context, ti):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://host/airflow/")
    monkeypatch.setattr(ti, "run_id", "manual__2026-11-20T10:00:00+00:00 <b>", raising=False)
    monkeypatch.setattr(ti, "map_index", 3, raising=False)
    push_links(context, "T1", FAMILY, account_of("nonesuch"), None)
    run = "manual__2026-11-20T10:00:00+00:00%20%3Cb%3E"
    page = f"https://host/airflow/dags/dag/runs/{run}/plugin/kling-run?task_id=task&map_index=3"
    assert ti.links[KlingRunLink.xcom_key] == page


@pytest.mark.parametrize("stored", ["https://console/x", None, {"a": 1}, OSError("database is away")])
@pytest.mark.parametrize("link", LINKS, ids=lambda link: type(link).__name__)
def test_link_is_read_back_and_never_raises(monkeypatch, ti, link, stored):
    def get_value(*, ti_key, key):
        assert (ti_key, key) == (ti, link.xcom_key)
        if isinstance(stored, Exception):
            raise stored
        return stored

    monkeypatch.setattr("airflow.providers.common.compat.sdk.XCom", SimpleNamespace(get_value=get_value))
    assert link.get_link(None, ti_key=ti) == (stored if isinstance(stored, str) else "")


def test_links_are_registered_and_on_every_face():
    paths = [f"{type(link).__module__}.{type(link).__name__}" for link in LINKS]
    assert get_provider_info()["extra-links"] == paths
    for path in paths:
        module, name = path.rsplit(".", 1)
        link = getattr(importlib.import_module(module), name)()
        # Airflow 3's own rule for the key, which 2.11 does not know.
        assert link.xcom_key == f"_link_{name}"
    for face in (KlingExpandImageOperator, KlingCollectOperator, KlingTaskSensor):
        assert face.operator_extra_links == LINKS
