"""Kling's business codes and the gateways' words: what each means, whether a task may exist, what to do."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_kling.api.faults import Created, FaultKind

K = FaultKind


@dataclass(frozen=True, slots=True)
class Code:
    """
    One row of the table.

    :param code: Kling's number or a gateway's word.
    :param http_status: HTTP status that the documents print beside it.
    :param kind: What it means for the caller.
    :param meaning: The documents' meaning.
    :param hint: What an on-call reader should do.
    :param created: Whether a create refused with it can have made a task.
    :param fresh_token: Whether one more try with a newly signed token can help.
    """

    code: int | str
    http_status: int
    kind: FaultKind
    meaning: str
    hint: str
    created: Created = Created.NO
    fresh_token: bool = False


_KEY = "Check the key of the connection"
_LATER = "It passes by itself: wait and try again"

#: The documented business codes (https://kling.ai/document-api, "General information", error codes). A fault is
#: classed by its code, never by its HTTP status alone: 429 is permanent for 1100-1102 and 1304.
CODES: dict[int | str, Code] = {
    row.code: row
    for row in (
        Code(1000, 401, K.AUTH, "authentication failed", _KEY),
        Code(1001, 401, K.AUTH, "Authorization header empty", _KEY),
        Code(1002, 401, K.AUTH, "Authorization header invalid", _KEY),
        Code(1003, 401, K.AUTH, "token not yet valid", "Check the clock of this machine", fresh_token=True),
        Code(1004, 401, K.AUTH, "token expired", "Check the clock of this machine", fresh_token=True),
        Code(1100, 429, K.ACCOUNT, "account exception", "Check the account in Kling's console"),
        Code(1101, 429, K.ACCOUNT, "account in arrears", "Recharge the account"),
        Code(
            1102,
            429,
            K.ACCOUNT,
            "resource pack used up or expired",
            "Buy a resource pack of this type (image or video)",
        ),
        Code(1103, 403, K.AUTH, "no permission for this API or model", "Ask for the permission in Kling's console"),
        Code(1200, 400, K.INPUT, "invalid request parameters", "Correct the request"),
        Code(1201, 400, K.INPUT, "invalid key or value", "Correct the value that the message names"),
        Code(1202, 404, K.ROUTE, "invalid method", "Check the gateway and prefix of the connection"),
        Code(1203, 404, K.INPUT, "requested resource, e.g. the model, does not exist", "Check the model's name"),
        Code(1300, 400, K.CONTENT, "platform policy triggered", "Change the picture or the prompt"),
        Code(1301, 400, K.CONTENT, "content security policy triggered", "Change the picture or the prompt"),
        Code(1302, 429, K.RATE, "requests too fast", _LATER),
        Code(
            1303,
            429,
            K.CONCURRENCY,
            "concurrency of the resource pack exceeded",
            "Wait until a task of the account ends, or bound the tasks in flight with an Airflow pool",
        ),
        Code(1304, 429, K.ACCOUNT, "address not in the IP whitelist", "Add this machine's address in Kling's console"),
        Code(5000, 500, K.SERVER, "internal error", _LATER, Created.MAY_EXIST),
        Code(5001, 503, K.SERVER, "maintenance", _LATER, Created.MAY_EXIST),
        Code(5002, 504, K.SERVER, "internal timeout, backlog", _LATER, Created.MAY_EXIST),
        # Gateways (CometAPI's error pages, and the open-source gateway new-api that several of them run).
        Code("task_not_exist", 400, K.NOT_FOUND, "task unknown to the gateway", "Ask with the account that made it"),
        Code("fail_to_fetch_task", 500, K.SERVER, "gateway could not ask Kling", _LATER, Created.MAY_EXIST),
        Code("invalid_request", 500, K.INPUT, "invalid request", "Correct the request"),
        Code("model_not_found", 503, K.ROUTE, "no channel for this model", "Use another gateway or model"),
        Code("insufficient_user_quota", 403, K.ACCOUNT, "gateway balance used up", "Recharge the gateway's account"),
    )
}

#: Kling answers 1201 for three different things; the words of the message tell them apart (reported live in
#: September 2026 for image generation, documented for none).
MESSAGES_OF_1201: tuple[tuple[str, str, FaultKind, str], ...] = (
    ("task not found", "", K.NOT_FOUND, "The account of this connection knows no such task"),
    ("external_task_id", "already exists", K.DUPLICATE, "The task of that id exists: ask for it by the id"),
)

#: What an HTTP status means where the answer holds no known code.
STATUSES: dict[int, tuple[FaultKind, str]] = {
    301: (K.ROUTE, "Check the base URL and prefix of the connection"),
    400: (K.INPUT, "Correct the request"),
    401: (K.AUTH, _KEY),
    402: (K.ACCOUNT, "Recharge the account"),
    403: (K.AUTH, "Check the key's permissions, and whether a firewall stands in between"),
    404: (K.ROUTE, "Check the base URL and prefix of the connection, or use another gateway"),
    405: (K.ROUTE, "Check the base URL and prefix of the connection, or use another gateway"),
    407: (K.CONNECTION, "Check the proxy of the connection"),
    408: (K.SERVER, _LATER),
    413: (K.INPUT, "Send a smaller picture"),
    425: (K.SERVER, _LATER),
    429: (K.RATE, _LATER),
    451: (K.CONTENT, "Change the picture or the prompt"),
    500: (K.SERVER, _LATER),
    501: (K.ROUTE, "Check the base URL and prefix of the connection, or use another gateway"),
}

ROUTE_MISSING_HINT = "This gateway does not offer the route: use another gateway, e.g. Kling itself"


def code_kind(code: int | str | None, message: str) -> Code | None:
    """Return the table's row of a code, with 1201 told apart by its message; None where the table has no row."""
    row = CODES.get(code) if code is not None else None
    if code != 1201 or row is None:
        return row
    lowered = message.lower()
    for start, also, kind, hint in MESSAGES_OF_1201:
        if lowered.startswith(start) and also in lowered:
            return Code(1201, 400, kind, row.meaning, hint)
    return row


#: What an unknown business code means by its hundred, where the HTTP status says nothing.
HUNDREDS = {10: 401, 11: 402, 12: 400, 13: 451}


def status_kind(http_status: int, code: int | str | None = None) -> tuple[FaultKind, str]:
    """
    Return kind and hint for an answer without a known code.

    :param http_status: By this, or by the row of its hundred.
    :param code: By its hundred, where the status is one of success.
    """
    if http_status < 300 and isinstance(code, int):
        http_status = HUNDREDS.get(code // 100, 500)
    if http_status in STATUSES:
        return STATUSES[http_status]
    return STATUSES.get({3: 301, 4: 400}.get(http_status // 100, 500), STATUSES[500])
