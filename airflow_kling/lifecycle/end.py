"""How a wait ended: as a trigger's event carries it, and in words for the person on call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from airflow_kling.api.faults import ApiFault, Created, FaultInfo, FaultKind
from airflow_kling.lifecycle.wait import Decision, Outcome


@dataclass(frozen=True, slots=True)
class End:
    """
    The end of a wait: ids, numbers and the vendor's words; no link and no key, for Airflow logs events.

    :param outcome: Anything but waiting.
    :param task_id: The remote task.
    :param family: Name of its family.
    :param kling_conn_id: The connection that made it.
    :param message: The vendor's reason, of a task that failed.
    :param request_id: The vendor's id of the request that told of a failure.
    :param units: Units deducted, where they are told.
    :param fault: What ended the wait, if a fault did.
    """

    outcome: Outcome
    task_id: str
    family: str
    kling_conn_id: str
    message: str = ""
    request_id: str | None = None
    units: float | None = None
    fault: FaultInfo | None = None

    def payload(self) -> dict[str, Any]:
        """Return what a trigger's event carries: JSON scalars only."""
        payload = asdict(self) | {"outcome": self.outcome.value}
        if self.fault is not None:
            payload["fault"] |= {"kind": self.fault.kind.value, "created": self.fault.created.value}
        return payload


def end_of(decision: Decision, task_id: str, family: str, kling_conn_id: str) -> End:
    """
    Return the end that a decision means.

    :param decision: The last decision of a wait.
    :param task_id: The remote task.
    :param family: Name of its family.
    :param kling_conn_id: The connection that made it.
    """
    task = decision.task
    return End(
        outcome=decision.outcome,
        task_id=task_id,
        family=family,
        kling_conn_id=kling_conn_id,
        message=task.message if task else "",
        request_id=task.request_id if task else None,
        units=task.units if task else None,
        fault=decision.fault.info if decision.fault else None,
    )


def read_event(event: Mapping[str, Any] | None) -> End:
    """
    Return the end that a trigger's event tells of.

    :param event: The event's payload.
    :raises ValueError: for one that is not ours.
    """
    try:
        fields = dict(event or {})
        if fields.get("fault") is not None:
            fault = dict(fields["fault"])
            fields["fault"] = FaultInfo(
                **fault | {"kind": FaultKind(fault["kind"]), "created": Created(fault["created"])}
            )
        return End(**fields | {"outcome": Outcome(fields["outcome"])})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not an event of a Kling trigger: {error!r}") from None


def end_text(end: End, timeout: float, *, retried: bool = True) -> str:
    """
    Return what happened, to which task, whether it still bills, and what a retry will do.

    :param end: A wait that did not end in success.
    :param timeout: Seconds that the wait was allowed.
    :param retried: Whether Airflow retries after a timeout.
    """
    subject = f"Kling task {end.task_id} ({end.family})"
    if end.outcome is Outcome.FAILED:
        reason = end.message or "the API gives no reason"
        known = f" (request id {end.request_id})" if end.request_id else ""
        units = "no units" if end.units is None else f"{end.units:g} units"
        return (
            f"{subject} failed: {reason}{known}. It has ended; the API reports {units} deducted, and whether failed "
            f"tasks are billed is not documented. The same input would fail again, so Airflow does not retry"
        )
    if end.outcome is Outcome.TIMED_OUT:
        return (
            f"{subject} has not ended within {timeout:g} s. It goes on remotely and is billed when it ends, for the "
            f"API has no cancel. {'A retry' if retried else 'Clear this sensor: it'} waits for the same task and makes "
            f"no other"
        )
    fault = ApiFault(end.fault) if end.fault else "unknown reason"
    if end.fault is not None and end.fault.kind is FaultKind.NOT_FOUND:
        return (
            f"{subject} is not known any more: {fault}. Results are kept for about 30 days, and only the account that "
            f"made a task sees it; what was billed stays billed. A retry would ask in vain, so Airflow makes none"
        )
    return (
        f"{subject} could not be watched any longer: {fault}. It goes on remotely and is billed when it ends; a retry "
        f"or a clear waits for the same task and makes no other"
    )


def killed_text(task_id: str, family: str) -> str:
    """
    Return what goes on when Airflow kills the task that waits.

    :param task_id: The remote task.
    :param family: Name of its family.
    """
    return (
        f"Kling task {task_id} ({family}) goes on remotely and is billed when it ends, for the API has no cancel. "
        f"A retry or a rerun takes it up again and makes no other"
    )


def released_text(task_id: str, family: str) -> str:
    """
    Return why a trigger may be taken away that a callback was to end: Airflow does not say.

    :param task_id: The remote task.
    :param family: Name of its family.
    """
    return (
        f"Kling task {task_id} ({family}) is not watched any longer: its callback has come, or a user has ended the "
        f"wait. If it runs still, it goes on remotely and is billed when it ends, for the API has no cancel. A retry "
        f"or a rerun takes it up again and makes no other"
    )


def killed_create_text(external_id: str, family: str) -> str:
    """
    Return what may go on when Airflow kills the task that submits.

    :param external_id: The id that we chose for the create.
    :param family: Name of its family.
    """
    return (
        f"The create of {family} with the id {external_id} may have been accepted, and would then go on remotely and "
        f"be billed, for the API has no cancel. A retry or a rerun looks for it before it sends another"
    )
