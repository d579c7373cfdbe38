"""`Lane`: keeps one receiver that fails or stalls from taking the turns of all others.

While a receiver answers quickly, many deliveries to it are under way at once. While it is slow only the one that is
under way goes on, and after failures in a row it is left alone for a while, then tried with a single delivery.
Deliveries that have to wait for that are put off, and that is no attempt of theirs. Nothing of it is kept: after a
restart each receiver is believed to be well.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

AT_ONCE = 8
SLOW_SECONDS = 2.0
"""A delivery that is under way for longer makes its receiver a slow one."""
FAILURES_TO_PAUSE = 3
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 300.0
FULL_WAIT_SECONDS = 1.0
UNWELL_WAIT_SECONDS = 5.0
LONGEST_REQUESTED_SECONDS = 86400.0


@dataclass(slots=True)
class Lane:
    """The deliveries to one receiver. Times are seconds since the epoch."""

    failures: int = 0
    paused_until: float = 0.0
    _started: dict[int, float] = field(default_factory=dict[int, float])
    _count: int = 0

    def wait_at(self, now: float) -> float:
        """Return for how many seconds one more delivery has to wait; 0 lets it go now."""
        if now < self.paused_until:
            return self.paused_until - now
        oldest = min(self._started.values(), default=now)
        is_well = self.failures < FAILURES_TO_PAUSE and now - oldest < SLOW_SECONDS
        if is_well:
            return 0.0 if len(self._started) < AT_ONCE else FULL_WAIT_SECONDS
        return UNWELL_WAIT_SECONDS if self._started else 0.0

    @contextmanager
    def taken(self, now: float) -> Generator[None]:
        """Note a delivery as under way."""
        self._count += 1
        mine = self._count
        self._started[mine] = now
        try:
            yield
        finally:
            del self._started[mine]

    def succeed(self) -> None:
        """Note that the receiver took a delivery."""
        self.failures, self.paused_until = 0, 0.0

    def fail(self, now: float, requested_seconds: float | None = None) -> None:
        """Note that it did not, and how long it asked to be left alone for."""
        self.failures += 1
        pause = 0.0
        beyond = self.failures - FAILURES_TO_PAUSE
        if beyond >= 0:
            pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(beyond, 20), LONGEST_PAUSE_SECONDS)
        if requested_seconds is not None:
            pause = max(pause, min(requested_seconds, LONGEST_REQUESTED_SECONDS))
        self.paused_until = max(self.paused_until, now + pause)
