"""`Pace`: when a room takes what has gathered in its inbox.

An edit that comes after a pause is taken at once. While edits come faster than the eye can follow, a room takes them
so many times a second, all that came since in one transaction: one entry of the log, one commit, one frame for
everybody. Many that wait, as with a program that writes as fast as it can, are taken at once again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from quorate_server.pending import ignore

PROMPT_EDITS = 8
"""So many waiting edits are worth a commit of their own."""


class Pace:
    """Calls `tick` on the event loop, at most `per_second` times a second unless much waits.

    Whoever ticks for another reason calls `forget` and, if what had gathered is taken, `start`.
    """

    __slots__ = ("_due", "_edits", "_interval", "_is_soon", "_loop", "_next", "_tick")

    def __init__(self, loop: asyncio.AbstractEventLoop, tick: Callable[[], None], *, per_second: float) -> None:
        self._loop = loop
        self._tick = tick
        self._interval = 1 / per_second
        self._next = float("-inf")
        self._edits = 0
        self._is_soon = False
        self._due: asyncio.TimerHandle | None = None

    def gather(self, edits: int) -> None:
        """Note that so many more wait."""
        self._edits += edits

    def ask(self) -> None:
        """See to it that what waits is taken: on the next turn of the loop if it is much, else when it is time."""
        if self._is_soon or not self._edits:
            return
        rest = 0.0 if self._edits >= PROMPT_EDITS else self._next - self._loop.time()
        if rest <= 0:
            self.forget()
            self._is_soon = True
            self._loop.call_soon(self._tick)
        elif self._due is None:
            self._due = self._loop.call_later(rest, self._tick)

    def forget(self) -> None:
        """Note that nothing is due any more."""
        self._is_soon = False
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def stop(self) -> None:
        """Tick no more, and let go of whom it ticked for."""
        self.forget()
        self._tick = ignore

    def start(self) -> None:
        """Note that what had gathered is being taken."""
        self._edits = 0
        self._next = self._loop.time() + self._interval
