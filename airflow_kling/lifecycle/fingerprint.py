"""What would change the picture, as one hash: files by content, other tasks by id, links without their signature."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

#: Query parameters that sign a link, and so change while the picture stays: AWS, Google, Azure, Alibaba, CloudFront,
#: Tencent and Kling's own CDN.
SIGNATURE_PARAMETERS = frozenset(
    {
        "expires", "signature", "key-pair-id", "policy", "awsaccesskeyid", "googleaccessid", "ossaccesskeyid",
        "security-token", "sig", "se", "st", "sp", "sv", "sr", "skoid", "sktid", "skt", "ske", "sks", "skv", "sip",
        "spr", "token", "auth_key", "x-kling-expires", "sign", "q-signature", "q-sign-time", "q-key-time", "q-ak",
        "q-sign-algorithm", "q-header-list", "q-url-param-list",
    }
)  # fmt: skip
SIGNATURE_PREFIXES = ("x-amz-", "x-goog-", "x-oss-", "x-tos-", "x-bce-")


def fingerprint(family: str, source: str, parameters: Mapping[str, Any], conn_id: str, base_url: str) -> str:
    """
    Return the hash of everything that would change the picture, the account included and its key not.

    :param source: What the picture is made of, see :func:`source_of_url` and the like.
    :param parameters: Every other field of the request that shows in the picture.
    """
    content = json.dumps([family, source, dict(parameters), conn_id, base_url], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()


def source_of_url(url: str) -> str:
    """Return a link without the parameters that sign it."""
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if not _signs(name)]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(sorted(kept)), ""))


def source_of_task(task_id: str, index: int) -> str:
    """Return an output of another task."""
    return f"task:{task_id}:{index}"


def source_of_content(sha256: str) -> str:
    """Return a file by its content."""
    return f"sha256:{sha256}"


def _signs(name: str) -> bool:
    lowered = name.lower()
    return lowered in SIGNATURE_PARAMETERS or lowered.startswith(SIGNATURE_PREFIXES)
