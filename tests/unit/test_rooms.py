"""The rooms of the package: each says in its first line what lives there, and an operator's is seen at a glance."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "airflow_kling"
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 250


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_first_line_says_what_lives_there(path):
    first, *more = (ast.get_docstring(ast.parse(path.read_text())) or "nothing").splitlines()
    assert path.read_text().startswith(f'"""{first}')
    assert first.endswith(".")
    assert not more or not more[0]


@pytest.mark.parametrize("path", sorted((PACKAGE / "operators").glob("*.py")), ids=lambda path: path.name)
def test_a_room_of_the_operators_is_small(path):
    assert len(path.read_text().splitlines()) < MOST_LINES
