"""Bringing a database's schema up to date: one module a schema version in `versions`.

Alembic's building blocks are used directly, inside a transaction that the caller opened and that no
other process can be in at the same time; so there is no `env.py` and no configuration file.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table

from quorate_storage.errors import SchemaTooNew

HERE = Path(__file__).parent
NEWEST = "0002"
"""The revision of the last module in `versions`."""

_VERSION = table("alembic_version", column("version_num"))


def upgrade(connection: Connection) -> None:
    """Apply the migrations that the database does not have yet.

    Raises:
        SchemaTooNew: its schema version is none of ours; nothing was changed.
    """
    if _is_newest(connection):
        return
    # Only here: a server whose database is up to date keeps 10 MiB of memory that they take.
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


def _is_newest(connection: Connection) -> bool:
    """Whether the database is up to date, found out without loading what could change that."""
    if not inspect(connection).has_table(_VERSION.name):
        return False
    return [*connection.scalars(select(_VERSION.c.version_num))] == [NEWEST]
