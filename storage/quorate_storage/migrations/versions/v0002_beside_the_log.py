"""Beside the log: attribution, the audit chain, the change feed, and what commands and engines keep."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
NAME = sa.Text().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Create them."""
    create_attribution()
    create_audit()
    create_feed()
    create_engines()
    create_commands()


def create_attribution() -> None:
    """Create who wrote what."""
    op.create_table(
        "writers",
        sa.Column("document_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("client_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("user_id", sa.Text, nullable=False),
    )
    op.create_table(
        "attributions",
        sa.Column("document_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("first", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("packed", sa.LargeBinary, nullable=False),
    )


def create_audit() -> None:
    """Create the audit chain, empty, and the ids of acts."""
    op.create_table(
        "acts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_index("acts_by_time", "acts", ["at"])
    op.create_table(
        "audit",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("chain", sa.LargeBinary, nullable=False),
        sa.Column("artifact", sa.Text),
    )
    op.create_index("audit_by_artifact", "audit", ["artifact", "sequence"])
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("chain", sa.LargeBinary, nullable=False),
        sa.Column("frontier", sa.LargeBinary, nullable=False),
    )
    op.execute(
        sa.text("INSERT INTO audit_head (id, size, chain, frontier) VALUES (1, 0, :empty, :empty)").bindparams(
            sa.bindparam("empty", b"", sa.LargeBinary)
        )
    )
    op.create_table(
        "audit_texts",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("field", sa.Text, primary_key=True),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_table(
        "checkpoints",
        sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )


def create_feed() -> None:
    """Create the change feed, empty."""
    op.create_table(
        "changes",
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("document", NAME, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
    )
    op.create_index("changes_by_document", "changes", ["document", "position"])
    op.create_table(
        "feed_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger, nullable=False),
    )
    op.execute("INSERT INTO feed_head (id, position) VALUES (1, 0)")
    op.create_table(
        "announcements",
        sa.Column("document_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "cursors",
        sa.Column("reader", sa.Text, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
    )


def create_engines() -> None:
    """Create what engines keep."""
    op.create_table(
        "wake_ups",
        sa.Column("engine", sa.Text, primary_key=True),
        sa.Column("artifact", NAME, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_index("wake_ups_by_time", "wake_ups", ["at"])
    op.create_table(
        "outbox",
        sa.Column("id", KEY, primary_key=True, autoincrement=True),
        sa.Column("engine", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("artifact", sa.Text),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.UniqueConstraint("engine", "key", name="outbox_once"),
    )
    op.create_index("outbox_by_time", "outbox", ["state", "due_at"])
    op.create_table(
        "engine_values",
        sa.Column("engine", sa.Text, primary_key=True),
        sa.Column("key", NAME, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )


def create_commands() -> None:
    """Create what commands keep."""
    op.create_table(
        "replies",
        sa.Column("actor", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_index("replies_by_time", "replies", ["at"])
    op.create_table(
        "grants",
        sa.Column("scope", NAME, primary_key=True),
        sa.Column("principal", sa.Text, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
