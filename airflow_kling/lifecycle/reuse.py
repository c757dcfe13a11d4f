"""Results of earlier runs, found again by their fingerprint: what is stored and whole need not be paid twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from airflow_kling.lifecycle.collect import without_links
from airflow_kling.lifecycle.files import write_whole
from airflow_kling.lifecycle.record import RecordPath

_STEP = 1 << 20


def remember_made(path: RecordPath, manifest: Mapping[str, Any], now: float) -> None:
    """
    Keep the manifest of a finished task for later runs.

    :param path: The file of its fingerprint.
    """
    kept = without_links(manifest)  # the folder may be a public one
    write_whole(path, json.dumps({"at": now, "manifest": kept}).encode())


def find_made(
    path: RecordPath, max_age: float, now: float, open_path: Callable[[str], RecordPath]
) -> dict[str, Any] | None:
    """
    Return the manifest of an earlier run, None where there is none that is young enough and whole.

    :param max_age: Seconds.
    """
    try:
        with path.open("rb") as file:
            kept = json.loads(file.read())
        manifest: dict[str, Any] = kept["manifest"]
        if now - float(kept["at"]) > max_age or not manifest["outputs"]:
            return None
        whole = all(_is_whole(open_path(output["uri"]), output["sha256"]) for output in manifest["outputs"])
    except Exception:  # whatever the storage raises
        return None  # nothing is lost: a new task is made
    return manifest if whole else None


def _is_whole(path: RecordPath, sha256: str) -> bool:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_STEP):
            digest.update(chunk)
    return digest.hexdigest() == sha256
