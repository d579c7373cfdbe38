"""`BoundedCall`: waiting for the answer to one call at a time, by callback and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

Answer = Callable[[object], None]
"""Told what a call returned or, as an exception, how it failed."""


class BoundedCall:
    """One call at a time, whose caller is told what came of it, or that nothing came within so many seconds.

    The timer is not set for each call: it stays until it runs out, and then looks whether the call of that moment
    has waited long enough. So a call that is answered costs no timer.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._number = 0
        self._answer: Answer | None = None
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether a call is under way that was not given up."""
        return self._answer is not None

    def begin(self, answer: Answer) -> Answer:
        """Wait from now on.

        Args:
            answer: called once, on the event loop: with the answer, or with a `TimeoutError`.

        Returns:
            What to tell the answer, on the event loop. An answer that comes too late is ignored.
        """
        assert self._answer is None, "one call at a time"
        loop = asyncio.get_running_loop()
        self._number += 1
        self._answer = answer
        self._until = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(self._until, self._look)
        return partial(self._end, self._number)

    def close(self) -> None:
        """Take the timer away; who waits is not told any more."""
        self._answer = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, number: int, outcome: object) -> None:
        answer = self._answer
        if answer is not None and number == self._number:
            self._answer = None
            answer(outcome)

    def _look(self) -> None:
        self._timer = None
        if self._answer is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._until:
            self._timer = loop.call_at(self._until, self._look)
        else:
            self._end(self._number, TimeoutError(f"no answer within {self._seconds:g} s"))
