"""Removes keys, signed URL queries, base64 and control characters from text that will be logged or shown."""

from __future__ import annotations

import re

MAX_LENGTH = 500
_SCANNED_LENGTH = 4_000

#: Compiled on first use: DAG files import this module.
_RULES: tuple[tuple[str, str], ...] = (
    (r"(?i)\bdata:[\w.+/-]{0,80}(;[\w.=+-]{1,80}){0,4};base64,[A-Za-z0-9+/=_-]*", "data:***"),
    (r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}", r"\1 ***"),
    (r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]+(\.[\w-]*)?", "***"),
    (r"\bsk-[\w-]{8,}", "***"),
    (r"(?i)(https?:\\?/\\?/)[^\s/\"'<>]{1,512}@", r"\1***@"),
    # With or without a scheme: libraries print the path and query of a signed link alone.
    (r"\?[\w.~%+-]{1,80}=[^\s\"'<>]*", "?***"),
    (r"(?i)(https?://[^\s?#\"'<>]{1,2048})#[^\s\"'<>]+", r"\1#***"),
    (r"(?<![\w.-])[\w.-]{1,256}:[^\s@/:]{1,256}@(?=[\w-])", "***@"),
    (
        (
            r"(?i)(?<![a-z])(api_?-?key|access_?-?key(?:_?-?id)?|secret_?-?key|client_?-?secret|[a-z]+_?-?token|token|secret"
            r"|password|signature|credential|policy|auth_?-?key|pkey|sig|sign)"
            r"([\"']?\s{0,3}[=:]\s{0,3}[\"']?)[^\s\"'&,;}]+"
        ),
        r"\1\2***",
    ),
    (r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{200,}={0,2}", "***"),
    (r"(?<![A-Za-z0-9+/])(?:[A-Za-z0-9+/]{60,256}\s{1,4}){2,}[A-Za-z0-9+/]{0,256}={0,2}", "*** "),
)


def reason_of(error: BaseException) -> str:
    """
    Return what an error is and says, without secrets.

    :param error: Of anyone; a storage's may hold a link.
    """
    return redact(f"{type(error).__name__}: {error}")


def redact(text: str) -> str:
    """Return the text without secrets, in one line of at most 500 characters."""
    if not text:
        return text
    text = text[:_SCANNED_LENGTH]
    for pattern, replacement in _RULES:
        text = re.sub(pattern, replacement, text)
    # What cannot be printed could break the line, or hide what follows.
    text = re.sub("\0+", " ", "".join(sign if sign.isprintable() else "\0" for sign in text)).strip()
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 1]}…"
