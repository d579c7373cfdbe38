"""The reference store with a hand on it: appends can be held, and its lease can be stolen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from quorate_storage.acts import Act
from quorate_storage.memory import MemoryStore
from quorate_storage.stores import Lease, LogEntry


class HeldStore(MemoryStore):
    """A store whose appends wait while it is held."""

    def __init__(self) -> None:
        super().__init__()
        self._open = asyncio.Event()
        self._open.set()
        self.is_waiting = False

    def hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    async def append(self, entries: Sequence[LogEntry], *, lease: Lease, acts: Sequence[Act] = ()) -> None:
        self.is_waiting = not self._open.is_set()
        await self._open.wait()
        self.is_waiting = False
        await super().append(entries, lease=lease, acts=acts)

    async def steal_lease(self) -> None:
        """Take the lease over, as another process does once it has run out."""
        await self.acquire_lease("all", holder="somebody else", seconds=60, at=4e9)
