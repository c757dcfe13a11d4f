"""Answers that go wrong on their way: reset, held back, cut off, replaced by a page or by bytes that are no picture."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time

from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

from airflow_kling.emulator import answers
from airflow_kling.emulator.faults import MESSAGES, Effect, Fault
from airflow_kling.emulator.refusals import Refusal

TRANSPORT = "airflow_kling.transport"
"""Extension of the ASGI scope that holds the connection, see :mod:`airflow_kling.emulator.protocol`."""

PAGE = """<!DOCTYPE html>
<html><head><title>{status}</title></head>
<body><h1>{status}</h1><p>airflow-kling emulator: injected page</p></body></html>
"""

STALL_STEP = 0.05
"""Seconds between two looks at whether the emulator closes."""

_NO_LINGER = struct.pack("ii", 1, 0)


class ResetResponse(Response):
    """Resets the connection (a TCP RST) instead of answering."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = scope.get("extensions", {}).get(TRANSPORT)
        if transport is None:
            raise ConnectionResetError("the emulator's fault, on a server that cannot reset connections")
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()
        # One turn of the loop, in which the server learns that the connection is gone.
        await asyncio.sleep(0)


class StalledResponse(Response):
    """
    Holds an answer back until the client leaves, the time is over or the emulator closes.

    :param closing: Set, from any thread, when the emulator closes.
    """

    def __init__(self, answer: Response, seconds: float, closing: threading.Event) -> None:
        super().__init__()
        self._answer, self._seconds, self._closing = answer, seconds, closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leaving = asyncio.ensure_future(_left(receive))
        end = time.monotonic() + self._seconds
        try:
            while not leaving.done() and not self._closing.is_set() and time.monotonic() < end:
                await asyncio.wait({leaving}, timeout=min(STALL_STEP, max(0.0, end - time.monotonic())))
            gone = leaving.done()
        finally:
            leaving.cancel()
        if not gone:
            await (ResetResponse() if self._closing.is_set() else self._answer)(scope, receive, send)


class Delivery:
    """Delivers answers, through a fault where one was fired."""

    def __init__(self, stall_seconds: float) -> None:
        self.closing = threading.Event()
        self._stall_seconds = stall_seconds

    def disturb(self, fault: Fault, answer: Response, request_id: str) -> Response:
        """Return what the client gets instead of the answer."""
        match fault.effect:
            case Effect.RESET:
                return ResetResponse()
            case Effect.STALL:
                return StalledResponse(answer, self._stall_seconds, self.closing)
            case Effect.CODE:
                code = fault.code or 5000
                return refused(Refusal(code, MESSAGES[code]), request_id)
            case Effect.PAGE:
                return HTMLResponse(PAGE.format(status=fault.http_status), fault.http_status)
            case Effect.TRUNCATE:
                body = bytes(answer.body)
                return Response(body[: len(body) // 2], answer.status_code, media_type="application/json")
            case Effect.EXPIRED:
                return access_denied()
            case Effect.CORRUPT:
                return Response(b"\x00not a picture: airflow-kling emulator\x00", media_type="image/png")
        raise AssertionError(f"{fault.name} is no fault of an answer")


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def refused(refusal: Refusal, request_id: str) -> Response:
    """Return the answer of a refusal."""
    return JSONResponse(answers.refused(refusal, request_id), refusal.http_status)


def access_denied() -> Response:
    """Return the answer to a link that is expired or not signed by the emulator."""
    return Response("<Error><Code>AccessDenied</Code></Error>", 403, media_type="application/xml")
