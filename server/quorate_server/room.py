"""`Room`: one live document and the sessions that have it open.

Theory of operation
-------------------

Updates that arrive in one tick of the event loop wait in an inbox; the tick applies them in one transaction
for each author, gives each resulting update its place in the log, and hands all of them to the journal as one
batch. Only when the journal says that the batch is durable is it written to every session (the echo to its
author included) and acknowledged. Law 1, *durable before visible*, is this order and nothing else:

    receive -> inbox -> tick: apply, number -> journal -> committed: relay, acknowledge, answer

Batches of a room become durable in the order in which they were appended, so relays keep that order. A sync
answer may contain what is not durable yet: it waits behind the newest batch in flight.

The live document may be ahead of the log, never the other way round. When the journal can never write a batch
(another process took over the documents), the room ends: its sessions are sent away to reload.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Protocol

from quorate_protocol.errors import LimitExceeded, RemoteProtocolError
from quorate_protocol.ids import DocumentName, UserId
from quorate_protocol.ids import Sequence as LogPlace
from quorate_protocol.limits import Limits
from quorate_protocol.updates import EMPTY_UPDATE, DecodedUpdate, measure_update
from quorate_server.batches import Action, Batch, Failure, Incoming, fail, resolve
from quorate_server.documents import EMPTY_STATE_VECTOR, Applied, LiveDocument
from quorate_server.errors import (
    Conflict,
    DocumentTooLarge,
    EnginePanic,
    MalformedUpdate,
    Refused,
    Unavailable,
)
from quorate_server.folding import load
from quorate_server.frames import Frames
from quorate_server.guards import Guard, GuardedUpdate
from quorate_server.metrics import Metrics
from quorate_server.presence_relay import PresenceRelay
from quorate_server.sessions import Encoder, Session
from quorate_server.users import User
from quorate_storage.journal import Journal
from quorate_storage.stores import Document, LogEntry, LogSize, SetAside, StoredState

log = logging.getLogger("quorate.server")


class Surroundings(Protocol):
    """What a room asks of the rest of the server; `rooms.Rooms` is it."""

    journal: Journal
    limits: Limits
    metrics: Metrics
    guards: Sequence[Guard]

    async def reload(self, room: Room) -> StoredState:
        """Return the stored state of a room whose document broke, all of its appends included."""
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


class Room:
    """One live document. Everything runs on the event loop; what is not a coroutine never waits."""

    def __init__(self, house: Surroundings, stored: StoredState, live: LiveDocument) -> None:
        self.document: Document = stored.document
        self.live = live
        self.sessions: set[Session] = set()
        self.is_ended = False
        self.log_entries = len(stored.tail)
        self.log_bytes = sum(len(entry.update) for entry in stored.tail)
        self.snapshot_bytes = len(stored.snapshot.state) if stored.snapshot else 0
        self.size_bytes = self.log_bytes + self.snapshot_bytes
        self.presence = PresenceRelay(house.limits, house.metrics, self._broadcast)
        self._house = house
        self._limits = house.limits
        self._groups: dict[Encoder, set[Session]] = {}
        self._inbox: list[Incoming] = []
        self._is_tick_due = False
        self._is_rebuilding = False
        self._questions: list[Action] = []
        self._readers: set[asyncio.Future[bytes]] = set()
        self._in_flight: deque[Batch] = deque()
        self._parked: list[tuple[bytes, Session | None]] = [(u, None) for u in live.waiting]
        self._next_place = stored.document.last_sequence + 1
        self._measured_version = -1
        self._encoded: tuple[int, bytes, bytes] = (-1, b"", b"")
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    @property
    def name(self) -> DocumentName:
        """The document's name."""
        return self.document.name

    @property
    def is_durable(self) -> bool:
        """Whether everything this room accepted is in the log."""
        return not (self._inbox or self._in_flight or self._is_rebuilding or self._tasks)

    @property
    def log_size(self) -> LogSize:
        """How much log there is beyond the snapshot."""
        return LogSize(
            document=self.document.id,
            entries=self.log_entries,
            bytes=self.log_bytes,
            snapshot_bytes=self.snapshot_bytes,
            newest_at=time.time(),
        )

    # Coming and going

    def join(self, session: Session) -> None:
        """Take a session in: it receives every relay from now on, and first a step 1 and who is here."""
        if self.is_ended:  # between being found and being joined
            session.end(Unavailable("the document is being closed: reconnect"))
            return
        self.sessions.add(session)
        self._groups.setdefault(session.encoder, set()).add(session)
        encoder = session.encoder
        greeting: list[bytes] = []
        if not (encoder.asks_when_answering or self._is_rebuilding):
            greeting.append(encoder.step1(self.live.state_vector()))
        if (present := self.presence.everybody()) is not None:
            greeting.append(encoder.awareness(present))
        if greeting:
            session.send(*greeting)

    def leave(self, session: Session) -> None:
        """Let a session go; whoever it introduced is gone for everybody. Its updates stay."""
        if session not in self.sessions:
            return
        self.sessions.discard(session)
        group = self._groups[session.encoder]
        group.discard(session)
        if not group:
            del self._groups[session.encoder]
        self.presence.leave(session)
        if not self.sessions:
            self._house.on_empty(self)

    def end(self, cause: Refused | Unavailable) -> None:
        """Send every session away and take no more updates. What came before still becomes durable."""
        self.hand_over()
        self.is_ended = True
        for session in tuple(self.sessions):
            session.end(cause)
        for incoming in self._inbox:
            incoming.fail(cause)
        self._inbox.clear()
        self._questions.clear()
        if not self._in_flight:
            for reader in tuple(self._readers):
                fail(reader, Unavailable("the document is being closed: try again"))
        self._house.discard(self)

    async def settle(self) -> None:
        """Wait until what was refused is kept, for a while."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=SETTLE_SECONDS)

    def close(self) -> None:
        """Free what the room holds. Only when nobody is in it and all of it is durable, or it has ended."""
        self.presence.stop()
        self.live.close()

    def hand_over(self) -> None:
        """Give everything that came so far to the journal, before the tick would."""
        self._tick()

    # Updates

    def receive(self, session: Session, update: bytes, *, is_step2: bool) -> None:
        """Take an update or step 2 of a session; it is applied in this tick and answered when durable."""
        if self.is_ended:
            return
        if not session.may_write:
            self._refuse(session, update, "read-only: your edits are not shared", is_step2=is_step2)
        elif update == EMPTY_UPDATE:
            self._when_whole(lambda: self._after_commit(lambda: self._acknowledge(session, 1)))
        elif self._is_full() and not _only_deletes(update):
            self._refuse(session, update, str(self._full()), is_step2=is_step2)
        else:
            self._enqueue(Incoming(session.user, update, session))

    async def write(self, user: User, update: bytes) -> LogPlace:
        """Apply an update without a session; return its place in the log once it is durable.

        Raises:
            MalformedUpdate: it is no update; nothing was changed.
            Refused: a guard refused it, or the document is full or ended; nothing was changed.
        """
        if self._is_full() and not _only_deletes(update):
            raise self._full()
        if self.is_ended:
            raise Unavailable("the document is being closed: try again")
        done: asyncio.Future[LogPlace] = self._loop.create_future()
        self._enqueue(Incoming(user, update, done=done))
        return await done

    async def read(self, since: bytes = EMPTY_STATE_VECTOR) -> bytes:
        """Return what the holder of state vector `since` lacks, once all of it is durable.

        Raises:
            MalformedUpdate: `since` is no state vector.
        """
        durable: asyncio.Future[bytes] = self._loop.create_future()

        def ask() -> None:
            try:
                missing = self._missing_from(since)
            except MalformedUpdate as error:
                fail(durable, error)
            else:
                self._after_commit(lambda: resolve(durable, missing), lambda error: fail(durable, error))

        self._readers.add(durable)
        durable.add_done_callback(self._readers.discard)
        self._when_whole(ask)
        return await durable

    def answer(self, session: Session, state_vector: bytes) -> None:
        """Answer a step 1 with what its sender lacks, once all of that is durable."""
        self._when_whole(lambda: self._answer(session, state_vector))

    def _answer(self, session: Session, state_vector: bytes) -> None:
        if session.encoder.asks_when_answering:
            session.send(session.encoder.step1(self.live.state_vector()))
        try:
            missing = self._missing_from(state_vector)
        except MalformedUpdate as error:
            session.end(error)
            return
        self._after_commit(lambda: session.send(session.encoder.step2(missing)))

    def tell_presence(self, session: Session) -> None:
        """Answer a query: who is here."""
        session.send(session.encoder.awareness(self.presence.everybody() or NOBODY))

    def _when_whole(self, action: Action) -> None:
        """Run `action` after all that came before it was applied; after the repair, if there is one under way."""
        if self._is_rebuilding:
            self._questions.append(action)
            return
        self._tick()
        if self._is_rebuilding:
            self._questions.append(action)
        else:
            action()

    # One tick

    def _enqueue(self, incoming: Incoming) -> None:
        self._inbox.append(incoming)
        if not self._is_tick_due:
            self._is_tick_due = True
            self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        self._is_tick_due = False
        if not self._inbox or self._is_rebuilding:
            return
        waiting = _by_author(self._inbox)
        self._inbox = []
        batch = Batch()
        while waiting:
            group = waiting.pop(0)
            try:
                self._record(batch, group, self._apply(group))
            except EnginePanic as panic:
                self._inbox = [incoming for left in waiting for incoming in left] + self._inbox
                self._start_rebuilding(panic, group)
                break
        self._commit(batch)

    def _apply(self, group: Sequence[Incoming]) -> Applied:
        updates = [incoming.update for incoming in group]
        guards = self._house.guards
        if not guards:
            return self.live.apply(updates)
        user = group[0].user

        def check(update: DecodedUpdate) -> None:
            proposed = GuardedUpdate(name=self.name, user=user, update=update, document=self.live)
            for guard in guards:
                guard(proposed)

        return self.live.apply_guarded(updates, check)

    def _record(self, batch: Batch, group: Sequence[Incoming], applied: Applied) -> None:
        """Note in `batch` what must become durable, and what is due to the author after that."""
        for position in applied.malformed:
            self._house.metrics.refused("malformed_update")
            _send_back(group[position], MalformedUpdate("not a Yjs v1 update"))
        sound = [item for i, item in enumerate(group) if i not in applied.malformed]
        if not sound:
            return
        author = sound[0].user.id
        if applied.refusal is not None:
            self._record_refusal(batch, sound, applied.update, applied.refusal)
            return
        if applied.update:
            batch.entries.append(self._numbered(applied.update, author))
            batch.relays.append(applied.update)
        if applied.parked:
            sound = self._record_parked(batch, sound, applied)
        batch.waiting.extend(incoming for incoming in sound if incoming.done is not None)
        self._record_due(batch, sound, is_new=bool(applied.update))
        self._release_parked(batch, author)

    def _record_parked(self, batch: Batch, sound: Sequence[Incoming], applied: Applied) -> list[Incoming]:
        """Keep what waits for something it depends on, and ask its author for that; return the rest."""
        session = sound[0].session
        if session is not None:
            session.send(session.encoder.step1(self.live.state_vector()))
        if applied.is_parked_outside:
            # A guard judges whole edits: the author sends it again together with what it needs.
            for incoming in sound:
                if incoming.update in applied.parked:
                    incoming.fail(Conflict("the update builds on edits that the server has not seen"))
        else:
            # Durable like any other, though without effect yet: who waits for that is answered.
            batch.waiting.extend(i for i in sound if i.done is not None and i.update in applied.parked)
            for update in applied.parked:
                batch.entries.append(self._numbered(update, sound[0].user.id))
                self._parked.append((update, session))
        return [incoming for incoming in sound if incoming.update not in applied.parked]

    def _record_due(self, batch: Batch, sound: Sequence[Incoming], *, is_new: bool) -> None:
        session = sound[0].session if sound else None
        if session is None:
            return
        batch.acknowledged.append((session, len(sound)))
        if not is_new:
            # It is durable already, or will be with the batch before: only its author hears the echo.
            echo = [session.encoder.update(incoming.update) for incoming in sound]
            batch.then.append(lambda: session.send(*echo))

    def _record_refusal(self, batch: Batch, sound: Sequence[Incoming], update: bytes, refusal: Refused) -> None:
        """Commit the edit with its undoing, and in the same transaction the edit as its author's proposal."""
        session = sound[0].session
        self._house.metrics.refused("guard")
        proposals = tuple(self._aside("refused", incoming, refusal.reason) for incoming in sound)
        batch.entries.append(self._numbered(update, sound[0].user.id, beside=proposals))
        batch.relays.append(update)
        for incoming in sound:
            batch.then.append(functools.partial(incoming.fail, refusal))
            batch.otherwise.append(incoming.fail)
        if session is not None:
            answers = [session.encoder.notice(refusal.reason)]
            if (refused := session.encoder.saved(saved=False)) is not None:
                answers += [refused] * len(sound)
            batch.then.append(lambda: session.send(*answers))

    def _release_parked(self, batch: Batch, author: UserId) -> None:
        """Acknowledge updates that waited for what they depend on and have taken effect now."""
        if not self._parked:
            return
        released, emitted = self.live.release_waiting()
        if emitted:
            batch.entries.append(self._numbered(emitted, author))
            batch.relays.append(emitted)
        still: list[tuple[bytes, Session | None]] = []
        gone = set(released)
        for update, session in self._parked:
            if update not in gone:
                still.append((update, session))
            elif session is not None:
                batch.acknowledged.append((session, 1))
        self._parked = still
        waiting_bytes = sum(len(update) for update, _ in still)
        if waiting_bytes > self._limits.waiting_bytes:
            limit = LimitExceeded("waiting_bytes", self._limits.waiting_bytes, waiting_bytes)
            for session in {session for _, session in still if session is not None}:
                session.end(limit)

    def _numbered(self, update: bytes, author: UserId, *, beside: tuple[SetAside, ...] = ()) -> LogEntry:
        place = LogPlace(self._next_place)
        self._next_place += 1
        self.log_entries += 1
        self.log_bytes += len(update)
        self.size_bytes += len(update)
        return LogEntry(
            document=self.document.id,
            sequence=place,
            update=update,
            author=author,
            at=time.time(),
            beside=beside,
        )

    def _refuse(self, session: Session, update: bytes, why: str, *, is_step2: bool) -> None:
        """Answer an edit that is not even looked at; a step 2 that holds nothing new is no edit."""
        self._when_whole(lambda: self._answer_refused(session, update, why, is_step2=is_step2))

    def _answer_refused(self, session: Session, update: bytes, why: str, *, is_step2: bool) -> None:
        is_known = is_step2 and self.live.covers(update)
        answer = session.encoder.saved(saved=is_known)
        if not is_known:
            self._house.metrics.refused("full" if session.may_write else "read_only")
        if answer is not None:
            self._after_commit(lambda: session.send(answer))
        elif not is_known and not session.is_told_of_refusal:
            session.is_told_of_refusal = True
            session.send(session.encoder.notice(why))

    def _is_full(self) -> bool:
        """Whether the document passes its limit; the running total only ever overestimates, so measure then."""
        is_measured = self._measured_version == self.live.version
        if self.size_bytes > self._limits.document_bytes and not is_measured and not self._is_rebuilding:
            self.size_bytes = len(self.live.encode())
            self._measured_version = self.live.version
        return self.size_bytes > self._limits.document_bytes

    def _full(self) -> DocumentTooLarge:
        limit = self._limits.document_bytes
        return DocumentTooLarge(f"the document is full: {self.size_bytes} of {limit} bytes")

    # Durability

    def _commit(self, batch: Batch) -> None:
        if not batch.entries:
            self._after_commit(lambda: self._deliver(batch), batch.give_up)
            return
        self._in_flight.append(batch)
        self._house.journal.append(batch.entries, lambda error: self._committed(batch, error))

    def _committed(self, batch: Batch, error: BaseException | None) -> None:
        """Relay and acknowledge a batch that is durable now; or end the room, which can write no more."""
        first = self._in_flight.popleft()
        assert first is batch, "the journal promises the order of appends"
        if error is None:
            self._house.metrics.committed(len(batch.entries))
            self._deliver(batch)
            self._house.on_committed(self)
            return
        log.error("room.cannot_write", extra={"document": self.name, "error": str(error)})
        cause = Unavailable("the document moved or was deleted: reconnect")
        batch.give_up(cause)
        if not self.is_ended:
            self.end(cause)

    def _deliver(self, batch: Batch) -> None:
        if batch.relays:
            self._broadcast(lambda encoder: [encoder.update(update) for update in batch.relays])
            self._house.metrics.relayed(len(batch.relays) * len(self.sessions))
        for session, count in batch.acknowledged:
            self._acknowledge(session, count)
        if batch.waiting:
            place = batch.entries[-1].sequence if batch.entries else LogPlace(self._next_place - 1)
            for incoming in batch.waiting:
                incoming.resolve(place)
        for action in batch.then:
            action()

    def _broadcast(self, make: Callable[[Encoder], list[bytes]]) -> None:
        """Write to every session, encoding once for each dialect and address."""
        for encoder, group in tuple(self._groups.items()):
            frames = Frames(make(encoder))
            for session in tuple(group):
                session.channel.write(frames)

    def _acknowledge(self, session: Session, count: int) -> None:
        saved = session.encoder.saved(saved=True)
        if saved is not None:
            session.send(*([saved] * count))

    def _after_commit(self, action: Action, otherwise: Failure | None = None) -> None:
        """Run `action` once all that the live document contains is durable: now, if it is.

        `otherwise` is told why when it never will be.
        """
        if not self._in_flight:
            action()
            return
        self._in_flight[-1].then.append(action)
        if otherwise is not None:
            self._in_flight[-1].otherwise.append(otherwise)

    def _missing_from(self, state_vector: bytes) -> bytes:
        version, asked, answer = self._encoded
        if version != self.live.version or asked != state_vector:
            # Many clients that ask the same at once (a restart, a deploy) share one encoding.
            answer = self.live.missing_from(state_vector)
            self._encoded = (self.live.version, state_vector, answer)
        return answer

    # When the engine breaks

    def _start_rebuilding(self, panic: EnginePanic, group: Sequence[Incoming]) -> None:
        log.error("engine.panic", extra={"document": self.name, "error": str(panic)})
        self._house.metrics.panicked()
        self._is_rebuilding = True
        for incoming in group:
            self._spawn(self._house.set_aside(self._aside("poison", incoming, str(panic))))
            _send_back(incoming, MalformedUpdate("this update breaks the document"))
        self._spawn(self._rebuild())

    async def _rebuild(self) -> None:
        """Replace the broken document by one built from the log, then go on with what waited."""
        try:
            stored = await self._house.reload(self)
            rebuilt = load(stored, nesting_levels=self._limits.nesting_levels)
            self.live.close()
            self.live = rebuilt
        except Exception:
            log.exception("room.rebuild_failed", extra={"document": self.name})
            self.end(Unavailable("the document is being repaired: reconnect"))
            return
        finally:
            self._is_rebuilding = False
        self._encoded, self._measured_version = (-1, b"", b""), -1
        authors = dict(self._parked)
        self._parked = [(update, authors.get(update)) for update in self.live.waiting]
        for session in tuple(self.sessions):
            session.send(session.encoder.step1(self.live.state_vector()))
        self._tick()
        questions, self._questions = self._questions, []
        for ask in questions:
            ask()

    def _aside(self, cause: str, incoming: Incoming, reason: str) -> SetAside:
        return SetAside(
            document=self.document.id,
            cause=cause,
            update=incoming.update,
            author=incoming.user.id,
            reason=reason,
            at=time.time(),
        )

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


SETTLE_SECONDS = 5.0

NOBODY = b"\x00"
"""An awareness update of no entries."""


def _only_deletes(update: bytes) -> bool:
    """Whether an update adds nothing, so that a full document may take it."""
    try:
        return not measure_update(update).ends
    except RemoteProtocolError:
        return False


def _by_author(inbox: Sequence[Incoming]) -> list[list[Incoming]]:
    """Group what came in by author, keeping the order of each."""
    groups: dict[Session | UserId, list[Incoming]] = {}
    for incoming in inbox:
        groups.setdefault(incoming.session or incoming.user.id, []).append(incoming)
    return list(groups.values())


def _send_back(incoming: Incoming, error: MalformedUpdate) -> None:
    """Tell an author that their bytes cannot be taken; their connection ends."""
    incoming.fail(error)
    if incoming.session is not None:
        incoming.session.end(error)
