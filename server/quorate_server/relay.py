"""`Relay`: who is in a room, and what each is told once it is durable.

Batches become durable in the order in which they were handed to the journal, so everything that is said here keeps
that order. What must not be said before all that the live document contains is durable waits behind the newest
batch in flight.

What one commit of the journal made durable is told in one go: many people who type at once hear of all others in one
write each.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from quorate_protocol.ids import Sequence as LogPlace
from quorate_server.batches import Action, Batch, Failure
from quorate_server.errors import Unavailable
from quorate_server.frames import Frames
from quorate_server.metrics import Metrics
from quorate_server.pending import ignore
from quorate_server.sessions import Encoder, Session
from quorate_storage.journal import Journal

log = logging.getLogger("quorate.server")


class Relay:
    """The sessions of one room and the batches in flight.

    `on_durable` is told of each batch that became durable and held updates; `on_lost` why one never will be;
    `on_idle` that everybody was told, and nothing more is on its way.
    """

    __slots__ = (
        "_groups",
        "_in_flight",
        "_journal",
        "_landed",
        "_metrics",
        "_on_durable",
        "_on_idle",
        "_on_lost",
        "sessions",
    )

    def __init__(
        self,
        journal: Journal,
        metrics: Metrics,
        *,
        on_durable: Callable[[Batch], None],
        on_lost: Callable[[BaseException, Batch], None],
        on_idle: Callable[[], None],
    ) -> None:
        self.sessions: set[Session] = set()
        self._groups: dict[Encoder, set[Session]] = {}
        self._in_flight: list[Batch] = []  # one or two; an empty deque would take half of what a quiet room does
        self._landed = 0
        """How many of these are durable, and told of in the next turn of the event loop."""
        self._journal = journal
        self._metrics = metrics
        self._on_durable = on_durable
        self._on_lost = on_lost
        self._on_idle = on_idle

    @property
    def is_idle(self) -> bool:
        """Whether no batch is in flight, and all were told of."""
        return not self._in_flight

    def add(self, session: Session) -> None:
        """Take a session in: it receives every broadcast from now on."""
        self.sessions.add(session)
        self._groups.setdefault(session.encoder, set()).add(session)

    def remove(self, session: Session) -> None:
        """Let a session go."""
        self.sessions.discard(session)
        group = self._groups[session.encoder]
        group.discard(session)
        if not group:
            del self._groups[session.encoder]

    def broadcast(self, make: Callable[[Encoder], list[bytes]]) -> None:
        """Write to every session, encoding once for each dialect and address."""
        for encoder, group in tuple(self._groups.items()):
            tell(tuple(group), Frames(make(encoder)))

    def commit(self, batch: Batch) -> None:
        """Hand a batch to the journal; what is due after it follows when it is durable."""
        act = batch.act()
        if not batch.entries and act is None:
            self.after_commit(lambda: self._deliver([batch]), batch.give_up)
            return
        self.enlist(batch)
        weight = len(batch.entries) + batch.weight
        self._journal.append(batch.entries, lambda error: self.committed(batch, error), act, weight=weight)

    def enlist(self, batch: Batch) -> None:
        """Count a batch as in flight that somebody else hands to the journal, and then calls `committed` for."""
        self._in_flight.append(batch)

    def committed(self, batch: Batch, error: BaseException | None) -> None:
        """Relay and acknowledge a batch that is durable now, or tell that it never will be."""
        if error is not None:
            # One that is of several documents is lost with any of them, maybe before what came earlier here.
            self._in_flight.remove(batch)
            self._on_lost(error, batch)
            return
        assert self._in_flight[self._landed] is batch, "the journal promises the order of appends"
        self._landed += 1
        if self._landed == 1:
            asyncio.get_running_loop().call_soon(self._tell)

    def after_commit(self, action: Action, otherwise: Failure | None = None) -> None:
        """Run `action` once all that was handed to the journal is durable: now, if it is.

        `otherwise` is told why when it never will be.
        """
        if not self._in_flight:
            action()
            return
        self._in_flight[-1].then.append(action)
        if otherwise is not None:
            self._in_flight[-1].otherwise.append(otherwise)

    def stop(self) -> None:
        """Let go of the room, as soon as nothing is in flight that it wants to hear of."""
        if self._in_flight:
            self._on_idle = self.stop
        else:
            self._on_durable = self._on_lost = self._on_idle = ignore

    def _tell(self) -> None:
        """Tell of what has landed, up to each batch that has more to say: that comes before what follows."""
        landed = self._in_flight[: self._landed]
        del self._in_flight[: self._landed]
        self._landed = 0
        together: list[Batch] = []
        for batch in landed:
            together.append(batch)
            if batch.then or batch is landed[-1]:
                try:
                    self._deliver(together)
                except Exception:  # what follows is told, and the room goes on
                    log.exception("relay.failed")
                together = []
        self._metrics.committed(sum(len(batch.entries) for batch in landed))
        for batch in landed:
            self._on_durable(batch)
        if not self._in_flight:
            self._on_idle()

    def _deliver(self, batches: Sequence[Batch]) -> None:
        relays = [update for batch in batches for update in batch.relays]
        counts: dict[Session, int] = {}
        for batch in batches:
            for session, count in batch.acknowledged:
                counts[session] = counts.get(session, 0) + count
        if relays:
            self._relay(relays, counts)
            self._metrics.relayed(len(relays) * len(self.sessions))
        for session, count in counts.items():
            acknowledge(session, count)
        for batch in batches:
            for incoming in batch.waiting:
                incoming.resolve(batch.entries[-1].sequence if batch.entries else LogPlace(batch.last_place))
        for action in batches[-1].then:
            try:
                action()
            except Exception:  # of one answer: the others are given
                log.exception("answer.failed")

    def _relay(self, relays: Sequence[bytes], counts: dict[Session, int]) -> None:
        """Write updates to every session, last to their authors, with what is due to them in the same write.

        A program that writes as fast as it can goes on when it hears; told first, it would keep waiting what it
        writes next for as long as telling all others takes.
        """
        now = asyncio.get_running_loop().time()
        for encoder, group in tuple(self._groups.items()):
            frames, saved = Frames([encoder.update(update) for update in relays]), encoder.saved(saved=True)
            authors = group & counts.keys()
            tell(group - authors, frames)
            for session in authors:
                session.told_at = now
                tell((session,), frames if saved is None else frames.followed_by(saved, counts.pop(session)))


def acknowledge(session: Session, count: int) -> None:
    """Tell the author of `count` updates that they are durable."""
    saved = session.encoder.saved(saved=True)
    if saved is not None:
        tell((session,), Frames([saved]) if count == 1 else Frames.repeated(saved, count))


def tell(sessions: Iterable[Session], frames: Frames) -> None:
    """Write to sessions; one that cannot be written to has missed something, so it ends, and the others are told."""
    for session in sessions:
        try:
            session.channel.write(frames)
        except Exception:
            log.exception("relay.failed")
            with suppress(Exception):  # what is broken may break again; it is out of its room before that
                session.end(Unavailable("internal error: reconnect"))
