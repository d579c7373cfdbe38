"""SQLite: one file, one writer, several readers beside it.

Commits are durable when they return: write-ahead log with `synchronous=FULL`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, Connection, bindparam, insert, select
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import ClauseElement

from quorate_storage import log_rows
from quorate_storage.batches import Batch
from quorate_storage.bounded_calls import BoundedCall
from quorate_storage.catalogue_rows import last_sequence
from quorate_storage.databases import Database, SqlSettings, name_failure
from quorate_storage.sqlite_connections import SqliteConnection
from quorate_storage.sqlite_log import SqliteLog
from quorate_storage.stores import Lease, LogReader
from quorate_storage.tables import documents, leases, updates

Result = TypeVar("Result")

BROKEN = (DBAPIError, sqlite3.Error)
"""After one of these a connection is not used again: what failed may be the connection."""


def _compiled(statement: ClauseElement) -> str:
    return str(statement.compile(dialect=SQLiteDialect_pysqlite(paramstyle="qmark")))


TOKEN = _compiled(select(leases.c.token).where(leases.c.scope == bindparam("scope")))
END = _compiled(select(documents.c.deleted_at, last_sequence).where(documents.c.id == bindparam("id")))
APPEND = _compiled(insert(updates))
SNAPSHOT = _compiled(log_rows.SNAPSHOT)
TAIL = _compiled(log_rows.TAIL)
ENTRY = ("document_id", "sequence", "update", "author", "at")
APPEND_ONE = _compiled(
    insert(updates).from_select(
        ENTRY,
        select(*(bindparam(name, type_=updates.c[name].type) for name in ENTRY)).where(
            select(leases.c.token).where(leases.c.scope == bindparam("scope")).scalar_subquery() == bindparam("token"),
            select(last_sequence)
            .where(documents.c.id == bindparam("id"), documents.c.deleted_at.is_(None))
            .scalar_subquery()
            == bindparam("last"),
        ),
    )
)
"""One entry, if the lease is the newest and it continues its log: one statement is a transaction of its own."""


class SqliteDatabase(Database):
    """A SQLite file. All writes go through one connection, one after the other."""

    def __init__(self, url: URL, settings: SqlSettings) -> None:
        super().__init__(settings)
        self._url = url
        self._turn = asyncio.Lock()
        self._writer: SqliteConnection | None = None
        self._appending = BoundedCall(settings.operation_seconds)
        self._may_read = asyncio.Semaphore(settings.readers)
        self._idle: list[SqliteConnection] = []

    async def open(self, prepare: Callable[[Connection], None]) -> None:
        """Run `prepare` under the write lock of the file."""
        await self.write(prepare)

    async def close(self) -> None:
        """Disconnect; the last one to do so folds the write-ahead log into the file."""
        await super().close()
        self._appending.close()
        while self._idle:
            await self._idle.pop().close()
        if self._writer is not None:
            await self._drop(self._writer)

    def log_reader(self) -> LogReader | None:
        """See `Store.log_reader`."""
        [place], options = SQLiteDialect_pysqlite().create_connect_args(self._url)
        if not options.get("uri"):
            place = f"{Path(place).absolute().as_uri()}?mode=rw"  # whoever reads a log makes no new file
        return SqliteLog(place=place, options={**options, "uri": True}, snapshot=SNAPSHOT, tail=TAIL)

    def start_append(self, batch: Batch, lease: Lease, answer: Callable[[bool | Exception], None]) -> bool:
        """Begin an append on the writer's thread, unless somebody else has the turn; see `Database.start_append`.

        Whoever takes the turn meanwhile comes behind it: the thread does one thing after the other.
        """
        writer = self._writer
        if writer is None or self._turn.locked() or self._appending.is_waiting:
            return False
        end = self._appending.begin(partial(self._end_append, answer, writer))
        writer.start(end, _append_at_once, batch, lease)
        return True

    def _end_append(
        self, answer: Callable[[bool | Exception], None], writer: SqliteConnection, outcome: object
    ) -> None:
        if not isinstance(outcome, Exception) or isinstance(outcome, sqlite3.IntegrityError):
            answer(outcome is True)
            return
        if isinstance(outcome, BROKEN):
            dropping = asyncio.ensure_future(self._drop(writer))
            self._running.add(dropping)
            dropping.add_done_callback(self._forget)
        answer(name_failure(outcome))

    async def _read(self, work: Callable[[Connection], Result]) -> Result:
        async with self._may_read:
            reader = self._idle.pop() if self._idle else await self._connect("BEGIN")
            try:
                found = await reader.transact(work)
            except BROKEN:
                await reader.close()
                raise
            except BaseException:
                self._idle.append(reader)
                raise
            self._idle.append(reader)
            return found

    async def _write(self, work: Callable[[Connection], Result]) -> Result:
        async with self._turn:
            writer = await self._connected()
            try:
                return await writer.transact(work)
            except BROKEN:
                await self._drop(writer)
                raise

    async def _append(self, batch: Batch, lease: Lease) -> bool:
        async with self._turn:
            writer = await self._connected()
            try:
                return await writer.run(_append_at_once, batch, lease)
            except BROKEN:
                await self._drop(writer)
                raise

    async def _connected(self) -> SqliteConnection:
        if self._writer is None:
            self._writer = await self._connect("BEGIN IMMEDIATE")
        return self._writer

    async def _connect(self, begin: str) -> SqliteConnection:
        # Another process may hold the write lock; the driver waits for it in its own thread, and
        # must give up before the operation is given up.
        return await SqliteConnection.open(self._url, busy_seconds=self.settings.operation_seconds / 2, begin=begin)

    async def _drop(self, writer: SqliteConnection) -> None:
        """Disconnect the writer, once; what it was given before ends first."""
        if self._writer is writer:
            self._writer = None
            await writer.close()


def _append_at_once(connection: sqlite3.Connection, batch: Batch, lease: Lease) -> bool:
    """Append in one transaction; runs on the driver's thread."""
    if len(batch.entries) == 1:
        return _append_one(connection, batch, lease)
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


def _append_one(connection: sqlite3.Connection, batch: Batch, lease: Lease) -> bool:
    [entry], [head] = batch.entries, batch.heads
    values = (entry.document, entry.sequence, entry.update, entry.author, entry.at)
    return (
        connection.execute(APPEND_ONE, (*values, lease.scope, lease.token, 0, head.document, head.last)).rowcount == 1
    )


def _continues(connection: sqlite3.Connection, batch: Batch, lease: Lease) -> bool:
    if connection.execute(TOKEN, (lease.scope,)).fetchone() != (lease.token,):
        return False
    return all(connection.execute(END, (0, head.document)).fetchone() == (None, head.last) for head in batch.heads)
