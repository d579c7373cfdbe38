"""`PresenceRelay`: who is in one room, told to all of them a bounded number of times a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from quorate_protocol.awareness import AwarenessEntry, decode_awareness, encode_awareness
from quorate_protocol.ids import ClientId, UserId
from quorate_protocol.limits import Limits
from quorate_protocol.presence import FORGED, Presence
from quorate_server.metrics import Metrics
from quorate_server.pending import ignore
from quorate_server.sessions import Encoder, Session

PRESENCE_WINDOW_SECONDS = 0.05
"""Presence of a busy room leaves at most twenty times a second, whoever moved in between in one frame."""

Broadcast = Callable[[Callable[[Encoder], list[bytes]]], None]
"""Sends to every session what a function makes for its encoder."""


class PresenceRelay:
    """Binds presence to its connection and user, and relays what changed in one frame a window.

    `on_forgery` hears of a session that spoke for somebody else.
    """

    __slots__ = (
        "_broadcast",
        "_changed",
        "_due",
        "_limits",
        "_loop",
        "_metrics",
        "_on_forgery",
        "_presence",
        "_sent_at",
    )

    def __init__(
        self, limits: Limits, metrics: Metrics, broadcast: Broadcast, on_forgery: Callable[[Session], None]
    ) -> None:
        self._on_forgery: Callable[[Session], None] = on_forgery
        self._limits = limits
        self._metrics = metrics
        self._broadcast: Broadcast = broadcast
        self._presence: Presence[Session] = Presence(limits)
        self._changed: dict[ClientId, AwarenessEntry] = {}
        self._due: asyncio.TimerHandle | None = None
        self._sent_at = 0.0
        self._loop = asyncio.get_running_loop()

    def tell(self, session: Session) -> None:
        """Answer a query: who is here."""
        session.send(session.encoder.awareness(self.everybody() or b"\0"))

    def receive(self, session: Session, raw: bytes) -> None:
        """Take presence of a session; relayed to all, its sender included, a moment later.

        Raises:
            RemoteProtocolError: it cannot be read, or is too large.
        """
        change = self._presence.apply(
            session,
            decode_awareness(raw, self._limits),
            user=session.user.id,
            stamp=session.user.stamp,
            now=time.monotonic(),
            announces_again=session.announces_again,
        )
        for refusal in change.refused:
            self._metrics.refused(f"presence_{refusal.reason}")
        if any(refusal.reason == FORGED for refusal in change.refused):
            self._on_forgery(session)
        if change.answers:
            session.send(session.encoder.awareness(encode_awareness(change.answers)))
        self._relay_soon(change.changed)

    def everybody(self) -> bytes | None:
        """Return everybody's presence as an awareness update, `None` when nobody is here."""
        entries = self._presence.snapshot()
        return encode_awareness(entries) if entries else None

    def speaker_of(self, client: ClientId) -> UserId | None:
        """Return who speaks for a client id now, `None` when nobody does."""
        return self._presence.speaker_of(client)

    def leave(self, session: Session) -> None:
        """Let go of whoever a session introduced."""
        self._relay_soon(self._presence.leave(session, time.monotonic()))

    def expire(self) -> None:
        """Let go of whoever has not been heard of for too long."""
        self._relay_soon(self._presence.expire(time.monotonic()))

    def stop(self) -> None:
        """Relay nothing more, and let go of the room."""
        if self._due is not None:
            self._due.cancel()
        self._broadcast = self._on_forgery = ignore

    def _relay_soon(self, changed: Iterable[AwarenessEntry]) -> None:
        """Relay in the next tick when idle, else once a window: one frame for all that changed."""
        self._changed.update((entry.client, entry) for entry in changed)
        if self._due is not None:
            return
        if self._changed:
            wait = self._sent_at + PRESENCE_WINDOW_SECONDS - self._loop.time()
        else:
            held_back = self._presence.due(time.monotonic())
            if held_back is None:
                return
            wait = held_back
        self._due = self._loop.call_later(max(0.0, wait), self._relay)

    def _relay(self) -> None:
        self._due = None
        self._sent_at = self._loop.time()
        held_back = self._presence.flush(time.monotonic())
        changed = self._changed | {entry.client: entry for entry in held_back}
        self._changed = {}
        if changed:
            payload = encode_awareness(list(changed.values()))
            self._broadcast(lambda encoder: [encoder.awareness(payload)])
        self._relay_soon(())
