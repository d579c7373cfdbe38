"""`quorate documents ...` and `quorate check`: work on a database without a running server.

Reading works beside a running server. Writing needs the right to write, which a running server holds: then
the command says so and changes nothing; use the HTTP interface instead.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, TypeVar

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from quorate_protocol.ids import DocumentName, Sequence, UserId
from quorate_protocol.names import parse_document_name
from quorate_server.documents import LiveDocument
from quorate_server.errors import Conflict, DocumentNotFound, EngineError, MalformedUpdate
from quorate_server.folding import fold, load, pieces, verify
from quorate_server.kinds import find_kind, kind_of, view
from quorate_server.plain_views import render_json
from quorate_server.settings import Settings
from quorate_storage.errors import LeaseHeld
from quorate_storage.leases import LeaseKeeper, LeaseSettings
from quorate_storage.sql import SqlStore
from quorate_storage.stores import Document, Lease, LogEntry

OPERATOR = UserId("operator")
"""The author of what the command line writes."""

PAGE = 500
T = TypeVar("T")


def database_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which database is meant."""
    data = click.option("--data", default="./data", envvar="QUORATE_DATA", show_default=True, help="Data folder.")
    database = click.option("--database", default="", envvar="QUORATE_DATABASE", help="Database URL, if not in --data.")
    return data(database(command))


@click.group("documents")
def documents_group() -> None:
    """List, show, export, import and delete documents of a database."""


@documents_group.command("list")
@database_options
@click.option("--prefix", default="", help="Only names that begin so.")
@click.option("--deleted", is_flag=True, help="Deleted ones too.")
def list_command(*, prefix: str, deleted: bool, **where: str) -> None:
    """List documents by name."""

    async def work(store: SqlStore) -> None:
        table = Table("name", "kind", "updates", "created by", "created")
        if deleted:
            table.add_column("deleted")
        async for document in all_documents(store, prefix=prefix, include_deleted=deleted):
            row = [
                document.name,
                kind_of(document.name),
                str(document.last_sequence),
                document.created_by,
                _when(document.created_at),
            ]
            table.add_row(*row, *([_when(document.deleted_at)] if deleted else []))
        Console().print(table if table.row_count else "No documents.")

    _on_store(work, **where)


@documents_group.command("show")
@database_options
@click.argument("name")
def show_command(name: str, **where: str) -> None:
    """Print a document as JSON: what it is, and its content."""

    async def work(store: SqlStore) -> None:
        document, live = await _rebuilt(store, name)
        kind = find_kind(document.name)
        shown = {
            "name": document.name,
            "kind": kind_of(document.name),
            "epoch": document.epoch,
            "last_sequence": document.last_sequence,
            "deleted": document.deleted_at is not None,
            "waiting_updates": len(live.waiting),
            "content": render_json(live.encode()) if kind is None else view(kind, live.encode()),
        }
        click.echo(json.dumps(shown, indent=2, ensure_ascii=False, default=str))

    _on_store(work, **where)


@documents_group.command("export")
@database_options
@click.argument("name")
@click.argument("file", type=click.File("wb"), default="-")
def export_command(name: str, file: BinaryIO, **where: str) -> None:
    """Write a document's whole state to FILE as one Yjs v1 update."""

    async def work(store: SqlStore) -> None:
        _, live = await _rebuilt(store, name)
        file.write(live.encode())

    _on_store(work, **where)


@documents_group.command("import")
@database_options
@click.argument("name")
@click.argument("file", type=click.File("rb"))
def import_command(name: str, file: BinaryIO, **where: str) -> None:
    """Merge the Yjs v1 update in FILE into a document, which is created if there is none.

    Importing the same state again changes nothing.
    """
    update = file.read()

    async def work(store: SqlStore) -> None:
        wanted = parse_document_name(name)
        applied = LiveDocument().apply((update,))
        if applied.malformed or applied.parked:
            raise MalformedUpdate("FILE must hold a complete Yjs v1 state, such as `export` writes")
        async with _lease(store) as lease:
            await _import(store, wanted, update, lease)
        click.echo(f"Imported {len(update)} bytes into {wanted}.")

    _on_store(work, **where)


@documents_group.command("delete")
@database_options
@click.argument("name")
@click.confirmation_option(prompt="Delete it? It can be restored through the HTTP interface.")
def delete_command(name: str, **where: str) -> None:
    """Delete a document: its name stays taken, and no client can bring it back."""

    async def work(store: SqlStore) -> None:
        document = await _found(store, name)
        async with _lease(store) as lease:
            await store.delete(document.id, by=OPERATOR, at=time.time(), lease=lease)
        click.echo(f"Deleted {document.name}.")

    _on_store(work, **where)


@click.command("check")
@database_options
def check_command(**where: str) -> None:
    """Rebuild every document from its log and say what is wrong.

    For each document: its log has no gap, snapshot and log rebuild it, and the state that comes out rebuilds
    the same document again. Ends with code 1 if anything is wrong. Changes nothing.
    """

    async def work(store: SqlStore) -> int:
        documents = [d async for d in all_documents(store, include_deleted=True)]
        faults: list[str] = []
        shown = track(documents, "Checking", console=Console(stderr=True), transient=True)
        for document in shown:
            faults += [f"{document.name}: {fault}" for fault in await _faults(store, document)]
        for fault in faults:
            click.echo(fault)
        click.echo(f"{len(documents)} documents checked, {len(faults)} faults.")
        return len(faults)

    if _on_store(work, **where):
        sys.exit(1)


async def all_documents(store: SqlStore, *, prefix: str = "", include_deleted: bool = False) -> AsyncIterator[Document]:
    """Yield documents by name, however many there are."""
    after = ""
    while True:
        page = await store.list_documents(prefix=prefix, after=after, limit=PAGE, include_deleted=include_deleted)
        for document in page:
            yield document
        if len(page) < PAGE:
            return
        after = page[-1].name


async def _faults(store: SqlStore, document: Document) -> list[str]:
    stored = await store.load(document.id)
    faults: list[str] = []
    expected = (stored.snapshot.through if stored.snapshot else 0) + 1
    for entry in stored.tail:
        if entry.sequence != expected:
            faults.append(f"log: expected update {expected}, found {entry.sequence}")
            expected = entry.sequence
        expected += 1
    if expected - 1 != stored.document.last_sequence:
        faults.append(f"log: ends at {expected - 1}, expected {stored.document.last_sequence}")
    try:
        updates = list(pieces(stored))
        folded = fold(updates)
    except EngineError as error:
        return [*faults, f"cannot be rebuilt: {error}"]
    if not verify(updates, folded):
        faults.append("the rebuilt state does not rebuild the same document")
    if folded.waiting:
        faults.append(f"{len(folded.waiting)} updates wait for edits that never came")
    return faults


async def _import(store: SqlStore, name: DocumentName, update: bytes, lease: Lease) -> None:
    document = await store.find(name)
    now = time.time()
    if document is None:
        kind = kind_of(name)
        await store.create(name, kind=kind, by=OPERATOR, at=now, lease=lease, seed=update)
        return
    if document.deleted_at is not None:
        raise Conflict(f"{name!r} is deleted; restore it first")
    place = Sequence(document.last_sequence + 1)
    entry = LogEntry(document=document.id, sequence=place, update=update, author=OPERATOR, at=now)
    await store.append([entry], lease=lease)


async def _found(store: SqlStore, name: str) -> Document:
    document = await store.find(parse_document_name(name))
    if document is None:
        raise DocumentNotFound(f"there is no document {name!r}")
    return document


async def _rebuilt(store: SqlStore, name: str) -> tuple[Document, LiveDocument]:
    document = await _found(store, name)
    return document, load(await store.load(document.id))


@asynccontextmanager
async def _lease(store: SqlStore) -> AsyncGenerator[Lease]:
    settings = LeaseSettings(patience_seconds=0.0)
    try:
        async with LeaseKeeper(store, settings=settings) as keeper:
            yield keeper.current()
    except LeaseHeld as error:
        raise Conflict(
            "a running server holds the right to write this database: stop it, or use its HTTP interface"
        ) from error


def _on_store(work: Callable[[SqlStore], Awaitable[T]], *, data: str, database: str) -> T:
    settings = Settings(data=data, database=database)
    if not database and not (Path(data) / "quorate.db").exists():
        raise DocumentNotFound(f"there is no database in {data!r}: give --data or --database")

    async def opened() -> T:
        async with SqlStore(settings.database_url) as store:
            return await work(store)

    return asyncio.run(opened())


def _when(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
