"""A line between clients and a server that cuts, duplicates, reorders and delays what goes over it, or falls silent.

Handshakes pass as they are: what is duplicated and reordered are updates, as they are when editors reconnect, have
several lines, or send again what they do not know to have arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from random import Random

import websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

from quorate_protocol.varints import read_var_uint
from tests.system.servers import ServerProcess

Socket = ClientConnection | ServerConnection


@dataclass(frozen=True, slots=True)
class Faults:
    """How often, of all updates, each happens. `silent`: nothing passes any more, and nothing is closed."""

    cut: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay: float = 0.0
    silent: bool = False


class FaultyLine:
    """The line; `url` is what clients take for the server's. `seen` counts what it did."""

    def __init__(self, server: ServerProcess, random: Random) -> None:
        self.faults = Faults()
        self.seen: dict[str, int] = dict.fromkeys(("cut", "duplicate", "reorder", "delay"), 0)
        self.url = ""
        self._server = server
        self._random = random

    @asynccontextmanager
    async def open(self) -> AsyncIterator[FaultyLine]:
        async with serve(
            self._carry, "127.0.0.1", 0, max_size=None, compression=None, ping_interval=None, close_timeout=0.5
        ) as listening:
            port = next(iter(listening.sockets)).getsockname()[1]
            self.url = f"ws://127.0.0.1:{port}"
            yield self
            self.faults = Faults()

    def heal(self) -> None:
        self.faults = Faults()

    def fall_silent(self) -> None:
        self.faults = replace(self.faults, silent=True)

    async def _carry(self, near: ServerConnection) -> None:
        assert near.request is not None
        target = f"{self._server.websocket_url}{near.request.path}"
        try:
            async with connect(target, max_size=None, compression=None, ping_interval=None, close_timeout=0.5) as far:
                ways = [asyncio.create_task(self._one_way(a, b)) for a, b in ((near, far), (far, near))]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, websockets.WebSocketException):
            pass
        near.transport.abort()

    async def _one_way(self, source: Socket, target: Socket) -> None:
        held: list[str | bytes] = []
        try:
            async for message in source:
                while self.faults.silent:
                    await asyncio.sleep(0.01)
                await self._pass(message, target, held)
        except websockets.ConnectionClosed:
            return
        finally:
            source.transport.abort()
            target.transport.abort()

    async def _pass(self, message: str | bytes, target: Socket, held: list[str | bytes]) -> None:
        if not is_update(message):
            await self._send(target, [*held, message])
            held.clear()
            return
        if self._happens("cut", self.faults.cut):
            target.transport.abort()
        if self._happens("delay", self.faults.delay):
            await asyncio.sleep(self._random.random() * 0.02)
        if self._happens("reorder", self.faults.reorder):
            held.append(message)  # it goes behind the next one
            return
        copies = 2 if self._happens("duplicate", self.faults.duplicate) else 1
        await self._send(target, [message] * copies + held)
        held.clear()

    def _happens(self, what: str, how_often: float) -> bool:
        happens = self._random.random() < how_often
        self.seen[what] += happens
        return happens

    @staticmethod
    async def _send(target: Socket, messages: list[str | bytes]) -> None:
        for message in messages:
            await target.send(message)


def is_update(message: str | bytes) -> bool:
    """Whether a frame, of either dialect, is an update (and no step of a sync)."""
    if isinstance(message, str) or len(message) < 3:
        return False
    if message[:2] == b"\x00\x02":
        return True
    try:
        size, start = read_var_uint(message, 0)
    except Exception:  # noqa: BLE001 - whatever is no name is no update
        return False
    return 0 < size < 256 and message[start + size : start + size + 2] == b"\x00\x02"
