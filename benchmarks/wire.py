"""A WebSocket client that costs almost nothing: enough to load a server, not to be one.

Frames are masked with the key 0, which RFC 6455 permits and which leaves the payload as it is.
"""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from collections.abc import Callable
from typing import cast


def masked(payload: bytes) -> bytes:
    """Return a binary message as a client's frame."""
    size = len(payload)
    if size < 126:
        head = bytes((0x82, 0x80 | size))
    elif size < 1 << 16:
        head = b"\x82\xfe" + size.to_bytes(2, "big")
    else:
        head = b"\x82\xff" + size.to_bytes(8, "big")
    return head + b"\x00\x00\x00\x00" + payload


class Wire(asyncio.Protocol):
    """One connection: hands whole messages to `on_message`, or only counts bytes when there is none."""

    def __init__(self, path: str, on_message: Callable[[bytes], None] | None) -> None:
        self._path = path
        self._on_message = on_message
        self._buffer = bytearray()
        self._is_open = False
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received_bytes = 0
        self.messages = 0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by class
        key = b64encode(os.urandom(16)).decode()
        self.transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        self._buffer += data
        if not self._is_open:
            head, found, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            if not found:
                return
            assert b" 101 " in head, head
            self._is_open = True
            self._buffer = bytearray(rest)
            self.opened.set_result(None)
        self._split()

    def _split(self) -> None:
        buffer, start = self._buffer, 0
        while len(buffer) - start >= 2:
            size, at = buffer[start + 1] & 0x7F, start + 2
            if size == 126:
                if len(buffer) < at + 2:
                    break
                size, at = int.from_bytes(buffer[at : at + 2], "big"), at + 2
            elif size == 127:
                if len(buffer) < at + 8:
                    break
                size, at = int.from_bytes(buffer[at : at + 8], "big"), at + 8
            if len(buffer) < at + size:
                break
            if buffer[start] == 0x89:  # ping
                self.transport.write(b"\x8a\x80\x00\x00\x00\x00")
            elif self._on_message is not None:
                self._on_message(bytes(buffer[at : at + size]))
            self.messages += 1
            start = at + size
        del buffer[:start]

    def send(self, frame: bytes) -> None:
        self.transport.write(frame)


async def connect(port: int, path: str, on_message: Callable[[bytes], None] | None = None) -> Wire:
    """Open a WebSocket on this machine."""
    loop = asyncio.get_running_loop()
    _, wire = await loop.create_connection(lambda: Wire(path, on_message), "127.0.0.1", port)
    await wire.opened
    return wire
