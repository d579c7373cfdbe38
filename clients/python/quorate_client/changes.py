"""Reading the change feed: one line for each reader, opened again from where the last one ended.

A reader has a socket of its own, so that one that stops reading stops its own socket only: TCP slows the server
down, and the replies to commands come on another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import cast

from quorate_client.errors import LineLost, ProblemError
from quorate_client.lines import Backoff, Lines
from quorate_protocol.channel_envelopes import FeedEvent, Progress, ServerEnvelope, Subscribe, SubscriptionClosed

log = logging.getLogger("quorate.client")

_TYPE_PREFIX = "quorate."


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of the feed. `position` is where to go on from (`after`); `event` is the whole CloudEvent."""

    position: int
    event: Mapping[str, object] = field(repr=False)

    @property
    def type(self) -> str:
        """What happened, such as `access.changed`."""
        return str(self.event.get("type", "")).removeprefix(_TYPE_PREFIX)

    @property
    def document(self) -> str:
        """The name of the document that changed: an artifact's content, or its record."""
        return str(self.event.get("subject", ""))

    @property
    def data(self) -> Mapping[str, object]:
        """The facts, and the `actor`."""
        data = self.event.get("data")
        return cast("Mapping[str, object]", data) if isinstance(data, dict) else {}


class FeedReader:
    """Reads the changes that fit, in order, over as many lines as it takes; see `Client.changes`."""

    def __init__(self, lines: Lines, wanted: Subscribe, *, until: int | None) -> None:
        self._lines = lines
        self._wanted = wanted
        self._until = until
        self._is_done = False
        self._backoff = Backoff()

    async def read(self) -> AsyncGenerator[Change]:
        """Yield changes until the end is reached or the client is closed."""
        while True:
            async with aclosing(self._read_line()) as found:
                async for change in found:
                    yield change
            if self._is_done or self._lines.is_closed:
                return
            await asyncio.sleep(self._backoff.next_pause())

    async def _read_line(self) -> AsyncGenerator[Change]:
        """Yield changes until this line is lost, or the end is reached."""
        line = None
        try:
            line = await self._lines.open()
            await line.send(self._wanted)
            while not self._is_done:
                change = self._take(await line.receive())
                if change is not None:
                    yield change
        except LineLost as error:
            log.info("client.feed_lost", extra={"after": self._wanted.after, "error": str(error)})
        finally:
            if line is not None:
                await self._lines.close(line)

    def _take(self, envelope: ServerEnvelope) -> Change | None:
        """Move on to the position that the server tells of; return its change if there is one."""
        match envelope:
            case FeedEvent(position=position, event=event):
                self._move_to(position)
                return Change(position=position, event=event)
            case Progress(position=position):
                self._move_to(position)
            case SubscriptionClosed(problem=problem):
                error = ProblemError(problem or {"title": "The subscription was closed"})
                raise LineLost(str(error)) if error.passes else error
            case _:
                pass
        return None

    def _move_to(self, position: int) -> None:
        self._backoff.reset()
        self._wanted = replace(self._wanted, after=position)
        self._is_done = self._until is not None and position >= self._until
