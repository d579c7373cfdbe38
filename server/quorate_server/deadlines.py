"""`Deadlines`: one timer for any number of things that are due so many seconds after they were set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from itertools import islice, takewhile
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

TOGETHER_SECONDS = 0.05
"""What is due so soon after each other is acted on together."""


class Deadlines(Generic[Key]):
    """Calls `act` for each key once, `seconds` after it was set, on the event loop.

    A timer of the loop for each of them would be most of what an idle socket or room takes.
    """

    def __init__(self, seconds: float, act: Callable[[Key], None]) -> None:
        self._seconds = seconds
        self._act = act
        self._due: dict[Key, float] = {}
        """When each is due, the soonest first: all wait equally long."""
        self._timer: asyncio.TimerHandle | None = None

    def __contains__(self, key: Key) -> bool:
        """Whether something is due."""
        return key in self._due

    def set(self, key: Key) -> None:
        """Begin to count for a key, or begin anew."""
        loop = asyncio.get_running_loop()
        self._due.pop(key, None)
        self._due[key] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._look)

    def clear(self, key: Key) -> None:
        """Count no more for a key."""
        self._due.pop(key, None)

    def stop(self) -> None:
        """Count no more."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        now = loop.time()
        due = list(takewhile(lambda key: self._due[key] <= now, self._due))
        for key in due:
            del self._due[key]
            loop.call_soon(self._act, key)  # each by itself: one that raises keeps none of the others
        for next_due in islice(self._due.values(), 1):
            self._timer = loop.call_later(max(next_due - now, TOGETHER_SECONDS), self._look)
