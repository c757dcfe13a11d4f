"""The command line: ``airflow-kling demo``, ``emulator``, ``plan`` and ``doctor``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from airflow_kling import __version__, demo, plan_command
from airflow_kling.doctor import command as doctor
from airflow_kling.emulator import command as emulator


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
    for name, command, text in (
        ("demo", demo, "expand and film a picture with a real DAG, without a key"),
        ("emulator", emulator, "run the emulator of Kling's API until it is interrupted"),
        ("plan", plan_command, "show what reframing a picture takes and costs; sends nothing"),
        ("doctor", doctor, "say what is wrong with a connection or this deployment; pays nothing"),
    ):
        added = commands.add_parser(name, help=text)
        command.add_arguments(added)
        added.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
