"""Paths of any storage, and plain downloads into it."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.exceptions
from airflow.providers.common.compat.sdk import ObjectStoragePath
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from airflow_kling.api.calls import CONNECT_TIMEOUT, READ_TIMEOUT
from airflow_kling.api.faults import ApiFault, FaultInfo, FaultKind
from airflow_kling.hooks.client import NoAuth, make_session, proxies_for
from airflow_kling.hooks.options import TransportOptions

_STEP = 1 << 20
_MAX_REDIRECTS = 5
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
#: Public by number, yet answered by the cloud platform itself (Azure).
_PLATFORM_ADDRESSES = frozenset({ipaddress.ip_address("168.63.129.16")})


def storage_path(name: str) -> Any:
    """
    Return the path of a storage URI, or of a local path.

    :param name: ``s3://conn@bucket/key``, ``file:///folder``, or a path as the worker sees it.
    """
    return ObjectStoragePath(name if "://" in name else f"file://{os.path.abspath(os.path.expanduser(name))}")


class PrivateAddressError(Exception):
    """A download would have come from inside the worker's own network; no OSError, which urllib3 would rename."""


class _PublicPeer:
    """A connection that goes no further where its peer is a private address, whatever name led there."""

    def _new_conn(self) -> Any:
        connection = super()._new_conn()  # type: ignore[misc]
        if not _is_public(connection.getpeername()[0]):
            connection.close()
            raise PrivateAddressError
        return connection


class _PublicHTTPConnection(_PublicPeer, HTTPConnection):
    pass


class _PublicHTTPSConnection(_PublicPeer, HTTPSConnection):
    pass


class PublicAdapter(HTTPAdapter):
    """
    Asks public addresses only: a forged link could read what only the worker may.

    The peer is looked at, not the name, for a name can be parsed in two ways and resolve to another address each time.
    A proxy's peers are its own affair.
    """

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        if pool.proxy is None:
            pool.ConnectionCls = _PublicHTTPSConnection if pool.scheme == "https" else _PublicHTTPConnection
        return pool


_FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, PrivateAddressError, OSError, ValueError)


def fetcher(options: TransportOptions, *, allow_private_hosts: bool = False) -> Callable[[str], Iterator[bytes]]:
    """
    Return what gives the bytes behind a URL, in pieces of a megabyte; no key, certificate or cookie goes along.

    :param allow_private_hosts: Whether private and loopback addresses may be asked.
    """
    options = replace(options, cert=None)

    def fetch(url: str) -> Iterator[bytes]:
        for _ in range(_MAX_REDIRECTS):
            with make_session(NoAuth(), options) as session:
                session.headers["Accept-Encoding"] = "identity"  # what is not packed cannot unpack to a disk's size
                if not allow_private_hosts:
                    session.mount("https://", PublicAdapter())
                    session.mount("http://", PublicAdapter())
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
                except _FAILURES as error:
                    raise _download_fault(_reason(error)) from None
        raise _download_fault(f"more than {_MAX_REDIRECTS} redirects")

    return fetch


def _redirected(url: str, location: str) -> str:
    target = urljoin(url, location)
    if urlsplit(target).scheme != urlsplit(url).scheme:
        raise _download_fault("a redirect to another scheme")
    return target


def _reason(error: BaseException) -> str:
    """Return the kind of the error alone: its text may hold the signed link."""
    if isinstance(error, PrivateAddressError):
        return "its host is a private address, and the connection does not allow those"
    return type(error).__name__


def _is_public(address: str) -> bool:
    """Return whether an address is one of the internet, seen through the ways of writing IPv4 in IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = inner or ip
    return ip.is_global and ip not in _PLATFORM_ADDRESSES and not ip.is_multicast


def _download_fault(reason: str, http_status: int | None = None) -> ApiFault:
    hint = "The task is paid; a retry collects it again and creates none"
    return ApiFault(
        FaultInfo(FaultKind.CONNECTION, f"download of a result failed: {reason}", http_status=http_status, hint=hint)
    )
