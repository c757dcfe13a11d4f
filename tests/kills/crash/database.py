"""A PostgreSQL cluster of the suite's own, on a free port of loopback, removed when the suite ends."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from airflow_kling.demo.home import free_port

BINARIES = "/usr/lib/postgresql/*/bin/pg_ctl"
OWNER = "postgres"
#: Nothing of it is to survive the suite, so it need not survive the machine either.
SETTINGS = "fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200"


class Postgres:
    """A running cluster; a context manager."""

    def __init__(self) -> None:
        self._binaries = _find_binaries()
        self._folder = Path(tempfile.mkdtemp(prefix="kling-kills-postgres-"))
        self.port = free_port()

    @property
    def address(self) -> str:
        """Host, port and database, as SQLAlchemy's addresses end."""
        return f"{OWNER}@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> Self:
        try:
            if os.geteuid() == 0:
                shutil.chown(self._folder, OWNER)
            self._run("initdb", "--auth=trust", f"--username={OWNER}", "--encoding=UTF8", "--no-sync")
            options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self._folder}"
            options += "".join(f" -c {setting}" for setting in SETTINGS)
            self._run("pg_ctl", "--wait", f"--log={self._folder}/log", f"--options={options}", "start")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._run("pg_ctl", "--mode=immediate", "stop")
        finally:
            self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        # PostgreSQL refuses to run as root.
        owner = ["runuser", "-u", OWNER, "--"] if getpass.getuser() == "root" else []
        command = [*owner, str(self._binaries / program), f"--pgdata={self._folder}/data", *arguments]
        # Files, not pipes: the server inherits them and would keep a pipe open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(command, stdout=output, stderr=output, cwd=self._folder, timeout=60)
            output.seek(0)
            assert done.returncode == 0, f"{program}: {output.read().decode()}"


def _find_binaries() -> Path:
    found = sorted(Path("/").glob(BINARIES.lstrip("/")))
    on_path = shutil.which("pg_ctl")
    if on_path:
        found.append(Path(on_path))
    assert found, "PostgreSQL is missing: apt-get install -y postgresql, or put its programs on PATH"
    return found[-1].parent
