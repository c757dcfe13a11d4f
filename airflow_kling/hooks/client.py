"""The two transports, requests and aiohttp: they send a Call, return what it parses, and raise ApiFault."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import ssl
import time
import weakref
from collections.abc import AsyncIterator, Callable, Container, Iterator
from contextlib import asynccontextmanager
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from time import monotonic
from typing import Any, NoReturn, TypeVar

import aiohttp
import requests
import requests.utils
import tenacity
import urllib3.exceptions
from requests.auth import AuthBase

from airflow_kling import __version__
from airflow_kling.api.auth import TokenSource
from airflow_kling.api.calls import (
    CONNECT_TIMEOUT,
    Call,
    TaskRequest,
    create_call,
    list_call,
    may_resend,
    page_call,
    query_call,
    resend_delay,
)
from airflow_kling.api.envelope import Answer, Page
from airflow_kling.api.families import IMAGE_EXPANSION
from airflow_kling.api.faults import ApiFault, Created, FaultInfo, FaultKind
from airflow_kling.api.gateways import Account
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.models import Task
from airflow_kling.api.redact import reason_of
from airflow_kling.hooks.options import TransportOptions

T = TypeVar("T")

HEADERS = {"User-Agent": f"airflow-provider-kling/{__version__}", "Accept-Encoding": "gzip, deflate"}
_READ_STEP = 1 << 16
ANSWER_TIMEOUT_FACTOR = 3
"""How many read timeouts a whole answer may take: each piece of it restarts the read timeout."""
_NEVER_SENT_HINT = "Nothing was sent: check the host and the network of the connection"
_NO_ANSWER_HINT = "The request may have arrived"

#: Causes below requests, and reasons of aiohttp, that mean that no byte of the request left.
_NEVER_SENT_REQUESTS = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    ssl.SSLCertVerificationError,
    socket.gaierror,
)
_NEVER_SENT_AIOHTTP = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientProxyConnectionError,
    aiohttp.InvalidURL,
)


class BearerAuth(AuthBase):
    """
    Puts the bearer token on a request, and with that keeps requests from taking another from ``.netrc``.

    :param base_url: Where alone the token may go.
    """

    def __init__(self, tokens: TokenSource, base_url: str) -> None:
        self.tokens = tokens
        self.base_url = base_url

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if not (request.url or "").startswith(f"{self.base_url}/"):
            raise ValueError("the key of this connection goes to its own base URL only")
        request.headers["Authorization"] = f"Bearer {self.tokens.token(time.time())}"
        return request


class NoAuth(AuthBase):
    """Sends no authorization, not even one from ``.netrc``."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


def make_session(auth: AuthBase, options: TransportOptions) -> requests.Session:
    """
    Return a session that sends our headers only and keeps no cookies.

    :raises InputFault: for certificates that cannot be read.
    """
    check_tls_files(options)
    session = requests.Session()
    session.headers.clear()
    session.headers.update(HEADERS)
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    session.auth = auth
    session.verify = ca_bundle(options)
    session.cert = options.cert
    # Never: what the environment says, its proxies and its .netrc, would win over the connection.
    session.trust_env = False
    return session


class SyncClient:
    """
    One account over requests; implements the lifecycle's Client.

    :param session: A session of :func:`make_session` with this account's tokens.
    """

    def __init__(
        self,
        account: Account,
        session: requests.Session,
        tokens: TokenSource,
        options: TransportOptions,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.account = account
        self.session = session
        self._tokens = tokens
        self._proxies = proxies_for(account.base_url, options)
        self._sleep = sleep

    def submit(self, request: TaskRequest) -> Task:
        return self.send(create_call(self.account, request))

    def get_task(self, task_id: str, family: str = IMAGE_EXPANSION, *, resend: bool = True) -> Task:
        """
        Return the task.

        :param resend: Whether to try again here; a caller that polls anyway does without.
        """
        call = query_call(self.account, family, task_id)
        return self.send(call) if resend else self._send_once(call)

    def list_tasks(self, family: str = IMAGE_EXPANSION, page: int = 1, page_size: int = 30) -> list[Task]:
        return self.send(list_call(self.account, family, page, page_size))

    def send(self, call: Call[T]) -> T:
        """Send the call, again where that is safe, and return what its answer holds."""
        try:
            result: T = tenacity.Retrying(sleep=self._sleep, **_policy(call.method, self._tokens))(
                self._send_once, call
            )
        except ApiFault as fault:
            # Tenacity remembers the way here: a body of 10 MB would wait for the collector.
            raise fault.with_traceback(None) from fault.__cause__
        return result

    def _send_once(self, call: Call[T]) -> T:
        ends_at = monotonic() + ANSWER_TIMEOUT_FACTOR * call.read_timeout
        try:
            with self.session.request(
                call.method,
                call.url,
                data=call.body,
                headers=call.headers,
                timeout=(CONNECT_TIMEOUT, call.read_timeout),
                allow_redirects=False,
                stream=True,
                proxies=self._proxies,
            ) as response:
                body = io.BytesIO()
                for chunk in _pieces(response):
                    body.write(chunk)
                    if body.tell() > call.max_answer_bytes:
                        break
                    if monotonic() > ends_at:
                        raise TimeoutError("the answer came too slowly")
                headers = {name.lower(): value for name, value in response.headers.items()}
                answer = Answer(response.status_code, headers, body.getvalue())
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            _raise_no_answer(call, error, never_sent=_requests_never_sent(error))
        return call.parse(answer)


class AsyncClient:
    """
    One account over aiohttp.

    :param session: The shared session of :func:`shared_session`.
    """

    def __init__(
        self,
        account: Account,
        session: aiohttp.ClientSession,
        tokens: TokenSource,
        options: TransportOptions,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self.account = account
        self._session = session
        self._tokens = tokens
        self._proxy = requests.utils.select_proxy(account.base_url, proxies_for(account.base_url, options))
        self._sleep = sleep

    async def submit(self, request: TaskRequest) -> Task:
        return await self.send(create_call(self.account, request))

    async def get_task(self, task_id: str, family: str = IMAGE_EXPANSION, *, resend: bool = True) -> Task:
        """
        Return the task.

        :param resend: Whether to try again here; a caller that polls anyway does without.
        """
        call = query_call(self.account, family, task_id)
        return await (self.send(call) if resend else self._send_once(call))

    async def list_tasks(self, family: str = IMAGE_EXPANSION, page: int = 1, page_size: int = 30) -> list[Task]:
        return await self.send(list_call(self.account, family, page, page_size))

    async def find_tasks(self, family: str, page: int, wanted: Container[str]) -> Page:
        """Return those tasks of a whole page of the list whose ids are wanted; never tries again."""
        return await self._send_once(page_call(self.account, family, page, wanted))

    async def send(self, call: Call[T]) -> T:
        """Send the call, again where that is safe, and return what its answer holds."""
        policy = _policy(call.method, self._tokens)
        return await tenacity.AsyncRetrying(sleep=self._sleep, **policy)(self._send_once, call)

    async def _send_once(self, call: Call[T]) -> T:
        headers = call.headers | {"Authorization": f"Bearer {self._tokens.token(time.time())}"}
        limit = aiohttp.ClientTimeout(
            total=ANSWER_TIMEOUT_FACTOR * call.read_timeout, connect=CONNECT_TIMEOUT, sock_read=call.read_timeout
        )
        try:
            async with self._session.request(
                call.method,
                call.url,
                # A stream: aiohttp would block the loop while it sends a large body in one piece.
                data=None if call.body is None else io.BytesIO(call.body),
                headers=headers,
                timeout=limit,
                allow_redirects=False,
                proxy=self._proxy,
            ) as response:
                body = io.BytesIO()
                async for chunk in response.content.iter_chunked(_READ_STEP):
                    body.write(chunk)
                    if body.tell() > call.max_answer_bytes:
                        break
                names = {name.lower(): value for name, value in response.headers.items()}
                answer = Answer(response.status, names, body.getvalue())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            _raise_no_answer(call, error, never_sent=isinstance(error, _NEVER_SENT_AIOHTTP))
        return call.parse(answer)


class _SharedSession:
    """A session with the number of those who use it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.users = 0


_shared: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[object, _SharedSession]] = (
    weakref.WeakKeyDictionary()
)


@asynccontextmanager
async def shared_session(conn_id: str, options: TransportOptions) -> AsyncIterator[aiohttp.ClientSession]:
    """
    Give the session of this event loop and connection; the last user closes it.

    :param options: Its TLS and proxies: a changed connection gets a session of its own.
    """
    of_loop = _shared.setdefault(asyncio.get_running_loop(), {})
    key = (conn_id, options.key)
    if key not in of_loop:
        context = await asyncio.to_thread(_ssl_context, options)
        # Another user may have come first while the certificates were read.
        if key not in of_loop:
            of_loop[key] = _SharedSession(
                aiohttp.ClientSession(
                    # Pollers bound themselves; to wait for a free connection would look like one that fails.
                    connector=aiohttp.TCPConnector(ssl=context, limit=0),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    headers=HEADERS,
                    # Never: aiohttp would take an authorization from .netrc and put it over ours.
                    trust_env=False,
                )
            )
    shared = of_loop[key]
    shared.users += 1
    try:
        yield shared.session
    finally:
        shared.users -= 1
        if not shared.users:
            of_loop.pop(key, None)
            await shared.session.close()


def _policy(method: str, tokens: TokenSource) -> dict[str, Any]:
    """
    Return what both transports tell tenacity; the decisions are the contract's.

    It holds the method and not the call, which tenacity's own circles would keep.
    """

    def info_of(state: tenacity.RetryCallState) -> FaultInfo | None:
        error = state.outcome.exception() if state.outcome else None
        return error.info if isinstance(error, ApiFault) else None

    def retry(state: tenacity.RetryCallState) -> bool:
        info = info_of(state)
        return info is not None and may_resend(method, info, state.attempt_number, token_renewable=tokens.renewable)

    def wait(state: tenacity.RetryCallState) -> float:
        info = info_of(state)
        return resend_delay(info, state.attempt_number) if info else 0.0

    def before_sleep(state: tenacity.RetryCallState) -> None:
        info = info_of(state)
        if info is not None and info.kind is FaultKind.AUTH:
            tokens.renew()

    return {"retry": retry, "wait": wait, "before_sleep": before_sleep, "reraise": True}


def _requests_never_sent(error: BaseException) -> bool:
    """Tell from the chain of causes whether a connection was ever made."""
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.ConnectTimeout)):
        return True
    seen: list[object] = [error]
    while seen:
        item = seen.pop()
        if isinstance(item, _NEVER_SENT_REQUESTS):
            return True
        if isinstance(item, BaseException):
            seen += [getattr(item, "reason", None), item.__cause__, *item.args]
    return False


def _pieces(response: requests.Response) -> Iterator[bytes]:
    """Give the body as it comes: a whole step of a body that drips would take longer than the answer may."""
    read = getattr(response.raw, "read1", None)  # urllib3 2.2
    if read is None:
        return response.iter_content(_READ_STEP)
    return iter(partial(read, _READ_STEP, decode_content=True), b"")


def _raise_no_answer(call: Call[Any], error: BaseException, *, never_sent: bool) -> NoReturn:
    timed_out = isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError))
    what = "no connection" if never_sent else "no answer in time" if timed_out else "connection lost"
    host = call.url.split("/", 3)[2]
    raise ApiFault(
        FaultInfo(
            FaultKind.CONNECTION,
            f"{what} from {host}: {reason_of(error)}",
            created=Created.NO if never_sent else Created.MAY_EXIST,
            hint=_NEVER_SENT_HINT if never_sent else _NO_ANSWER_HINT if call.method == "POST" else "",
        )
    ) from None


def proxies_for(url: str, options: TransportOptions) -> dict[str, str]:
    """
    Return the proxy per scheme: the connection's, else those of the environment.

    :param url: Where to; the environment may except it.
    """
    if options.proxies or not options.trust_env:
        return dict(options.proxies)
    return requests.utils.get_environ_proxies(url)


def _ssl_context(options: TransportOptions) -> ssl.SSLContext | bool:
    if options.verify is False and not options.cert:
        return False
    check_tls_files(options)
    bundle = ca_bundle(options)
    try:
        context = ssl.create_default_context(cafile=bundle if isinstance(bundle, str) else None)
        if options.cert:
            context.load_cert_chain(*([options.cert] if isinstance(options.cert, str) else options.cert))
    except OSError as error:
        reason = f"{type(error).__name__}: {error.strerror or error}"
        raise InputFault("verify, cert", reason, "readable certificates", "correct the connection's extra") from None
    if options.verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def check_tls_files(options: TransportOptions) -> None:
    """
    Refuse certificates that cannot be read, before anything is sent.

    :raises InputFault: naming the file.
    """
    certificates = (options.cert,) if isinstance(options.cert, str) else options.cert or ()
    for path in (ca_bundle(options), *certificates):
        if isinstance(path, str) and not os.access(path, os.R_OK):
            raise InputFault("verify, cert", path, "a readable file of certificates", "correct the connection's extra")


def ca_bundle(options: TransportOptions) -> str | bool:
    """Return the path of the certificates to trust, or False."""
    if options.verify is not True:
        return options.verify
    named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") if options.trust_env else None
    return named or requests.utils.DEFAULT_CA_BUNDLE_PATH
