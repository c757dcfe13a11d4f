"""The id that we choose for a remote task: the same for every try of the same work, and for nothing else."""

from __future__ import annotations

import hashlib

ID_LENGTH = 32
TAG_LENGTH = 8


def deployment_tag(name: str) -> str:
    """Return a short tag of the deployment: two of them may share an account and have the same DAGs and run ids."""
    return _digest(name)[:TAG_LENGTH]


def external_task_id(tag: str, *parts: str | int) -> str:
    """
    Return the id: ``af-<deployment tag>-<hash of the parts>``.

    Through a gateway the id must be unique among strangers, hence its length.

    :param parts: What makes the work what it is: DAG, run, task, map index, and further numbers; never the try.
    """
    return f"af-{tag}-{_digest(*map(str, parts))[:ID_LENGTH]}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()
