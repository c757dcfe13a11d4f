"""The same search over PostgreSQL: what Airflow's database holds, and what Airflow deleted from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from . import KEPT, Leak, leaks_in

_KEEP = """
CREATE TABLE leak_search_kept (place text, value text);
CREATE FUNCTION leak_search_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO leak_search_kept
  VALUES (TG_TABLE_NAME || '.' || TG_ARGV[0], coalesce(to_jsonb(NEW), to_jsonb(OLD)) ->> TG_ARGV[0]);
  RETURN NULL;
END $$;
"""
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


def keep_deleted(address: str) -> None:
    """
    Make a migrated database of Airflow keep what Airflow would delete from it.

    :param address: User, host, port and name of the database.
    """
    with closing(_connect(address)) as database, database, database.cursor() as cursor:
        cursor.execute(_KEEP)
        for table, (event, column) in KEPT.items():
            cursor.execute(f"SELECT {column} FROM {table} LIMIT 0")  # a trigger would not miss it before it fires
            cursor.execute(
                f"CREATE TRIGGER leak_search AFTER {event} ON {table} "
                f"FOR EACH ROW EXECUTE FUNCTION leak_search_keep('{column}')"
            )


def search(address: str) -> list[Leak]:
    """
    Return every leak in all tables.

    :param address: User, host, port and name of the database.
    """
    with closing(_connect(address)) as database:
        return sorted({Leak(place, what) for place, content in _contents(database) for what in leaks_in(content)})


def _connect(address: str):
    import psycopg2

    return psycopg2.connect(f"postgresql://{address}")


def _contents(database) -> Iterator[tuple[str, bytes]]:
    import psycopg2.extensions

    # JSON as it is stored, for a decoded one is not what somebody reads who has a dump.
    as_text = psycopg2.extensions.new_type((114, 3802), "JSON_TEXT", psycopg2.STRING)
    psycopg2.extensions.register_type(as_text, database)
    with database.cursor() as cursor:
        cursor.execute(_TABLES)
        tables = [table for (table,) in cursor.fetchall()]
    for table in tables:
        with database.cursor() as cursor:
            cursor.execute(f'SELECT * FROM "{table}"')
            kept = table == "leak_search_kept"
            for row in cursor:
                for column, value in zip(cursor.description, row, strict=True):
                    place = row[0] if kept else f"{table}.{column.name}"
                    if isinstance(value, str):
                        yield place, value.encode()
                    elif isinstance(value, memoryview):
                        yield place, value.tobytes()
