"""The documentation and the README: their code runs, their links lead somewhere, and nothing public is left out."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import shlex
from datetime import datetime
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_kling.api.gateways import resolve_account
from airflow_kling.cli import _parser
from airflow_kling.get_provider_info import get_provider_info
from airflow_kling.operators import kling as operators
from airflow_kling.operators.base import KlingTaskBaseOperator
from airflow_kling.sensors import kling as sensors

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
EMULATOR = ROOT / "airflow_kling" / "emulator" / "README.md"
PAGES = sorted(
    [*ROOT.glob("*.md"), EMULATOR, *(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)], key=str
)
OPTIONS = get_provider_info()["config"]["kling"]["options"]
FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
MARK = re.compile(r"\[START (howto_\w+)\]")
COMMAND = re.compile(r"^(?:\.venv/bin/)?airflow-kling (.*)$", re.MULTILINE)
CONNECTION = re.compile(r"AIRFLOW_CONN_\w+='([^']+)'")
VARIABLE = re.compile(r"AIRFLOW__KLING__(\w+)")
OURS = re.compile(r"\bairflow_kling(?:\.\w+)+")
PARAMETER = re.compile(r"^:param (\w+):", re.MULTILINE)


def name(page):
    return str(page.relative_to(ROOT))


def blocks(language):
    """Return every block of a language, with where it stands."""
    return [
        pytest.param(code, id=f"{name(page)}:{number}")
        for page in PAGES
        for number, (told, code) in enumerate(FENCE.findall(page.read_text()), 1)
        if told == language
    ]


def typed(pattern):
    """Return what a pattern finds in all that is to be typed into a shell."""
    text = "\n".join([block.values[0] for block in blocks("sh")] + re.findall(r"`([^`\n]+)`", README.read_text()))
    return sorted(set(pattern.findall(text)))


def anchors(page):
    """Return the anchors of a page's headings, as both GitHub and MyST make them."""
    text = FENCE.sub("", page.read_text())
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading)).strip().lower().replace(" ", "-")
        for heading in HEADING.findall(text)
    }


def found(dotted):
    """Return what a dotted name stands for."""
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        place, _, last = dotted.rpartition(".")
        return getattr(found(place), last)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with DAG("around_the_block", schedule=None, start_date=datetime(2026, 1, 1)):
        exec(compile(code, "block", "exec", dont_inherit=True), {"__name__": "block"})


@pytest.mark.parametrize("code", blocks("json"))
def test_json_can_be_read(code):
    assert json.loads(code)


@pytest.mark.parametrize("line", typed(COMMAND))
def test_command_line_exists(line):
    _parser().parse_args([word for word in shlex.split(line, comments=True) if word != "…"])


@pytest.mark.parametrize("text", typed(CONNECTION))
def test_connection_is_one(text):
    fields = {"login": None, "host": None, "schema": None, "port": None, "extra": {}} | json.loads(text)
    assert fields.pop("conn_type") == "kling"
    assert resolve_account(**fields | {"password": "a-key"}).base_url.startswith("https://")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text())
    broken = []
    for target in LINK.findall(text):
        if "://" in target:
            continue
        place, _, anchor = target.partition("#")
        found = (page.parent / place).resolve() if place else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert broken == []


def test_every_operator_and_sensor_has_a_guide():
    index = (DOCS / "howto" / "index.md").read_text()
    guides = "\n".join(page.read_text() for page in (DOCS / "howto").glob("*.md"))
    reference = (DOCS / "api.md").read_text()
    for public in [*operators.__all__, "KlingTaskSensor", "KlingTaskTrigger"]:
        assert f"`{public}`" in index
        assert f".{public}`" in guides
        assert f".{public}\n" in reference
    assert hasattr(sensors, "KlingTaskSensor")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_names_of_ours_exist(page):
    for dotted in OURS.findall(page.read_text()):
        found(dotted)


def test_the_reference_tells_of_every_parameter():
    named = map(found, OURS.findall((DOCS / "api.md").read_text()))
    public = [each for each in named if inspect.isfunction(each) or "__init__" in getattr(each, "__dict__", ())]
    assert public
    for each in public:
        takes = inspect.signature(vars(each).get("__init__", each)).parameters
        assert {*PARAMETER.findall(inspect.getdoc(each) or "")} == {*takes} - {"self", "kwargs"}, each


def test_every_marked_example_is_shown_and_none_other():
    marks = {mark for path in (ROOT / "dags").glob("*.py") for mark in MARK.findall(path.read_text())}
    pages = "\n".join(page.read_text() for page in DOCS.rglob("*.md"))
    assert set(MARK.findall(pages)) == marks
    assert marks


def test_the_common_parameters_are_all_told():
    table = (DOCS / "howto" / "index.md").read_text().partition("## What all operators take")[2].partition("## ")[0]
    parameters = inspect.signature(KlingTaskBaseOperator.__init__).parameters
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(parameters) - {"self", "kwargs"}


def options_read():
    """Return the options that the code reads: ``conf.get*("kling", name)``, and pairs such as ``("kling", name)``."""
    read = set()
    for path in (ROOT / "airflow_kling").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            items = node.args if isinstance(node, ast.Call) and "conf" in ast.unparse(node.func) else ()
            items = node.elts if isinstance(node, ast.Tuple) and len(node.elts) == 2 else items
            words = [item.value for item in items if isinstance(item, ast.Constant)][:2]
            if len(words) == 2 and words[0] == "kling":
                read.add(words[1])
    return read


def test_every_option_is_read_and_described():
    assert options_read() == set(OPTIONS)
    assert "{kling-table} options" in (DOCS / "configuration.md").read_text()


def test_no_page_names_an_option_that_is_none():
    text = "\n".join(page.read_text() for page in PAGES)
    named = {found.lower() for found in VARIABLE.findall(text)} | set(re.findall(r"\[kling\] (\w+)", text))
    assert named <= set(OPTIONS)
    assert named


def test_the_pictures_are_small():
    assert sum(path.stat().st_size for path in (DOCS / "images").iterdir()) <= 300_000
