"""What a check found, and how it is told: a line each, or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    #: Not known: what would tell could not be asked.
    UNKNOWN = "unknown"
    #: It works, within a limit that somebody should know.
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One line.

    :param subject: The connection, or ``airflow``.
    """

    subject: str
    check: str
    state: State
    text: str
    advice: str = ""


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 1 where a check failed, else 0: neither a warning nor what is not known fails."""
    return int(any(finding.state is State.FAIL for finding in findings))


def as_text(findings: Sequence[Finding]) -> str:
    """
    Return a block of lines per subject.

    :param findings: Those of a subject in one piece.
    """
    widths = [max((len(text) for text in column), default=0) for column in zip(*map(_head, findings), strict=True)]
    lines: list[str] = []
    subject = ""
    for finding in findings:
        if finding.subject != subject:
            subject = finding.subject
            lines += [*([""] if lines else []), subject]
        head = "  ".join(text.ljust(width) for text, width in zip(_head(finding), widths, strict=True))
        advice = f" -> {finding.advice}" if finding.advice else ""
        lines.append(f"  {head}  {finding.text}{advice}")
    counts = {state: sum(finding.state is state for finding in findings) for state in State}
    told = ", ".join(f"{count} {state.value}" for state, count in counts.items() if count)
    return "\n".join([*lines, "", f"{told}. Nothing was created, and nothing was paid."])


def as_json(findings: Sequence[Finding]) -> str:
    """Return the same for programs."""
    told = {"ok": not exit_code(findings), "checks": [asdict(finding) for finding in findings]}
    return json.dumps(told, indent=2)


def _head(finding: Finding) -> tuple[str, str]:
    return finding.check, finding.state.value
