"""The first tables: catalogue, log, snapshots, versions, what was set aside, leases."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
NAME = sa.Text().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Create them."""
    create_documents()
    create_log()
    create_versions()
    create_set_aside()
    create_revocations()
    create_leases()


def create_documents() -> None:
    """Create the catalogue."""
    op.create_table(
        "documents",
        sa.Column("id", KEY, primary_key=True, autoincrement=True),
        sa.Column("name", NAME, nullable=False, unique=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("deleted_at", sa.Double),
        sa.Column("deleted_by", sa.Text),
    )


def create_log() -> None:
    """Create the log and its snapshots."""
    op.create_table(
        "updates",
        sa.Column("document_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("update", sa.LargeBinary, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "snapshots",
        sa.Column("document_id", KEY, sa.ForeignKey("documents.id"), primary_key=True),
        sa.Column("through", sa.BigInteger, nullable=False),
        sa.Column("state", sa.LargeBinary, nullable=False),
        sa.Column("waiting", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )


def create_versions() -> None:
    """Create the named versions."""
    op.create_table(
        "versions",
        sa.Column("document_id", KEY, sa.ForeignKey("documents.id"), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", sa.LargeBinary, nullable=False),
        sa.Column("through", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
    )


def create_set_aside() -> None:
    """Create the place for updates that are in no log."""
    op.create_table(
        "set_aside",
        sa.Column("id", KEY, primary_key=True, autoincrement=True),
        sa.Column("document_id", KEY, sa.ForeignKey("documents.id"), nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("update", sa.LargeBinary, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_index("set_aside_by_document", "set_aside", ["document_id", "id"])


def create_revocations() -> None:
    """Create the list of what proves nothing any more."""
    op.create_table(
        "revocations",
        sa.Column("id", KEY, primary_key=True, autoincrement=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("token_id", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )


def create_leases() -> None:
    """Create the leases."""
    op.create_table(
        "leases",
        sa.Column("scope", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
    )
