"""The errors that DAG authors see: one class per kind of fault, each with code, message, request id and HTTP status."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_kling.api.faults import ApiFault, FaultInfo, FaultKind
from airflow_kling.api.inputs import InputFault
from airflow_kling.lifecycle.end import End, end_text
from airflow_kling.lifecycle.wait import Outcome


class KlingError(AirflowException):
    """
    Anything that went wrong with Kling.

    :param message: What happened, to which remote task, whether it still bills, what a retry will do.
    :param code: Kling's business code, or a gateway's word.
    :param request_id: The vendor's id of the request, for its support.
    :param http_status: HTTP status of the answer; None where none came.
    """

    def __init__(
        self,
        message: str = "",
        code: int | str | None = None,
        request_id: str | None = None,
        http_status: int | None = None,
    ) -> None:
        # Not super(): behind Airflow's classes may stand InputFault, which wants other arguments.
        Exception.__init__(self, message)
        self.message = message
        self.code = code
        self.request_id = request_id
        self.http_status = http_status

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.message, self.code, self.request_id, self.http_status)
        return type(self), arguments, self.__dict__.copy()


class KlingTransientError(KlingError):
    """Passes by itself: a retry can succeed."""


class KlingRateLimited(KlingTransientError):
    """Requests came too fast (code 1302)."""


class KlingConcurrencyExceeded(KlingTransientError):
    """The account has as many tasks running as its resource pack allows (code 1303)."""


class KlingServerError(KlingTransientError):
    """The server failed, or answered what cannot be read."""


class KlingConnectionError(KlingTransientError):
    """The server was not reached, or did not answer."""


class KlingTaskTimeout(KlingTransientError):
    """The wait ended before the remote task did; the task goes on, and a retry rejoins it."""


class KlingPermanentError(KlingError, AirflowFailException):
    """Stays as it is until somebody acts: Airflow does not retry it."""


class KlingInputError(KlingPermanentError, InputFault):
    """
    An input that Kling would refuse, or has refused.

    Raised before anything is sent it names ``field``, ``value``, ``limit`` and ``advice``.
    """

    def __init__(
        self,
        field: str = "",
        value: object = "",
        limit: str | int | None = "",
        advice: str | int | None = "",
        *,
        fault: FaultInfo | None = None,
    ) -> None:
        if fault is None:
            InputFault.__init__(self, field, value, str(limit), str(advice))
            text = InputFault.__str__(self)
            self.message, self.code, self.request_id, self.http_status = text, None, None, None
        else:
            self.field = self.value = self.limit = self.advice = ""
            KlingPermanentError.__init__(self, field, fault.code, fault.request_id, fault.http_status)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_input_error, (self.__dict__.copy(), self.args)


class KlingAuthError(KlingPermanentError):
    """The key is wrong, or lacks a permission."""


class KlingAccountError(KlingPermanentError):
    """The account is in arrears, its pack is used up, or it may not be used from here."""


class KlingContentRejected(KlingPermanentError):
    """The content policy refused the picture or the prompt."""


class KlingRouteUnavailable(KlingPermanentError):
    """The gateway does not offer the route, or the base URL is wrong."""


class KlingTaskFailed(KlingPermanentError):
    """The remote task ended as failed, or is not known any more."""


class KlingSubmissionUnknown(KlingPermanentError):
    """A task may have been made and billed, and nothing can tell whether it was."""


CLASSES: dict[FaultKind, type[KlingError]] = {
    FaultKind.INPUT: KlingInputError,
    FaultKind.AUTH: KlingAuthError,
    FaultKind.ACCOUNT: KlingAccountError,
    FaultKind.CONTENT: KlingContentRejected,
    FaultKind.ROUTE: KlingRouteUnavailable,
    FaultKind.NOT_FOUND: KlingTaskFailed,
    FaultKind.DUPLICATE: KlingInputError,
    FaultKind.RATE: KlingRateLimited,
    FaultKind.CONCURRENCY: KlingConcurrencyExceeded,
    FaultKind.SERVER: KlingServerError,
    FaultKind.CONNECTION: KlingConnectionError,
    FaultKind.UNKNOWN: KlingSubmissionUnknown,
    FaultKind.EXISTS: KlingPermanentError,
}


def error_from_fault(info: FaultInfo, text: str) -> KlingError:
    """
    Return the error of the fault's kind.

    :param info: What is known of the fault.
    :param text: What the error says.
    """
    error_class = CLASSES[info.kind]
    if error_class is KlingInputError:
        return KlingInputError(text, fault=info)
    return error_class(text, info.code, info.request_id, info.http_status)


def error_from_end(end: End, timeout: float) -> KlingError:
    """
    Return the error for a wait that did not end in success.

    :param end: How it ended.
    :param timeout: Seconds that it was allowed.
    """
    text = end_text(end, timeout)
    if end.fault is not None:
        return error_from_fault(end.fault, text)
    if end.outcome is Outcome.TIMED_OUT:
        return KlingTaskTimeout(text)
    return KlingTaskFailed(text, request_id=end.request_id)


@contextmanager
def errors_for(context: str = "") -> Iterator[None]:
    """
    Turn the contract's faults into errors of this module.

    :param context: What is being done, to which task.
    """
    try:
        yield
    except ApiFault as fault:
        raise error_from_fault(fault.info, f"{context}: {fault}" if context else str(fault)) from None


def _rebuild_input_error(state: dict[str, object], args: tuple[object, ...]) -> KlingInputError:
    error = cast("KlingInputError", KlingInputError.__new__(KlingInputError))
    error.args = args
    error.__dict__.update(state)
    return error
