"""One WebSocket of each dialect: messages in, sessions in rooms, and the reasons for an end.

`Connection` holds what both dialects share: reading through a throttle, the end of a peer that breaks the
rules, the regular check that its rights still hold. `YWebSocketConnection` and `HocuspocusConnection` in
`y_websocket_endpoint` and `hocuspocus_endpoint` say how each dialect authenticates, opens and closes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from starlette.types import Receive, Scope, Send

from quorate_protocol.closing import CloseCode, Dialect, close_code
from quorate_protocol.errors import QuorateError, RemoteProtocolError
from quorate_protocol.ids import DocumentName
from quorate_protocol.limits import Limits
from quorate_protocol.messages import (
    AwarenessChange,
    AwarenessQuery,
    Event,
    Ignored,
    SyncStep1,
    SyncUpdate,
)
from quorate_server.access import Access
from quorate_server.authenticators import Authenticator
from quorate_server.channels import Channel, open_channel
from quorate_server.commands import Commands
from quorate_server.denials import Denials
from quorate_server.engine_house import EngineHouse
from quorate_server.errors import MalformedUpdate, Refused, Unavailable
from quorate_server.feed import Feed
from quorate_server.metrics import Metrics
from quorate_server.pending import Pending
from quorate_server.room import Room
from quorate_server.rooms import Rooms
from quorate_server.sealing import Sealer
from quorate_server.sessions import Session
from quorate_server.throttles import Throttle

log = logging.getLogger("quorate.server")


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What every connection works with."""

    rooms: Rooms
    access: Access
    authenticator: Authenticator
    limits: Limits
    metrics: Metrics
    connections: set[Connection]
    commands: Commands
    engines: EngineHouse
    sealer: Sealer
    feed: Feed
    denials: Denials = field(default_factory=Denials)


class Connection:
    """What the dialects share. One instance a socket, made after it was accepted."""

    __slots__ = (
        "_generation",
        "_is_closing",
        "_opened_at",
        "_peer",
        "_resume",
        "_tasks",
        "_throttle",
        "channel",
        "house",
    )

    dialect: Dialect

    def __init__(self, house: House, scope: Scope, receive: Receive, send: Send) -> None:
        self.house = house
        self.channel: Channel = open_channel(
            scope,
            receive,
            send,
            send_buffer_bytes=house.limits.send_buffer_bytes,
            listener=self,
        )
        self._throttle = Throttle(house.limits, time.monotonic())
        self._resume: asyncio.TimerHandle | None = None
        self._opened_at = time.monotonic()
        self._peer = scope.get("client")
        self._tasks: Pending[asyncio.Task[None]] = Pending()
        self._is_closing = False
        self._generation = house.access.generation

    async def run(self) -> None:
        """Serve the socket until it is gone. Returns before that where the channel calls back by itself."""
        house = self.house
        house.connections.add(self)
        house.metrics.connections.labels(self.dialect).inc()
        log.info("connection.opened", extra={"dialect": str(self.dialect), "peer": self._peer})
        await self.channel.run()

    def finish(self, code: int) -> None:
        """Leave all rooms: the socket is gone, closed with `code`."""
        house = self.house
        self._is_closing = True
        house.connections.discard(self)
        house.metrics.connections.labels(self.dialect).dec()
        self._tasks.cancel()
        if self._resume is not None:
            self._resume.cancel()
        self.leave_all()
        log.info(
            "connection.closed",
            extra={
                "dialect": str(self.dialect),
                "peer": self._peer,
                "code": code,
                "seconds": round(time.monotonic() - self._opened_at, 3),
            },
        )

    def take(self, messages: list[bytes], start: int) -> int:
        """Act on the WebSocket message at `start`, and on edits of the same document behind it; return how many.

        Never raises: a peer's fault ends that peer alone.
        """
        try:
            return self._take_edits(messages, start) or self._take_one(messages[start])
        except RemoteProtocolError as error:
            self.fail(error)
        except Exception:
            log.exception("connection.failed", extra={"dialect": str(self.dialect)})
            self.close(CloseCode.INTERNAL_ERROR, "internal error")
        return 1

    def overflow(self) -> None:
        """Let go of a peer that does not read: its channel closes by itself, its rooms must not keep it."""
        self.house.metrics.refused("send_buffer_bytes")
        self._is_closing = True
        asyncio.get_running_loop().call_soon(self.leave_all)

    def _take_edits(self, messages: list[bytes], start: int) -> int:
        address, updates = self.read_burst(messages, start)
        if updates and not self._is_closing and (found := self.find(address)) is not None:
            session, room = found
            del updates[self._throttle.at_once :]
            room.receive_burst(session, updates)
            self._charge(len(updates), sum(map(len, updates)))
            return len(updates)
        return 0

    def _take_one(self, data: bytes) -> int:
        if not self._is_closing:
            self.handle_all(self.read(data))
        return 1

    def handle_all(self, events: Iterable[Event]) -> None:
        """Act on what a message or a release of queued messages held."""
        for event in events:
            if self._is_closing:
                return
            if type(event) is SyncUpdate:
                self._handle_update(event)
            else:
                self.handle(event)

    def _handle_update(self, event: SyncUpdate) -> None:
        found = self.find(event.address)
        if found is None:
            return
        session, room = found
        room.receive(session, event.update, is_step2=event.is_step2)
        self._charge(1, len(event.update))

    def handle(self, event: Event) -> None:
        """Act on anything but an update; the dialects add what is theirs."""
        if isinstance(event, Ignored):
            self.house.metrics.refused(event.kind)
            return
        found = self.find(event.address)
        if found is None:
            return
        session, room = found
        cost = 0
        if isinstance(event, SyncStep1):
            room.answer(session, event.state_vector)
            # Ten bytes can ask for all of a large document: charge a share of what it costs to encode.
            cost = min(room.meter.size_bytes, self.house.limits.update_bytes_per_second) // 4
        elif isinstance(event, AwarenessChange):
            room.presence.receive(session, event.update)
            cost = len(event.update)
        elif isinstance(event, AwarenessQuery):
            room.presence.tell(session)
        self._charge(1, cost)

    def fail(self, error: RemoteProtocolError) -> None:
        """Close the socket of a peer that broke the rules, with the code that the tables give."""
        self.house.metrics.refused(error.reason)
        log.info("connection.peer_refused", extra={"dialect": str(self.dialect), "error": str(error)})
        self.close(close_code(error, self.dialect), str(error))

    def close(self, code: int, reason: str = "") -> None:
        """Close the whole socket."""
        self._is_closing = True
        self.leave_all()
        self.channel.close(code, reason[:MAX_REASON_CHARACTERS])

    # What each dialect says

    def read(self, data: bytes) -> Iterable[Event]:
        """Decode one WebSocket message."""
        raise NotImplementedError

    def read_burst(self, messages: list[bytes], start: int) -> tuple[str, list[bytes]]:  # noqa: ARG002
        """Read edits of one document, one a message; return its address, and none when there is another message."""
        return "", []

    def find(self, address: str) -> tuple[Session, Room] | None:
        """Return the open document of an address."""
        raise NotImplementedError

    def leave_all(self) -> None:
        """Take every session of this socket out of its room."""
        raise NotImplementedError

    def may_resume(self) -> bool:
        """Tell whether nothing but the throttle keeps this socket from being read."""
        return True

    def has_new_rules(self, *names: DocumentName) -> bool:
        """Tell, once for each change, whether policies, revocations or grants in these documents have changed."""
        access = self.house.access
        if self._generation == access.generation:
            return False
        since, self._generation = self._generation, access.generation
        return access.has_changed(since, names)

    async def recheck(self, now: float) -> None:
        """Check that whoever is connected may still do what they may; end or change what may not."""
        raise NotImplementedError

    # Inside

    def _charge(self, messages: int, size: int) -> None:
        """Account for messages, and stop reading for as long as its sender is ahead of the limits."""
        pause = self._throttle.take(messages, size, time.monotonic())
        if pause > 0:
            self._pause(pause)

    def _pause(self, seconds: float) -> None:
        if self._resume is None:
            self.house.metrics.refused("throttled")
            self.channel.pause_reading()
            self._resume = asyncio.get_running_loop().call_later(seconds, self._resume_reading)

    def _resume_reading(self) -> None:
        self._resume = None
        if self.may_resume():
            self.channel.resume_reading()


MAX_REASON_CHARACTERS = 40
"""A close frame holds 123 bytes of reason (RFC 6455 section 5.5), and a character takes up to three here."""


def code_of(cause: QuorateError, dialect: Dialect) -> int:
    """Return the WebSocket close code that tells a client of this cause."""
    if isinstance(cause, (Refused, Unavailable)):
        return cause.close_code
    if isinstance(cause, MalformedUpdate):
        return CloseCode.INVALID_DATA if dialect is Dialect.Y_WEBSOCKET else CloseCode.UNAUTHORIZED
    return close_code(cause, dialect)
