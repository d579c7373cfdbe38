"""`ClockWatch`: notices that the wall clock was moved, by the clock that nobody can move.

Deadlines are times of the wall clock. When it jumps, whatever it now says is over may not be: for a while nothing ends
by itself, so that whoever set the clock wrong can set it right.
"""

from __future__ import annotations

import time
from collections.abc import Callable

STEP_SECONDS = 300.0
"""A smaller difference is a clock that is being corrected."""
HOLD_SECONDS = 300.0
"""For so long after a step nothing is approved, rejected or expired by time."""


class ClockWatch:
    """Compares the wall clock with the monotonic one. `wall` and `monotonic` return seconds."""

    def __init__(
        self, *, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._offset = wall() - monotonic()
        self._held_until = float("-inf")

    def look(self) -> float:
        """Return by how many seconds the wall clock was moved since the last look; 0 when it was not."""
        offset = self._wall() - self._monotonic()
        moved, self._offset = offset - self._offset, offset
        if abs(moved) < STEP_SECONDS:
            return 0.0
        self._held_until = self._monotonic() + HOLD_SECONDS
        return moved

    @property
    def is_doubtful(self) -> bool:
        """Whether the clock was moved a short while ago."""
        return self._monotonic() < self._held_until

    def not_before(self, at: float | None, now: float) -> float | None:
        """Return when to look again at what is due at a time: what is held while the clock is doubtful, after that."""
        is_held = at is not None and at <= now and self.is_doubtful
        return now + self._held_until - self._monotonic() if is_held else at
