"""`Channel`: one open WebSocket as a connection sees it, with or without ASGI in between.

Two ways carry the same messages:

* `DirectSocket` of `direct_sockets`, which `quorate serve` offers as `scope["extensions"]["quorate.frames"]`: messages
  arrive by callback, frames encoded once are written straight to the transport, and no task waits.
* `AsgiChannel`: plain `receive()` and `send()` on any ASGI server, with a bounded queue and one sender task.

Both promise: messages are delivered in order; nothing is dropped singly. A peer that does not take what it
is sent is closed as a whole (1013) once its buffer passes the bound, and may come back and resynchronise.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, Protocol

from starlette.types import Message, Receive, Scope, Send

from quorate_protocol.closing import CloseCode
from quorate_server.frames import Frames

EXTENSION = "quorate.frames"
TRY_AGAIN_LATER = 1013


class Listener(Protocol):
    """Who a channel tells of what comes. Its methods are called on the event loop, and do not raise."""

    def take(self, messages: list[bytes], start: int) -> int:
        """Act on the message at `start`, and on more behind it if that can be; return how many were taken."""
        ...

    def finish(self, code: int) -> None:
        """Hear, once, that the socket is gone, and by which close code."""
        ...

    def overflow(self) -> None:
        """Hear that the peer does not take what it is sent: the channel closes."""
        ...


class Channel(Protocol):
    """An accepted WebSocket. All methods are synchronous and must be called on the event loop."""

    def write(self, frames: Frames) -> None:
        """Send messages after all that was written before; a peer that cannot keep up is closed."""
        ...

    def close(self, code: int, reason: str = "") -> None:
        """Send what was written, then a close frame. Further writes and closes do nothing."""
        ...

    def pause_reading(self) -> None:
        """Stop taking messages from the peer, so that TCP slows it down."""
        ...

    def resume_reading(self) -> None:
        """Take messages again."""
        ...

    @property
    def buffered_bytes(self) -> int:
        """How much was written and not yet taken by the operating system."""
        ...

    async def run(self) -> None:
        """Hand the binary messages to the listener until the socket is gone. It may return before that.

        What came before is delivered first.
        """
        ...


class DirectChannel(Channel, Protocol):
    """What a server that knows the extension offers under `quorate.frames`: a channel to be opened."""

    def open(self, *, send_buffer_bytes: int, listener: Listener) -> Channel:
        """Set how much may wait for a slow peer, and who is told of what comes."""
        ...


CLOSE_GRACE_SECONDS = 10.0
"""A peer gets this long to take what was written and the close frame behind it."""

OVERFLOW_GRACE_SECONDS = 2.0
"""A slow peer gets this long to take the close frame before its socket is cut."""


class AsgiChannel:
    """A channel on plain ASGI messages, for any server and for test clients."""

    def __init__(
        self,
        receive: Receive,
        send: Send,
        *,
        send_buffer_bytes: int,
        listener: Listener,
    ) -> None:
        self._receive = receive
        self._send = send
        self._bound = send_buffer_bytes
        self._listener = listener
        self._queue: deque[Message] = deque()
        self._queued_bytes = 0
        self._closed = False
        self._wake = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._sender: asyncio.Task[None] | None = None

    def write(self, frames: Frames) -> None:
        """Send messages after all that was written before; a peer that cannot keep up is closed."""
        if self._closed:
            return
        is_slow = self._queued_bytes > self._bound
        for payload in frames.payloads:
            self._queue.append({"type": "websocket.send", "bytes": payload})
            self._queued_bytes += len(payload)
        self._wake.set()
        if is_slow:
            self._listener.overflow()
            self._queue.clear()
            self._queued_bytes = 0
            self.close(TRY_AGAIN_LATER, "too slow: reconnect to resynchronise")

    def close(self, code: int, reason: str = "") -> None:
        """Send what was written, then a close frame. Further writes and closes do nothing."""
        if not self._closed:
            self._closed = True
            self._queue.append({"type": "websocket.close", "code": code, "reason": reason})
            self._wake.set()
            asyncio.get_running_loop().call_later(CLOSE_GRACE_SECONDS, self._cut)

    def pause_reading(self) -> None:
        """Stop taking messages from the peer, so that TCP slows it down."""
        self._may_read.clear()

    def resume_reading(self) -> None:
        """Take messages again."""
        self._may_read.set()

    @property
    def buffered_bytes(self) -> int:
        """How much was written and not yet taken by the operating system."""
        return self._queued_bytes

    async def run(self) -> None:
        """Hand the binary messages to the listener until the socket is gone."""
        sender = self._sender = asyncio.create_task(self._send_all())
        reader = asyncio.create_task(self._read_all())
        code = CloseCode.INTERNAL_ERROR.value
        try:
            await asyncio.wait((sender, reader), return_when=asyncio.FIRST_COMPLETED)
            code = reader.result() if reader.done() else _CLOSED_BY_US
        finally:
            self._listener.finish(code)
            self._closed = True
            for task in (sender, reader):
                task.cancel()
            await asyncio.gather(sender, reader, return_exceptions=True)

    def _cut(self) -> None:
        """Stop sending to a peer that does not even take the close frame; `run` then returns."""
        if self._sender is not None:
            self._sender.cancel()

    async def _read_all(self) -> int:
        while True:
            await self._may_read.wait()
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return int(message.get("code") or _NO_CODE)
            data: bytes | None = message.get("bytes")
            if data is None:
                self.close(CloseCode.UNSUPPORTED_DATA, "binary messages only")
            elif not self._closed:
                self._listener.take([data], 0)

    async def _send_all(self) -> None:
        with suppress(OSError, RuntimeError):  # the peer went away while we were sending
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._queue:
                    message = self._queue.popleft()
                    self._queued_bytes -= len(message.get("bytes") or b"")
                    await self._send(message)
                    if message["type"] == "websocket.close":
                        return


_NO_CODE = 1005
_CLOSED_BY_US = 1000


def open_channel(
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    send_buffer_bytes: int,
    listener: Listener,
) -> Channel:
    """Return the fast channel when the server offers our extension, the plain one otherwise.

    The WebSocket must have been accepted.
    """
    extensions: MutableMapping[str, Any] = scope.get("extensions") or {}
    direct: DirectChannel | None = extensions.get(EXTENSION)
    if direct is not None:
        return direct.open(send_buffer_bytes=send_buffer_bytes, listener=listener)
    return AsgiChannel(receive, send, send_buffer_bytes=send_buffer_bytes, listener=listener)
