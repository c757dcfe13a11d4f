"""Real Airflow for integration tests: a home with a database, and DAG runs in processes of their own."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_kling.demo.home import dags_folder
from airflow_kling.emulator.testing import kling_emulator, kling_emulator_factory  # noqa: F401

# Test modules are imported one by one, and know no packages beside them.
sys.path.insert(0, str(Path(__file__).parents[1]))

PROJECT = Path(__file__).parents[2]
RUN_LIMIT = 180


@dataclass(frozen=True)
class Run:
    """How a DAG run ended: exit code, what was printed, and the XCom of the task that was asked for."""

    code: int
    log: str
    result: Any


@pytest.fixture(scope="session", autouse=True)
def left_behind():
    """Folders of what all of these tests' runs leave; nothing secret is in any of them, once all have run."""
    from leak_search import mark_signatures, search

    folders: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        mark_signatures(patch)
        yield folders
    assert search(folders) == []


@pytest.fixture(autouse=True)
def _is_left_behind(left_behind: list[Path], tmp_path: Path) -> None:
    left_behind.append(tmp_path)


@pytest.fixture(scope="session")
def airflow_environment(tmp_path_factory: pytest.TempPathFactory, left_behind: list[Path]) -> dict[str, str]:
    """Environment of Airflow processes with a home and database of their own."""
    from leak_search import keep_deleted

    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    home = tmp_path_factory.mktemp("airflow")
    left_behind.append(home)
    environment = kept | {
        "AIRFLOW_HOME": str(home),
        # Triggers are kept as they are, to be searched.
        "AIRFLOW__CORE__FERNET_KEY": "",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder()),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env=environment,
        check=True,
        capture_output=True,
        timeout=120,
    )
    keep_deleted(home / "airflow.db")
    return environment


@pytest.fixture
def run_dag(airflow_environment: dict[str, str], tmp_path: Path):
    """Run a DAG with real Airflow; further environment (the connection, mostly) goes on top."""

    def run(dag_id: str, task_id: str, conf: dict[str, Any], **environment: str) -> Run:
        result = tmp_path / f"{dag_id}-{task_id}.json"
        command = [sys.executable, "-m", "airflow_kling.demo.run_dag", dag_id, json.dumps(conf), str(result)]
        done = subprocess.run(
            command,
            env=airflow_environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_LIMIT,
            cwd=tmp_path,
        )
        (tmp_path / f"{dag_id}-{task_id}.log").write_text(done.stdout)
        return Run(done.returncode, done.stdout, json.loads(result.read_text())[task_id] if result.exists() else None)

    return run


@pytest.fixture
def photograph(photographs: Path, tmp_path: Path) -> Path:
    """A photograph of 600x400 px, as a JPEG."""
    from PIL import Image

    path = tmp_path / "coffee.jpg"
    with Image.open(photographs / "coffee.png") as image:
        image.convert("RGB").save(path, quality=92)
    return path


S3_KEYS = {"aws_access_key_id": "loopback-key", "aws_secret_access_key": "loopback-secret", "region_name": "us-east-1"}


class Bucket:
    """A bucket on loopback and what the server knows of it; ``uri`` is a prefix in it."""

    def __init__(self, client: Any, url: str) -> None:
        self.client, self.name = client, f"bucket-{uuid.uuid4().hex}"
        self.uri = f"s3://aws_loopback@{self.name}/a/prefix/"
        client.create_bucket(Bucket=self.name)
        fields = {"conn_type": "aws", "login": S3_KEYS["aws_access_key_id"]}
        fields["password"] = S3_KEYS["aws_secret_access_key"]
        fields["extra"] = {"endpoint_url": url, "region_name": S3_KEYS["region_name"]}
        self.environment = {"AIRFLOW_CONN_AWS_LOOPBACK": json.dumps(fields)}

    def keys(self) -> list[str]:
        return [row["Key"] for row in self.client.list_objects_v2(Bucket=self.name).get("Contents", [])]

    def uploads(self) -> list[dict[str, Any]]:
        return self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])

    def read(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()


@pytest.fixture(scope="session")
def s3_server():
    """A server of S3 on loopback: its URL, and a client."""
    try:
        import boto3
        from moto.server import ThreadedMotoServer
    except ImportError:
        pytest.fail("moto is missing: pip install 'airflow-provider-kling[test]'")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    yield url, boto3.client("s3", endpoint_url=url, **S3_KEYS)
    server.stop()


@pytest.fixture
def bucket(s3_server, monkeypatch) -> Bucket:
    url, client = s3_server
    made = Bucket(client, url)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made
