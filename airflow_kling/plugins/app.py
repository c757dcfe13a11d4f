"""The application behind the run page: every route asks Airflow's auth manager, and none changes anything."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from weakref import WeakSet

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, get_user, requires_access_dag
from airflow.configuration import conf
from anyio import CapacityLimiter, to_thread
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi import Path as InPath
from fastapi.responses import JSONResponse, Response, StreamingResponse

from airflow_kling.plugins import runs
from airflow_kling.plugins.batches import open_batches, open_results
from airflow_kling.plugins.files import MediaFault, Opened, open_media, roots_of, storage_errors
from airflow_kling.plugins.items import (
    Instance,
    Run,
    as_json,
    border,
    page_of,
    source_place,
    summary,
    uri_of,
    usual_seconds,
)
from airflow_kling.plugins.thumbnails import Cache, content_type, picture_size, thumbnail

log = logging.getLogger(__name__)

STATIC = {
    "run.html": "text/html; charset=utf-8",
    "runs.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "run.js": "text/javascript; charset=utf-8",
    "runs.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "icon-dark.svg": "image/svg+xml",
    "logo.svg": "image/svg+xml",
}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
#: Of a file opened by itself: the browser's own viewer of pictures and clips, and nothing that runs.
FILE_POLICY = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}
PAGE = 24
#: Where a refusal's reason waits for the log.
REASON = "kling_reason"
_STEP = 1 << 18
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_FOLDER = Path(__file__).parent / "static"

#: Open at a time: each holds a thread while it is read, and some megabytes of a bucket's file.
MAX_STREAMS = 32

_cache: Cache[bytes] = Cache()
_streams: WeakSet[ExitStack] = WeakSet()
_streams_lock = threading.Lock()

DagId = Annotated[str, InPath(max_length=250)]
RunId = Annotated[str, InPath(max_length=250)]
TaskId = Annotated[str, InPath(max_length=250)]
#: As the database's column.
MapIndex = Annotated[int, InPath(ge=-1, le=2**31 - 1)]
Position = Annotated[int, InPath(ge=0)]

READ_XCOM = [Depends(requires_access_dag("GET", DagAccessEntity.XCOM))]
READ_RUN = [Depends(requires_access_dag("GET", DagAccessEntity.RUN))]
#: Rendered fields count to the task instance.
READ_ALL = [*READ_RUN, *READ_XCOM, Depends(requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE))]
RUN = "/dags/{dag_id}/runs/{run_id}"


class Guard:
    """Refuses bodies, which no route takes; sets the headers of every answer; logs every refusal."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.lower().encode(), value.encode())
                        for name, value in (HEADERS | {"Content-Security-Policy": FILE_POLICY}).items()
                        if name.lower().encode() not in there
                    ),
                ]
                if message["status"] >= 400:
                    why, path = scope.get(REASON, "see its status"), scope["path"][:500]
                    log.warning("Refused %s %r with %d: %s", scope["method"], path, message["status"], why)
            await send(message)

        headers = dict(scope["headers"])
        if headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
            answer = JSONResponse({"detail": "No body is taken here"}, 413, {"Connection": "close"})
            await answer(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)


def make_app() -> FastAPI:
    """Return the application; every route asks for a login, and those of a DAG for the right to read it."""
    app = FastAPI(title="Kling", docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(get_user)])
    app.add_middleware(Guard)
    app.add_exception_handler(MediaFault, _refuse)
    app.add_api_route("/", _runs_page, methods=["GET"])
    app.add_api_route("/runs", _recent_runs, methods=["GET"], dependencies=READ_RUN)
    app.add_api_route("/static/{name}", _static, methods=["GET"])
    for path, route, rights in (
        ("", _run_page, READ_ALL),
        ("/items", _items, READ_ALL),
        ("/media/{task_id}/{map_index}/{row}/{at}/{variant}", _media, READ_XCOM),
        ("/source/{task_id}/{map_index}/{variant}", _source, READ_ALL),
        ("/source/{task_id}/{map_index}/{row}/{variant}", _source_of_row, READ_ALL),
    ):
        app.add_api_route(RUN + path, route, methods=["GET"], dependencies=rights)
    return app


# --- pages ------------------------------------------------------------------------------------------------------------


def _runs_page() -> Response:
    return _static("runs.html")


def _run_page(dag_id: DagId, run_id: RunId) -> Response:
    return _static("run.html")


def _static(name: str) -> Response:
    if name not in STATIC:
        raise HTTPException(404, "No such file")
    return Response(_read_static(name), media_type=STATIC[name], headers={"Content-Security-Policy": PAGE_POLICY})


@cache
def _read_static(name: str) -> bytes:
    return (_FOLDER / name).read_bytes()


def _recent_runs(user: GetUserDep) -> dict[str, Any]:
    return {"runs": runs.recent_runs(get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))}


def _items(
    dag_id: DagId,
    run_id: RunId,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = PAGE,
    group: Literal["done", "waiting", "failed", "other"] | None = None,
    task_id: Annotated[str | None, Query(max_length=250)] = None,
    map_index: Annotated[int | None, Query(ge=-1)] = None,
) -> dict[str, Any]:
    known = runs.run_of(dag_id, run_id)
    if known is None:
        raise HTTPException(404, "No such run")
    instances = runs.instances_of(dag_id, run_id)
    roots = _roots(dag_id)
    wanted = sorted(instances, key=lambda each: (each.task_id, each.map_index) != (task_id, map_index))
    with open_batches(wanted, roots) as (opened, reasons):
        run = Run(instances, opened, reasons)
        sections = run.sections(task_id, map_index)
        page = page_of(sections, group, offset, limit)
        by = {item.key: run.submitter(item) for item in page}
        fields = runs.rendered_fields(dag_id, run_id, {(each.task_id, each.map_index) for each in by.values()})
        rows = [as_json(item, fields.get((by[item.key].task_id, by[item.key].map_index), {}), run) for item in page]
        told = summary(sections)
    waiting = {row["task_id"] for row in rows if row["group"] == "waiting"}
    here = [item for item in run.items if item.instance.task_id in waiting and item.output]
    earlier = runs.earlier_results(dag_id, run_id, waiting)
    return {
        "run": known,
        "summary": told,
        "total": told[group or "total"],
        "items": rows,
        "usual": {
            name: usual_seconds(
                [*earlier.get(name, ()), *(item.manifest for item in here if item.instance.task_id == name)]
            )
            for name in waiting
        },
        "roots": bool(roots),
        "cut": [name for (name, _), results in opened.items() if results.index.truncated],
        "now": datetime.now(UTC).isoformat(),
    }


# --- files ------------------------------------------------------------------------------------------------------------


def _instance(dag_id: str, run_id: str, task_id: str, map_index: int) -> Instance:
    found = runs.instances_of(dag_id, run_id, task_id=task_id, map_index=map_index)
    if not found:
        raise HTTPException(404, "No such task of Kling's in this run")
    return found[0]


def _stored_output(
    dag_id: DagId, run_id: RunId, task_id: TaskId, map_index: MapIndex, row: Position, at: Position
) -> tuple[str, str | None]:
    """Return the place that the task's own result names, and the worker that wrote it."""
    instance = _instance(dag_id, run_id, task_id, map_index)
    try:
        if instance.batch is not None:
            with open_results(instance, _roots(dag_id)) as results:
                uri = results.output(row, at)
        else:
            uri = uri_of(instance.rows[row]["outputs"][at])
    except IndexError:
        raise HTTPException(404, "The task's result names no such file") from None
    if uri is None:
        raise MediaFault("it was not stored: the task has no output_path", 404)
    return uri, instance.hostname


def _stored_source(
    dag_id: DagId, run_id: RunId, task_id: TaskId, map_index: MapIndex
) -> tuple[str, str | None, dict[str, Any]]:
    """Return the place of the picture that a worker has read for the task, and its other rendered fields."""
    instance = _instance(dag_id, run_id, task_id, map_index)
    fields = runs.rendered_fields(dag_id, run_id, [(task_id, map_index)]).get((task_id, map_index), {})
    place = source_place(fields.get("image"))
    # Without a result nothing shows that a worker could read it, and not only who wrote the parameter.
    if place is None or not instance.rows:
        raise HTTPException(404, "No stored picture is known to be the source")
    return place, instance.hostname, fields


def _stored_source_of_row(
    dag_id: DagId, run_id: RunId, task_id: TaskId, map_index: MapIndex, row: Position
) -> tuple[str, str | None]:
    """Return the place of the picture that a worker has read for a row of a batch."""
    instance = _instance(dag_id, run_id, task_id, map_index)
    with open_results(instance, _roots(dag_id)) as results:
        told = results.row(row)
    place = source_place(told.get("source"))
    # As of a task: that a worker could read it shows in what was made.
    if place is None or not told["outputs"]:
        raise HTTPException(404, "No stored picture is known to be the source")
    return place, instance.hostname


async def _media(
    request: Request,
    dag_id: DagId,
    stored: Annotated[tuple[str, str | None], Depends(_stored_output)],
    variant: Literal["file", "small", "large"],
) -> Response:
    uri, hostname = stored
    if variant == "file":
        return await to_thread.run_sync(_file_answer, request, uri, dag_id, hostname, limiter=_readers())
    return await to_thread.run_sync(_thumbnail_answer, request, uri, dag_id, hostname, variant, limiter=_makers())


async def _source(
    request: Request,
    dag_id: DagId,
    stored: Annotated[tuple[str, str | None, dict[str, Any]], Depends(_stored_source)],
    variant: Literal["small", "large", "border"],
) -> Response:
    uri, hostname, fields = stored
    if variant == "border":
        return await to_thread.run_sync(_border_answer, uri, dag_id, hostname, fields, limiter=_makers())
    return await to_thread.run_sync(_thumbnail_answer, request, uri, dag_id, hostname, variant, limiter=_makers())


async def _source_of_row(
    request: Request,
    dag_id: DagId,
    stored: Annotated[tuple[str, str | None], Depends(_stored_source_of_row)],
    variant: Literal["small", "large"],
) -> Response:
    uri, hostname = stored
    return await to_thread.run_sync(_thumbnail_answer, request, uri, dag_id, hostname, variant, limiter=_makers())


# Beside Airflow's own threads, and made where a loop runs.
@cache
def _makers() -> CapacityLimiter:
    """Decoding takes hundreds of megabytes."""
    return CapacityLimiter(2)


@cache
def _readers() -> CapacityLimiter:
    return CapacityLimiter(8)


def _thumbnail_answer(request: Request, uri: str, dag_id: str, hostname: str | None, variant: str) -> Response:
    with open_media(uri, _roots(dag_id), hostname=hostname) as file:
        if not file.content_type.startswith("image/"):
            raise MediaFault("it is no picture", 415)
        key = (uri, file.tag, variant) if file.tag else None
        tagged = {"ETag": f'"{file.tag}-{variant}"'} if file.tag else {}
        if tagged and request.headers.get("if-none-match") == tagged["ETag"]:
            return Response(status_code=304, headers=tagged)
        content = _cache.get(key) if key else None
        if content is None:
            content = thumbnail(file.stream, file.size, variant)
            if key:
                _cache.put(key, content)
    # Airflow packs answers; a packed picture is no smaller.
    return Response(content, media_type=content_type(content), headers={**tagged, "Content-Encoding": "identity"})


def _border_answer(uri: str, dag_id: str, hostname: str | None, fields: dict[str, Any]) -> Response:
    with open_media(uri, _roots(dag_id), hostname=hostname) as file:
        if not file.content_type.startswith("image/"):
            raise MediaFault("it is no picture", 415)
        return JSONResponse(border(fields, picture_size(file.stream, file.size)))


class _FileResponse(StreamingResponse):
    """Closes the file, however far it was sent."""

    def __init__(self, stack: ExitStack, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._stack = stack

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with self._stack:
            await super().__call__(scope, receive, send)


def _file_answer(request: Request, uri: str, dag_id: str, hostname: str | None) -> Response:
    stack = ExitStack()
    with _streams_lock:
        if len(_streams) >= MAX_STREAMS:
            raise MediaFault("the API server sends too many files just now; try again", 503)
        _streams.add(stack)
    stack.callback(_streams.discard, stack)
    try:
        file = stack.enter_context(open_media(uri, _roots(dag_id), hostname=hostname))
        tag = f'"{file.tag}"' if file.tag else None
        headers = {
            **({"ETag": tag} if tag else {}),
            "Accept-Ranges": "bytes",
            # Airflow packs answers, and a part of a file must not be.
            "Content-Encoding": "identity",
            "Content-Disposition": f'inline; filename="{_safe_name(uri)}"',
        }
        if tag and request.headers.get("if-none-match") == tag:
            stack.close()
            return Response(status_code=304, headers={"ETag": tag})
        asked = request.headers.get("range")
        part = _part(asked, file.size) if asked and request.headers.get("if-range", tag) == tag else None
        if part == ():
            stack.close()
            return Response(status_code=416, headers={"Content-Range": f"bytes */{file.size}"})
        first, last = part or (0, file.size - 1)
        headers["Content-Length"] = str(last - first + 1)
        if part:
            headers["Content-Range"] = f"bytes {first}-{last}/{file.size}"
    except BaseException:
        stack.close()
        raise
    return _FileResponse(stack, _pieces(file, first, last), 206 if part else 200, headers, media_type=file.content_type)


def _part(asked: str, size: int) -> tuple[int, ...] | None:
    """Return the first and last byte of a range, () for one that cannot be, None to ignore it as HTTP allows."""
    match = _RANGE.fullmatch(asked.strip())
    if match is None or not any(match.groups()):
        return None
    if not match[1]:
        wanted = min(int(match[2]), size)
        return (size - wanted, size - 1) if wanted else ()
    first, last = int(match[1]), min(int(match[2] or size), size - 1)
    if match[2] and int(match[2]) < first:
        return None
    return (first, last) if first < size else ()


async def _pieces(file: Opened, first: int, last: int) -> AsyncIterator[bytes]:
    left = last - first + 1
    while left > 0:
        try:
            piece = await to_thread.run_sync(_piece, file, last + 1 - left, min(_STEP, left), limiter=_readers())
        except MediaFault as fault:
            # Its length was told, so that the server breaks the answer off.
            log.warning("A file that was being sent broke off: %s", fault.reason)
            return
        if not piece:
            return
        left -= len(piece)
        yield piece


def _piece(file: Opened, at: int, length: int) -> bytes:
    with storage_errors():
        file.stream.seek(at)
        return file.stream.read(length)


def _safe_name(uri: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", uri.rpartition("/")[2])[:120] or "file"


def _roots(dag_id: str) -> Any:
    return _parsed_roots(conf.get("kling", "media_roots", fallback=""), dag_id)


_parsed_roots = lru_cache(maxsize=256)(roots_of)


async def _refuse(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, MediaFault)
    request.scope[REASON] = fault.reason
    return JSONResponse({"reason": fault.reason}, fault.status)
