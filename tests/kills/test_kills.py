"""
Real processes of Airflow, killed at every moment of a task: the run ends in success, and one task is paid.

    KLING_KILLS=all pytest tests/kills     # or fast: four rows

Needs PostgreSQL's programs, and psycopg2-binary and asyncpg beside the test requirements.
"""

from __future__ import annotations

import os

import pytest
from crash.rows import COLLECTOR, MOMENTS, PAID, PASS_MOMENTS, Row

ALL = [
    (moment, mode) for moment in MOMENTS for mode in COLLECTOR if (moment in PASS_MOMENTS) == (PAID.get(mode, 1) > 1)
]
FAST = [
    *(("answer-held", "deferrable"), ("waited-for", "split"), ("orphan-posts-late", "waiting")),
    ("after-second-post", "passes"),
]
MODES = {
    "deferrable": "deferrable",
    "waiting": "not deferrable",
    "split": "operator + sensor",
    "passes": "two passes, deferrable",
}
DEFERRED_MOMENTS = ("waited-for", "all-while-waited-for")


@pytest.mark.parametrize(("moment", "mode"), FAST if os.environ.get("KLING_KILLS") == "fast" else ALL)
def test_one_task_is_paid_and_none_is_lost(site, emulator, tally, tmp_path, capsys, moment, mode):
    paid = PAID.get(mode, 1)
    tally.crashes += 1
    tally.lost += 1
    try:
        outcome = Row(site, emulator, tmp_path, moment, mode).run()
    finally:
        tally.duplicates += max(emulator.state.ledger()["accepted_tasks"] - paid, 0)
    tally.lost -= 0 if outcome.lost else 1
    with capsys.disabled():
        print(
            f"\nkill {MOMENTS[moment][0]}, {MODES[mode]}: {outcome.state} in {outcome.seconds:.0f} s, "
            f"accepted {outcome.accepted} (creates {outcome.creates}, tries {max(outcome.tries.values())})",
            end="",
            flush=True,
        )
    assert (outcome.state, outcome.accepted, outcome.billed, outcome.complaints) == ("success", paid, paid, [])
    # The kill was felt: a worker's death costs a try, a triggerer's none.
    deferred = moment in DEFERRED_MOMENTS and mode != "waiting"
    assert (max(outcome.tries.values()) == 1) == deferred
    assert outcome.creates == (2 if moment == "orphan-posts-late" else paid)
