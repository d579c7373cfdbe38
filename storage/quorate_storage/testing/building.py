"""Values for tests, each with defaults for what a test is not about."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from quorate_protocol.ids import DocumentId, DocumentName, Sequence, UserId
from quorate_storage.acts import SetAside
from quorate_storage.stores import Document, Lease, LogEntry, Snapshot, Store, Version

EDITOR = UserId("editor-1")
START = 1_750_000_000.123456
"""A time that only a double keeps exactly."""

LIFE_SECONDS = 10.0


async def new_lease(store: Store, *, scope: str = "all", holder: str = "one") -> Lease:
    """Take a lease that runs for `LIFE_SECONDS` from `START`."""
    return await store.acquire_lease(scope, holder=holder, seconds=LIFE_SECONDS, at=START)


async def new_document(store: Store, lease: Lease, name: str = "text/one", *, seed: bytes = b"") -> Document:
    """Create a document."""
    return await store.create(DocumentName(name), kind="text", by=EDITOR, at=START, lease=lease, seed=seed)


def entry(document: DocumentId, sequence: int, update: bytes | None = None, *, author: UserId = EDITOR) -> LogEntry:
    """Return a log entry; its bytes tell its place unless they are given."""
    return LogEntry(
        document=document,
        sequence=Sequence(sequence),
        update=b"update %d" % sequence if update is None else update,
        author=author,
        at=START + sequence,
    )


def entries(document: DocumentId, first: int, last: int) -> list[LogEntry]:
    """Return the log entries from `first` to `last`."""
    return [entry(document, sequence) for sequence in range(first, last + 1)]


def snapshot(
    document: DocumentId, through: int, *, state: bytes = b"state", waiting: tuple[bytes, ...] = ()
) -> Snapshot:
    """Return a snapshot."""
    return Snapshot(document=document, through=Sequence(through), state=state, waiting=waiting, at=START)


def version(document: DocumentId, *, name: str = "first", state: bytes = b"whole") -> Version:
    """Return a version that has no number yet."""
    return Version(
        document=document,
        number=0,
        name=name,
        state=state,
        through=Sequence(0),
        created_at=START,
        created_by=EDITOR,
    )


def aside(document: DocumentId, *, cause: str = "refused", update: bytes = b"no") -> SetAside:
    """Return an update to set aside."""
    return SetAside(document=document, cause=cause, update=update, author=EDITOR, reason="a rule", at=START)


@asynccontextmanager
async def written(store: Store, last: int) -> AsyncGenerator[tuple[Lease, Document]]:
    """Give a document whose log goes from 1 to `last`, and the lease to write more."""
    lease = await new_lease(store)
    document = await new_document(store, lease)
    await store.append(entries(document.id, 1, last), lease=lease)
    yield lease, document
