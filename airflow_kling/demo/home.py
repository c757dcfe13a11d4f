"""An Airflow home of the demo's own, and the environment that points Airflow to it and to the emulator."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import airflow_kling

FOLDER = Path("kling-demo")
_LOOPBACK = "127.0.0.1,localhost"


def dags_folder() -> Path:
    """Return the example DAGs: packed beside the code in a wheel, beside the package in a checkout."""
    package = Path(airflow_kling.__file__).parent
    packed = package / "example_dags"
    return packed if packed.is_dir() else package.parent / "dags"


def environment(connection: str) -> dict[str, str]:
    """
    Return the environment for Airflow's processes; the user's own settings of Airflow and the DAGs do not count in it.

    :param connection: The emulator's connection, as Airflow reads it.
    """
    home = (FOLDER / "airflow").resolve()
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "KLING_"))}
    return kept | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder()),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW_CONN_KLING_DEFAULT": connection,
        # The emulator is on loopback, whatever proxy the user's environment names.
        "NO_PROXY": _LOOPBACK,
        "no_proxy": _LOOPBACK,
        "PYTHONUNBUFFERED": "1",
        # Airflow's standalone starts its parts by the name "airflow", whether or not the environment is activated.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }


def ui_environment(port: int) -> dict[str, str]:
    """Return what makes the UI answer on that loopback port, to anybody who can reach it."""
    address = f"http://127.0.0.1:{port}"
    return {
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__WEBSERVER__WEB_SERVER_HOST": "127.0.0.1",
        "AIRFLOW__WEBSERVER__WEB_SERVER_PORT": str(port),
    }


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
