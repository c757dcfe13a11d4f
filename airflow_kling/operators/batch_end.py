"""The end of a batch: its last commit, its results manifest, and the result or the error; loaded when a task runs."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from airflow_kling.api.faults import ApiFault, FaultKind
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.redact import reason_of, redact
from airflow_kling.exceptions import (
    KlingError,
    KlingPermanentError,
    KlingTaskFailed,
    KlingTransientError,
    error_from_fault,
)
from airflow_kling.lifecycle.batch import Batch
from airflow_kling.lifecycle.batch_kept import spent
from airflow_kling.lifecycle.batch_prices import paid_keys
from airflow_kling.lifecycle.batch_results import Results, RowStatus, cost_of, end_row
from airflow_kling.lifecycle.batch_rows import RESULTS
from airflow_kling.operators.batch_process import Process

if TYPE_CHECKING:
    from airflow_kling.api.models import Task

SHOWN_ORPHANS = 20
_READ_AGAIN = (FaultKind.CONNECTION, FaultKind.SERVER, FaultKind.RATE)
_OF_MONEY = (FaultKind.ACCOUNT, FaultKind.CONCURRENCY)
_log = logging.getLogger(__name__)


def row_of_error(error: Exception, paid: Sequence[Task] = ()) -> dict[str, Any]:
    """Return the row of a picture that nothing was sent for."""
    known = isinstance(error, (InputFault, ApiFault, KlingError))
    # What nobody expected is of a storage, as a rule: a retry may read it.
    passing = not known or isinstance(error, KlingTransientError)
    passing = passing or (isinstance(error, ApiFault) and error.info.kind in _READ_AGAIN)
    return end_row(
        RowStatus.UNFINISHED if passing else RowStatus.REFUSED,
        error=redact(str(error)) if known else reason_of(error),
        **cost_of(paid),
    )


def commit_last(process: Process, batch: Batch) -> None:
    """
    Store what the journal has not yet; what cannot be costs a download, no more.

    :param batch: Its window, which is told if another process has taken over.
    """
    try:
        process.journal.commit()
        process.journal.check()
    except ApiFault as fault:
        if fault.info.kind is FaultKind.EXISTS:
            batch.stopped = fault
    except Exception as error:  # whatever the storage raises
        _log.warning("The journal's end could not be stored: %s", reason_of(error))


def conclude(
    process: Process, results: Results, stopped: ApiFault | str | None, broken: str, keys: Collection[str]
) -> dict[str, Any]:
    """
    Write the results manifest, and return what the batch made.

    :param stopped: Why nothing more was begun, if something was the matter.
    :param broken: Why what was made could not be stored, if so.
    :param keys: The pictures that rows took up.
    :raises KlingError: where too few pictures were made.
    """
    operator = process.operator
    _warn_of_orphans(process, keys)
    verdict = results.verdict(operator.min_success_ratio, str(stopped or ""))
    exists = isinstance(stopped, ApiFault) and stopped.info.kind is FaultKind.EXISTS
    if isinstance(stopped, ApiFault) and process.journal.overtaken:
        # Another process goes on, or goes on no more: the results are its.
        raise error_from_fault(stopped.info, verdict.text)
    try:
        process.write_results(results)
        text = f"{verdict.text}. All rows: {process.results_path}"
    except Exception as error:  # whatever the storage raises
        broken = broken or reason_of(error)
        text = f"{verdict.text}. The results manifest could not be written ({broken})"
    if broken and not exists:
        raise KlingTransientError(f"{text}. A retry goes on where it stopped, and pays for nothing again")
    if not verdict.failed:
        operator.log.info("%s", text)
        _warn_of_unfinished(process, results)
        return _outcome(process, results)
    if results.count(RowStatus.UNFINISHED) and (not isinstance(stopped, ApiFault) or stopped.info.kind in _OF_MONEY):
        # Nothing more is begun, yet what is paid is collected by a retry.
        raise KlingTransientError(text)
    if isinstance(stopped, ApiFault):
        raise error_from_fault(stopped.info, text)
    if stopped:
        raise KlingPermanentError(text)
    raise KlingTransientError(text) if verdict.passing else KlingTaskFailed(text)


def _warn_of_orphans(process: Process, keys: Collection[str]) -> None:
    """Name what is paid, and taken up by no row that can be read and planned for."""
    lost = paid_keys(process.journal).keys() - process.journal.keys("end") - set(keys)
    orphans = [record for name, record in process.journal.items("record") if name.rpartition("/")[0] in lost]
    names = [record.get("task_id") or record["external_task_id"] for record in orphans]
    if names:
        shown = ", ".join(sorted(names)[:SHOWN_ORPHANS]) + ", …" * (len(names) > SHOWN_ORPHANS)
        text = "%d tasks may be billed that no row takes up any more: %s"
        process.operator.log.warning(text, len(names), shown)


def _warn_of_unfinished(process: Process, results: Results) -> None:
    """Name what a success leaves behind."""
    left = results.count(RowStatus.UNFINISHED, RowStatus.UNKNOWN)
    if left:
        text = "%d rows are not collected, and may be billed (status unfinished or unknown in %s): a clear goes on"
        process.operator.log.warning(text, left, process.results_path)


def _outcome(process: Process, results: Results) -> dict[str, Any]:
    outcome = {
        RESULTS: str(process.results_path),
        "family": process.operator.family,
        "rows": len(results),
        "counts": results.counts(),
        "units": results.units,
        "spent": spent(process.journal),
    }
    for outlet in process.operator.outlets:
        if hasattr(outlet, "uri"):
            process.context["outlet_events"][outlet].extra = outcome
    return outcome
