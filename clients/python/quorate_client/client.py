"""`Client`: commands and changes of one server, over reconnections.

Commands share one line. Each carries an idempotency key: after a lost connection it is sent again with the same key
until it is answered, and is done once. Changes are read on lines of their own, see `changes.py`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from quorate_client.changes import Change, FeedReader
from quorate_client.errors import ClientError, Disconnected, LineLost, NotUnderstood, ProblemError
from quorate_client.lines import Backoff, Line, Lines, TokenSource
from quorate_protocol.channel_envelopes import CommandRequest, Reply, Subscribe
from quorate_protocol.channel_frames import decode_client_envelope, encode_envelope
from quorate_protocol.limits import DEFAULT_LIMITS, Limits

log = logging.getLogger("quorate.client")

_IDS = 2**32


@dataclass(slots=True)
class _Waiting:
    """A command without a reply, and the line on which it was sent last."""

    frame: bytes
    line: Line | None = None
    reply: asyncio.Future[Reply] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Client:
    """A client of one server. It is connected while the context is entered, and reconnects by itself.

    `token` is a token, or a function that returns a fresh one for each connection; `patience_seconds` is how long a
    command is tried while the server cannot be reached or answers that it should be tried again.
    """

    def __init__(
        self, url: str, *, token: TokenSource = "", patience_seconds: float = 60.0, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._lines = Lines(url, token, limits)
        self._patience = patience_seconds
        self._limits = limits
        # One less than the server runs at once: at the bound it stops reading, and answers no ping.
        self._turns = asyncio.Semaphore(max(1, limits.channel_commands_in_flight - 1))
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._line: Line | None = None
        self._failure: ClientError | None = None
        self._work: asyncio.Task[None] | None = None
        self.user = ""
        """Who the server says we are."""
        self.position = 0
        """The newest position of the feed when the connection was opened last."""

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ProblemError: the server does not let us in.
            Disconnected: it cannot be reached.
            NotUnderstood: it does not speak this dialect.
        """
        try:
            line = await self._lines.open()
        except LineLost as error:
            raise Disconnected(str(error)) from error
        self._take(line)
        self._work = asyncio.create_task(self._serve(line))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection; what still waits for a reply fails."""
        self._fail(Disconnected("the client was closed"))
        assert self._work is not None
        self._work.cancel()
        await asyncio.gather(self._work, return_exceptions=True)
        await self._lines.close_all()

    async def command(
        self, name: str, values: Mapping[str, object] | None = None, *, key: str | None = None
    ) -> Mapping[str, object]:
        """Do a command once and return its answer.

        Args:
            name: such as `access.share`.
            values: what the command takes.
            key: its idempotency key, made up if there is none; an empty one makes a repetition a second command.

        Raises:
            ProblemError: the server says no; nothing was changed, unless its status is 503.
            Disconnected: the server could not be reached; repeat it with the same key.
            MalformedFrame, LimitExceeded: it cannot be sent; nothing was changed.
        """
        key = uuid.uuid4().hex if key is None else key
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        backoff = Backoff()
        async with self._turns:
            while True:
                reply = await self._ask(name, values or {}, key)
                if reply.problem is None:
                    return reply.answer or {}
                error = ProblemError(reply.problem)
                pause = backoff.next_pause()
                if not error.passes or loop.time() + pause > until:
                    raise error
                await asyncio.sleep(pause)

    def changes(
        self,
        *,
        after: int | None = None,
        types: Sequence[str] = (),
        prefix: str = "",
        kinds: Sequence[str] = (),
        until: int | None = None,
    ) -> AsyncGenerator[Change]:
        """Yield the changes that fit and that we may read, in order, for ever; reconnects by itself.

        Whoever keeps `position` of the last change it has dealt with and comes back with it as `after` misses nothing.

        Args:
            after: the position to go on from; 0 reads from the beginning, `None` from now on.
            types: such as `access.changed` or `access.*`; none lets all pass.
            prefix: what names of documents begin with.
            kinds: kinds of artifacts; none lets all pass.
            until: end after this position, such as `Client.position`.

        Raises:
            ProblemError: the server does not let us read.
            NotUnderstood: it does not speak this dialect.
        """
        wanted = Subscribe(id=1, after=after, types=tuple(types), prefix=prefix, kinds=tuple(kinds))
        decode_client_envelope(encode_envelope(wanted), self._limits)
        return FeedReader(self._lines, wanted, until=until).read()

    # Commands

    async def _ask(self, name: str, values: Mapping[str, object], key: str) -> Reply:
        """Give a command on whatever line there is, until there is a reply."""
        if self._failure is not None:
            raise self._failure
        if self._work is None:
            raise Disconnected("enter the client first: `async with Client(...) as client`")
        number = next(self._numbers) % _IDS
        frame = encode_envelope(CommandRequest(id=number, name=name, values=values, key=key))
        decode_client_envelope(frame, self._limits)  # what the server would close the socket for is refused here
        waiting = self._waiting[number] = _Waiting(frame)
        try:
            with suppress(LineLost):  # it is sent again on the next line
                await self._send(waiting)
            return await waiting.reply
        finally:
            del self._waiting[number]

    async def _serve(self, line: Line) -> None:
        """Hear replies, on one line after the other."""
        while True:
            try:
                await self._converse(line)
            except LineLost as error:
                log.info("client.line_lost", extra={"error": str(error)})
            except (ProblemError, NotUnderstood) as error:
                self._fail(error)
                return
            finally:
                self._line = None
                await self._lines.close(line)
            try:
                line = await self._reopen()
            except (ProblemError, NotUnderstood) as error:
                self._fail(error)
                return

    async def _converse(self, line: Line) -> None:
        self._take(line)
        for waiting in tuple(self._waiting.values()):
            await self._send(waiting)
        while True:
            envelope = await line.receive()
            if isinstance(envelope, Reply) and (found := self._waiting.get(envelope.id)) and not found.reply.done():
                found.reply.set_result(envelope)

    async def _send(self, waiting: _Waiting) -> None:
        """Send a command on the line there is, once on each."""
        line = self._line
        if line is not None and waiting.line is not line:
            waiting.line = line
            await line.send_frame(waiting.frame)

    def _take(self, line: Line) -> None:
        self._line = line
        self.user, self.position = line.welcome.user, line.welcome.position

    async def _reopen(self) -> Line:
        """Open a line however long it takes; what waits longer than our patience fails meanwhile."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        backoff = Backoff()
        while True:
            await asyncio.sleep(backoff.next_pause())
            try:
                return await self._lines.open()
            except LineLost as error:
                if loop.time() > until:
                    self._let_go(Disconnected(str(error)))

    def _fail(self, error: ClientError) -> None:
        """Fail for good."""
        self._failure = self._failure or error
        self._let_go(error)

    def _let_go(self, error: ClientError) -> None:
        for waiting in self._waiting.values():
            if not waiting.reply.done():
                waiting.reply.set_exception(error)
