"""Bringing a database's schema up to date: one module a schema version in `versions`.

Alembic's building blocks are used directly, inside a transaction that the caller opened and that no
other process can be in at the same time; so there is no `env.py` and no configuration file.

A new database is made as the newest version is, from `tables`, and a test holds that to be what the migrations make.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect, select

from quorate_storage import tables
from quorate_storage.errors import SchemaTooNew

HERE = Path(__file__).parent
NEWEST = "0002"
"""The revision of the last module in `versions`."""

_VERSION = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Alembic's own table, as it makes it."""


def upgrade(connection: Connection) -> None:
    """Apply the migrations that the database does not have yet.

    Raises:
        SchemaTooNew: its schema version is none of ours; nothing was changed.
    """
    if not inspect(connection).has_table(_VERSION.name):
        _begin(connection)
        return
    if [*connection.scalars(select(_VERSION.c.version_num))] == [NEWEST]:
        return
    # Only here: a server whose database is new or up to date keeps 20 MiB of memory that they take.
    from alembic.migration import MigrationContext  # noqa: PLC0415
    from alembic.operations import Operations  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    script = ScriptDirectory(str(HERE))
    newest = script.get_current_head()
    assert newest == NEWEST, "NEWEST names the last migration"
    context = MigrationContext.configure(connection)
    current = context.get_current_revision()
    if current is not None and current not in {step.revision for step in script.walk_revisions()}:
        raise SchemaTooNew(current, newest)
    steps = list(script.iterate_revisions(newest, current or "base"))
    with Operations.context(context):
        for step in reversed(steps):
            step.module.upgrade()
    context.stamp(script, newest)


def _begin(connection: Connection) -> None:
    """Make all tables in a database that has none of them, and the rows that are there from the start."""
    tables.metadata.create_all(connection, checkfirst=False)
    connection.execute(insert(tables.audit_head), {"id": 1, "size": 0, "chain": b"", "frontier": b""})
    connection.execute(insert(tables.feed_head), {"id": 1, "position": 0})
    _VERSION.create(connection)
    connection.execute(insert(_VERSION), {"version_num": NEWEST})
