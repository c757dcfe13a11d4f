"""No test sleeps for a time and hopes: it waits in a loop until something is so, or moves a clock of its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def hopeful(tree, *, in_loop=False):
    """Return the lines that sleep for real time and look at nothing after it."""
    lines = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "asyncio.sleep") and not in_loop:
            lines += [] if ast.unparse(node.args[0]) == "0" else [node.lineno]
        inside = isinstance(node, ast.While) or (
            in_loop and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        )
        lines += hopeful(node, in_loop=inside)
    return lines


def test_no_test_sleeps_and_hopes():
    found = {path.name: hopeful(ast.parse(path.read_text("utf-8"))) for path in sorted(TESTS.rglob("*.py"))}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("time.sleep(1)", [1]),
        ("async def f():\n    await asyncio.sleep(0.1)", [2]),
        ("for _ in range(9):\n    time.sleep(1)", [2]),
        ("while not done():\n    time.sleep(0.1)", []),
        ("while not done():\n    def f():\n        time.sleep(0.1)", [3]),
        ("await asyncio.sleep(0)", []),
        ("clock.sleep(9)", []),
    ],
)
def test_what_is_found(code, lines):
    assert hopeful(ast.parse(code)) == lines
