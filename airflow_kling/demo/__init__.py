"""``airflow-kling demo``: a picture expanded and filmed by a real DAG, with the emulator in Kling's place."""

from __future__ import annotations

import argparse

from airflow_kling.api.checks import MAX_N, MAX_RATIO


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
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


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; returns its exit code."""
    from airflow_kling.demo import show

    return show.run(arguments)
