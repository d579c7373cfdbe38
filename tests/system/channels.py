"""A raw peer of `/channel`: envelopes in, envelopes out, nothing by itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from quorate_protocol.channel_envelopes import (
    ClientEnvelope,
    FeedEvent,
    Goodbye,
    Hello,
    Json,
    ServerEnvelope,
    Subscribe,
    Welcome,
)
from quorate_protocol.channel_frames import decode_server_envelope, encode_envelope
from tests.system.peers import PATIENCE_SECONDS

E = TypeVar("E", bound=ServerEnvelope)


class ChannelPeer:
    """One socket. What it is told is taken one by one with `next`, or skipped to with `find`."""

    def __init__(self, url: str, token: str | None, *, header: str = "") -> None:
        self._url = f"{url}/channel"
        self._token = token
        self._header = header
        self._socket: ClientConnection | None = None

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self._header}"} if self._header else {}
        self._socket = await connect(self._url, compression=None, additional_headers=headers)
        if self._token is not None:
            await self.say(Hello(token=self._token))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._socket is not None
        await self._socket.close()

    @property
    def socket(self) -> ClientConnection:
        assert self._socket is not None
        return self._socket

    async def say(self, *envelopes: ClientEnvelope) -> None:
        for envelope in envelopes:
            await self.socket.send(encode_envelope(envelope))

    async def next(self) -> ServerEnvelope:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return decode_server_envelope(await self.socket.recv(decode=False))

    async def find(self, kind: type[E]) -> E:
        while not isinstance(found := await self.next(), kind):
            pass
        return found

    async def welcomed(self) -> Welcome:
        found = await self.next()
        assert isinstance(found, Welcome), found
        return found

    async def subscribed(self, wanted: Subscribe) -> Self:
        """Subscribe, and wait until it stands."""
        await self.say(wanted)
        await self.next()
        return self

    async def event(self) -> Json:
        return (await self.find(FeedEvent)).event

    async def end(self) -> tuple[Json | None, int]:
        """Wait until the server closes; return what it said at last, and the close code."""
        last = None
        with suppress(ConnectionClosed):
            while True:
                envelope = await self.next()
                last = envelope.problem if isinstance(envelope, Goodbye) else last
        return last, self.socket.close_code or 0
