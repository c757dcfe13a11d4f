"""Credentials and the bearer token made of them: an API key as it is, or a JWT signed again before it expires."""

from __future__ import annotations

from dataclasses import dataclass, field

TOKEN_LIFETIME = 1800
"""Seconds a signed token is valid (Kling's documents, "Authentication")."""

TOKEN_MARGIN = 300
"""Seconds before the end of a token's life at which a new one is signed."""

TOKEN_BACKDATE = 5
"""Seconds by which ``nbf`` lies in the past, for clocks that differ."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that is sent as it is: CometAPI's, or one of Kling's made since 2026-06-17."""

    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An AccessKey and the SecretKey that signs its tokens."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)


Credentials = ApiKey | KeyPair


class TokenSource:
    """Gives the token for the next request."""

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials
        self._token = ""
        self._expires_at = 0.0

    def token(self, now: float) -> str:
        """
        Return a token that is valid for at least five minutes.

        :param now: Seconds since the epoch.
        """
        if isinstance(self.credentials, ApiKey):
            return self.credentials.key
        if now > self._expires_at - TOKEN_MARGIN:
            self._token = sign_token(self.credentials, now)
            self._expires_at = now + TOKEN_LIFETIME
        return self._token

    def renew(self) -> None:
        """Forget the token at hand, so that the next one is signed anew."""
        self._expires_at = 0.0

    @property
    def renewable(self) -> bool:
        """Whether a new token can differ from the old one."""
        return isinstance(self.credentials, KeyPair)


def sign_token(pair: KeyPair, now: float) -> str:
    """
    Return the JWT (HS256) that Kling's documents describe: ``iss``, ``exp`` in 30 minutes, ``nbf`` 5 seconds ago.

    :param now: Seconds since the epoch.
    """
    import jwt  # here, so that what a DAG file imports does not load it

    payload = {"iss": pair.access_key, "exp": int(now) + TOKEN_LIFETIME, "nbf": int(now) - TOKEN_BACKDATE}
    return jwt.encode(payload, pair.secret_key, algorithm="HS256", headers={"typ": "JWT"})
