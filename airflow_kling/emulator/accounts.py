"""Who asks: API keys and signed tokens checked as the documents say, each told to which account it belongs."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import jwt

from airflow_kling.emulator.refusals import Refusal, Shape
from airflow_kling.emulator.settings import DEFAULT_ACCESS_KEY, DEFAULT_KEY, Dialect, EmulatorSettings

DEFAULT_ACCOUNT = "emulator"
"""The account that the default API key and the default key pair share, as the keys of one Kling account do."""

_OWN_NAMES = {DEFAULT_KEY: DEFAULT_ACCOUNT, DEFAULT_ACCESS_KEY: DEFAULT_ACCOUNT}
# Times are judged here: PyJWT knows only the machine's clock, and each time has a code of its own.
_SIGNATURE_ONLY: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}


def account_of(key: str) -> str:
    """
    Return the name of the account that a key belongs to; it does not give the key away.

    :param key: API key or AccessKey.
    """
    return _OWN_NAMES.get(key) or f"key-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def check_authorization(header: str | None, dialect: Dialect, settings: EmulatorSettings, now: float) -> str:
    """
    Return the account that the header names.

    :param dialect: A gateway takes keys only, Kling signed tokens too.
    :param now: Seconds since the epoch by the clock that clients sign with.
    :raises Refusal: with 1000-1004, or a gateway's error object.
    """
    try:
        return _account(header, dialect, settings, now)
    except Refusal as refusal:
        if dialect is Dialect.KLING:
            raise
        word = "no token provided" if refusal.code == 1001 else "invalid token"
        raise Refusal(refusal.code, word, Shape.GATEWAY_ERROR) from None


def _account(header: str | None, dialect: Dialect, settings: EmulatorSettings, now: float) -> str:
    scheme, _, token = (header or "").strip().partition(" ")
    if not scheme:
        raise Refusal(1001, "Authorization is empty")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Refusal(1002, "Authorization is invalid")
    if any(hmac.compare_digest(token.encode(), key.encode()) for key in settings.keys or ()):
        return account_of(token)
    if dialect is Dialect.KLING and token.count(".") == 2:
        return _account_of_token(token, settings, now)
    if settings.keys is None:
        return account_of(token)
    raise Refusal(1002, "Authorization is invalid")


def _account_of_token(token: str, settings: EmulatorSettings, now: float) -> str:
    access_key = _claims(token, None).get("iss")
    secret = settings.key_pairs.get(access_key) if isinstance(access_key, str) else None
    if secret is None or not isinstance(access_key, str):
        raise Refusal(1000, "Authentication failed: access key not found")
    claims = _claims(token, secret)
    begin, end = _moment(claims, "nbf", 0.0), _moment(claims, "exp", None)
    if now < begin:
        raise Refusal(1003, "Authorization is not yet valid")
    if now >= end:
        raise Refusal(1004, "Authorization is expired")
    return account_of(access_key)


def _claims(token: str, secret: str | None) -> dict[str, Any]:
    """Return what the token says: unverified to learn whose it is, then with the signature checked."""
    try:
        if secret is None:
            return jwt.decode(token, options={"verify_signature": False})
        return jwt.decode(token, secret, algorithms=["HS256"], options=_SIGNATURE_ONLY)
    except jwt.InvalidSignatureError:
        raise Refusal(1000, "Authentication failed: signature does not match") from None
    except jwt.PyJWTError:
        raise Refusal(1002, "Authorization is invalid") from None


def _moment(claims: dict[str, Any], name: str, default: float | None) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Refusal(1002, f"Authorization is invalid: {name}")
    return float(value)
