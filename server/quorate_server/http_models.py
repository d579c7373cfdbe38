"""The shapes of the HTTP interface; OpenAPI is generated from them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field

from quorate_server.kinds import kind_of
from quorate_storage.stores import Document


class Model(BaseModel):
    """Base of all shapes: unknown members are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DocumentInfo(Model):
    """A document, without its content. Times are seconds since the epoch."""

    name: str
    kind: str
    epoch: Annotated[int, Field(description="Grows with each deletion and restoration")]
    created_at: float
    created_by: str
    last_sequence: Annotated[int, Field(description="The newest durable update")]
    deleted_at: float | None = None
    deleted_by: str | None = None

    @classmethod
    def of(cls, document: Document) -> DocumentInfo:
        """Show a row of the catalogue."""
        return cls(
            name=document.name,
            kind=kind_of(document.name),
            epoch=document.epoch,
            created_at=document.created_at,
            created_by=document.created_by,
            last_sequence=document.last_sequence,
            deleted_at=document.deleted_at,
            deleted_by=document.deleted_by,
        )


class DocumentList(Model):
    """One page of documents, by name. `next` is the `after` of the following page."""

    documents: list[DocumentInfo]
    next: str | None = None


class DocumentView(DocumentInfo):
    """A document with its content as JSON: one member for each Yjs root."""

    content: dict[str, object]
    people: Annotated[int, Field(description="Sessions that have it open now")]


class NewDocument(Model):
    """A document to create, from an initial Yjs v1 update if one is given."""

    name: Annotated[str, Field(min_length=1, max_length=256, examples=["text/glossary"])]
    update: Annotated[Base64Bytes, Field(description="Yjs v1 update in base64")] | None = None


class Written(Model):
    """An update that is durable now, and its place in the document's log."""

    name: str
    sequence: int


class NewRevocation(Model):
    """Whose tokens prove nothing from now on: all of a user's, or one by its `jti`."""

    subject: Annotated[str, Field(max_length=256)] = ""
    token_id: Annotated[str, Field(max_length=256)] = ""


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
