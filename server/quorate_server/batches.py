"""What goes through a room: updates that come in, and the batch that one tick sends to the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from quorate_protocol.ids import Sequence as LogPlace
from quorate_server.sessions import Session
from quorate_server.users import User
from quorate_storage.stores import LogEntry

Action = Callable[[], None]


@dataclass(slots=True)
class Incoming:
    """One update in the inbox. `done` is set for callers that wait for durability without a session."""

    user: User
    update: bytes
    session: Session | None = None
    done: asyncio.Future[LogPlace] | None = None

    def resolve(self, place: LogPlace) -> None:
        """Tell the caller who waits that the update is durable."""
        if self.done is not None and not self.done.done():
            self.done.set_result(place)

    def fail(self, error: Exception) -> None:
        """Tell the caller who waits that the update never will be."""
        if self.done is not None and not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True)
class Batch:
    """What one tick sends to the journal, and what is due once it is durable.

    `relays` go to every session, `acknowledged` are counts of updates of a session, `then` runs after both.
    """

    entries: list[LogEntry] = field(default_factory=list[LogEntry])
    relays: list[bytes] = field(default_factory=list[bytes])
    acknowledged: list[tuple[Session, int]] = field(default_factory=list[tuple[Session, int]])
    waiting: list[Incoming] = field(default_factory=list[Incoming])
    then: list[Action] = field(default_factory=list[Action])
