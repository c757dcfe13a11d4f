"""``airflow-kling demo``: a picture expanded and filmed by a real DAG, with the emulator in Kling's place."""

from __future__ import annotations

import argparse


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; returns its exit code."""
    from airflow_kling.demo import show

    return show.run(arguments)
