"""The rows of `leases`: what transactions do, as functions of a connection."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, insert, select, update

from quorate_storage.errors import LeaseHeld, LeaseLost
from quorate_storage.stores import Lease
from quorate_storage.tables import leases

_TOKEN = select(leases.c.token).where(leases.c.scope == bindparam("held")).with_for_update(read=True)


def check_lease(connection: Connection, lease: Lease) -> None:
    """Make sure that the lease is the newest, and that it stays so until the transaction ends.

    On PostgreSQL the shared lock makes a take-over wait; on SQLite the transaction is the only
    writer.
    """
    token = connection.scalar(_TOKEN, {"held": lease.scope})
    if token != lease.token:
        raise LeaseLost(lease, token)


def acquire_lease(connection: Connection, wanted: Lease, at: float) -> Lease:
    """Take a lease that is free or expired at `at`, or renew the holder's own.

    `wanted` names scope, holder and end; its token is ignored.
    """
    present = _read(connection, wanted.scope)
    if present is None:
        taken = _next(wanted, 1)
        connection.execute(insert(leases).values(_columns(taken)))
        return taken
    if present.holder == wanted.holder:
        return _write(connection, _next(wanted, present.token))
    if present.expires_at > at:
        raise LeaseHeld(present)
    return _write(connection, _next(wanted, present.token + 1))


def renew_lease(connection: Connection, lease: Lease, expires_at: float) -> Lease:
    """Extend a lease whose token is still the newest."""
    present = _read(connection, lease.scope)
    if present is None or present.token != lease.token:
        raise LeaseLost(lease, present.token if present else None)
    return _write(
        connection,
        Lease(scope=lease.scope, holder=lease.holder, token=lease.token, expires_at=expires_at),
    )


def release_lease(connection: Connection, lease: Lease) -> None:
    """End a lease at once. The row stays, so that the next token is a greater one."""
    connection.execute(
        update(leases).where(leases.c.scope == lease.scope, leases.c.token == lease.token).values(expires_at=0.0)
    )


def _read(connection: Connection, scope: str) -> Lease | None:
    query = select(leases).where(leases.c.scope == scope).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return Lease(scope=row.scope, holder=row.holder, token=row.token, expires_at=row.expires_at)


def _write(connection: Connection, lease: Lease) -> Lease:
    connection.execute(update(leases).where(leases.c.scope == lease.scope).values(_columns(lease)))
    return lease


def _next(wanted: Lease, token: int) -> Lease:
    return Lease(scope=wanted.scope, holder=wanted.holder, token=token, expires_at=wanted.expires_at)


def _columns(lease: Lease) -> dict[str, str | int | float]:
    return {
        "scope": lease.scope,
        "holder": lease.holder,
        "token": lease.token,
        "expires_at": lease.expires_at,
    }
