"""`Line`: one socket of `/channel` on which the server has said welcome; and how the next one is opened."""

from __future__ import annotations

import inspect
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from quorate_client.errors import LineLost, NotUnderstood, ProblemError
from quorate_protocol.channel_envelopes import (
    CHANNEL_VERSION,
    ClientEnvelope,
    Goodbye,
    Hello,
    ServerEnvelope,
    Welcome,
)
from quorate_protocol.channel_frames import decode_server_envelope, encode_envelope
from quorate_protocol.errors import RemoteProtocolError
from quorate_protocol.limits import Limits

log = logging.getLogger("quorate.client")

TokenSource = str | Callable[[], str | Awaitable[str]]
"""A token, or a function that returns one: it is called for each new connection."""

_UNAUTHORIZED: Final = 401
_SERVERS_FAULT: Final = 500
_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0


class Backoff:
    """How long to wait before the next attempt: longer each time, and at random, so that clients spread."""

    def __init__(self, source: random.Random | None = None) -> None:
        self._random = source or random.Random()  # noqa: S311 - spreads load, protects nothing
        self._failures = 0

    def next_pause(self) -> float:
        """Return the seconds to wait after one more failure."""
        most = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return self._random.uniform(0.0, most)

    def reset(self) -> None:
        """Note that an attempt succeeded."""
        self._failures = 0


class Line:
    """A socket on which both sides know each other. `welcome` is what the server said."""

    def __init__(self, socket: ClientConnection, limits: Limits) -> None:
        self._socket = socket
        self._limits = limits
        self.welcome = Welcome(user="", position=0)

    async def send(self, envelope: ClientEnvelope) -> None:
        """Say something.

        Raises:
            LineLost: the socket is gone; whether it arrived is not known.
        """
        await self.send_frame(encode_envelope(envelope))

    async def send_frame(self, frame: bytes) -> None:
        """Say something that is encoded already; raises as `send` does."""
        try:
            await self._socket.send(frame)
        except ConnectionClosed as error:
            raise LineLost(str(error)) from error

    async def receive(self) -> ServerEnvelope:
        """Return what the server says next.

        Raises:
            LineLost: the socket is gone, for a cause that passes or that a fresh token mends.
            ProblemError: the server ended it, and would again.
            NotUnderstood: it said what is not of this dialect.
        """
        try:
            envelope = await self._hear()
        except ProblemError as error:
            if error.passes or error.status == _UNAUTHORIZED:
                raise LineLost(str(error)) from error
            raise
        return envelope

    async def greet(self, token: str) -> None:
        """Say who we are and wait for the welcome; raises as `receive` does, and a refused token is a problem."""
        await self.send(Hello(token=token))
        try:
            welcome = await self._hear()
        except ProblemError as error:
            if error.passes:
                raise LineLost(str(error)) from error
            raise
        if not isinstance(welcome, Welcome) or welcome.version != CHANNEL_VERSION:
            raise NotUnderstood(f"expected a welcome of version {CHANNEL_VERSION}, received {welcome!r:.80}")
        self.welcome = welcome

    async def close(self) -> None:
        """Close the socket."""
        await self._socket.close()

    async def _hear(self) -> ServerEnvelope:
        try:
            frame = await self._socket.recv(decode=False)
            envelope = decode_server_envelope(frame, self._limits)
        except ConnectionClosed as error:
            raise LineLost(str(error)) from error
        except RemoteProtocolError as error:
            raise NotUnderstood(str(error)) from error
        if isinstance(envelope, Goodbye):
            raise ProblemError(envelope.problem)
        return envelope


class Lines:
    """Opens lines to one server, and closes all of them at the end."""

    def __init__(self, url: str, token: TokenSource, limits: Limits) -> None:
        self.url = channel_url(url)
        self._token = token
        self._limits = limits
        self._open: set[Line] = set()
        self.is_closed = False

    async def open(self) -> Line:
        """Open one, in one attempt.

        Raises:
            LineLost: the server cannot be reached now.
            ProblemError: it does not let us in.
            NotUnderstood: it is no server of this dialect.
        """
        self._check_open()
        token = self._token if isinstance(self._token, str) else self._token()
        if inspect.isawaitable(token):
            token = await token
        line = Line(await self._connect(), self._limits)
        self._open.add(line)
        try:
            await line.greet(token)
            self._check_open()  # it may have been closed meanwhile
        except BaseException:
            await self.close(line)
            raise
        return line

    async def close(self, line: Line) -> None:
        """Close one."""
        self._open.discard(line)
        await line.close()

    async def close_all(self) -> None:
        """Close all, and open no more."""
        self.is_closed = True
        for line in tuple(self._open):
            await self.close(line)

    def _check_open(self) -> None:
        if self.is_closed:
            raise LineLost("the client is closed")

    async def _connect(self) -> ClientConnection:
        try:
            return await connect(self.url, max_size=self._limits.frame_bytes, compression=None)
        except InvalidStatus as error:
            status = error.response.status_code
            if status >= _SERVERS_FAULT:
                raise LineLost(str(error)) from error
            problem = {"type": "about:blank", "title": f"HTTP {status}", "status": status, "detail": str(error)}
            raise ProblemError(problem) from error
        except InvalidURI as error:
            raise NotUnderstood(str(error)) from error
        except (OSError, TimeoutError, InvalidHandshake, ConnectionClosed) as error:
            raise LineLost(f"{self.url} cannot be reached: {error}") from error


def channel_url(url: str) -> str:
    """Return the address of `/channel` on a server, given as `http://host:port`, `ws://...` or whole.

    Raises:
        NotUnderstood: it is no address of a server.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.netloc:
        raise NotUnderstood(f"the address of a server looks like http://127.0.0.1:8000, not {url!r}")
    path = parts.path.rstrip("/").removesuffix("/channel")
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, f"{path}/channel", "", ""))
