"""The rows of new documents: what a transaction writes, as functions of a connection."""

from __future__ import annotations

import time
from collections.abc import Container
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, select

from quorate_protocol.ids import DocumentId, DocumentName, Sequence, UserId
from quorate_storage.act_rows import write_acts
from quorate_storage.acts import Act
from quorate_storage.catalogue_rows import find_documents, padded
from quorate_storage.errors import DocumentExists
from quorate_storage.lease_rows import check_lease
from quorate_storage.stores import Document, Lease
from quorate_storage.tables import documents, updates

_INSERT = insert(documents)
_INSERT_SEEDS = insert(updates)
_IDS = select(documents.c.name, documents.c.id).where(documents.c.name.in_(bindparam("wanted", expanding=True)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NewDocument:
    """What `Store.create` was asked for. Two who ask for the same are two."""

    name: DocumentName
    kind: str
    by: UserId
    at: float
    lease: Lease
    seed: bytes
    act: Act | None


def create_documents(connection: Connection, news: SequenceOf[NewDocument]) -> list[Document | Exception]:
    """Write documents, their seeds as update 1, and the acts that belong to them, in as many statements as for one.

    Returns:
        For each the document, or `DocumentExists`: then nothing was written for it.
    """
    for lease in {(new.lease.scope, new.lease.token): new.lease for new in news}.values():
        check_lease(connection, lease)
    found = find_documents(connection, [new.name for new in news])
    taken = {document.name: document for document in found if document is not None}
    fresh = _first_of_each_name(news, taken)
    if fresh:
        taken |= _insert(connection, fresh)
        write_acts(connection, [new.act for new in fresh if new.act is not None], time.time())
    return [taken[new.name] if new in fresh else DocumentExists(taken[new.name]) for new in news]


def _first_of_each_name(news: SequenceOf[NewDocument], taken: Container[DocumentName]) -> list[NewDocument]:
    first: dict[DocumentName, NewDocument] = {}
    for new in news:
        if new.name not in taken:
            first.setdefault(new.name, new)
    return list(first.values())


def _insert(connection: Connection, news: SequenceOf[NewDocument]) -> dict[DocumentName, Document]:
    rows = [
        {"name": new.name, "kind": new.kind, "epoch": 1, "created_at": new.at, "created_by": new.by} for new in news
    ]
    connection.execute(_INSERT, rows)
    wanted = padded(new.name for new in news)
    ids = {name: DocumentId(key) for name, key in connection.execute(_IDS, {"wanted": wanted})}
    seeds = [
        {"document_id": ids[new.name], "sequence": 1, "update": new.seed, "author": new.by, "at": new.at}
        for new in news
        if new.seed
    ]
    if seeds:
        connection.execute(_INSERT_SEEDS, seeds)
    return {
        new.name: Document(
            id=ids[new.name],
            name=new.name,
            kind=new.kind,
            epoch=1,
            created_at=new.at,
            created_by=new.by,
            last_sequence=Sequence(1 if new.seed else 0),
        )
        for new in news
    }
