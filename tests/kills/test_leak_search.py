"""The search for secrets finds what was planted in PostgreSQL, also where it was deleted since."""

from __future__ import annotations

import pickle

import psycopg2
import pytest
from crash.database import Postgres
from leak_search import KEPT, KEYS, SIGNATURE, Leak
from leak_search.postgres import keep_deleted, search

LINK = f"http://127.0.0.1:1/_emulator/results/T1/0.png?Expires=1795&Signature={SIGNATURE}0123456789abcdef0123"


@pytest.fixture
def database():
    with Postgres() as database:
        connection = psycopg2.connect(f"postgresql://{database.address}")
        with connection, connection.cursor() as cursor:
            for table, (_, column) in KEPT.items():
                cursor.execute(f"CREATE TABLE {table} ({column} {'jsonb' if table == 'xcom' else 'text'})")
        keep_deleted(database.address)
        yield database.address, connection
        connection.close()


def test_what_was_planted_is_found(database):
    address, connection = database
    with connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO xcom VALUES (jsonb_build_object('a', %s))", (LINK,))
        cursor.execute("CREATE TABLE celery_taskmeta (result bytea)")
        cursor.execute("INSERT INTO celery_taskmeta VALUES (%s)", (pickle.dumps(KEYS[0]),))
    assert search(address) == [Leak("celery_taskmeta.result", "a key"), Leak("xcom.value", "a signed link")]


def test_what_airflow_deletes_is_searched_too(database):
    address, connection = database
    with connection, connection.cursor() as cursor:
        for table, (event, column) in KEPT.items():
            value = f'"{LINK}"' if table == "xcom" else LINK
            cursor.execute(f"INSERT INTO {table} VALUES (%s)", (value if event != "update" else None,))
            cursor.execute(f"UPDATE {table} SET {column} = %s", (value,))
            cursor.execute(f"DELETE FROM {table}")
    places = sorted(f"{table}.{column}" for table, (_, column) in KEPT.items())
    assert search(address) == [Leak(place, "a signed link") for place in places]


def test_what_is_no_secret_is_not_found(database):
    address, connection = database
    with connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO trigger VALUES ('http://127.0.0.1:1/_emulator/results/T1/0.png')")
        cursor.execute("DELETE FROM trigger")
    assert search(address) == []
