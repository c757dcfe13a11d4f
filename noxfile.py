"""Lanes: `nox -s "lane(3.1)"` runs the tests on one Airflow, `nox -l` names all; pytest has what is behind `--`."""

import json
from pathlib import Path
from xml.etree import ElementTree

import nox

nox.options.default_venv_backend = "uv"
nox.options.sessions = ["lane"]

NEXT = ["apache-airflow>=3.4.0b1", "apache-airflow-core>=3.4.0b1", "apache-airflow-task-sdk>=1.4.0b1"]

#: Lane -> Python, what pip is told of Airflow, and the constraints.
LANES: dict[str, tuple[str, list[str], str | None]] = {
    "lowest": ("3.11", ["apache-airflow==2.11.0"], "constraints/lowest.txt"),
    "2.11": ("3.11", ["apache-airflow>=2.11,<2.12"], "constraints/airflow-2.11.txt"),
    "3.0": ("3.12", ["apache-airflow>=3.0,<3.1"], "constraints/airflow-3.0.txt"),
    "3.1": ("3.13", ["apache-airflow>=3.1,<3.2"], "constraints/airflow-3.1.txt"),
    "3.2": ("3.12", ["apache-airflow>=3.2,<3.3"], "constraints/airflow-3.2.txt"),
    "3.3": ("3.11", ["apache-airflow>=3.3,<3.4"], "constraints.txt"),
    "newest": ("3.13", ["apache-airflow"], None),
    "pre-release": ("3.13", ["--prerelease=if-necessary-or-explicit", *NEXT], None),
}
RESULTS = Path("artefacts/lanes")


@nox.session
@nox.parametrize(("python", "lane"), [nox.param(python, name, id=name) for name, (python, _, _) in LANES.items()])
def lane(session: nox.Session, lane: str) -> None:
    """Run the tests of the README's line on one Airflow, and keep what it passed."""
    _, airflow, constraints = LANES[lane]
    pinned = ["-c", constraints] if constraints else []
    session.install(*pinned, *airflow, "-e", ".[test]")
    RESULTS.mkdir(parents=True, exist_ok=True)
    report = RESULTS / f"{lane}.xml"
    session.run("pytest", f"--junitxml={report}", *session.posargs)
    versions = session.run("python", "-c", _VERSIONS, silent=True)
    suite = ElementTree.parse(report).getroot().find("testsuite")  # noqa: S314  # our own file
    told = {name: int(suite.attrib[name]) for name in ("tests", "skipped")} | json.loads(str(versions).splitlines()[-1])
    (RESULTS / f"{lane}.json").write_text(json.dumps(told, indent=2) + "\n")


_VERSIONS = """
import importlib.metadata, json, platform
print(json.dumps({"airflow": importlib.metadata.version("apache-airflow"), "python": platform.python_version()}))
"""
