"""`DirectSocket`: a WebSocket from its handshake on, as `quorate serve` reads and writes it.

A socket that stays open for hours and is written to with every keystroke of everybody has no use for ASGI's two
coroutines, nor for a task, a scope and a parser of its own. So the endpoint of a dialect is an ASGI application for
as long as it takes to let somebody in. The scope's extension `quorate.frames` is the socket itself: who takes it
over is called back for messages, and returns.

The handshake was read by uvicorn's HTTP protocol already and is not read again. Plain frames, which is what editors
send, are read by `quorate_protocol.bursts`. All else in RFC 6455 is done by `websockets`, by a parser that is made
when something comes that is for it, and let go of afterwards.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast
from urllib.parse import unquote

import h11
from starlette.types import ASGIApp, Message, Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import MAX_LINE_LENGTH
from websockets.protocol import Protocol, Side, State
from websockets.utils import accept_key

from quorate_protocol.bursts import is_cut_plain_frame, read_plain_frames
from quorate_protocol.closing import CloseCode
from quorate_server.channels import EXTENSION, OVERFLOW_GRACE_SECONDS, TRY_AGAIN_LATER, Listener
from quorate_server.deadlines import Deadlines
from quorate_server.frames import Frames, frame_bytes

log = logging.getLogger("quorate.server")

_ABNORMAL = 1006
_KEY_BYTES = 16
_LONGEST_LINE = MAX_LINE_LENGTH - len(b"GET  HTTP/1.1\r\n")
_REFUSED = b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
_PING = b"\x89\x04"
_PONG = b"\x8a\x84"
"""RFC 6455 section 5.5.3: a pong of four bytes, masked."""
_PONG_BYTES = 10

PING_SECONDS = 30.0
"""How often a peer is asked whether it is there, and how long it has to answer."""
CLOSE_SECONDS = 10.0
"""How long a peer may take to answer our close frame."""

_wire_log = logging.getLogger("quorate.wire")
_wire_log.setLevel(logging.WARNING)
"""What `websockets` says of each frame is of no use to an operator."""


class Doors:
    """The endpoints that sockets go to directly, by the path of the request."""

    def __init__(self, exact: Mapping[str, ASGIApp], prefixed: Mapping[str, ASGIApp]) -> None:
        self._exact = exact
        self._prefixed = prefixed

    def find(self, path: str) -> ASGIApp | None:
        """Return the endpoint of a path, `None` when there is none."""
        for prefix, app in self._prefixed.items():
            if path.startswith(prefix):
                return app
        return self._exact.get(path)


class DirectHttpProtocol(H11Protocol):
    """uvicorn's HTTP protocol: a socket gets so long for a whole request head, and may leave by one of the doors."""

    def __init__(
        self,
        *args: Any,
        doors: Doors,
        keepalive: Deadlines[DirectSocket],
        request_seconds: float,
        message_bytes: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._doors = doors
        self._keepalive = keepalive
        self._request_seconds = request_seconds
        self._message_bytes = message_bytes

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        # As uvicorn's own does, but for its way to the two addresses, which keeps a socket object for each connection.
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.server = _address_of(transport, "sockname")
        self.client = _address_of(transport, "peername")
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self._has_request = False
        self._deadline = self.loop.call_later(self._request_seconds, self._on_deadline)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        super().connection_lost(exc)
        self._deadline.cancel()

    def handle_events(self) -> None:
        """Note that a request's head has come."""
        super().handle_events()
        # uvicorn sets `cycle` with the first whole head, whatever its annotation says.
        self._has_request = self._has_request or bool(self.cycle)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Let a sound handshake for one of the doors through; uvicorn's WebSocket protocol takes those for others."""
        self._deadline.cancel()
        answer = _answer_to(event)
        if answer is None:
            self.send_400_response("This is no WebSocket handshake of RFC 6455, version 13.")
            return
        raw_path, _, query = event.target.partition(b"?")
        path = unquote(raw_path.decode("ascii"))
        door = self._doors.find(path)
        if door is None:
            super().handle_websocket_upgrade(event)
            return
        self.connections.discard(self)
        socket = DirectSocket(self.transport, self.connections, self._keepalive, answer, self._message_bytes)
        scope: Scope = {
            "type": "websocket",
            "asgi": {"version": self.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if self.scheme == "https" else "ws",
            "server": self.server,
            "client": self.client,
            "root_path": "",
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self.headers,
            "subprotocols": _offered(self.headers),
            "state": {},
            "extensions": {EXTENSION: socket},
        }
        task = self.loop.create_task(socket.enter(door, scope, self.conn.trailing_data[0]))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _on_deadline(self) -> None:
        if not self._has_request:
            self.transport.close()


def _address_of(transport: asyncio.Transport, which: str) -> tuple[str, int] | None:
    address: object = transport.get_extra_info(which)
    if not isinstance(address, tuple):
        return None  # of a socket in the file system
    found = cast("tuple[str, int]", address)
    return found if len(found) == 2 else found[:2]  # noqa: PLR2004 - host and port; IPv6 tells more


def _answer_to(request: h11.Request) -> bytes | None:
    """Return the beginning of the answer to a handshake, `None` unless all is as RFC 6455 section 4.2.1 wants it."""
    key, version = (_only(request, name) for name in (b"sec-websocket-key", b"sec-websocket-version"))
    is_get = (request.method, request.http_version) == (b"GET", b"1.1")
    if key is None or version != b"13" or not is_get or _has_endless_line(request):
        return None
    try:
        is_key = len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except binascii.Error:
        return None
    return _ACCEPTED + accept_key(key.decode("ascii")).encode("ascii") + b"\r\n" if is_key else None


def _only(request: h11.Request, wanted: bytes) -> bytes | None:
    """Return the value of a header that is there once."""
    values = [value for name, value in request.headers if name == wanted]
    return values[0] if len(values) == 1 else None


def _has_endless_line(request: h11.Request) -> bool:
    """Whether a line is longer than `websockets` takes: where that reads it, it would never be answered."""
    lines = (len(name) + len(value) for name, value in request.headers)
    return max(len(request.target), *lines) > _LONGEST_LINE


def _offered(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """Return the subprotocols that a client offers."""
    lists = [value.decode("latin-1") for name, value in headers if name == b"sec-websocket-protocol"]
    return [token.strip() for offered in lists for token in offered.split(",")]


def _whole_heads(data: bytes, missing: int) -> tuple[int, int]:
    """Return up to where `data` does not end in the head of a frame, and how much of its last frame is to come.

    `missing` is how much of the frame that it goes on with was to come before. RFC 6455 section 5.2.
    """
    begin = missing
    while begin < len(data):
        head = data[begin : begin + _LONGEST_HEAD]
        size = _LONGEST_HEAD if len(head) < _SHORTEST_HEAD else _head_bytes(head[1])
        if len(head) < size:
            return begin, 0
        length = head[1] & 127
        extended = _EXTENDED_BYTES.get(length, 0)
        if extended:
            length = int.from_bytes(head[_SHORTEST_HEAD : _SHORTEST_HEAD + extended], "big")
        begin += size + length
    return len(data), begin - len(data)


def _head_bytes(second: int) -> int:
    return _SHORTEST_HEAD + _EXTENDED_BYTES.get(second & 127, 0) + (4 if second & 128 else 0)


_SHORTEST_HEAD, _LONGEST_HEAD = 2, 14
_EXTENDED_BYTES = {126: 2, 127: 8}


class DirectSocket(asyncio.Protocol):
    """One WebSocket, which is a `Channel` once somebody has opened it."""

    __slots__ = (
        "_answer",
        "_bound",
        "_connections",
        "_cut",
        "_early",
        "_fragments",
        "_held",
        "_is_accepted",
        "_is_closed",
        "_is_gone",
        "_is_open",
        "_is_reading_paused",
        "_keepalive",
        "_listener",
        "_loop",
        "_message_bytes",
        "_missing",
        "_parser",
        "_ping",
        "_timer",
        "_transport",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        connections: set[Any],
        keepalive: Deadlines[DirectSocket],
        answer: bytes,
        message_bytes: int,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._connections = connections
        self._keepalive = keepalive
        self._answer = answer
        self._message_bytes = message_bytes
        self._bound = 0
        self._listener: Listener | None = None
        self._is_open = False
        self._parser: Protocol | None = None
        self._fragments: list[bytes] | None = None
        self._early = b""
        self._cut = b""
        """The beginning of a plain message, or of the head of a frame, whose end has not come."""
        self._missing = 0
        """How much is to come of the frame that the library is reading."""
        self._held: list[bytes] | None = None
        """Messages that were read together with the one at which reading was paused."""
        self._is_accepted = self._is_closed = self._is_gone = False
        self._is_reading_paused = True
        self._ping = b""
        """What the peer was asked to repeat, and has not yet."""
        self._timer: asyncio.TimerHandle | None = None
        transport.pause_reading()  # until somebody takes over: what comes before waits where it costs us nothing
        transport.set_protocol(self)
        connections.add(self)

    # As an ASGI server, until somebody takes over

    async def enter(self, door: ASGIApp, scope: Scope, early: bytes) -> None:
        """Run an endpoint until it has taken over, or turned the peer away; `early` came behind the handshake."""
        self._early = early
        try:
            await door(scope, self._receive, self._send)
        except OSError:
            self.abort()  # the peer has gone
        except Exception:
            log.exception("socket.failed")
            self.abort()
        else:
            if not (self._is_open or self._is_closed):
                self.abort()

    async def _receive(self) -> Message:
        return {"type": "websocket.connect"}

    async def _send(self, message: Message) -> None:
        if self._is_gone or self._is_closed:
            raise ConnectionResetError("the peer has gone")
        match message["type"]:
            case "websocket.accept":
                self._accept(message.get("subprotocol"))
            case "websocket.send":
                self._transport.write(frame_bytes(message["bytes"]))
            case _ if self._is_accepted:
                self.close(message.get("code", 1000), message.get("reason") or "")
            case _:
                self._is_closed = True
                self._transport.write(_REFUSED)
                self._transport.close()

    def _accept(self, subprotocol: str | None) -> None:
        chosen = f"Sec-WebSocket-Protocol: {subprotocol}\r\n".encode() if subprotocol else b""
        self._transport.write(self._answer + chosen + b"\r\n")
        self._is_accepted = True
        self._answer = b""
        self._keepalive.set(self)

    # As a channel

    def open(self, *, send_buffer_bytes: int, listener: Listener) -> DirectSocket:
        """Set how much may wait for a slow peer, and who is told of what comes."""
        self._bound = send_buffer_bytes
        self._listener = listener
        return self

    async def run(self) -> None:
        """Take the socket over, and return at once: the listener is told of messages and of the end from now on."""
        self._is_open = True
        if self._is_gone or self._is_closed:
            self._lose(_ABNORMAL)
            return
        self._is_reading_paused = False
        early, self._early = self._early, b""
        if early:
            self.data_received(early)
        if not self._is_reading_paused:
            self._transport.resume_reading()

    def write(self, frames: Frames) -> None:
        """Send messages after all that was written before; a peer that cannot keep up is closed."""
        if self._is_closed:
            return
        transport = self._transport
        # Before, not after: one answer may be larger than the bound, and must reach whoever reads.
        if transport.get_write_buffer_size() <= self._bound:
            transport.write(frames.wire)
            return
        assert self._listener is not None
        self._listener.overflow()
        self.close(TRY_AGAIN_LATER, "too slow: reconnect to resynchronise")
        # The close frame waits behind the full buffer; a peer that reads nothing never gets it.
        self._loop.call_later(OVERFLOW_GRACE_SECONDS, self.abort)

    def close(self, code: int, reason: str = "") -> None:
        """Send what was written, then a close frame. Further writes and closes do nothing."""
        if self._is_closed or self._transport.is_closing():
            return
        parser = self._library()
        try:
            parser.send_close(code, reason)
        except InvalidState:  # the peer's close frame came first
            return
        self._is_closed = True
        self._flush(parser)
        self._held = None
        if self._is_reading_paused:  # or the answer would never be seen
            self._is_reading_paused = False
            self._transport.resume_reading()
        # Not `transport.close`: that waits for a buffer which a peer that stopped reading never takes.
        self._set_timer(CLOSE_SECONDS, self.abort)
        self._lose(code)

    def abort(self) -> None:
        """Drop the connection and what waits in its buffer."""
        if not self._is_gone:
            self._transport.abort()

    @property
    def buffered_bytes(self) -> int:
        """How much was written and not yet taken by the operating system."""
        return 0 if self._is_gone else self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Stop reading from the socket, and hold back what was read already: many messages come in one read."""
        if not (self._is_reading_paused or self._is_gone):
            self._is_reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Deliver what was held back, then read from the socket again, unless one of these pauses anew."""
        if self._is_reading_paused and not self._is_gone:
            self._is_reading_paused = False
            held, self._held = self._held or [], None
            self._deliver(held)
            if not self._is_reading_paused:
                self._transport.resume_reading()
                if self._ping:  # its answer may be waiting to be read
                    self._keepalive.set(self)

    # What the event loop calls

    def data_received(self, data: bytes) -> None:
        """Deliver the messages that are whole now."""
        rest = self._receive_plain(data)
        if rest and not self._is_pong(rest):
            self._receive_rest(rest)

    def eof_received(self) -> None:
        """Close when the peer half-closes: a WebSocket has no use for half a connection."""
        self._let_go()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Tell that the socket is gone."""
        self._release_held()
        self._is_gone = True
        self._keepalive.clear(self)
        self._stop_timer()
        self._connections.discard(self)
        self._lose(_ABNORMAL)

    def shutdown(self) -> None:
        """Close at once: the server has ended, and has said goodbye to whoever was in a room."""
        self.close(CloseCode.RESTARTING, "the server restarts: reconnect")
        self._transport.close()

    # Reading

    def _receive_plain(self, data: bytes) -> bytes:
        """Deliver the plain messages that `data` begins with, and return what is left for the library's parser.

        A plain message is one whole binary frame of less than 64 KiB, not compressed: what editors send. By profile,
        the library's way to it was a quarter of all that an update costs a busy server.
        """
        if self._cut:
            data, self._cut = self._cut + data, b""
        if self._parser is not None or self._is_closed:
            return data
        messages, end = read_plain_frames(data, self._message_bytes)
        if messages:
            self._deliver(messages)
            if not end < len(data):
                return b""
        rest = data[end:]
        if not self._is_closed and is_cut_plain_frame(rest, self._message_bytes):
            self._cut, rest = rest, b""
        return rest

    def _is_pong(self, data: bytes) -> bool:
        """Take the answer to our ping, which is all that an idle peer sends; anything else is not for us."""
        if len(data) != _PONG_BYTES or data[:2] != _PONG or self._parser is not None or self._is_closed:
            return False
        mask = data[2:6]
        self._hear_pong(bytes(byte ^ key for byte, key in zip(data[6:], mask, strict=True)))
        return True

    def _receive_rest(self, data: bytes) -> None:
        """Have the library read frames, but for a head that is not whole: then nobody knew where a frame begins."""
        end, self._missing = _whole_heads(data, self._missing)
        data, self._cut = data[:end], data[end:]
        parser = self._library()
        parser.receive_data(data)
        for event in parser.events_received():
            self._handle(event)
        self._flush(parser)
        if parser.parser_exc is not None or parser.state is State.CLOSED:
            self._let_go()
        elif parser.close_rcvd is not None:
            self._is_closed = True
            self._lose(parser.close_rcvd.code)
            self._transport.close()
        elif not (self._is_closed or self._fragments is not None or self._missing):
            self._parser = None

    def _flush(self, parser: Protocol) -> None:
        if wire := b"".join(parser.data_to_send()):
            self._transport.write(wire)

    def _library(self) -> Protocol:
        """Return a parser that stands between two messages, or in the middle of one that it has begun to read."""
        if self._parser is None:
            self._parser = Protocol(Side.SERVER, state=State.OPEN, max_size=self._message_bytes, logger=_wire_log)
        return self._parser

    def _handle(self, event: object) -> None:
        assert isinstance(event, Frame)
        match event.opcode:
            case Opcode.BINARY | Opcode.CONT:
                self._take_fragment(bytes(event.data), is_last=event.fin)
            case Opcode.TEXT:
                self.close(CloseCode.UNSUPPORTED_DATA, "binary messages only")
            case Opcode.PONG:
                self._hear_pong(bytes(event.data))
            case Opcode.CLOSE:
                self._release_held()
            case _:
                pass  # the library has answered

    def _take_fragment(self, data: bytes, *, is_last: bool) -> None:
        if is_last and self._fragments is None:
            self._deliver([data])
            return
        self._fragments = self._fragments or []
        if data:  # the library bounds how long a message becomes, not of how many pieces
            self._fragments.append(data)
        if is_last:
            message, self._fragments = b"".join(self._fragments), None
            self._deliver([message])

    def _deliver(self, messages: list[bytes]) -> None:
        """Hand messages over until reading is paused, and hold the rest back."""
        taken = 0
        while taken < len(messages) and not (self._is_reading_paused or self._is_closed):
            assert self._listener is not None
            taken += self._listener.take(messages, taken)
        if taken < len(messages) and not self._is_closed:
            self._held = self._held or []
            self._held.extend(messages[taken:])

    def _release_held(self) -> None:
        """Deliver what was held back, pause or not: its sender is going."""
        held, self._held = self._held or [], None
        taken = 0
        while taken < len(held) and not self._is_closed and self._listener is not None:
            taken += self._listener.take(held, taken)

    # Ends

    def ask_whether_there(self) -> None:
        """Send a ping, and again a while later; but let a peer go that has not answered the last one."""
        if self._is_closed:
            return
        if self._ping and not self._is_reading_paused:  # what we do not read cannot tell us that it is there
            parser = self._library()
            parser.fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
            self._flush(parser)
            self._let_go()
            return
        self._keepalive.set(self)
        if not self._ping:
            self._ping = random.randbytes(4)  # noqa: S311 - tells an answer from an older one
            self._transport.write(_PING + self._ping)

    def _hear_pong(self, payload: bytes) -> None:
        if payload == self._ping:
            self._ping = b""

    def _let_go(self) -> None:
        """End with a peer that broke the rules or does not answer: what is in its buffer gets a moment."""
        self._release_held()
        self._is_closed = True
        self._transport.close()
        self._lose(_ABNORMAL)
        self._set_timer(OVERFLOW_GRACE_SECONDS, self.abort)

    def _lose(self, code: int) -> None:
        """Tell whoever took over, once and not in the middle of what they do, that the socket is theirs no more."""
        self._is_closed = True
        if self._is_open and self._listener is not None:
            self._loop.call_soon(self._listener.finish, code)
            self._listener = None

    def _set_timer(self, seconds: float, action: Callable[[], None]) -> None:
        self._stop_timer()
        if not self._is_gone:
            self._timer = self._loop.call_later(seconds, action)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def keepalive() -> Deadlines[DirectSocket]:
    """Return what asks every socket of a server now and then whether its peer is there."""
    return Deadlines(PING_SECONDS, DirectSocket.ask_whether_there)
