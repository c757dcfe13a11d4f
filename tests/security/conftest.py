"""A real API server, and runs in its database whose results name what must not be served."""

from __future__ import annotations

import socket
import sqlite3
import sys
import threading
from pathlib import Path

import pytest

from airflow_kling.airflow_version import AIRFLOW

# The package of the run page's suites: test modules are imported one by one, and know no siblings.
sys.path.insert(0, str(Path(__file__).parents[1]))

collect_ignore = ["test_callbacks.py", "test_run_page.py"] if AIRFLOW < (3, 0) else []

#: What a request may not change.
TABLES = ("dag_run", "task_instance", "xcom", "rendered_task_instance_fields")

LINKED = {"task_id": "linked", "xcoms": {"_link_KlingTaskLink": "x"}}


class Listener:
    """Counts who connects: nobody may."""

    def __init__(self):
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()

    def close(self):
        self._socket.close()


@pytest.fixture(scope="session")
def listener():
    listening = Listener()
    yield listening
    listening.close()


@pytest.fixture(scope="session")
def media(tmp_path_factory):
    """A media root with pictures, and what lies beside it."""
    from run_page_site.hostile import make_media

    folder = tmp_path_factory.mktemp("security") / "media"
    make_media(folder)
    return folder


@pytest.fixture(scope="session")
def named(media, listener):
    """Task -> the place that its result names, none of which may be served."""
    from run_page_site.hostile import places

    return places(media, listener.port)


@pytest.fixture(scope="session")
def site(media, named, tmp_path_factory):
    from run_page_site.hostile import RUN_ID, make_batches, task, tasks
    from run_page_site.server import Site

    make_batches(media, named)
    good = task("good", str(media / "good.png"))
    with Site(tmp_path_factory.mktemp("site"), str(media)) as running:
        running.seed(
            {"dag_id": "ours", "run_id": RUN_ID, "tasks": tasks(media, named)},
            {"dag_id": "theirs", "run_id": RUN_ID, "tasks": [good]},
            *({"dag_id": dag_id, "run_id": "linked", "tasks": [LINKED]} for dag_id in ("ours", "theirs")),
        )
        yield running


@pytest.fixture(scope="session")
def sessions(site):
    from run_page_site.server import USERS

    return {user: site.login(user) for user in (*USERS, None)}


@pytest.fixture(autouse=True)
def _nothing_changes(site, media, listener):
    """No request of a test changes a row or a file, or makes the server call anyone."""
    before = _state(site, media)
    yield
    assert _state(site, media) == before
    assert listener.connections == 0


def _state(site, media):
    with sqlite3.connect(f"file:{site.home}/airflow.db?mode=ro", uri=True) as database:
        rows = {table: database.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}
    return rows, sorted((path.name, path.lstat().st_mtime_ns) for path in media.parent.rglob("*"))
