"""`SqliteLog`: the log of a SQLite file, read by another process than the one that writes it.

A thread of the server would read a long log row by row, and take the interpreter from the event loop at each. This
is without SQLAlchemy, which a process that only reads this would load for nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from quorate_protocol.ids import DocumentId, Sequence
from quorate_storage.errors import StorageUnavailable
from quorate_storage.packing import unpack
from quorate_storage.stores import LogEntry, Snapshot, StoredLog


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteLog:
    """Can be pickled. `place` and `options` are those of `sqlite3.connect`.

    `snapshot` selects the row of `snapshots` of a document, `tail` those of `updates` beyond a place, oldest first.
    """

    place: str
    options: Mapping[str, Any]
    snapshot: str
    tail: str

    def __call__(self, document: DocumentId) -> StoredLog:
        """Read what a document is rebuilt from, as of one moment.

        Raises:
            StorageUnavailable: the file cannot be read.
        """
        try:
            with closing(sqlite3.connect(self.place, isolation_level=None, **self.options)) as connection:
                connection.execute("PRAGMA query_only=ON")
                connection.execute("BEGIN")
                return self._read(connection, document)
        except sqlite3.Error as error:
            raise StorageUnavailable(f"{type(error).__name__}: {error}") from error

    def _read(self, connection: sqlite3.Connection, document: DocumentId) -> StoredLog:
        row = connection.execute(self.snapshot, (document,)).fetchone()
        snapshot = None
        if row is not None:
            _, through, state, waiting, at = row
            snapshot = Snapshot(
                document=document, through=Sequence(through), state=state, waiting=unpack(waiting), at=at
            )
        after = 0 if snapshot is None else snapshot.through
        tail = map(LogEntry._make, connection.execute(self.tail, (document, after)))
        return StoredLog(snapshot=snapshot, tail=tuple(tail))
