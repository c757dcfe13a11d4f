"""Waiting for a free slot: growing, jittered, bounded, and kept over deferrals."""

from __future__ import annotations

import json

import pytest

from airflow_kling.lifecycle.pressure import Pressure, read_pressure

START = Pressure(1000.0, 5000.0)


def middle(low, high):
    return (low + high) / 2


@pytest.mark.parametrize(("attempts", "delay"), [(0, 30), (1, 60), (2, 120), (3, 240), (4, 300), (5, 300), (100, 300)])
def test_back_off_doubles_up_to_five_minutes(attempts, delay):
    step, seconds = Pressure(1000.0, 5000.0, attempts).next(1000.0, None, middle)
    assert seconds == delay
    assert step == Pressure(1000.0, 5000.0, attempts + 1)


@pytest.mark.parametrize("edge", [min, max])
def test_back_off_is_jittered_by_a_fifth(edge):
    _, seconds = START.next(1000.0, None, lambda *bounds: edge(bounds))
    assert seconds == pytest.approx(30 * edge(0.8, 1.2))


@pytest.mark.parametrize(
    ("now", "retry_after", "seconds"),
    [
        pytest.param(1000.0, 0, 30, id="server-asks-nothing"),
        pytest.param(1000.0, 10, 30, id="server-asks-less"),
        pytest.param(1000.0, 90, 90, id="server-asks-more"),
        pytest.param(1000.0, 9999, 4000, id="never-beyond-the-end"),
        pytest.param(4990.0, None, 10, id="last-attempt-at-the-end"),
        pytest.param(4999.5, None, 0.5, id="however-little-is-left"),
        pytest.param(5000.0, None, None, id="over"),
        pytest.param(6000.0, 90, None, id="long-over"),
    ],
)
def test_wait_is_bounded_and_heeds_the_server(now, retry_after, seconds):
    step = START.next(now, retry_after, middle)
    assert (step and step[1]) == seconds


def test_wait_ends_and_its_last_attempt_is_at_the_end():
    pressure, now, moments = START, 1000.0, []
    while step := pressure.next(now, None, middle):
        pressure, delay = step
        now += delay
        moments.append(now)
    assert moments[-1] == START.deadline
    assert (pressure.since, pressure.deadline, pressure.attempts) == (1000.0, 5000.0, len(moments))


def test_wait_of_many_days_goes_on():
    assert Pressure(0.0, 1e9, 1100).next(1.0, None, middle)[1] == 300


def test_jitter_is_random_by_itself():
    assert len({START.next(1000.0, None)[1] for _ in range(20)}) > 1


def test_wait_travels_as_json_scalars():
    pressure = Pressure(1.5, 2.5, 3)
    told = json.loads(json.dumps(pressure.to_json()))
    assert read_pressure(told) == pressure


@pytest.mark.parametrize("event", [None, {}, {"since": 1.0}, {"since": 1.0, "deadline": 2.0, "status": "ok"}])
def test_event_of_somebody_else_is_refused(event):
    with pytest.raises(ValueError, match="not an event of a Kling trigger"):
        read_pressure(event)
