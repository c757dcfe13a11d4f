"""Paths of any storage, and plain downloads into it."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_kling.api.calls import CONNECT_TIMEOUT, READ_TIMEOUT
from airflow_kling.api.faults import ApiFault, FaultInfo, FaultKind
from airflow_kling.api.redact import redact
from airflow_kling.hooks.client import NoAuth, make_session, proxies_for
from airflow_kling.hooks.options import TransportOptions

_STEP = 1 << 20
_MAX_REDIRECTS = 5


def storage_path(name: str) -> Any:
    """
    Return the path of a storage URI, or of a local path.

    :param name: ``s3://conn@bucket/key``, ``file:///folder``, or a path as the worker sees it.
    """
    return ObjectStoragePath(name if "://" in name else f"file://{os.path.abspath(os.path.expanduser(name))}")


def fetcher(options: TransportOptions, *, allow_private_hosts: bool = False) -> Callable[[str], Iterator[bytes]]:
    """
    Return what gives the bytes behind a URL, in pieces of a megabyte; no key and no cookie goes along.

    :param options: TLS and proxies of the connection.
    :param allow_private_hosts: Whether private and loopback addresses may be asked.
    """

    def fetch(url: str) -> Iterator[bytes]:
        for _ in range(_MAX_REDIRECTS):
            if not allow_private_hosts:
                _refuse_private(url)
            with make_session(NoAuth(), options) as session:
                try:
                    with session.get(
                        url,
                        stream=True,
                        timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                        proxies=proxies_for(url, options),
                        allow_redirects=False,
                    ) as response:
                        if response.is_redirect:
                            url = _redirected(url, response.headers["Location"])
                            continue
                        if response.status_code != 200:
                            raise _download_fault(f"HTTP {response.status_code}", response.status_code)
                        yield from response.iter_content(_STEP)
                        return
                except requests.RequestException as error:
                    raise _download_fault(redact(f"{type(error).__name__}: {error}"), None) from None
        raise _download_fault(f"more than {_MAX_REDIRECTS} redirects", None)

    return fetch


def _redirected(url: str, location: str) -> str:
    target = urljoin(url, location)
    if urlsplit(target).scheme != urlsplit(url).scheme:
        raise _download_fault("a redirect to another scheme", None)
    return target


def _refuse_private(url: str) -> None:
    """Refuse addresses inside the worker's own network: a forged link could read what only the worker may."""
    host = urlsplit(url).hostname or ""
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise _download_fault(f"no address of {redact(host)}: {error.strerror or error}", None) from None
    if not all(ipaddress.ip_address(str(address).partition("%")[0]).is_global for address in addresses):
        raise _download_fault(f"{redact(host)} is a private address, and the connection does not allow those", None)


def _download_fault(reason: str, http_status: int | None) -> ApiFault:
    hint = "The task is paid; a retry collects it again and creates none"
    return ApiFault(
        FaultInfo(FaultKind.CONNECTION, f"download of a result failed: {reason}", http_status=http_status, hint=hint)
    )
