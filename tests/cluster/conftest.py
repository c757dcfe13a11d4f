"""The cluster suite: not collected unless asked for, what it starts, and its closing line."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

collect_ignore = [] if os.environ.get("KLING_CLUSTER") else ["test_cluster.py"]

MODULES = ("psycopg2", "asyncpg", "redis", "celery", "airflow.providers.celery")
HERE = Path(__file__).parent
# The suite's own package, the kill suite's and that of all: test modules are imported one by one, and know no siblings.
sys.path[:0] = [str(HERE), str(HERE.parent / "kills"), str(HERE.parent)]

CLOSING: list[str] = []
"""The closing line, once there is one."""


@pytest.fixture(scope="session")
def closing() -> list[str]:
    """Where the closing line goes."""
    return CLOSING


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """Two Celery workers, two triggerers, Redis, PostgreSQL, and Kling; nothing secret is left when it ends."""
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        advice = 'pip install psycopg2-binary asyncpg apache-airflow-providers-celery "celery<5.7"'
        pytest.fail(f"{', '.join(missing)} is missing: {advice}")
    from fleet.fleet import Fleet

    with Fleet(tmp_path_factory.mktemp("cluster"), HERE / "dags") as fleet:
        yield fleet
        assert fleet.leaks() == []


def pytest_unconfigure() -> None:
    """Print the closing line, below everything that pytest prints."""
    for line in CLOSING:
        print(line)
