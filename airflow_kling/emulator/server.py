"""The emulator as a server on loopback: in a thread for tests, or in the foreground for the command line."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
import time
from contextlib import ExitStack
from types import FrameType, TracebackType
from typing import Any, Literal, Self

import uvicorn

from airflow_kling.emulator.app import EmulatorApp
from airflow_kling.emulator.protocol import ResettableProtocol
from airflow_kling.emulator.settings import DEFAULT_KEY, EmulatorSettings
from airflow_kling.emulator.state import EmulatorState

LOOPBACK = "127.0.0.1"
START_TIMEOUT = 10.0
_ANY_ADDRESS = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 - read, not bound


class EmulatorServer:
    """
    An emulator behind a socket, served by a thread; a context manager.

    :param settings: How it behaves.
    :param host: Address to listen on. Anything but loopback lets other machines in, which need no more than the
        published key.
    :param port: Port to listen on; 0 takes a free one.
    """

    def __init__(self, settings: EmulatorSettings | None = None, *, host: str = LOOPBACK, port: int = 0) -> None:
        if not host:
            raise ValueError("host: name an address to listen on")
        self.app = EmulatorApp(settings)
        self._host, self._port = host, port
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def state(self) -> EmulatorState:
        """The control plane, to be driven from the same process."""
        return self.app.state

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        host = _ANY_ADDRESS.get(self._host, self._host)
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    @property
    def is_serving(self) -> bool:
        """Whether the server's thread lives."""
        return self._thread is not None and self._thread.is_alive()

    def connection_uri(self, gateway: Literal["cometapi", "kling"] = "cometapi", *, key_pair: bool = False) -> str:
        """
        Return an Airflow connection to this emulator as JSON, fit for ``AIRFLOW_CONN_KLING_DEFAULT``.

        :param gateway: Which dialect to speak.
        :param key_pair: Whether to sign tokens with AccessKey and SecretKey instead of sending an API key.
        """
        fields: dict[str, Any] = {"conn_type": "kling", "host": self.url}
        if key_pair:
            if gateway != "kling":
                raise ValueError(f"gateway={gateway}: only kling takes a key pair")
            access_key, secret = next(iter(self.state.settings.key_pairs.items()))
            fields |= {"login": access_key, "password": secret}
        else:
            fields |= {"password": next(iter(self.state.settings.keys or ()), DEFAULT_KEY)}
        return json.dumps(fields | {"extra": {"gateway": gateway, "allow_private_hosts": True}})

    def start(self) -> Self:
        """Begin to listen; returns when requests are answered."""
        listener = self._bind()
        config = uvicorn.Config(
            self.app,
            http=ResettableProtocol,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="kling-emulator", daemon=True
        )
        self._thread.start()
        end = time.monotonic() + START_TIMEOUT
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > end:
                self.stop()
                raise RuntimeError("the emulator did not start")
            time.sleep(0.002)
        return self

    def stop(self) -> None:
        """Close the socket and its connections, and remove the results."""
        self.app.end_stalls()
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(START_TIMEOUT)
        # Last, for a create under way still asks for its picture.
        self.app.close()

    def wait_for_pictures(self, timeout: float = 60.0) -> None:
        """
        Wait until the pictures of all accepted tasks are made; their latency is a matter of the clock.

        :param timeout: Seconds to wait at most.
        :raises TimeoutError: when they are over.
        """
        if not self.app.studio.join(timeout):
            raise TimeoutError(f"pictures are still being made after {timeout:g} s")

    def _bind(self) -> socket.socket:
        family, _, _, _, address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)[0]
        # With the protocol named, asyncio turns Nagle's algorithm off; without, each answer takes 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            self.app.close()
            raise
        self._port = listener.getsockname()[1]
        return listener


def serve(settings: EmulatorSettings | None = None, *, host: str = LOOPBACK, port: int = 0) -> None:
    """
    Serve in the foreground until Ctrl-C or SIGTERM, and print how to connect.

    :param settings: How the emulator behaves.
    :param host: Address to listen on.
    :param port: Port to listen on; 0 takes a free one.
    """
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    with ExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, number, signal.signal(number, end))
        server = stack.enter_context(EmulatorServer(settings, host=host, port=port))
        _say(_greeting(server))
        while server.is_serving and not ended.wait(0.5):
            pass
    _say("stopped\n")


def _greeting(server: EmulatorServer) -> str:
    settings = server.state.settings
    keys = "any" if settings.keys is None else ", ".join(settings.keys)
    return (
        f"Kling emulator on {server.url} (latency {settings.latency:g} s, "
        f"{'no' if settings.quota is None else settings.quota} concurrency limit, {settings.pictures} pictures)\n"
        f"API key: {keys}\n"
        f"Connection: export AIRFLOW_CONN_KLING_DEFAULT='{server.connection_uri()}'\n"
        f"Ledger: {server.url}/_emulator/ledger\n"
    )


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
