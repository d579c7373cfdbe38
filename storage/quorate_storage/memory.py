"""`MemoryStore`: the reference store, as plain as can be. It keeps nothing on disk.

What it does is what the contract says, with nothing in the way of reading it; the others are
compared with it. Since no method awaits, each is one transaction by itself.
"""

from __future__ import annotations

import time
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from quorate_protocol.ids import DocumentId, DocumentName, Sequence, UserId
from quorate_storage.act_stores import Attribution
from quorate_storage.acts import Act, SetAside
from quorate_storage.batches import batch_of
from quorate_storage.errors import (
    DocumentExists,
    DocumentMissing,
    LeaseHeld,
    LeaseLost,
    SequenceConflict,
)
from quorate_storage.memory_acts import MemoryActs
from quorate_storage.stores import (
    Document,
    Lease,
    LogEntry,
    LogSize,
    Revocation,
    Snapshot,
    Store,
    StoredState,
    Version,
)


@dataclass(slots=True)
class _Shelf:
    """All that is kept for one document."""

    document: Document
    snapshot: Snapshot | None = None
    tail: list[LogEntry] = field(default_factory=list[LogEntry])
    versions: list[Version] = field(default_factory=list[Version])


class MemoryStore(MemoryActs, Store):
    """A store in memory. It outlives its context, so that tests can enter it again."""

    def __init__(self) -> None:
        super().__init__()
        self._shelves: dict[DocumentId, _Shelf] = {}
        self._names: dict[DocumentName, DocumentId] = {}
        self._revocations: list[Revocation] = []
        self._leases: dict[str, Lease] = {}

    async def __aenter__(self) -> Self:
        """Do nothing: there is nothing to connect to."""
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do nothing."""

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
        self._check(lease)
        if name in self._names:
            raise DocumentExists(self._shelf(self._names[name]).document)
        key = DocumentId(len(self._shelves) + 1)
        document = Document(
            id=key,
            name=name,
            kind=kind,
            epoch=1,
            created_at=at,
            created_by=by,
            last_sequence=Sequence(0),
        )
        self._names[name] = key
        self._shelves[key] = _Shelf(document)
        if seed:
            self._add(LogEntry(document=key, sequence=Sequence(1), update=seed, author=by, at=at))
        self._write_acts((act,), at)
        return self._shelves[key].document

    async def find(self, name: DocumentName) -> Document | None:
        """See `Store.find`."""
        key = self._names.get(name)
        return None if key is None else self._shelves[key].document

    async def list_documents(
        self,
        *,
        prefix: str = "",
        after: str = "",
        limit: int = 100,
        include_deleted: bool = False,
    ) -> SequenceOf[Document]:
        """See `Store.list_documents`."""
        chosen = [
            shelf.document
            for name, shelf in sorted((shelf.document.name, shelf) for shelf in self._shelves.values())
            if name.startswith(prefix) and name > after and (include_deleted or shelf.document.deleted_at is None)
        ]
        return chosen[:limit]

    async def delete(
        self, document: DocumentId, *, by: UserId, at: float, lease: Lease, act: Act | None = None
    ) -> Document:
        """See `Store.delete`."""
        self._check(lease)
        shelf = self._shelf(document)
        present = shelf.document
        if present.deleted_at is None:
            shelf.document = replace(present, epoch=present.epoch + 1, deleted_at=at, deleted_by=by)
        self._write_acts((act,), at)
        return shelf.document

    async def restore(self, document: DocumentId, *, at: float, lease: Lease, act: Act | None = None) -> Document:
        """See `Store.restore`."""
        self._check(lease)
        shelf = self._shelf(document)
        present = shelf.document
        if present.deleted_at is not None:
            shelf.document = replace(present, epoch=present.epoch + 1, deleted_at=None, deleted_by=None)
        self._write_acts((act,), at)
        return shelf.document

    # The log

    async def append(self, entries: SequenceOf[LogEntry], *, lease: Lease, acts: SequenceOf[Act] = ()) -> None:
        """See `Store.append`."""
        batch = batch_of(entries)
        self._check(lease)
        for head in batch.heads:
            document = self._shelf(head.document).document
            if document.deleted_at is not None:
                raise DocumentMissing(head.document)
            if head.last > document.last_sequence:
                raise SequenceConflict(head.document, Sequence(head.last + 1), document.last_sequence)
        fresh = [entry for entry in batch.entries if not self._is_there(entry)]
        for entry in fresh:
            self._add(entry)
        self._write_acts(acts, time.time())

    async def load(self, document: DocumentId) -> StoredState:
        """See `Store.load`."""
        shelf = self._shelf(document)
        return StoredState(
            document=shelf.document,
            snapshot=shelf.snapshot,
            tail=tuple(shelf.tail),
            writers=await self.read_writers(document),
        )

    async def read_log(self, document: DocumentId, *, after: Sequence, limit: int = 1000) -> SequenceOf[LogEntry]:
        """See `Store.read_log`."""
        shelf = self._shelves.get(document)
        tail = [] if shelf is None else shelf.tail
        return [entry for entry in tail if entry.sequence > after][:limit]

    async def log_size(self, document: DocumentId) -> LogSize:
        """See `Store.log_size`."""
        shelf = self._shelves.get(document)
        if shelf is None:
            return LogSize(document=document, entries=0, bytes=0)
        return LogSize(
            document=document,
            entries=len(shelf.tail),
            bytes=sum(len(entry.update) for entry in shelf.tail),
            snapshot_bytes=0 if shelf.snapshot is None else len(shelf.snapshot.state),
            newest_at=max((entry.at for entry in shelf.tail), default=0.0),
        )

    async def replace_tail(
        self, snapshot: Snapshot, *, lease: Lease, attributions: SequenceOf[Attribution] = ()
    ) -> int:
        """See `Store.replace_tail`."""
        self._check(lease)
        shelf = self._shelf(snapshot.document)
        last = shelf.document.last_sequence
        if snapshot.through > last:
            raise SequenceConflict(snapshot.document, snapshot.through, last)
        if shelf.snapshot is not None and shelf.snapshot.through >= snapshot.through:
            return 0
        kept = [entry for entry in shelf.tail if entry.sequence > snapshot.through]
        dropped = len(shelf.tail) - len(kept)
        shelf.snapshot, shelf.tail = snapshot, kept
        self._attributions.extend(attributions)
        return dropped

    # Versions

    async def save_version(self, version: Version, *, lease: Lease) -> Version:
        """See `Store.save_version`."""
        self._check(lease)
        versions = self._shelf(version.document).versions
        kept = replace(version, number=len(versions) + 1)
        versions.append(kept)
        return kept

    async def list_versions(self, document: DocumentId) -> SequenceOf[Version]:
        """See `Store.list_versions`."""
        shelf = self._shelves.get(document)
        return [replace(version, state=b"") for version in (shelf.versions if shelf else ())]

    async def read_version(self, document: DocumentId, number: int) -> Version | None:
        """See `Store.read_version`."""
        shelf = self._shelves.get(document)
        chosen = [one for one in (shelf.versions if shelf else ()) if one.number == number]
        return chosen[0] if chosen else None

    # What is not in the log

    async def set_aside(self, item: SetAside) -> int:
        """See `Store.set_aside`."""
        self._shelf(item.document)
        self._write(item)
        return len(self._aside)

    async def list_set_aside(self, document: DocumentId) -> SequenceOf[SetAside]:
        """See `Store.list_set_aside`."""
        return [item for item in self._aside if item.document == document]

    # Revocations

    async def revoke(self, revocation: Revocation, *, act: Act | None = None) -> None:
        """See `Store.revoke`."""
        self._revocations.append(revocation)
        self._write_acts((act,), revocation.at)

    async def list_revocations(self) -> SequenceOf[Revocation]:
        """See `Store.list_revocations`."""
        return list(self._revocations)

    # Leases

    async def acquire_lease(self, scope: str, *, holder: str, seconds: float, at: float) -> Lease:
        """See `Store.acquire_lease`."""
        present = self._leases.get(scope)
        token = 1 if present is None else present.token
        if present is not None and present.holder != holder:
            if present.expires_at > at:
                raise LeaseHeld(present)
            token += 1
        taken = Lease(scope=scope, holder=holder, token=token, expires_at=at + seconds)
        self._leases[scope] = taken
        return taken

    async def renew_lease(self, lease: Lease, *, seconds: float, at: float) -> Lease:
        """See `Store.renew_lease`."""
        self._check(lease)
        renewed = replace(lease, expires_at=at + seconds)
        self._leases[lease.scope] = renewed
        return renewed

    async def release_lease(self, lease: Lease) -> None:
        """See `Store.release_lease`."""
        present = self._leases.get(lease.scope)
        if present is not None and present.token == lease.token:
            self._leases[lease.scope] = replace(present, expires_at=0.0)

    def _check(self, lease: Lease) -> None:
        present = self._leases.get(lease.scope)
        if present is None or present.token != lease.token:
            raise LeaseLost(lease, None if present is None else present.token)

    def _documents(self) -> SequenceOf[Document]:
        return [shelf.document for shelf in self._shelves.values()]

    def _shelf(self, document: DocumentId) -> _Shelf:
        shelf = self._shelves.get(document)
        if shelf is None:
            raise DocumentMissing(document)
        return shelf

    def _add(self, entry: LogEntry) -> None:
        shelf = self._shelves[entry.document]
        shelf.tail.append(entry)
        shelf.document = replace(shelf.document, last_sequence=entry.sequence)

    def _is_there(self, entry: LogEntry) -> bool:
        """Tell whether an entry was appended before; refuse it when another one has its place."""
        shelf = self._shelves[entry.document]
        last = shelf.document.last_sequence
        if entry.sequence > last:
            return False
        there = [one for one in shelf.tail if one.sequence == entry.sequence]
        if [(one.update, one.author) for one in there] != [(entry.update, entry.author)]:
            raise SequenceConflict(entry.document, entry.sequence, last)
        return True
