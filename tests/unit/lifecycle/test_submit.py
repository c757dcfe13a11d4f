"""A task is made once: whatever an earlier try left, and whatever became of the answer."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from airflow_kling.api.envelope import Answer, parse_tasks
from airflow_kling.api.families import FAMILIES
from airflow_kling.api.faults import ApiFault, Created, FaultInfo, FaultKind
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.models import ExpandRequest, Task, TaskStatus
from airflow_kling.lifecycle.lookup import LIST_PAGES
from airflow_kling.lifecycle.record import Record, Stage
from airflow_kling.lifecycle.submit import (
    RESULT_LIFETIME,
    OnExisting,
    Submission,
    Work,
    estimate_text,
    is_pressure,
)

NOW = 1_800_000_000.0
TASK = Task("image-expansion", "T1")
FAILED = replace(TASK, status=TaskStatus.FAILED)
SUCCEEDED = replace(TASK, status=TaskStatus.SUCCEEDED)
LEFT = Record(Stage.SUBMITTED, "af-0-0", "kling_default", "print", 0, 0, NOW - 60, "T1")
INTENT = replace(LEFT, stage=Stage.INTENT, task_id=None)
REFUSED = replace(INTENT, stage=Stage.REFUSED)


def fault(kind, created=Created.NO):
    return ApiFault(FaultInfo(FaultKind(kind), "said so", created=created))


NOT_FOUND = fault("not-found")
LOST = fault("connection", Created.MAY_EXIST)
OURS = replace(TASK, external_task_id="af-0-0")
BLIND = {"believed": False}
BY_LIST = {"believed": False, "lists_work": True}


class Killed(BaseException):
    """The process ends here, as by SIGKILL: nothing after it runs."""


def made_at(moment, task=TASK):
    return replace(task, created_at=datetime.fromtimestamp(moment, UTC))


class Kling:
    """An account that plays its script of creates, queries and lists, and writes down what it was asked."""

    def __init__(self, log, creates=(), queries=(), lists=(), believed=True, lists_work=False):
        self.log, self.answers = log, {"create": list(creates), "query": list(queries), "list": list(lists)}
        self.pages = lists if isinstance(lists, dict) else None
        self.account = SimpleNamespace(
            gateway="kling", base_url="https://k", lookup_by_external_id=believed, list_tasks=lists_work
        )

    def _answer(self, what, *asked):
        self.log.append((what, *asked))
        answer = self.answers[what].pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def submit(self, request):
        return self._answer("create", request.external_task_id)

    def get_task(self, task_id, family):
        assert family == "image-expansion"
        return self._answer("query", task_id)

    def list_tasks(self, family, page, page_size):
        assert (family, page_size) == ("image-expansion", 500)
        if self.pages is not None:
            self.log.append(("list", page))
            return self.pages.get(page, [])
        return self._answer("list", page)


class Memory:
    """Records that tell when they were written; ``breaks_at`` is the save before which the process ends."""

    breaks_at = None

    def __init__(self, log, record=None, durable=True, survive_clear=False):
        self.log, self.record, self.durable, self.survive_clear = log, record, durable, survive_clear

    def load(self):
        return self.record

    def save(self, record):
        if self.breaks_at == len([entry for entry in self.log if entry[0] == "save"]):
            raise Killed
        if self.durable:
            self.record = record
        self.log.append(("save", record.stage.value))


@pytest.fixture
def run():
    """Submit against scripted accounts; ``run.log`` holds what happened in order."""
    log = []

    clock = [NOW]

    def pass_time(seconds):
        log.append(("sleep", seconds))
        clock[0] += seconds

    def submit(record=None, *, durable=True, survive_clear=False, others=None, work=None, breaks_at=None, **script):
        run.records = Memory(log, record, durable, survive_clear)
        run.records.breaks_at = breaks_at
        scripts = {"kling_default": script} | (others or {})
        clients = {name: Kling(log, **answers) for name, answers in scripts.items()}
        facts = Work(
            "image-expansion",
            lambda epoch, generation: f"af-{epoch}-{generation}",
            lambda external_id: ExpandRequest(image="https://x/y.png", up=0.5, external_task_id=external_id),
            lambda: "print",
            tuple(clients),
        )
        submission = Submission(
            replace(facts, **(work or {})),
            run.records,
            clients.get,
            logging.getLogger("test"),
            now=lambda: clock[0],
            sleep=pass_time,
        )
        run.submission = submission
        return submission.run()

    run = submit
    run.log, run.clock = log, clock
    run.creates = lambda: [entry[1] for entry in log if entry[0] == "create"]
    return run


def test_intent_is_written_before_the_create_and_the_id_after_it(run):
    assert run(creates=[TASK]).task is TASK
    assert run.log == [("save", "intent"), ("create", "af-0-0"), ("save", "submitted")]
    assert (run.records.record.task_id, run.records.record.kling_conn_id) == ("T1", "kling_default")


def test_duplicate_is_adopted(run):
    assert run(creates=[fault("duplicate")], queries=[TASK]).task is TASK
    assert run.log[1:] == [("create", "af-0-0"), ("query", "af-0-0"), ("save", "submitted")]


@pytest.mark.parametrize("kind", ["input", "auth", "account", "content", "route", "rate", "concurrency", "connection"])
def test_create_that_was_refused_is_raised_and_not_sent_again(run, kind):
    with pytest.raises(ApiFault) as raised:
        run(creates=[fault(kind)])
    assert raised.value.info.kind == kind
    assert run.log == [("save", "intent"), ("create", "af-0-0"), ("save", "refused")]


@pytest.mark.parametrize("kind", ["connection", "server"])
def test_lost_answer_is_resolved_by_asking_for_our_id(run, kind):
    assert run(creates=[fault(kind, Created.MAY_EXIST)], queries=[TASK]).task is TASK
    assert run.creates() == ["af-0-0"]


def test_lost_answer_is_sent_again_only_where_the_gateway_knows_of_none(run):
    assert run(creates=[LOST, TASK], queries=[NOT_FOUND]).task is TASK
    steps = [entry[0] for entry in run.log]
    assert steps == ["save", "create", "query", "sleep", "save", "create", "save"]
    assert set(run.creates()) == {"af-0-0"}


def test_create_that_never_comes_through_is_given_up_and_its_intent_stays(run):
    with pytest.raises(ApiFault) as raised:
        run(creates=[LOST] * 9, queries=[NOT_FOUND] * 9)
    assert raised.value is LOST
    assert len(run.creates()) == 3
    # One of them may arrive yet: the next try asks first.
    assert run.records.record.stage is Stage.INTENT


def test_lost_answer_of_a_gateway_that_is_not_believed_is_unknown_and_never_sent_again(run):
    with pytest.raises(ApiFault, match="may have been billed") as raised:
        run(creates=[LOST, TASK], queries=[NOT_FOUND], believed=False)
    assert raised.value.info.kind is FaultKind.UNKNOWN
    assert "af-0-0" in str(raised.value)
    assert "resubmit" in str(raised.value)
    assert run.records.record.stage is Stage.INTENT
    assert len(run.creates()) == 1


@pytest.mark.parametrize(("task", "believed"), [(OURS, True), (OURS, False), (TASK, True)])
def test_task_that_is_found_counts_on_every_gateway_that_says_whose_it_is(run, task, believed):
    assert run(creates=[LOST], queries=[task], believed=believed).task is task


def test_list_is_asked_where_the_id_cannot_be_looked_up(run):
    ours = replace(TASK, external_task_id="af-0-0")
    found = run(creates=[LOST], queries=[NOT_FOUND], lists=[[TASK, ours]], believed=False, lists_work=True)
    assert found.task is ours


def test_list_without_us_proves_nothing_until_the_create_has_had_its_time(run):
    run(creates=[LOST, TASK], queries=[NOT_FOUND], lists={1: page(size=1)}, **BY_LIST)
    steps = [entry for entry in run.log if entry[0] in ("list", "sleep", "create")]
    assert steps[1:6] == [("list", 1), ("list", 2), ("sleep", 120.0), ("list", 1), ("list", 2)]
    assert steps[-1] == ("create", "af-0-0")


@pytest.mark.parametrize("epoch", [0, 1])
def test_recorded_task_is_rejoined_and_no_other_is_made(run, epoch):
    assert run(LEFT, queries=[TASK], work={"epoch": epoch}).task is TASK
    assert run.log == [("query", "T1"), ("save", "submitted")]


@pytest.mark.parametrize(("found", "creates"), [(TASK, 0), (NOT_FOUND, 1)])
def test_recorded_intent_is_resolved_before_anything_is_sent(run, found, creates):
    run(INTENT, queries=[found], creates=[TASK])
    assert run.log[0] == ("query", "af-0-0")
    assert len(run.creates()) == creates


def test_recorded_refusal_is_sent_again_under_its_id(run):
    run(REFUSED, creates=[TASK])
    assert ("create", "af-0-0") in run.log


def test_task_that_failed_stays_failed_for_a_retry_and_is_made_anew_after_a_clear(run):
    failed = replace(TASK, status=TaskStatus.FAILED)
    assert run(LEFT, queries=[failed]).task is failed
    run.log.clear()
    run(LEFT, queries=[failed], creates=[TASK], work={"epoch": 1})
    assert ("create", "af-0-1") in run.log


@pytest.mark.parametrize(("epoch", "anew"), [(0, False), (1, True)])
def test_changed_input_counts_only_after_a_clear(run, epoch, anew):
    run(LEFT, queries=[TASK], creates=[TASK], work={"epoch": epoch, "fingerprint": lambda: "another"})
    assert (("create", "af-0-1") in run.log) is anew


@pytest.mark.parametrize(
    ("on_existing", "epoch", "step"),
    [
        (OnExisting.RESUBMIT, 0, ("query", "T1")),
        (OnExisting.RESUBMIT, 1, ("create", "af-1-1")),
        (OnExisting.FAIL, 0, ("query", "T1")),
    ],
)
def test_parameter_decides_on_a_clear_and_not_on_a_retry(run, on_existing, epoch, step):
    run(LEFT, queries=[TASK], creates=[TASK], work={"epoch": epoch, "on_existing": on_existing})
    assert step in run.log


def test_clear_stops_where_the_author_wants_no_second_task(run):
    with pytest.raises(ApiFault, match="T1") as raised:
        run(LEFT, queries=[TASK], work={"epoch": 1, "on_existing": OnExisting.FAIL})
    assert raised.value.info.kind is FaultKind.EXISTS
    assert run.log == []


@pytest.mark.parametrize(("retried", "asked"), [(False, False), (True, True)])
def test_retry_without_a_record_asks_the_gateway_first(run, retried, asked):
    run(durable=False, queries=[NOT_FOUND], creates=[TASK], work={"retried": retried})
    assert (run.log[0] == ("query", "af-0-0")) is asked


def test_retry_without_a_record_and_without_belief_is_unknown(run):
    with pytest.raises(ApiFault) as raised:
        run(durable=False, queries=[NOT_FOUND], creates=[TASK], believed=False, work={"retried": True})
    assert raised.value.info.kind is FaultKind.UNKNOWN
    assert run.log == [("query", "af-0-0")]


def test_next_connection_serves_where_the_first_lacks_the_route(run):
    made = run(creates=[fault("route")], others={"kling_second": {"creates": [TASK]}})
    assert made.kling_conn_id == run.records.record.kling_conn_id == "kling_second"


@pytest.mark.parametrize("answer", [fault("account"), fault("route", Created.MAY_EXIST), LOST])
def test_next_connection_is_not_tried_where_a_task_may_exist_or_the_fault_is_another(run, answer):
    with pytest.raises(ApiFault):
        run(creates=[answer], queries=[NOT_FOUND], believed=False, others={"kling_second": {"creates": [TASK]}})
    assert len(run.creates()) == 1


# -- killed between any two statements ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("killed", "left", "accepted"),
    [
        ({"breaks_at": 0, "creates": []}, None, False),
        ({"creates": [Killed()]}, Stage.INTENT, False),
        ({"creates": [Killed()]}, Stage.INTENT, True),
        ({"breaks_at": 1, "creates": [TASK]}, Stage.INTENT, True),
        ({"creates": [LOST], "queries": [Killed()]}, Stage.INTENT, False),
        ({"creates": [LOST], "queries": [Killed()]}, Stage.INTENT, True),
        ({"creates": [LOST], "queries": [TASK], "breaks_at": 1}, Stage.INTENT, True),
        ({"creates": [LOST], "queries": [NOT_FOUND], "breaks_at": 1}, Stage.INTENT, False),
        ({"creates": [fault("concurrency")], "breaks_at": 1}, Stage.INTENT, False),
    ],
)
@pytest.mark.parametrize("epoch", [0, 1])
def test_killed_anywhere_the_next_try_makes_what_is_missing_and_nothing_else(run, killed, left, accepted, epoch):
    with pytest.raises(Killed):
        run(**killed)
    record = run.records.record
    assert (record and record.stage) == left
    run.log.clear()
    answers = [TASK] if accepted else [NOT_FOUND]
    made = run(record, queries=answers, creates=[TASK], work={"epoch": epoch, "retried": not epoch})
    assert made.task is TASK
    assert len(run.creates()) == (0 if accepted else 1)
    assert run.records.record.stage is Stage.SUBMITTED


@pytest.mark.parametrize("record", [INTENT, None], ids=["intent", "no-record"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_killed_where_the_gateway_is_blind_it_ends_as_unknown_until_the_parameter_says_otherwise(run, record, epoch):
    work = {"epoch": epoch, "retried": True}
    with pytest.raises(ApiFault) as raised:
        run(record, durable=record is not None, queries=[NOT_FOUND], **BLIND, work=work)
    assert (raised.value.info.kind, raised.value.info.created) == (FaultKind.UNKNOWN, Created.MAY_EXIST)
    assert run.creates() == []
    cleared = {"epoch": epoch + 1, "on_existing": OnExisting.RESUBMIT}
    run(record, durable=record is not None, creates=[TASK], **BLIND, work=cleared)
    assert run.creates() == [f"af-{epoch + 1}-{0 if record is None else 1}"]


@pytest.mark.parametrize("durable", [True, False])
def test_resubmit_makes_one_per_clear_and_none_per_crash(run, durable):
    work = {"epoch": 1, "on_existing": OnExisting.RESUBMIT}
    with pytest.raises(Killed):
        run(LEFT if durable else None, durable=durable, creates=[TASK], breaks_at=1, work=work)
    again = work | {"retried": True}
    run(run.records.record, durable=durable, queries=[TASK, TASK], work=again)
    run(run.records.record, durable=durable, creates=[TASK], work=work | {"epoch": 2})
    assert run.creates() == (["af-1-1", "af-2-2"] if durable else ["af-1-0", "af-2-0"])


def test_resubmit_goes_on_over_an_unresolved_intent_and_says_so(run, caplog):
    run(INTENT, creates=[TASK], work={"epoch": 1, "on_existing": OnExisting.RESUBMIT})
    assert run.creates() == ["af-1-1"]
    assert "goes on regardless" in caplog.text


# -- what a recorded task is asked ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "epoch", "age", "creates"),
    [
        pytest.param({}, 1, RESULT_LIFETIME + 1, ["af-0-1"], id="cleared-and-old"),
        pytest.param({}, 1, RESULT_LIFETIME, None, id="cleared-but-young"),
        pytest.param(BLIND, 1, RESULT_LIFETIME + 1, ["af-0-1"], id="cleared-and-old-on-a-blind-gateway"),
        pytest.param(BLIND, 1, RESULT_LIFETIME - 1, None, id="cleared-but-young-on-a-blind-gateway"),
        pytest.param({}, 0, 0, None, id="retried"),
        pytest.param({}, 0, RESULT_LIFETIME + 1, None, id="retried-and-old"),
    ],
)
def test_recorded_task_that_is_not_known_any_more(run, script, epoch, age, creates):
    record = replace(LEFT, at=NOW - age)
    if creates is None:
        with pytest.raises(ApiFault) as raised:
            run(record, queries=[NOT_FOUND], work={"epoch": epoch}, **script)
        assert raised.value.info.kind is FaultKind.NOT_FOUND
    else:
        run(record, queries=[NOT_FOUND], creates=[TASK], work={"epoch": epoch}, **script)
    assert run.creates() == (creates or [])


@pytest.mark.parametrize("record", [LEFT, INTENT], ids=["submitted", "intent"])
@pytest.mark.parametrize("kind", ["server", "connection", "rate", "auth", "account"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_question_that_fails_makes_no_task(run, record, kind, epoch):
    with pytest.raises(ApiFault):
        run(record, queries=[fault(kind)], creates=[TASK], work={"epoch": epoch})
    assert run.log == [("query", record.task_id or record.external_task_id)]
    assert run.records.record == record


@pytest.mark.parametrize(
    ("task", "epoch", "anew"),
    [
        (made_at(NOW - RESULT_LIFETIME - 1, SUCCEEDED), 1, True),
        (made_at(NOW - RESULT_LIFETIME - 1, SUCCEEDED), 0, False),
        (made_at(NOW - RESULT_LIFETIME, SUCCEEDED), 1, False),
        (made_at(NOW - RESULT_LIFETIME - 1), 1, False),
        (replace(made_at(NOW - 9e9, SUCCEEDED), updated_at=datetime.fromtimestamp(NOW, UTC)), 1, False),
        (SUCCEEDED, 1, False),
    ],
)
def test_expired_result_is_made_anew_after_a_clear_only(run, task, epoch, anew):
    run(LEFT, queries=[task], creates=[TASK], work={"epoch": epoch})
    assert run.creates() == (["af-0-1"] if anew else [])


def test_time_of_the_record_counts_where_the_task_tells_none(run):
    run(replace(LEFT, at=NOW - RESULT_LIFETIME - 1), queries=[SUCCEEDED], creates=[TASK], work={"epoch": 1})
    assert run.creates() == ["af-0-1"]


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("print_of_record", ["", "print"])
def test_source_that_is_gone_does_not_lose_a_paid_task(run, epoch, print_of_record, caplog):
    def gone():
        raise InputFault("image", "x.png", "an existing file", "check the path")

    record = replace(LEFT, fingerprint=print_of_record)
    assert run(record, queries=[TASK], work={"epoch": epoch, "retried": True, "fingerprint": gone}).task is TASK
    assert ("cannot be read any more" in caplog.text) is bool(print_of_record)


def test_task_of_another_input_is_told(run, caplog):
    run(LEFT, queries=[TASK], work={"fingerprint": lambda: "another", "retried": True})
    assert "another input" in caplog.text
    assert run.records.record.fingerprint == "print"


def test_a_try_that_goes_on_after_a_deferral_does_not_read_its_input_again(run):
    run(LEFT, queries=[TASK], work={"fingerprint": lambda: pytest.fail("read again")})


def test_rejoining_counts_for_this_clear_so_that_its_failure_waits_for_the_next(run):
    run(LEFT, queries=[TASK], work={"epoch": 1})
    run(run.records.record, queries=[FAILED], work={"epoch": 1, "retried": True})
    assert run.creates() == []
    run(run.records.record, queries=[FAILED], creates=[TASK], work={"epoch": 2})
    assert run.creates() == ["af-0-1"]


def test_generations_count_on_over_clears(run):
    record = LEFT
    for epoch in (1, 2, 3):
        run(record, queries=[FAILED], creates=[TASK], work={"epoch": epoch})
        record = run.records.record
    assert run.creates() == ["af-0-1", "af-0-2", "af-0-3"]
    assert (record.epoch, record.generation) == (3, 3)


@pytest.mark.parametrize("status", list(TaskStatus))
@pytest.mark.parametrize("record", [LEFT, INTENT], ids=["submitted", "intent"])
def test_fail_stops_a_clear_whatever_became_of_the_task(run, record, status):
    with pytest.raises(ApiFault, match="Nothing was sent") as raised:
        run(record, queries=[replace(TASK, status=status)], work={"epoch": 1, "on_existing": OnExisting.FAIL})
    assert (raised.value.info.kind, raised.value.info.created) == (FaultKind.EXISTS, Created.NO)
    assert not is_pressure(raised.value)


@pytest.mark.parametrize("mode", list(OnExisting))
@pytest.mark.parametrize("epoch", [0, 1])
def test_refused_create_is_sent_in_every_mode(run, mode, epoch):
    run(REFUSED, creates=[TASK], work={"epoch": epoch, "on_existing": mode})
    assert run.creates() == ["af-1-1" if mode is OnExisting.RESUBMIT and epoch else "af-0-0"]


# -- no record ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize(
    ("found", "creates"),
    [
        pytest.param([NOT_FOUND], ["af-0-0"], id="none"),
        pytest.param([TASK, TASK], [], id="one"),
        pytest.param([FAILED, TASK, TASK], [], id="the-second-goes-on"),
        pytest.param([FAILED, NOT_FOUND, FAILED], ["af-0-1"], id="the-first-failed"),
        pytest.param([FAILED, FAILED, NOT_FOUND, FAILED], ["af-0-2"], id="two-failed"),
    ],
)
def test_clear_that_dropped_the_record_finds_the_generations_at_the_gateway(run, durable, found, creates):
    run(durable=durable, queries=found, creates=[TASK], work={"epoch": 2})
    assert run.creates() == creates


def test_failure_of_the_try_before_stays_a_failure_without_a_record(run):
    found = run(durable=False, queries=[FAILED] * 3, work={"epoch": 1, "retried": True})
    assert (found.task, run.creates()) == (FAILED, [])


def test_clear_that_dropped_the_record_stops_where_the_author_wants_no_second_task(run):
    with pytest.raises(ApiFault) as raised:
        run(queries=[TASK, TASK], work={"epoch": 1, "on_existing": OnExisting.FAIL})
    assert raised.value.info.kind is FaultKind.EXISTS


@pytest.mark.parametrize(
    ("work", "durable", "asked"),
    [
        ({}, True, False),
        ({}, False, False),
        ({"retried": True}, True, False),
        ({"retried": True}, False, True),
        ({"epoch": 1}, True, True),
        ({"epoch": 1}, False, True),
        ({"epoch": 1, "on_existing": OnExisting.RESUBMIT}, True, False),
        ({"epoch": 1, "on_existing": OnExisting.RESUBMIT}, False, False),
        ({"epoch": 1, "on_existing": OnExisting.RESUBMIT, "retried": True}, True, False),
        ({"epoch": 1, "on_existing": OnExisting.RESUBMIT, "retried": True}, False, True),
        ({"retried": True, "on_existing": OnExisting.FAIL}, False, True),
    ],
)
def test_gateway_is_asked_where_an_earlier_task_may_not_be_on_record(run, work, durable, asked):
    run(durable=durable, queries=[NOT_FOUND], creates=[TASK], work=work)
    assert (run.log[0][0] == "query") is asked
    assert run.creates() == ["af-1-0" if work.get("on_existing") is OnExisting.RESUBMIT else "af-0-0"]


@pytest.mark.parametrize("mode", [OnExisting.REATTACH, OnExisting.FAIL])
def test_retry_without_a_record_takes_the_task_of_the_try_before(run, mode):
    found = run(durable=False, queries=[TASK, TASK], work={"retried": True, "on_existing": mode})
    assert found.task is TASK


def test_task_on_the_fallback_is_found_without_a_record(run):
    second = {"queries": [TASK, TASK]}
    found = run(durable=False, queries=[NOT_FOUND], others={"second": second}, work={"retried": True})
    assert found.kling_conn_id == "second"


@pytest.mark.parametrize("second", [{"queries": [NOT_FOUND]}, BLIND | {"queries": [NOT_FOUND]}])
def test_one_blind_connection_of_several_leaves_it_unknown(run, second):
    with pytest.raises(ApiFault) as raised:
        run(durable=False, queries=[NOT_FOUND], **BLIND, others={"second": second}, work={"retried": True})
    assert raised.value.info.kind is FaultKind.UNKNOWN
    assert run.creates() == []


# -- resolving by the list -------------------------------------------------------------------------------------------


def page(*tasks, size=500):
    return [*tasks, *[replace(TASK, external_task_id="af-other")] * (size - len(tasks))]


@pytest.mark.parametrize("kind", ["not-found", "route", "input"])
def test_list_is_asked_where_the_look_up_is_not_offered(run, kind):
    found = run(INTENT, queries=[fault(kind)], lists=[page(), [OURS]], **BY_LIST)
    assert found.task is OURS
    assert [entry for entry in run.log if entry[0] == "list"] == [("list", 1), ("list", 2)]


def test_list_is_read_until_it_is_older_than_the_create(run):
    old = [made_at(NOW - 7200, task) for task in page()]
    run(replace(INTENT, at=NOW - 3600), queries=[NOT_FOUND], lists=[page(), old], creates=[TASK], **BY_LIST)
    assert run.creates() == ["af-0-0"]


def test_list_without_end_cannot_tell(run):
    with pytest.raises(ApiFault) as raised:
        run(INTENT, queries=[NOT_FOUND], lists=[page()] * LIST_PAGES, **BY_LIST)
    assert raised.value.info.kind is FaultKind.UNKNOWN
    assert run.log[-1] == ("list", LIST_PAGES)


@pytest.mark.parametrize(("age", "sleeps"), [(119, [1.0]), (120, []), (9e9, [])])
def test_list_is_given_time_to_show_a_create(run, age, sleeps):
    run(replace(INTENT, at=NOW - age), queries=[NOT_FOUND], lists=[[], []], creates=[TASK], **BY_LIST)
    assert [entry[1] for entry in run.log if entry[0] == "sleep"] == sleeps


def test_create_that_shows_late_in_the_list_is_taken(run):
    found = run(INTENT, queries=[NOT_FOUND], lists=[[], [OURS]], **BY_LIST)
    assert (found.task, run.creates()) == (OURS, [])


# -- duplicates and fallbacks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [{}, BLIND, BY_LIST | {"lists": [[], []]}])
def test_duplicate_that_cannot_be_found_is_unknown_and_not_sent_again(run, script):
    with pytest.raises(ApiFault, match="af-0-0") as raised:
        run(creates=[fault("duplicate"), TASK], queries=[NOT_FOUND], **script)
    assert raised.value.info.kind is FaultKind.UNKNOWN
    assert len(run.creates()) == 1


def test_every_connection_may_lack_the_route(run):
    with pytest.raises(ApiFault) as raised:
        run(creates=[fault("route")], others={"second": {"creates": [fault("route")]}})
    assert raised.value.info.kind is FaultKind.ROUTE
    assert run.records.record.stage is Stage.REFUSED
    assert run.records.record.kling_conn_id == "second"


def test_task_of_the_fallback_is_asked_for_over_the_fallback(run):
    record = replace(LEFT, kling_conn_id="second")
    assert run(record, others={"second": {"queries": [TASK]}}).kling_conn_id == "second"
    intent = replace(INTENT, kling_conn_id="second")
    assert run(intent, others={"second": {"queries": [TASK]}}).kling_conn_id == "second"


def test_input_that_is_refused_is_refused_before_the_intent(run):
    with pytest.raises(InputFault):
        run(work={"build": lambda external_id: ExpandRequest(image="https://x/y.png", up=9)})
    # Kept, so that a clear knows that nothing was sent.
    assert run.log == [("save", "refused")]


@pytest.mark.parametrize(
    ("kind", "created", "busy"),
    [
        ("rate", Created.NO, True),
        ("concurrency", Created.NO, True),
        ("rate", Created.MAY_EXIST, False),
        ("server", Created.NO, False),
    ],
)
def test_pressure_is_a_create_that_was_refused(kind, created, busy):
    assert is_pressure(fault(kind, created)) is busy


# -- each of these once made a second bill, lost a paid task, or said what is not so ---------------------------------


@pytest.mark.parametrize("kind", ["rate", "concurrency"])
def test_busy_look_up_after_a_lost_create_is_no_pressure(run, kind):
    with pytest.raises(ApiFault) as raised:
        run(durable=False, creates=[LOST], queries=[fault(kind)], **BLIND)
    assert not is_pressure(raised.value)


@pytest.mark.parametrize("kind", ["connection", "auth", "account", "server"])
def test_look_up_that_fails_leaves_it_said_that_a_task_may_exist(run, kind):
    with pytest.raises(ApiFault) as raised:
        run(creates=[LOST], queries=[fault(kind)])
    assert raised.value.info.created is Created.MAY_EXIST


@pytest.mark.parametrize("query", [NOT_FOUND, fault("route")])
def test_missing_list_after_a_lost_create_does_not_lead_to_the_next_connection(run, query):
    believed = query is not NOT_FOUND
    others = {"second": {"creates": [replace(TASK, task_id="T2")]}}
    with pytest.raises(ApiFault):
        run(creates=[LOST], queries=[query], lists=[fault("route")], believed=believed, lists_work=True, others=others)
    assert len(run.creates()) == 1


def test_route_that_goes_missing_after_a_lost_create_does_not_lead_to_the_next_connection(run):
    others = {"second": {"creates": [replace(TASK, task_id="T2")]}}
    with pytest.raises(ApiFault) as raised:
        run(creates=[LOST, fault("route")], queries=[NOT_FOUND], others=others)
    assert raised.value.info.created is Created.MAY_EXIST
    assert len(run.creates()) == 2


def test_first_connection_without_the_route_does_not_hide_the_task_of_the_second(run):
    first = {"queries": [fault("route")], "lists": [fault("route")], **BY_LIST}
    found = run(durable=False, **first, others={"second": {"queries": [TASK, TASK]}}, work={"retried": True})
    assert found.kling_conn_id == "second"


def test_each_sending_is_given_its_time_to_show_in_the_list(run):
    lists = [[], [], [], [OURS]]
    found = run(creates=[LOST, LOST, TASK], queries=[NOT_FOUND] * 2, lists=lists, **BY_LIST)
    assert (found.task, len(run.creates())) == (OURS, 2)


def test_list_is_read_to_its_end_where_the_time_of_the_create_is_not_known(run):
    recent = [made_at(NOW - 3600, task) for task in page()]
    lists = {1: recent, 2: [OURS]}
    found = run(
        durable=False, queries=[NOT_FOUND, TASK], lists=lists, creates=[TASK], work={"retried": True}, **BY_LIST
    )
    assert (found.task.task_id, run.creates()) == ("T1", [])


@pytest.mark.parametrize("size", [499, 100])
def test_short_page_is_not_the_end_of_the_list(run, size):
    pages = {1: page(size=size), 2: [OURS]}
    found = run(replace(INTENT, at=NOW - 3600), queries=[NOT_FOUND], lists=pages, creates=[TASK], **BY_LIST)
    assert (found.task, run.creates()) == (OURS, [])


def test_source_that_cannot_be_asked_for_does_not_lose_a_paid_task(run):
    def gone():
        raise NOT_FOUND

    assert run(LEFT, queries=[TASK], work={"fingerprint": gone}).task is TASK


def test_store_that_fails_after_the_create_does_not_lose_the_task(run, monkeypatch):
    def save(self, record):
        if record.stage is Stage.SUBMITTED:
            raise OSError("the store is away")

    monkeypatch.setattr(Memory, "save", save)
    assert run(creates=[TASK], **BLIND).task is TASK


def test_generation_goes_on_after_a_resubmit(run):
    second = replace(LEFT, external_task_id="af-0-1", generation=1, epoch=1)
    run(second, creates=[TASK], work={"epoch": 2, "on_existing": OnExisting.RESUBMIT})
    run(run.records.record, queries=[FAILED], creates=[TASK], work={"epoch": 3})
    assert run.creates() == ["af-2-2", "af-0-3"]


@pytest.mark.parametrize("epoch", [1, 3])
def test_failure_within_a_clear_is_not_made_anew_by_a_retry_without_a_record(run, epoch):
    # What was made before the clear was refused; this clear's first try made generation 0 and was killed.
    queries = [FAILED, NOT_FOUND, FAILED]
    run(durable=False, queries=queries, creates=[TASK], work={"epoch": epoch, "retried": True})
    assert run.creates() == []


def test_fail_makes_no_other_of_a_task_that_is_not_known_any_more(run):
    with pytest.raises(ApiFault):
        run(LEFT, queries=[NOT_FOUND], creates=[TASK], work={"epoch": 1, "on_existing": OnExisting.FAIL})
    assert run.creates() == []


def test_young_task_that_is_not_known_has_not_expired(run):
    with pytest.raises(ApiFault):
        run(LEFT, queries=[NOT_FOUND], creates=[TASK], work={"epoch": 1})
    assert run.creates() == []


def test_look_up_that_answers_with_a_strangers_task_does_not_count(run):
    stranger = replace(TASK, external_task_id="af-other")
    with pytest.raises(ApiFault):
        run(creates=[LOST], queries=[stranger], **BLIND)


def test_late_answer_of_an_earlier_clear_does_not_replace_the_record(run, monkeypatch):
    newer = replace(LEFT, epoch=1, external_task_id="af-1-0", task_id="T2")

    def submit(self, request):
        # While this create was on its way the user cleared, and the next try submitted.
        run.records.record = newer
        raise fault("rate")

    monkeypatch.setattr(Kling, "submit", submit)
    with pytest.raises(ApiFault):
        run()
    assert run.records.record == newer


@pytest.mark.parametrize("on_existing", list(OnExisting))
@pytest.mark.parametrize("left", [INTENT, REFUSED], ids=["intent", "refused"])
def test_create_is_sent_again_under_the_id_it_had_whatever_the_parameter_says_now(run, left, on_existing):
    record = replace(left, external_task_id="af-7-0")
    run(record, queries=[NOT_FOUND], creates=[TASK], work={"on_existing": on_existing})
    assert run.creates() == ["af-7-0"]


@pytest.mark.parametrize("refusal", ["content", "rate", "route", "input"])
def test_refusal_behind_a_lost_create_leaves_the_intent(run, refusal):
    with pytest.raises(ApiFault):
        run(creates=[LOST, fault(refusal)], queries=[NOT_FOUND])
    assert run.records.record.stage is Stage.INTENT


@pytest.mark.parametrize("moment", ["create", "answer"])
def test_try_that_a_later_clear_has_overtaken_stops(run, monkeypatch, moment):
    newer = replace(LEFT, epoch=1, task_id="T2")

    def build(external_id):
        if moment == "create":
            run.records.record = newer
        return ExpandRequest(image="https://x/y.png", up=0.5, external_task_id=external_id)

    def submit(self, request):
        self.log.append(("create", request.external_task_id))
        run.records.record = newer
        return TASK

    monkeypatch.setattr(Kling, "submit", submit)
    with pytest.raises(ApiFault) as raised:
        run(work={"build": build})
    assert raised.value.info.kind is FaultKind.EXISTS
    assert len(run.creates()) == (0 if moment == "create" else 1)
    assert run.records.record == newer


@pytest.mark.parametrize("stage", [Stage.SUBMITTED, Stage.INTENT])
@pytest.mark.parametrize("kind", ["content", "concurrency"])
def test_late_refusal_of_an_earlier_try_does_not_replace_what_a_later_one_made(run, monkeypatch, stage, kind):
    newer = replace(LEFT, stage=stage, at=NOW + 60)

    def submit(self, request):
        # The supervisor was killed; the retry looked, found none, and was accepted before this answer came.
        run.records.record = newer
        raise fault(kind)

    monkeypatch.setattr(Kling, "submit", submit)
    with pytest.raises(ApiFault):
        run()
    assert run.records.record == newer


def test_try_that_its_own_retry_has_overtaken_takes_what_that_one_made(run):
    def build(external_id):
        # Stopped here for a while; the retry found no record, and made the task.
        run.records.record = LEFT
        return ExpandRequest(image="https://x/y.png", up=0.5, external_task_id=external_id)

    assert run(queries=[TASK], work={"build": build}).task is TASK
    assert run.creates() == []


def test_failed_look_up_does_not_say_that_nothing_was_sent(run):
    away = NOT_FOUND.replace(kind=FaultKind.CONNECTION, hint="Nothing was sent: check the host of the connection")
    with pytest.raises(ApiFault) as raised:
        run(creates=[LOST], queries=[away])
    assert "Nothing was sent" not in str(raised.value)


def test_failed_look_up_says_what_to_look_for(run):
    with pytest.raises(ApiFault, match="af-0-0"):
        run(creates=[LOST], queries=[fault("server")])


@pytest.mark.parametrize("kind", ["server", "connection", "rate", "auth"])
def test_list_that_fails_makes_no_task(run, kind):
    with pytest.raises(ApiFault) as raised:
        run(INTENT, queries=[NOT_FOUND], lists=[fault(kind)], creates=[TASK], **BY_LIST)
    assert (raised.value.info.kind, raised.value.info.created) == (kind, Created.MAY_EXIST)
    assert run.creates() == []


def test_row_that_cannot_be_read_is_not_taken_for_absent(run):
    row = {"task_id": "T1", "task_status": "succeed", "task_info": {"external_task_id": "af-0-0"}}
    answer = Answer(200, {}, json.dumps({"code": 0, "data": [row]}).encode())
    rows = parse_tasks(FAMILIES["image-expansion"], answer)
    old = replace(INTENT, at=NOW - 3600)
    with suppress(ApiFault):
        run(old, queries=[NOT_FOUND], lists={1: rows}, creates=[replace(TASK, task_id="T2")], **BY_LIST)
    assert run.creates() == []


def test_list_without_external_ids_cannot_tell(run):
    rows = [made_at(NOW - 3600)] * 3
    old = replace(INTENT, at=NOW - 3600)
    with suppress(ApiFault):
        run(old, queries=[NOT_FOUND], lists={1: rows}, creates=[replace(TASK, task_id="T2")], **BY_LIST)
    assert run.creates() == []


def test_clear_of_a_task_that_was_never_sent_is_sent_on_a_blind_gateway(run):
    # E.g. the picture was missing, the author put it there and cleared.
    assert run(survive_clear=True, creates=[TASK], **BLIND, work={"epoch": 1}).task is TASK


# -- the task before the last create -----------------------------------------------------------------------------------

BEFORE = replace(LEFT, external_task_id="af-0-0", task_id="T0")
UNSENT = replace(REFUSED, external_task_id="af-1-1", epoch=1, generation=1, earlier=BEFORE)


@pytest.mark.parametrize("stage", [Stage.REFUSED, Stage.INTENT])
def test_create_that_came_to_nothing_leaves_the_task_before_it(run, stage):
    made = replace(TASK, task_id="T0")
    queries = [NOT_FOUND, made] if stage is Stage.INTENT else [made]
    assert run(replace(UNSENT, stage=stage), queries=queries, work={"epoch": 2}).task is made
    assert run.creates() == []
    assert (run.records.record.task_id, run.records.record.earlier) == ("T0", None)


@pytest.mark.parametrize("stage", [Stage.REFUSED, Stage.INTENT])
def test_resubmit_that_came_to_nothing_is_sent_again_under_its_id(run, stage):
    queries = [NOT_FOUND] if stage is Stage.INTENT else []
    work = {"epoch": 1, "on_existing": OnExisting.RESUBMIT, "retried": True}
    run(replace(UNSENT, stage=stage), queries=queries, creates=[TASK], work=work)
    assert run.creates() == ["af-1-1"]


@pytest.mark.parametrize("status", [TaskStatus.FAILED, TaskStatus.PROCESSING])
def test_replacement_that_was_refused_is_sent_again_where_the_task_before_it_is_no_use(run, status):
    record = replace(UNSENT, external_task_id="af-0-1")
    work = {"epoch": 1, "fingerprint": lambda: "print" if status is TaskStatus.FAILED else "another"}
    run(record, queries=[replace(TASK, status=status)], creates=[TASK], work=work)
    assert run.creates() == ["af-0-1"]
    assert run.records.record.earlier is None


@pytest.mark.parametrize("answer", [fault("content"), LOST, Killed()], ids=["refused", "lost", "killed"])
@pytest.mark.parametrize("mode", [OnExisting.REATTACH, OnExisting.RESUBMIT])
def test_task_before_is_kept_until_another_is_made(run, answer, mode):
    with suppress(ApiFault, Killed):
        run(LEFT, queries=[FAILED, NOT_FOUND], creates=[answer], **BLIND, work={"epoch": 1, "on_existing": mode})
    assert run.records.record.earlier == LEFT


def test_fail_stops_at_the_task_before_a_create_that_came_to_nothing(run):
    with pytest.raises(ApiFault):
        run(UNSENT, queries=[replace(TASK, task_id="T0")], work={"epoch": 2, "on_existing": OnExisting.FAIL})


@pytest.mark.parametrize("stage", [Stage.REFUSED, Stage.INTENT])
def test_task_before_is_taken_in_the_same_clear_when_the_author_changes_his_mind(run, stage):
    # E.g. resubmit was refused for lack of slots, and the parameter set back while the retry waited.
    made = replace(TASK, task_id="T0")
    queries = [NOT_FOUND, made] if stage is Stage.INTENT else [made]
    found = run(replace(UNSENT, stage=stage), queries=queries, work={"epoch": 1, "retried": True})
    assert found.task is made


@pytest.mark.parametrize("epoch", [1, 2])
def test_lost_create_behind_a_failed_task_is_sent_again_under_its_id(run, epoch):
    # A clear with resubmit was lost on its way; now the parameter says reattach again.
    record = replace(UNSENT, stage=Stage.INTENT)
    run(record, queries=[NOT_FOUND, FAILED], creates=[TASK], work={"epoch": epoch, "retried": epoch == 1})
    assert run.creates() == ["af-1-1"]


@pytest.mark.parametrize("stage", [Stage.INTENT, Stage.REFUSED])
def test_resubmit_behind_a_resubmit_that_came_to_nothing_keeps_its_id(run, stage):
    record = replace(UNSENT, stage=stage, external_task_id="af-4-2", epoch=4, generation=2)
    run(record, queries=[NOT_FOUND], creates=[TASK], work={"epoch": 4, "on_existing": OnExisting.RESUBMIT})
    assert run.creates() == ["af-4-2"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(fault("route"), id="route"),
        pytest.param(LOST, id="lost"),
    ],
)
def test_process_without_a_record_is_not_disturbed_by_itself(run, answer):
    route = answer is not LOST
    others = {"second": {"creates": [TASK]}} if route else None
    creates = [answer] if route else [answer, TASK]
    assert run(durable=False, creates=creates, queries=[NOT_FOUND], others=others).task is TASK
    # A run that begins anew would save and send in another order: no sleep between the two sendings.
    assert [entry[0] for entry in run.log].count("sleep") == (0 if route else 1)
    assert len(run.creates()) == 2


@pytest.mark.parametrize(
    ("record", "script", "is_new"),
    [
        (None, {"creates": [TASK]}, True),
        (None, {"creates": [LOST], "queries": [OURS]}, True),
        (INTENT, {"queries": [OURS]}, True),
        (LEFT, {"queries": [TASK]}, False),
    ],
    ids=["made", "made-answer-lost", "made-by-a-killed-try", "known"],
)
def test_a_task_is_new_when_its_id_is_first_known(run, record, script, is_new):
    assert run(record, **script).is_new is is_new


def test_a_record_tells_family_and_origin(run):
    run(creates=[TASK], work={"origin": {"dag_id": "d"}})
    assert (run.records.record.family, run.records.record.origin) == ("image-expansion", {"dag_id": "d"})


# -- what is remembered ------------------------------------------------------------------------------------------------


def test_what_only_the_gateway_remembered_is_on_record_from_then_on(run):
    run(queries=[TASK, TASK], work={"epoch": 1})
    assert run.log == [("query", "af-0-0"), ("query", "T1"), ("save", "submitted")]
    assert run.records.record == Record(Stage.SUBMITTED, "af-0-0", "kling_default", "", 1, 0, NOW, "T1")


def test_resubmit_without_a_record_looks_for_its_own_create_alone(run):
    work = {"epoch": 1, "on_existing": OnExisting.RESUBMIT, "retried": True}
    assert run(durable=False, queries=[FAILED, FAILED], work=work).task is FAILED
    assert run.log[:2] == [("query", "af-1-0"), ("query", "T1")]


@pytest.mark.parametrize("stage", [Stage.INTENT, Stage.REFUSED])
@pytest.mark.parametrize("mode", [OnExisting.REATTACH, OnExisting.RESUBMIT])
def test_task_that_stands_is_kept_behind_one_lost_create_after_another(run, stage, mode):
    queries = [NOT_FOUND, FAILED] if stage is Stage.INTENT else [FAILED]
    with pytest.raises(Killed):
        run(
            replace(UNSENT, stage=stage),
            queries=queries if mode is OnExisting.REATTACH else [],
            creates=[Killed()],
            work={"epoch": 2, "on_existing": mode},
        )
    record = run.records.record
    assert (record.stage, record.earlier) == (Stage.INTENT, BEFORE)
    assert record.generation == (1 if mode is OnExisting.REATTACH else 2)


@pytest.mark.parametrize(
    ("answer", "stays"),
    [(fault("rate"), ""), (LOST, "af-0-0"), (Killed(), "af-0-0")],
    ids=["refused", "lost", "killed"],
)
def test_a_create_counts_as_under_way_until_it_is_known_to_have_made_nothing(run, answer, stays):
    with pytest.raises((ApiFault, Killed)):
        run(creates=[answer], queries=[NOT_FOUND], **BLIND)
    assert run.submission.in_flight == stays


@pytest.mark.parametrize(("age", "pages"), [(599, [1, 2]), (600, [1, 2]), (601, [1])])
def test_list_is_left_where_it_is_older_than_the_create_by_more_than_clocks_differ(run, age, pages):
    old = made_at(NOW - 3600 - age, replace(TASK, external_task_id="af-other"))
    intent = replace(INTENT, at=NOW - 3600)
    run(intent, queries=[NOT_FOUND], lists={1: [old]}, creates=[TASK], **BY_LIST)
    assert [entry[1] for entry in run.log if entry[0] == "list"] == pages


def test_second_look_at_the_list_ends_where_the_first_did(run):
    old = made_at(NOW - 7200, replace(TASK, external_task_id="af-other"))
    run(replace(INTENT, at=NOW), queries=[NOT_FOUND], lists={1: [old]}, creates=[TASK], **BY_LIST)
    assert [entry for entry in run.log if entry[0] in ("list", "sleep")] == [("list", 1), ("sleep", 120.0), ("list", 1)]


def test_list_is_not_waited_for_where_the_time_of_the_create_is_not_known(run):
    run(durable=False, queries=[NOT_FOUND], lists={}, creates=[TASK], work={"retried": True}, **BY_LIST)
    assert "sleep" not in [entry[0] for entry in run.log]


def test_intent_holds_all_that_the_next_try_needs(run):
    work = {"epoch": 1, "source_size": (400, 300), "origin": {"dag_id": "d"}}
    with pytest.raises(Killed):
        run(survive_clear=True, creates=[Killed()], work=work)
    facts = {"source_size": (400, 300), "family": "image-expansion", "origin": {"dag_id": "d"}}
    assert run.records.record == Record(Stage.INTENT, "af-0-0", "kling_default", "print", 1, 0, NOW, **facts)


def test_input_that_was_refused_is_on_record_as_not_sent(run):
    def build(external_id):
        raise InputFault("image", "x.png", "an existing file", "check the path")

    with pytest.raises(InputFault):
        run(survive_clear=True, others={"second": {}}, work={"epoch": 2, "build": build})
    assert run.records.record == Record(Stage.REFUSED, "af-0-0", "second", "", 2, 0, NOW)


def test_lost_create_keeps_its_generation(run):
    run(replace(INTENT, generation=3), queries=[NOT_FOUND], creates=[TASK])
    assert (run.creates(), run.records.record.generation) == (["af-0-0"], 3)


def test_connection_of_the_last_create_is_known(run):
    run(creates=[fault("route")], others={"second": {"creates": [TASK]}})
    assert run.submission.kling_conn_id == "second"
    with pytest.raises(ApiFault):
        run(LEFT, queries=[fault("server")], others={"second": {}})
    assert run.submission.kling_conn_id == "kling_default"


# -- what is said ------------------------------------------------------------------------------------------------------

STOPPED = "an earlier try was stopped between sending the create and knowing its end"
ANOTHER_INPUT = (
    "Kling task T1 was made from another input; it counts for this run all the same. Clear the task to have one made "
    "from the input of now"
)
REJOINED = "Kling task T1 (image-expansion) rejoined, it is submitted; no other is made"


def submitted(external_id):
    price = "8 units, $0.028 at Kling's list price"
    return f"Kling task T1 (image-expansion) submitted to kling, external id {external_id}: {price}"


def gone():
    raise FileNotFoundError("x.png")


@pytest.mark.parametrize(
    ("record", "script", "work", "told"),
    [
        pytest.param(None, {"creates": [TASK]}, {}, [submitted("af-0-0")], id="made"),
        pytest.param(LEFT, {"queries": [TASK]}, {}, [REJOINED], id="rejoined"),
        pytest.param(
            LEFT,
            {"queries": [FAILED], "creates": [TASK]},
            {"epoch": 1},
            ["Kling task T1 had failed: another is made", submitted("af-0-1")],
            id="failed",
        ),
        pytest.param(
            LEFT,
            {"queries": [made_at(NOW - RESULT_LIFETIME - 1, SUCCEEDED)], "creates": [TASK]},
            {"epoch": 1},
            ["Kling task T1 has expired: another is made", submitted("af-0-1")],
            id="expired",
        ),
        pytest.param(
            replace(LEFT, at=0.0),
            {"queries": [NOT_FOUND], "creates": [TASK]},
            {"epoch": 1},
            ["Kling task T1 has expired: another is made", submitted("af-0-1")],
            id="not-known-any-more",
        ),
        pytest.param(
            LEFT,
            {"queries": [TASK], "creates": [TASK]},
            {"epoch": 1, "fingerprint": lambda: "another"},
            ["Kling task T1 was made from another input: another is made", submitted("af-0-1")],
            id="another-input",
        ),
        pytest.param(
            LEFT,
            {"queries": [TASK]},
            {"retried": True, "fingerprint": lambda: "another"},
            [
                ANOTHER_INPUT,
                REJOINED,
            ],
            id="another-input-of-a-retry",
        ),
        pytest.param(
            LEFT,
            {"queries": [TASK]},
            {"retried": True, "fingerprint": gone},
            [
                "The input cannot be read any more: FileNotFoundError: x.png",
                REJOINED,
            ],
            id="no-input",
        ),
        pytest.param(
            INTENT,
            {"queries": [NOT_FOUND], "creates": [TASK]},
            {},
            ["No Kling task has the id af-0-0: the create is sent again", submitted("af-0-0")],
            id="lost",
        ),
        pytest.param(INTENT, {"queries": [TASK]}, {}, [REJOINED], id="not-lost"),
        pytest.param(
            INTENT,
            {"creates": [TASK]},
            {"epoch": 1, "on_existing": OnExisting.RESUBMIT},
            [f"{STOPPED}; on_existing='resubmit' goes on regardless", submitted("af-1-1")],
            id="resubmit",
        ),
        pytest.param(
            None,
            {"creates": [LOST], "queries": [TASK]},
            {},
            ["Kling task T1 was made although the create ended in: said so; it is rejoined"],
            id="answer-lost",
        ),
        pytest.param(
            None,
            {"creates": [fault("route")], "others": {"second": {"creates": [TASK]}}},
            {},
            ["Connection kling_default lacks the route (said so): the next one is used", submitted("af-0-0")],
            id="fallback",
        ),
    ],
)
def test_log_says_what_was_found_and_what_follows(run, caplog, record, script, work, told):
    with caplog.at_level(logging.INFO, "test"):
        run(record, **script, work=work)
    assert [row.getMessage() for row in caplog.records] == told


def test_store_that_fails_is_told_at_each_try(run, monkeypatch, caplog):
    def save(self, record):
        if record.stage is Stage.SUBMITTED:
            raise OSError("the store is away, Bearer sk-0123456789abcdef")

    monkeypatch.setattr(Memory, "save", save)
    with caplog.at_level(logging.WARNING, "test"):
        run(creates=[TASK])
    told = "Kling task T1 exists, but its record could not be saved: OSError: the store is away, Bearer ***"
    assert [row.getMessage() for row in caplog.records] == [told] * 3
    assert run.log == [("create", "af-0-0"), ("sleep", 2.0), ("sleep", 4.0)]


UNKNOWN_HINT = (
    "Look for that id, or for a task of that minute, in the gateway's console. If there is one, watch it with "
    "KlingTaskSensor(kling_task_id=…). If there is none, or a second one may be paid, set "
    'on_existing="resubmit" and clear the task. No retry is made by itself'
)
LOOK_UP_HINT = "No other was sent. The next try, or a clear, looks again before it sends one"
FAIL = {"epoch": 1, "on_existing": OnExisting.FAIL}
EXISTS = (
    'Kling task T1 (image-expansion) was made before this task was cleared; on_existing="fail" stops here. Nothing was '
    'sent. Use on_existing="reattach" to take it, or "resubmit" to pay for another'
)


def unknown(what):
    return (
        f"a task may exist and may have been billed: {what}, and the gateway kling at https://k cannot be asked for it "
        f"by its external id af-0-0. {UNKNOWN_HINT}"
    )


def look_up_failed(what):
    return (
        f"a Kling task with the id af-0-0 may exist and be billed, for {what}; looking for it failed: said so. "
        f"{LOOK_UP_HINT}"
    )


@pytest.mark.parametrize(
    ("record", "script", "work", "told", "created"),
    [
        pytest.param(LEFT, {}, FAIL, EXISTS, Created.NO, id="exists"),
        pytest.param(INTENT, {"queries": [TASK]}, FAIL, EXISTS, Created.NO, id="exists-unseen"),
        pytest.param(
            LEFT,
            {"queries": [fault("server")]},
            {},
            "Kling task T1 was made, and asking for it failed: said so",
            Created.MAY_EXIST,
            id="cannot-be-asked-for",
        ),
        pytest.param(INTENT, {"queries": [NOT_FOUND], **BLIND}, {}, unknown(STOPPED), Created.MAY_EXIST, id="stopped"),
        pytest.param(
            None,
            {"creates": [LOST], "queries": [NOT_FOUND], **BLIND},
            {},
            unknown("the create ended in: said so"),
            Created.MAY_EXIST,
            id="lost",
        ),
        pytest.param(
            None,
            {"creates": [fault("duplicate")], "queries": [NOT_FOUND]},
            {},
            unknown("the create ended in: said so"),
            Created.MAY_EXIST,
            id="duplicate-of-nobody",
        ),
        pytest.param(
            None,
            {"queries": [NOT_FOUND], "durable": False, **BLIND},
            {"retried": True},
            unknown("an earlier try or run may have submitted a task, and no record tells whether it did"),
            Created.MAY_EXIST,
            id="no-record",
        ),
        pytest.param(
            INTENT,
            {"queries": [fault("server")]},
            {},
            look_up_failed(STOPPED),
            Created.MAY_EXIST,
            id="look-up-of-intent",
        ),
        pytest.param(
            None,
            {"creates": [LOST], "queries": [fault("server")]},
            {},
            look_up_failed("the create ended in: said so"),
            Created.MAY_EXIST,
            id="look-up-of-create",
        ),
    ],
)
def test_fault_says_what_may_exist_and_what_to_do(run, record, script, work, told, created):
    with pytest.raises(ApiFault) as raised:
        run(record, **script, work=work)
    assert (str(raised.value), raised.value.info.created) == (told, created)


OVERTAKEN = "this process was overtaken: the task has been cleared and started anew since; "


@pytest.mark.parametrize(
    ("overtaken_at", "made"),
    [("build", "nothing was sent"), ("submit", "it made the Kling task T1, which is billed")],
)
def test_process_that_was_overtaken_says_what_it_made(run, monkeypatch, overtaken_at, made):
    def overtake(*_):
        run.records.record = replace(LEFT, epoch=1, task_id="T2")
        return ExpandRequest(image="https://x/y.png", up=0.5) if overtaken_at == "build" else TASK

    monkeypatch.setattr(Kling, "submit", overtake if overtaken_at == "submit" else None)
    with pytest.raises(ApiFault) as raised:
        run(work={"build": overtake} if overtaken_at == "build" else {})
    assert (str(raised.value), raised.value.info.created) == (OVERTAKEN + made, Created.NO)


def test_record_that_others_keep_writing_is_given_up(run, caplog):
    times = iter(range(9))

    def build(external_id):
        run.records.record = replace(REFUSED, at=NOW + next(times))
        return ExpandRequest(image="https://x/y.png", up=0.5, external_task_id=external_id)

    with caplog.at_level(logging.INFO, "test"), pytest.raises(ApiFault) as raised:
        run(REFUSED, work={"build": build})
    assert (raised.value.info.kind, raised.value.info.created) == (FaultKind.CONNECTION, Created.MAY_EXIST)
    assert str(raised.value) == (
        "another process of this task keeps writing its record. The next try takes up what the other one made"
    )
    told = "The record was changed by another process of this task: it is read again"
    assert [row.getMessage() for row in caplog.records] == [told] * 3
    assert run.creates() == []


@pytest.mark.parametrize(
    ("units", "price", "told"),
    [
        (8.0, 0.028, "8 units, $0.028 at Kling's list price"),
        (1.0, 0.14, "1 unit, $0.140 at Kling's list price"),
        (None, 0.028, "no list price is known"),
        (8.0, None, "no list price is known"),
    ],
)
def test_estimate_needs_units_and_a_price(units, price, told):
    assert estimate_text(SimpleNamespace(units=units, price=price)) == told
