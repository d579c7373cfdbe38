"""The rows of `versions` and `set_aside`: what transactions do, as functions of a connection."""

from __future__ import annotations

import zlib
from collections.abc import Sequence as SequenceOf

from sqlalchemy import Connection, func, insert, select

from quorate_protocol.ids import DocumentId, Sequence, UserId
from quorate_storage.acts import SetAside
from quorate_storage.catalogue_rows import read_document
from quorate_storage.lease_rows import check_lease
from quorate_storage.stores import Lease, Version
from quorate_storage.tables import AnyRow, versions
from quorate_storage.tables import set_aside as aside

_described = select(
    versions.c.document_id,
    versions.c.number,
    versions.c.name,
    versions.c.through,
    versions.c.created_at,
    versions.c.created_by,
)


def save_version(connection: Connection, version: Version, packed: bytes, lease: Lease) -> int:
    """Write a version under the document's next number, and return that."""
    check_lease(connection, lease)
    read_document(connection, version.document, lock=True)
    newest = connection.scalar(select(func.max(versions.c.number)).where(versions.c.document_id == version.document))
    number = (newest or 0) + 1
    connection.execute(
        insert(versions).values(
            document_id=version.document,
            number=number,
            name=version.name,
            state=packed,
            through=version.through,
            created_at=version.created_at,
            created_by=version.created_by,
        )
    )
    return number


def list_versions(connection: Connection, document: DocumentId) -> SequenceOf[Version]:
    """Return the versions of a document without their states."""
    query = _described.where(versions.c.document_id == document).order_by(versions.c.number)
    return [_version(row, b"") for row in connection.execute(query)]


def read_version(connection: Connection, document: DocumentId, number: int) -> Version | None:
    """Return one version with its state, still packed."""
    query = _described.add_columns(versions.c.state).where(
        versions.c.document_id == document, versions.c.number == number
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else _version(row, row.state)


def set_aside(connection: Connection, item: SetAside) -> int:
    """Write an update that is in no log, and return its id."""
    read_document(connection, item.document)
    row = insert(aside).values(
        document_id=item.document,
        cause=item.cause,
        update=item.update,
        author=item.author,
        reason=item.reason,
        at=item.at,
    )
    key = connection.scalar(row.returning(aside.c.id))
    assert key is not None
    return int(key)


def list_set_aside(connection: Connection, document: DocumentId) -> SequenceOf[SetAside]:
    """Return what was set aside for a document, oldest first."""
    query = select(aside).where(aside.c.document_id == document).order_by(aside.c.id)
    return [_item(row) for row in connection.execute(query)]


def pack_state(state: bytes) -> bytes:
    """Compress a full state."""
    return zlib.compress(state)


def unpack_state(packed: bytes) -> bytes:
    """Undo `pack_state`."""
    return zlib.decompress(packed)


def _version(row: AnyRow, state: bytes) -> Version:
    return Version(
        document=DocumentId(row.document_id),
        number=row.number,
        name=row.name,
        state=state,
        through=Sequence(row.through),
        created_at=row.created_at,
        created_by=UserId(row.created_by),
    )


def _item(row: AnyRow) -> SetAside:
    return SetAside(
        id=row.id,
        document=DocumentId(row.document_id),
        cause=row.cause,
        update=row.update,
        author=UserId(row.author),
        reason=row.reason,
        at=row.at,
    )
