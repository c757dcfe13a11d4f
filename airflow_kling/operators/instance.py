"""A task instance: what tells it and its remote tasks from all others, and its tries since the last clear."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import conf

from airflow_kling.airflow_version import AIRFLOW
from airflow_kling.lifecycle.identity import deployment_tag, external_task_id


def origin_of(ti: Any) -> dict[str, Any]:
    """Return what tells a task instance from all others."""
    return {name: getattr(ti, name) for name in ("dag_id", "run_id", "task_id", "map_index")}


def first_try_of_epoch(ti: Any) -> int:
    """
    Return the number of the first try since the user cleared the task, 1 if never.

    Airflow raises ``max_tries`` at a clear and leaves it alone at a retry, in 2.11 and in 3.
    """
    return max(int(ti.max_tries) - int(ti.task.retries or 0), 0) + 1


def epoch_of(ti: Any) -> int:
    """Return how many tries were made before the user's last clear."""
    return first_try_of_epoch(ti) - 1


def external_id_of(ti: Any, number: int | str = 0, epoch: int = 0, generation: int = 0) -> str:
    """
    Return the id that we choose for a remote task.

    :param number: Which of its remote tasks, from 0; in a batch, the key of its picture and the pass.
    """
    tag = deployment_tag(deployment_name())
    return external_task_id(tag, ti.dag_id, ti.run_id, ti.task_id, ti.map_index, number, epoch, generation)


def deployment_name() -> str:
    """Return what tells this deployment from another that shares the account: every worker must see the same."""
    webserver = "webserver" if AIRFLOW < (3, 0) else "api"
    sources = (("kling", "deployment"), (webserver, "base_url"), ("core", "execution_api_server_url"))
    return next(filter(None, (conf.get(section, key, fallback="") for section, key in sources)), "")
