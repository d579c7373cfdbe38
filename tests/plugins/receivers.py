"""A receiver of webhooks: a plain HTTP server in this process that answers as it is told, and keeps what came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks.webhooks import Webhook

STALL, CLOSE = "stall", "close"
Plan = Callable[[int], "int | str | tuple[int, dict[str, str]]"]
"""What the n-th request (from 0) is answered: a status, a status with headers, or `STALL` or `CLOSE`."""


@dataclass(frozen=True)
class Received:
    """One request."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event

    def verify(self, secret: str) -> None:
        """Check the signature as a receiver does.

        Raises:
            WebhookVerificationError: it is not signed with this secret.
        """
        Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """What a receiver answers, and what it got. `released` lets those go that stall."""

    plan: Plan = lambda _: 204
    got: list[Received] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        return [one.id for one in self.got]

    @property
    def types(self) -> list[str]:
        return [one.event["type"] for one in self.got]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (request := await _read(reader)) is not None:
                self.got.append(request)
                if not await self._answer(writer, self.plan(len(self.got) - 1)):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, answer: int | str | tuple[int, dict[str, str]]) -> bool:
        if answer == CLOSE:
            return False
        if answer == STALL:
            await self.released.wait()
            return False
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        lines = [f"HTTP/1.1 {status} X", "Content-Length: 0", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        await writer.drain()
        return True


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    pairs = [line.partition(":") for line in head.split("\r\n")[1:] if line]
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Received(headers, await reader.readexactly(int(headers.get("content-length", "0"))))


@asynccontextmanager
async def receiving(plan: Plan = lambda _: 204) -> AsyncIterator[Receiver]:
    """A receiver on a free port of this machine."""
    receiver = Receiver(plan)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            yield receiver
        finally:
            receiver.released.set()
            server.close()
