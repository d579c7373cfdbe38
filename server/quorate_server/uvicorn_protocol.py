"""The ASGI extension `quorate.frames`: a uvicorn WebSocket protocol that lets rooms skip ASGI.

It is uvicorn's own Sans-I/O WebSocket protocol with one addition. An application that knows the extension
attaches two callbacks after it has accepted; from then on binary messages go to the first one at once, and
frames that were encoded elsewhere are written as they are. An application that does not know it sees an
ordinary ASGI WebSocket.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import State

from quorate_protocol.bursts import is_cut_plain_frame, read_plain_frames
from quorate_protocol.closing import CloseCode
from quorate_server.channels import EXTENSION, OVERFLOW_GRACE_SECONDS, MessageHandler

_ABNORMAL = 1006
_ANY_SIZE = 1 << 62
_BAD_HANDSHAKE = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class DeadlineHttpProtocol(H11Protocol):
    """uvicorn's HTTP protocol, with a bound on how long a socket may stay without a whole request head."""

    request_seconds: float = 5.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        self._has_request = False
        self._deadline = self.loop.call_later(self.request_seconds, self._on_deadline)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        super().connection_lost(exc)
        self._deadline.cancel()

    def handle_events(self) -> None:
        """Note that a request's head has come."""
        super().handle_events()
        # uvicorn sets `cycle` with the first whole head, whatever its annotation says.
        self._has_request = self._has_request or bool(self.cycle)

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Stop the clock: the socket belongs to the WebSocket protocol from now on."""
        self._deadline.cancel()
        super().handle_websocket_upgrade(event)

    def _on_deadline(self) -> None:
        if not self._has_request:
            self.transport.close()


class FramesProtocol(WebSocketsSansIOProtocol):
    """A uvicorn WebSocket protocol that offers `quorate.frames` to its application."""

    _on_messages: MessageHandler | None = None
    _on_lost: Callable[[int], None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start with nothing held back."""
        super().connection_made(transport)
        self._held: deque[bytes] = deque()
        """Messages that were read together with the one at which reading was paused."""
        self._cut = b""
        """The beginning of a plain message whose end has not come."""

    # What the application calls, through scope["extensions"]["quorate.frames"]

    def attach(self, on_messages: MessageHandler, on_lost: Callable[[int], None]) -> None:
        """Deliver messages and the end of the socket by callback from now on.

        What arrived before is delivered first, before this returns.
        """
        self._on_messages = on_messages
        self._on_lost = on_lost
        waiting: list[Any] = []
        while not self.queue.empty():
            waiting.append(self.queue.get_nowait())
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        for message in waiting:
            if message["type"] == "websocket.receive" and message.get("bytes") is not None:
                self._deliver([message["bytes"]])
            elif message["type"] == "websocket.disconnect":
                self._release_held()
                on_lost(int(message.get("code") or _ABNORMAL))

    def write(self, wire: bytes, bound: int) -> bool:
        """Write raw frames, unless more bytes than `bound` wait already; tell whether it did, or nobody is there."""
        if self.close_sent or self.disconnected:
            return True
        transport = self.transport
        if transport.get_write_buffer_size() > bound:
            return False
        transport.write(wire)
        return True

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake; the transport is closed when the peer answers or after a while."""
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        try:
            self.conn.send_close(code, reason)
        except InvalidState:  # the peer's close frame came first
            return
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.resume_reading()
        # Not `transport.close`: that waits for a buffer which a peer that stopped reading never takes.
        self.close_timer = self.loop.call_later(self.close_timeout, self.abort)
        if self._on_lost is not None:
            self._on_lost(code)

    def abort(self) -> None:
        """Drop the connection and what waits in its buffer."""
        if not self.disconnected:
            self.transport.abort()

    def buffered(self) -> int:
        """Return how many bytes wait in the transport's buffer."""
        return 0 if self.disconnected else self.transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Stop reading from the socket, and hold back what was read already: many messages come in one read."""
        if not self.read_paused and not self.disconnected:
            self.read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Deliver what was held back, then read from the socket again, unless one of these pauses anew."""
        if self.read_paused and not self.disconnected:
            self.read_paused = False
            held = list(self._held)
            self._held.clear()
            self._deliver(held)
            if not self.read_paused:
                self.transport.resume_reading()

    # What uvicorn calls

    def data_received(self, data: bytes) -> None:
        """Answer a handshake that cannot be read, such as one with an endless URL, instead of keeping it."""
        rest = self._receive_plain(data)
        if not rest:
            return
        super().data_received(rest)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self.handshake_initiated = self.handshake_complete = self.close_sent = True
            self.transport.write(_BAD_HANDSHAKE)
            self.transport.close()

    def _receive_plain(self, data: bytes) -> bytes:
        """Deliver the plain messages that `data` begins with, and return what is left for the library's parser.

        A plain message is one whole binary frame of less than 64 KiB, not compressed: what editors send. By profile,
        the library's way to it was a quarter of all that an update costs a busy server.
        """
        if self._cut:
            data, self._cut = self._cut + data, b""
        if not self._is_between_messages():
            return data
        messages, end = read_plain_frames(data, self.conn.max_message_size or _ANY_SIZE)
        if messages:
            self._deliver(messages)
        rest = data[end:]
        if is_cut_plain_frame(rest, self.conn.max_message_size or _ANY_SIZE) and self._is_between_messages():
            self._cut, rest = rest, b""
        return rest

    def _is_between_messages(self) -> bool:
        """Whether the library is in the middle of nothing, and the application takes messages by callback."""
        conn = self.conn
        return (
            self._on_messages is not None
            and not self.close_sent
            and conn.state is State.OPEN
            and conn.current_size is None
            and not conn.reader.buffer
        )

    def handle_connect(self, event: Request) -> None:
        """Offer the extension in the scope; the application's task starts after this returns."""
        super().handle_connect(event)
        scope = getattr(self, "scope", None)
        if scope is not None:
            cast("dict[str, Any]", scope["extensions"])[EXTENSION] = self

    def send_receive_event_to_app(self) -> None:
        """Hand a whole message to the callback when there is one; its application speaks no text."""
        if self._on_messages is None:
            super().send_receive_event_to_app()
            return
        if self.curr_msg_data_type != "bytes":
            self.frames = []
            self.close(CloseCode.UNSUPPORTED_DATA, "binary messages only")
            return
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        self._deliver([bytes(data)])

    def _deliver(self, messages: list[bytes]) -> None:
        """Hand messages over until reading is paused, and hold the rest back."""
        taken = 0
        while taken < len(messages) and not self.read_paused and not self.close_sent:
            assert self._on_messages is not None
            taken += self._on_messages(messages, taken)
        if not self.close_sent:
            self._held.extend(messages[taken:])

    def _release_held(self) -> None:
        """Deliver what was held back, pause or not: its sender is going."""
        held = list(self._held)
        self._held.clear()
        taken = 0
        while taken < len(held) and not self.close_sent and self._on_messages is not None:
            taken += self._on_messages(held, taken)

    def handle_close(self, event: Frame) -> None:
        """Tell the callback that the peer closed."""
        self._release_held()
        super().handle_close(event)
        if self._on_lost is not None:
            self._on_lost(self.conn.close_code or _ABNORMAL)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the callback that the socket is gone."""
        self._release_held()
        super().connection_lost(exc)
        if self._on_lost is not None:
            self._on_lost(_ABNORMAL)

    def keepalive_timeout(self) -> None:
        """Let go of a peer that no longer answers, buffer or not."""
        super().keepalive_timeout()
        self._let_go()

    def handle_parser_exception(self) -> None:
        """Let go of a peer whose frames cannot be read."""
        super().handle_parser_exception()
        self._let_go()

    def eof_received(self) -> None:
        """Close when the peer half-closes: a WebSocket has no use for half a connection."""
        self.transport.close()
        self._let_go()

    def _let_go(self) -> None:
        if self._on_lost is not None:
            self._on_lost(_ABNORMAL)
        self.loop.call_later(OVERFLOW_GRACE_SECONDS, self.abort)
