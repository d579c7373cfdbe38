"""SQLite: one file, one writer, several readers beside it.

Commits are durable when they return: write-ahead log with `synchronous=FULL`.

aiosqlite runs every call to the driver on the connection's own thread, and each way there and back
costs the event loop more than most statements do. So an append goes there once, as one function.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, bindparam, event, insert, select
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql import ClauseElement

from quorate_storage.batches import Batch
from quorate_storage.catalogue_rows import last_sequence
from quorate_storage.databases import Database, SqlSettings
from quorate_storage.stores import Lease
from quorate_storage.tables import documents, leases, updates

Result = TypeVar("Result")


def _compiled(statement: ClauseElement) -> str:
    return str(statement.compile(dialect=SQLiteDialect_aiosqlite(paramstyle="qmark")))


TOKEN = _compiled(select(leases.c.token).where(leases.c.scope == bindparam("scope")))
END = _compiled(select(documents.c.deleted_at, last_sequence).where(documents.c.id == bindparam("id")))
APPEND = _compiled(insert(updates))


class SqliteDatabase(Database):
    """A SQLite file. All writes go through one connection, one after the other."""

    def __init__(self, url: URL, settings: SqlSettings) -> None:
        super().__init__(settings)
        # Another process may hold the write lock; the driver waits for it in its own thread, and
        # must give up before the operation is given up.
        busy_seconds = settings.operation_seconds / 2
        self._writing = _engine(url, busy_seconds, connections=1, begin="BEGIN IMMEDIATE")
        self._readers = _engine(url, busy_seconds, connections=settings.readers, begin="BEGIN")
        self._turn = asyncio.Lock()
        self._writer: AsyncConnection | None = None
        self._driver: Any = None

    @property
    def _reading(self) -> AsyncEngine:
        return self._readers

    async def open(self, prepare: Callable[[Connection], None]) -> None:
        """Run `prepare` under the write lock of the file."""
        await self.write(prepare)

    async def close(self) -> None:
        """Disconnect; the last one to do so folds the write-ahead log into the file."""
        await super().close()
        await self._drop_writer()
        await self._writing.dispose()

    async def _write(self, work: Callable[[Connection], Result]) -> Result:
        async with self._turn:
            writer = self._writer or await self._connect()
            try:
                async with writer.begin():
                    return await writer.run_sync(work)
            except DBAPIError:
                await self._drop_writer()
                raise

    async def _append(self, batch: Batch, lease: Lease) -> bool:
        async with self._turn:
            driver = await self._connected()
            # aiosqlite has no public way to run a function on its thread; its own methods use this
            # one.
            run, connection = driver._execute, driver._conn  # noqa: SLF001
            try:
                return bool(await run(_append_at_once, connection, batch, lease))
            except sqlite3.Error:
                await self._drop_writer()
                raise

    async def _connected(self) -> Any:
        if self._driver is None:
            await self._connect()
        return self._driver

    async def _connect(self) -> AsyncConnection:
        writer = await self._writing.connect()
        raw = await writer.get_raw_connection()
        self._writer, self._driver = writer, raw.driver_connection
        return writer

    async def _drop_writer(self) -> None:
        writer, self._writer, self._driver = self._writer, None, None
        if writer is not None:
            # Not back into the pool: what failed may be the connection.
            await writer.invalidate()
            await writer.close()


def _append_at_once(connection: sqlite3.Connection, batch: Batch, lease: Lease) -> bool:
    """Append in one transaction; runs on the driver's thread."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        is_next = _continues(connection, batch, lease)
        if is_next:
            connection.executemany(
                APPEND,
                [(e.document, e.sequence, e.update, e.author, e.at) for e in batch.entries],
            )
        connection.execute("COMMIT" if is_next else "ROLLBACK")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return is_next


def _continues(connection: sqlite3.Connection, batch: Batch, lease: Lease) -> bool:
    if connection.execute(TOKEN, (lease.scope,)).fetchone() != (lease.token,):
        return False
    return all(connection.execute(END, (0, head.document)).fetchone() == (None, head.last) for head in batch.heads)


def _engine(url: URL, busy_seconds: float, *, connections: int, begin: str) -> AsyncEngine:
    engine = create_async_engine(
        url,
        hide_parameters=True,  # errors are logged, and what people write is not
        pool_size=connections,
        max_overflow=0,
        # Without this the driver opens transactions by itself, late and never as IMMEDIATE.
        connect_args={"isolation_level": None, "timeout": busy_seconds},
    )

    def prepare(connection: DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", start)
    return engine
