"""The address of our plugin that Kling posts to, made for a task instance; loaded when a task runs."""

from __future__ import annotations

import logging
from typing import Any

from airflow.providers.common.compat.sdk import conf, mask_secret

from airflow_kling.airflow_version import AIRFLOW
from airflow_kling.api.callback import Addressee, own_callback_url, token_of
from airflow_kling.api.inputs import InputFault


def callback_url_for(ti: Any, log: logging.Logger) -> str | None:
    """Return the address of our plugin that wakes a task instance; None, and a line in the log, where it has none."""
    if AIRFLOW < (3, 1):
        log.warning('callback_url="auto" needs Airflow 3.1 or later: polls alone tell when the Kling task ends')
        return None
    secret = conf.get("kling", "callback_secret", fallback="") or ""
    base_url = conf.get("kling", "callback_base_url", fallback="") or conf.get("api", "base_url", fallback="")
    addressee = Addressee(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
    try:
        url = own_callback_url(base_url or "", secret, addressee)
    except InputFault as fault:
        log.warning('callback_url="auto" cannot be used, polls alone tell when the Kling task ends: %s', fault)
        return None
    for told in (secret, token_of(secret, addressee)):
        mask_secret(told)
    return url
