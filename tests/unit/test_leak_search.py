"""The search for secrets in what runs leave behind: it finds what was planted, wherever, and nothing else."""

from __future__ import annotations

import base64
import io
import json
import pickle
import sqlite3
import sys
import urllib.parse
from pathlib import Path

import pytest
from PIL import Image

# The package of these suites: test modules are imported one by one, and know no siblings.
sys.path.insert(0, str(Path(__file__).parents[1]))

from leak_search import KEPT, KEYS, SIGNATURE, Leak, keep_deleted, mark_signatures, search

LINK = f"http://127.0.0.1:1/_emulator/results/T1/0.png?Expires=1795&Signature={SIGNATURE}0123456789abcdef0123"
PLAIN_LINK = "http://127.0.0.1:1/_emulator/results/T1/0.png?Expires=1795&Signature=0123456789abcdef0123456789abcdef"


def picture(form):
    content = io.BytesIO()
    Image.effect_noise((90, 90), 60).convert("RGB").save(content, form)
    return content.getvalue()


def token():
    import jwt

    return jwt.encode({"iss": "emulator-access", "exp": 1}, KEYS[2], algorithm="HS256", headers={"typ": "JWT"})


SECRETS = {
    **{key: {"a key"} for key in KEYS},
    base64.b64encode(b"user:" + KEYS[0].encode()).decode(): {"a key"},
    token(): {"a token of a key", "a key"},
    LINK: {"a signed link"},
    PLAIN_LINK: {"a signed link"},
    urllib.parse.quote(PLAIN_LINK, safe=""): {"a signed link"},
    f"{SIGNATURE}ffff": {"a signed link"},
    base64.b64encode(picture("JPEG")).decode(): {"base64 of a picture", "a long base64"},
    base64.b64encode(picture("PNG")[33:]).decode(): {"a long base64"},
    base64.urlsafe_b64encode(picture("PNG")).decode(): {"base64 of a picture", "a long base64"},
}


@pytest.mark.parametrize(("secret", "kinds"), SECRETS.items(), ids=range(len(SECRETS)))
def test_what_was_planted_is_found(tmp_path, secret, kinds):
    home = tmp_path / "home"
    (home / "logs").mkdir(parents=True)
    lines = "a line\n" * 180_000  # more than is read at a time
    (home / "logs" / "task.log").write_text(f"{lines}INFO - {secret}, it said\n{lines}")
    (home / "value.pickle").write_bytes(pickle.dumps({"told": [secret]}))
    with sqlite3.connect(home / "airflow.db") as database:
        database.execute("CREATE TABLE xcom (key TEXT, value JSON, old BLOB)")
        database.execute("INSERT INTO xcom VALUES ('k', ?, ?)", (json.dumps({"a": secret}), pickle.dumps(secret)))
    database.close()
    found = search([home])
    places = ("home/airflow.db: xcom.old", "home/airflow.db: xcom.value", "home/logs/task.log", "home/value.pickle")
    assert {leak.place for leak in found} == set(places)
    assert {leak.what for leak in found} == kinds


def test_what_a_run_deletes_is_searched_too(tmp_path):
    path = tmp_path / "airflow.db"
    with sqlite3.connect(path) as database:
        for table, (_, column) in KEPT.items():
            database.execute(f'CREATE TABLE "{table}" ({column})')
    keep_deleted(path)
    xcoms = next(table for table in KEPT if "xcom" in table)
    with database:
        database.execute("INSERT INTO trigger VALUES (?)", (KEYS[0],))
        database.execute("DELETE FROM trigger")
        database.execute("INSERT INTO task_instance VALUES (NULL)")
        database.execute("UPDATE task_instance SET next_kwargs = ?", (LINK,))
        database.execute("UPDATE task_instance SET next_kwargs = NULL")
        database.execute(f"INSERT INTO {xcoms} VALUES (?)", (LINK,))
        database.execute(f"DELETE FROM {xcoms}")
    database.close()
    names = ("task_instance.next_kwargs", "trigger.kwargs", f"{xcoms}.value")
    kinds = ("a signed link", "a key", "a signed link")
    assert search([path]) == [Leak(f"airflow.db: {name}", kind) for name, kind in zip(names, kinds, strict=True)]


def test_what_is_no_secret_is_not_found(tmp_path):
    (tmp_path / "0.png").write_bytes(picture("PNG"))
    (tmp_path / "a.jpg").write_bytes(picture("JPEG"))
    harmless = ["sha256 " + "0123456789abcdef" * 40, "Signature=***", "image=data:***", "?***", "/".join(["Aa0"] * 900)]
    (tmp_path / "log").write_text("\n".join([*harmless, "http://127.0.0.1:1/_emulator/results/T1/0.png"]))
    assert search([tmp_path]) == []


def test_emulators_sign_recognisably(monkeypatch):
    from airflow_kling.emulator.links import Signer, split_link

    mark_signatures(monkeypatch)
    signer = Signer()
    link = signer.link("http://h", "T1", "0.png", 9e9)
    assert f"Signature={SIGNATURE}" in link
    assert signer.is_valid(*split_link(link, "h"), now=1.0)
    assert not signer.is_valid("T2", *split_link(link, "h")[1:], now=1.0)
