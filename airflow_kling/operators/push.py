"""What a finished task leaves in Airflow: XComs, and events of the assets it updates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def push(context: Mapping[str, Any], outlets: Iterable[Any], manifest: dict[str, Any]) -> dict[str, Any]:
    """Push XCom ``task_id`` and ``uris``, and tell the assets; returns the manifest."""
    stored = [row for row in manifest["outputs"] if row["uri"]]
    context["ti"].xcom_push(key="task_id", value=manifest["task_id"])
    context["ti"].xcom_push(key="uris", value=[row["uri"] for row in stored])
    for outlet in outlets:
        _tell(context["outlet_events"][outlet], outlet, manifest, stored)
    return manifest


def asset_extra(manifest: Mapping[str, Any], stored: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """
    Return an asset event's extra: what was stored, by which remote task, for how many units; no link and no key.

    :param stored: Those of its outputs that the event is about.
    """
    files = [{name: row[name] for name in ("uri", "size_bytes", "sha256")} for row in stored]
    first = files[0] if files else {}
    ids = {name: manifest[name] for name in ("family", "task_id", "units")}
    return first | {"files": files} | ids


def _tell(event: Any, outlet: Any, manifest: Mapping[str, Any], stored: list[dict[str, Any]]) -> None:
    if hasattr(outlet, "uri"):
        event.extra = asset_extra(manifest, stored)
        return
    # An alias: the assets are known only now, one for each file.
    from airflow.providers.common.compat.sdk import Asset

    for row in stored:
        event.add(Asset(_without_connection(row["uri"])), extra=asset_extra(manifest, [row]))


def _without_connection(uri: str) -> str:
    """Return the place alone: in an asset's URI a connection would count as a user's name."""
    scheme, separator, rest = uri.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"
