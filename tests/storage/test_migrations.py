"""The schema: it is what the tables say, is made once, and a newer one is left alone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from quorate_protocol.ids import DocumentName
from quorate_storage import migrations
from quorate_storage.errors import SchemaTooNew
from quorate_storage.sql import SqlStore
from quorate_storage.tables import metadata
from quorate_storage.testing.building import entries, written

OPEN = """
import asyncio, sys
from quorate_storage.sql import SqlStore

async def main():
    async with SqlStore(sys.argv[1]) as store:
        await store.list_documents()

print("ready", flush=True)
sys.stdin.readline()
asyncio.run(main())
"""


def migrate(connection: Connection) -> None:
    """Run every migration, from the first one on."""
    connection.execute(
        text(
            "CREATE TABLE alembic_version"
            " (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
        )
    )
    migrations.upgrade(connection)


async def test_the_migrations_make_the_tables(url: str) -> None:
    """A migrated database differs in nothing from what the code believes."""

    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    store = SqlStore(url)
    await store._database.open(migrate)
    try:
        assert await store._database.read(differences) == []
    finally:
        await store._database.close()


async def test_a_new_database_is_the_one_that_the_migrations_make(url: str) -> None:
    """It is made without them: tables, keys, indexes and the rows that are there from the start are the same."""

    def describe(connection: Connection) -> dict[str, Any]:
        seen = inspect(connection)
        found: dict[str, Any] = {}
        for name in sorted(seen.get_table_names()):
            columns = [{**column, "type": repr(column["type"])} for column in seen.get_columns(name)]
            indexes = sorted(seen.get_indexes(name), key=lambda index: str(index["name"]))
            keys = (seen.get_pk_constraint(name), seen.get_foreign_keys(name), seen.get_unique_constraints(name))
            rows = [tuple(row) for row in connection.execute(text(f'SELECT * FROM "{name}"'))]
            found[name] = (columns, indexes, keys, rows)
        return found

    def clear(connection: Connection) -> None:
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))

    store = SqlStore(url)
    await store._database.open(migrate)
    migrated = await store._database.read(describe)
    await store._database.write(clear)
    await store._database.close()
    async with SqlStore(url) as store:
        new = await store._database.read(describe)

    assert new == migrated
    assert set(new) == {*metadata.tables, "alembic_version"}


async def test_opening_again_keeps_everything(url: str) -> None:
    """A database that is up to date is opened as it is."""
    async with SqlStore(url) as store, written(store, 3) as (_lease, document):
        pass

    async with SqlStore(url) as store:
        assert (await store.load(document.id)).tail == tuple(entries(document.id, 1, 3))


async def test_a_newer_schema_is_left_alone(url: str) -> None:
    """A database of a newer release is refused and not changed."""
    async with SqlStore(url) as store:
        await store._database.write(
            lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")) and None
        )

    with pytest.raises(SchemaTooNew) as caught:
        async with SqlStore(url):
            pass

    assert (caught.value.found, caught.value.newest_known) == ("9999", "0002")


async def test_several_stores_start_at_once(url: str) -> None:
    """Of many that open an empty database together, one makes the tables and all can work."""
    stores = [SqlStore(url) for _ in range(5)]
    await asyncio.gather(*(store.__aenter__() for store in stores))
    try:
        for store in stores:
            assert await store.list_documents() == []
    finally:
        await asyncio.gather(*(store.__aexit__(None, None, None) for store in stores))


def test_several_processes_start_at_once(url: str) -> None:
    """The same holds between processes."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0, 0]


async def test_a_database_of_the_first_release_is_brought_up_to_date(url: str) -> None:
    """Its documents are as they were; what came later is there, and empty."""

    def make_first(connection: Connection) -> None:
        script = ScriptDirectory(str(migrations.HERE))
        context = MigrationContext.configure(connection)
        with Operations.context(context):
            script.get_revision("0001").module.upgrade()
        context.stamp(script, "0001")
        connection.execute(
            text(
                "INSERT INTO documents (id, name, kind, epoch, created_at, created_by)"
                " VALUES (1, 'text/old', 'text', 1, 5.0, 'anna')"
            )
        )
        connection.execute(
            text('INSERT INTO updates (document_id, sequence, "update", author, at) VALUES (1, 1, :update, :who, 5.0)'),
            {"update": b"update 1", "who": "anna"},
        )

    first = SqlStore(url)
    await first._database.open(make_first)
    await first._database.close()
    async with SqlStore(url) as store:
        found = await store.find(DocumentName("text/old"))
        assert found is not None
        stored = await store.load(found.id)
        assert [(entry.update, entry.author) for entry in stored.tail] == [(b"update 1", "anna")]
        assert (await store.audit_head()).size == await store.feed_head() == 0
        assert [one.name for one in await store.list_unannounced()] == ["text/old"]
