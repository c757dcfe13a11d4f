"""Airflow's simple auth manager, with users who may read their own DAGs only."""

from __future__ import annotations

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

#: User -> the DAGs that they may read, by the beginning of the id.
READABLE = {"stranger": "theirs"}
#: User -> what of a DAG they may not read.
LACKED = {"no-runs": DagAccessEntity.RUN, "no-tasks": DagAccessEntity.TASK_INSTANCE}


class PerDagAuthManager(SimpleAuthManager):
    """A user that is listed reads what is listed, any other what the role allows."""

    def is_authorized_dag(self, *, method, user, access_entity=None, details=None):
        if access_entity is not None and access_entity is LACKED.get(user.username):
            return False
        prefix = READABLE.get(user.username)
        # Of no DAG in particular: whoever may read some may ask for the list of their runs.
        lists = access_entity is DagAccessEntity.RUN and not (details and details.id)
        if prefix is not None and not lists and not (details and (details.id or "").startswith(prefix)):
            return False
        return super().is_authorized_dag(method=method, user=user, access_entity=access_entity, details=details)
