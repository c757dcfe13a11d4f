"""Each kind of fault becomes the error that DAG authors catch."""

from __future__ import annotations

import copy
import pickle

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_kling import exceptions
from airflow_kling.api.faults import ApiFault, Created, FaultInfo, FaultKind
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.models import ExpandRequest
from airflow_kling.exceptions import (
    KlingAccountError,
    KlingAuthError,
    KlingConcurrencyExceeded,
    KlingConnectionError,
    KlingContentRejected,
    KlingError,
    KlingInputError,
    KlingPermanentError,
    KlingRateLimited,
    KlingRouteUnavailable,
    KlingServerError,
    KlingSubmissionUnknown,
    KlingTaskFailed,
    KlingTaskTimeout,
    KlingTransientError,
    error_from_end,
    errors_for,
)
from airflow_kling.lifecycle.end import End
from airflow_kling.lifecycle.wait import Outcome

PERMANENT = {
    FaultKind.AUTH: KlingAuthError,
    FaultKind.ACCOUNT: KlingAccountError,
    FaultKind.CONTENT: KlingContentRejected,
    FaultKind.ROUTE: KlingRouteUnavailable,
    FaultKind.NOT_FOUND: KlingTaskFailed,
    FaultKind.UNKNOWN: KlingSubmissionUnknown,
    FaultKind.EXISTS: KlingPermanentError,
}
TRANSIENT = {
    FaultKind.RATE: KlingRateLimited,
    FaultKind.CONCURRENCY: KlingConcurrencyExceeded,
    FaultKind.SERVER: KlingServerError,
    FaultKind.CONNECTION: KlingConnectionError,
}
REFUSED = {FaultKind.INPUT: KlingInputError, FaultKind.DUPLICATE: KlingInputError}
KINDS = [
    *(pytest.param(kind, error, id=kind.value) for kind, error in (PERMANENT | TRANSIENT).items()),
    *(pytest.param(kind, error, id=kind.value) for kind, error in REFUSED.items()),
]
CLASSES = [error for error in vars(exceptions).values() if isinstance(error, type) and issubclass(error, KlingError)]


def fault(kind: FaultKind) -> ApiFault:
    return ApiFault(FaultInfo(kind, "said so", 1234, 418, "r-1", Created.NO, None, "Do something"))


def error_of(raised: Exception, *context: str) -> KlingError:
    with pytest.raises(KlingError) as caught, errors_for(*context):
        raise raised
    return caught.value


def facts(error: KlingError) -> tuple:
    return type(error), str(error), error.message, error.code, error.request_id, error.http_status


@pytest.mark.parametrize(("kind", "error_class"), KINDS)
def test_fault_becomes_the_error_of_its_kind_with_all_facts(kind, error_class):
    error = error_of(fault(kind), "asking for task T1")

    assert type(error) is error_class
    assert (error.code, error.request_id, error.http_status) == (1234, "r-1", 418)
    assert str(error) == "asking for task T1: said so (code 1234, HTTP 418, request id r-1). Do something"


def test_every_kind_of_fault_is_tried_above():
    assert set(PERMANENT | TRANSIENT | REFUSED) == set(FaultKind)


def test_error_without_context_says_what_the_fault_says():
    assert str(error_of(fault(FaultKind.RATE))) == str(fault(FaultKind.RATE))


@pytest.mark.parametrize(("kind", "error_class"), KINDS)
def test_error_survives_pickling(kind, error_class):
    error = error_of(fault(kind), "asking")

    assert facts(pickle.loads(pickle.dumps(error))) == facts(error)
    assert facts(copy.copy(error)) == facts(error)


@pytest.mark.parametrize("error_class", [error for error in CLASSES if error is not KlingInputError])
@pytest.mark.parametrize("arguments", [(), ("what",), ("what", "task_not_exist", "r-1", 400)])
def test_every_class_survives_pickling(error_class, arguments):
    error = error_class(*arguments)

    assert facts(pickle.loads(pickle.dumps(error))) == facts(error)


@pytest.mark.parametrize("error_class", CLASSES)
def test_an_error_is_either_retried_by_airflow_or_not(error_class):
    if error_class is KlingError:
        return
    permanent = issubclass(error_class, KlingPermanentError)

    assert issubclass(error_class, AirflowException)
    assert issubclass(error_class, AirflowFailException) is permanent
    assert issubclass(error_class, KlingTransientError) is not permanent


@pytest.mark.parametrize(
    ("error_class", "permanent"),
    [(error, True) for error in (*PERMANENT.values(), KlingInputError, KlingSubmissionUnknown)]
    + [(error, False) for error in (*TRANSIENT.values(), KlingTaskTimeout)],
)
def test_what_a_retry_can_mend(error_class, permanent):
    assert issubclass(error_class, AirflowFailException) is permanent


def test_refused_request_is_an_error_that_airflow_does_not_retry():
    with pytest.raises(KlingInputError) as caught:
        ExpandRequest(image="https://h/x.png", up=3)

    error = caught.value
    assert isinstance(error, (InputFault, ValueError))
    assert isinstance(error, AirflowFailException)
    assert (error.field, error.value, error.code, error.request_id, error.http_status) == ("up", "3", None, None, None)
    assert str(error) == error.message == f"up=3: must be {error.limit}; {error.advice}"


def test_refused_request_survives_pickling():
    error = InputFault("up", 3, "from 0 to 2", "give less")
    told = pickle.loads(pickle.dumps(error))

    assert facts(told) == facts(error)
    assert (told.field, told.value, told.limit, told.advice, told.args) == (
        error.field,
        error.value,
        error.limit,
        error.advice,
        error.args,
    )


def test_refused_request_shows_no_secret():
    with pytest.raises(KlingInputError) as caught:
        ExpandRequest(image="https://h/x.png?Signature=s3cr3t y", up=1)

    assert "s3cr3t" not in f"{caught.value} {caught.value.args} {vars(caught.value)}"


def test_notes_survive_pickling():
    error = KlingServerError("late")
    error.add_note("task T1 still bills")

    assert pickle.loads(pickle.dumps(error)).__notes__ == ["task T1 still bills"]


def test_faults_within_become_errors_without_a_chain():
    with pytest.raises(KlingRateLimited, match=r"^asking: said so") as caught, errors_for("asking"):
        raise fault(FaultKind.RATE)

    assert caught.value.__suppress_context__


@pytest.mark.parametrize("error", [InputFault("up", 3, "less", "give less"), KeyError("other"), KlingServerError("x")])
def test_other_exceptions_pass_unchanged(error):
    with pytest.raises(type(error)) as caught, errors_for("asking"):
        raise error

    assert caught.value is error


def test_nothing_raised_nothing_changed():
    with errors_for("asking"):
        pass


@pytest.mark.parametrize(
    ("end", "error_class", "known"),
    [
        (End(Outcome.TIMED_OUT, "T1", "avatar", "kling_default"), KlingTaskTimeout, (None, None, None)),
        (
            End(Outcome.FAILED, "T1", "avatar", "kling_default", message="why", request_id="r-1"),
            KlingTaskFailed,
            (None, "r-1", None),
        ),
        (
            End(Outcome.FAULT, "T1", "avatar", "kling_default", fault=fault(FaultKind.AUTH).info),
            KlingAuthError,
            (1234, "r-1", 418),
        ),
        (
            End(Outcome.FAULT, "T1", "avatar", "kling_default", fault=fault(FaultKind.SERVER).info),
            KlingServerError,
            (1234, "r-1", 418),
        ),
    ],
)
def test_end_of_a_wait_becomes_an_error_that_names_the_task(end, error_class, known):
    error = error_from_end(end, timeout=60)

    assert type(error) is error_class
    assert (error.code, error.request_id, error.http_status) == known
    assert "T1" in str(error)
    assert (known[1] or "") in str(error)
