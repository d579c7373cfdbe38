"""`Surroundings`: what a room asks of the rest of the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from quorate_protocol.ids import DocumentName
from quorate_protocol.limits import Limits
from quorate_server.announcing import Announcer
from quorate_server.guards import Guard
from quorate_server.ledger import Ledger
from quorate_server.metrics import Metrics
from quorate_server.outlines import Outline
from quorate_storage.acts import SetAside
from quorate_storage.journal import Journal
from quorate_storage.stores import StoredState

if TYPE_CHECKING:
    from quorate_server.room import Room


class Surroundings(Protocol):
    """What a room asks of the rest of the server; `rooms.Rooms` is it."""

    journal: Journal
    ledger: Ledger
    announcer: Announcer
    limits: Limits
    metrics: Metrics
    guards: Sequence[Guard]

    async def reload(self, room: Room) -> StoredState:
        """Return the stored state of a room whose document broke, all of its appends included."""
        ...

    async def outline(self, name: DocumentName, state: bytes) -> Outline:
        """Return the outline of an artifact's whole state, made where the event loop does not wait for it."""
        ...

    async def set_aside(self, item: SetAside) -> None:
        """Keep an update that did not become part of the document, as soon as the store can."""
        ...

    def discard(self, room: Room) -> None:
        """Forget a room that ended; the next visitor loads the document anew."""
        ...

    def on_empty(self, room: Room) -> None:
        """Note that the last session left."""
        ...

    def on_committed(self, room: Room) -> None:
        """Note that a batch became durable: the log may be due for compaction."""
        ...
