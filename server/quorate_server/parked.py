"""`ParkedUpdates`: updates of a plain document that wait for what they build on, and whose they are."""

from __future__ import annotations

from collections.abc import Iterable

from quorate_protocol.errors import LimitExceeded
from quorate_server.sessions import Session


class ParkedUpdates:
    """What waits in one document. Each is in the log, and acknowledged when it takes effect."""

    __slots__ = ("_most_bytes", "_waiting")

    def __init__(self, updates: Iterable[bytes], most_bytes: int) -> None:
        self._waiting: list[tuple[bytes, Session | None]] = [(update, None) for update in updates]
        self._most_bytes = most_bytes

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, update: bytes, session: Session | None) -> None:
        """Add an update, and who is to be told when it takes effect."""
        self._waiting.append((update, session))

    def release(self, updates: Iterable[bytes]) -> list[Session]:
        """Take out what has taken effect; return whom to tell, once for each update."""
        gone = set(updates)
        told = [session for update, session in self._waiting if update in gone and session is not None]
        self._waiting = [each for each in self._waiting if each[0] not in gone]
        return told

    def bound(self) -> None:
        """End the sessions whose updates wait, when all that waits is too much."""
        size = sum(len(update) for update, _ in self._waiting)
        if size > self._most_bytes:
            limit = LimitExceeded("waiting_bytes", self._most_bytes, size)
            for session in {session for _, session in self._waiting if session is not None}:
                session.end(limit)

    def of(self, updates: Iterable[bytes]) -> ParkedUpdates:
        """Return those of some updates that wait, each with whoever was to be told of it."""
        authors = dict(self._waiting)
        parked = ParkedUpdates((), self._most_bytes)
        for update in updates:
            parked.add(update, authors.get(update))
        return parked
