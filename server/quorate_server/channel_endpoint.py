"""`/channel`: commands with replies, and the change feed with resume, for programs and for our own web client.

The dialect is in `quorate_protocol.channel` and `docs/channel.md`, the reading of the feed in `feed_subscriptions`.
A command that has begun is finished even if its socket goes: whoever repeats it with the same key gets its answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Coroutine, Iterable
from contextlib import suppress

from starlette.types import Receive, Scope, Send

from quorate_protocol.channel import ChannelConnection, ChannelState
from quorate_protocol.channel_envelopes import (
    ClientEnvelope,
    CommandRequest,
    Goodbye,
    Hello,
    Json,
    Subscribe,
    SubscriptionClosed,
    Unsubscribe,
)
from quorate_protocol.channel_frames import encode_envelope
from quorate_protocol.closing import CloseCode, Dialect
from quorate_protocol.errors import LimitExceeded, QuorateError
from quorate_protocol.ids import DocumentName
from quorate_protocol.messages import Event
from quorate_server.access import Action
from quorate_server.connections import Connection, House
from quorate_server.errors import Conflict, Refused, Unavailable
from quorate_server.feed_subscriptions import FeedSubscription, Outlet
from quorate_server.frames import Frames
from quorate_server.handshakes import find_token
from quorate_server.problems import PROBLEM_PREFIX, problem_of
from quorate_server.requests import stored
from quorate_server.room import Room
from quorate_server.sessions import Session
from quorate_server.users import User

log = logging.getLogger("quorate.server")

LOOK_SECONDS = 0.01
"""How often a subscription looks whether its subscriber has taken more; only while a buffer is half full."""


async def serve_channel(house: House, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one socket. The token comes with the request or in a hello; until it is good, the protocol's caps hold."""
    await receive()  # websocket.connect
    token, subprotocol = find_token(scope)
    user = None
    try:
        if token:
            user = await _identify(house, token)
            head = await stored(house.rooms.store.feed_head())
        else:
            head = 0
    except (Refused, Unavailable) as cause:
        with suppress(OSError, RuntimeError):  # the peer may be gone already
            await send({"type": "websocket.accept", "subprotocol": subprotocol})
            goodbye = encode_envelope(Goodbye(problem=problem_members(cause)))
            await send({"type": "websocket.send", "bytes": goodbye})
            await asyncio.sleep(_note_refusal(house, scope, token, cause))
            await send({"type": "websocket.close", "code": cause.close_code, "reason": str(cause)[:40]})
        return
    await send({"type": "websocket.accept", "subprotocol": subprotocol})
    connection = ChannelSocket(house, scope, receive, send)
    if user is not None:
        connection.enter(user, head)
    await connection.run()


async def _identify(house: House, token: str) -> User:
    user = await house.authenticator.authenticate(token)
    house.access.check_alive(user, now=time.time())
    return user


def _note_refusal(house: House, scope: Scope, token: str, cause: QuorateError) -> float:
    """Account for somebody who was turned away; return how long to wait before closing, see `denials`."""
    house.metrics.refused(getattr(cause, "code", "refused").replace("-", "_"))
    log.info("connection.refused", extra={"dialect": str(Dialect.CHANNEL), "cause": str(cause)})
    who = (scope.get("client") or ("",))[0], str(Dialect.CHANNEL), token
    return house.denials.pause_of(hashlib.blake2b(repr(who).encode(), digest_size=16).digest())


class ChannelSocket(Connection):
    """One socket of the channel dialect."""

    dialect = Dialect.CHANNEL

    def __init__(self, house: House, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(house, scope, receive, send)
        self._scope = scope
        self._protocol = ChannelConnection(house.limits)
        self._user: User | None = None
        self._readers: dict[int, asyncio.Task[None]] = {}
        self._has_said_goodbye = False
        self._deadline = asyncio.get_running_loop().call_later(
            house.limits.handshake_seconds, self._on_handshake_deadline
        )

    def finish(self, code: int) -> None:
        """Leave everything: the socket is gone."""
        self._deadline.cancel()
        super().finish(code)

    def enter(self, user: User, head: int) -> None:
        """Let somebody in who has shown who they are."""
        self._user = user
        self._deadline.cancel()
        self._write([self._protocol.welcome(user.id, head)])

    def read(self, data: bytes) -> Iterable[Event]:
        """Act on one WebSocket message. None of them is about a document that is open here."""
        self._act(self._protocol.receive_frame(data))
        if self._protocol.should_pause:
            self.channel.pause_reading()
        self._charge(1, len(data))
        return ()

    def may_resume(self) -> bool:
        """Tell whether nothing but the throttle keeps this socket from being read."""
        return not self._protocol.should_pause

    def find(self, address: str) -> tuple[Session, Room] | None:  # noqa: ARG002 - there is none
        """Return nothing: no document is open on this dialect."""
        return None

    def leave_all(self) -> None:
        """End every subscription."""
        for reader in self._readers.values():
            reader.cancel()
        self._readers.clear()

    async def recheck(self, now: float) -> None:
        """End the socket when its proof is gone. What may be read is decided for each change."""
        if self._user is None:
            return
        try:
            self.house.access.check_alive(self._user, now=now)
        except Refused as cause:
            self.house.metrics.refused(cause.code.replace("-", "_"))
            self.close(cause.close_code, str(cause))

    def close(self, code: int, reason: str = "") -> None:
        """Say why, and close the whole socket."""
        self._say_goodbye(_problem_of_close(code, reason))
        super().close(code, reason)

    # What a client says

    def _act(self, envelope: ClientEnvelope) -> None:
        match envelope:
            case Hello(token=token):
                self._start(self._judge(token))
            case CommandRequest():
                # Not among our tasks: those are cancelled when the socket goes.
                task = asyncio.create_task(self._command(envelope))
                _COMMANDS.add(task)
                task.add_done_callback(_COMMANDS.discard)
            case Subscribe():
                self._subscribe(envelope)
            case Unsubscribe(id=number):
                self._end_subscription(number, None)

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        return self._tasks.add(asyncio.create_task(work))

    async def _judge(self, token: str | None) -> None:
        """Let somebody in, or take a fresh token of whoever is in; without one, say welcome again."""
        try:
            user = self._user if token is None else await _identify(self.house, token)
            assert user is not None
            if self._user is not None and self._user.id != user.id:
                self.close(CloseCode.TRY_LATER, "the token is somebody else's: reconnect")
                return
            head = await stored(self.house.rooms.store.feed_head())
        except (Refused, Unavailable) as cause:
            self._say_goodbye(problem_members(cause))
            await asyncio.sleep(_note_refusal(self.house, self._scope, token or "", cause))
            self.close(cause.close_code, str(cause))
        except Exception:
            log.exception("connection.failed", extra={"dialect": str(self.dialect)})
            self.close(CloseCode.INTERNAL_ERROR, "internal error")
        else:
            self.enter(user, head)
            self._read_on()

    async def _command(self, request: CommandRequest) -> None:
        """Do a command and reply; many run at once, and each replies when it is done."""
        user = self._user
        assert user is not None
        answer: Json | None = None
        problem: Json | None = None
        try:
            self.house.access.check_alive(user, now=time.time())
            done = await self.house.commands.run(
                request.name, request.values, user=user, via="channel", key=request.key
            )
            answer = done.model_dump(mode="json")
        except Exception as error:  # noqa: BLE001 - `problem_of` logs what is nobody's mistake
            problem = problem_members(error)
        try:
            frame = self._protocol.reply(request.id, answer=answer, problem=problem)
        except (TypeError, ValueError) as error:
            frame = self._protocol.reply(request.id, problem=problem_members(error))
        self._write([frame])
        self._read_on()

    def _read_on(self) -> None:
        if not self._is_closing and self._resume is None and self.may_resume():
            self.channel.resume_reading()

    # Subscriptions

    def _subscribe(self, wanted: Subscribe) -> None:
        try:
            self._protocol.open_subscription(wanted.id)
        except LimitExceeded as error:
            self.house.metrics.refused(error.limit_name)
            self._start(self._refuse_subscription(wanted.id, error))
            return
        self._readers[wanted.id] = self._start(self._feed(wanted))

    async def _refuse_subscription(self, number: int, error: LimitExceeded) -> None:
        self._write([encode_envelope(SubscriptionClosed(subscription=number, problem=problem_members(error)))])

    async def _feed(self, wanted: Subscribe) -> None:
        """Read the feed for one subscription until it ends; a fault ends this one alone."""
        outlet = Outlet(may_read=self._may_read, write=self._write, drained=self._drained)
        try:
            after = await self._starting_point(wanted)
            await FeedSubscription(self.house.feed, wanted, outlet).run(after)
        except Exception as error:  # noqa: BLE001 - `problem_of` logs what is nobody's mistake
            self._end_subscription(wanted.id, problem_members(error))

    async def _starting_point(self, wanted: Subscribe) -> int:
        head = await stored(self.house.rooms.store.feed_head())
        if wanted.after is not None and wanted.after > head:
            raise Conflict(f"position {wanted.after} is beyond the end of the feed, which is {head}")
        return head if wanted.after is None else wanted.after

    def _end_subscription(self, number: int, problem: Json | None) -> None:
        """End a subscription and say so; without effect if it has ended already."""
        if not self._protocol.end_subscription(number):
            return
        reader = self._readers.pop(number, None)
        if reader is not None and problem is None:
            reader.cancel()
        self._write([encode_envelope(SubscriptionClosed(subscription=number, problem=problem))])

    def _may_read(self, name: DocumentName) -> bool:
        user = self._user
        return user is not None and self.house.access.may(user, Action.READ, name)

    async def _drained(self) -> None:
        """Wait while the send buffer is half full; a peer that takes nothing at all is let go, and resumes later."""
        half = self.house.limits.send_buffer_bytes // 2
        loop = asyncio.get_running_loop()
        least, since = self.channel.buffered_bytes, loop.time()
        while (size := self.channel.buffered_bytes) > half and not self._is_closing:
            if size < least:
                least, since = size, loop.time()
            elif loop.time() - since >= self.house.limits.channel_stalled_seconds:
                self.house.metrics.refused("channel_stalled_seconds")
                self.close(CloseCode.TRY_LATER, "too slow: reconnect and resume")
                return
            await asyncio.sleep(LOOK_SECONDS)

    # Ends

    def _on_handshake_deadline(self) -> None:
        if self._protocol.state is not ChannelState.OPEN:
            limit = self.house.limits.handshake_seconds
            self.fail(LimitExceeded("handshake_seconds", limit, limit))

    def _say_goodbye(self, problem: Json) -> None:
        if not self._has_said_goodbye:
            self._has_said_goodbye = True
            self._write([encode_envelope(Goodbye(problem=problem))])

    def _write(self, frames: list[bytes]) -> None:
        if not self._is_closing:
            self.channel.write(Frames(frames))


_COMMANDS: set[asyncio.Task[None]] = set()
"""Commands that run: asyncio itself would let go of them."""


def problem_members(error: Exception) -> Json:
    """Return the problem (RFC 9457) of an error, the same that HTTP answers."""
    return problem_of(error)[0]


_CLOSINGS = {
    CloseCode.INVALID_DATA: (400, "malformed", "Malformed"),
    CloseCode.UNSUPPORTED_DATA: (400, "malformed", "Malformed"),
    CloseCode.TOO_BIG: (413, "too-large", "Too large"),
    CloseCode.INTERNAL_ERROR: (500, "internal", "Internal error"),
    CloseCode.UNAUTHORIZED: (401, "not-authenticated", "Refused"),
    CloseCode.FORBIDDEN: (403, "refused", "Refused"),
}
_TRY_LATER = (503, "try-again", "Try again later")


def _problem_of_close(code: int, reason: str) -> Json:
    """Return the problem that a close code stands for; most of them pass by themselves."""
    status, name, title = next((what for known, what in _CLOSINGS.items() if known == code), _TRY_LATER)
    return {"type": PROBLEM_PREFIX + name, "title": title, "status": status, "detail": reason}
