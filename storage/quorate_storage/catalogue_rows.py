"""The rows of `documents`: what transactions do, as functions of a connection."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select, update

from quorate_protocol.ids import DocumentId, DocumentName, Sequence, UserId
from quorate_storage.errors import DocumentMissing
from quorate_storage.lease_rows import check_lease
from quorate_storage.stores import Document, Lease
from quorate_storage.tables import AnyRow, documents, snapshots, updates

# A snapshot drops the updates it covers, so the newest update wins where there is one.
last_sequence = func.coalesce(
    select(func.max(updates.c.sequence))
    .where(updates.c.document_id == documents.c.id)
    .correlate(documents)
    .scalar_subquery(),
    select(snapshots.c.through).where(snapshots.c.document_id == documents.c.id).correlate(documents).scalar_subquery(),
    0,
)

_catalogue = select(documents, last_sequence.label("last_sequence"))
_by_names = _catalogue.where(documents.c.name.in_(bindparam("wanted", expanding=True)))
_by_id = _catalogue.where(documents.c.id == bindparam("wanted"))
_held = select(documents.c.id).where(documents.c.id == bindparam("wanted")).with_for_update()

HIGHEST_CODE_POINT = 0x10FFFF
SURROGATES = range(0xD800, 0xE000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What `list_documents` was asked for."""

    prefix: str
    after: str
    limit: int
    include_deleted: bool


def find_documents(connection: Connection, names: SequenceOf[DocumentName]) -> list[Document | None]:
    """Return for each name the document or tombstone that has it, `None` when there is none."""
    rows = connection.execute(_by_names, {"wanted": padded(set(names))})
    found = {document.name: document for document in map(_document, rows)}
    return [found.get(name) for name in names]


def padded(values: Iterable[str]) -> list[str]:
    """Return values that are looked for together, the last one again and again up to a power of two.

    Each number of them is a statement of its own, which a driver prepares and keeps: so there are few.
    """
    listed = list(values)
    return listed + listed[-1:] * ((1 << (len(listed) - 1).bit_length()) - len(listed))


def read_document(connection: Connection, document: DocumentId, *, lock: bool = False) -> Document:
    """Return one document or tombstone, on PostgreSQL locked against other writers if asked.

    Raises:
        DocumentMissing: there is none.
    """
    if lock:
        connection.execute(_held, {"wanted": document})
    row = connection.execute(_by_id, {"wanted": document}).one_or_none()
    if row is None:
        raise DocumentMissing(document)
    return _document(row)


def list_documents(connection: Connection, page: Page) -> SequenceOf[Document]:
    """Return one page of the catalogue."""
    query = _catalogue.order_by(documents.c.name).limit(page.limit)
    if page.prefix:
        query = query.where(documents.c.name >= page.prefix)
        beyond = beyond_prefix(page.prefix)
        if beyond is not None:
            query = query.where(documents.c.name < beyond)
    if page.after:
        query = query.where(documents.c.name > page.after)
    if not page.include_deleted:
        query = query.where(documents.c.deleted_at.is_(None))
    return [_document(row) for row in connection.execute(query)]


def delete_document(connection: Connection, document: DocumentId, by: UserId, at: float, lease: Lease) -> Document:
    """Set the tombstone."""
    check_lease(connection, lease)
    present = read_document(connection, document, lock=True)
    if present.deleted_at is not None:
        return present
    return _change(connection, present, deleted_at=at, deleted_by=by)


def restore_document(connection: Connection, document: DocumentId, lease: Lease) -> Document:
    """Take the tombstone away."""
    check_lease(connection, lease)
    present = read_document(connection, document, lock=True)
    if present.deleted_at is None:
        return present
    return _change(connection, present, deleted_at=None, deleted_by=None)


def beyond_prefix(prefix: str) -> str | None:
    """Return the first text, by code point, that comes after all that start with `prefix`.

    None when there is no such text. Surrogates are no characters of their own, so the step over
    them leads to the first code point behind.
    """
    stem = prefix.rstrip(chr(HIGHEST_CODE_POINT))
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    if following in SURROGATES:
        following = SURROGATES.stop
    return stem[:-1] + chr(following)


def _change(
    connection: Connection,
    present: Document,
    *,
    deleted_at: float | None,
    deleted_by: UserId | None,
) -> Document:
    connection.execute(
        update(documents)
        .where(documents.c.id == present.id)
        .values(epoch=present.epoch + 1, deleted_at=deleted_at, deleted_by=deleted_by)
    )
    return read_document(connection, present.id)


def _document(row: AnyRow) -> Document:
    return Document(
        id=DocumentId(row.id),
        name=DocumentName(row.name),
        kind=row.kind,
        epoch=row.epoch,
        created_at=row.created_at,
        created_by=UserId(row.created_by),
        last_sequence=Sequence(row.last_sequence),
        deleted_at=row.deleted_at,
        deleted_by=None if row.deleted_by is None else UserId(row.deleted_by),
    )
