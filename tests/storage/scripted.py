"""A store whose appends fail, or wait, as a test says."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from enum import Enum, auto

from quorate_storage.acts import Act
from quorate_storage.errors import StorageUnavailable
from quorate_storage.memory import MemoryStore
from quorate_storage.stores import Lease, LogEntry


class Fault(Enum):
    """How an append fails."""

    BEFORE = auto()  # nothing was written
    AFTER = auto()  # all was written, but the answer was lost


class ScriptedStore(MemoryStore):
    """A memory store with a plan: each append uses up a step, and succeeds when none is left.

    While `gate` is not set, appends wait in front of it.
    """

    def __init__(self, *plan: Fault | Exception | None) -> None:
        super().__init__()
        self.plan = deque(plan)
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()
        self.appends: list[list[LogEntry]] = []

    async def append(self, entries: Sequence[LogEntry], *, lease: Lease, acts: Sequence[Act] = ()) -> None:
        self.appends.append(list(entries))
        step = self.plan.popleft() if self.plan else None
        self.waiting.set()
        await self.gate.wait()
        if isinstance(step, Exception):
            raise step
        if step is Fault.BEFORE:
            raise StorageUnavailable("as planned, before")
        await super().append(entries, lease=lease, acts=acts)
        if step is Fault.AFTER:
            raise StorageUnavailable("as planned, after")
