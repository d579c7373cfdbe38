"""The peers in Python: `python -m benchmarks.python_peers relay` and `... pycrdt [FILE]`, on a free port.

`relay` is the ceiling: messages in, the same messages out to everybody on the path, and nothing else. `pycrdt` is
pycrdt-websocket behind uvicorn; with a file, its SQLiteYStore keeps each update there.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from base64 import b64encode
from collections import defaultdict
from contextlib import suppress
from hashlib import sha1
from pathlib import Path
from typing import ClassVar, cast

import uvicorn
import uvloop
from pycrdt.store import SQLiteYStore, YDocNotFound
from pycrdt.websocket import ASGIServer, WebsocketServer, YRoom

from quorate_server.frames import frame_bytes

RFC_6455_KEY = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def listening() -> socket.socket:
    """Listen on a free port of this machine, and say so."""
    opened = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"ready on http://127.0.0.1:{opened.getsockname()[1]}", flush=True)
    return opened


class RelayProtocol(asyncio.Protocol):
    """One socket of the relay."""

    rooms: ClassVar[defaultdict[bytes, set[asyncio.Transport]]] = defaultdict(set)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._buffer = b""
        self._room: set[asyncio.Transport] | None = None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._room is not None:
            self._room.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data
        if self._room is None:
            head, found, buffer = buffer.partition(b"\r\n\r\n")
            if not found:
                self._buffer = head
                return
            self._open(head)
        self._buffer = self._relay(buffer)

    def _open(self, head: bytes) -> None:
        lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        accept = b64encode(sha1((lines["Sec-WebSocket-Key"] + RFC_6455_KEY).encode()).digest()).decode()
        self._transport.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        self._room = self.rooms[head.split(b" ", 2)[1]]
        self._room.add(self._transport)

    def _relay(self, buffer: bytes) -> bytes:
        start = 0
        while (place := _payload_at(buffer, start)) is not None:
            at, end = place
            key = int.from_bytes(buffer[at : at + 4], "little")
            payload = buffer[at + 4 : end]
            assert key == 0, "the load masks with zero"
            frame = frame_bytes(payload)
            for transport in self._room or ():
                transport.write(frame)
            start = end
        return buffer[start:]


def _payload_at(buffer: bytes, start: int) -> tuple[int, int] | None:
    """Return where the mask of a client's frame begins and its payload ends, if it is whole."""
    if len(buffer) < start + 6:
        return None
    size, at = buffer[start + 1] & 0x7F, start + 2
    if size == 126:
        size, at = int.from_bytes(buffer[at : at + 2], "big"), at + 2
    elif size == 127:
        size, at = int.from_bytes(buffer[at : at + 8], "big"), at + 8
    end = at + 4 + size
    return None if len(buffer) < end else (at, end)


async def relay() -> None:
    server = await asyncio.get_running_loop().create_server(RelayProtocol, sock=listening())
    await server.serve_forever()


class StoringServer(WebsocketServer):
    """pycrdt-websocket, with the updates of all rooms in one SQLite file; a room is filled before it is entered."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._store: type[SQLiteYStore] = type("Store", (SQLiteYStore,), {"db_path": str(file)})
        self._filling = asyncio.Lock()

    async def get_room(self, name: str) -> YRoom:
        async with self._filling:
            if name not in self.rooms:
                self.rooms[name] = await self._filled(name)
        return self.rooms[name]

    async def _filled(self, name: str) -> YRoom:
        store = self._store(name)
        room = YRoom(ready=False, ystore=store, log=self.log)
        await self.start_room(room)
        await store.started.wait()
        with suppress(YDocNotFound):
            await store.apply_updates(room.ydoc)
        room.ready = True
        return room


async def pycrdt(file: str | None) -> None:
    server = StoringServer(Path(file)) if file else WebsocketServer()
    opened = listening()
    async with server:
        config = uvicorn.Config(ASGIServer(server), log_level="warning", lifespan="off")
        await uvicorn.Server(config).serve([opened])


def main() -> None:
    kind, *rest = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(relay() if kind == "relay" else pycrdt(rest[0] if rest else None))


if __name__ == "__main__":
    main()
