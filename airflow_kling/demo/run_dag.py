"""A process of its own: run one DAG with Airflow, and write what its tasks returned to a file."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any


def main(dag_id: str, conf: str, result_file: str) -> int:
    """
    Run the DAG once; returns 0 where the run succeeded.

    :param conf: The run's configuration, JSON.
    :param result_file: Where the tasks' results go: a JSON object by task id.
    """
    from airflow.utils.db import upgradedb

    from airflow_kling.airflow_version import AIRFLOW

    upgradedb()
    if AIRFLOW == (3, 0):
        _say_no_secrets()
    dag = _dag(dag_id)
    if AIRFLOW < (3, 1):
        for task in dag.tasks:
            task.outlets = []  # dag.test never ends a task there whose assets no scheduler has stored
    run = dag.test(run_conf=json.loads(conf))
    instances = run.get_task_instances()
    if str(run.state) != "success" or not instances:
        return 1
    results: dict[str, Any] = dict.fromkeys(dag.task_ids)
    # One by one, for Airflow 3.1 cannot pull those of a mapped task at once.
    for instance in sorted(instances, key=lambda instance: int(instance.map_index)):
        result = instance.xcom_pull(task_ids=instance.task_id, map_indexes=instance.map_index)
        if instance.map_index < 0:
            results[instance.task_id] = result
        elif result is not None:
            results[instance.task_id] = [*(results[instance.task_id] or ()), result]
    Path(result_file).write_text(json.dumps(results, indent=2, default=list) + "\n")
    return 0


def _say_no_secrets() -> None:
    """Have ``dag.test`` of Airflow 3.0 log as workers do: as it is, it prints each key that it is told to mask."""
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))


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
