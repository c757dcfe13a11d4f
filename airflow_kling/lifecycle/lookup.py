"""Looking for a task by the id that we chose: by asking for it, then in the list, where the gateway is believed."""

from __future__ import annotations

from collections.abc import Callable

from airflow_kling.api.calls import MAX_PAGE_SIZE, READ_TIMEOUT
from airflow_kling.api.families import get_family
from airflow_kling.api.faults import ApiFault, FaultKind
from airflow_kling.api.models import Task
from airflow_kling.lifecycle.client import Client

LIST_GRACE = 4 * READ_TIMEOUT
"""Seconds after a create within which its absence from a list proves nothing."""

LIST_PAGES = 20
CLOCK_SKEW = 600.0

#: Kinds that answer with "there is no such thing", be it the task or the way to ask for it.
_ABSENT = (FaultKind.NOT_FOUND, FaultKind.ROUTE, FaultKind.INPUT)


class CannotTell(Exception):
    """The gateway's silence on an id proves nothing."""


def look_up(
    client: Client,
    family: str,
    external_id: str,
    since: float | None,
    *,
    now: Callable[[], float],
    sleep: Callable[[float], None],
) -> Task | None:
    """
    Return the task of that id, None where certainly none has it.

    A task that is found counts on every gateway; that none is found only where the gateway is believed, and where the
    documents say that the family is looked up so.

    :param since: When the create was sent, in seconds since the epoch, if that is known.
    :raises CannotTell: where nothing is found, and that proves nothing.
    :raises ApiFault: where the look-up itself fails.
    """
    believed = client.account.lookup_by_external_id and get_family(family).lookup_by_external_id
    try:
        task = client.get_task(external_id, family)
    except ApiFault as fault:
        if fault.info.kind not in _ABSENT:
            raise
        if believed and fault.info.kind is FaultKind.NOT_FOUND:
            return None
    else:
        if task.external_task_id == external_id or (believed and not task.external_task_id):
            return task
    if not client.account.list_tasks:
        raise CannotTell
    found = _scan_list(client, family, external_id, since)
    left = 0.0 if since is None else since + LIST_GRACE - now()
    if found is None and left > 0:
        sleep(left)  # a create of a moment ago has had no time to show
        found = _scan_list(client, family, external_id, since)
    return found


def _scan_list(client: Client, family: str, external_id: str, since: float | None) -> Task | None:
    for page in range(1, LIST_PAGES + 1):
        try:
            tasks = client.list_tasks(family, page, MAX_PAGE_SIZE)
        except ApiFault as fault:
            if fault.info.kind in _ABSENT:
                raise CannotTell from None
            raise
        for task in tasks:
            if task.external_task_id == external_id:
                return task
        if tasks and not any(task.external_task_id for task in tasks):
            raise CannotTell  # a list that names no external ids
        seen = [task.created_at.timestamp() for task in tasks if task.created_at]
        # Only an empty page ends the list: rows that cannot be read make a page short.
        if not tasks or (since is not None and seen and min(seen) < since - CLOCK_SKEW):
            return None
    raise CannotTell  # more tasks than we look through
