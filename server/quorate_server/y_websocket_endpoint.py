"""`/sync/{name}`: the y-websocket dialect. One document a socket; the token comes with the request."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Iterable
from contextlib import suppress

from starlette.types import Receive, Scope, Send

from quorate_protocol import y_websocket
from quorate_protocol.closing import Dialect
from quorate_protocol.errors import NameRefused, QuorateError
from quorate_protocol.ids import DocumentName
from quorate_protocol.messages import Event
from quorate_protocol.names import document_name_from_path
from quorate_server.access import Action
from quorate_server.connections import Connection, House, code_of
from quorate_server.errors import Refused, Unavailable
from quorate_server.frames import Frames
from quorate_server.handshakes import find_token
from quorate_server.room import Room
from quorate_server.sessions import Session, YWebSocketEncoder
from quorate_server.users import User

log = logging.getLogger("quorate.server")

_ENCODER = YWebSocketEncoder()
SYNC_PREFIX = "/sync/"
"""A browser cannot set headers on a WebSocket: it may offer `quorate.token.<token>` as a subprotocol."""


async def serve_y_websocket(house: House, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one socket: prove who it is, open its document, then relay until it is gone.

    A refusal is told after accepting, by the dialect's own message and close code: a browser cannot see the
    status of a refused handshake. Who was told and comes again has to wait, see `denials`.
    """
    await receive()  # websocket.connect
    token, subprotocol = find_token(scope)
    try:
        name = document_name_from_path(_raw_name(scope), max_bytes=house.limits.name_bytes)
        user = await house.authenticator.authenticate(token)
        session_of = await _admit(house, name, user)
    except (Refused, Unavailable, NameRefused) as cause:
        who = (scope.get("client") or ("",))[0], _raw_name(scope), token
        client = hashlib.blake2b(repr(who).encode(), digest_size=16).digest()
        await _turn_away(house, cause, send, subprotocol, pause=house.denials.pause_of(client))
        return
    await send({"type": "websocket.accept", "subprotocol": subprotocol})
    connection = YWebSocketConnection(house, scope, receive, send, name=name, user=user)
    may_comment = house.access.may(user, Action.COMMENT, name)
    connection.enter(session_of, may_write=house.access.may(user, Action.WRITE, name), may_comment=may_comment)
    await connection.run()


async def _admit(house: House, name: DocumentName, user: User) -> Room:
    house.access.check_alive(user, now=time.time())
    house.access.require(user, Action.READ, name)
    may_create = house.access.may(user, Action.CREATE, name)
    return await house.rooms.open(name, user, may_create=may_create)


async def _turn_away(house: House, cause: QuorateError, send: Send, subprotocol: str | None, *, pause: float) -> None:
    code = code_of(cause, Dialect.Y_WEBSOCKET)
    house.metrics.refused(getattr(cause, "code", "name_refused").replace("-", "_"))
    log.info("connection.refused", extra={"dialect": "y-websocket", "cause": str(cause)})
    with suppress(OSError, RuntimeError):  # the peer may be gone already
        await send({"type": "websocket.accept", "subprotocol": subprotocol})
        denied = y_websocket.encode_permission_denied(str(cause))
        await send({"type": "websocket.send", "bytes": denied})
        await asyncio.sleep(pause)
        await send({"type": "websocket.close", "code": code, "reason": str(cause)[:40]})


class YWebSocketConnection(Connection):
    """One socket of the y-websocket dialect."""

    __slots__ = ("_name", "_open", "_protocol", "_user")

    dialect = Dialect.Y_WEBSOCKET

    def __init__(
        self,
        house: House,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        name: DocumentName,
        user: User,
    ) -> None:
        super().__init__(house, scope, receive, send)
        self._protocol = y_websocket.YWebSocketConnection(house.limits)
        self._name = name
        self._user = user
        self._open: tuple[Session, Room] | None = None

    def enter(self, room: Room, *, may_write: bool, may_comment: bool) -> None:
        """Open the document on this socket."""
        session = Session(
            channel=self.channel,
            encoder=_ENCODER,
            user=self._user,
            may_write=may_write,
            may_comment=may_comment,
            end=self._end,
        )
        self._open = (session, room)
        self.house.metrics.sessions.inc()
        room.join(session)

    def read(self, data: bytes) -> Iterable[Event]:
        """Decode one WebSocket message."""
        return self._protocol.receive_frame(data)

    def read_burst(self, messages: list[bytes], start: int) -> tuple[str, list[bytes]]:
        """Read edits, one a message."""
        return "", self._protocol.receive_burst(messages, start)

    def find(self, address: str) -> tuple[Session, Room] | None:  # noqa: ARG002 - there is one
        """Return the open document; the dialect has one."""
        return self._open

    def leave_all(self) -> None:
        """Leave the room."""
        if self._open is not None:
            session, room = self._open
            self._open = None
            self.house.metrics.sessions.dec()
            room.leave(session)

    async def recheck(self, now: float) -> None:
        """End the socket when its proof or right to read is gone; follow changes of the right to write."""
        if self._open is None:
            return
        access = self.house.access
        try:
            access.check_alive(self._user, now=now)
            if not self.has_new_rules(self._name):
                return
            access.require(self._user, Action.READ, self._name)
        except Refused as cause:
            self._end(cause)
            return
        session, _ = self._open
        may_write = access.may(self._user, Action.WRITE, self._name)
        if may_write and not session.may_write:
            # Its edits so far were dropped: a fresh sync brings them in.
            self._end(Unavailable("your rights have changed: reconnect"))
        session.may_write = may_write
        session.may_comment = access.may(self._user, Action.COMMENT, self._name)

    def _end(self, cause: QuorateError) -> None:
        if isinstance(cause, Refused):
            self.channel.write(Frames([y_websocket.encode_permission_denied(str(cause))]))
        self.close(code_of(cause, self.dialect), str(cause))


def _raw_name(scope: Scope) -> bytes:
    """Return the name as it stands in the URL, undecoded: it is decoded exactly once, by the protocol.

    `root_path` is where our application is mounted in another one.
    """
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    below = raw_path.partition(b"?")[0].removeprefix(scope.get("root_path", "").encode())
    return below.removeprefix(SYNC_PREFIX.encode())
