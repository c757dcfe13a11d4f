"""What the lifecycle needs of a transport: submit, ask for one task, ask for a list."""

from __future__ import annotations

from typing import Protocol

from airflow_kling.api.calls import TaskRequest
from airflow_kling.api.families import IMAGE_EXPANSION
from airflow_kling.api.gateways import Account
from airflow_kling.api.models import Task


class Client(Protocol):
    """One account, asked synchronously. Every method raises ApiFault."""

    @property
    def account(self) -> Account: ...

    def submit(self, request: TaskRequest) -> Task: ...

    def get_task(self, task_id: str, family: str = IMAGE_EXPANSION) -> Task: ...

    def list_tasks(self, family: str = IMAGE_EXPANSION, page: int = 1, page_size: int = 30) -> list[Task]: ...
