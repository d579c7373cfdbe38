"""`Pending`: what somebody has under way and may have to wait for or cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Generic, TypeVar


def ignore(*_: object) -> None:
    """Stand in for a callback of somebody who was let go of."""


Awaited = TypeVar("Awaited", bound="asyncio.Future[Any]")


class Pending(Generic[Awaited]):
    """Futures or tasks that are not done. While there are none, which is nearly always, it takes next to nothing."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        self._futures: set[Awaited] | None = None

    def __bool__(self) -> bool:
        return self._futures is not None

    def __iter__(self) -> Iterator[Awaited]:
        """Go through those of this moment."""
        return iter(tuple(self._futures or ()))

    def add(self, future: Awaited) -> Awaited:
        """Keep a future until it is done, and return it."""
        if self._futures is None:
            self._futures = set()
        self._futures.add(future)
        future.add_done_callback(self._forget)
        return future

    def cancel(self) -> None:
        """Cancel all of them."""
        for future in self:
            future.cancel()

    def _forget(self, future: asyncio.Future[Any]) -> None:
        if self._futures is not None:
            self._futures -= {future}
            self._futures = self._futures or None
