"""The rows of `documents`: what transactions do, as functions of a connection."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, insert, select, update

from quorate_protocol.ids import DocumentId, DocumentName, Sequence, UserId
from quorate_storage.errors import DocumentExists, DocumentMissing
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
_by_name = _catalogue.where(documents.c.name == bindparam("wanted"))
_by_id = _catalogue.where(documents.c.id == bindparam("wanted"))
_held = select(documents.c.id).where(documents.c.id == bindparam("wanted")).with_for_update()

HIGHEST_CODE_POINT = 0x10FFFF
SURROGATES = range(0xD800, 0xE000)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDocument:
    """What `create` was asked for."""

    name: DocumentName
    kind: str
    by: UserId
    at: float
    seed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What `list_documents` was asked for."""

    prefix: str
    after: str
    limit: int
    include_deleted: bool


def create_document(connection: Connection, new: NewDocument, lease: Lease) -> Document:
    """Write a document's row, and its seed as update 1."""
    check_lease(connection, lease)
    existing = find_document(connection, new.name)
    if existing is not None:
        raise DocumentExists(existing)
    row = insert(documents).values(name=new.name, kind=new.kind, epoch=1, created_at=new.at, created_by=new.by)
    key = connection.scalar(row.returning(documents.c.id))
    if new.seed:
        connection.execute(
            insert(updates).values(document_id=key, sequence=1, update=new.seed, author=new.by, at=new.at)
        )
    return read_document(connection, DocumentId(key or 0))


def find_document(connection: Connection, name: DocumentName) -> Document | None:
    """Return the document or tombstone of that name."""
    return _first(connection, _by_name, name)


def read_document(connection: Connection, document: DocumentId, *, lock: bool = False) -> Document:
    """Return one document or tombstone, on PostgreSQL locked against other writers if asked.

    Raises:
        DocumentMissing: there is none.
    """
    if lock:
        connection.execute(_held, {"wanted": document})
    found = _first(connection, _by_id, document)
    if found is None:
        raise DocumentMissing(document)
    return found


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


def _first(connection: Connection, query: Select[Any], wanted: str | int) -> Document | None:
    row = connection.execute(query, {"wanted": wanted}).one_or_none()
    return None if row is None else _document(row)


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
