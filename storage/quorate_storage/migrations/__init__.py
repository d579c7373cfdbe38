"""Bringing a database's schema up to date: one module a schema version in `versions`.

Alembic's building blocks are used directly, inside a transaction that the caller opened and that no
other process can be in at the same time; so there is no `env.py` and no configuration file.
"""

from __future__ import annotations

from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from quorate_storage.errors import SchemaTooNew

HERE = Path(__file__).parent


def upgrade(connection: Connection) -> None:
    """Apply the migrations that the database does not have yet.

    Raises:
        SchemaTooNew: its schema version is none of ours; nothing was changed.
    """
    script = ScriptDirectory(str(HERE))
    newest = script.get_current_head()
    assert newest is not None
    context = MigrationContext.configure(connection)
    current = context.get_current_revision()
    if current == newest:
        return
    if current is not None and current not in {step.revision for step in script.walk_revisions()}:
        raise SchemaTooNew(current, newest)
    steps = list(script.iterate_revisions(newest, current or "base"))
    with Operations.context(context):
        for step in reversed(steps):
            step.module.upgrade()
    context.stamp(script, newest)
