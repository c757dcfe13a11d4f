"""Runs the emulator: ``python -m airflow_kling.emulator``."""

from airflow_kling.emulator.command import main

raise SystemExit(main())
