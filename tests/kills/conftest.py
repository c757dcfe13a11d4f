"""The kill suite: not collected unless asked for, its deployment, and its closing line."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

CUTS = ("fast", "all")
CUT = os.environ.get("KLING_KILLS", "")
if CUT and CUT not in CUTS:
    raise pytest.UsageError(f"KLING_KILLS={CUT}: must be one of {', '.join(CUTS)}")
collect_ignore = [] if CUT else ["test_kills.py", "test_leak_search.py"]

# The suite's own package, and that of all suites: test modules are imported one by one, and know no siblings.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]


@dataclass
class Tally:
    """What the closing line counts."""

    crashes: int = 0
    duplicates: int = 0
    lost: int = 0


TALLY = Tally()


@pytest.fixture(scope="session")
def tally() -> Tally:
    """The counts of this session."""
    return TALLY


@pytest.fixture(scope="session")
def left_behind() -> list[Path]:
    """Folders of what the killed runs leave."""
    return []


@pytest.fixture(autouse=True)
def _is_left_behind(left_behind: list[Path], tmp_path: Path) -> None:
    left_behind.append(tmp_path)


@pytest.fixture(scope="session")
def emulator():
    """Kling with its own API's manners: it knows external ids and refuses one that exists."""
    from crash.rows import LATENCY
    from leak_search import mark_signatures

    from airflow_kling.emulator.server import EmulatorServer
    from airflow_kling.emulator.settings import EmulatorSettings

    with pytest.MonkeyPatch.context() as patch:
        mark_signatures(patch)
        with EmulatorServer(EmulatorSettings(latency=LATENCY, engine="reflect")) as server:
            yield server


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, emulator, left_behind: list[Path]) -> Iterator[object]:
    """Airflow over PostgreSQL, started once; nothing secret is left in it when all rows have run."""
    import leak_search.postgres
    from crash.database import Postgres
    from crash.deployment import Deployment
    from crash.rows import COLLECTOR

    if importlib.util.find_spec("psycopg2") is None or importlib.util.find_spec("asyncpg") is None:
        pytest.fail("PostgreSQL's drivers are missing: pip install psycopg2-binary asyncpg")
    home, dags = tmp_path_factory.mktemp("kills"), Path(__file__).parent / "dags"
    dag_ids = [f"kills_{mode}" for mode in COLLECTOR]
    connection = emulator.connection_uri("kling")
    with Postgres() as database:
        with Deployment(home, database.address, connection, dags, dag_ids) as deployment:
            leak_search.postgres.keep_deleted(database.address)
            yield deployment
            if deployment.revived:
                print(f"\ncomponents that died by themselves and were started again: {deployment.revived}")
        assert leak_search.search([home, *left_behind]) + leak_search.postgres.search(database.address) == []


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Keep the progress dots out of the rows' lines."""
    if "test_kills.py" in report.nodeid and report.when == "call" and report.passed:
        return "passed", "", ""
    return None


def pytest_unconfigure() -> None:
    """Print the closing line, below everything that pytest prints."""
    if TALLY.crashes:
        print(f"crashes {TALLY.crashes}, duplicates {TALLY.duplicates}, lost {TALLY.lost}")
