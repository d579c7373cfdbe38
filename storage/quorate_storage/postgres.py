"""PostgreSQL: many connections, row locks where SQLite has its one writer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    BigInteger,
    BindParameter,
    Connection,
    Double,
    Insert,
    LargeBinary,
    Text,
    bindparam,
    exists,
    func,
    insert,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.types import TypeEngine

from quorate_storage.batches import Batch
from quorate_storage.catalogue_rows import last_sequence
from quorate_storage.databases import Database, SqlSettings
from quorate_storage.stores import Lease
from quorate_storage.tables import documents, leases, updates

Result = TypeVar("Result")

MIGRATION_LOCK = 0x51_55_4F_52_41_54_45
"""The key of the advisory lock that a migrating process holds: "QUORATE"."""


class PostgresDatabase(Database):
    """A PostgreSQL database. Row locks keep writers apart: on the lease, then on the document."""

    def __init__(self, url: URL, settings: SqlSettings) -> None:
        super().__init__(settings)
        seconds = settings.operation_seconds
        self._writing = create_async_engine(
            url,
            hide_parameters=True,  # errors are logged, and what people write is not
            pool_size=settings.readers + 1,
            max_overflow=0,
            pool_timeout=seconds,
            connect_args={
                "timeout": seconds,
                "command_timeout": seconds,
                "server_settings": {
                    "statement_timeout": str(int(seconds * 1000)),
                    "synchronous_commit": "on",
                },
            },
        )
        self._readers = self._writing.execution_options(isolation_level="REPEATABLE READ")
        self._appending = self._writing.execution_options(isolation_level="AUTOCOMMIT")

    async def open(self, prepare: Callable[[Connection], None]) -> None:
        """Run `prepare` under an advisory lock, which is there before any table is."""

        def prepare_alone(connection: Connection) -> None:
            connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            prepare(connection)

        await self.write(prepare_alone)

    async def close(self) -> None:
        """Disconnect."""
        await super().close()
        await self._writing.dispose()

    async def _read(self, work: Callable[[Connection], Result]) -> Result:
        return await _transact(self._readers, work)

    async def _write(self, work: Callable[[Connection], Result]) -> Result:
        return await _transact(self._writing, work)

    async def _append(self, batch: Batch, lease: Lease) -> bool:
        entries, heads = batch.entries, batch.heads
        parameters = {
            "scope": lease.scope,
            "token": lease.token,
            "heads": [head.document for head in heads],
            "lasts": [head.last for head in heads],
            "documents": [entry.document for entry in entries],
            "sequences": [entry.sequence for entry in entries],
            "updates": [entry.update for entry in entries],
            "authors": [entry.author for entry in entries],
            "times": [entry.at for entry in entries],
        }
        async with self._appending.connect() as connection:
            result = await connection.execute(APPEND, parameters)
            return result.rowcount == len(entries)


async def _transact(engine: AsyncEngine, work: Callable[[Connection], Result]) -> Result:
    async with engine.begin() as connection:
        return await connection.run_sync(work)


def _array(name: str, kind: type[TypeEngine[Any]]) -> BindParameter[Any]:
    return bindparam(name, type_=ARRAY(kind))


def _append_statement() -> Insert:
    """Build the one statement of an append: a transaction of its own, all entries or none.

    It holds a shared lock on the lease and on each document until it is durable. A take-over or a
    deletion that is under way is waited for, and what is then found counts: the locking reads look
    at the rows again once they have them.
    """
    lease = (
        select(leases.c.token)
        .where(leases.c.scope == bindparam("scope"), leases.c.token == bindparam("token"))
        .with_for_update(read=True)
        .cte("lease")
    )
    heads = (
        func.unnest(_array("heads", BigInteger), _array("lasts", BigInteger))
        .table_valued("id", "last", name="heads")
        .render_derived()
    )
    continued = (
        select(documents.c.id)
        .join(heads, heads.c.id == documents.c.id)
        .where(documents.c.deleted_at.is_(None), last_sequence == heads.c.last)
        .with_for_update(read=True, of=documents)
        .cte("continued")
    )
    rows = (
        func.unnest(
            _array("documents", BigInteger),
            _array("sequences", BigInteger),
            _array("updates", LargeBinary),
            _array("authors", Text),
            _array("times", Double),
        )
        .table_valued("document_id", "sequence", "update", "author", "at", name="entries")
        .render_derived()
    )
    wanted = func.cardinality(_array("heads", BigInteger))
    everything = select(rows).where(
        exists(lease.select()),
        select(func.count()).select_from(continued).scalar_subquery() == wanted,
    )
    return insert(updates).from_select(updates.c.keys(), everything)


APPEND = _append_statement()
