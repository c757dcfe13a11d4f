"""What Airflow sees of the installed provider: its metadata, connection type and DAGs."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

from airflow_kling.airflow_version import AIRFLOW

SCRIPT = """
import json
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
hook = manager.hooks["kling"]
fields = sorted(name for name in manager.connection_form_widgets if name.startswith("extra__kling__"))
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag
bag = DagBag()
print(json.dumps({
    "class": hook.hook_class_name, "name": hook.hook_name, "testable": hook.connection_testable, "fields": fields,
    "behaviour": sorted(manager.field_behaviours.get("kling", ())), "errors": list(bag.import_errors.values()),
    "dags": sorted(bag.dags),
    "retries": sorted({
        task.retries for dag in bag.dags.values() for task in dag.tasks if task.task_type.startswith("Kling")
    }),
}))
"""


def test_airflow_knows_the_connection_type_and_loads_the_dags(airflow_environment):
    child = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(child, env=airflow_environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-4000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["class"] == "airflow_kling.hooks.kling.KlingHook"
    assert (seen["name"], seen["testable"]) == ("Kling", True)
    has_form = not (3, 0) <= AIRFLOW < (3, 2) or importlib.util.find_spec("flask_appbuilder") is not None
    assert ("extra__kling__gateway" in seen["fields"]) == has_form
    assert ("relabeling" in seen["behaviour"]) == has_form
    assert seen["errors"] == []
    dags = {"kling_expand_image", "kling_submit_and_watch", "kling_expand_to_video", "kling_catalogue", "kling_publish"}
    assert dags <= set(seen["dags"])
    assert seen["retries"] == [2]
