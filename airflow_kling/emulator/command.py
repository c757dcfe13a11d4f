"""The ``airflow-kling emulator`` command: its arguments and what it runs."""

from __future__ import annotations

import argparse

from airflow_kling.emulator.settings import EmulatorSettings

DEFAULT_PORT = 8790


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    defaults = EmulatorSettings()
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback only)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port, 0 for a free one (default: %(default)s)")
    parser.add_argument(
        "--latency", type=float, default=defaults.latency, help="seconds until a task ends (default: %(default)s)"
    )
    parser.add_argument(
        "--quota", type=int, default=defaults.quota, help="concurrency slots, 0 for no limit (default: %(default)s)"
    )
    parser.add_argument("--key", action="append", metavar="KEY", help="accepted API key (default: emulator-key)")
    parser.add_argument("--any-key", action="store_true", help="accept every API key")
    parser.add_argument("--pictures", choices=("real", "canned"), default=defaults.pictures)
    parser.add_argument("--clips", choices=("real", "canned"), default=defaults.clips)
    parser.add_argument("--engine", choices=("auto", "patchmatch", "reflect"), default=defaults.engine)
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of pictures and faults (default: 0)")
    parser.add_argument("--virtual-clock", action="store_true", help="time passes only through /_emulator/clock")
    parser.add_argument("--no-gateway-lookup", action="store_true", help="/kling/v1 knows task ids only")
    parser.add_argument("--gateway-envelope", choices=("native", "wrapped"), default=defaults.gateway_envelope)


def settings_of(args: argparse.Namespace) -> EmulatorSettings:
    """Return the settings that parsed arguments name."""
    defaults = EmulatorSettings()
    return EmulatorSettings(
        latency=args.latency,
        quota=args.quota or None,
        keys=None if args.any_key else tuple(args.key or defaults.keys or ()),
        pictures=args.pictures,
        clips=args.clips,
        engine=args.engine,
        seed=args.seed,
        virtual_clock=args.virtual_clock,
        gateway_lookup=not args.no_gateway_lookup,
        gateway_envelope=args.gateway_envelope,
    )


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    try:
        from airflow_kling.emulator.server import serve
    except ModuleNotFoundError as error:
        raise SystemExit(f"the emulator needs {error.name}: pip install 'airflow-provider-kling[emulator]'") from None
    try:
        serve(settings_of(args), host=args.host, port=args.port)
    except (OSError, ValueError) as error:
        raise SystemExit(f"cannot serve on {args.host}:{args.port}: {error}") from None
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m airflow_kling.emulator", description="Kling's API on loopback")
    add_arguments(parser)
    return run(parser.parse_args(arguments))
