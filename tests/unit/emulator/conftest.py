"""What the emulator's unit tests share: a virtual clock, orders, and small pictures."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from airflow_kling.api.families import FAMILIES, IMAGE_EXPANSION
from airflow_kling.emulator.orders import Order
from airflow_kling.emulator.settings import Dialect, EmulatorSettings
from airflow_kling.emulator.state import Accepted, EmulatorState

FAMILY = FAMILIES[IMAGE_EXPANSION]


class Bench:
    """A state with a virtual clock, and short ways to ask it."""

    def __init__(self, **settings):
        self.state = EmulatorState(EmulatorSettings(virtual_clock=True, **{"latency": 4.0} | settings))

    def create(self, dialect=Dialect.KLING, account="a", made=True, **fields) -> Accepted:
        accepted = self.state.create(Order(family=FAMILY, **fields), account=account, dialect=dialect)
        if made:
            self.state.made(accepted.task.task_id, ())
        return accepted

    def find(self, ident, dialect=Dialect.KLING, account="a", family=FAMILY):
        return self.state.find(ident, account=account, dialect=dialect, family=family)

    def word(self, accepted: Accepted) -> str:
        return self.find(accepted.task.task_id).word


@pytest.fixture
def bench():
    return Bench


@pytest.fixture(scope="session")
def picture_bytes():
    def make(width=320, height=300, kind="PNG"):
        buffer = io.BytesIO()
        Image.new("RGB", (width, height), "teal").save(buffer, kind)
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def picture_text(picture_bytes):
    return lambda *args: base64.b64encode(picture_bytes(*args)).decode()
