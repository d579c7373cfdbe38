"""A process that appends to a database without end, and prints what it was told is durable.

    python -m tests.storage.writer URL

Each line is `document sequence`, written after the journal called back; at last `lost` when the
lease is.
"""

from __future__ import annotations

import asyncio
import os
import sys

from quorate_protocol.ids import DocumentId, DocumentName, Sequence
from quorate_storage.errors import DocumentExists, LeaseLost
from quorate_storage.journal import Journal, JournalSettings
from quorate_storage.leases import LeaseKeeper
from quorate_storage.sql import SqlStore
from quorate_storage.stores import Document, Lease, LogEntry
from quorate_storage.testing.building import EDITOR, START

DOCUMENTS = 5


def update(document: DocumentId, sequence: int) -> bytes:
    """Return the bytes that belong at a place of a log."""
    return b"%d of %d" % (sequence, document)


class Writer:
    """Keeps one append of each document under way."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.lost = asyncio.Event()

    def write(self, document: DocumentId, sequence: int) -> None:
        def done(error: BaseException | None) -> None:
            if isinstance(error, LeaseLost):
                self.lost.set()
                return
            assert error is None, error
            os.write(1, b"%d %d\n" % (document, sequence))
            self.write(document, sequence + 1)

        one = LogEntry(
            document=document,
            sequence=Sequence(sequence),
            update=update(document, sequence),
            author=EDITOR,
            at=START,
        )
        self._journal.append([one], done)


async def find_or_create(store: SqlStore, name: str, lease: Lease) -> Document:
    try:
        return await store.create(DocumentName(name), kind="text", by=EDITOR, at=START, lease=lease)
    except DocumentExists as error:
        return error.document


async def main(url: str) -> None:
    settings = JournalSettings(window_seconds=0)
    async with SqlStore(url) as store, LeaseKeeper(store) as keeper:
        lease = keeper.current()
        documents = [await find_or_create(store, f"d/{n}", lease) for n in range(DOCUMENTS)]
        async with Journal(store, keeper.current, settings=settings) as journal:
            writer = Writer(journal)
            for document in documents:
                writer.write(document.id, document.last_sequence + 1)
            await writer.lost.wait()
    os.write(1, b"lost\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
