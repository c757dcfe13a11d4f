"""How stored files are sent."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest
from PIL import Image

from airflow_kling.airflow_version import AIRFLOW
from airflow_kling.plugins.files import MediaFault

if AIRFLOW < (3, 0):
    pytest.skip("Airflow 2 has no such pages", allow_module_level=True)

from starlette.requests import Request

from airflow_kling.plugins import app


@pytest.fixture
def picture(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__KLING__MEDIA_ROOTS", f"{tmp_path}/{{dag_id}}")
    (tmp_path / "ours").mkdir()
    Image.effect_noise((900, 900), 99).save(tmp_path / "ours" / "a.png")
    yield tmp_path / "ours" / "a.png"
    for stack in list(app._streams):
        stack.close()


def answer_of(path, dag_id="ours"):
    return app._file_answer(Request({"type": "http", "headers": []}), str(path), dag_id, None)


def sent(answer):
    """Return the pieces of an answer, sent to nobody."""
    pieces = []

    async def send(message):
        pieces.append(message.get("body", b""))

    async def receive():
        await asyncio.Event().wait()

    asyncio.run(answer({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send))
    return pieces


def test_a_file_is_sent_whole_in_pieces_and_closed(picture):
    pieces = sent(answer_of(picture))
    assert b"".join(pieces) == picture.read_bytes()
    assert max(map(len, pieces)) < len(picture.read_bytes())
    assert not app._streams


def test_a_root_of_another_dag_shows_nothing(picture):
    with pytest.raises(MediaFault, match="outside"):
        answer_of(picture, "theirs")
    assert not app._streams


def test_so_many_files_are_sent_at_a_time(picture):
    answers = [answer_of(picture) for _ in range(app.MAX_STREAMS)]
    with pytest.raises(MediaFault) as caught:
        answer_of(picture)
    assert caught.value.status == 503
    sent(answers[0])
    # One that is never sent counts no longer than it lives.
    answers[1] = None
    gc.collect()
    answers += [answer_of(picture) for _ in range(2)]
    with pytest.raises(MediaFault):
        answer_of(picture)


def test_an_answer_that_breaks_off_is_logged_without_a_secret(picture, monkeypatch, caplog):
    piece, begun = app._piece, []

    def failing(file, at, length):
        begun.append(at)
        if at:
            file.stream.close()  # as by a lost connection
        return piece(file, at, length)

    monkeypatch.setattr(app, "_piece", failing)
    with caplog.at_level(logging.WARNING):
        content = b"".join(sent(answer_of(picture)))
    assert content == picture.read_bytes()[: begun[1]]
    assert "broke off: the API server cannot read the storage (ValueError)" in caplog.text
