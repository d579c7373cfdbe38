"""The rows that engines, commands and readers of the feed ask for, as functions of a connection."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from collections.abc import Sequence as SequenceOf
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from quorate_protocol.ids import ClientId, DocumentId, DocumentName, Sequence, UserId
from quorate_storage import tables
from quorate_storage.act_stores import Attribution, Unannounced
from quorate_storage.acts import Change, Effect, Grant, Reply, WakeUp
from quorate_storage.catalogue_rows import beyond_prefix, last_sequence
from quorate_storage.tables import AnyRow

_WRITERS = select(tables.writers.c.client_id, tables.writers.c.user_id).where(
    tables.writers.c.document_id == bindparam("document")
)
_REPLY = select(tables.replies).where(
    tables.replies.c.actor == bindparam("by"), tables.replies.c.key == bindparam("once")
)
_CHANGES = (
    select(tables.changes).where(tables.changes.c.position > bindparam("after")).order_by(tables.changes.c.position)
)


def read_writers(connection: Connection, document: DocumentId) -> Mapping[ClientId, UserId]:
    """Return whose each client id is that has written in a document."""
    rows = connection.execute(_WRITERS, {"document": document})
    return {ClientId(client): UserId(user) for client, user in rows}


def read_attributions(
    connection: Connection, document: DocumentId, after: Sequence, until: Sequence
) -> SequenceOf[Attribution]:
    """Return what is kept of updates beyond `after` and up to `until`, oldest first."""
    table = tables.attributions
    query = (
        select(table)
        .where(table.c.document_id == document, table.c.last > after, table.c.first <= until)
        .order_by(table.c.first)
    )
    return [
        Attribution(document=document, first=Sequence(row.first), last=Sequence(row.last), packed=row.packed)
        for row in connection.execute(query)
    ]


# The change feed


def read_changes(connection: Connection, after: int, limit: int) -> SequenceOf[Change]:
    """Return changes beyond a position, in order."""
    query = _CHANGES.limit(limit)
    return [_change(row) for row in connection.execute(query, {"after": after})]


def feed_head(connection: Connection) -> int:
    """Return the newest position of the feed, 0 before the first."""
    return int(connection.scalar(select(tables.feed_head.c.position)) or 0)


def read_cursor(connection: Connection, reader: str) -> int | None:
    """Return how far a reader has read."""
    return connection.scalar(select(tables.cursors.c.position).where(tables.cursors.c.reader == reader))


def list_unannounced(connection: Connection) -> SequenceOf[Unannounced]:
    """Return the documents with updates that the feed has not told of."""
    documents, told = tables.documents, tables.announcements
    newest = select(documents.c.id, documents.c.name, last_sequence.label("newest")).subquery()
    announced = func.coalesce(told.c.sequence, 0)
    query = (
        select(newest, announced.label("announced"))
        .join_from(newest, told, told.c.document_id == newest.c.id, isouter=True)
        .where(newest.c.newest > announced)
        .order_by(newest.c.id)
    )
    return [
        Unannounced(
            name=DocumentName(row.name),
            document=DocumentId(row.id),
            told=Sequence(row.announced),
            newest=Sequence(row.newest),
        )
        for row in connection.execute(query)
    ]


# What engines keep


def due_wake_ups(connection: Connection, engine: str, at: float, limit: int) -> SequenceOf[WakeUp]:
    """Return the wake-ups of an engine that are due, the longest overdue first."""
    table = tables.wake_ups
    query = (
        select(table)
        .where(table.c.engine == engine, table.c.at <= at)
        .order_by(table.c.at, table.c.artifact)
        .limit(limit)
    )
    return [
        WakeUp(engine=row.engine, artifact=DocumentName(row.artifact), at=row.at) for row in connection.execute(query)
    ]


def next_wake_up(connection: Connection) -> float | None:
    """Return when the next wake-up is due."""
    due: float | None = connection.scalar(select(func.min(tables.wake_ups.c.at)))
    return due


def due_effects(connection: Connection, engine: str, at: float, limit: int) -> SequenceOf[Effect]:
    """Return the pending effects of an engine that are due, in the order in which they fell due."""
    table = tables.outbox
    query = (
        select(table)
        .where(table.c.engine == engine, table.c.state == "pending", table.c.due_at <= at)
        .order_by(table.c.due_at, table.c.id)
        .limit(limit)
    )
    return [_effect(row) for row in connection.execute(query)]


def next_effect(connection: Connection, engine: str) -> float | None:
    """Return when the next pending effect of an engine is due."""
    table = tables.outbox
    due: float | None = connection.scalar(
        select(func.min(table.c.due_at)).where(table.c.engine == engine, table.c.state == "pending")
    )
    return due


def list_effects(connection: Connection, engine: str, state: str, limit: int) -> SequenceOf[Effect]:
    """Return effects of an engine in a state (in any, if it is empty), the newest first."""
    table = tables.outbox
    query = select(table).where(table.c.engine == engine).order_by(table.c.id.desc()).limit(limit)
    if state:
        query = query.where(table.c.state == state)
    return [_effect(row) for row in connection.execute(query)]


def read_values(connection: Connection, engine: str, prefix: str) -> Mapping[str, bytes]:
    """Return what an engine keeps under keys that start with a prefix, by key."""
    table = tables.engine_values
    query = select(table.c.key, table.c.value).where(table.c.engine == engine).order_by(table.c.key)
    if prefix:
        query = query.where(table.c.key >= prefix)
        beyond = beyond_prefix(prefix)
        if beyond is not None:
            query = query.where(table.c.key < beyond)
    return {row.key: row.value for row in connection.execute(query)}


# What commands keep


def find_reply(connection: Connection, actor: UserId, key: str) -> Reply | None:
    """Return the answer that a command got."""
    row = connection.execute(_REPLY, {"by": actor, "once": key}).one_or_none()
    if row is None:
        return None
    return Reply(
        actor=actor,
        key=key,
        fingerprint=row.fingerprint,
        status=row.status,
        answer=_decode_json(row.answer),
        at=row.at,
    )


def list_grants(connection: Connection, scopes: Collection[str] | None = None) -> SequenceOf[Grant]:
    """Return every role that was granted, or those in some scopes, by scope and principal."""
    table = tables.grants
    query = select(table).order_by(table.c.scope, table.c.principal)
    if scopes is not None:
        query = query.where(table.c.scope.in_(scopes))
    return [
        Grant(scope=row.scope, principal=row.principal, role=row.role, by=UserId(row.by), at=row.at)
        for row in connection.execute(query)
    ]


def _decode_json(text: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(text)
    return found


def _change(row: AnyRow) -> Change:
    return Change(
        type=row.type,
        document=DocumentName(row.document),
        at=row.at,
        actor=UserId(row.actor),
        data=_decode_json(row.data),
        position=row.position,
    )


def _effect(row: Any) -> Effect:
    return Effect(
        engine=row.engine,
        key=row.key,
        payload=_decode_json(row.payload),
        due_at=row.due_at,
        artifact=None if row.artifact is None else DocumentName(row.artifact),
        attempts=row.attempts,
        state=row.state,
        error=row.error,
        id=row.id,
    )
