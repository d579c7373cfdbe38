"""`Burst`: edits that came in one read of a socket, and go through their room as one as long as nothing is special."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from quorate_protocol.bursts import join_typing
from quorate_protocol.ids import ClientId, UserId
from quorate_server.applied import Applied, Typing
from quorate_server.batches import Incoming
from quorate_server.documents import LiveDocument
from quorate_server.pacing import PROMPT_EDITS
from quorate_server.screening import Screening
from quorate_server.sessions import Session
from quorate_server.users import User


class Burst(NamedTuple):
    """Edits that a session sent at once."""

    user: User
    updates: list[bytes]
    session: Session

    def weight(self, now: float) -> int:
        """Return how many edits it counts for; see `Incoming.weight`."""
        edits = len(self.updates)
        return max(edits, PROMPT_EDITS) if self.session.replies(now) else edits

    def fail(self, error: Exception) -> None:
        """Do nothing: nobody waits for an edit of a session."""


def by_author(inbox: Sequence[Incoming | Burst]) -> list[list[Incoming | Burst]]:
    """Group what came in by author, keeping the order of each."""
    groups: dict[Session | UserId, list[Incoming | Burst]] = {}
    for incoming in inbox:
        groups.setdefault(incoming.session or incoming.user.id, []).append(incoming)
    return list(groups.values())


def singly(group: Sequence[Incoming | Burst]) -> list[Incoming]:
    """Return what came in one by one."""
    singles: list[Incoming] = []
    for item in group:
        if isinstance(item, Burst):
            singles += [Incoming(item.user, update, item.session) for update in item.updates]
        else:
            singles.append(item)
    return singles


def typed_as_one(group: Sequence[Incoming | Burst]) -> Incoming | None:
    """Return text that one author typed in a row as one edit; None when anything else is among it."""
    burst = burst_of(group)
    joined = None if burst is None or len(burst.updates) == 1 else join_typing(burst.updates)
    if burst is None or joined is None:
        return None
    return Incoming(burst.user, joined[2], burst.session, edits=len(burst.updates))


def burst_of(group: Sequence[Incoming | Burst]) -> Burst | None:
    """Return bursts of one author as one; None when anything else is among them."""
    bursts = [item for item in group if isinstance(item, Burst)]
    if len(bursts) < len(group):
        return None
    first = bursts[0]
    if len(bursts) == 1:
        return first
    return Burst(first.user, [update for burst in bursts for update in burst.updates], first.session)


def take_bursts(
    groups: Sequence[Sequence[Incoming | Burst]], live: LiveDocument, screening: Screening
) -> list[tuple[Burst, Applied]]:
    """Apply to a plain document what came of the first authors: of as many as typed, or of one.

    Returns what became of each; nothing, with nothing done, when edits of the first need a look each.

    Raises:
        EnginePanic: the document can no longer be used.
    """
    typed: dict[ClientId, tuple[Burst, Typing]] = {}
    for group in groups:
        if (allowed := _allowed(group, live, screening)) is None:
            break
        burst, ends = allowed
        typing = live.join_typing(burst.updates, ends)
        if typing is None and not typed:
            return [(burst, live.apply_burst(burst.updates, ends))]
        if typing is None or typing.client in typed:
            break
        typed[typing.client] = burst, typing
    runs = list(typed.values())
    taken = live.apply_typing([typing for _, typing in runs]) if runs else 0
    return [(burst, Applied(update=typing.update)) for burst, typing in runs[:taken]]


def _allowed(
    group: Sequence[Incoming | Burst], live: LiveDocument, screening: Screening
) -> tuple[Burst, dict[ClientId, int]] | None:
    """Return the bursts of one author as one, and how far it reaches; None when its edits need a look each."""
    burst = burst_of(group)
    ends = None if burst is None else live.measure_burst(burst.updates)
    return None if burst is None or ends is None or not screening.allows(burst.user, ends) else (burst, ends)
