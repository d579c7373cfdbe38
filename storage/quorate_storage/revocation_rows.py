"""The rows of `revocations`: what transactions do, as functions of a connection."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

from sqlalchemy import Connection, insert, select

from quorate_storage.stores import Revocation
from quorate_storage.tables import revocations


def revoke(connection: Connection, revocation: Revocation) -> None:
    """Write a revocation."""
    connection.execute(
        insert(revocations).values(subject=revocation.subject, token_id=revocation.token_id, at=revocation.at)
    )


def list_revocations(connection: Connection) -> SequenceOf[Revocation]:
    """Return every revocation, oldest first."""
    rows = connection.execute(select(revocations).order_by(revocations.c.id))
    return [Revocation(subject=row.subject, token_id=row.token_id, at=row.at) for row in rows]
