"""`Throttle`: how fast one connection may send updates before its reading pauses."""

from __future__ import annotations

from quorate_protocol.limits import Limits


class Throttle:
    """Two token buckets, updates and bytes. Pure: the time comes in.

    Nothing is refused: the caller stops reading for as long as `take` says, and TCP slows the sender down.
    """

    __slots__ = ("_burst", "_bytes", "_bytes_rate", "_refilled_at", "_updates", "_updates_rate")

    def __init__(self, limits: Limits, now: float) -> None:
        self._updates_rate = limits.updates_per_second
        self._bytes_rate = float(limits.update_bytes_per_second)
        self._burst = limits.burst_seconds
        self._updates = self._updates_rate * self._burst
        self._bytes = self._bytes_rate * self._burst
        self._refilled_at = now

    @property
    def at_once(self) -> int:
        """How many updates may come at once, as far as is known: at least one, after which `take` says what is due."""
        return max(1, int(self._updates))

    def take(self, updates: int, size: int, now: float) -> float:
        """Account for updates that came in; return the seconds to pause reading, 0 for none."""
        elapsed = now - self._refilled_at
        self._refilled_at = now
        burst = self._burst
        self._updates = min(self._updates_rate * burst, self._updates + elapsed * self._updates_rate)
        self._bytes = min(self._bytes_rate * burst, self._bytes + elapsed * self._bytes_rate)
        self._updates -= updates
        self._bytes -= size
        if self._updates >= 0 and self._bytes >= 0:
            return 0.0
        return max(-self._updates / self._updates_rate, -self._bytes / self._bytes_rate)
