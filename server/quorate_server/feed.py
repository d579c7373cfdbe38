"""`Feed`: the change feed as engines and subscriptions read it, in pages, each page once for all who want it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from quorate_storage.acts import Change, Row
from quorate_storage.errors import StorageUnavailable
from quorate_storage.stores import Store

log = logging.getLogger("quorate.server")

PAGE = 200
"""Changes read at once: 2 ms of the event loop to filter and encode."""

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
"""Between attempts to read from a database that does not answer; the pause doubles."""


class Feed:
    """The change feed of one server, as all its readers share it; `hear` must listen on the ledger."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reading: dict[int, asyncio.Task[Sequence[Change]]] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        self.rung = 0
        """Grows when there is something new."""

    def hear(self, rows: Sequence[Row]) -> None:
        """Ring the bell when changes became durable."""
        if not any(type(row) is Change for row in rows):
            return
        self.rung += 1
        # A read that is under way may have begun before: nobody may join it any more.
        self._reading.clear()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, rung: int) -> None:
        """Return when the bell has rung since `rung` was read."""
        while self.rung == rung:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(waiter)
            try:
                await waiter
            finally:
                self._waiting.discard(waiter)

    async def read(self, after: int) -> Sequence[Change]:
        """Return the next changes beyond a position. Whoever wants the same at the same time shares one read."""
        task = self._reading.get(after)
        if task is None:
            task = asyncio.ensure_future(self._read(after))
            self._reading[after] = task
            task.add_done_callback(lambda done: self._forget(after, done))
        return await asyncio.shield(task)

    async def _read(self, after: int) -> Sequence[Change]:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._store.read_changes(after=after, limit=PAGE)
            except StorageUnavailable as error:
                log.warning("feed.unreadable", extra={"after": after, "error": str(error)})
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)

    def _forget(self, after: int, done: asyncio.Task[Sequence[Change]]) -> None:
        if self._reading.get(after) is done:
            del self._reading[after]
        if not done.cancelled():
            done.exception()  # whoever waited was told; nobody may have
