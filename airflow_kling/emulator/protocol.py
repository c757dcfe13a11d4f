"""Uvicorn's HTTP protocol, made to hand the connection to the application, which may then reset it."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from airflow_kling.emulator.delivery import TRANSPORT


class ResettableProtocol(H11Protocol):
    """One connection, which its requests' ASGI scope holds as an extension."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        app = self.app

        async def with_transport(scope: Any, receive: Any, send: Any) -> None:
            scope.setdefault("extensions", {})[TRANSPORT] = transport
            await app(scope, receive, send)

        self.app = with_transport
