"""The command line: ``airflow-kling demo``, ``emulator``, ``plan`` and ``doctor``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from airflow_kling import __version__
from airflow_kling.api.checks import MAX_N, MAX_RATIO
from airflow_kling.doctor.command import add_arguments as add_doctor_arguments
from airflow_kling.doctor.command import run as run_doctor
from airflow_kling.emulator.command import add_arguments as add_emulator_arguments
from airflow_kling.emulator.command import run as run_emulator
from airflow_kling.plan_command import add_arguments as add_plan_arguments
from airflow_kling.plan_command import run as run_plan


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a command; returns its exit code.

    :param argv: Arguments without the program's name.
    """
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("airflow_kling"):
            raise
        print(
            f"airflow-kling {arguments.command} needs the module {error.name}: "
            f'pip install "airflow-provider-kling[{arguments.command}]"',
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="airflow-kling", description="Kling for Apache Airflow, tried out on loopback"
    )
    parser.add_argument("--version", action="version", version=f"airflow-provider-kling {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands.add_parser("demo", help="expand and film a picture with a real DAG, without a key"))
    emulator = commands.add_parser("emulator", help="run the emulator of Kling's API until it is interrupted")
    add_emulator_arguments(emulator)
    emulator.set_defaults(run=run_emulator)
    plan = commands.add_parser("plan", help="show what reframing a picture takes and costs; sends nothing")
    add_plan_arguments(plan)
    plan.set_defaults(run=run_plan)
    doctor = commands.add_parser("doctor", help="say what is wrong with a connection or this deployment; pays nothing")
    add_doctor_arguments(doctor)
    doctor.set_defaults(run=run_doctor)
    return parser


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Expand and film a picture: start the emulator, and run the example DAG kling_expand_to_video with a real "
        "Airflow that lives in the current folder. Nothing is sent to Kling, and nothing is paid."
    )
    parser.add_argument("--image", metavar="PHOTO", help="a JPG or PNG of yours; without it a sample is drawn")
    parser.add_argument("--aspect", metavar="RATIO", help="width to height: 16:9 (default), 9:16, 2.39")
    parser.add_argument(
        "--anchor",
        metavar="PLACE",
        default="center",
        help="where the picture sits: top, bottom-left, …, or the subject's place in it: 0.3,0.5 (default %(default)s)",
    )
    for side, measure in (("up", "height"), ("down", "height"), ("left", "width"), ("right", "width")):
        text = f"in place of --aspect: new canvas on this side, 0-{MAX_RATIO:g} times the picture's {measure}"
        parser.add_argument(f"--{side}", metavar="RATIO", type=float, help=text)
    parser.add_argument("--prompt", default="", help="what the new canvas should show (the emulator does not read it)")
    parser.add_argument(
        "--n", type=int, default=1, help=f"number of pictures, 1-{MAX_N} (default 1); the first is filmed"
    )
    parser.add_argument("--out", metavar="DIR", default="kling-demo/out", help="where results go (default %(default)s)")
    parser.add_argument("--ui", action="store_true", help="start the whole Airflow UI with the DAGs and the emulator")
    parser.set_defaults(run=_run_demo)


def _run_demo(arguments: argparse.Namespace) -> int:
    from airflow_kling.demo import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
