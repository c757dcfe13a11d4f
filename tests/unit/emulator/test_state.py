"""The emulator's account books, driven by a virtual clock and no server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_kling.api.families import FAMILIES
from airflow_kling.emulator.orders import Order
from airflow_kling.emulator.refusals import Refusal
from airflow_kling.emulator.settings import DAY, Dialect, EmulatorSettings
from airflow_kling.emulator.state import EmulatorState

GATEWAY = Dialect.GATEWAY
FAMILY = FAMILIES["image-expansion"]


def refusal_of(call, *args, **kwargs) -> Refusal:
    with pytest.raises(Refusal) as caught:
        call(*args, **kwargs)
    return caught.value


class TestStatus:
    def test_passes_through_the_documented_words_with_the_clock(self, bench):
        b = bench(latency=4.0)
        task = b.create()
        words = []
        for _ in range(6):
            words.append(b.word(task))
            b.state.advance(1)
        assert words == ["submitted", "processing", "processing", "processing", "succeed", "succeed"]

    def test_updated_at_is_in_ms_and_moves_with_the_status(self, bench):
        b = bench(latency=4.0)
        task = b.create().task
        assert task.created_at == task.updated_at == 1_740_000_000_000
        b.state.advance(2)
        assert b.find(task.task_id).updated_at == task.created_at + 1000
        b.state.advance(100)
        assert b.find(task.task_id).updated_at == task.created_at + 4000
        assert b.find(task.task_id).created_at == task.created_at

    def test_waits_for_the_picture_after_the_latency(self, bench):
        b = bench(quota=1)
        task = b.create(made=False)
        b.state.advance(60)
        assert b.word(task) == "processing"
        assert refusal_of(b.create).code == 1303
        b.state.made(task.task.task_id, ())
        assert b.word(task) == "succeed"
        assert b.find(task.task.task_id).updated_at == task.task.created_at + 60_000

    def test_waits_for_the_latency_after_the_picture(self, bench):
        b = bench()
        task = b.create()
        b.state.advance(3.9)
        assert b.word(task) == "processing"

    def test_a_picture_that_cannot_be_made_fails_the_task(self, bench):
        b = bench()
        task = b.create(made=False)
        b.state.not_made(task.task.task_id, "no such thing")
        assert b.word(task) in ("submitted", "processing")
        b.state.advance(4)
        assert (b.word(task), b.find(task.task.task_id).message) == ("failed", "no such thing")
        assert b.state.ledger()["billed_tasks"] == 0

    def test_no_latency_ends_at_once(self, bench):
        b = bench(latency=0)
        assert b.word(b.create()) == "succeed"

    def test_the_real_clock_can_be_advanced(self):
        state = EmulatorState(EmulatorSettings(latency=1000))
        order = Order(family=FAMILY)
        task = state.create(order, account="a", dialect=Dialect.KLING).task
        state.made(task.task_id, ())
        state.advance(1000)
        assert state.task(task.task_id).word == "succeed"

    @pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), True])
    def test_time_cannot_run_otherwise(self, bench, seconds):
        with pytest.raises(ValueError, match="advance"):
            bench().state.advance(seconds)


class TestSlots:
    def test_a_task_holds_n_slots_until_it_ends(self, bench):
        b = bench(quota=9)
        b.create(n=5)
        b.create(n=3)
        refusal = refusal_of(b.create, n=2)
        assert (refusal.http_status, refusal.code) == (429, 1303)
        assert refusal.message == "parallel task over resource pack limit"
        b.create(n=1)
        assert refusal_of(b.create).code == 1303
        b.state.advance(4)
        b.create(n=9)
        assert b.state.ledger()["max_slots_in_use"] == 9

    def test_more_than_the_quota_never_runs(self, bench):
        assert refusal_of(bench(quota=2).create, n=3).code == 1303

    def test_each_account_has_its_own(self, bench):
        b = bench(quota=1)
        b.create(account="a")
        b.create(account="b")
        assert refusal_of(b.create, account="a").code == 1303

    def test_other_families_hold_one(self):
        order = Order(family=FAMILIES["image-to-video"], n=3)
        assert (order.slots, Order(family=FAMILY, n=3).slots) == (1, 3)

    def test_no_quota_no_limit(self, bench):
        b = bench(quota=None)
        for _ in range(50):
            b.create(n=9)
        assert b.state.ledger()["max_slots_in_use"] == 450

    def test_failing_frees_the_slots_too(self, bench):
        b = bench(quota=1)
        b.create(prompt="[emulator:fail]")
        b.state.advance(4)
        b.create()

    def test_hanging_keeps_them(self, bench):
        b = bench(quota=1)
        task = b.create(prompt="[emulator:hang]")
        b.state.advance(400 * DAY)
        assert b.word(task) == "processing"
        assert refusal_of(b.create).code == 1303

    def test_never_over_the_quota_from_many_threads(self, bench):
        b = bench(quota=5)

        def attempt(_):
            try:
                return b.create(n=2).task.task_id
            except Refusal as refusal:
                return refusal.code

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(attempt, range(40)))
        assert results.count(1303) == 38
        assert b.state.ledger()["max_slots_in_use"] == 4


class TestIds:
    def test_found_by_either_id(self, bench):
        b = bench()
        task_id = b.create(external_task_id="shop-42").task.task_id
        assert b.find("shop-42").task_id == b.find(task_id).task_id == task_id

    def test_a_duplicate_is_refused_and_makes_no_task(self, bench):
        b = bench()
        b.create(external_task_id="shop-42")
        refusal = refusal_of(b.create, external_task_id="shop-42")
        assert (refusal.http_status, refusal.code) == (400, 1201)
        assert refusal.message == "External_task_id shop-42 already exists"
        assert b.state.ledger()["accepted_tasks"] == 1

    def test_a_duplicate_is_told_so_even_without_free_slots(self, bench):
        b = bench(quota=1)
        b.create(external_task_id="shop-42")
        assert refusal_of(b.create, external_task_id="shop-42").code == 1201

    def test_no_id_is_never_a_duplicate(self, bench):
        b = bench()
        b.create()
        b.create()

    def test_another_account_knows_nothing_of_it(self, bench):
        b = bench()
        task_id = b.create(external_task_id="shop-42", account="a").task.task_id
        b.create(external_task_id="shop-42", account="b")
        assert refusal_of(b.find, task_id, account="b").code == 1201

    def test_unknown(self, bench):
        kling, gateway = refusal_of(bench().find, "nope"), refusal_of(bench().find, "nope", GATEWAY)
        assert (kling.http_status, kling.code, kling.message) == (400, 1201, "Task not found by id/external id: nope")
        assert (gateway.http_status, gateway.code) == (400, "task_not_exist")

    def test_unknown_on_the_route_of_another_family(self, bench):
        b = bench()
        task_id = b.create().task.task_id
        assert refusal_of(b.find, task_id, family=FAMILIES["image-to-video"]).code == 1201

    def test_a_gateway_without_look_up(self, bench):
        b = bench(gateway_lookup=False)
        first = b.create(GATEWAY, external_task_id="shop-42").task.task_id
        second = b.create(GATEWAY, external_task_id="shop-42").task.task_id
        assert first != second
        assert b.find(first, GATEWAY).task_id == first
        assert refusal_of(b.find, "shop-42", GATEWAY).code == "task_not_exist"
        assert refusal_of(b.create, Dialect.KLING, external_task_id="shop-42").code == 1201

    def test_a_gateway_forgets_after_thirty_days(self, bench):
        b = bench()
        task_id = b.create().task.task_id
        b.state.advance(30 * DAY)
        assert refusal_of(b.find, task_id, GATEWAY).code == "task_not_exist"
        assert b.find(task_id).word == "succeed"

    def test_ids_of_an_earlier_run_mean_nothing_after_a_reset(self, bench):
        b = bench()
        before = b.create().task.task_id
        b.state.reset()
        assert b.create().task.task_id != before
        assert refusal_of(b.find, before).code == 1201


class TestList:
    def test_newest_first_in_pages(self, bench):
        b = bench(quota=None)
        ids = [b.create().task.task_id for _ in range(5)]
        b.create(account="b")

        def page(number):
            return [task.task_id for task in b.state.list_tasks(account="a", family=FAMILY, page=number, page_size=2)]

        assert [page(1), page(2), page(3), page(4)] == [ids[:2:-1], ids[2:0:-1], ids[:1], []]


class TestLedger:
    def test_tells_every_create(self, bench):
        b = bench(quota=3)
        accepted = b.create(n=3, external_task_id="one", note="seen")
        refusal_of(b.create, external_task_id="two")
        b.create(GATEWAY, account="b")
        rows = b.state.ledger()["creates"]
        assert [(row["external_task_id"], row["outcome"], row["code"], row["units"]) for row in rows] == [
            ("one", "accepted", 0, 24.0),
            ("two", "refused", 1303, 0.0),
            (None, "accepted", 0, 8.0),
        ]
        assert rows[0] == {
            "at": 1_740_000_000_000,
            "account": "a",
            "dialect": "/v1",
            "family": "image-expansion",
            "external_task_id": "one",
            "task_id": accepted.task.task_id,
            "outcome": "accepted",
            "code": 0,
            "n": 3,
            "units": 24.0,
            "fault": None,
            "note": "seen",
        }

    def test_units_are_deducted_on_success_only(self, bench):
        b = bench(quota=None)
        b.create(n=2)
        b.create(prompt="[emulator:fail]")
        b.create(prompt="[emulator:hang]")
        b.create(prompt="[emulator:unknown-word]")
        assert (b.state.ledger()["billed_tasks"], b.state.ledger()["units"]) == (0, 0.0)
        b.state.advance(4)
        ledger = b.state.ledger()
        assert (ledger["billed_tasks"], ledger["units"], ledger["accepted_tasks"]) == (1, 16.0, 4)
        assert ledger["slots_in_use"] == {"a": 1}

    def test_reset_forgets_everything(self, bench):
        b = bench()
        empty = b.state.ledger()
        b.create(external_task_id="one")
        b.state.add_fault({"fault": "rate"})
        b.state.advance(50)
        b.state.reset()
        assert b.state.ledger() == empty
        assert b.state.fault_rules() == []
        assert b.state.now_ms() == 1_740_000_000_000
        assert b.create(external_task_id="one").number == 1


class TestFates:
    def test_fail(self, bench):
        b = bench()
        task = b.create(prompt="a hill [emulator:fail]", made=False)
        assert not task.needs_outputs
        b.state.advance(4)
        assert (b.word(task), b.find(task.task.task_id).message) == (
            "failed",
            "Failure to pass the risk control system",
        )

    def test_unknown_word(self, bench):
        b = bench()
        task = b.create(prompt="[emulator:unknown-word]", made=False)
        b.state.advance(5 * DAY)
        assert b.word(task) == "archived"

    def test_a_retry_gets_through_where_the_prompt_says_once(self, bench):
        b = bench()
        first = b.create(prompt="[emulator:fail=1]", external_task_id="one")
        second = b.create(prompt="[emulator:fail=1]", external_task_id="two")
        b.state.advance(4)
        assert (b.word(first), b.word(second)) == ("failed", "succeed")

    def test_faults_after_accepting_come_with_the_task(self, bench):
        b = bench()
        accepted = b.create(prompt="[emulator:hang] [emulator:reset-after-accepting]")
        assert accepted.fault.name == "reset-after-accepting"
        assert b.state.ledger()["creates"][0]["fault"] == "hang+reset-after-accepting"

    def test_faults_after_accepting_spare_a_refused_create(self, bench):
        b = bench()
        b.state.add_fault({"fault": "reset-after-accepting", "times": 1})
        b.create(external_task_id="one")
        refusal_of(b.create, external_task_id="one")
        assert b.state.ledger()["faults"] == {"reset-after-accepting": 1}

    def test_no_lookup(self, bench):
        b = bench()
        task_id = b.create(prompt="[emulator:no-lookup]", external_task_id="one").task.task_id
        assert refusal_of(b.find, "one").code == 1201
        assert b.find(task_id).task_id == task_id
        b.create(prompt="[emulator:no-lookup]", external_task_id="one")


@pytest.mark.parametrize(
    "settings", [{"latency": -1}, {"latency": float("nan")}, {"quota": 0}, {"gateway_routes": ["nothing"]}]
)
def test_settings_that_cannot_be_meant(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        EmulatorSettings(**settings)
