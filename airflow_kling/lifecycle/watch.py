"""Waiting in a worker: polls one task until it ends; the decisions are those of :mod:`wait`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from airflow_kling.api.faults import ApiFault
from airflow_kling.lifecycle.client import Client
from airflow_kling.lifecycle.wait import Decision, Outcome, Wait


def poll_once(wait: Wait, client: Client, family: str, log: logging.Logger, now: float) -> Decision:
    """Ask once and decide."""
    try:
        decision = wait.on_task(client.get_task(wait.task_id, family), now)
    except ApiFault as fault:
        decision = wait.on_fault(fault, now, believed=client.account.lookup_by_external_id)
    for level, text in decision.notes:
        log.log(level, "%s", text)
    return decision


def watch(
    wait: Wait,
    make_client: Callable[[], Client],
    family: str,
    log: logging.Logger,
    *,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.time,
) -> Decision:
    """
    Poll until the wait ends.

    :param make_client: Reads the connection and gives the account to ask.
    """
    client = make_client()
    while True:
        decision = poll_once(wait, client, family, log, now())
        if decision.outcome is not Outcome.WAITING:
            return decision
        sleep(decision.delay)
        if decision.reread_key:
            client = make_client()
