"""`SqlStore`: the store on SQLite or PostgreSQL, chosen by the URL.

What a transaction does is in the `..._rows` modules, the same for both databases. How a transaction
is run, and the fast path of an append, is in `sqlite` and `postgres`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self

from sqlalchemy import URL, Connection, make_url

from quorate_protocol.ids import DocumentId, DocumentName, Sequence, UserId
from quorate_storage import (
    catalogue_rows,
    lease_rows,
    log_rows,
    migrations,
    revocation_rows,
    version_rows,
)
from quorate_storage.act_rows import write_acts
from quorate_storage.act_stores import Attribution
from quorate_storage.acts import Act, SetAside
from quorate_storage.batches import batch_of
from quorate_storage.creation_rows import NewDocument, create_documents
from quorate_storage.databases import Database, SqlSettings
from quorate_storage.grouped import Grouped
from quorate_storage.sql_acts import SqlActs, with_act
from quorate_storage.sqlite import SqliteDatabase
from quorate_storage.stores import (
    Document,
    Lease,
    LogEntry,
    LogReader,
    LogSize,
    Revocation,
    Snapshot,
    Store,
    StoredState,
    Version,
)


class SqlStore(SqlActs, Store):
    """A store on the database of a URL: `sqlite:///{file}` or `postgresql://...`.

    The driver (aiosqlite, asyncpg) may be named in the URL and need not be.
    """

    def __init__(self, url: str | URL, settings: SqlSettings | None = None) -> None:
        self._database = _database_of(make_url(url), settings or SqlSettings())
        self._creating = Grouped(self._database.write, create_documents)
        self._finding = Grouped(self._database.read, catalogue_rows.find_documents)

    async def __aenter__(self) -> Self:
        """Connect and bring the schema up to date."""
        try:
            await self._database.open(migrations.upgrade)
        except BaseException:
            await self._database.close()
            raise
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect."""
        await self._database.close()

    # The catalogue

    async def create(
        self,
        name: DocumentName,
        *,
        kind: str,
        by: UserId,
        at: float,
        lease: Lease,
        seed: bytes = b"",
        act: Act | None = None,
    ) -> Document:
        """See `Store.create`."""
        new = NewDocument(name=name, kind=kind, by=by, at=at, lease=lease, seed=seed, act=act)
        return await self._creating.ask(new)

    async def find(self, name: DocumentName) -> Document | None:
        """See `Store.find`."""
        return await self._finding.ask(name)

    async def list_documents(
        self,
        *,
        prefix: str = "",
        after: str = "",
        limit: int = 100,
        include_deleted: bool = False,
    ) -> SequenceOf[Document]:
        """See `Store.list_documents`."""
        page = catalogue_rows.Page(prefix=prefix, after=after, limit=limit, include_deleted=include_deleted)
        return await self._database.read(partial(catalogue_rows.list_documents, page=page))

    async def delete(
        self, document: DocumentId, *, by: UserId, at: float, lease: Lease, act: Act | None = None
    ) -> Document:
        """See `Store.delete`."""
        work = partial(catalogue_rows.delete_document, document=document, by=by, at=at, lease=lease)
        return await self._database.write(with_act(work, act, at))

    async def restore(self, document: DocumentId, *, at: float, lease: Lease, act: Act | None = None) -> Document:
        """See `Store.restore`. The time is not kept: a living document has none of its own."""
        work = partial(catalogue_rows.restore_document, document=document, lease=lease)
        return await self._database.write(with_act(work, act, at))

    # The log

    async def append(self, entries: SequenceOf[LogEntry], *, lease: Lease, acts: SequenceOf[Act] = ()) -> None:
        """See `Store.append`."""
        batch = batch_of(entries)
        if not acts and await self._database.append(batch, lease):
            return

        def append(connection: Connection) -> None:
            log_rows.append_with_care(connection, batch, lease)
            write_acts(connection, acts, time.time())

        await self._database.write(append)

    def start_append(
        self, entries: SequenceOf[LogEntry], *, lease: Lease, answer: Callable[[bool | Exception], None]
    ) -> bool:
        """See `PromptStore.start_append`."""
        return self._database.start_append(batch_of(entries), lease, answer)

    async def load(self, document: DocumentId) -> StoredState:
        """See `Store.load`."""
        return await self._database.read(partial(log_rows.load, document=document))

    def log_reader(self) -> LogReader | None:
        """See `Store.log_reader`."""
        return self._database.log_reader()

    async def read_log(self, document: DocumentId, *, after: Sequence, limit: int = 1000) -> SequenceOf[LogEntry]:
        """See `Store.read_log`."""
        return await self._database.read(partial(log_rows.read_log, document=document, after=after, limit=limit))

    async def log_size(self, document: DocumentId) -> LogSize:
        """See `Store.log_size`."""
        return await self._database.read(partial(log_rows.log_size, document=document))

    async def replace_tail(
        self, snapshot: Snapshot, *, lease: Lease, attributions: SequenceOf[Attribution] = ()
    ) -> int:
        """See `Store.replace_tail`."""
        work = partial(log_rows.replace_tail, snapshot=snapshot, lease=lease, kept=attributions)
        return await self._database.write(work)

    # Versions

    async def save_version(self, version: Version, *, lease: Lease) -> Version:
        """See `Store.save_version`."""
        # A full state can be large, and compressing it releases the interpreter: off the event
        # loop.
        packed = await asyncio.to_thread(version_rows.pack_state, version.state)
        number = await self._database.write(
            partial(version_rows.save_version, version=version, packed=packed, lease=lease)
        )
        return replace(version, number=number)

    async def list_versions(self, document: DocumentId) -> SequenceOf[Version]:
        """See `Store.list_versions`."""
        return await self._database.read(partial(version_rows.list_versions, document=document))

    async def read_version(self, document: DocumentId, number: int) -> Version | None:
        """See `Store.read_version`."""
        packed = await self._database.read(partial(version_rows.read_version, document=document, number=number))
        if packed is None:
            return None
        state = await asyncio.to_thread(version_rows.unpack_state, packed.state)
        return replace(packed, state=state)

    # What is not in the log

    async def set_aside(self, item: SetAside) -> int:
        """See `Store.set_aside`."""
        return await self._database.write(partial(version_rows.set_aside, item=item))

    async def list_set_aside(self, document: DocumentId) -> SequenceOf[SetAside]:
        """See `Store.list_set_aside`."""
        return await self._database.read(partial(version_rows.list_set_aside, document=document))

    # Revocations

    async def revoke(self, revocation: Revocation, *, act: Act | None = None) -> None:
        """See `Store.revoke`."""
        work = partial(revocation_rows.revoke, revocation=revocation)
        await self._database.write(with_act(work, act, revocation.at))

    async def list_revocations(self) -> SequenceOf[Revocation]:
        """See `Store.list_revocations`."""
        return await self._database.read(revocation_rows.list_revocations)

    # Leases

    async def acquire_lease(self, scope: str, *, holder: str, seconds: float, at: float) -> Lease:
        """See `Store.acquire_lease`."""
        wanted = Lease(scope=scope, holder=holder, token=0, expires_at=at + seconds)
        return await self._database.write(partial(lease_rows.acquire_lease, wanted=wanted, at=at))

    async def renew_lease(self, lease: Lease, *, seconds: float, at: float) -> Lease:
        """See `Store.renew_lease`."""
        return await self._database.write(partial(lease_rows.renew_lease, lease=lease, expires_at=at + seconds))

    async def release_lease(self, lease: Lease) -> None:
        """See `Store.release_lease`."""
        await self._database.write(partial(lease_rows.release_lease, lease=lease))


def _database_of(url: URL, settings: SqlSettings) -> Database:
    backend = url.get_backend_name()
    if backend == "sqlite":
        if url.database in {None, "", ":memory:"}:
            raise ValueError("a SQLite store needs a file; MemoryStore keeps nothing on disk")
        return SqliteDatabase(url.set(drivername="sqlite+aiosqlite"), settings)
    if backend in {"postgresql", "postgres"}:
        # Only here: who is on SQLite does without SQLAlchemy's asynchronous engine and its object mapper.
        from quorate_storage.postgres import PostgresDatabase  # noqa: PLC0415

        return PostgresDatabase(url.set(drivername="postgresql+asyncpg"), settings)
    raise ValueError(f"no store for {backend!r}: use sqlite:///file or postgresql://host/name")
