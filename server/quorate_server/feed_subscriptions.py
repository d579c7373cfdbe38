"""Subscriptions to the change feed: who reads it, from where, and what passes.

Live and catching up are one path: a subscription reads the feed in pages from its position, and waits for the bell
when there is nothing beyond. It never skips and never reorders, because it never looks at anything but the feed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from quorate_protocol.channel_envelopes import FeedEvent, Progress, Subscribe
from quorate_protocol.channel_frames import encode_envelope
from quorate_protocol.ids import DocumentName
from quorate_server.cloudevents import TYPE_PREFIX, cloud_event
from quorate_server.feed import Feed
from quorate_server.kinds import artifact_of, kind_of
from quorate_storage.acts import Change

WRITE_BYTES = 64 * 1024
"""Events are written together up to about so many bytes."""

CHANGES_A_TURN = 16
"""After so many changes others get a turn: a decision about access can cost a quarter of a millisecond."""

PROGRESS_SECONDS = 2.0
"""How long a subscription that has nothing to tell waits before it tells how far it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedFilter:
    """Which changes a subscription wants. What is empty lets everything pass."""

    types: tuple[str, ...] = ()
    prefix: str = ""
    kinds: frozenset[str] = frozenset()

    def fits(self, change: Change) -> bool:
        """Tell whether a change is wanted."""
        if self.prefix and not change.document.startswith(self.prefix):
            return False
        if self.kinds and kind_of(artifact_of(change.document)) not in self.kinds:
            return False
        return not self.types or any(_matches(pattern, change.type) for pattern in self.types)


def _matches(pattern: str, type_: str) -> bool:
    pattern = pattern.removeprefix(TYPE_PREFIX)
    return type_.startswith(pattern[:-1]) if pattern.endswith("*") else type_ == pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlet:
    """Where a subscription's frames go, and what its subscriber may read.

    `write` sends frames in one go; `drained` returns when the subscriber has taken enough of what was written.
    """

    may_read: Callable[[DocumentName], bool]
    write: Callable[[list[bytes]], None]
    drained: Callable[[], Awaitable[None]]


class FeedSubscription:
    """One subscription: reads from a position for ever."""

    def __init__(self, feed: Feed, wanted: Subscribe, outlet: Outlet) -> None:
        self._feed = feed
        self._number = wanted.id
        self._filter = FeedFilter(types=wanted.types, prefix=wanted.prefix, kinds=frozenset(wanted.kinds))
        self._outlet = outlet
        self._position = self._told = 0
        self._told_at = 0.0

    async def run(self, after: int) -> None:
        """Tell of every change beyond a position that fits and may be read, in order, until cancelled."""
        self._position = after
        self._tell_position()
        has_caught_up = False
        while True:
            rung = self._feed.rung
            changes = await self._feed.read(self._position)
            if changes:
                await self._tell(changes)
                continue
            if not has_caught_up and self._told < self._position:
                self._tell_position()
            has_caught_up = True
            await self._wait(rung)

    async def _tell(self, changes: Sequence[Change]) -> None:
        """Write the events of a page, a few at a time, and move on behind it."""
        frames: list[bytes] = []
        size = 0
        for number, change in enumerate(changes, 1):
            self._position = change.position
            if self._filter.fits(change) and self._outlet.may_read(change.document):
                frames.append(self._frame(change))
                size += len(frames[-1])
            if size >= WRITE_BYTES or number == len(changes):
                await self._write(frames)
                frames, size = [], 0
            elif number % CHANGES_A_TURN == 0:
                await asyncio.sleep(0)
        if self._is_due() and self._told < self._position:
            self._tell_position()

    def _frame(self, change: Change) -> bytes:
        self._told = change.position
        return encode_envelope(
            FeedEvent(subscription=self._number, position=change.position, event=cloud_event(change))
        )

    async def _write(self, frames: list[bytes]) -> None:
        if frames:
            self._outlet.write(frames)
            self._told_at = asyncio.get_running_loop().time()
        await self._outlet.drained()

    async def _wait(self, rung: int) -> None:
        """Wait for news; tell meanwhile of a position that was not told of."""
        if self._told == self._position:
            await self._feed.wait(rung)
            return
        try:
            async with asyncio.timeout_at(self._told_at + PROGRESS_SECONDS):
                await self._feed.wait(rung)
        except TimeoutError:
            self._tell_position()

    def _is_due(self) -> bool:
        return asyncio.get_running_loop().time() >= self._told_at + PROGRESS_SECONDS

    def _tell_position(self) -> None:
        self._told = self._position
        self._told_at = asyncio.get_running_loop().time()
        self._outlet.write([encode_envelope(Progress(subscription=self._number, position=self._position))])
