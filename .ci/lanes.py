"""
What each lane passed: keeps it, and writes it into ``docs/versions.md``.

``tests LANE REPORT`` after its pytest and ``stranger LANE`` after its first day are asked of the lane's own Python,
``table LANE…`` once all have run.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "versions.md"
START, END = "<!-- lanes:start", "<!-- lanes:end -->"
FAILED = ("failures", "errors")
NOT_RUN = "not run"


def keep(folder: Path, lane: str, kind: str, **told: object) -> None:
    """
    Keep what a lane has shown, beside what it ran on.

    :param folder: Of the results.
    :param lane: The lane's name.
    :param kind: ``tests`` or ``stranger``.
    """
    versions = {name: importlib.metadata.version(name) for name in ("apache-airflow", "airflow-provider-kling")}
    ran_on = {"day": datetime.now(UTC).date().isoformat(), "python": platform.python_version()} | versions
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{lane}.{kind}.json").write_text(json.dumps(ran_on | told, indent=2) + "\n")


def keep_tests(folder: Path, lane: str, report: Path) -> int:
    """
    Keep what pytest tells in its XML report; returns how many tests did not pass.

    :param folder: Of the results.
    :param lane: The lane's name.
    :param report: pytest's.
    """
    suites = ElementTree.parse(report).getroot().iter("testsuite")
    counts = dict.fromkeys(("tests", "skipped", *FAILED), 0)
    for suite in suites:
        counts = {name: count + int(suite.attrib[name]) for name, count in counts.items()}
    keep(folder, lane, "tests", **counts)
    return sum(counts[name] for name in FAILED)


def table(folder: Path, lanes: list[str]) -> str:
    """
    Return the table, with a row for each lane.

    :param folder: Of the results.
    :param lanes: Their names, in the order of the rows.
    """
    lines = ["| lane | Airflow | Python | tests passed | skipped | as a new user |", "|---|---|---|---|---|---|"]
    days: set[str] = set()
    for lane in lanes:
        found = {kind: folder / f"{lane}.{kind}.json" for kind in ("tests", "stranger")}
        told = {kind: json.loads(path.read_text()) for kind, path in found.items() if path.exists()}
        tests, stranger = told.get("tests", {}), told.get("stranger", {})
        ran_on = tests or stranger
        days |= {each["day"] for each in told.values()}
        failed = sum(tests.get(name, 0) for name in FAILED)
        passed = f"{tests['tests'] - tests['skipped'] - failed:,}" if tests else NOT_RUN
        cells = [
            lane,
            ran_on.get("apache-airflow", NOT_RUN),
            ran_on.get("python", NOT_RUN),
            f"{passed}, {failed} failed" if failed else passed,
            str(tests.get("skipped", NOT_RUN)),
            "passed" if stranger else "not passed",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([_when(days), "", *lines])


def _when(days: set[str]) -> str:
    if not days:
        return "No lane has run."
    told = [f"{day:%Y-%m-%d}" for day in (date.fromisoformat(min(days)), date.fromisoformat(max(days)))]
    return f"Run {'on ' + told[0] if told[0] == told[1] else f'from {told[0]} to {told[1]}'}."


def write_table(folder: Path, lanes: list[str]) -> None:
    """Put the table between its marks in the page; arguments are those of :func:`table`."""
    before, start, rest = PAGE.read_text().partition(START)
    mark, end, after = rest.partition(END)
    mark = mark.partition("\n")[0]
    PAGE.write_text(f"{before}{start}{mark}\n\n{table(folder, lanes)}\n\n{end}{after}")


def main(results: str, command: str, *arguments: str) -> int:
    """
    Run a command; returns its exit code.

    :param results: Folder of the lanes' results.
    :param command: ``tests``, ``stranger`` or ``table``.
    """
    if command == "table":
        write_table(Path(results), list(arguments))
        return 0
    if command == "stranger":
        keep(Path(results), *arguments, command)
        return 0
    lane, report = arguments
    return int(keep_tests(Path(results), lane, Path(report)) > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
