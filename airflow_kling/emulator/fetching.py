"""Pictures given as a URL: read from loopback, and from nowhere else."""

from __future__ import annotations

import ipaddress
import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import IO
from urllib.parse import urlsplit

from airflow_kling.api.checks import MAX_IMAGE_BYTES

TIMEOUT = 10.0
"""Seconds after which a read is given up."""

_CHUNK = 1 << 16


def is_loopback(url: str) -> bool:
    """Return whether the URL's host is this machine, without asking a name server."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def fetch_loopback(url: str) -> bytes:
    """
    Return what a URL on loopback holds; of more than Kling takes, only so much that it is seen to be more.

    :param url: A URL for which :func:`is_loopback` holds.
    :raises OSError: where it cannot be read, or leads elsewhere.
    """
    try:
        with OPENER.open(url, timeout=TIMEOUT) as answer:
            return _read(answer, time.monotonic() + TIMEOUT)
    except urllib.error.HTTPError as error:
        raise OSError(f"HTTP {error.code}") from None
    except urllib.error.URLError as error:
        raise OSError(str(error.reason)) from None
    except (ValueError, HTTPException) as error:
        raise OSError(str(error)) from None


def _read(answer: HTTPResponse, end: float) -> bytes:
    content = bytearray()
    while len(content) <= MAX_IMAGE_BYTES and (chunk := answer.read1(_CHUNK)):
        content += chunk
        if time.monotonic() > end:
            raise TimeoutError("timed out")
    return bytes(content)


class _StayOnLoopback(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if not is_loopback(newurl):
            raise urllib.error.URLError("it redirects away from loopback")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


# Without proxies: a proxy's loopback is another machine's.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _StayOnLoopback())
