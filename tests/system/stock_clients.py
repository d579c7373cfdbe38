"""Stock Yjs clients, as they are published, against a real server.

`Studio` is one Node process with editors of any family in it, see `tests/peers/editor.js`. pycrdt's Provider
is the one stock client in Python, and has a class of its own here.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import websockets
from pycrdt import Channel, Doc, Provider, Text
from websockets.asyncio.client import ClientConnection, connect

from tests.peers.node import NodeProgram
from tests.system.peers import PATIENCE_SECONDS, until

Y_WEBSOCKET = ("y-websocket-1", "y-websocket-2", "y-websocket-3", "y-websocket-4")
HOCUSPOCUS = ("hocuspocus-2", "hocuspocus-3", "hocuspocus-4")
FAMILIES = (*Y_WEBSOCKET, *HOCUSPOCUS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an editor sees and what happened to its sockets. Fields of the other dialect keep their default."""

    client: int
    """The client id of its document: in Yjs, who it is in everybody's presence."""
    text: str
    presence: dict[int, dict[str, Any]]
    synced: bool
    is_connected: bool
    has_stopped: bool
    """Whether the provider says that it will never connect again (y-websocket 3.1)."""
    attempts: int
    opened: int
    codes: list[int]
    """The close code of each socket that ended."""
    refusals: list[str]
    unconfirmed: int = 0
    """y-websocket: how much of its own writing did not come back yet."""
    unsynced: int = 0
    has_unsynced: bool = False
    scope: str = ""
    tokens_given: int = 0
    stateless: tuple[str, ...] = ()

    @property
    def is_saved(self) -> bool:
        """Whether the server has told this editor that all it wrote is durable."""
        return self.synced and self.unconfirmed <= 0 and not self.has_unsynced


def _report(answer: dict[str, Any]) -> Report:
    return Report(
        client=answer["client"],
        text=answer["text"],
        presence=dict(answer["presence"]),
        synced=answer["synced"],
        is_connected=answer["isConnected"],
        has_stopped=answer["hasStopped"],
        attempts=answer["attempts"],
        opened=answer["opened"],
        codes=answer["codes"],
        refusals=answer["refusals"],
        unconfirmed=answer.get("unconfirmed", 0),
        unsynced=answer.get("unsynced", 0),
        has_unsynced=answer.get("hasUnsynced", False),
        scope=answer.get("scope", ""),
        tokens_given=answer.get("tokensGiven", 0),
        stateless=tuple(answer["stateless"]),
    )


class Editor:
    """One document that is open in a stock client."""

    def __init__(self, program: NodeProgram, key: str, family: str) -> None:
        self._program, self._key, self.family = program, key, family

    def ask(self, operation: str, **arguments: Any) -> Any:
        return self._program.ask(operation, editor=self._key, **arguments)

    @property
    def report(self) -> Report:
        return _report(self.ask("report"))

    @property
    def text(self) -> str:
        return self.report.text

    async def write(self, value: str, *, at: int = 1_000_000) -> None:
        """Insert text, by default at the end."""
        self.ask("insert", at=at, value=value)

    def present(self, **state: Any) -> None:
        """Tell who is here."""
        self.ask("present", state=state)

    async def until(
        self,
        condition: Callable[[Report], Any],
        what: str,
        *,
        seconds: float = PATIENCE_SECONDS,
    ) -> Report:
        """Wait until the report is as expected; fail saying `what` was, and what was there instead."""
        seen: list[Report] = []

        def check() -> bool:
            seen[:] = [self.report]
            return bool(condition(seen[0]))

        try:
            await until(check, f"{self.family}: {what}", seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; last: {seen}") from None
        return seen[0]

    async def synced(self) -> Self:
        await self.until(lambda seen: seen.synced, "synced")
        return self

    async def leave(self) -> None:
        self.ask("destroy")


class Studio(NodeProgram):
    """A Node process full of stock clients."""

    def __init__(self, node: str) -> None:
        super().__init__(node, "editor.js")
        self._numbers = itertools.count()

    def open(self, family: str, url: str, document: str, *tokens: str, **more: Any) -> Editor:
        """Open a document; several tokens are given out one after the other, as the server asks for them."""
        key = f"{family}/{next(self._numbers)}"
        self.ask(
            "open",
            editor=key,
            family=family,
            url=url,
            document=document,
            tokens=list(tokens),
            **more,
        )
        return Editor(self, key, family)

    def clear(self) -> None:
        """Destroy all editors and close their sockets."""
        self.ask("clear")


class _SocketChannel(Channel):
    """A real WebSocket as pycrdt's Provider wants it."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    @property
    def path(self) -> str:
        request = self._socket.request
        return "" if request is None else request.path

    async def __anext__(self) -> bytes:
        try:
            return await self.recv()
        except websockets.ConnectionClosed:
            raise StopAsyncIteration from None

    async def send(self, message: bytes) -> None:
        with suppress(websockets.ConnectionClosed):  # reading ends the Provider
            await self._socket.send(message)

    async def recv(self) -> bytes:
        message = await self._socket.recv()
        assert isinstance(message, bytes)
        return message


class PycrdtEditor:
    """A document that pycrdt's own Provider keeps in step. The Provider knows no presence and no reconnecting."""

    family = "pycrdt"

    def __init__(self, url: str, document: str, token: str, doc: Doc[Any] | None = None) -> None:
        self._address = f"{url}/sync/{quote(document)}?token={token}"
        self.doc: Doc[Any] = Doc() if doc is None else doc
        self._text = self.doc.get("text", type=Text)
        self._socket: ClientConnection | None = None
        self._provider: Provider | None = None

    async def __aenter__(self) -> Self:
        self._socket = await connect(self._address, max_size=None)
        self._provider = Provider(self.doc, _SocketChannel(self._socket))
        await self._provider.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._provider is not None
        assert self._socket is not None
        await self._provider.__aexit__(kind, error, trace)  # type: ignore[no-untyped-call]
        await self._socket.close()

    async def synced(self) -> Self:
        assert self._provider is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._provider.synced.wait()
        return self

    async def closed(self) -> int:
        """Wait until the server closes the socket; return the code."""
        assert self._socket is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._socket.wait_closed()
        return self._socket.close_code or 1006

    @property
    def is_synced(self) -> bool:
        return self._provider is not None and self._provider.synced.is_set()

    @property
    def text(self) -> str:
        return str(self._text)

    async def write(self, value: str) -> None:
        self._text += value

    async def say(self, message: str) -> None:
        """Send a text message, which no Yjs client does."""
        assert self._socket is not None
        await self._socket.send(message)


async def until_time(moment: float) -> None:
    """Wait for a moment of the clock to pass."""
    await asyncio.sleep(max(0.0, moment - time.time()))
