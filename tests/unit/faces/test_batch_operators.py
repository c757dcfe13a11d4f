"""The batch operators against the emulator over real sockets: what is paid, kept, told, and gone on with."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from PIL import Image

from airflow_kling.emulator.settings import EmulatorSettings
from airflow_kling.emulator.testing import kling_emulator_factory  # noqa: F401
from airflow_kling.exceptions import (
    KlingAccountError,
    KlingAuthError,
    KlingConcurrencyExceeded,
    KlingError,
    KlingInputError,
    KlingPermanentError,
    KlingTaskFailed,
    KlingTransientError,
)
from airflow_kling.hooks.client import SyncClient
from airflow_kling.hooks.kling import KlingHook
from airflow_kling.lifecycle import batch_journal, batch_results, collect
from airflow_kling.lifecycle.submit import Submission
from airflow_kling.operators import (
    batch_leave,
    batch_process,
    batch_reading,
    batch_run,
    batch_store,
    housekeeping,
    outcome,
)
from airflow_kling.operators.batch import KlingBatchOperator
from airflow_kling.operators.batch_threads import Kind, Threads
from airflow_kling.operators.kling import KlingExpandBatchOperator, KlingImageToVideoBatchOperator
from airflow_kling.operators.links import LINKS
from airflow_kling.triggers.batch import KlingBatchTrigger
from airflow_kling.triggers.kling import KlingSlotTrigger


class Killed(BaseException):
    """The process ends here, as by SIGKILL."""


class Instance(SimpleNamespace):
    """As much of a task instance as an operator asks for."""

    def xcom_push(self, key, value):
        self.pushed[key] = value


def instance(operator, *, cleared=0, try_number=1):
    facts = {"dag_id": "d", "run_id": "r", "task_id": operator.task_id, "map_index": -1, "task": operator}
    return Instance(**facts, try_number=cleared + try_number, max_tries=cleared, pushed={})


def run(operator, event=None, **facts):
    """Run a process of the batch; returns its result."""
    context = {"ti": instance(operator, **facts)}
    if event is None:
        return operator.execute(context)
    return operator.execute_complete(context, event)


class Jumps:
    """
    Moves the clock where a batch would wait with nothing under way; where threads are at work, it waits for them.

    The emulator reads the same clock, so that its tasks end by it.
    """

    def __init__(self, monkeypatch):
        self.active, self.emulators = True, []
        self._ahead, self._at_work, self._lock = 0.0, Counter(), threading.Lock()
        self._real = {name: getattr(Threads, name) for name in ("start", "answer", "_do")}
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + self._ahead)
        for name in self._real:
            method = getattr(self, name)
            monkeypatch.setattr(Threads, name, lambda *args, method=method, **options: method(*args, **options))
        monkeypatch.setattr(SyncClient.__init__, "__defaults__", (self.pass_time,))

    def pass_time(self, seconds):
        with self._lock:
            self._ahead += seconds

    def start(self, threads, kind, job, then):
        with self._lock:
            self._at_work[threads] += 1
        self._real["start"](threads, kind, job, then)

    def _do(self, threads, job, then):
        try:
            self._real["_do"](threads, job, then)
        finally:
            with self._lock:
                self._at_work[threads] -= 1

    def answer(self, threads, seconds):
        if not self.active or self._at_work[threads] or not threads._answers.empty():
            self._real["answer"](threads, seconds)
            return
        for emulator in self.emulators:
            emulator.wait_for_pictures()
        self.pass_time(seconds)


@pytest.fixture(autouse=True)
def jumps(monkeypatch):
    return Jumps(monkeypatch)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("airflow_kling.lifecycle.poll.HICCUP", 0.05)
    monkeypatch.setattr(batch_store, "STORE_DELAYS", (0.0,))
    monkeypatch.setattr("airflow_kling.lifecycle.submit.RESEND_DELAYS", (0.0, 0.0))
    monkeypatch.setattr("airflow_kling.lifecycle.batch.FIRST_DELAY", 0.01)
    monkeypatch.setattr("airflow_kling.lifecycle.batch.FIRST_POLL", 0.05)
    monkeypatch.setattr("airflow_kling.lifecycle.batch.FIRST_SINGLE", 0.05)


@pytest.fixture
def told(monkeypatch, caplog):
    monkeypatch.setattr(KlingBatchOperator, "log", logging.getLogger("told"), raising=False)
    caplog.set_level(logging.INFO, "told")
    return caplog


@pytest.fixture
def account(kling_emulator_factory, monkeypatch, jumps):  # noqa: F811
    """Start an emulator behind the connection."""

    def start(gateway="kling", **settings):
        settings = {"latency": 0.1, "quota": 4, "pictures": "canned"} | settings
        emulator = kling_emulator_factory(EmulatorSettings(**settings))
        jumps.emulators.append(emulator)
        monkeypatch.setenv("AIRFLOW_CONN_KLING_DEFAULT", emulator.connection_uri(gateway))
        return emulator

    return start


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "in"
    path.mkdir()
    for number in range(6):
        draw(path / f"{number}.png", number)
    return path


@pytest.fixture
def killed(monkeypatch):
    """Kill a process of the batch once creates are accepted, before their ids are stored."""

    @contextmanager
    def kill(after):
        dead, tell = [], Threads.tell

        def remember(*_):
            dead.append(threading.get_ident())
            raise Killed

        def tell_unless_dead(threads, answer):
            if threading.get_ident() not in dead:
                tell(threads, answer)

        def report(run, *, force=False):
            if len(dead) >= after:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(Submission, "_remember", remember)
            patch.setattr(batch_run.BatchRun, "_report", report)
            patch.setattr(Threads, "tell", tell_unless_dead)
            yield
        join_threads()

    return kill


def join_threads():
    for thread in threading.enumerate():
        if thread.name.startswith("kling-batch"):
            thread.join(10)


def draw(path, shade, size=(400, 300)):
    Image.new("RGB", size, (shade, 80, 90)).save(path)


def expand(folder, tmp_path, **parameters):
    facts = {"task_id": "batch", "images": str(folder), "output_path": str(tmp_path / "out")}
    facts |= {"deferrable": False, "poll_interval": 0.2}
    if not {"aspect_ratio", "size"} & parameters.keys():
        facts["left"] = 0.5
    return KlingExpandBatchOperator(**facts | parameters)


def results(tmp_path):
    (path,) = (tmp_path / "out").glob("*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def statuses(tmp_path):
    return [row["status"] for row in results(tmp_path)]


def accepted(emulator):
    rows = [row for row in emulator.state.ledger()["creates"] if row["outcome"] == "accepted"]
    assert len({row["external_task_id"] for row in rows}) == len(rows)
    return len(rows)


# -- what is made -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gateway", ["kling", "cometapi"])
def test_each_picture_is_paid_once_and_a_rerun_pays_for_nothing(account, folder, tmp_path, told, gateway):
    emulator = account(gateway)
    (folder / "twin.png").write_bytes((folder / "0.png").read_bytes())
    made = run(expand(folder, tmp_path))
    assert (made["rows"], made["counts"]["succeeded"], made["units"]) == (7, 7, 48.0)
    assert accepted(emulator) == 6
    rows = results(tmp_path)
    assert rows[0]["outputs"] == rows[6]["outputs"]
    assert len({row["task_id"] for row in rows}) == 6
    for row in rows:
        assert Path(urlsplit(row["outputs"][0]["uri"]).path).stat().st_size == row["outputs"][0]["size_bytes"]
    before = emulator.state.ledger()["requests"]
    # Another order, further pictures: what a picture is counts, not its place.
    draw(folder / "00-new.png", 200)
    assert run(expand(folder, tmp_path), try_number=2)["counts"]["succeeded"] == 8
    after = emulator.state.ledger()["requests"]
    assert (accepted(emulator), after["create"] - before["create"], after["download"] - before["download"]) == (7, 1, 1)
    assert "8 of 8 pictures done, 0 running" in told.text
    assert "Kling task" not in told.text


def test_the_run_page_is_told_how_far_it_is(account, folder, tmp_path, monkeypatch):
    account()
    monkeypatch.setattr(batch_results, "REPORT_EVERY", 0.0)
    (folder / "bad.jpg").write_bytes(b"no picture")
    operator = expand(folder, tmp_path, min_success_ratio=0.5)
    ti, told = instance(operator), []
    push = ti.xcom_push
    monkeypatch.setattr(ti, "xcom_push", lambda key, value: (told.append((key, value)), push(key, value)))
    operator.execute({"ti": ti})
    progress = [value for key, value in told if key == "progress"]
    assert progress[0] == {"rows": 7, "done": 0, "failed": 0, "running": 0, "units": 0}
    assert progress[-1] == {"rows": 7, "done": 7, "failed": 1, "running": 0, "units": 48.0}
    assert any(each["running"] > 0 and each["done"] < 7 for each in progress)
    # The links, too, before anything is sent.
    assert {key for key, _ in told[:3]} == {link.xcom_key for link in LINKS}


def test_slots_are_never_exceeded_and_count_each_output(account, folder, tmp_path):
    emulator = account(quota=6)
    assert run(expand(folder, tmp_path, n=2, max_concurrency=4))["units"] == 96.0
    assert emulator.state.ledger()["max_slots_in_use"] == 4
    assert len(results(tmp_path)[0]["outputs"]) == 2


def test_passes_are_tasks_in_the_window(account, folder, tmp_path):
    emulator = account(pictures="real", engine="reflect")
    for name in "345":
        (folder / f"{name}.png").unlink()
    draw(folder / "3.png", 1, (1600, 900))
    made = run(expand(folder, tmp_path, size=(1920, 1080), fit="passes"))
    rows = results(tmp_path)
    assert all((row["outputs"][0]["width"], row["outputs"][0]["height"]) == (1920, 1080) for row in rows)
    assert [len(row.get("passes", [1])) for row in rows] == [3, 3, 3, 1]
    assert (accepted(emulator), made["units"]) == (10, 80.0)
    run(expand(folder, tmp_path, size=(1920, 1080), fit="passes"), try_number=2)
    assert accepted(emulator) == 10


def test_a_picture_that_needs_no_pass_is_kept_and_costs_nothing(account, folder, tmp_path):
    emulator = account()
    made = run(expand(folder, tmp_path, aspect_ratio="4:3"))
    assert (made["counts"]["succeeded"], made["units"], accepted(emulator)) == (6, 0.0, 0)
    assert len({row["outputs"][0]["uri"] for row in results(tmp_path)}) == 6
    assert {row["task_id"] for row in results(tmp_path)} == {None}
    run(KlingImageToVideoBatchOperator(task_id="film", images=made, output_path=str(tmp_path / "clips")))
    assert accepted(emulator) == 6  # what has no task is filmed from its file


def test_rows_have_parameters_of_their_own(account, folder, tmp_path):
    emulator = account(pictures="real", engine="reflect")
    rows = [
        {"image": str(folder / "0.png"), "prompt": "a lake"},
        {"image": str(folder / "0.png"), "aspect_ratio": "16:9", "n": "2"},
        str(folder / "0.png"),
        {"image": str(folder / "1.png"), "up": 9},
    ]
    made = run(expand(rows, tmp_path, images=rows, min_success_ratio=0.75))
    assert made["counts"]["succeeded"] == 3
    assert Counter(row["n"] for row in emulator.state.ledger()["creates"] if row["outcome"] == "accepted") == {
        1: 2,
        2: 1,
    }
    assert "up=9" in results(tmp_path)[3]["error"]
    borders = [[output["border"] for output in row["outputs"]] for row in results(tmp_path)]
    assert borders[0] == borders[2] == [[0.333333, 0, 1, 1]]
    assert borders[1] == [pytest.approx([0.125, 0, 0.875, 1], abs=0.01)] * 2


def test_a_batch_of_clips_takes_the_result_of_one_of_pictures(account, folder, tmp_path):
    emulator = account(pictures="real", engine="reflect", clips="canned")
    (folder / "bad.jpg").write_bytes(b"no picture")
    made = run(expand(folder, tmp_path, min_success_ratio=0.5))
    film = KlingImageToVideoBatchOperator(
        task_id="film",
        images=made,
        model_name="kling-v2-6",
        output_path=str(tmp_path / "clips"),
        poll_interval=0.2,
        budget=1000,
    )
    clips = run(film)
    assert (clips["family"], clips["rows"], clips["counts"]["succeeded"]) == ("image-to-video", 6, 6)
    assert accepted(emulator) == 12
    assert emulator.state.ledger()["max_slots_in_use"] <= 4


def test_the_result_is_small_and_tells_assets(account, folder, tmp_path):
    account()
    outlet = SimpleNamespace(uri="x://y")
    operator = expand(folder, tmp_path)
    operator.outlets = [outlet, SimpleNamespace()]
    ti = instance(operator)
    extras = {id(outlet): SimpleNamespace()}

    class Events:
        def __getitem__(self, key):
            return extras[id(key)]

    made = operator.execute({"ti": ti, "outlet_events": Events()})
    assert len(json.dumps(made)) < 600
    assert extras[id(outlet)].extra == made
    told = {name: value for name, value in ti.pushed.items() if not name.startswith("_link_")}
    progress = {"rows": 6, "done": 6, "failed": 0, "running": 0, "units": made["units"]}
    assert told == {"results": made["results"], "progress": progress}


# -- bad input --------------------------------------------------------------------------------------------------------


def test_bad_pictures_are_told_row_by_row_and_cost_nothing(account, folder, tmp_path):
    emulator = account()
    draw(folder / "6-small.png", 0, (100, 100))
    (folder / "7-broken.jpg").write_bytes(b"nope")
    whole = (folder / "5.png").read_bytes()
    (folder / "8-cut.png").write_bytes(whole[:-20])
    rows = [*(str(path) for path in sorted(folder.iterdir())), str(folder / "missing.png")]
    with pytest.raises(KlingTaskFailed, match=r"6 of 10 pictures are made.*4 refused.*row 7 .*300 px") as caught:
        run(expand(folder, tmp_path, images=rows))
    assert "pays for nothing again" in str(caught.value)
    assert accepted(emulator) == 6
    errors = [row["error"] for row in results(tmp_path)[6:]]
    for error, words in zip(errors, ("at least 300 px", "a JPG or PNG", "its end is missing", "existing"), strict=True):
        assert words in error


def test_an_empty_folder_ends_clearly_with_a_manifest(account, tmp_path):
    account()
    (tmp_path / "in").mkdir()
    with pytest.raises(KlingInputError, match="at least one JPG or PNG"):
        run(expand(tmp_path / "in", tmp_path))
    assert results(tmp_path) == []


def test_a_folder_that_was_emptied_since_takes_no_results_away(account, folder, tmp_path):
    account()
    run(expand(folder, tmp_path))
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(KlingInputError, match="at least one JPG or PNG"):
        run(expand(folder, tmp_path), cleared=1)
    assert statuses(tmp_path) == ["succeeded"] * 6


@pytest.mark.parametrize("options", [{"size": (20000, 12000)}, {"aspect_ratio": "16:9", "preserve_original": True}])
def test_nothing_is_paid_for_what_could_not_be_finished(account, folder, tmp_path, options):
    emulator = account()
    path = folder / "0.png"
    draw(path, 0, (3000, 3000) if "size" in options else (400, 300))
    if "size" not in options:
        content = bytearray(path.read_bytes())
        middle = content.index(b"IDAT") + 20
        content[middle : middle + 40] = bytes(40)
        path.write_bytes(content)
    with pytest.raises(KlingTaskFailed, match="1 refused"):
        run(expand(folder, tmp_path, images=[str(path)], **options))
    assert accepted(emulator) == 0


def test_a_broken_row_is_named_and_the_others_are_made(account, folder, tmp_path):
    emulator = account()
    manifest = folder / "rows.jsonl"
    manifest.write_text('"0.png"\n{"image": \n{"image": "1.png"}\n')
    with pytest.raises(KlingTaskFailed, match="row 2 is no JSON"):
        run(expand(folder, tmp_path, images=str(manifest)))
    assert statuses(tmp_path) == ["succeeded", "refused", "succeeded"]
    assert accepted(emulator) == 2


def test_a_quota_of_nothing_ends_clearly_and_uses_no_try_before(account, folder, tmp_path):
    emulator = account()
    emulator.state.add_fault({"fault": "concurrency"})
    with pytest.raises(KlingConcurrencyExceeded, match="0 of 6 pictures"):
        run(expand(folder, tmp_path, submit_timeout=0.3))
    assert statuses(tmp_path) == ["skipped"] * 6
    assert len(emulator.state.ledger()["creates"]) < 20
    emulator.state.clear_faults()
    assert run(expand(folder, tmp_path), try_number=2)["counts"]["succeeded"] == 6


def test_a_batch_whose_every_picture_fails(account, folder, tmp_path):
    emulator = account()
    emulator.state.add_fault({"fault": "fail"})
    with pytest.raises(KlingTaskFailed, match=r"0 of 6 pictures are made and stored .6 failed"):
        run(expand(folder, tmp_path))
    assert statuses(tmp_path) == ["failed"] * 6
    with pytest.raises(KlingTaskFailed):
        run(expand(folder, tmp_path), try_number=2)
    assert accepted(emulator) == 6  # the same input would fail again
    emulator.state.clear_faults()
    assert run(expand(folder, tmp_path), cleared=2)["counts"]["succeeded"] == 6
    assert accepted(emulator) == 12


def test_a_refused_key_stops_the_batch(account, folder, tmp_path, monkeypatch):
    emulator = account()
    fields = json.loads(emulator.connection_uri("kling")) | {"password": "wrong"}
    monkeypatch.setenv("AIRFLOW_CONN_KLING_DEFAULT", json.dumps(fields))
    with pytest.raises(KlingAuthError, match="0 of 6"):
        run(expand(folder, tmp_path))
    assert set(statuses(tmp_path)) <= {"skipped", "unfinished"}


def test_a_used_up_account_ends_it_for_good_where_nothing_is_left_to_collect(account, folder, tmp_path):
    emulator = account()
    emulator.state.add_fault({"fault": "balance"})
    with pytest.raises(KlingAccountError, match="0 of 6"):
        run(expand(folder, tmp_path))
    assert set(statuses(tmp_path)) == {"skipped"}


def test_what_waits_to_be_stored_is_told_where_the_batch_breaks(account, folder, tmp_path, monkeypatch):
    account(quota=10)
    operator, real, waiting = expand(folder, tmp_path), Threads.start, []

    def start(threads, kind, job, then):
        if kind is not Kind.STORE or not isinstance(job, partial):
            real(threads, kind, job, then)
            return
        waiting.append(job)  # as those that are cancelled with their pool
        if len(waiting) == 6:
            threads.tell(lambda: operator._running._steps.fail(OSError("over")))

    monkeypatch.setattr(Threads, "start", start)
    with pytest.raises(KlingTransientError, match="6 unfinished"):
        run(operator)
    assert all(row["task_id"] for row in results(tmp_path))


@pytest.mark.parametrize(
    ("module", "kept", "shape"),
    [
        pytest.param(batch_journal, ".jsonl", {"left": 0.5}, id="journal"),
        pytest.param(collect, ".png", {"left": 0.5}, id="results"),
        pytest.param(collect, ".png", {"aspect_ratio": "4:3"}, id="kept as they are"),
    ],
)
def test_a_full_disk_stops_cleanly_and_a_retry_goes_on(account, folder, tmp_path, monkeypatch, module, kept, shape):
    emulator = account()
    written, whole_file = [], module.whole_file

    def full(path):
        if path.name.endswith(kept):
            written.append(path)
            if len(written) > 4:
                raise OSError(28, "No space left on device")
        return whole_file(path)

    with monkeypatch.context() as patch:
        patch.setattr(module, "whole_file", full)
        with pytest.raises(KlingTransientError, match=r"No space left.*pays for nothing again"):
            run(expand(folder, tmp_path, **shape))
    assert len(statuses(tmp_path)) == 6
    paid = accepted(emulator)
    assert run(expand(folder, tmp_path, **shape), try_number=2)["counts"]["succeeded"] == 6
    most = 6 if "left" in shape else 0
    assert paid <= accepted(emulator) == most


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"max_concurrency": 0}, "max_concurrency=0: must be a whole number from 1"),
        ({"max_concurrency": 1.5}, "whole number"),
        ({"max_concurrency": float("inf")}, "whole number"),
        ({"budget": -1}, "budget=-1"),
        ({"budget": True}, "budget=True"),
        ({"min_success_ratio": 1.1}, "from 0 to 1"),
        ({"min_success_ratio": None}, "from 0 to 1"),
        ({"output_path": None}, "output_path"),
        ({"output_name": "same"}, "task_id"),
        ({"wait_for_completion": False}, "wait_for_completion"),
        ({"reuse": "30d"}, "reuse"),
        ({"callback_url": "auto"}, "callback_url"),
        ({"images": ""}, "images"),
        ({"n": 10}, "n=10"),
        ({"aspect_ratio": "x"}, "aspect_ratio"),
    ],
)
def test_what_makes_no_sense_is_refused_at_parse_time(tmp_path, parameters, words):
    from airflow_kling.api.inputs import InputFault

    with pytest.raises(InputFault, match=words):
        expand("folder", tmp_path, **parameters)


def test_a_task_wider_than_the_cap_is_refused(account, folder, tmp_path):
    account()
    with pytest.raises(KlingTaskFailed, match="max_concurrency=2"):
        run(expand(folder, tmp_path, n=3, max_concurrency=2))


# -- money ------------------------------------------------------------------------------------------------------------


def test_the_budget_is_kept_over_all_tries(account, folder, tmp_path):
    emulator = account()
    with pytest.raises(KlingPermanentError, match=r"3 of 6 pictures.*budget of 24 units") as caught:
        run(expand(folder, tmp_path, budget=24))
    assert not isinstance(caught.value, KlingTaskFailed)
    assert (accepted(emulator), statuses(tmp_path).count("skipped")) == (3, 3)
    with pytest.raises(KlingPermanentError, match="budget"):
        run(expand(folder, tmp_path, budget=24), try_number=2)
    assert accepted(emulator) == 3
    assert statuses(tmp_path).count("succeeded") == 3
    made = run(expand(folder, tmp_path, budget=40, min_success_ratio=0.8), try_number=3)
    assert (made["counts"]["succeeded"], made["counts"]["skipped"], accepted(emulator)) == (5, 1, 5)


def test_a_rendered_name_that_all_would_share_is_refused(account, folder, tmp_path):
    emulator = account()
    operator = expand(folder, tmp_path, output_name="{{ ds }}")
    operator.output_name = "2026-01-01"
    with pytest.raises(KlingInputError, match="task_id"):
        run(operator)
    assert accepted(emulator) == 0


def test_a_budget_needs_a_list_price(account, folder, tmp_path):
    account()
    film = KlingImageToVideoBatchOperator(
        task_id="film", images=str(folder), model_name="kling-v99", budget=5, output_path=str(tmp_path / "out")
    )
    with pytest.raises(KlingTaskFailed, match="no list price"):
        run(film)


def test_a_clear_pays_again_only_for_what_is_asked_for_anew(account, folder, tmp_path):
    emulator = account()
    run(expand(folder, tmp_path))
    run(expand(folder, tmp_path), cleared=1)
    assert accepted(emulator) == 6
    assert emulator.state.ledger()["requests"]["download"] == 6
    next((tmp_path / "out").glob("*.png")).unlink()
    run(expand(folder, tmp_path), cleared=2)  # what was removed is fetched again
    assert (accepted(emulator), emulator.state.ledger()["requests"]["download"]) == (6, 7)
    run(expand(folder, tmp_path, prompt="a lake"), cleared=3)
    assert accepted(emulator) == 12
    run(expand(folder, tmp_path, prompt="a lake", on_existing="resubmit"), cleared=4)
    assert accepted(emulator) == 18
    next((tmp_path / "out").glob("*.jsonl")).unlink()
    with pytest.raises(KlingPermanentError, match="fail"):
        run(expand(folder, tmp_path, prompt="a lake", on_existing="fail"), cleared=5)
    assert (accepted(emulator), len(results(tmp_path))) == (18, 6)


@pytest.mark.parametrize("parameters", [{"on_existing": "resubmit"}, {"prompt": "a lake"}, {}])
def test_what_a_clear_makes_anew_is_kept_within_the_budget_and_the_quota(account, folder, tmp_path, parameters):
    emulator = account()
    if not parameters:
        emulator.state.add_fault({"fault": "fail"})  # which may be billed
    with suppress(KlingTaskFailed):
        run(expand(folder, tmp_path))
    emulator.state.clear_faults()
    with pytest.raises(KlingPermanentError, match="budget"):
        run(expand(folder, tmp_path, budget=48 + 16, max_concurrency=1, **parameters), cleared=1)
    assert accepted(emulator) == 8
    with pytest.raises(KlingPermanentError, match="budget"):
        run(expand(folder, tmp_path, budget=48 + 24, max_concurrency=1, **parameters), cleared=1, try_number=2)
    assert accepted(emulator) == 9


def test_a_create_that_nobody_expected_asks_the_budget(account, folder, tmp_path, monkeypatch):
    emulator = account()
    run(expand(folder, tmp_path))
    monkeypatch.setattr("airflow_kling.operators.batch_reading.Reader._is_doubtful", lambda *_: False)
    with pytest.raises(KlingPermanentError, match="budget of 56 units"):
        run(expand(folder, tmp_path, budget=56, on_existing="resubmit"), cleared=1)
    assert accepted(emulator) == 7


def test_what_is_paid_counts_whatever_the_files_are_called_now(account, folder, tmp_path):
    emulator = account()
    with pytest.raises(KlingPermanentError):
        run(expand(folder, tmp_path, budget=16))
    for number in range(6):
        (folder / f"{number}.png").unlink()
        draw(folder / f"new-{number}.png", 100 + number)
    with pytest.raises(KlingPermanentError, match="budget"):
        run(expand(folder, tmp_path, budget=24), try_number=2)
    assert accepted(emulator) == 3


def test_a_first_try_that_left_nothing_sent_nothing_where_records_have_a_place(account, folder, tmp_path, records):
    emulator = account("cometapi", gateway_lookup=False, gateway_list=False)
    run(expand(folder, tmp_path), try_number=2)
    run(expand(folder, tmp_path, task_id="cleared"), cleared=2)
    assert accepted(emulator) == 12


def test_a_source_that_cannot_be_read_for_a_moment_is_tried_again(account, folder, tmp_path, monkeypatch):
    emulator = account()
    rows = [str(folder / f"{number}.png") for number in range(6)]
    real = batch_reading.picture_of

    def hiccup(operator, image, own, fetch):
        made = real(operator, image, own, fetch)
        if image == rows[3]:
            monkeypatch.setattr(made, "read", lambda: 1 / 0)
        return made

    with monkeypatch.context() as patch:
        patch.setattr(batch_reading, "picture_of", hiccup)
        with pytest.raises(KlingTransientError, match=r"5 of 6.*1 unfinished.*ZeroDivisionError"):
            run(expand(folder, tmp_path, images=rows))
    run(expand(folder, tmp_path, images=rows), try_number=2)
    assert accepted(emulator) == 6


def test_connections_are_read_by_the_main_thread_alone(account, folder, tmp_path, monkeypatch):
    account()
    threads, real = [], KlingHook.get_connection

    def told(conn_id):
        threads.append(threading.current_thread())
        return real(conn_id)

    monkeypatch.setattr(KlingHook, "get_connection", staticmethod(told))
    run(expand(folder, tmp_path, aspect_ratio="16:9"))
    assert set(threads) == {threading.main_thread()}


def test_a_changed_file_is_another_picture(account, folder, tmp_path):
    emulator = account()
    run(expand(folder, tmp_path))
    draw(folder / "0.png", 250)
    run(expand(folder, tmp_path), try_number=2)
    assert accepted(emulator) == 7


@pytest.mark.parametrize(
    ("gateway", "fault", "made"),
    [
        ("kling", "reset-after-accepting", 6),
        ("kling", "error-before-accepting", 6),
        ("kling", "bad-gateway-after-accepting", 6),
        ("kling", "rate", 6),
        ("cometapi", "reset-after-accepting", 5),  # it cannot be asked
    ],
)
def test_an_unclear_create_is_paid_once(account, folder, tmp_path, monkeypatch, gateway, fault, made):
    monkeypatch.setattr("airflow_kling.lifecycle.lookup.LIST_GRACE", 0.0)
    monkeypatch.setattr("airflow_kling.lifecycle.batch_quota.FIRST_PAUSE", 0.05)
    monkeypatch.setattr("airflow_kling.lifecycle.pressure.FIRST_DELAY", 0.05)
    emulator = account(gateway, gateway_lookup=False, gateway_list=False)
    emulator.state.add_fault({"fault": fault, "times": 1, "on": "create"})
    if made == 6:
        run(expand(folder, tmp_path))
    else:
        with pytest.raises(KlingTaskFailed, match=r"1 unknown.*a task may exist"):
            run(expand(folder, tmp_path))
    assert accepted(emulator) == 6
    assert statuses(tmp_path).count("succeeded") == made


def test_a_task_that_only_an_intent_told_of_counts_beside_the_one_made_after_it(account, folder, tmp_path, killed):
    emulator = account()
    with killed(after=4), pytest.raises(Killed):
        run(expand(folder, tmp_path, budget=64))
    assert accepted(emulator) == 4
    for tries in (1, 2):
        with pytest.raises(KlingPermanentError, match="budget of 64"):
            run(expand(folder, tmp_path, budget=64, prompt="a lake"), cleared=1, try_number=tries)
        assert accepted(emulator) == 8


def test_a_price_is_that_of_the_create_which_made_a_task(account, folder, tmp_path):
    emulator = account(quota=20)
    emulator.state.add_fault({"fault": "content"})
    with pytest.raises(KlingTaskFailed):
        run(expand(folder, tmp_path, budget=64))
    emulator.state.clear_faults()
    emulator.state.add_fault({"fault": "hang"})
    for tries in (1, 2):
        with pytest.raises(KlingError, match="budget of 64"):
            run(expand(folder, tmp_path, budget=64, n=2, timeout=0.5), cleared=1, try_number=tries)
        assert accepted(emulator) == 4


@pytest.mark.parametrize("shape", [{}, {"aspect_ratio": "16:9"}])
def test_a_lost_create_that_is_dearer_now_asks_the_budget(account, folder, tmp_path, monkeypatch, shape):
    emulator = account()
    parameters = {"images": [str(folder / "0.png")], "budget": 16, **shape}
    with monkeypatch.context() as patch:
        patch.setattr(SyncClient, "submit", lambda *_: 1 / 0)
        with pytest.raises(KlingTransientError):
            run(expand(folder, tmp_path, **parameters))
    os.utime(folder / "0.png", (1, 1))
    with pytest.raises(KlingPermanentError, match="budget of 16"):
        run(expand(folder, tmp_path, n=3, **parameters), try_number=2)
    assert accepted(emulator) == 0


def test_a_number_of_a_row_counts_however_it_is_written(account, folder, tmp_path):
    emulator = account()
    table, lines = folder / "rows.csv", folder / "rows.jsonl"
    table.write_text("image,left\n0.png,0.5\n1.png,1\n")
    run(expand(folder, tmp_path, images=str(table)))
    table.write_text("image,left\n0.png,0.50\n1.png, 1.0\n")
    run(expand(folder, tmp_path, images=str(table)), try_number=2)
    lines.write_text('{"image": "0.png", "left": 0.5}\n{"image": "1.png", "left": 1}\n')
    run(expand(folder, tmp_path, images=str(lines)), try_number=3)
    assert accepted(emulator) == 2


def test_what_a_clear_only_rejoins_costs_nothing_and_stops_nothing(account, folder, tmp_path):
    emulator = account()
    rows = [{"image": str(folder / f"{number}.png"), "prompt": "mine"} for number in range(6)]
    run(expand(folder, tmp_path, images=rows, budget=48))
    made = run(expand(folder, tmp_path, images=rows, budget=48, prompt="another"), cleared=1)
    assert (made["counts"]["succeeded"], accepted(emulator)) == (6, 6)


@pytest.mark.parametrize("parameters", [{}, {"preserve_original": True}])
def test_a_paid_reframing_outlives_its_source(account, folder, tmp_path, parameters):
    emulator = account(latency=0.4, pictures="real", engine="reflect")
    rows = [str(folder / f"{number}.png") for number in range(3)]
    parameters = {"images": rows, "aspect_ratio": "16:9", "deferrable": True, **parameters}
    with pytest.raises(TaskDeferred):
        run(expand(folder, tmp_path, **parameters))
    (folder / "2.png").rename(tmp_path / "away.png")
    emulator.wait_for_pictures()
    if "preserve_original" in parameters:
        with pytest.raises(KlingTransientError, match="1 unfinished"):
            run(expand(folder, tmp_path, **parameters | {"deferrable": False}), {"outcome": "succeeded"})
        assert results(tmp_path)[2]["task_id"]
        (tmp_path / "away.png").rename(folder / "2.png")
    made = run(expand(folder, tmp_path, **parameters | {"deferrable": False}), {"outcome": "succeeded"})
    assert (made["counts"]["succeeded"], accepted(emulator)) == (3, 3)


@pytest.mark.parametrize("parameters", [{"on_existing": "resubmit"}, {"prompt": "a lake"}])
def test_what_was_refused_after_a_clear_asks_the_budget_once_more(account, folder, tmp_path, monkeypatch, parameters):
    emulator = account(quota=20)
    run(expand(folder, tmp_path))
    emulator.state.add_fault({"fault": "concurrency"})
    parameters = {"budget": 48 + 16, **parameters}
    with pytest.raises(KlingError, match=r"1303|budget"):
        run(expand(folder, tmp_path, submit_timeout=0.1, **parameters), cleared=1)
    emulator.state.clear_faults()
    for number in range(3):
        draw(folder / f"00-new{number}.png", 90 + number)
    monkeypatch.setattr("airflow_kling.lifecycle.batch.AHEAD", 1)  # the new ones take what is left
    with pytest.raises(KlingPermanentError, match="budget of 64"):
        run(expand(folder, tmp_path, **parameters), cleared=1, try_number=2)
    assert accepted(emulator) == 8


def test_a_picture_that_waits_within_the_budget_is_made_though_the_next_is_over_it(account, folder, tmp_path):
    emulator = account(quota=1)
    emulator.state.add_fault({"fault": "concurrency", "times": 2, "on": "create"})
    with pytest.raises(KlingPermanentError, match="3 of 6 pictures"):
        run(expand(folder, tmp_path, budget=24))
    assert accepted(emulator) == 3


def test_what_is_paid_is_collected_whatever_stopped_the_batch(account, folder, tmp_path, monkeypatch):
    emulator = account(quota=10)
    emulator.state.add_fault({"fault": "hang", "times": 1})
    for number in (8, 9):
        draw(folder / f"{number}.png", 90 + number)
    with pytest.raises(KlingTransientError, match=r"5 of 8.*1 unfinished, 2 skipped.*budget of 48"):
        run(expand(folder, tmp_path, timeout=1.0, budget=48))
    for path in folder.iterdir():
        os.utime(path, (1, 1))  # copied, it seems
    draw(folder / "00.png", 100)
    monkeypatch.setattr("airflow_kling.lifecycle.batch.AHEAD", 1)  # the others are read once it has stopped
    with pytest.raises(KlingTransientError, match=r"5 of 9.*1 unfinished, 3 skipped"):
        run(expand(folder, tmp_path, timeout=1.0, budget=48), try_number=2)
    assert accepted(emulator) == 6


def fail_second(monkeypatch, emulator, fault):
    """Let the second create of all meet a fault."""
    real, creates = SyncClient.submit, []

    def submit(client, request):
        creates.append(request)
        if len(creates) == 2:
            emulator.state.add_fault({"fault": fault, "times": 1})
        return real(client, request)

    monkeypatch.setattr(SyncClient, "submit", submit)


@pytest.mark.parametrize(("fault", "status", "units"), [("fail", "failed", None), ("content", "refused", 8.0)])
def test_passes_that_are_paid_count_where_a_later_one_fails(
    account, folder, tmp_path, monkeypatch, fault, status, units
):
    emulator = account(pictures="real", engine="reflect")
    draw(folder / "0.png", 1, (1600, 900))
    fail_second(monkeypatch, emulator, fault)
    rows = [str(folder / "0.png")]
    operator = expand(folder, tmp_path, images=rows, size=(1920, 2400), fit="passes", budget=100)
    with pytest.raises(KlingTaskFailed):
        run(operator)
    (row,) = results(tmp_path)
    assert (row["status"], row["units"]) == (status, units)
    assert len(row.get("passes", [row["task_id"]])) == accepted(emulator)
    # Where the failed one's units are not told the list price counts; a refused one may be made yet, by a retry.
    budget = operator._running.batch.budget
    assert (budget.spent, sum(budget._reserved.values())) == ((16.0, 0.0) if status == "failed" else (0.0, 16.0))
    if status == "failed":
        parameters = {"images": rows, "size": (1920, 2400), "fit": "passes", "budget": 24}
        with pytest.raises(KlingPermanentError, match="budget of 24"):
            run(expand(folder, tmp_path, **parameters), cleared=1)
        (row,) = results(tmp_path)
        assert (row["status"], row["units"], bool(row["task_id"])) == ("skipped", 8.0, True)


# -- asking and storing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", ["list", "query", "download"])
def test_faults_of_reads_lose_nothing(account, folder, tmp_path, on):
    emulator = account()
    emulator.state.add_fault({"fault": "reset-before-reading", "times": 1 if on == "download" else 3, "on": on})
    assert run(expand(folder, tmp_path))["counts"]["succeeded"] == 6
    assert accepted(emulator) == 6


def test_one_request_asks_for_all(account, folder, tmp_path):
    emulator = account(quota=None, latency=0.5)
    run(expand(folder, tmp_path))
    assert emulator.state.ledger()["requests"]["query"] <= 1
    assert emulator.state.ledger()["requests"]["list"] <= 12


def test_a_task_that_never_ends_is_left_for_the_next_try(account, folder, tmp_path):
    emulator = account()
    emulator.state.add_fault({"fault": "hang", "times": 1})
    with pytest.raises(KlingTransientError, match=r"5 of 6 .*1 unfinished.*has not ended within 1 s"):
        run(expand(folder, tmp_path, timeout=1.0))
    assert accepted(emulator) == 6
    (row,) = [row for row in results(tmp_path) if row["status"] == "unfinished"]
    assert row["task_id"]


def test_a_result_that_cannot_be_fetched_is_left_for_the_next_try(account, folder, tmp_path):
    emulator = account()
    emulator.state.add_fault({"fault": "corrupt-download", "times": 2})
    with suppress(KlingTransientError):
        run(expand(folder, tmp_path))
    made = run(expand(folder, tmp_path), try_number=2)
    assert (made["counts"]["succeeded"], accepted(emulator)) == (6, 6)


def test_a_hiccup_between_passes_ends_no_picture_early(account, folder, tmp_path):
    emulator = account(pictures="real", engine="reflect")
    draw(folder / "0.png", 1, (1600, 900))
    emulator.state.add_fault({"fault": "corrupt-download", "times": 1})
    parameters = {"images": [str(folder / "0.png")], "size": (1920, 2400), "fit": "passes"}
    run(expand(folder, tmp_path, **parameters))
    (row,) = results(tmp_path)
    assert len(row["passes"]) == accepted(emulator) > 1
    assert (row["outputs"][0]["width"], row["outputs"][0]["height"]) == (1920, 2400)


def test_a_paid_task_outlives_its_source_and_its_place_in_the_operator(account, folder, tmp_path, monkeypatch, told):
    emulator = account()
    emulator.state.add_fault({"fault": "hang", "times": 1})
    rows = [str(folder / "0.png"), str(folder / "1.png")]
    monkeypatch.setenv("AIRFLOW_CONN_KLING_OTHER", emulator.connection_uri("kling"))
    first = {"images": rows, "timeout": 1.0, "kling_conn_id": "kling_other"}
    with pytest.raises(KlingTransientError):
        run(expand(folder, tmp_path, **first))
    (hung,) = [row["task_id"] for row in results(tmp_path) if row["status"] == "unfinished"]
    for row in rows:
        Path(row).unlink()
    with pytest.raises(KlingTransientError, match="1 of 2"):
        run(expand(folder, tmp_path, images=rows, timeout=1.0), try_number=2)
    assert [row["task_id"] for row in results(tmp_path) if row["status"] == "unfinished"] == [hung]
    monkeypatch.delenv("AIRFLOW_CONN_KLING_OTHER")
    with pytest.raises(KlingTransientError, match="kling_other, which cannot be used any more"):
        run(expand(folder, tmp_path, images=rows, timeout=1.0), try_number=3)
    assert accepted(emulator) == 2
    told.clear()
    run(expand(folder, tmp_path, images=[str(folder / "2.png")]), try_number=4)
    assert f"no row takes up any more: {hung}" in told.text


def test_a_paid_task_whose_row_is_refused_now_is_named(account, folder, tmp_path, told):
    emulator = account()
    emulator.state.add_fault({"fault": "hang"})
    rows = [str(folder / "0.png")]
    with pytest.raises(KlingTransientError, match="1 unfinished"):
        run(expand(folder, tmp_path, images=rows, aspect_ratio="16:9", timeout=0.5))
    (hung,) = [row["task_id"] for row in results(tmp_path)]
    with pytest.raises(KlingTaskFailed, match="1 refused"):
        run(expand(folder, tmp_path, images=rows, aspect_ratio="9:21", fit="fail"), try_number=2)
    assert f"no row takes up any more: {hung}" in told.text


def test_no_link_shows_its_keys(account, tmp_path, told):
    account()
    link = "https://joe:hunter2@host.example/a.png?apikey=k3y&id=7"
    run(
        KlingImageToVideoBatchOperator(
            task_id="film", images=[link], output_path=str(tmp_path / "out"), poll_interval=0.2, model_name="kling-v2-6"
        )
    )
    assert results(tmp_path)[0]["source"] == "https://host.example/a.png"
    kept = "".join(path.read_text() for path in tmp_path.rglob("*.jsonl"))
    assert not [word for word in ("hunter2", "k3y", "joe") if word in kept + told.text]


def test_an_overtaken_process_writes_no_results(account, folder, tmp_path, monkeypatch):
    account()
    whole = batch_journal.Journal.commit

    def commit(journal):
        if journal.get("end", "over"):
            journal.overtaken = True
            raise batch_journal._overtaken()
        whole(journal)

    ended = batch_run.BatchRun._end
    monkeypatch.setattr(batch_journal.Journal, "commit", commit)
    monkeypatch.setattr(
        batch_run.BatchRun, "_end", lambda run: (run.process.journal.put("end", "over", {"epoch": 0}), ended(run))[1]
    )
    with pytest.raises(KlingPermanentError, match="overtaken"):
        run(expand(folder, tmp_path))
    assert list((tmp_path / "out").glob("*.jsonl")) == []


# -- what is counted, reported and recovered -----------------------------------------------------------------------


def test_metrics_count_each_picture_once(account, folder, tmp_path, monkeypatch):
    emulator = account(pictures="real", engine="reflect")
    draw(folder / "5.png", 1, (1600, 900))  # three passes
    sent, tags = Counter(), set()

    class Stats:
        @staticmethod
        def incr(name, count=1, *, tags):
            told(name, count, tags)

        @staticmethod
        def timing(name, dt, *, tags):
            told(name, 1, tags)

    def told(name, count, of):
        sent[name] += count
        tags.add(tuple(of.items()))

    monkeypatch.setattr(outcome, "_stats", lambda: Stats)
    emulator.state.add_fault({"fault": "fail", "times": 1})
    for tries in (1, 2):
        with pytest.raises(KlingTaskFailed):
            run(expand(folder, tmp_path, size=(1920, 1080), fit="passes"), try_number=tries)
    tasks = accepted(emulator)
    assert sent == {
        "kling.submitted": tasks,
        "kling.succeeded": tasks - 1,
        "kling.failed": 1,
        "kling.units": 8.0 * (tasks - 1),
        "kling.wait": tasks - 1,
    }
    names = {"dag_id": "d", "task_id": "batch", "family": "image-expansion", "kling_conn_id": "kling_default"}
    assert tags == {tuple(names.items())}


@pytest.fixture
def records(monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW__KLING__RECORD_PATH", str(tmp_path / "records"))
    monkeypatch.setattr("airflow_kling.lifecycle.lookup.LIST_GRACE", 0.0)


def report(tmp_path, *extras):
    events = [SimpleNamespace(extra=each, source_dag_id="d", timestamp=datetime.now(UTC)) for each in extras]
    context = {"task": SimpleNamespace(inlets=["asset"]), "inlet_events": {"asset": events}}
    told = housekeeping.report(context, 1, str(tmp_path / "report"))
    return {name: told[name] for name in ("tasks", "failed", "outputs", "units")}


def recovered(tmp_path):
    counts = housekeeping.recover("", str(tmp_path / "recovered"), 0.0)["counts"]
    return {fate: count for fate, count in counts.items() if count}


def test_what_a_killed_batch_paid_is_recovered_and_all_is_reported_once(
    account, folder, tmp_path, monkeypatch, killed, records
):
    emulator = account(latency=0.0)
    with killed(after=4), pytest.raises(Killed):
        run(expand(folder, tmp_path, max_concurrency=4))
    assert report(tmp_path)["tasks"] == 0
    assert recovered(tmp_path) == {"recovered": 4}
    assert len(list((tmp_path / "recovered").glob("*.png"))) == 4
    assert recovered(tmp_path) == {"collected before": 4}
    assert report(tmp_path) == {"tasks": 4, "failed": 0, "outputs": 4, "units": 32.0}
    made = run(expand(folder, tmp_path), try_number=2)
    assert made["spent"] == {"tasks": 6, "failed": 0, "outputs": 6, "units": 48.0} == report(tmp_path)
    assert recovered(tmp_path) == {"collected before": 6}
    again = run(expand(folder, tmp_path, on_existing="resubmit", images=[str(folder / "0.png")]), cleared=2)
    assert (again["units"], again["spent"]["units"], accepted(emulator)) == (8.0, 56.0, 7)
    # The asset events tell of the same tasks; where no record is kept, they alone do.
    assert report(tmp_path, made, again)["units"] == 56.0
    monkeypatch.delenv("AIRFLOW__KLING__RECORD_PATH")
    assert report(tmp_path, made, again) == {"tasks": 7, "failed": 0, "outputs": 7, "units": 56.0}


def test_a_journal_that_cannot_be_read_is_told_and_hides_no_other(account, folder, tmp_path, records):
    emulator = account(pictures="real", engine="reflect")
    rows = [str(folder / "0.png"), str(folder / "1.png")]
    run(expand(folder, tmp_path, images=rows, size=(1920, 1080), fit="passes"))
    broken = tmp_path / "records" / ".kling" / "af-0"
    broken.mkdir()
    (broken / "000000-a-000000.jsonl").write_text("[]")
    assert recovered(tmp_path) == {"unclear": 1, "collected before": accepted(emulator)}
    assert report(tmp_path) == {"tasks": 2, "failed": 0, "outputs": 2, "units": 8.0 * accepted(emulator)}


# -- the tail, killing ------------------------------------------------------------------------------------------------


async def fired(trigger):
    return (await anext(trigger.run())).payload


@pytest.mark.parametrize(("gateway", "faulty"), [("kling", ""), ("kling", "list"), ("cometapi", "")])
async def test_the_tail_is_waited_for_in_the_triggerer(account, folder, tmp_path, gateway, faulty):
    emulator = account(gateway, latency=0.5)
    with pytest.raises(TaskDeferred) as deferred:
        run(expand(folder, tmp_path, deferrable=True))
    trigger = deferred.value.trigger
    assert isinstance(trigger, KlingBatchTrigger)
    path, arguments = trigger.serialize()
    assert path == "airflow_kling.triggers.batch.KlingBatchTrigger"
    assert len(json.dumps(arguments)) < 400
    assert accepted(emulator) == 6
    if faulty:
        emulator.state.add_fault({"fault": "reset-before-reading", "on": faulty})
    event = await fired(KlingBatchTrigger(**arguments))
    assert event == {"outcome": "succeeded"}
    made = run(expand(folder, tmp_path, deferrable=True), event)
    assert (made["counts"]["succeeded"], accepted(emulator)) == (6, 6)


def test_a_worker_that_lacks_the_journal_pays_for_nothing_again(account, folder, tmp_path):
    emulator = account(latency=0.5)
    with pytest.raises(TaskDeferred):
        run(expand(folder, tmp_path, deferrable=True))
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(KlingPermanentError, match="must be shared by all workers"):
        run(expand(folder, elsewhere, deferrable=True), {"outcome": "succeeded"})
    assert run(expand(folder, elsewhere), try_number=2)["counts"]["succeeded"] == 6
    assert accepted(emulator) == 6


@pytest.mark.parametrize("outcome", ["timed-out", "fault"])
def test_a_tail_that_ended_otherwise_is_not_deferred_for_ever(account, folder, tmp_path, outcome):
    emulator = account(latency=0.4)
    emulator.state.add_fault({"fault": "hang", "times": 1})
    operator = expand(folder, tmp_path, deferrable=True, timeout=2.0)
    with pytest.raises(TaskDeferred):
        run(operator)
    with pytest.raises(KlingTransientError, match="unfinished"):
        run(operator, {"outcome": outcome})
    assert accepted(emulator) == 6


def test_a_pass_that_begins_after_a_tail_timed_out_is_waited_for(account, folder, tmp_path):
    emulator = account(latency=1.0, pictures="real", engine="reflect")
    rows = [folder / "0.png", folder / "1.png"]
    for shade, path in enumerate(rows):
        draw(path, shade, (1600, 900))
    emulator.state.add_fault({"fault": "hang", "times": 1})
    parameters = {"images": list(map(str, rows)), "size": (1920, 2400), "fit": "passes", "deferrable": True}
    with pytest.raises(TaskDeferred):
        run(expand(folder, tmp_path, **parameters))
    emulator.wait_for_pictures()
    emulator.state.advance(10.0)
    with pytest.raises(KlingTransientError, match=r"1 of 2 .*1 unfinished"):
        run(expand(folder, tmp_path, **parameters), {"outcome": "timed-out"})


async def test_the_trigger_ends_at_its_deadline_and_where_its_file_is_gone(account, tmp_path):
    account()
    tail = tmp_path / "tail.json"
    arguments = {"tail": str(tail), "family": "image-expansion", "poll_interval": 0.001}
    assert await fired(KlingBatchTrigger(**arguments, deadline=0.0)) == {"outcome": "fault"}
    tail.write_text(json.dumps([["kling_default", "none"], ["kling_default", "neither"]]))
    assert await fired(KlingBatchTrigger(**arguments, deadline=0.0)) == {"outcome": "timed-out"}
    assert await fired(KlingBatchTrigger(**arguments, deadline=4e9)) == {"outcome": "fault"}  # the worker tells why
    tail.write_text(json.dumps([["kling_nowhere", "none"]]))
    assert await fired(KlingBatchTrigger(**arguments, deadline=4e9)) == {"outcome": "fault"}


def test_a_long_wait_for_a_first_slot_is_deferred_and_carried_on(account, folder, tmp_path):
    emulator = account()
    emulator.state.add_fault({"fault": "concurrency"})
    operator = expand(folder, tmp_path, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        run(operator)
    trigger = deferred.value.trigger
    assert isinstance(trigger, KlingSlotTrigger)
    assert (deferred.value.method_name, trigger.attempts) == ("resume_submission", 1)
    _, facts = trigger.serialize()
    event = {name: facts[name] for name in ("since", "deadline", "attempts")}
    ti = instance(operator)
    with pytest.raises(TaskDeferred) as again:
        operator.resume_submission({"ti": ti}, event)
    assert again.value.trigger.attempts == 2
    assert again.value.trigger.since == trigger.since


def test_killed_it_says_what_goes_on(account, folder, tmp_path, told, jumps):
    jumps.active = False
    emulator = account(latency=30.0)
    operator = expand(folder, tmp_path)
    operator.on_kill()  # before anything ran there is nothing to say
    assert [row for row in told.records if row.name == "told"] == []

    def process():
        # Not execute: Airflow 2.11 guards it by the thread.
        with pytest.raises(KlingTransientError):
            operator._run({"ti": instance(operator)}, operator.fresh_pressure())

    thread = threading.Thread(target=process, daemon=True)
    thread.start()
    for _ in range(3000):
        if operator._running and len(operator._running.batch.running) == 4:
            break
        thread.join(0.01)
    operator.on_kill()
    assert "4 remote tasks of the batch go on and are billed" in told.text
    operator._running.threads.tell(lambda: operator._running._steps.fail(RuntimeError("over")))
    thread.join(10)
    assert accepted(emulator) == 4


def test_a_dry_run_counts_and_sends_nothing(account, folder, tmp_path, told):
    emulator = account()
    expand(folder, tmp_path).dry_run()
    assert "6 pictures. Nothing was sent" in told.text
    assert emulator.state.ledger()["requests"].get("create", 0) == 0


# -- killed anywhere --------------------------------------------------------------------------------------------------


class Gate:
    """Counts what a process reads and writes, and kills it at a given one: from then on nothing of it goes on."""

    def __init__(self, monkeypatch):
        self.left = self.count = 10**9
        self.dead = False
        for module in (batch_journal, batch_leave, batch_process, collect):
            for name in ("whole_file", "write_whole"):
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, self.around(getattr(module, name)))
        monkeypatch.setattr(SyncClient, "_send_once", self.around(SyncClient._send_once))
        report = batch_run.BatchRun._report

        def alive(run, *, force=False):
            if self.dead:
                raise Killed
            report(run, force=force)

        monkeypatch.setattr(batch_run.BatchRun, "_report", alive)
        tell = Threads.tell
        monkeypatch.setattr(Threads, "tell", lambda threads, answer: None if self.dead else tell(threads, answer))

    def around(self, function):
        def gated(*arguments):
            self.step()
            answer = function(*arguments)
            if not hasattr(answer, "__enter__"):
                self.step()
            return answer

        return gated

    def step(self):
        self.left -= 1
        self.dead = self.dead or self.left < 0
        if self.dead:
            raise Killed

    def next_process(self, steps):
        self.left, self.dead = steps, False


@pytest.mark.parametrize("start", range(12))
def test_killed_at_any_place_a_picture_is_paid_once_and_none_is_lost(account, folder, tmp_path, monkeypatch, start):
    for name in "345":
        (folder / f"{name}.png").unlink()
    emulator = account(pictures="real", engine="reflect", latency=0.02)
    gate, steps, tries = Gate(monkeypatch), 3 + start, 0
    parameters = {"size": (1200, 500), "fit": "passes"} if start % 3 == 0 else {}
    while True:
        tries += 1
        gate.next_process(steps)
        try:
            made = run(expand(folder, tmp_path, **parameters), try_number=tries)
            break
        except (Killed, KlingTransientError):
            steps += 3 + start // 2
            join_threads()
    assert tries > 1
    assert made["counts"]["succeeded"] == 3
    tasks = {task for row in results(tmp_path) for task in row.get("passes", [row["task_id"]])}
    assert accepted(emulator) == len(tasks)
    assert made["units"] == 8.0 * len(tasks)


def test_whatever_a_thread_ends_with_is_told():
    def cancelled():
        raise asyncio.CancelledError  # as a storage's own loop hands it on

    threads, told = Threads(), []
    threads.start(Kind.STORE, cancelled, told.append)
    threads.answer(30.0)
    threads.close(wait=True)
    assert [str(error) for error in told] == ["CancelledError:"]
