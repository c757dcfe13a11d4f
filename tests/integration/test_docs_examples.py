"""The documentation's first DAG and its test, as a reader would have them: in a folder with a picture."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def test_the_readers_test_passes(airflow_environment, photograph, tmp_path):
    folder = shutil.copytree(EXAMPLES, tmp_path / "project")
    photograph.rename(folder / "photo.jpg")
    environment = airflow_environment | {"AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_kling_first.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout[-4000:]
    assert {path.suffix for path in (folder / "kling-out").iterdir()} >= {".png", ".mp4", ".json"}
