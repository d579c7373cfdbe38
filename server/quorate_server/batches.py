"""What goes through a room: updates that come in, and the batch that one tick sends to the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from quorate_protocol.errors import RemoteProtocolError
from quorate_protocol.ids import Sequence as LogPlace
from quorate_protocol.updates import measure_update
from quorate_server.errors import MalformedUpdate, Refused
from quorate_server.pacing import PROMPT_EDITS
from quorate_server.sessions import Session
from quorate_server.users import User
from quorate_storage.acts import Act, Row
from quorate_storage.stores import LogEntry

Action = Callable[[], None]
Failure = Callable[[Exception], None]
T = TypeVar("T")
_NO_ROOTS: frozenset[str] = frozenset()


@dataclass(slots=True)
class Incoming:
    """One update in the inbox. `done` is set for callers that wait for durability without a session.

    `edits` are how many of a session's it joins, each of which is acknowledged.
    """

    user: User
    update: bytes
    session: Session | None = None
    is_step2: bool = False
    done: asyncio.Future[LogPlace] | None = None
    edits: int = 1

    def weight(self, now: float) -> int:
        """Return how many edits it counts for: somebody who waits for the answer need not wait for others as well."""
        is_awaited = self.done is not None or (self.session is not None and self.session.replies(now))
        return PROMPT_EDITS if is_awaited else 1

    def resolve(self, place: LogPlace) -> None:
        """Tell the caller who waits that the update is durable."""
        if self.done is not None:
            resolve(self.done, place)

    def fail(self, error: Exception) -> None:
        """Tell the caller who waits that the update never will be."""
        if self.done is not None:
            fail(self.done, error)


class Batch:
    """What one tick sends to the journal, and what is due once it is durable.

    `rows` are written in the transaction of the entries. `relays` go to every session, `acknowledged` are counts of
    updates of a session, `then` runs after both. `otherwise` is told the reason when it never becomes durable.
    `last_place` is the newest place in the log when nothing of the batch needed one. `roots` are the roots that the
    entries touch, as far as they are known: `None` when they may touch any. `weight` is how many more edits
    than entries there are in it.
    """

    # No dataclass: one is made for each lone edit, and seven factories take longer than seven lists.
    __slots__ = (
        "acknowledged", "entries", "last_place", "otherwise", "relays", "roots", "rows", "then", "waiting", "weight",
    )  # fmt: skip

    def __init__(self, *, last_place: int = 0) -> None:
        self.entries: list[LogEntry] = []
        self.rows: list[Row] = []
        self.relays: list[bytes] = []
        self.acknowledged: list[tuple[Session, int]] = []
        self.waiting: list[Incoming] = []
        self.then: list[Action] = []
        self.otherwise: list[Failure] = []
        self.last_place = last_place
        self.roots: frozenset[str] | None = _NO_ROOTS
        self.weight = 0

    def add(self, entry: LogEntry, session: Session, count: int) -> None:
        """Take in `count` edits of a session that took effect whole, as one entry."""
        self.entries.append(entry)
        self.relays.append(entry.update)
        self.acknowledged.append((session, count))
        self.weight += count - 1

    def act(self) -> Act | None:
        """Return the rows as an act, `None` when there are none."""
        return Act(rows=tuple(self.rows)) if self.rows else None

    def give_up(self, error: Exception) -> None:
        """Tell everybody who waits for this batch that it never becomes durable."""
        for incoming in self.waiting:
            incoming.fail(error)
        for failure in self.otherwise:
            failure(error)


def resolve(waiting: asyncio.Future[T], value: T) -> None:
    """Answer somebody who may have gone meanwhile."""
    if not waiting.done():
        waiting.set_result(value)


def fail(waiting: asyncio.Future[T], error: Exception) -> None:
    """Disappoint somebody who may have gone meanwhile."""
    if not waiting.done():
        waiting.set_exception(error)


def send_back(incoming: Incoming, error: MalformedUpdate | Refused) -> None:
    """Tell an author that their bytes cannot be taken; their connection ends."""
    incoming.fail(error)
    if incoming.session is not None:
        incoming.session.end(error)


def only_deletes(update: bytes) -> bool:
    """Whether an update adds nothing, so that a full document may take it."""
    try:
        return not measure_update(update).ends
    except RemoteProtocolError:
        return False
