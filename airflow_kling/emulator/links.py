"""Signed links to results: made for an answer, checked at a download."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from urllib.parse import parse_qs, urlencode, urlsplit

RESULTS_PATH = "/_emulator/results"


class Signer:
    """Signs links with a secret that lives as long as the emulator."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def link(self, base_url: str, task_id: str, name: str, expires: float) -> str:
        """
        Return the signed link of a file.

        :param base_url: Scheme and host, as the client reached them.
        :param expires: Seconds since the epoch from which on it is refused.
        """
        end = str(int(expires))
        query = urlencode({"Expires": end, "Signature": self._signature(task_id, name, end)})
        return f"{base_url.rstrip('/')}{RESULTS_PATH}/{task_id}/{name}?{query}"

    def is_valid(self, task_id: str, name: str, expires: str, signature: str, now: float) -> bool:
        """
        Return whether a link's query belongs to that file and has not expired.

        :param now: Seconds since the epoch.
        """
        genuine = hmac.compare_digest(signature.encode(), self._signature(task_id, name, expires).encode())
        return genuine and now < float(expires)

    def _signature(self, task_id: str, name: str, expires: str) -> str:
        text = f"{task_id}/{name}?{expires}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:32]


def split_link(url: str, netloc: str) -> tuple[str, str, str, str] | None:
    """
    Return task id, name, ``Expires`` and ``Signature`` of a link to this emulator's results; None for other URLs.

    :param netloc: Host and port of this emulator, as the client reached it.
    """
    parts = urlsplit(url)
    if parts.netloc != netloc or not parts.path.startswith(f"{RESULTS_PATH}/"):
        return None
    task_id, _, name = parts.path[len(RESULTS_PATH) + 1 :].partition("/")
    query = parse_qs(parts.query)
    return task_id, name, query.get("Expires", [""])[0], query.get("Signature", [""])[0]
