"""The HTTP interface, so that scripts need no WebSocket: documents, states, updates; and health.

A document's name may hold slashes and takes the rest of the path, so what is asked of a document comes first:
`/api/documents/{name}`, `/api/states/{name}`, `/api/state-vectors/{name}`, `/api/updates/{name}`,
`/api/restorations/{name}`. Each endpoint is one row of `ENDPOINTS`, from which OpenAPI is generated.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from quorate_protocol.ids import DocumentName
from quorate_protocol.names import parse_document_name
from quorate_server.access import EVERYTHING, Action
from quorate_server.connections import House
from quorate_server.documents import EMPTY_STATE_VECTOR
from quorate_server.errors import Conflict, MalformedUpdate
from quorate_server.governance_api import GOVERNANCE_ENDPOINTS, run_command
from quorate_server.http_models import (
    DocumentInfo,
    DocumentList,
    DocumentView,
    NewDocument,
    NewRevocation,
    Written,
)
from quorate_server.kinds import is_record
from quorate_server.openapi import BASE64URL, BOOLEAN, PAGE_SIZE, TEXT, Endpoint, describe
from quorate_server.requests import (
    body_of,
    document_of,
    house_of,
    model_response,
    name_of,
    number_of,
    stored,
    user_of,
)
from quorate_server.room import Room
from quorate_server.users import User
from quorate_storage.acts import Act, AuditEvent
from quorate_storage.stores import Revocation

MAX_PAGE = 1000
UPDATE_TYPE = "application/octet-stream"
Handler = Callable[[Request, User], Awaitable[Response]]


# Documents


async def list_documents(request: Request, user: User) -> Response:
    """Return a page of the documents that the caller may read."""
    house = house_of(request)
    query = request.query_params
    limit = number_of(request, "limit", 100, least=1, most=MAX_PAGE)
    found = await stored(
        house.rooms.store.list_documents(
            prefix=query.get("prefix", ""),
            after=query.get("after", ""),
            limit=limit,
            include_deleted=query.get("deleted", "") == "true",
        )
    )
    wanted = [d for d in found if not is_record(d.name)]  # each is part of its artifact
    readable = [d for d in wanted if house.access.may(user, Action.READ, d.name)]
    page = DocumentList(
        documents=[DocumentInfo.of(document) for document in readable],
        next=found[-1].name if len(found) == limit else None,
    )
    return model_response(page)


async def create_document(request: Request, user: User) -> Response:
    """Create a document; 409 when the name is taken, also by a deleted document."""
    house = house_of(request)
    wanted = NewDocument.model_validate_json(await body_of(request))
    name = parse_document_name(wanted.name, max_bytes=house.limits.name_bytes)
    house.access.require(user, Action.CREATE, name)
    await stored(house.rooms.create(name, user))
    room = await house.rooms.open(name, user, may_create=False)
    if wanted.update:
        await room.write(user, wanted.update)
    return model_response(DocumentInfo.of(await document_of(house, name)), status=201)


async def read_document(request: Request, user: User) -> Response:
    """Return a document with its content as JSON."""
    house, name = house_of(request), name_of(request)
    room = await _room(house, user, name)
    document = await document_of(house, name)
    view = DocumentView(
        **DocumentInfo.of(document).model_dump(),
        content=await house.rooms.view(name, await room.read()),
        people=len(room.sessions),
    )
    return model_response(view)


async def delete_document(request: Request, user: User) -> Response:
    """Delete a document; everybody in it is sent away, and it stays deleted until it is restored."""
    house, name = house_of(request), name_of(request)
    house.access.require(user, Action.DELETE, name)
    return model_response(DocumentInfo.of(await house.rooms.delete(name, by=user.id)))


async def restore_document(request: Request, user: User) -> Response:
    """Bring a deleted document back."""
    house, name = house_of(request), name_of(request)
    house.access.require(user, Action.RESTORE, name)
    return model_response(DocumentInfo.of(await house.rooms.restore(name, by=user.id)))


async def read_state(request: Request, user: User) -> Response:
    """Return the durable state as a Yjs v1 update; `since` is the caller's state vector in base64url."""
    house, name = house_of(request), name_of(request)
    room = await _room(house, user, name)
    since = _base64url(request.query_params.get("since", ""))
    return Response(await room.read(since or EMPTY_STATE_VECTOR), media_type=UPDATE_TYPE)


async def read_state_vector(request: Request, user: User) -> Response:
    """Return the Yjs state vector: how far each client's edits are known."""
    house, name = house_of(request), name_of(request)
    room = await _room(house, user, name)
    return Response(room.live.state_vector(), media_type=UPDATE_TYPE)


async def apply_update(request: Request, user: User) -> Response:
    """Apply a Yjs v1 update, the request's body; the answer comes when it is durable."""
    house, name = house_of(request), name_of(request)
    # The room refuses what somebody wrote into a record, and accounts for it.
    house.access.require(user, Action.READ if is_record(name) else Action.WRITE, name)
    update = await body_of(request)
    if not update:
        raise MalformedUpdate("expected a Yjs v1 update as the body, the body is empty")
    room = await _room(house, user, name)
    place = await room.write(user, update)
    return model_response(Written(name=name, sequence=place))


async def revoke(request: Request, user: User) -> Response:
    """Let tokens prove nothing any more; their connections are closed within seconds."""
    house = house_of(request)
    wanted = NewRevocation.model_validate_json(await body_of(request))
    house.access.require(user, Action.ADMINISTER, EVERYTHING)
    if not (wanted.subject or wanted.token_id):
        raise Conflict("name whom to revoke: `subject` or `token_id`")
    revocation = Revocation(subject=wanted.subject, token_id=wanted.token_id, at=time.time())
    facts = {"subject": wanted.subject, "token_id": wanted.token_id}
    told = AuditEvent(type="access.tokens_revoked", at=revocation.at, actor=user.id, via="api", facts=facts)
    await stored(house.rooms.store.revoke(revocation, act=Act(rows=(told,))))
    house.access.revoke([revocation])
    return Response(status_code=204)


# Health


async def healthz(_: Request) -> Response:
    """Answer as long as the process lives."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """Answer 200 when documents can be opened and written, else 503 with the reason."""
    reason = request.app.state.quorate.not_ready_because()
    return PlainTextResponse(f"{reason or 'ready'}\n", status_code=503 if reason else 200)


async def metrics(request: Request) -> Response:
    """Return all metrics in Prometheus' text format."""
    text = request.app.state.quorate.render_metrics()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def openapi(request: Request) -> Response:
    """Describe this interface (OpenAPI 3.1)."""
    return JSONResponse(describe(ALL_ENDPOINTS, request.app.state.house.commands.specs))


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/api/documents", list_documents, answer=DocumentList,
             query={"prefix": TEXT, "after": TEXT, "limit": PAGE_SIZE, "deleted": BOOLEAN}),
    Endpoint("POST", "/api/documents", create_document, body=NewDocument, answer=DocumentInfo,
             status=201),
    Endpoint("GET", "/api/documents/{name:path}", read_document, answer=DocumentView),
    Endpoint("DELETE", "/api/documents/{name:path}", delete_document, answer=DocumentInfo),
    Endpoint("POST", "/api/restorations/{name:path}", restore_document, answer=DocumentInfo),
    Endpoint("GET", "/api/states/{name:path}", read_state, query={"since": BASE64URL}),
    Endpoint("GET", "/api/state-vectors/{name:path}", read_state_vector),
    Endpoint("POST", "/api/updates/{name:path}", apply_update, is_binary_body=True, answer=Written),
    Endpoint("POST", "/api/revocations", revoke, body=NewRevocation, status=204),
)  # fmt: skip


ALL_ENDPOINTS = ENDPOINTS + GOVERNANCE_ENDPOINTS


def api_routes() -> list[BaseRoute]:
    """Return the routes of the interface and of its description."""
    routes: list[BaseRoute] = [Route("/api/openapi.json", openapi)]
    routes.append(Route("/api/commands/{command}", _authenticated(run_command), methods=["POST"]))
    routes += [Route(e.path, _authenticated(e.handler), methods=[e.method]) for e in ALL_ENDPOINTS]
    return routes


def health_routes() -> list[BaseRoute]:
    """Return the routes for operators."""
    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]


def _authenticated(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await handler(request, await user_of(request))

    return endpoint


async def _room(house: House, user: User, name: DocumentName) -> Room:
    """Return the room of a document that exists and that the caller may read."""
    house.access.require(user, Action.READ, name)
    if not is_record(name):  # a record comes into being with whoever first looks at it
        await document_of(house, name)
    return await house.rooms.open(name, user, may_create=False)


def _base64url(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedUpdate("`since` must be a state vector in base64url") from error
