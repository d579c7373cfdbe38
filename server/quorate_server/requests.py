"""What every endpoint of the HTTP interface asks of a request: who, which document, which values, which body."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable
from typing import TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from quorate_protocol.errors import LimitExceeded
from quorate_protocol.ids import DocumentName
from quorate_protocol.names import parse_document_name
from quorate_server.connections import House
from quorate_server.errors import (
    DocumentDeleted,
    DocumentNotFound,
    MalformedUpdate,
    NotAuthenticated,
    Unavailable,
)
from quorate_server.users import User
from quorate_storage.errors import StorageUnavailable, ValueRefused
from quorate_storage.stores import Document

T = TypeVar("T")
LARGEST_NUMBER = 2**53 - 1


def house_of(request: Request) -> House:
    """Return the server that a request came to."""
    house: House = request.app.state.house
    return house


async def user_of(request: Request) -> User:
    """Return who a request comes from.

    Raises:
        NotAuthenticated: the bearer token is missing or proves nothing.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if token and scheme.lower() != "bearer":
        raise NotAuthenticated(f"expected `Authorization: Bearer TOKEN`, not {scheme[:16]!r}")
    house = house_of(request)
    user = await house.authenticator.authenticate(token.strip())
    house.access.check_alive(user, now=time.time())
    return user


def name_of(request: Request) -> DocumentName:
    """Return the document name at the end of the path."""
    return parse_document_name(request.path_params["name"], max_bytes=house_of(request).limits.name_bytes)


def number_of(request: Request, name: str, default: int, *, least: int = 0, most: int = LARGEST_NUMBER) -> int:
    """Return a number of the query.

    Raises:
        MalformedUpdate: it is no number, or out of range.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,16}", text) or not least <= int(text) <= most:
        raise MalformedUpdate(f"`{name}` must be a number from {least} to {most}, not {text[:20]!r}")
    return int(text)


async def body_of(request: Request) -> bytes:
    """Return the body, bounded like a frame before it is read into memory."""
    limit = house_of(request).limits.frame_bytes
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limit:
        raise LimitExceeded("frame_bytes", limit, int(announced))
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise LimitExceeded("frame_bytes", limit, size)
        chunks.append(chunk)
    return b"".join(chunks)


async def document_of(house: House, name: DocumentName) -> Document:
    """Return the row of a document that exists.

    Raises:
        DocumentNotFound: it does not.
        DocumentDeleted: a tombstone stands there.
    """
    document = await stored(house.rooms.store.find(name))
    if document is None:
        raise DocumentNotFound(f"there is no document {name!r}")
    if document.deleted_at is not None:
        raise DocumentDeleted(f"{name!r} was deleted")
    return document


async def stored(work: Awaitable[T]) -> T:
    """Return what the store answers.

    Raises:
        Unavailable: it does not.
        MalformedUpdate: it can never hold a value that was given.
    """
    try:
        return await work
    except StorageUnavailable as error:
        raise Unavailable("the database cannot be reached: try again") from error
    except ValueRefused as error:
        raise MalformedUpdate(str(error)) from error


def model_response(model: BaseModel, *, status: int = 200) -> Response:
    """Return a model as JSON."""
    return Response(model.model_dump_json(), status_code=status, media_type="application/json")
