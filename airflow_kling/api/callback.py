"""Callbacks: the address that Kling is told, the token in it, what its body hints at, and its signature."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from airflow_kling.api.checks import is_url
from airflow_kling.api.envelope import json_object, parse_bare_task, read_bare_status
from airflow_kling.api.families import Family
from airflow_kling.api.faults import ApiFault, FaultInfo, FaultKind
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.models import Task
from airflow_kling.api.redact import redact

ROUTE = "/kling/callbacks"
"""Where Airflow's API server takes them, below its own address."""

MIN_SECRET = 32
_PURPOSE = "airflow-provider-kling callback v1"


class Addressee(NamedTuple):
    """
    The task instance that a callback is for, whichever of its tries waits.

    :param dag_id: Its DAG.
    :param run_id: Its run.
    :param task_id: Its task in Airflow.
    :param map_index: -1 where it is not mapped.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int


def check_callback_secret(secret: str) -> str:
    """Return the secret that tokens are made with, of at least 32 characters."""
    if len(secret) < MIN_SECRET:
        limit = f"at least {MIN_SECRET} random characters"
        raise InputFault(
            "[kling] callback_secret", "***" if secret else "", limit, "e.g. what openssl rand -hex 32 prints"
        )
    return secret


def own_callback_url(base_url: str, secret: str, addressee: Addressee) -> str:
    """
    Return the address that wakes a task instance. It is the same for every try, and to be kept secret like its token.

    :param base_url: Airflow's, as Kling reaches it.
    :param secret: ``[kling] callback_secret``.
    :param addressee: The task instance.
    :raises InputFault: for a base URL or a secret that cannot be one, and for ids that no path can hold.
    """
    if not is_url(base_url):
        advice = "set it to how Kling reaches the API server"
        raise InputFault("[kling] callback_base_url", base_url, "a URL of http or https", advice)
    if any("/" in name for name in addressee[:3]):
        raise InputFault("callback_url", "auto", "without a slash in the DAG's, run's or task's id", "leave it out")
    parts = (*map(str, addressee), token_of(check_callback_secret(secret), addressee))
    return base_url.rstrip("/") + ROUTE + "".join(f"/{quote(part, safe='')}" for part in parts)


def token_of(secret: str, addressee: Addressee) -> str:
    """
    Return the token that proves that the address was ours: 43 characters, fit for a path.

    :param secret: ``[kling] callback_secret``.
    :param addressee: The task instance.
    """
    text = json.dumps([_PURPOSE, *addressee])
    digest = hmac.digest(secret.encode(), text.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def is_token(token: str, secret: str, addressee: Addressee) -> bool:
    """
    Return whether a token is that of a task instance, in a time that tells nothing of the right one.

    :param token: As it came.
    :param secret: ``[kling] callback_secret``.
    :param addressee: As it came.
    """
    return hmac.compare_digest(token.encode(errors="replace"), token_of(secret, addressee).encode())


def parse_callback(family: Family, body: bytes) -> Task:
    """
    Return the task that a callback speaks of, for a receiver that knows its family.

    :param family: The family, which the body does not name.
    :param body: The raw body: Kling's bare object of a task.
    :raises ApiFault: where the body is no task.
    """
    return parse_bare_task(family, _fields(body))


def hints_at_end(body: bytes) -> bool:
    """
    Return whether a callback says that its task has ended. It is a hint only: ask for the task before acting on it.

    :param body: The raw body: Kling's bare object of a task.
    :raises ApiFault: where the body is no task.
    """
    return read_bare_status(_fields(body)).ended


def _fields(body: bytes) -> dict[str, Any]:
    fields = json_object(body)
    if fields is None:
        raise ApiFault(FaultInfo(FaultKind.INPUT, "the callback's body is no JSON object"))
    return fields


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
        # An empty key would verify for everybody, and the library's first versions take what decodes to one.
        webhook = Webhook(base64.b64decode(secret.removeprefix("whsec_") + "==") or "")
    except Exception:  # the library's, and base64's
        raise InputFault("secret", "***", "whsec_ and base64", "copy it again from Kling's console") from None
    try:
        webhook.verify(body, dict(headers))
    except Exception as error:
        # The library lets errors of decoding pass through, and a stranger chooses what it decodes.
        message = f"the callback's signature is not valid: {redact(str(error))}"
        raise ApiFault(FaultInfo(FaultKind.AUTH, message)) from None
