"""Pytest fixtures for users: ``from airflow_kling.emulator.testing import kling_emulator``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from airflow_kling.emulator.settings import EmulatorSettings

if TYPE_CHECKING:
    from airflow_kling.emulator.server import EmulatorServer

TEST_LATENCY = 0.2
"""Seconds that a task of the fixture takes."""


@pytest.fixture
def kling_emulator() -> Iterator[EmulatorServer]:
    """An emulator of one test's own: tasks take 0.2 s, pictures are continued the quick way."""
    from airflow_kling.emulator.server import EmulatorServer

    with EmulatorServer(EmulatorSettings(latency=TEST_LATENCY, engine="reflect")) as server:
        yield server


@pytest.fixture
def kling_emulator_factory() -> Iterator[Callable[..., EmulatorServer]]:
    """Starts emulators with given :class:`~airflow_kling.emulator.settings.EmulatorSettings`, until the test ends."""
    from airflow_kling.emulator.server import EmulatorServer

    with ExitStack() as stack:

        def start(settings: EmulatorSettings | None = None) -> EmulatorServer:
            return stack.enter_context(EmulatorServer(settings))

        yield start
