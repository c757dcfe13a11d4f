"""From an Airflow connection to an account and the options of the transport (TLS, proxies)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_kling.api.gateways import Account, resolve_account
from airflow_kling.api.inputs import InputFault


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """
    How to reach the server; the names are those of the http provider's extras.

    :param verify: Whether to check certificates, or the path of a CA bundle.
    :param cert: Path of a client certificate, or of certificate and key.
    :param proxies: Proxy per scheme; may hold a password.
    :param trust_env: Whether proxies and CA bundles of the environment count. Its ``.netrc`` never does.
    """

    verify: bool | str = True
    cert: str | tuple[str, str] | None = None
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    trust_env: bool = True

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two sessions differ."""
        return (self.verify, self.cert, tuple(sorted(self.proxies.items())), self.trust_env)


def account_from_connection(connection: Any, extra: Mapping[str, Any]) -> Account:
    """
    Return the account that a connection names.

    :param extra: Its extra, decoded.
    :raises InputFault: for a connection of another type, or one that :func:`resolve_account` refuses.
    """
    if connection.conn_type not in ("kling", None, ""):
        raise InputFault(
            "kling_conn_id",
            f"{connection.conn_id} of type {connection.conn_type}",
            "a connection of type kling",
            "another type's password must not be sent to Kling: make a connection of type kling",
        )
    return resolve_account(
        login=connection.login,
        password=connection.password,
        host=connection.host,
        schema=connection.schema,
        port=connection.port,
        extra=extra,
    )


def options_from_extra(extra: Mapping[str, Any]) -> TransportOptions:
    """
    Return the transport options of a connection's extra.

    :param extra: The connection's extra, decoded.
    :raises InputFault: for a proxy that is neither a URL nor a mapping.
    """
    verify = extra.get("verify", extra.get("verify_ssl", True))
    return TransportOptions(
        verify=_flag_or_path(verify),
        cert=_cert(extra.get("cert")),
        proxies=_proxies(extra.get("proxies", extra.get("proxy"))),
        trust_env=_flag_or_path(extra.get("trust_env", True)) is not False,
    )


def _cert(value: object) -> str | tuple[str, str] | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return str(value[0]), str(value[1])
    if not value:
        return None
    raise InputFault("cert", value, "a path, or the paths of certificate and key", "correct the connection's extra")


def _flag_or_path(value: object) -> bool | str:
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("true", "1", "yes", "on", "y", "t", ""):
            return True
        return False if word in ("false", "0", "no", "off", "n", "f") else value
    return True if value is None else bool(value)


def _proxies(value: object) -> dict[str, str]:
    if not value:
        return {}
    if isinstance(value, str):
        return {"http": value, "https": value}
    if isinstance(value, Mapping) and all(isinstance(text, str) for pair in value.items() for text in pair):
        return dict(value)
    raise InputFault("proxies", "***", "a URL, or a mapping of scheme to URL", "correct the connection's extra")
