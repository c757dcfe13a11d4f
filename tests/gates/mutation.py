"""Mutation testing of submit and wait: ``python tests/gates/mutation.py`` fails where too few mutants are killed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

LEAST = 85.0
"""Percent of all mutants, those included that no test comes near."""

#: What mutmut notes of a mutant: the end of pytest, or why it was not run. One that never ends is killed by its time.
KILLED = {1: "killed", 3: "killed", -24: "timed out", 24: "timed out", 36: "timed out", 152: "timed out"}
LEFT = {0: "survived", 5: "no tests", 33: "no tests"}


def main() -> int:
    """Run mutmut on a fresh copy, and tell per module what became of its mutants; returns the exit code."""
    begun = time.monotonic()
    shutil.rmtree("mutants", ignore_errors=True)
    # One that breaks off leaves mutants that were not checked: they count as left.
    subprocess.run([Path(sys.executable).with_name("mutmut"), "run"], stdout=subprocess.DEVNULL, check=True)
    killed = total = 0
    for meta in sorted(Path("mutants").rglob("*.py.meta")):
        ends = json.loads(meta.read_text())["exit_code_by_key"]
        counts = Counter(KILLED.get(end) or LEFT.get(end, "not checked") for end in ends.values())
        dead = sum(1 for end in ends.values() if end in KILLED)
        killed, total = killed + dead, total + len(ends)
        print(f"{meta.stem}: {dead} of {len(ends)} killed, {dict(counts)}")
        for name in (name for name, end in ends.items() if end not in KILLED):
            print(f"  {name}")
    score = 100.0 * killed / total if total else 0.0
    seconds = time.monotonic() - begun
    print(f"mutation score of submit and wait: {score:.1f} % ({killed} of {total}, {seconds:.0f} s), least {LEAST:g} %")
    return 0 if score >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
