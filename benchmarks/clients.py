"""The load: many sockets that cost the generator next to nothing, and keep every byte with its time.

One readiness queue holds all sockets of a `Swarm`, and the event loop watches that queue; a round takes what each
ready socket has in one call of the system, notes the time, and looks no further. What the bytes say is read after the
clock has stopped. Only a client with an `on_data` is told while it runs: a writer, who waits to be acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from benchmarks.dialects import Dialect, Heard, Kind, messages_of
from benchmarks.wire import masked

RECEIVE_BYTES = 1 << 18
PING, PONG = 0x89, 0x8A


class Lost(Exception):
    """A server closed a socket that it should have kept."""


@dataclass(eq=False, slots=True)
class Client:
    """One socket with one document open."""

    swarm: Swarm
    socket: socket.socket
    document: str
    chunks: list[tuple[float, bytes]] = field(default_factory=list[tuple[float, bytes]])
    """What came, and when, from the answer to the handshake on."""
    on_data: Callable[[bytes], None] | None = None
    received_bytes: int = 0
    is_lost: bool = False
    _unsent: bytearray = field(default_factory=bytearray)

    def send(self, *messages: bytes) -> None:
        """Send WebSocket messages; what the socket does not take goes out when it does."""
        self.send_raw(b"".join(masked(message) for message in messages))

    def send_raw(self, frames: bytes) -> None:
        if self._unsent:
            self._unsent += frames
            return
        try:
            sent = self.socket.send(frames)
        except BlockingIOError:
            sent = 0
        if sent < len(frames):
            self._unsent += frames[sent:]
            self.swarm.watch(self, is_full=True)

    def flush(self) -> None:
        """Send more of what waits."""
        waiting, self._unsent = bytes(self._unsent), bytearray()
        self.swarm.watch(self, is_full=False)
        if waiting:
            self.send_raw(waiting)

    def take(self, data: bytes, at: float) -> None:
        """Keep what has come.

        Nobody looks for a ping in the middle of a load, so a load must be over before a server that asks every 30 s
        has asked twice.
        """
        if not data:
            self.is_lost = True
            self.swarm.forget(self)
            return
        self.chunks.append((at, data))
        self.received_bytes += len(data)
        if self.on_data is not None:
            self.on_data(data)
        elif data[0] == PING:
            size = data[1]
            self.send_raw(bytes((PONG, 0x80 | size)) + b"\x00\x00\x00\x00" + data[2 : 2 + size])

    def heard(self) -> Iterator[tuple[float, Heard]]:
        """Yield what the server has said and when its last byte came: for after the clock has stopped."""
        dialect, chunks = self.swarm.dialect, self.chunks
        data = b"".join(chunk for _, chunk in chunks)
        start = data.find(b"\r\n\r\n") + 4
        index, have = 0, len(chunks[0][1]) if chunks else 0
        for end, message in messages_of(data[start:]):
            while have < start + end:
                index += 1
                have += len(chunks[index][1])
            yield chunks[index][0], dialect.read(message)

    @property
    def is_synced(self) -> bool:
        """Whether the answer to the first question has come."""
        return any(heard.kind is Kind.STEP2 for _, heard in self.heard())

    def close(self) -> None:
        """Be gone without a word, as a laptop that is shut."""
        if not self.is_lost:
            self.is_lost = True
            self.swarm.forget(self)


class Swarm:
    """All clients of one server. An async context manager; leaving it closes them."""

    def __init__(self, port: int, dialect: Dialect, prefix: str) -> None:
        self.dialect = dialect
        self.clients: dict[int, Client] = {}
        self._port, self._prefix = port, prefix
        self._ready = select.epoll()
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._ready.fileno(), self._drain)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._ready.fileno())
        for client in tuple(self.clients.values()):
            client.close()
        self._ready.close()

    async def open(self, document: str, *, on_data: Callable[[bytes], None] | None = None) -> Client:
        """Open a socket, and wait for the answer to its handshake."""
        opened = socket.socket()
        opened.setblocking(False)  # noqa: FBT003
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(opened, ("127.0.0.1", self._port))
        shaken = asyncio.Event()
        client = Client(self, opened, document, on_data=lambda _data: shaken.set())
        self.clients[opened.fileno()] = client
        self._ready.register(opened.fileno(), select.EPOLLIN)
        path = self._prefix if self.dialect.name == "hocuspocus" else f"{self._prefix}{document}"
        client.send_raw(_handshake(path))
        async with asyncio.timeout(60):
            await shaken.wait()
        if client.is_lost or not client.chunks[0][1].startswith(b"HTTP/1.1 101"):
            raise Lost(f"the server did not take {path}: {client.chunks[:1]}")
        client.on_data = on_data
        return client

    async def join(self, document: str, *, on_data: Callable[[bytes], None] | None = None) -> Client:
        """Open a document and ask for what is in it; the answer is not waited for."""
        client = await self.open(document, on_data=on_data)
        client.send(*self.dialect.greeting(document))
        return client

    def watch(self, client: Client, *, is_full: bool) -> None:
        """Wait for room in a socket's send buffer, or no longer."""
        self._ready.modify(client.socket.fileno(), select.EPOLLIN | (select.EPOLLOUT if is_full else 0))

    def forget(self, client: Client) -> None:
        """Close a socket."""
        del self.clients[client.socket.fileno()]
        client.socket.close()

    def _drain(self) -> None:
        for descriptor, events in self._ready.poll(0, 1024):
            client = self.clients.get(descriptor)
            if client is None:
                continue
            if events & select.EPOLLOUT:
                client.flush()
            if events & ~select.EPOLLOUT:
                self._receive(client)

    def _receive(self, client: Client) -> None:
        try:
            size = client.socket.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        client.take(bytes(self._buffer[:size]), time.perf_counter())

    # Waiting

    async def settle(self, clients: list[Client], *, quiet_seconds: float = 0.15, limit_seconds: float = 60) -> float:
        """Wait until nothing has come to any of the clients for a while; return when the last byte came."""
        deadline = time.perf_counter() + limit_seconds
        while True:
            last = max((client.chunks[-1][0] for client in clients if client.chunks), default=0.0)
            rest = last + quiet_seconds - time.perf_counter()
            if rest <= 0:
                return last
            if time.perf_counter() > deadline:
                raise Lost(f"still busy after {limit_seconds} s")
            await asyncio.sleep(max(rest, 0.02))

    async def synced(self, clients: list[Client], *, limit_seconds: float = 60) -> None:
        """Wait until each has the answer to its question."""
        async with asyncio.timeout(limit_seconds):
            for client in clients:
                while not client.is_synced:
                    if client.is_lost:
                        raise Lost(f"the server closed {client.document}")
                    await asyncio.sleep(0.01)


def _handshake(path: str) -> bytes:
    key = b64encode(os.urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()
