"""Branch coverage of the core: ``python tests/gates/branches.py`` after ``coverage run`` fails where it is too low."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

LEAST = 95.0
"""Percent of the branches of each room, and of its lines."""

ROOMS = ("api", "media", "lifecycle")


def main() -> int:
    """Tell what is covered of each room; returns the exit code."""
    report = subprocess.run(
        [sys.executable, "-m", "coverage", "json", "-q", "--fail-under=0", "-o", "-"],
        stdout=subprocess.PIPE,
        check=True,
    )
    files = json.loads(report.stdout)["files"]
    failed = False
    for room in ROOMS:
        sums: Counter[str] = Counter()
        for path, told in files.items():
            if path.startswith(f"airflow_kling/{room}/"):
                sums.update(
                    {name: told["summary"][name] for name in told["summary"] if name.startswith(("num", "cov"))}
                )
                for start, end in told["missing_branches"]:
                    print(f"  {path}: {start} -> {end}")
        branches = 100.0 * sums["covered_branches"] / sums["num_branches"]
        lines = 100.0 * sums["covered_lines"] / sums["num_statements"]
        failed = failed or min(branches, lines) < LEAST
        print(f"{room}: {branches:.1f} % of {sums['num_branches']} branches, {lines:.1f} % of the lines")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
