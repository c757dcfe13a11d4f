"""
Lanes: `nox -s "lane(3.1)"` runs the tests on one Airflow, `nox -l` names all; pytest has what is behind `--`.

`nox -s "stranger(3.1)"` does there what a new user does, with the wheel; `nox -s table` writes down what was passed.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv"
nox.options.sessions = ["lane", "stranger"]

NEXT = ["apache-airflow>=3.4.0b1", "apache-airflow-core>=3.4.0b1", "apache-airflow-task-sdk>=1.4.0b1"]

#: Airflow -> Pythons, what pip is told of it, and the constraints.
VERSIONS: dict[str, tuple[list[str], list[str], str | None]] = {
    "lowest": (["3.11"], ["apache-airflow==2.11.0"], "constraints/lowest.txt"),
    "2.11": (["3.11", "3.12"], ["apache-airflow>=2.11,<2.12"], "constraints/airflow-2.11.txt"),
    "3.0": (["3.12", "3.11"], ["apache-airflow>=3.0,<3.1"], "constraints/airflow-3.0.txt"),
    "3.1": (["3.13", "3.11", "3.12"], ["apache-airflow>=3.1,<3.2"], "constraints/airflow-3.1.txt"),
    "3.2": (["3.12", "3.11", "3.13"], ["apache-airflow>=3.2,<3.3"], "constraints/airflow-3.2.txt"),
    "3.3": (["3.11", "3.12"], ["apache-airflow>=3.3,<3.4"], "constraints.txt"),
    "newest": (["3.13"], ["apache-airflow"], None),
    "pre-release": (["3.13"], ["--prerelease=if-necessary-or-explicit", *NEXT], None),
}
#: Lane -> Python, Airflow and constraints. Those of an Airflow's other Pythons have their names behind it.
LANES = {
    f"{name}-py{python}" if number else name: (python, airflow, constraints)
    for name, (pythons, airflow, constraints) in VERSIONS.items()
    for number, python in enumerate(pythons)
}
ROOT = Path(__file__).parent
RESULTS = ROOT / "artefacts" / "lanes"
KEEP = ("python", str(ROOT / ".ci" / "lanes.py"), str(RESULTS))

#: A server of S3 for the README's DAG, out of the stranger's environment.
S3 = ["--from", "moto[s3]>=5.1", "--with", "flask>=2.2.5", "--with", "flask-cors>=5.0", "moto_server", "-p"]


def interpreter(version: str) -> str:
    """Return where a Python is, pyenv's ones included; the one that runs this where it is missing."""
    named = f"python{version}"
    for path in (named, *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/{named}"))):
        # A name may be a shim that leads nowhere.
        if shutil.which(path) and not subprocess.run([path, "-c", ""], check=False, capture_output=True).returncode:
            return path
    return sys.executable


FOUND = {version: interpreter(version) for version in sorted({row[0] for row in LANES.values()})}
each_lane = nox.parametrize(
    ("python", "lane"), [nox.param(FOUND[python], name, id=name) for name, (python, _, _) in LANES.items()]
)


def install(session: nox.Session, lane: str, *what: str) -> None:
    """Install this package beside the lane's Airflow."""
    _, airflow, constraints = LANES[lane]
    session.install(*(["-c", constraints] if constraints else []), *airflow, *what)


@nox.session
@each_lane
def lane(session: nox.Session, lane: str) -> None:
    """Run the tests of the README's line on one Airflow, and keep what it passed."""
    install(session, lane, "-e", ".[test]")
    RESULTS.mkdir(parents=True, exist_ok=True)
    report = RESULTS / f"{lane}.xml"
    session.run("pytest", f"--junitxml={report}", *session.posargs, success_codes=[0, 1])
    session.run(*KEEP, "tests", lane, str(report))


@nox.session
@each_lane
def stranger(session: nox.Session, lane: str) -> None:
    """Try the wheel as a new user would: the README's DAG, in an empty folder, against the emulator."""
    wheel = os.environ.get("KLING_WHEEL") or build(session)
    install(session, lane, f"airflow-provider-kling[emulator] @ {Path(wheel).as_uri()}", *readme_extras())
    with tempfile.TemporaryDirectory() as empty, session.chdir(empty):
        script = ROOT / "tests" / "stranger" / "first_day.py"
        s3 = shlex.join([shutil.which("uvx") or str(Path(sys.executable).with_name("uvx")), *S3])
        session.run("python", str(script), str(ROOT / "README.md"), env={"KLING_S3": s3})
    session.run(*KEEP, "stranger", lane)


def build(session: nox.Session) -> str:
    """Return the path of the checkout's wheel, built anew."""
    folder = Path(session.create_tmp()).resolve()
    command = ["uv", "build", "--quiet", "--wheel", "--clear", "--out-dir", str(folder), str(ROOT)]
    session.run_install(*command, external=True)
    (wheel,) = folder.glob("*.whl")
    return str(wheel)


def readme_extras() -> list[str]:
    """Return what the README's DAG needs of Airflow's other providers."""
    return ["apache-airflow-providers-amazon[s3fs]"] if "s3://" in (ROOT / "README.md").read_text() else []


@nox.session(python=False)
def table(session: nox.Session) -> None:
    """Write what each lane has passed into docs/versions.md."""
    session.run(*KEEP, "table", *LANES)
