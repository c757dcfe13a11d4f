"""The emulator as an ASGI application: the routes of both dialects, results, and control under ``/_emulator/``."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from airflow_kling import __version__
from airflow_kling.api.families import FAMILIES, Family, OutputKind
from airflow_kling.emulator import answers
from airflow_kling.emulator.accounts import check_authorization
from airflow_kling.emulator.calling import Caller
from airflow_kling.emulator.delivery import Delivery, access_denied, refused
from airflow_kling.emulator.faults import ANSWERING, FAULTS, Fault, Place, Stage, Subject
from airflow_kling.emulator.fetching import fetch_loopback, is_loopback
from airflow_kling.emulator.links import RESULTS_PATH, Signer, split_link
from airflow_kling.emulator.making import Studio, stand_in
from airflow_kling.emulator.orders import Job, Order
from airflow_kling.emulator.refusals import Refusal, no_route
from airflow_kling.emulator.settings import Dialect, EmulatorSettings
from airflow_kling.emulator.state import Accepted, EmulatorState, TaskView, output_path
from airflow_kling.emulator.validation import CHECKS, MAX_BODY, check_create, decode_body, not_emulated, text_of

HEADER = "X-Kling-Emulator"
"""Marks every answer as emulated; its value is the package's version."""

MAX_PAGE, MAX_PAGE_SIZE, DEFAULT_PAGE_SIZE = 1000, 500, 30

STAND_IN_NOTE = "the image URL was not read (only loopback is): a drawn picture stands in"

PACKS_ROUTE = "/account/costs"
PACKS = (
    (OutputKind.IMAGE, "Trial-Image-1000Units-{quota}Con-1Months", 1000.0),
    (OutputKind.VIDEO, "Trial-Video-100Units-{quota}Con-1Months", 100.0),
)
"""Kind, name and units of the packs that every account has; spending more than they hold is not refused."""

_ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(slots=True)
class Call:
    """One request on a family's route."""

    request: Request
    dialect: Dialect
    family: Family
    request_id: str
    subject: Subject = field(default_factory=Subject)


class EmulatorApp:
    """The ASGI application; :meth:`close` ends it."""

    def __init__(self, settings: EmulatorSettings | None = None) -> None:
        self.state = EmulatorState(settings)
        self.studio = Studio(self.state)
        self._delivery = Delivery(self.state.settings.stall_seconds)
        self._signer = Signer()
        self._caller = Caller(self.state)
        self._request_numbers = count(1)
        self._routes = Starlette(routes=[*self._control_routes(), *self._api_routes()])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = __version__
            await send(message)

        await self._routes(scope, receive, send_marked)

    def end_stalls(self) -> None:
        """Hold no answer back any longer: a server that stops waits for it."""
        self._delivery.closing.set()

    def close(self) -> None:
        """End stalled answers, stop making pictures and posting callbacks, and remove the pictures."""
        self.end_stalls()
        self._caller.close()
        self.studio.close()

    def _api_routes(self) -> list[Route]:
        return [
            Route(f"{dialect.value}/{{rest:path}}", partial(self._api, dialect), methods=_ALL_METHODS)
            for dialect in (Dialect.GATEWAY, Dialect.KLING)
        ]

    def _control_routes(self) -> list[Route]:
        return [
            Route(PACKS_ROUTE, self._packs),
            Route("/_emulator/", self._index),
            Route("/_emulator/ledger", self._ledger),
            Route("/_emulator/faults", self._show_faults),
            Route("/_emulator/faults", self._add_fault, methods=["POST"]),
            Route("/_emulator/faults", self._clear_faults, methods=["DELETE"]),
            Route("/_emulator/clock", self._show_clock),
            Route("/_emulator/clock", self._advance_clock, methods=["POST"]),
            Route("/_emulator/reset", self._reset, methods=["POST"]),
            Route(f"{RESULTS_PATH}/{{task_id}}/{{name}}", self._download),
        ]

    # The API

    async def _api(self, dialect: Dialect, request: Request) -> Response:
        request_id = f"emu-request-{next(self._request_numbers)}"
        family, ident = _family_and_ident(request.path_params["rest"])
        handler = self._handler(request.method, ident)
        if family is None or handler is None:
            no_method = no_route() if dialect is Dialect.GATEWAY else Refusal(1202, "Method is invalid")
            return refused(no_method, request_id)
        call = Call(request, dialect, family, request_id)
        try:
            return await handler(call)
        except Refusal as refusal:
            return refused(refusal, request_id)

    def _handler(self, method: str, ident: str) -> Callable[[Call], Awaitable[Response]] | None:
        if method == "POST" and not ident:
            return self._create
        if method == "GET":
            return partial(self._query, ident) if ident else self._list
        return None

    def _admit(self, call: Call) -> None:
        header, settings = call.request.headers.get("authorization"), self.state.settings
        # Clients sign with the machine's clock, whatever time the emulator was told.
        account = check_authorization(header, call.dialect, settings, time.time())
        call.subject = Subject(account=account)
        if not settings.offers(call.family.name, call.dialect):
            raise no_route()
        if call.family.name not in CHECKS:
            raise not_emulated(call.family)

    async def _create(self, call: Call) -> Response:
        self.state.count(Place.CREATE)
        unread = self.state.fire_unread()
        if unread is not None:
            self._note_refused(call, None, fault=unread, note="reset before the body was read")
            return self._disturbed(unread, call, Response())
        try:
            order, job = await self._read_order(call)
        except ClientDisconnect:
            self._note_refused(call, None, note="the client left before the body was read")
            return Response(status_code=499)
        except _Injected as injected:
            self._note_refused(call, injected.fault.code, n=injected.n, fault=injected.fault)
            return self._disturbed(injected.fault, call, JSONResponse(answers.envelope(call.request_id, {})))
        except Refusal as refusal:
            self._note_refused(call, refusal.code, note=refusal.message)
            raise
        accepted = self.state.create(order, account=call.subject.account, dialect=call.dialect)
        if accepted.needs_outputs:
            await self._make(accepted, job)
        if order.callback_url and is_loopback(order.callback_url):
            body_of = partial(answers.told, link=self._links(call))
            self._caller.follow(accepted.task.task_id, order.callback_url, body_of)
        answer = JSONResponse(answers.created(accepted.task, call.request_id))
        return self._disturbed(accepted.fault, call, answer)

    async def _read_order(self, call: Call) -> tuple[Order, Job]:
        self._admit(call)
        body = await _read_body(call.request)
        fields = await asyncio.to_thread(decode_body, body, call.dialect)
        call.subject = Subject(call.subject.account, text_of(fields, "external_task_id"), text_of(fields, "prompt"))
        find_clip = partial(self.state.find_clip, account=call.subject.account)
        order, job = await asyncio.to_thread(check_create, call.family, fields, partial(self._fetch, call), find_clip)
        fault = self.state.fire(Place.CREATE, {Stage.READING, Stage.BEFORE}, call.subject)
        if fault is not None:
            raise _Injected(fault, order.n)
        return order, job

    async def _make(self, accepted: Accepted, job: Job) -> None:
        if self.state.settings.pictures == "canned":
            self.studio.start(accepted, job)
        else:
            await asyncio.to_thread(self.studio.start, accepted, job)

    async def _query(self, ident: str, call: Call) -> Response:
        self.state.count(Place.QUERY)
        self._admit(call)
        call.subject = Subject(call.subject.account, external_task_id=ident)
        try:
            task = self.state.find(ident, account=call.subject.account, dialect=call.dialect, family=call.family)
        except Refusal as refusal:
            answer = refused(refusal, call.request_id)
        else:
            call.subject = task.subject
            answer = self._query_answer(call, task)
        return self._disturbed(self.state.fire(Place.QUERY, ANSWERING, call.subject), call, answer)

    def _query_answer(self, call: Call, task: TaskView) -> JSONResponse:
        wrapped = call.dialect is Dialect.GATEWAY and self.state.settings.gateway_envelope == "wrapped"
        form = answers.queried_wrapped if wrapped else answers.queried
        return JSONResponse(form(task, call.request_id, self._links(call)))

    async def _list(self, call: Call) -> Response:
        self.state.count(Place.LIST)
        self._admit(call)
        if not self.state.settings.lists(call.dialect):
            raise no_route()
        page = _number(call.request, "pageNum", 1, MAX_PAGE)
        page_size = _number(call.request, "pageSize", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        tasks = self.state.list_tasks(account=call.subject.account, family=call.family, page=page, page_size=page_size)
        answer = JSONResponse(answers.listed(tasks, call.request_id, self._links(call)))
        return self._disturbed(self.state.fire(Place.LIST, ANSWERING, call.subject), call, answer)

    def _links(self, call: Call) -> answers.Link:
        """Return what signs links to files, below the host that the client used."""
        base_url = str(call.request.base_url)
        return lambda task, name: self._signer.link(base_url, task.task_id, name, task.expires)

    def _disturbed(self, fault: Fault | None, call: Call, answer: Response) -> Response:
        return answer if fault is None else self._delivery.disturb(fault, answer, call.request_id)

    def _note_refused(
        self, call: Call, code: int | str | None, *, n: int = 0, fault: Fault | None = None, note: str = ""
    ) -> None:
        self.state.refused(call.subject, call.dialect, call.family, code=code, n=n, fault=fault, note=note)

    def _fetch(self, call: Call, url: str) -> tuple[bytes, str]:
        """Read a picture that is given as a URL: own results from disk, loopback over HTTP, else a stand-in."""
        own = split_link(url, urlsplit(str(call.request.base_url)).netloc)
        if own is not None:
            return self._read_own(*own), ""
        if is_loopback(url):
            return fetch_loopback(url), ""
        return stand_in(), STAND_IN_NOTE

    def _read_own(self, task_id: str, name: str, expires: str, signature: str) -> bytes:
        if not self._signer.is_valid(task_id, name, expires, signature, self.state.clock.now()):
            raise OSError("HTTP 403")
        path = output_path(self.state.task(task_id), name)
        if path is None:
            raise OSError("HTTP 404")
        return path.read_bytes()

    async def _packs(self, request: Request) -> Response:
        """Answer what is left of the account's resource packs, those that were bought in the asked time."""
        request_id = f"emu-request-{next(self._request_numbers)}"
        state = self.state
        try:
            header = request.headers.get("authorization")
            account = check_authorization(header, Dialect.KLING, state.settings, time.time())
            first, last = (_milliseconds(request, name) for name in ("start_time", "end_time"))
        except Refusal as refusal:
            return refused(refusal, request_id)
        bought = state.now_ms() - 86_400_000
        rows = [
            (name.format(quota=state.settings.quota or 99), total, max(total - state.spent(account, kind), 0.0))
            for kind, name, total in PACKS
            if first <= bought <= last
        ]
        return JSONResponse(answers.packs(rows, bought, bought + 30 * 86_400_000, request_id))

    # Results

    async def _download(self, request: Request) -> Response:
        self.state.count(Place.DOWNLOAD)
        task_id, name = request.path_params["task_id"], request.path_params["name"]
        task = self.state.task(task_id)
        answer = self._file(task, name, request)
        fault = self.state.fire(Place.DOWNLOAD, ANSWERING, task.subject) if task else None
        if fault is not None:
            answer = self._delivery.disturb(fault, answer, "")
        self.state.downloaded(task_id, name, answer.status_code, authorization="authorization" in request.headers)
        return answer

    def _file(self, task: TaskView | None, name: str, request: Request) -> Response:
        path = output_path(task, name)
        if task is None or path is None:
            return PlainTextResponse("Not Found", 404)
        expires, signature = (request.query_params.get(key, "") for key in ("Expires", "Signature"))
        if not self._signer.is_valid(task.task_id, name, expires, signature, self.state.clock.now()):
            return access_denied()
        return FileResponse(path)

    # Control

    async def _index(self, request: Request) -> Response:
        return JSONResponse(
            {
                "emulator": "kling",
                "version": __version__,
                "now": self.state.now_ms(),
                "dialects": [dialect.value for dialect in Dialect],
                "families": list(CHECKS),
                "faults": list(FAULTS),
            }
        )

    async def _ledger(self, request: Request) -> Response:
        return JSONResponse(self.state.ledger())

    async def _show_faults(self, request: Request) -> Response:
        return JSONResponse({"faults": self.state.fault_rules()})

    async def _add_fault(self, request: Request) -> Response:
        try:
            return JSONResponse(self.state.add_fault(await _json_object(request)), 201)
        except ValueError as error:
            return _bad_control(error)

    async def _clear_faults(self, request: Request) -> Response:
        self.state.clear_faults()
        return await self._show_faults(request)

    async def _show_clock(self, request: Request) -> Response:
        clock = self.state.clock
        return JSONResponse({"now": self.state.now_ms(), "advanced": clock.advanced, "virtual": clock.virtual})

    async def _advance_clock(self, request: Request) -> Response:
        try:
            fields = await _json_object(request)
            self.state.advance(_seconds(fields.get("advance")))
        except (ValueError, OverflowError) as error:
            return _bad_control(error)
        return await self._show_clock(request)

    async def _reset(self, request: Request) -> Response:
        self.state.reset()
        self.studio.discard()
        return JSONResponse({"reset": True})


class _Injected(Exception):
    """A fault that keeps a create from being accepted."""

    def __init__(self, fault: Fault, n: int) -> None:
        super().__init__(fault.name)
        self.fault, self.n = fault, n


def _family_and_ident(rest: str) -> tuple[Family | None, str]:
    """Return the family of a route and the id below it, which may be empty; no route lies below another."""
    for family in FAMILIES.values():
        if f"{rest}/".startswith(f"{family.route}/"):
            return family, rest[len(family.route) + 1 :]
    return None, ""


def _number(request: Request, name: str, default: int, largest: int) -> int:
    text = request.query_params.get(name)
    if text is None or text == "":
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 7 and 1 <= int(text) <= largest):
        raise Refusal(1201, f"{name} is invalid: must be an integer from 1 to {largest}")
    return int(text)


def _milliseconds(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 15):
        raise Refusal(1201, f"{name} is invalid: must be Unix milliseconds")
    return int(text)


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise Refusal(1201, f"Request body is invalid: must be of at most {MAX_BODY:,} bytes", http_status=413)
    return bytes(body)


async def _json_object(request: Request) -> dict[str, Any]:
    fields = json.loads(await request.body())
    if not isinstance(fields, dict):
        raise ValueError("the body must be a JSON object")
    return fields


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"advance={value!r}: must be a number of seconds, 0 or more")
    return float(value)


def _bad_control(error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)
