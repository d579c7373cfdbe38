"""The tables of the SQL store, as SQLAlchemy knows them.

How they came to be is in `migrations`; a test compares the two. Times are seconds since the epoch
as double precision. Names compare by code point on both databases: SQLite's BINARY does, and so
does PostgreSQL's "C".
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

AnyRow = Row[*tuple[Any, ...]]
"""A row on its way to the first constructor, which knows its columns."""

# SQLite numbers rows by itself only for a primary key of the exact type INTEGER (which is 64 bits
# wide).
Key = BigInteger().with_variant(Integer, "sqlite")
Name = Text().with_variant(String(collation="C"), "postgresql")

documents = Table(
    "documents",
    metadata,
    Column("id", Key, primary_key=True, autoincrement=True),
    Column("name", Name, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("deleted_at", Double),
    Column("deleted_by", Text),
)

# No foreign key to documents: rows of documents are never deleted, every append looks the document
# up anyway, and PostgreSQL would pay a query a row for the check.
updates = Table(
    "updates",
    metadata,
    Column("document_id", BigInteger, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("update", LargeBinary, nullable=False),
    Column("author", Text, nullable=False),
    Column("at", Double, nullable=False),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("document_id", Key, ForeignKey("documents.id"), primary_key=True, autoincrement=False),
    Column("through", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),
    Column("waiting", LargeBinary, nullable=False),
    Column("at", Double, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("document_id", Key, ForeignKey("documents.id"), primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("state", LargeBinary, nullable=False),
    Column("through", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("created_by", Text, nullable=False),
)

set_aside = Table(
    "set_aside",
    metadata,
    Column("id", Key, primary_key=True, autoincrement=True),
    Column("document_id", Key, ForeignKey("documents.id"), nullable=False),
    Column("cause", Text, nullable=False),
    Column("update", LargeBinary, nullable=False),
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Double, nullable=False),
    Index("set_aside_by_document", "document_id", "id"),
)

writers = Table(
    "writers",
    metadata,
    Column("document_id", BigInteger, primary_key=True, autoincrement=False),
    Column("client_id", BigInteger, primary_key=True, autoincrement=False),
    Column("user_id", Text, nullable=False),
)

attributions = Table(
    "attributions",
    metadata,
    Column("document_id", BigInteger, primary_key=True, autoincrement=False),
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
    Column("packed", LargeBinary, nullable=False),
)

acts = Table(
    "acts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("at", Double, nullable=False),
    Index("acts_by_time", "at"),
)

audit = Table(
    "audit",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("artifact", Text),
    Index("audit_by_artifact", "artifact", "sequence"),
)

# One row. Its lock puts the events of all writers in one order.
audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
)

# What the chain holds commitments to. Erasing a row leaves every proof valid.
audit_texts = Table(
    "audit_texts",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("field", Text, primary_key=True),
    Column("salt", LargeBinary, nullable=False),
    Column("text", Text, nullable=False),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
    Column("at", Double, nullable=False),
)

changes = Table(
    "changes",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("type", Text, nullable=False),
    Column("document", Name, nullable=False),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("data", Text, nullable=False),
    Index("changes_by_document", "document", "position"),
)

# One row. Its lock makes positions visible in their order: no reader can step over one that commits late.
feed_head = Table(
    "feed_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
)

announcements = Table(
    "announcements",
    metadata,
    Column("document_id", BigInteger, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
)

wake_ups = Table(
    "wake_ups",
    metadata,
    Column("engine", Text, primary_key=True),
    Column("artifact", Name, primary_key=True),
    Column("at", Double, nullable=False),
    Index("wake_ups_by_time", "at"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Key, primary_key=True, autoincrement=True),
    Column("engine", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("artifact", Text),
    Column("payload", Text, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("error", Text, nullable=False),
    UniqueConstraint("engine", "key", name="outbox_once"),
    Index("outbox_by_time", "state", "due_at"),
)

replies = Table(
    "replies",
    metadata,
    Column("actor", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("status", Integer, nullable=False),
    Column("answer", Text, nullable=False),
    Column("at", Double, nullable=False),
    Index("replies_by_time", "at"),
)

grants = Table(
    "grants",
    metadata,
    Column("scope", Name, primary_key=True),
    Column("principal", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", Double, nullable=False),
)

engine_values = Table(
    "engine_values",
    metadata,
    Column("engine", Text, primary_key=True),
    Column("key", Name, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

cursors = Table(
    "cursors",
    metadata,
    Column("reader", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
)

revocations = Table(
    "revocations",
    metadata,
    Column("id", Key, primary_key=True, autoincrement=True),
    Column("subject", Text, nullable=False),
    Column("token_id", Text, nullable=False),
    Column("at", Double, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("expires_at", Double, nullable=False),
)
