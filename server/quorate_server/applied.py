"""What became of what was written into a live document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from quorate_protocol.ids import ClientId
from quorate_server.errors import Refused
from quorate_server.undoing import Undoing


class Applied(NamedTuple):
    """What became of the updates of one author.

    `update` is everything that was new, as one update; empty when nothing was.
    `parked` builds, in part at least, on what has not come; that part took no effect yet.
    `malformed` are the positions of updates that are no updates; the others were applied.
    `refusal` tells that a guard refused: `update` then carries the edit *and* its undoing.
    """

    update: bytes = b""
    parked: tuple[bytes, ...] = ()
    malformed: tuple[int, ...] = ()
    refusal: Refused | None = None


class Typing(NamedTuple):
    """Edits that are text somebody typed in a row, as one update, and behind which clock it ends."""

    client: ClientId
    end: int
    update: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A change of the server that is in the document, and nowhere else yet.

    `update` is what was new in it, empty when nothing was. `revert` takes the change back and returns the update
    that says both: change and undoing. With an `error` that is done already, and is what `update` says.
    """

    update: bytes
    undoing: Undoing
    revert: Callable[[], bytes]
    error: Exception | None = None

    def close(self) -> None:
        """Let the change stand: it can be taken back no more."""
        self.undoing.close()
