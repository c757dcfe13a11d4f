"""Airflow's simple auth manager, with users who may read their own DAGs only."""

from __future__ import annotations

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

#: User -> the DAGs that they may read, by the beginning of the id.
READABLE = {"stranger": "theirs"}


class PerDagAuthManager(SimpleAuthManager):
    """A user that is listed reads what is listed, any other what the role allows."""

    def is_authorized_dag(self, *, method, user, access_entity=None, details=None):
        prefix = READABLE.get(user.username)
        if prefix is not None and not (details and (details.id or "").startswith(prefix)):
            return False
        return super().is_authorized_dag(method=method, user=user, access_entity=access_entity, details=details)
