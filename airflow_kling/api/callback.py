"""Callbacks: read the body that Kling posts, and verify its signature where a secret is set."""

from __future__ import annotations

import json
from collections.abc import Mapping

from airflow_kling.api.envelope import parse_bare_task
from airflow_kling.api.families import Family
from airflow_kling.api.faults import ApiFault, FaultInfo, FaultKind
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.models import Task
from airflow_kling.api.redact import redact


def parse_callback(family: Family, body: bytes) -> Task:
    """
    Return the task that a callback speaks of. It is a hint only: ask for the task before acting on it.

    :param family: The family, which the body does not name.
    :param body: The raw body: Kling's bare object of a task.
    :raises ApiFault: where the body is no task.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise ApiFault(FaultInfo(FaultKind.INPUT, "the callback's body is no JSON object"))
    return parse_bare_task(family, fields)


def verify_signature(secret: str, headers: Mapping[str, str], body: bytes) -> None:
    """
    Verify a Standard-Webhooks signature, its time (5 minutes either way) included.

    :param secret: ``whsec_…`` from Kling's console.
    :param headers: ``webhook-id``, ``webhook-timestamp`` and ``webhook-signature``, in lower case.
    :param body: The raw body.
    :raises InputFault: where the secret cannot be one.
    :raises ApiFault: where the signature does not match, or cannot be read.
    """
    from standardwebhooks.webhooks import Webhook

    try:
        webhook = Webhook(secret)
    except Exception:  # the library's, and base64's
        raise InputFault("secret", "***", "whsec_ and base64", "copy it again from Kling's console") from None
    try:
        webhook.verify(body, dict(headers))
    except Exception as error:
        # The library lets errors of decoding pass through, and a stranger chooses what it decodes.
        message = f"the callback's signature is not valid: {redact(str(error))}"
        raise ApiFault(FaultInfo(FaultKind.AUTH, message)) from None
