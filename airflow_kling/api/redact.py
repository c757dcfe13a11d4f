"""Removes keys, signed URL queries, base64 and control characters from text that will be logged or shown."""

from __future__ import annotations

import re

MAX_LENGTH = 500
_SCANNED_LENGTH = 20_000

#: Compiled on first use: DAG files import this module.
_RULES: tuple[tuple[str, str], ...] = (
    (r"(?i)\bdata:[\w.+/-]*(;[\w.=+-]+)*;base64,[A-Za-z0-9+/=_-]*", "data:***"),
    (r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}", r"\1 ***"),
    (r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*", "***"),
    (r"\bsk-[\w-]{8,}", "***"),
    (r"(?i)(https?://)[^\s/\"'<>]+@", r"\1***@"),
    (r"(?i)(https?://[^\s?#\"'<>]+)[?#][^\s\"'<>]+", r"\1?***"),
    (r"[\w.-]+:[^\s@/:]+@(?=[\w-]+[.\w-]*)", "***@"),
    (
        r"(?i)\b(api[_-]?key|access[_-]?key|secret[_-]?key|token|secret|password|signature)\b([\"']?\s*[=:]\s*)[^\s&,;]+",
        r"\1\2***",
    ),
    (r"[A-Za-z0-9+/_-]{200,}={0,2}", "***"),
    (r"(?:[A-Za-z0-9+/]{60,}\s+){2,}[A-Za-z0-9+/]*={0,2}", "*** "),
)


def redact(text: str) -> str:
    """
    Return the text without secrets, in one line of at most 500 characters.

    :param text: Anything the vendor or a library said.
    """
    text = text[:_SCANNED_LENGTH]
    for pattern, replacement in _RULES:
        text = re.sub(pattern, replacement, text)
    # What cannot be printed could break the line, or hide what follows.
    text = re.sub("\0+", " ", "".join(sign if sign.isprintable() else "\0" for sign in text)).strip()
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 1]}…"
