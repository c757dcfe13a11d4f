"""A process of its own: run one DAG with Airflow, and write the XCom of one of its tasks to a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main(dag_id: str, task_id: str, conf: str, result_file: str) -> int:
    """
    Run the DAG once; returns 0 where the run succeeded.

    :param dag_id: The DAG.
    :param task_id: The task whose result is wanted.
    :param conf: The run's configuration, JSON.
    :param result_file: Where the result goes.
    """
    import airflow
    from airflow.utils.db import upgradedb

    upgradedb()
    dag = _dag(dag_id)
    if airflow.__version__.startswith("2."):
        for task in dag.tasks:
            task.outlets = []  # dag.test never ends a task there whose assets no scheduler has stored
    run = dag.test(run_conf=json.loads(conf))
    instance = run.get_task_instance(task_id)
    if str(run.state) != "success" or instance is None:
        return 1
    Path(result_file).write_text(json.dumps(instance.xcom_pull(task_ids=task_id), indent=2) + "\n")
    return 0


def _dag(dag_id: str) -> Any:
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # before Airflow 3.2
        from airflow.models.dagbag import DagBag
    bag = DagBag()
    if bag.import_errors:
        raise SystemExit("\n".join(bag.import_errors.values()))
    return bag.get_dag(dag_id)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
