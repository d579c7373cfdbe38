"""The SQL store when its database fails: at any instant, for any time, in any way."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from quorate_protocol.ids import DocumentId, UserId
from quorate_storage.batches import batch_of
from quorate_storage.databases import SqlSettings
from quorate_storage.errors import (
    DocumentExists,
    DocumentMissing,
    LeaseLost,
    StorageUnavailable,
    ValueRefused,
)
from quorate_storage.lease_rows import check_lease
from quorate_storage.postgres import PostgresDatabase
from quorate_storage.sql import SqlStore
from quorate_storage.sqlite import SqliteDatabase
from quorate_storage.stores import Document, Lease, Store
from quorate_storage.testing.building import (
    EDITOR,
    START,
    aside,
    entries,
    entry,
    new_document,
    snapshot,
    version,
    written,
)
from tests.storage.servers import PostgresServer

IMPATIENT = SqlSettings(operation_seconds=2.0)
"""Soon enough for a test that waits for it to run out, and enough for what must succeed on a busy machine."""

Write = Callable[[Store, Document, Lease], Awaitable[object]]


def write_first(store: Store, document: Document, lease: Lease) -> Awaitable[object]:
    return store.append(entries(document.id, 4, 6), lease=lease)


def write_again(store: Store, document: Document, lease: Lease) -> Awaitable[object]:
    return store.append(entries(document.id, 3, 5), lease=lease)


WRITES: dict[str, Write] = {
    "append": write_first,
    "append again": write_again,
    "create": lambda store, _document, lease: new_document(store, lease, "other", seed=b"seed"),
    "delete": lambda store, document, lease: store.delete(document.id, by=EDITOR, at=START, lease=lease),
    "replace_tail": lambda store, document, lease: store.replace_tail(snapshot(document.id, 2), lease=lease),
    "save_version": lambda store, document, lease: store.save_version(version(document.id), lease=lease),
    "set_aside": lambda store, document, _lease: store.set_aside(aside(document.id)),
    "acquire_lease": lambda store, _document, _lease: store.acquire_lease("other", holder="one", seconds=10, at=START),
    "renew_lease": lambda store, _document, lease: store.renew_lease(lease, seconds=99, at=START),
}


async def everything(store: Store, document: DocumentId) -> tuple[object, ...]:
    """Read all that a write could have changed."""
    return (
        await store.load(document),
        [(one.name, one.last_sequence) for one in await store.list_documents()],
        await store.list_versions(document),
        await store.list_set_aside(document),
    )


# The N-th step fails, for every N


@pytest.mark.parametrize("name", WRITES)
async def test_sqlite_stops_anywhere(sqlite_url: str, name: str) -> None:
    """A write that the database stops at any of its instructions is done wholly or not at all."""
    async with SqlStore(sqlite_url) as store, written(store, 3) as (lease, document):
        before = await everything(store, document.id)
        step, failures = 1, 0
        while True:
            await stop_after(store, step)
            try:
                await WRITES[name](store, document, lease)
                break
            except StorageUnavailable:
                failures += 1
            assert await everything(store, document.id) == before
            step += 1 + step // 4
        assert failures > 10


async def stop_after(store: SqlStore, instructions: int) -> None:
    """Make the writer of a SQLite store fail once, after so many instructions of its machine."""
    writer = await sqlite_of(store)._connected()
    left = iter(range(instructions))
    await writer.driver.set_progress_handler(lambda: 0 if next(left, None) is not None else 1, 1)


@pytest.mark.parametrize("name", [name for name in WRITES if name != "append"])
async def test_postgres_stops_anywhere(postgres_url: str, name: str) -> None:
    """A write whose N-th statement fails leaves nothing, for every N."""
    async with SqlStore(postgres_url) as store, written(store, 3) as (lease, document):
        before = await everything(store, document.id)
        engine = postgres_of(store)._writing.sync_engine
        failures = 0
        while True:
            with statement_fails(engine, failures + 1):
                try:
                    await WRITES[name](store, document, lease)
                    break
                except StorageUnavailable:
                    failures += 1
            assert await everything(store, document.id) == before
        assert failures >= 1


@contextmanager
def statement_fails(engine: Any, number: int) -> Iterator[None]:
    """Make the `number`-th statement of an engine fail before it reaches the database."""
    left = [number]

    def fail(*_arguments: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OperationalError("", {}, sqlite3.OperationalError("as planned"))

    event.listen(engine, "before_cursor_execute", fail)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", fail)


async def test_an_append_takes_the_fast_path(url: str) -> None:
    """A batch that continues its logs is written at once; nothing else is."""
    async with SqlStore(url) as store, written(store, 3) as (lease, document):
        other = await new_document(store, lease, "other")
        good = batch_of([entry(document.id, 4), entry(other.id, 1), entry(document.id, 5)])
        stale = Lease(scope="all", holder="one", token=7, expires_at=0)

        assert not await store._database.append(good, stale)
        assert await store._database.append(good, lease)
        assert not await store._database.append(good, lease)
        assert not await store._database.append(batch_of([entry(other.id, 3)]), lease)
        assert not await store._database.append(batch_of([entry(DocumentId(99), 1)]), lease)


async def test_an_append_can_be_told_by_callback(sqlite_url: str) -> None:
    """A prompt append tells what the fast path says, and is not begun while another is under way."""
    async with SqlStore(sqlite_url) as store, written(store, 3) as (lease, document):

        async def told(place: int) -> object:
            answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            assert store.start_append([entry(document.id, place)], lease=lease, answer=answer.set_result)
            assert not store.start_append([entry(document.id, place)], lease=lease, answer=answer.set_result)
            return await answer

        assert await told(4) is True
        assert await told(9) is False
        await stop_after(store, 1)
        assert isinstance(await told(5), StorageUnavailable)
        await store.append([entry(document.id, 5)], lease=lease)
        assert (await store.load(document.id)).tail == tuple(entries(document.id, 1, 5))


async def test_a_hanging_prompt_append_is_given_up(sqlite_url: str) -> None:
    """A thread that hangs is told in time; the append ends by itself and can be asked for again."""
    async with SqlStore(sqlite_url, IMPATIENT) as store, written(store, 1) as (lease, document):
        with hanging(store):
            await asyncio.sleep(0)  # the thread is kept busy from then on
            answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            assert store.start_append([entry(document.id, 2)], lease=lease, answer=answer.set_result)
            assert isinstance(await answer, StorageUnavailable)

        await store.append([entry(document.id, 2)], lease=lease)
        assert (await store.load(document.id)).tail == tuple(entries(document.id, 1, 2))


# A lost answer


@pytest.mark.parametrize("name", ["append", "create", "delete", "replace_tail", "renew_lease"])
async def test_a_lost_answer_is_harmless(url: str, name: str) -> None:
    """A write that was done although it seemed to fail can be asked for again."""
    async with SqlStore(url) as store, written(store, 3) as (lease, document):
        await WRITES[name](store, document, lease)
        after = await everything(store, document.id)

        with suppress(DocumentExists):
            await WRITES[name](store, document, lease)

        assert await everything(store, document.id) == after


# A database that hangs, is full, or is not there


async def test_a_locked_file_is_unavailable(sqlite_url: str, tmp_path: Path) -> None:
    """While another program holds the write lock, writes fail in time and reads go on."""
    async with SqlStore(sqlite_url, IMPATIENT) as store, written(store, 1) as (lease, document):
        with locked(tmp_path / "quorate.db"):
            with pytest.raises(StorageUnavailable):
                await store.append([entry(document.id, 2)], lease=lease)
            with pytest.raises(StorageUnavailable):
                await store.delete(document.id, by=EDITOR, at=START, lease=lease)
            assert (await store.load(document.id)).tail == (entry(document.id, 1),)

        await store.append([entry(document.id, 2)], lease=lease)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield
    finally:
        other.close()


async def test_a_full_disk_is_unavailable_until_there_is_room(sqlite_url: str) -> None:
    """When the file cannot grow nothing is written; with room again the same append succeeds."""
    async with SqlStore(sqlite_url) as store, written(store, 1) as (lease, document):
        large = [entry(document.id, 2, b"x" * 1_000_000)]
        await (await sqlite_of(store)._connected()).driver.execute_fetchall("PRAGMA max_page_count=1")

        with pytest.raises(StorageUnavailable, match="full"):
            await store.append(large, lease=lease)
        assert (await store.load(document.id)).tail == (entry(document.id, 1),)

        # The writer connects again after a failure, which lifts the limit.
        await store.append(large, lease=lease)
        assert (await store.load(document.id)).document.last_sequence == 2


async def test_a_hanging_disk_is_unavailable(sqlite_url: str) -> None:
    """An operation that takes too long is given up, ends by itself, and is not done twice."""
    async with SqlStore(sqlite_url, IMPATIENT) as store, written(store, 1) as (lease, document):
        with hanging(store):
            with pytest.raises(StorageUnavailable, match="no answer"):
                await store.append([entry(document.id, 2)], lease=lease)
            with pytest.raises(StorageUnavailable, match="no answer"):
                await store.append([entry(document.id, 2)], lease=lease)

        await store.append([entry(document.id, 2)], lease=lease)
        assert (await store.load(document.id)).tail == tuple(entries(document.id, 1, 2))


@contextmanager
def hanging(store: SqlStore) -> Iterator[None]:
    """Keep the writer's thread busy."""
    release = threading.Event()
    writer = sqlite_of(store)._writer
    assert writer is not None
    task = asyncio.ensure_future(writer.run(lambda _: release.wait()))
    try:
        yield
    finally:
        release.set()
        assert task


async def test_a_cancelled_caller_leaves_no_half_write(url: str) -> None:
    """Cancelling a caller at any turn leaves a store that works, with the write done or not."""
    async with SqlStore(url) as store, written(store, 0) as (lease, document):
        last = 0
        for turns in range(12):
            task = asyncio.create_task(store.append([entry(document.id, last + 1)], lease=lease))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait((task,))
            await store.append([entry(document.id, last + 1)], lease=lease)
            last += 1

        assert (await store.load(document.id)).tail == tuple(entries(document.id, 1, last))


async def test_a_file_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    """A folder that does not exist is a database that cannot be reached."""
    with pytest.raises(StorageUnavailable, match="unable to open"):
        async with SqlStore(f"sqlite:///{tmp_path}/nowhere/quorate.db"):
            pass
    await driver_threads_end()


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    """A file of something else is refused, and is not overwritten."""
    path = tmp_path / "quorate.db"
    path.write_bytes(b"not a database" * 100)

    with pytest.raises(StorageUnavailable):
        async with SqlStore(f"sqlite:///{path}"):
            pass
    await driver_threads_end()

    assert path.read_bytes() == b"not a database" * 100


async def driver_threads_end() -> None:
    """Wait for the threads of failed connections: the driver does not, and they use the loop."""
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join)


async def test_commits_are_as_durable_as_the_database_can(url: str) -> None:
    """A commit is on disk when it returns, and what a power cut could undo is switched off."""
    kind = "SQLite" if url.startswith("sqlite") else "PostgreSQL"
    questions: dict[str, dict[str, object]] = {
        "SQLite": {"PRAGMA journal_mode": "wal", "PRAGMA synchronous": 2, "PRAGMA foreign_keys": 1},
        "PostgreSQL": {"SHOW synchronous_commit": "on"},
    }
    async with SqlStore(url) as store:
        for question, answer in questions[kind].items():
            found = await store._database.write(
                lambda connection, question=question: connection.scalar(text(question))  # type: ignore[misc]  # bound now
            )
            assert found == answer


async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    """A refused connection is a database that cannot be reached."""
    with pytest.raises(StorageUnavailable):
        async with SqlStore(f"postgresql://quorate@/none?host={tmp_path}", IMPATIENT):
            pass


@pytest.mark.parametrize("author", ["nul \0", "surrogate \ud800"])
async def test_a_value_that_does_not_fit_is_refused(postgres_url: str, author: str) -> None:
    """A text that PostgreSQL cannot hold is no failure of the database."""
    async with SqlStore(postgres_url) as store, written(store, 0) as (lease, document):
        with pytest.raises(ValueRefused) as caught:
            await store.append([entry(document.id, 1, author=UserId(author))], lease=lease)

        assert "nul" not in str(caught.value)
        assert "surrogate" not in str(caught.value)
        await store.append([entry(document.id, 1)], lease=lease)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://host/name"], ids=["none", "memory", "mysql"]
)
def test_a_url_without_a_store_is_refused(url: str) -> None:
    """A URL that names no database of ours is told at once."""
    with pytest.raises(ValueError, match="store"):
        SqlStore(url)


# PostgreSQL: terminated, restarted, locked, hung


@dataclass
class Remote:
    """A store on PostgreSQL, and the server beside it."""

    store: SqlStore
    lease: Lease
    document: Document
    server: PostgresServer
    database: str

    def psql(self, statement: str) -> str:
        return self.server.psql(statement, self.database)

    async def until_waiting(self) -> str:
        """Wait until a connection of the store waits for a lock, and return its process."""
        query = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        found = ""
        while not found:
            found = await asyncio.to_thread(self.psql, query)
        return found.splitlines()[0]


@asynccontextmanager
async def remote(server: PostgresServer, url: str, settings: SqlSettings | None = None) -> AsyncIterator[Remote]:
    async with SqlStore(url, settings) as store, written(store, 1) as (lease, document):
        database = url.partition("?")[0].rpartition("/")[2]
        yield Remote(store, lease, document, server, database)


@asynccontextmanager
async def row_held(it: Remote, statement: str) -> AsyncIterator[None]:
    """Hold what a statement locks, from a connection of another store."""
    url = it.store._database
    assert isinstance(url, PostgresDatabase)
    async with url._writing.connect() as connection:
        await connection.execute(text(statement))
        yield
        await connection.rollback()


LEASE_ROW = "SELECT token FROM leases FOR UPDATE"


async def test_a_terminated_backend_is_unavailable_once(postgres: PostgresServer, postgres_url: str) -> None:
    """A connection that the server ends in the middle of an append costs that append only."""
    async with remote(postgres, postgres_url) as it:
        async with row_held(it, LEASE_ROW):
            appending = asyncio.create_task(it.store.append([entry(it.document.id, 2)], lease=it.lease))
            process = await it.until_waiting()
            it.psql(f"SELECT pg_terminate_backend({process})")
            with pytest.raises(StorageUnavailable):
                await appending

        await it.store.append([entry(it.document.id, 2)], lease=it.lease)
        assert (await it.store.load(it.document.id)).document.last_sequence == 2


async def test_a_hanging_server_is_unavailable(postgres: PostgresServer, postgres_url: str) -> None:
    """A statement that waits too long is given up, and the store works when the lock is gone."""
    async with remote(postgres, postgres_url, IMPATIENT) as it:
        async with row_held(it, LEASE_ROW):
            with pytest.raises(StorageUnavailable):
                await it.store.append([entry(it.document.id, 2)], lease=it.lease)

        await it.store.append([entry(it.document.id, 2)], lease=it.lease)


async def test_a_restarted_server_is_found_again(postgres: PostgresServer, postgres_url: str) -> None:
    """After a restart the store recovers by itself, with all that was committed."""
    async with remote(postgres, postgres_url) as it:
        postgres.stop("immediate")
        try:
            with pytest.raises(StorageUnavailable):
                await it.store.append([entry(it.document.id, 2)], lease=it.lease)
        finally:
            postgres.start()

        await it.store.append([entry(it.document.id, 2)], lease=it.lease)
        stored = await it.store.load(it.document.id)
        assert stored.tail == tuple(entries(it.document.id, 1, 2))


async def test_a_take_over_in_progress_is_waited_for(postgres: PostgresServer, postgres_url: str) -> None:
    """An append that begins while the lease changes hands is refused when it has."""
    async with remote(postgres, postgres_url) as it:
        async with postgres_of(it.store)._writing.begin() as connection:
            await connection.execute(text("UPDATE leases SET token = 2, holder = 'two'"))
            appending = asyncio.create_task(it.store.append([entry(it.document.id, 2)], lease=it.lease))
            await it.until_waiting()

        with pytest.raises(LeaseLost):
            await appending
        assert (await it.store.load(it.document.id)).document.last_sequence == 1


async def test_a_deletion_in_progress_is_waited_for(postgres: PostgresServer, postgres_url: str) -> None:
    """An append that begins while its document is deleted is refused when it is."""
    async with remote(postgres, postgres_url) as it:
        async with postgres_of(it.store)._writing.begin() as connection:
            await connection.execute(text("UPDATE documents SET deleted_at = 1, deleted_by = 'x'"))
            appending = asyncio.create_task(it.store.append([entry(it.document.id, 2)], lease=it.lease))
            await it.until_waiting()

        with pytest.raises(DocumentMissing):
            await appending


async def test_a_commit_under_way_delays_a_take_over(postgres: PostgresServer, postgres_url: str) -> None:
    """A lease cannot change hands while a write under it is not yet durable."""
    async with remote(postgres, postgres_url) as it:
        async with postgres_of(it.store)._writing.begin() as connection:
            await connection.run_sync(check_lease, it.lease)
            taking = asyncio.create_task(it.store.acquire_lease("all", holder="two", seconds=5, at=START + 1000))
            await it.until_waiting()
            assert not taking.done()

        assert (await taking).token == 2


def sqlite_of(store: SqlStore) -> SqliteDatabase:
    database = store._database
    assert isinstance(database, SqliteDatabase)
    return database


def postgres_of(store: SqlStore) -> PostgresDatabase:
    database = store._database
    assert isinstance(database, PostgresDatabase)
    return database


async def test_a_file_that_another_process_cannot_read_is_named_unavailable(tmp_path: Path) -> None:
    async with SqlStore(f"sqlite:///{tmp_path / 'a.db'}") as store:
        read = store.log_reader()
        assert read is not None
    (tmp_path / "a.db").write_bytes(b"no database at all, but long enough to be looked at as one" * 100)
    with pytest.raises(StorageUnavailable, match="not a database"):
        await asyncio.to_thread(read, DocumentId(1))
    (tmp_path / "a.db").unlink()
    with pytest.raises(StorageUnavailable, match="unable to open"):
        await asyncio.to_thread(read, DocumentId(1))
    assert not (tmp_path / "a.db").exists()
