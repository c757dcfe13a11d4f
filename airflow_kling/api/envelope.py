"""From an HTTP answer to a Task, a list of Tasks, or an ApiFault: one parser for every known envelope."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from airflow_kling.api.codes import ROUTE_MISSING_HINT, Code, code_kind, status_kind
from airflow_kling.api.families import Family, OutputKind
from airflow_kling.api.faults import ApiFault, Created, FaultInfo, FaultKind
from airflow_kling.api.models import Output, Pack, Task, TaskStatus
from airflow_kling.api.redact import redact

MAX_RETRY_AFTER = 3600.0
MAX_INDEX = 999
MAX_DEPTH = 4
"""How deep gateways were seen to wrap Kling's object: data.data.data, and one to spare."""

#: Kling says ``succeed``; the others are words of gateways (new-api's task states) and of Kling's newer standard.
STATUS_WORDS: dict[str, TaskStatus] = {
    "submitted": TaskStatus.SUBMITTED,
    "not_start": TaskStatus.SUBMITTED,
    "queued": TaskStatus.SUBMITTED,
    "pending": TaskStatus.SUBMITTED,
    "processing": TaskStatus.PROCESSING,
    "in_progress": TaskStatus.PROCESSING,
    "succeed": TaskStatus.SUCCEEDED,
    "succeeded": TaskStatus.SUCCEEDED,
    "success": TaskStatus.SUCCEEDED,
    "failed": TaskStatus.FAILED,
    "failure": TaskStatus.FAILED,
}

_OK_CODES = (0, "0", "success")
_REQUEST_ID_HEADERS = ("x-request-id", "x-oneapi-request-id", "x-trace-id")
_REQUEST_ID_IN_TEXT = re.compile(r"\(request id: ([\w.-]{4,80})\)", re.IGNORECASE)
_ID = re.compile(r"(?!\.{1,2}$)[\w.:~+=-]{1,256}")


@dataclass(frozen=True, slots=True)
class Answer:
    """
    An HTTP answer, as either transport received it.

    :param headers: Names in lower case.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


def parse_task(family: Family, answer: Answer) -> Task:
    """
    Return the task of a create or query answer.

    :raises ApiFault: for everything that is not a task.
    """
    payload = _payload(answer)
    data = payload.get("data")
    if isinstance(data, list):
        # One gateway is documented to answer a query of one task with a list.
        if len(data) != 1:
            raise _malformed(answer, payload, f"a list of {len(data)} tasks where one was asked")
        data = data[0]
    return _task(family, answer, payload, data, _request_id(answer, payload))


@dataclass(frozen=True, slots=True)
class Page:
    """
    A page of a list, as far as it was asked for.

    :param rows: How many rows it has, read or not.
    """

    tasks: list[Task]
    rows: int


def parse_tasks(family: Family, answer: Answer) -> list[Task]:
    """
    Return the tasks of a list answer.

    :raises ApiFault: for everything that is not a list of tasks.
    """
    return parse_page(family, answer).tasks


def parse_page(family: Family, answer: Answer, wanted: Container[str] | None = None) -> Page:
    """
    Return the tasks of a list answer, with the number of its rows.

    A row without a readable id is left out, and one that succeeded may come without its outputs: asking for the single
    task tells.

    :param wanted: Ids of the tasks to return; the rows of others are not read any further.
    :raises ApiFault: for everything that is not a list of tasks.
    """
    payload = _payload(answer)
    rows = payload.get("data")
    if rows is None and "data" in payload:
        return Page([], 0)
    if isinstance(rows, dict) and "task_id" in rows:
        rows = [rows]  # An older page of the documents prints one object.
    if not isinstance(rows, list):
        raise _malformed(answer, payload, "no list of tasks")
    tasks = []
    request_id = _request_id(answer, payload)
    for row in rows:
        if wanted is not None and not _may_be_wanted(row, wanted):
            continue
        try:
            tasks.append(_task(family, answer, payload, row, request_id, whole=False))
        except ApiFault:
            continue
    return Page(tasks, len(rows))


def parse_packs(answer: Answer) -> list[Pack]:
    """
    Return the resource packs of an account, those in force first; rows that cannot be read are left out.

    :raises ApiFault: for everything that is not a list of packs.
    """
    payload = _payload(answer)
    data = payload.get("data")
    rows: object = None
    if isinstance(data, dict):
        code = _code(data.get("code"))
        if code is not None and code not in _OK_CODES:
            raise _fault(answer, code, payload, _text(data.get("msg")))
        rows = data.get("resource_pack_subscribe_infos")
        if rows is None:
            return []
    if not isinstance(rows, list):
        raise _malformed(answer, payload, "no list of resource packs")
    packs = [
        Pack(
            name=redact(_text(row.get("resource_pack_name"))),
            total=_number(row.get("total_quantity")),
            remaining=_number(row.get("remaining_quantity")),
            ends_at=_moment(row.get("invalid_time")),
            in_force=_text(row.get("status")) == "online",
        )
        for row in rows
        if isinstance(row, Mapping)
    ]
    return sorted(packs, key=lambda pack: not pack.in_force)


def parse_bare_task(family: Family, fields: Mapping[str, Any]) -> Task:
    """
    Return the task of an object without an envelope, as callbacks carry it.

    :raises ApiFault: where it is no task.
    """
    return _task(family, Answer(200, {}, b""), {}, fields, None)


def read_bare_status(fields: Mapping[str, Any]) -> TaskStatus:
    """
    Return the status alone of such an object, of whatever family, and with or without what the task made.

    :raises ApiFault: where it names no task.
    """
    answer = Answer(200, {}, b"")
    layers = _layers(answer, {}, fields)
    if _first_id(layers, "task_id", "id") is None:
        raise _malformed(answer, {}, "no task id")
    return _status(layers)[0]


def parse_retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """
    Return the seconds that ``Retry-After`` asks for, at most an hour; None where it is absent or unreadable.

    :param headers: Names in lower case.
    :param now: The time to count an HTTP date from.
    """
    value = (headers.get("retry-after") or "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (TypeError, ValueError, IndexError, OverflowError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER) if math.isfinite(seconds) else None


def _payload(answer: Answer) -> dict[str, Any]:
    """Return the JSON object of a successful answer, or raise what the answer says instead."""
    if 300 <= answer.status < 400:
        raise _fault(
            answer, None, {}, "the server redirects instead of answering", kind=FaultKind.ROUTE, made_none=True
        )
    payload = json_object(answer.body)
    if payload is None:
        raise _not_json(answer)
    error = payload.get("error")
    if error:
        raise _gateway_fault(answer, payload, error)
    code = _code(payload.get("code"))
    message = _text(payload.get("message") or payload.get("msg"))
    if code is None and "code" in payload and message.strip() == "404":
        missing = 'the gateway answered {"code": null, "message": "404"}: it does not offer this route'
        raise _fault(answer, None, payload, missing, kind=FaultKind.ROUTE, hint=ROUTE_MISSING_HINT, made_none=True)
    if code not in _OK_CODES and "code" in payload:
        raise _fault(answer, code, payload, message)
    if answer.status >= 400:
        raise _fault(answer, None, payload, message)
    if "code" not in payload and "data" not in payload:
        raise _malformed(answer, payload, "JSON that is no answer of Kling")
    return payload


def json_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object that a body is, None where it is none."""
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return payload if isinstance(payload, dict) else None


def _task(
    family: Family,
    answer: Answer,
    payload: Mapping[str, Any],
    data: object,
    request_id: str | None,
    *,
    whole: bool = True,
) -> Task:
    layers = _layers(answer, payload, data)
    task_id = _first_id(layers, "task_id", "id")
    if task_id is None:
        raise _malformed(answer, payload, "no task id")
    status, word = _status(layers)
    inner = layers[-1]
    message = redact(_text(_first(layers, "task_status_msg", "fail_reason")))
    task_info = inner.get("task_info")
    external = task_info.get("external_task_id") if isinstance(task_info, dict) else None
    outputs = _outputs(family.kind, inner.get("task_result")) if status is TaskStatus.SUCCEEDED else ()
    if whole and status is TaskStatus.SUCCEEDED and not outputs:
        raise _malformed(answer, payload, f"task {task_id} succeeded, but holds no {family.kind.value}")
    return Task(
        family=family.name,
        task_id=task_id,
        external_task_id=_id_or_none(external if external is not None else inner.get("external_task_id")),
        status=status,
        outputs=outputs,
        message=message,
        units=_number(inner.get("final_unit_deduction")),
        created_at=_moment(_first(layers, "created_at")),
        updated_at=_moment(_first(layers, "updated_at")),
        status_word=word,
        request_id=request_id,
    )


def _may_be_wanted(row: object, wanted: Container[str]) -> bool:
    """Tell by the ids of a row whether it is to be read; a row with layers is, for any of them may hold the id."""
    if not isinstance(row, dict) or isinstance(row.get("data"), (dict, list)):
        return True
    if _text(row.get("task_id")) in wanted:
        return True
    info = row.get("task_info")
    external = info.get("external_task_id") if isinstance(info, dict) else None
    ids = (external, row.get("external_task_id"), row.get("id"))
    return any(_text(value) in wanted for value in ids if value is not None)


def _layers(answer: Answer, payload: Mapping[str, Any], data: object) -> list[Mapping[str, Any]]:
    """Return the object and those wrapped in it, outermost first; the last one is Kling's own."""
    layers: list[Mapping[str, Any]] = []
    # Kling's own rows are one layer deep, and a page has 500 of them.
    if isinstance(data, dict) and data.get("data") is None:
        return [data]
    while isinstance(data, dict) and len(layers) < MAX_DEPTH:
        code = _code(data.get("code"))
        if layers and code is not None and code not in _OK_CODES:
            if _status(layers)[0] is TaskStatus.FAILED:
                break  # The gateway gave the task up, and says so around Kling's refusal.
            raise _fault(answer, code, {**payload, **data}, _text(data.get("message")))
        layers.append(data)
        data = data.get("data")
        if isinstance(data, list) and len(data) == 1:
            data = data[0]
    if not layers:
        raise _malformed(answer, payload, "no task")
    task_keys = ("task_id", "task_status", "task_result")
    while len(layers) > 1 and not any(key in layers[-1] for key in task_keys):
        layers.pop()
    return layers


def _status(layers: list[Mapping[str, Any]]) -> tuple[TaskStatus, str]:
    """
    Return the status and the word for it.

    Kling's own word counts. Where it has not ended, a gateway's failure still ends the task: the gateway gave it up.
    A gateway's success alone does not, for there is nothing to collect yet.
    """
    words = [_text(layer.get("task_status") or layer.get("status")) for layer in reversed(layers)]
    if len(words) == 1 and (status := STATUS_WORDS.get(words[0].lower())) is not None:
        return status, words[0]
    known = [(STATUS_WORDS[word.lower()], word) for word in words if word.lower() in STATUS_WORDS]
    own = known[0] if known and known[0][1] == words[0] else None
    if own is not None and own[0].ended:
        return own
    for status, word in known:
        if status is TaskStatus.FAILED:
            return status, word
    if own is not None:
        return own
    if words[0]:
        return TaskStatus.PROCESSING, words[0]
    # A create's answer may lack the status: CometAPI's newer page prints none.
    return known[0] if known else (TaskStatus.SUBMITTED, "")


def _outputs(kind: OutputKind, result: object) -> tuple[Output, ...]:
    rows = result.get(kind.key) if isinstance(result, Mapping) else None
    outputs = []
    for position, row in enumerate(rows if isinstance(rows, list) else []):
        if not isinstance(row, Mapping):
            continue
        url = next((row[key] for key in ("url", "url_mp3", "url_wav") if _is_link(row.get(key))), None)
        if url is None:
            continue
        index = row.get("index")
        watermark = row.get("watermark_url")
        outputs.append(
            Output(
                index=index
                if isinstance(index, int) and not isinstance(index, bool) and 0 <= index <= MAX_INDEX
                else position,
                kind=kind,
                url=url,
                watermark_url=watermark if _is_link(watermark) else None,
                id=_id_or_none(row.get("id")),
                duration=_number(row.get("duration")),
            )
        )
    if len({output.index for output in outputs}) < len(outputs):
        outputs = [replace(output, index=position) for position, output in enumerate(outputs)]
    return tuple(sorted(outputs, key=lambda output: output.index))


def _is_link(value: object) -> bool:
    return isinstance(value, str) and value.lower().startswith(("http://", "https://"))


def _not_json(answer: Answer) -> ApiFault:
    start = answer.body[:512].lstrip().lower()
    is_page = start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml"))
    seen = "a web page" if is_page else "an empty body" if not start else "no readable JSON"
    message = f"the server answered HTTP {answer.status} with {seen}"
    if answer.status >= 400:
        return _fault(answer, None, {}, message)
    hint = "If it stays so, check the base URL and prefix of the connection" if is_page else ""
    return _fault(answer, None, {}, message, kind=FaultKind.SERVER, hint=hint)


def _gateway_fault(answer: Answer, payload: Mapping[str, Any], error: object) -> ApiFault:
    fields = error if isinstance(error, Mapping) else {"message": error}
    message = _text(fields.get("message"))
    missing = "unsupported relay mode" in message.lower()
    kind = FaultKind.ROUTE if missing else None
    return _fault(answer, _code(fields.get("code")), payload, message, kind=kind, made_none=missing)


def _malformed(answer: Answer, payload: Mapping[str, Any], what: str) -> ApiFault:
    return _fault(answer, None, payload, f"unexpected answer: {what}", kind=FaultKind.SERVER, hint="")


def _fault(
    answer: Answer,
    code: int | str | None,
    payload: Mapping[str, Any],
    message: str,
    *,
    kind: FaultKind | None = None,
    hint: str | None = None,
    made_none: bool = False,
) -> ApiFault:
    """Return the fault: classed by its code, else by its HTTP status, unless the caller knows better."""
    row = code_kind(code, message)
    if row is None:
        refused = 400 <= answer.status < 500 or answer.status == 501 or (isinstance(code, int) and 1000 <= code < 1400)
        created = Created.NO if refused or made_none else Created.MAY_EXIST
        by_status, status_hint = status_kind(answer.status, code)
        row = Code(code or "", answer.status, by_status, f"HTTP {answer.status}", status_hint, created)
    return ApiFault(
        FaultInfo(
            kind=kind or row.kind,
            message=redact(message) or row.meaning,
            code=code,
            http_status=answer.status,
            request_id=_request_id(answer, payload),
            created=row.created,
            retry_after=parse_retry_after(answer.headers),
            hint=row.hint if hint is None else hint,
        )
    )


def _request_id(answer: Answer, payload: Mapping[str, Any]) -> str | None:
    candidates = [payload.get("request_id"), *(answer.headers.get(name) for name in _REQUEST_ID_HEADERS)]
    error = payload.get("error")
    if isinstance(error, Mapping):
        found = _REQUEST_ID_IN_TEXT.search(_text(error.get("message")))
        candidates.append(found.group(1) if found else None)
    return next(filter(None, map(_id_or_none, candidates)), None)


def _code(value: object) -> int | str | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return value if abs(value) < 10**9 else None
    if isinstance(value, str) and value:
        return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else redact(value)[:80]
    return None


def _first(layers: list[Mapping[str, Any]], *keys: str) -> object:
    """Return the innermost value that is not empty."""
    for layer in reversed(layers):
        for key in keys:
            if value := layer.get(key):
                return value
    return None


def _first_id(layers: list[Mapping[str, Any]], *keys: str) -> str | None:
    """Return the outermost id: a gateway looks up its own ids, not those of Kling behind it."""
    for key in keys:
        for layer in layers:
            if found := _id_or_none(layer.get(key)):
                return found
    return None


def _id_or_none(value: object) -> str | None:
    text = _text(value)
    return text if _ID.fullmatch(text) else None


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _moment(value: object) -> datetime | None:
    """Return the time of Unix milliseconds."""
    number = _number(value)
    if not number:
        return None
    try:
        return datetime.fromtimestamp(number / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
