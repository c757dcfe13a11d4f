"""Emulators for the doctor to look at."""

from airflow_kling.emulator.testing import kling_emulator, kling_emulator_factory  # noqa: F401
