"""
What a DAG file pays to import our operators and sensor, against the http provider's operator.

Airflow's own base classes are loaded already, and all is byte-compiled, as pip leaves it. Goal: at most 10 ms, and no
requests, aiohttp, Pillow, PyJWT or numpy.

    .venv/bin/python benchmarks/import_weight.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

RUNS = 7
HEAVY = ("requests", "aiohttp", "PIL", "jwt", "numpy")
OURS = "import airflow_kling.operators.kling, airflow_kling.sensors.kling, airflow_kling.triggers.kling"
PEER = "import airflow.providers.http.operators.http"
CHILD = """
import json, sys, time
try:
    from airflow.sdk import BaseOperator, BaseOperatorLink, BaseSensorOperator
except ImportError:
    pass
import airflow.triggers.base
from airflow.providers.common.compat.sdk import (
    AirflowFailException, AirflowSensorTimeout, AirflowSkipException, BaseOperator, BaseOperatorLink,
    BaseSensorOperator, PokeReturnValue, conf,
)
before = set(sys.modules)
start = time.perf_counter()
{statement}
seconds = time.perf_counter() - start
print(json.dumps([seconds, sorted(set(sys.modules) - before)]))
"""


def measure(statement: str) -> tuple[float, list[str]]:
    """Return the least of some runs, in seconds, and the modules that came in."""
    results = []
    with tempfile.TemporaryDirectory() as bytecode:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment = kept | {"PYTHONPYCACHEPREFIX": bytecode}  # the first run fills it
        for _ in range(RUNS):
            child = [sys.executable, "-c", CHILD.format(statement=statement)]
            output = subprocess.run(child, check=True, capture_output=True, text=True, env=environment).stdout
            results.append(json.loads(output.splitlines()[-1]))
    return min(seconds for seconds, _ in results), results[0][1]


def main() -> None:
    ours, modules = measure(OURS)
    peer, peer_modules = measure(PEER)
    heavy = [name for name in HEAVY if name in modules]
    print(
        f"import: {ours * 1e3:.1f} ms and {len(modules)} modules, http provider {peer * 1e3:.0f} ms and "
        f"{len(peer_modules)}; ratio {ours / peer:.3f} (goal: at most 10 ms); heavy ones: {heavy or 'none'}"
    )


if __name__ == "__main__":
    main()
