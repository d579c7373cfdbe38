"""The rows of acts: what a transaction writes beside updates, as functions of a connection.

The neighbours `audit_rows` and `version_rows` write what they know; everything else is here. Reading back is in
`engine_rows` and `feed_rows`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Delete, Insert, Table, bindparam, delete, insert, select, update
from sqlalchemy.dialects import sqlite

from quorate_storage import tables
from quorate_storage.acts import (
    Act,
    Announced,
    AuditEvent,
    Change,
    Cursor,
    Effect,
    EffectOutcome,
    EngineValue,
    Erasure,
    Grant,
    Json,
    Reply,
    Row,
    SetAside,
    WakeUp,
    Writer,
)
from quorate_storage.audit_rows import append_events, erase_texts
from quorate_storage.catalogue_rows import padded
from quorate_storage.lease_rows import check_lease
from quorate_storage.stores import Lease
from quorate_storage.version_rows import set_aside

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

# What every act writes is built once: to build a statement, and its key in the cache of what was compiled, takes
# longer than to run it.
_KNOWN_ACTS = select(tables.acts.c.id).where(tables.acts.c.id.in_(bindparam("wanted", expanding=True)))
_INSERT_ACT = insert(tables.acts)
_FEED_POSITION = select(tables.feed_head.c.position).where(tables.feed_head.c.id == 1).with_for_update()
_MOVE_FEED = update(tables.feed_head).where(tables.feed_head.c.id == 1).values(position=bindparam("newest"))
_INSERT_CHANGES = insert(tables.changes)
_CHANGE_EFFECT = update(tables.outbox).where(tables.outbox.c.id == bindparam("effect"))


def write_acts(connection: Connection, acts: Sequence[Act], at: float) -> None:
    """Write acts, but not one that is there already: the rows of each kind of all of them at once, in their order."""
    new = {act.id: act for act in acts}
    if not new:
        return
    for [known] in connection.execute(_KNOWN_ACTS, {"wanted": padded(new)}):
        del new[known]
    if new:
        connection.execute(_INSERT_ACT, [{"id": act, "at": at} for act in new])
        _write(connection, [row for act in new.values() for row in act.rows])


def commit(connection: Connection, act: Act, at: float, lease: Lease) -> None:
    """Write one act that comes with no update."""
    check_lease(connection, lease)
    write_acts(connection, (act,), at)


def forget_acts(connection: Connection, before: float) -> None:
    """Forget the ids of acts and the replies to commands of long ago."""
    for table in (tables.acts, tables.replies):
        connection.execute(delete(table).where(table.c.at < before))


def encode_json(value: Json) -> str:
    """Return a JSON object as the text that is stored."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def _write(connection: Connection, rows: Sequence[Row]) -> None:
    """Write rows, those of each kind in order and at once. The locks of the two heads are always taken in one order."""
    by_kind: dict[type[Row], list[Any]] = {}
    for row in rows:
        by_kind.setdefault(type(row), []).append(row)
    for kind, writer in _WRITERS.items():
        if kind in by_kind:
            writer(connection, by_kind[kind])
    append_events(connection, by_kind.get(AuditEvent, ()))
    _append_changes(connection, by_kind.get(Change, ()))


def _append_changes(connection: Connection, changes: Sequence[Change]) -> None:
    """Give changes the next positions of the feed."""
    if not changes:
        return
    position = connection.scalar(_FEED_POSITION)
    assert position is not None, "the migration writes the head of the feed"
    rows = [
        {
            "position": position + number,
            "type": change.type,
            "document": change.document,
            "at": change.at,
            "actor": change.actor,
            "data": encode_json(change.data),
        }
        for number, change in enumerate(changes, 1)
    ]
    connection.execute(_INSERT_CHANGES, rows)
    connection.execute(_MOVE_FEED, {"newest": position + len(rows)})


def _put(connection: Connection, table: Table, rows: Sequence[tuple[dict[str, Any], dict[str, Any] | None]]) -> None:
    """Insert, replace or (without values) delete rows by their primary keys, the later over the earlier."""
    latest = {tuple(key.values()): (key, values) for key, values in rows}
    kept = [key | values for key, values in latest.values() if values is not None]
    gone = [_as_parameters(key) for key, values in latest.values() if values is None]
    if gone:
        connection.execute(_deletion(table), gone)
    if kept:
        connection.execute(_upsert(table, connection.dialect.name), kept)


def _as_parameters(key: dict[str, Any]) -> dict[str, Any]:
    """Return a key as the parameters of `_deletion`, whose names must not be those of columns."""
    return {f"key_{name}": value for name, value in key.items()}


@cache
def _deletion(table: Table) -> Delete:
    return delete(table).where(*(column == bindparam(f"key_{column.name}") for column in table.primary_key))


def _insertion(table: Table, dialect: str) -> sqlite.Insert | postgresql.Insert:
    """Return an insertion that can say what happens to a row that is there already."""
    if dialect != "postgresql":
        return sqlite.insert(table)
    # Only here, where the driver has loaded it: who is on SQLite does without its types.
    from sqlalchemy.dialects.postgresql import insert as insert_there  # noqa: PLC0415

    return insert_there(table)


@cache
def _upsert(table: Table, dialect: str) -> Insert:
    statement = _insertion(table, dialect)
    values = {column.name: statement.excluded[column.name] for column in table.columns if not column.primary_key}
    return statement.on_conflict_do_update(index_elements=table.primary_key, set_=values)


@cache
def _insertion_once(table: Table, dialect: str) -> Insert:
    """Return the insertion of rows that leaves alone what is there already."""
    return _insertion(table, dialect).on_conflict_do_nothing()


def _write_writers(connection: Connection, rows: Sequence[Writer]) -> None:
    keyed = [({"document_id": row.document, "client_id": row.client}, {"user_id": row.user}) for row in rows]
    _put(connection, tables.writers, keyed)


def _write_announced(connection: Connection, rows: Sequence[Announced]) -> None:
    keyed = [({"document_id": row.document}, {"sequence": row.sequence}) for row in rows]
    _put(connection, tables.announcements, keyed)


def _write_wake_ups(connection: Connection, rows: Sequence[WakeUp]) -> None:
    keyed = [
        ({"engine": row.engine, "artifact": row.artifact}, None if row.at is None else {"at": row.at}) for row in rows
    ]
    _put(connection, tables.wake_ups, keyed)


def _write_effects(connection: Connection, rows: Sequence[Effect]) -> None:
    values = [
        {
            "engine": row.engine,
            "key": row.key,
            "artifact": row.artifact,
            "payload": encode_json(row.payload),
            "due_at": row.due_at,
            "attempts": row.attempts,
            "state": row.state,
            "error": row.error,
        }
        for row in rows
    ]
    connection.execute(_insertion_once(tables.outbox, connection.dialect.name), values)


def _write_outcomes(connection: Connection, rows: Sequence[EffectOutcome]) -> None:
    for row in rows:
        values = {"attempts": row.attempts, "state": row.state, "due_at": row.due_at, "error": row.error}
        connection.execute(_CHANGE_EFFECT, {"effect": row.id} | values)


def _write_replies(connection: Connection, rows: Sequence[Reply]) -> None:
    keyed = [
        (
            {"actor": row.actor, "key": row.key},
            {
                "fingerprint": row.fingerprint,
                "status": row.status,
                "answer": encode_json(row.answer),
                "at": row.at,
            },
        )
        for row in rows
    ]
    _put(connection, tables.replies, keyed)


def _write_grants(connection: Connection, rows: Sequence[Grant]) -> None:
    keyed = [
        (
            {"scope": row.scope, "principal": row.principal},
            None if row.role is None else {"role": row.role, "by": row.by, "at": row.at},
        )
        for row in rows
    ]
    _put(connection, tables.grants, keyed)


def _write_values(connection: Connection, rows: Sequence[EngineValue]) -> None:
    keyed = [
        ({"engine": row.engine, "key": row.key}, None if row.value is None else {"value": row.value}) for row in rows
    ]
    _put(connection, tables.engine_values, keyed)


def _write_cursors(connection: Connection, rows: Sequence[Cursor]) -> None:
    _put(connection, tables.cursors, [({"reader": row.reader}, {"position": row.position}) for row in rows])


def _erase(connection: Connection, rows: Sequence[Erasure]) -> None:
    erase_texts(connection, [(row.sequence, row.field) for row in rows])


def _set_aside(connection: Connection, rows: Sequence[SetAside]) -> None:
    for row in rows:
        set_aside(connection, row)


_WRITERS: dict[type[Row], Callable[[Connection, Any], None]] = {
    SetAside: _set_aside,
    Writer: _write_writers,
    Announced: _write_announced,
    WakeUp: _write_wake_ups,
    Effect: _write_effects,
    EffectOutcome: _write_outcomes,
    Reply: _write_replies,
    Grant: _write_grants,
    EngineValue: _write_values,
    Cursor: _write_cursors,
    Erasure: _erase,
}
