"""`/hocuspocus`: the Hocuspocus dialect, versions 3 and 4. Many documents a socket; tokens in band.

Each document of a socket has its own life: a token is judged, the document is opened, it is left or closed,
and the others on the socket do not notice. What ends a document for good is PermissionDenied, the only thing
that stops a stock provider; what is transient closes the socket, since a provider then comes back by itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from starlette.types import Receive, Scope, Send

from quorate_protocol import hocuspocus
from quorate_protocol.closing import CloseCode, Dialect
from quorate_protocol.errors import LimitExceeded, QuorateError, RemoteProtocolError
from quorate_protocol.ids import DocumentName
from quorate_protocol.messages import Authenticate, CloseDocument, Event
from quorate_protocol.transitions import AddressState
from quorate_server.access import Action
from quorate_server.connections import Connection, House, code_of
from quorate_server.errors import Refused, Unavailable
from quorate_server.frames import Frames
from quorate_server.room import Room
from quorate_server.sessions import HocuspocusEncoder, Session
from quorate_server.users import User

log = logging.getLogger("quorate.server")

DENIED_SECONDS = 60.0
"""How long a socket on which everything was denied may stay, from its opening.

A denied provider is content to stay, and once closed comes back within a second with the same token: closing it
at the handshake's deadline would have it back every few seconds for as long as its page is open.
"""

TOKEN_REQUEST_SECONDS = 30.0
"""How long before a token expires its holder is asked for a fresh one."""


async def serve_hocuspocus(house: House, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one socket until it is gone. Until a token is good, the protocol's caps hold."""
    await receive()  # websocket.connect
    await send({"type": "websocket.accept"})
    await HocuspocusConnection(house, scope, receive, send).run()


class _Open:
    """One open document of a socket."""

    __slots__ = ("awaits_token", "is_asked_for_token", "name", "room", "session")

    def __init__(self, name: DocumentName, session: Session, room: Room) -> None:
        self.name = name
        self.session = session
        self.room = room
        self.is_asked_for_token = False
        """Whether the token in force is one that its holder was asked to replace."""
        self.awaits_token = False
        """Whether no answer has come."""


class HocuspocusConnection(Connection):
    """One socket of the Hocuspocus dialect."""

    __slots__ = ("_deadline", "_documents", "_opening", "_protocol")

    dialect = Dialect.HOCUSPOCUS

    def __init__(self, house: House, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(house, scope, receive, send)
        self._protocol = hocuspocus.HocuspocusConnection(house.limits)
        self._documents: dict[str, _Open] = {}
        self._opening = 0
        """How many documents are being opened for somebody who has proved who they are."""
        self._deadline: asyncio.TimerHandle | None = None
        self._set_deadline(house.limits.handshake_seconds)

    def finish(self, code: int) -> None:
        """Leave everything: the socket is gone."""
        self._clear_deadline()
        super().finish(code)

    def read(self, data: bytes) -> Iterable[Event]:
        """Decode one WebSocket message; what the protocol answers by itself is sent at once."""
        try:
            return self._protocol.receive_frame(data)
        finally:
            self._send_protocol_frames()
            if self._protocol.should_pause:
                self.channel.pause_reading()

    def read_burst(self, messages: list[bytes], start: int) -> tuple[str, list[bytes]]:
        """Read edits of one open document, one a message."""
        return self._protocol.receive_burst(messages, start)

    def may_resume(self) -> bool:
        """Tell whether the next frame could not pass a bound of the handshake."""
        return not self._protocol.should_pause

    def find(self, address: str) -> tuple[Session, Room] | None:
        """Return the open document of an address."""
        found = self._documents.get(address)
        return None if found is None else (found.session, found.room)

    def handle(self, event: Event) -> None:
        """Act on tokens and goodbyes; the rest is common to the dialects."""
        if isinstance(event, Authenticate):
            self._tasks.add(asyncio.create_task(self._judge(event)))
        elif isinstance(event, CloseDocument):
            self._leave(event.address)
        else:
            super().handle(event)

    def leave_all(self) -> None:
        """Leave every room."""
        for address in tuple(self._documents):
            self._leave(address)

    async def recheck(self, now: float) -> None:
        """Ask for fresh tokens before the old ones expire; end what may not go on."""
        access = self.house.access
        has_new_rules = self.has_new_rules(*(document.name for document in self._documents.values()))
        for address, document in tuple(self._documents.items()):
            user = document.session.user
            if document.awaits_token and _has_expired(user, now):
                # Version 2 does not know the question. It brings a fresh token when it reconnects.
                self.close(CloseCode.TIMED_OUT, "the token has expired: reconnect with a fresh one")
                return
            try:
                access.check_alive(user, now=now)
                if has_new_rules:
                    self._follow_rules(address, document)
            except Refused as cause:
                self._end(address, cause)
                continue
            if _has_expired(user, now + TOKEN_REQUEST_SECONDS) and not document.is_asked_for_token:
                document.is_asked_for_token = document.awaits_token = True
                self.channel.write(Frames([hocuspocus.encode_token_request(address)]))

    def _follow_rules(self, address: str, document: _Open) -> None:
        access, user = self.house.access, document.session.user
        access.require(user, Action.READ, document.name)
        may_write = access.may(user, Action.WRITE, document.name)
        document.session.may_comment = access.may(user, Action.COMMENT, document.name)
        if may_write != document.session.may_write:
            self._change_scope(address, document, may_write=may_write)

    # One token

    async def _judge(self, event: Authenticate) -> None:
        address = event.address
        try:
            user = await self.house.authenticator.authenticate(event.token)
            self.house.access.check_alive(user, now=time.time())
            self.house.access.require(user, Action.READ, event.document)
            if event.is_refresh:
                self._refresh(address, user)
            else:
                self._opening += 1
                try:
                    await self._open(event, user)
                finally:
                    self._opening -= 1
        except Refused as cause:
            self._deny(address, cause)
        except Unavailable as cause:
            self.close(cause.close_code, str(cause))
        except RemoteProtocolError as error:
            self.fail(error)
        except Exception:
            log.exception("connection.failed", extra={"dialect": str(self.dialect)})
            self.close(CloseCode.INTERNAL_ERROR, "internal error")
        finally:
            if not self._is_closing and self._resume is None and self.may_resume():
                self.channel.resume_reading()

    async def _open(self, event: Authenticate, user: User) -> None:
        address, name = event.address, event.document
        access = self.house.access
        may_create = access.may(user, Action.CREATE, name)
        room = await self.house.rooms.open(name, user, may_create=may_create)
        if self._is_closing or self._protocol.state_of(address) is not AddressState.AUTHENTICATING:
            return
        may_write = access.may(user, Action.WRITE, name)
        session = Session(
            channel=self.channel,
            encoder=HocuspocusEncoder(address),
            user=user,
            may_write=may_write,
            may_comment=access.may(user, Action.COMMENT, name),
            end=lambda cause: self._end(address, cause),
            # Providers tell their version from 4 on, and from 4 on they do not.
            announces_again=event.version is None,
        )
        self._documents[address] = _Open(room.name, session, room)
        self._clear_deadline()
        self.house.metrics.sessions.inc()
        queued = self._protocol.accept(address, read_only=not may_write)
        self._send_protocol_frames()
        room.join(session)
        self.handle_all(queued)

    def _refresh(self, address: str, user: User) -> None:
        document = self._documents.get(address)
        if document is None:
            return
        if document.session.user.id != user.id:
            self._end(address, Unavailable("the token is somebody else's: reconnect"))
            return
        is_fresh = user.expires_at != document.session.user.expires_at
        document.session.user = user
        document.awaits_token = False
        document.is_asked_for_token = document.is_asked_for_token and not is_fresh
        may_write = self.house.access.may(user, Action.WRITE, document.name)
        self._change_scope(address, document, may_write=may_write)

    def _change_scope(self, address: str, document: _Open, *, may_write: bool) -> None:
        document.session.may_write = may_write
        self._protocol.accept(address, read_only=not may_write)
        self._send_protocol_frames()

    # Ends

    def _deny(self, address: str, cause: Refused) -> None:
        self.house.metrics.refused(cause.code.replace("-", "_"))
        log.info("document.refused", extra={"dialect": "hocuspocus", "cause": str(cause)})
        self._leave(address)
        self._protocol.deny(address, cause.code)
        self._send_protocol_frames()
        if not self._protocol.is_authenticated:
            self._set_deadline(self._opened_at + DENIED_SECONDS - time.monotonic())

    def _end(self, address: str, cause: QuorateError) -> None:
        """End one document for good, or the socket for a cause that passes."""
        if isinstance(cause, Refused):
            self._deny(address, cause)
        else:
            self.close(code_of(cause, self.dialect), str(cause))

    def _leave(self, address: str) -> None:
        document = self._documents.pop(address, None)
        if document is not None:
            self.house.metrics.sessions.dec()
            document.room.leave(document.session)

    def _set_deadline(self, seconds: float) -> None:
        self._clear_deadline()
        self._deadline = asyncio.get_running_loop().call_later(seconds, self._on_handshake_deadline)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_handshake_deadline(self) -> None:
        if self._protocol.is_authenticated:
            return
        limit = self.house.limits.handshake_seconds
        if self._opening:  # the time is ours: nobody is sent away because the database is slow
            self._set_deadline(limit)
        else:
            self.fail(LimitExceeded("handshake_seconds", limit, limit))

    def _send_protocol_frames(self) -> None:
        frames = self._protocol.frames_to_send()
        if frames:
            self.channel.write(Frames(frames))


def _has_expired(user: User, now: float) -> bool:
    return user.expires_at is not None and now >= user.expires_at
