"""`Announcer`: tells the change feed that documents changed, now and then instead of once a keystroke.

An edit becomes durable with its entry in the log; that the document changed is told a moment later, as one change
for all edits since; while somebody goes on writing, once a second. What was not told when the process died is found
by comparing the log with what was told, so no edit goes untold. Changes of one document are told in order: they are
handed to the same journal as the edits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from quorate_protocol.ids import DocumentId, DocumentName, UserId
from quorate_protocol.ids import Sequence as LogPlace
from quorate_server.kinds import is_record
from quorate_server.ledger import Ledger
from quorate_server.users import SERVER
from quorate_storage.act_stores import ActStore
from quorate_storage.acts import Announced, Change, Row
from quorate_storage.stores import Document, LogEntry

log = logging.getLogger("quorate.server")

ANNOUNCE_SECONDS = 0.25
"""How long the first edits of a document gather into one change."""

GOING_ON_SECONDS = 1.0
"""How long they gather while it goes on: by profile, telling of one busy document four times a second, and
hearing of it, was a quarter of all that its edits cost.
"""


@dataclass(slots=True)
class _Untold:
    """The updates of a document that the feed has not told of."""

    name: DocumentName
    first: LogPlace
    last: LogPlace
    authors: dict[UserId, None] = field(default_factory=dict[UserId, None])
    roots: frozenset[str] | None = frozenset()


class Announcer:
    """Gathers what was written and tells of it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._untold: dict[DocumentId, _Untold] = {}
        self._some = asyncio.Event()
        self._told: dict[DocumentId, float] = {}
        """When a document was told of last, if that is less than a moment ago."""

    def note(self, document: Document, entries: Sequence[LogEntry], roots: frozenset[str] | None) -> None:
        """Note updates that were just handed to the journal; they are told of soon.

        `roots` are the roots that they touch, `None` when these are not known.
        """
        untold = self._untold.get(document.id)
        if untold is None:
            untold = _Untold(document.name, entries[0].sequence, entries[-1].sequence)
            self._untold[document.id] = untold
            self._some.set()
        untold.last = entries[-1].sequence
        untold.roots = None if roots is None or untold.roots is None else untold.roots | roots
        for entry in entries:
            untold.authors[entry.author] = None

    def tell_of(self, document: DocumentId) -> list[Row]:
        """Return the rows that tell of a document's updates noted so far: none when all are told of."""
        untold = self._untold.pop(document, None)
        return [] if untold is None else _rows(document, untold)

    def flush(self) -> None:
        """Tell of everything now."""
        self._tell(tuple(self._untold))

    def _tell_what_is_due(self) -> None:
        now = time.monotonic()
        self._told = {document: at for document, at in self._told.items() if now - at < GOING_ON_SECONDS}
        due = [document for document in self._untold if document not in self._told]
        self._tell(due)
        self._told |= dict.fromkeys(due, now)

    def _tell(self, documents: Sequence[DocumentId]) -> None:
        rows = [row for document in documents for row in self.tell_of(document)]
        if not self._untold:
            self._some.clear()
        if rows:
            self._ledger.post(rows)

    async def recover(self, store: ActStore) -> int:
        """Tell of what an earlier process wrote and did not tell of; return of how many documents."""
        rows: list[Row] = []
        found = await store.list_unannounced()
        for each in found:
            first = LogPlace(each.told + 1)
            untold = _Untold(each.name, first, each.newest, {SERVER.id: None}, None)
            rows += _rows(each.document, untold)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            await self._ledger.commit(*rows[start : start + _ROWS_AT_ONCE])
        if found:
            log.info("feed.recovered", extra={"documents": len(found)})
        return len(found)

    async def run(self) -> None:
        """Tell of what gathers, until cancelled."""
        while True:
            await self._some.wait()
            await asyncio.sleep(ANNOUNCE_SECONDS)
            self._tell_what_is_due()


_ROWS_AT_ONCE = 1000


def _rows(document: DocumentId, untold: _Untold) -> list[Row]:
    authors = list(untold.authors)
    roots: dict[str, object] = {} if untold.roots is None else {"roots": sorted(untold.roots)}
    change = Change(
        type="record.changed" if is_record(untold.name) else "content.changed",
        document=untold.name,
        at=time.time(),
        actor=authors[-1],
        data={"first": untold.first, "last": untold.last, "authors": authors} | roots,
    )
    return [change, Announced(document=document, sequence=untold.last)]
