"""The id we choose: the same for every try of the same work, and for nothing else."""

from __future__ import annotations

import re
from itertools import combinations

from airflow_kling.api.models import ExpandRequest
from airflow_kling.lifecycle.identity import deployment_tag, external_task_id

WORK = ("dag", "run", "task", -1)


def test_id_is_taken_by_the_api_and_tells_its_deployment():
    made = external_task_id(deployment_tag("https://airflow.example"), *WORK)
    assert re.fullmatch(r"af-[0-9a-f]{8}-[0-9a-f]{32}", made)
    request = ExpandRequest(image="https://example.com/cat.png", up=0.5, external_task_id=made)
    assert request.external_task_id == made


def test_id_is_the_same_for_the_same_work():
    assert external_task_id("tag", *WORK) == external_task_id("tag", *WORK)


def test_id_differs_with_each_part_of_the_work():
    works = [
        WORK,
        ("dag2", "run", "task", -1),
        ("dag", "run2", "task", -1),
        ("dag", "run", "task2", -1),
        ("dag", "run", "task", 0),
        ("dag", "run", "task", 1),
        ("dagrun", "", "task", -1),
        ("dag", "ru", "ntask", -1),
        ("dag", "run", "task", -1, 1),
    ]
    ids = [external_task_id(deployment_tag(name), *work) for name in ("one", "two") for work in works]
    assert all(one != other for one, other in combinations(ids, 2))
