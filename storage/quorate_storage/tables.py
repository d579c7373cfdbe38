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
