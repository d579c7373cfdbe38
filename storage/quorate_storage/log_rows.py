"""The rows of `updates` and `snapshots`: what transactions do, as functions of a connection."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from quorate_protocol.ids import DocumentId, Sequence, UserId
from quorate_storage.act_stores import Attribution
from quorate_storage.batches import Batch, Head
from quorate_storage.catalogue_rows import read_document
from quorate_storage.engine_rows import read_writers
from quorate_storage.errors import DocumentMissing, SequenceConflict
from quorate_storage.lease_rows import check_lease
from quorate_storage.packing import pack, unpack
from quorate_storage.stores import Lease, LogEntry, LogSize, Snapshot, StoredState
from quorate_storage.tables import AnyRow, attributions, snapshots, updates

_APPEND = insert(updates)
TAIL = (
    select(updates)
    .where(updates.c.document_id == bindparam("document"), updates.c.sequence > bindparam("after"))
    .order_by(updates.c.sequence)
)
SNAPSHOT = select(snapshots).where(snapshots.c.document_id == bindparam("document"))


def append_with_care(connection: Connection, batch: Batch, lease: Lease) -> None:
    """Append what is not there yet, and find out what stands against the rest.

    The fast path of each database comes here when a batch does not simply continue every log: after
    a lost answer, or when something is wrong. A batch with acts comes here at once.
    """
    check_lease(connection, lease)
    ends = {head.document: _end_of(connection, head) for head in batch.heads}
    fresh: list[LogEntry] = []
    for entry in batch.entries:
        end = ends[entry.document]
        if entry.sequence <= end:
            _demand_same(connection, entry, end)
        else:
            fresh.append(entry)
    if fresh:
        connection.execute(_APPEND, [columns(entry) for entry in fresh])


def load(connection: Connection, document: DocumentId) -> StoredState:
    """Return a document, its snapshot and its tail. The transaction makes them of one moment."""
    found = read_document(connection, document)
    snapshot = _read_snapshot(connection, document)
    after = Sequence(0) if snapshot is None else snapshot.through
    return StoredState(
        document=found,
        snapshot=snapshot,
        tail=tuple(read_log(connection, document, after, None)),
        writers=read_writers(connection, document),
    )


def read_log(connection: Connection, document: DocumentId, after: Sequence, limit: int | None) -> SequenceOf[LogEntry]:
    """Return updates beyond `after`, oldest first."""
    query = TAIL if limit is None else TAIL.limit(limit)
    return [_entry(row) for row in connection.execute(query, {"document": document, "after": after})]


def log_size(connection: Connection, document: DocumentId) -> LogSize:
    """Return how much tail a document has beyond its snapshot."""
    tail = connection.execute(
        select(
            func.count().label("entries"),
            func.coalesce(func.sum(func.length(updates.c.update)), 0).label("bytes"),
            func.coalesce(func.max(updates.c.at), 0.0).label("newest_at"),
        ).where(updates.c.document_id == document)
    ).one()
    snapshot_bytes = connection.scalar(
        select(func.length(snapshots.c.state)).where(snapshots.c.document_id == document)
    )
    return LogSize(
        document=document,
        entries=tail.entries,
        bytes=int(tail.bytes),
        snapshot_bytes=snapshot_bytes or 0,
        newest_at=tail.newest_at,
    )


def replace_tail(connection: Connection, snapshot: Snapshot, lease: Lease, kept: SequenceOf[Attribution]) -> int:
    """Write a snapshot and drop what it covers, but for who wrote it."""
    check_lease(connection, lease)
    document = read_document(connection, snapshot.document, lock=True)
    if snapshot.through > document.last_sequence:
        raise SequenceConflict(document.id, snapshot.through, document.last_sequence)
    present = connection.scalar(select(snapshots.c.through).where(snapshots.c.document_id == document.id))
    if present is not None and present >= snapshot.through:
        return 0
    _write_snapshot(connection, snapshot, is_first=present is None)
    if kept:
        rows = [{"document_id": k.document, "first": k.first, "last": k.last, "packed": k.packed} for k in kept]
        connection.execute(insert(attributions), rows)
    dropped = connection.execute(
        delete(updates).where(updates.c.document_id == document.id, updates.c.sequence <= snapshot.through)
    )
    return dropped.rowcount


def columns(entry: LogEntry) -> dict[str, int | float | str | bytes]:
    """Return the entry as the row it becomes."""
    return {
        "document_id": entry.document,
        "sequence": entry.sequence,
        "update": entry.update,
        "author": entry.author,
        "at": entry.at,
    }


def _end_of(connection: Connection, head: Head) -> Sequence:
    """Return where a log ends; refuse a batch that would leave a gap behind that."""
    document = read_document(connection, head.document, lock=True)
    if document.deleted_at is not None:
        raise DocumentMissing(head.document)
    if document.last_sequence < head.last:
        raise SequenceConflict(head.document, Sequence(head.last + 1), document.last_sequence)
    return document.last_sequence


def _demand_same(connection: Connection, entry: LogEntry, end: Sequence) -> None:
    """Refuse an entry whose place is taken, unless it is the entry that took it."""
    query = select(updates.c.update, updates.c.author).where(
        updates.c.document_id == entry.document, updates.c.sequence == entry.sequence
    )
    row = connection.execute(query).one_or_none()
    if row is None or tuple(row) != (entry.update, entry.author):
        raise SequenceConflict(entry.document, entry.sequence, end)


def _read_snapshot(connection: Connection, document: DocumentId) -> Snapshot | None:
    row = connection.execute(SNAPSHOT, {"document": document}).one_or_none()
    if row is None:
        return None
    return Snapshot(
        document=document,
        through=Sequence(row.through),
        state=row.state,
        waiting=unpack(row.waiting),
        at=row.at,
    )


def _write_snapshot(connection: Connection, snapshot: Snapshot, *, is_first: bool) -> None:
    values = {
        "through": snapshot.through,
        "state": snapshot.state,
        "waiting": pack(snapshot.waiting),
        "at": snapshot.at,
    }
    if is_first:
        connection.execute(insert(snapshots).values(document_id=snapshot.document, **values))
    else:
        chosen = snapshots.c.document_id == snapshot.document
        connection.execute(update(snapshots).where(chosen).values(values))


def _entry(row: AnyRow) -> LogEntry:
    return LogEntry(
        document=DocumentId(row.document_id),
        sequence=Sequence(row.sequence),
        update=row.update,
        author=UserId(row.author),
        at=row.at,
    )
