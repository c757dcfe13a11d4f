"""Who answers: gateways with their base URL, prefix, kinds of key and what they can look up; the account to use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from airflow_kling.api.auth import ApiKey, Credentials, KeyPair
from airflow_kling.api.checks import OWN_FIELDS
from airflow_kling.api.inputs import InputFault

DOWN_RATIO_FIELD = "down_expansion_ratio"
_TAKEN_FIELDS = OWN_FIELDS - {DOWN_RATIO_FIELD, "bottom_expansion_ratio"}


@dataclass(frozen=True, slots=True)
class Gateway:
    """
    One row of the table of gateways.

    :param name: The connection's ``gateway``.
    :param base_url: Scheme and host without a trailing slash.
    :param prefix: Path before a family's route.
    :param takes_key_pair: Whether it accepts a token signed with AccessKey and SecretKey.
    :param lookup_by_external_id: Whether its answer to a query by ``external_task_id`` is to be believed, "not found"
        included.
    :param list_tasks: Whether its list of tasks is to be believed.
    :param packs_route: Path below the base URL where it tells the account's resource packs, if it does.
    """

    name: str
    base_url: str
    prefix: str
    takes_key_pair: bool
    lookup_by_external_id: bool
    list_tasks: bool
    packs_route: str | None = None

    @property
    def auth_of(self) -> str:
        """Whose keys it takes."""
        return "kling" if self.takes_key_pair else self.name


#: Kling: general information of its documents, where the Singapore host replaced ``api.klingai.com``. CometAPI: its
#: pages on Kling; it documents neither look-up, so neither is believed, and no resource packs.
GATEWAYS: dict[str, Gateway] = {
    gateway.name: gateway
    for gateway in (
        Gateway("cometapi", "https://api.cometapi.com", "/kling/v1", False, False, False),
        Gateway("kling", "https://api-singapore.klingai.com", "/v1", True, True, True, "account/costs"),
        Gateway("kling-cn", "https://api-beijing.klingai.com", "/v1", True, True, True, "account/costs"),
    )
}


@dataclass(frozen=True, slots=True)
class Account:
    """
    Where requests go and in whose name: a gateway, adjusted by one connection.

    :param prefix: Path before a family's route.
    :param credentials: API key, or AccessKey and SecretKey; never shown.
    :param down_ratio_field: The wire's name of the lower side's ratio. Kling's documents and CometAPI's newer page
        say ``down_expansion_ratio``, CometAPI's page of 2026-03 ``bottom_expansion_ratio``.
    :param lookup_by_external_id: Whether a query by ``external_task_id`` is believed.
    :param list_tasks: Whether the list of tasks is believed.
    :param allow_private_hosts: Whether results may be downloaded from private or loopback addresses.
    """

    gateway: str
    base_url: str
    prefix: str
    credentials: Credentials = field(repr=False)
    down_ratio_field: str = DOWN_RATIO_FIELD
    lookup_by_external_id: bool = False
    list_tasks: bool = False
    allow_private_hosts: bool = False

    def url(self, route: str, task_id: str | None = None) -> str:
        """Return the address of a family's route, or of one task below it."""
        address = f"{self.base_url}{self.prefix}/{route}"
        return address if task_id is None else f"{address}/{task_id}"


def resolve_account(
    *,
    login: str | None,
    password: str | None,
    host: str | None,
    schema: str | None,
    port: int | None,
    extra: Mapping[str, Any],
) -> Account:
    """
    Return the account that the fields of a connection name.

    :param login: AccessKey; makes the gateway ``kling`` where the extra names none.
    :param password: API key, or the SecretKey that belongs to the login.
    :param host: Host or base URL; the gateway's own where empty.
    :param schema: ``https`` (default) or ``http``.
    :param port: Port, if not the scheme's.
    :param extra: The connection's extra; what is not known here is left to the transport.
    :raises InputFault: for an unknown gateway, a missing key, a login with CometAPI, a base URL or extra that cannot
        be meant.
    """
    login = (login or "").strip()
    name = extra.get("gateway") or ("kling" if login else "cometapi")
    gateway = GATEWAYS.get(name) if isinstance(name, str) else None
    if gateway is None:
        raise InputFault("gateway", name, f"one of {', '.join(GATEWAYS)}", "correct the connection's extra")
    base_url = _base_url(gateway, host, schema, port)
    allow_private_hosts = _switch(extra, "allow_private_hosts")
    _check_base_url(gateway, base_url, allow_private_hosts=allow_private_hosts)
    return Account(
        gateway=gateway.name,
        base_url=base_url,
        prefix=_prefix(extra.get("prefix"), gateway.prefix),
        credentials=_credentials(gateway, login, password),
        down_ratio_field=_down_ratio_field(extra.get("down_ratio_field")),
        lookup_by_external_id=_belief(extra, "lookup_by_external_id", gateway.lookup_by_external_id),
        list_tasks=_belief(extra, "list_tasks", gateway.list_tasks),
        allow_private_hosts=allow_private_hosts,
    )


def _credentials(gateway: Gateway, login: str, password: str | None) -> Credentials:
    password = (password or "").strip()
    if not password:
        raise InputFault(
            "password",
            "(empty)",
            "the API key, or the SecretKey beside an AccessKey as login",
            f"fill it in; the gateway is {gateway.name}",
        )
    if not (password + login).isascii() or not (password + login).isprintable() or " " in password + login:
        raise InputFault("password", "***", "plain letters, digits and signs", "paste the key again, without breaks")
    if not login:
        return ApiKey(password)
    if not gateway.takes_key_pair:
        raise InputFault(
            "login",
            "***",
            f"empty for the gateway {gateway.name}",
            "a login is a Kling AccessKey, and its secret must not be sent to a third party: set the extra "
            '"gateway" to "kling", or remove the login and put the gateway\'s API key in the password',
        )
    return KeyPair(login, password)


def _base_url(gateway: Gateway, host: str | None, schema: str | None, port: int | None) -> str:
    host = (host or "").strip()
    if not host.strip("/"):
        return gateway.base_url
    parts = _split_address(host if "://" in host else f"{schema or 'https'}://{host}")
    if parts is None:
        raise InputFault(
            "host",
            "***" if "@" in host else host,
            "a host name or a base URL of http or https, without a key",
            "correct the connection: keys go into login and password",
        )
    netloc = parts.netloc if parts.port or not port else f"{parts.netloc}:{port}"
    return f"{parts.scheme}://{netloc}{parts.path}".rstrip("/")


def _check_base_url(gateway: Gateway, base_url: str, *, allow_private_hosts: bool) -> None:
    """Refuse to send a key to another gateway's host, or over the network in the clear."""
    host = urlsplit(base_url).hostname or ""
    for other in GATEWAYS.values():
        if host == urlsplit(other.base_url).hostname and other.auth_of != gateway.auth_of:
            raise InputFault(
                "gateway",
                f"{gateway.name} with the host {host}",
                f"the one of that host, {other.name}",
                'set the extra "gateway", and use that gateway\'s own key',
            )
    is_loopback = host in ("localhost", "::1") or host.startswith("127.")
    if base_url.startswith("http://") and not is_loopback and not allow_private_hosts:
        raise InputFault(
            "host",
            base_url,
            "an https address",
            'a key must not travel in the clear; for a gateway of your own network set the extra "allow_private_hosts"',
        )


def _split_address(address: str) -> SplitResult | None:
    """Return the parts of a base URL, None where it is none."""
    try:
        parts = urlsplit(address)
        usable = parts.port is None or parts.port > 0
        (parts.hostname or "").encode("idna")
    except ValueError:
        return None
    usable = usable and parts.scheme in ("http", "https") and bool(parts.hostname)
    usable = usable and not (parts.query or parts.fragment or "@" in parts.netloc)
    return parts if usable and address.isprintable() and not any(sign in address for sign in " \\") else None


def _prefix(value: object, default: str) -> str:
    if value is None or value == "":
        return default
    if (
        not isinstance(value, str)
        or not value.isprintable()
        or any(sign in value for sign in "?#\\ :")
        or ".." in value
    ):
        raise InputFault("prefix", value, "a path such as /kling/v1", "correct the connection's extra")
    path = value.strip("/")
    return f"/{path}" if path else ""


def _down_ratio_field(value: object) -> str:
    if value is None or value == "":
        return DOWN_RATIO_FIELD
    if not isinstance(value, str) or not value.isidentifier() or value in _TAKEN_FIELDS:
        raise InputFault(
            "down_ratio_field", value, "a field's name", f"use {DOWN_RATIO_FIELD} or bottom_expansion_ratio"
        )
    return value


def _belief(extra: Mapping[str, Any], key: str, default: bool) -> bool:
    value = extra.get(key, "auto")
    if value in (True, False):
        return bool(value)
    words = {"auto": default, "yes": True, "no": False}
    word = str(value or "auto").lower()
    if word not in words:
        raise InputFault(key, value, "auto, yes or no", "correct the connection's extra")
    return words[word]


def _switch(extra: Mapping[str, Any], key: str) -> bool:
    value = extra.get(key)
    if isinstance(value, str):
        return value.strip().lower() in ("true", "yes", "1", "on")
    return bool(value)
