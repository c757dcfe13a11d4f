"""Looking for a task by our id: whose silence is believed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_kling.api.families import FAMILIES
from airflow_kling.api.faults import ApiFault, FaultInfo, FaultKind
from airflow_kling.api.models import Task
from airflow_kling.lifecycle.lookup import CannotTell, look_up

DOCUMENTED = [name for name, family in FAMILIES.items() if family.lookup_by_external_id]
OTHERS = [name for name in FAMILIES if name not in DOCUMENTED]


class Gateway:
    """A gateway that finds nothing by our id, and is believed where its documents say that it looks there."""

    def __init__(self, lists):
        self.account = SimpleNamespace(lookup_by_external_id=True, list_tasks=lists is not None)
        self.lists = lists

    def get_task(self, task_id, family):
        raise ApiFault(FaultInfo(FaultKind.NOT_FOUND, "no such task"))

    def list_tasks(self, family, page, page_size):
        return self.lists if page == 1 else []


def looked_up(family, lists):
    return look_up(Gateway(lists), family, "af-1", None, now=lambda: 0.0, sleep=lambda seconds: None)


@pytest.mark.parametrize("family", DOCUMENTED)
def test_silence_is_believed_where_the_look_up_is_documented(family):
    assert looked_up(family, None) is None


@pytest.mark.parametrize("family", OTHERS)
def test_silence_proves_nothing_where_no_look_up_is_documented(family):
    ours = Task(family, "T1", external_task_id="af-1")
    assert looked_up(family, [ours]) == ours
    with pytest.raises(CannotTell):
        looked_up(family, None)
