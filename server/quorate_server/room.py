"""`Room`: one live document and the sessions that have it open.

Theory of operation
-------------------

Updates that arrive in one tick of the event loop wait in an inbox; the tick applies them author by author, or
at once what several typed, gives each author's update its place in the log, and hands all of them to the journal
as one batch. Only when the journal says that the batch is durable is it written to every session (the echo to its
author included) and acknowledged. Law 1, *durable before visible*, is this order and nothing else:

    receive -> inbox -> tick: apply, number -> journal -> committed: relay, acknowledge, answer

Batches of a room become durable in the order in which they were appended, so relays keep that order. A sync
answer may contain what is not durable yet: it waits behind the newest batch in flight.

The live document may be ahead of the log, never the other way round. When the journal can never write a batch
(another process took over the documents), the room ends: its sessions are sent away to reload.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial

from quorate_protocol.ids import DocumentName, UserId
from quorate_protocol.ids import Sequence as LogPlace
from quorate_protocol.updates import EMPTY_UPDATE, DecodedUpdate, UpdateExtent
from quorate_server.answers import SharedAnswers
from quorate_server.applied import Applied, Staged
from quorate_server.batches import Action, Batch, Incoming, fail, only_deletes, resolve, send_back
from quorate_server.bursts import Burst, by_author, singly, take_bursts, typed_as_one
from quorate_server.crdt_types import AnyDoc
from quorate_server.documents import EMPTY_STATE_VECTOR, LiveDocument
from quorate_server.errors import AccessDenied, Conflict, EnginePanic, MalformedUpdate, Refused, Unavailable
from quorate_server.folding import load
from quorate_server.guards import GuardedUpdate
from quorate_server.meters import LogMeter
from quorate_server.pacing import Pace
from quorate_server.parked import ParkedUpdates
from quorate_server.pending import Pending
from quorate_server.preparing import NOTHING_TO_PREPARE, OutlinePreparation, Preparation
from quorate_server.presence_relay import PresenceRelay
from quorate_server.refusals import answer_refused, aside, forgery_event, refusal_rows
from quorate_server.relay import Relay, acknowledge
from quorate_server.screening import NO_ROOTS, Objection, Outcome, Screening
from quorate_server.sessions import Session
from quorate_server.surroundings import Surroundings
from quorate_server.users import SERVER, User
from quorate_storage.stores import Document, LogEntry, StoredState

log = logging.getLogger("quorate.server")
SETTLE_SECONDS = 5.0


class Room:
    """One live document. Everything runs on the event loop; what is not a coroutine never waits."""

    def __init__(self, house: Surroundings, stored: StoredState, live: LiveDocument) -> None:
        self.document: Document = stored.document
        self.live = live
        self._loop = asyncio.get_running_loop()
        self._pace = Pace(self._loop, self._tick, per_second=house.limits.relays_per_second)
        self.relay = Relay(
            house.journal, house.metrics, on_durable=self._on_durable, on_lost=self._on_lost, on_idle=self._pace.ask
        )
        self.presence = PresenceRelay(house.limits, house.metrics, self.relay.broadcast, self._on_forgery)
        self.screening = self._screening(stored)
        self._guards = [(guard, roots) for guard in house.guards if (roots := guard.guarded_roots(self.name))]
        self._guarded = NO_ROOTS.union(*(roots for _, roots in self._guards))
        self.is_ended = False
        self.pins = 0
        self.meter = LogMeter(stored)
        self._house = house
        self._limits = house.limits
        self._inbox: list[Incoming | Burst] = []
        self._is_rebuilding = self._is_wary = False
        self._questions: list[Action] = []
        self._readers: Pending[asyncio.Future[bytes]] = Pending()
        self._owed: dict[Session, int] = {}
        self.preparation: Preparation = NOTHING_TO_PREPARE
        if self.screening.is_artifact:
            self.preparation = OutlinePreparation(self.name, house.outline, self._spawn, self._tick)
        self._parked = ParkedUpdates(live.waiting, self._limits.waiting_bytes)
        self._next_place = stored.document.last_sequence + 1
        self._answers = SharedAnswers()
        self._tasks: Pending[asyncio.Task[None]] = Pending()

    @property
    def name(self) -> DocumentName:
        """The document's name."""
        return self.document.name

    @property
    def newest_place(self) -> LogPlace:
        """The newest place in the log that was given out; maybe not durable yet."""
        return LogPlace(self._next_place - 1)

    @property
    def sessions(self) -> set[Session]:
        """Who has the document open."""
        return self.relay.sessions

    @property
    def is_durable(self) -> bool:
        """Whether everything this room accepted is in the log."""
        return self.relay.is_idle and not (self._inbox or self._is_rebuilding or self._tasks)

    # Coming and going

    def join(self, session: Session) -> None:
        """Take a session in: it receives every relay from now on, and first a step 1 and who is here."""
        if self.is_ended:  # between being found and being joined
            session.end(Unavailable("the document is being closed: reconnect"))
            return
        self.relay.add(session)
        encoder = session.encoder
        greeting: list[bytes] = []
        self._end_typing()
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
        self.relay.remove(session)
        self._owed.pop(session, None)
        self.presence.leave(session)
        if not self.sessions:
            self._house.on_empty(self)

    def end(self, cause: Refused | Unavailable) -> None:
        """Send every session away and take no more updates. What came before still becomes durable."""
        self.hand_over()
        self.is_ended = True
        for session in tuple(self.sessions):
            session.end(cause)
        self._turn_away(cause)
        self._questions.clear()
        if self.relay.is_idle:
            for reader in self._readers:
                fail(reader, Unavailable("the document is being closed: try again"))
        self._house.discard(self)

    def _turn_away(self, cause: Exception) -> None:
        for incoming in self._inbox:
            incoming.fail(cause)
        self._inbox.clear()

    def _on_forgery(self, session: Session) -> None:
        """Account for a session that speaks for somebody else: once a minute, whatever it goes on to say."""
        session.forgeries.take(self._loop.time())
        if session.forgeries.count == 1:
            self._house.ledger.post([forgery_event(self.document, session.user.id)])

    async def settle(self) -> None:
        """Wait until what was refused is kept, for a while."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=SETTLE_SECONDS)

    def close(self) -> None:
        """Free what the room holds. Only when nobody is in it and all of it is durable, or it has ended."""
        self.presence.stop()
        self._pace.stop()
        self.preparation = NOTHING_TO_PREPARE
        self.relay.stop()
        self.live.close()

    def hand_over(self) -> None:
        """Give everything that came so far to the journal, before the tick would."""
        self._tick()

    # Updates

    def receive(self, session: Session, update: bytes, *, is_step2: bool) -> None:
        """Take an update or step 2 of a session; it is applied in this tick and answered when durable."""
        if self.is_ended:
            return
        may_comment = session.may_comment and self.screening.is_artifact
        if not (session.may_write or may_comment or self.screening.is_record):
            why = "read-only: your edits are not shared"
            self._when_whole(partial(self._refuse, session, update, why, is_step2=is_step2))
        elif update == EMPTY_UPDATE:
            self._when_whole(lambda: self.relay.after_commit(lambda: acknowledge(session, 1)))
        elif self._is_full() and not only_deletes(update):
            why = str(self.meter.full(self._limits.document_bytes))
            self._when_whole(partial(self._refuse, session, update, why, is_step2=is_step2))
        else:
            self._enqueue(Incoming(session.user, update, session, is_step2=is_step2))

    def receive_burst(self, session: Session, updates: list[bytes]) -> None:
        """Take edits that a session sent at once; each is answered as `receive` answers it."""
        if session.may_write and not (self.is_ended or self._is_full() or EMPTY_UPDATE in updates):
            self._enqueue(Burst(session.user, updates, session))
            return
        for update in updates:
            self.receive(session, update, is_step2=False)

    async def write(self, user: User, update: bytes) -> LogPlace:
        """Apply an update without a session; return its place in the log once it is durable.

        Raises:
            MalformedUpdate: it is no update; nothing was changed.
            Refused: a guard refused it, or the document is full or ended; nothing was changed.
        """
        if self._is_full() and not only_deletes(update):
            raise self.meter.full(self._limits.document_bytes)
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
                missing = self._answers.missing_from(self.live, since)
            except MalformedUpdate as error:
                fail(durable, error)
            else:
                self.relay.after_commit(lambda: resolve(durable, missing), lambda error: fail(durable, error))

        self._readers.add(durable)
        self._when_whole(ask)
        return await durable

    def answer(self, session: Session, state_vector: bytes) -> None:
        """Answer a step 1 with what its sender lacks, once all of that is durable."""
        self._when_whole(lambda: self._answer(session, state_vector))

    def _answer(self, session: Session, state_vector: bytes) -> None:
        if session.encoder.asks_when_answering:
            session.send(session.encoder.step1(self.live.state_vector()))
        try:
            missing = self._answers.missing_from(self.live, state_vector)
        except MalformedUpdate as error:
            session.end(error)
            return
        self.relay.after_commit(lambda: session.send(session.encoder.step2(missing)))

    def _when_whole(self, action: Action) -> None:
        """Run `action` after all that came before it was applied; after the repair, if there is one under way."""
        if not self._is_rebuilding:
            self._tick()
            self._end_typing()
        if self._is_rebuilding:
            self._questions.append(action)
        else:
            action()

    def _end_typing(self) -> None:
        """Have the engine end what it is in the middle of: then the document can be asked."""
        try:
            self.live.end_typing()
        except EnginePanic as panic:
            if not self._is_rebuilding:
                self._start_rebuilding(panic, ())

    # One tick

    def _enqueue(self, incoming: Incoming | Burst) -> None:
        self._inbox.append(incoming)
        self._pace.gather(incoming.weight(self._loop.time()))
        # While a commit is under way the next batch gathers, and the relay says when that is over.
        if self.relay.is_idle:
            self._pace.ask()

    def _tick(self) -> None:
        self._pace.forget()
        if not self._inbox or self._is_rebuilding:
            return
        if not self.preparation.can_judge(self.screening, self.live, self.meter.size_bytes):
            return
        self._pace.start()
        waiting, self._inbox = by_author(self._inbox), []
        batch = Batch(last_place=self._next_place - 1)
        while waiting:
            try:
                del waiting[: self._take_some(batch, waiting)]
            except EnginePanic as panic:
                # Whose edit it was is known when it was alone; else all are tried again, one by one.
                is_known = self._is_wary or (len(waiting) == 1 and bool(panic.suspects))
                suspects = singly(waiting.pop(0)) if is_known else []
                self._is_wary = True
                self._inbox = [incoming for left in waiting for incoming in left] + self._inbox
                self._start_rebuilding(panic, suspects)
                break
        else:
            self._is_wary = False
        batch.rows += self.screening.claims
        self.screening.claims.clear()
        self._commit(batch)

    def _take_some(self, batch: Batch, groups: Sequence[Sequence[Incoming | Burst]]) -> int:
        """Take what came of the first authors, of as many as it can at once; return of how many."""
        if not (self.screening.is_artifact or self._is_wary):
            taken = take_bursts(groups[:1] if self._parked else groups, self.live, self.screening)
            for burst, applied in taken:
                batch.roots = None
                if not applied.update or applied.malformed or self._parked:
                    self._record(batch, singly([burst]), applied)
                else:
                    batch.add(self._numbered(applied.update, burst.user.id), burst.session, len(burst.updates))
            if taken:
                return len(taken)
        if self._is_wary or not self._take_typed(batch, groups[0]):
            self._take(batch, singly(groups[0]))
        return 1

    def _take_typed(self, batch: Batch, group: Sequence[Incoming | Burst]) -> bool:
        """Take text that was typed in a row into an artifact; False, with nothing done, if each letter needs a look."""
        typed = typed_as_one(group) if self.screening.is_artifact else None
        extent = None if typed is None else self.live.measure(typed.update)
        if typed is None or extent is None:
            return False
        if self.screening.screen(typed, extent) is not None or self.screening.touched & self._guarded:
            self.screening.retract()
            self.screening.touched = NO_ROOTS
            return False
        self._apply(batch, [typed], [extent])
        return True

    def _take(self, batch: Batch, group: Sequence[Incoming]) -> None:
        """Screen the updates of one author in order, and apply what nothing stands against in one transaction."""
        fine: list[Incoming] = []
        extents: list[UpdateExtent | None] = []
        for incoming in group:
            extent = self.live.measure(incoming.update)
            objection = None if extent is None else self.screening.screen(incoming, extent)
            if extent is None or objection is None:
                fine.append(incoming)
                extents.append(extent)
            elif objection.outcome is Outcome.EARLY:
                self._ask_again(incoming, objection)
            else:
                self._apply(batch, fine, extents)
                fine, extents = [], []
                self._object(batch, incoming, extent, objection)
        self._apply(batch, fine, extents)

    def _apply(self, batch: Batch, group: Sequence[Incoming], extents: Sequence[UpdateExtent | None]) -> None:
        if not group:
            return
        updates = [incoming.update for incoming in group]
        touched = self.screening.touched
        self.screening.touched = NO_ROOTS
        kind = self.screening.kind
        batch.roots = None if batch.roots is None or kind is None else batch.roots | touched
        guards = [guard for guard, roots in self._guards if not roots.isdisjoint(touched)]
        if kind is None or not guards:
            applied = self.live.apply(updates, extents)
            self.screening.confirm(updates, extents, applied.update)
            self._record(batch, group, applied)
            return

        def check(update: DecodedUpdate) -> None:
            proposed = GuardedUpdate(
                name=self.name, kind=kind, user=group[0].user, update=update, document=self.live, roots=touched
            )
            for guard in guards:
                guard.guard(proposed)

        for incoming, extent in zip(group, extents, strict=True):  # one by one: what is refused takes nothing with it
            applied = self.live.apply_guarded([incoming.update], check, [extent])
            self.screening.learn(applied.update)
            self._record(batch, [incoming], applied)

    def _object(self, batch: Batch, incoming: Incoming, extent: UpdateExtent, objection: Objection) -> None:
        """Refuse an update, or reject it: of somebody who is only refused again and again, or sends no session."""
        session = incoming.session
        refusal = AccessDenied(objection.reason)
        is_patient = session is not None and session.refusals.take(self._loop.time())
        if objection.outcome is Outcome.REFUSED and is_patient:
            self.screening.claim(incoming.user, extent)
            applied = self.live.apply_refused(incoming.update, extent, refusal)
            self.screening.learn(applied.update)
            self._record(batch, [incoming], applied, objection.rule)
            return
        self.screening.retract()
        self._house.metrics.refused(objection.rule)
        batch.rows += refusal_rows(self.document, [incoming], objection.rule, refusal)
        batch.then.append(lambda: send_back(incoming, refusal))
        batch.otherwise.append(incoming.fail)

    def _ask_again(self, incoming: Incoming, objection: Objection) -> None:
        """Ask the author of an update that came early for all that it builds on, but not twice for the same."""
        session = incoming.session
        incoming.fail(Conflict(objection.reason))
        if session is None:
            return
        if incoming.is_step2:
            session.send(session.encoder.notice("your copy builds on edits that the server does not have: reload"))
            return
        self._owed[session] = self._owed.get(session, 0) + 1
        session.send(session.encoder.step1(self.live.state_vector()))

    def _record(self, batch: Batch, group: Sequence[Incoming], applied: Applied, rule: str = "guard") -> None:
        """Note in `batch` what must become durable, and what is due to the author after that."""
        for position in applied.malformed:
            self._house.metrics.refused("malformed_update")
            send_back(group[position], MalformedUpdate("not a Yjs v1 update"))
        sound = [item for i, item in enumerate(group) if i not in applied.malformed]
        if not sound:
            return
        author = sound[0].user.id
        if applied.refusal is not None:
            self._record_refusal(batch, sound, applied, rule)
            return
        if applied.update:
            batch.entries.append(self._numbered(applied.update, author))
            batch.relays.append(applied.update)
            batch.weight += sum(incoming.edits for incoming in sound) - 1
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
        # Durable like any other, though without effect yet: who waits for that is answered.
        batch.waiting.extend(i for i in sound if i.done is not None and i.update in applied.parked)
        for update in applied.parked:
            batch.entries.append(self._numbered(update, sound[0].user.id))
            self._parked.add(update, session)
        return [incoming for incoming in sound if incoming.update not in applied.parked]

    def _record_due(self, batch: Batch, sound: Sequence[Incoming], *, is_new: bool) -> None:
        session = sound[0].session if sound else None
        if session is None:
            return
        owed = self._owed.pop(session, 0) if any(incoming.is_step2 for incoming in sound) else 0
        batch.acknowledged.append((session, sum(incoming.edits for incoming in sound) + owed))
        if not is_new:
            # It is durable already, or will be with the batch before: only its author hears the echo.
            echo = [session.encoder.update(incoming.update) for incoming in sound]
            batch.then.append(lambda: session.send(*echo))

    def _record_refusal(self, batch: Batch, sound: Sequence[Incoming], applied: Applied, rule: str) -> None:
        """Commit the edit with its undoing, and in the same transaction the edit as its author's proposal."""
        assert applied.refusal is not None
        self._house.metrics.refused(rule)
        batch.entries.append(self._numbered(applied.update, sound[0].user.id))
        batch.rows += refusal_rows(self.document, sound, rule, applied.refusal)
        batch.relays.append(applied.update)
        answer_refused(batch, sound, applied.refusal)

    def _release_parked(self, batch: Batch, author: UserId) -> None:
        """Acknowledge updates that waited for what they depend on and have taken effect now."""
        if not self._parked:
            return
        released, emitted = self.live.release_waiting()
        if emitted:
            batch.entries.append(self._numbered(emitted, author))
            batch.relays.append(emitted)
        batch.acknowledged += [(session, 1) for session in self._parked.release(released)]
        self._parked.bound()

    def _numbered(self, update: bytes, author: UserId) -> LogEntry:
        place = LogPlace(self._next_place)
        self._next_place += 1
        self.meter.add(update)
        return LogEntry(document=self.document.id, sequence=place, update=update, author=author, at=time.time())

    def _refuse(self, session: Session, update: bytes, why: str, *, is_step2: bool) -> None:
        """Answer an edit that is not even looked at; a step 2 that holds nothing new is no edit."""
        is_known = is_step2 and self.live.covers(update)
        answer = session.encoder.saved(saved=is_known)
        if not is_known:
            self._house.metrics.refused("full" if session.may_write else "read_only")
        if answer is not None:
            self.relay.after_commit(lambda: session.send(answer))
        elif not is_known and not session.is_told_of_refusal:
            session.is_told_of_refusal = True
            session.send(session.encoder.notice(why))

    def _is_full(self) -> bool:
        """Whether the document passes its limit; not asked of one that is being repaired."""
        return not self._is_rebuilding and self.meter.is_over(self._limits.document_bytes, self.live)

    # Durability

    def _commit(self, batch: Batch) -> None:
        if batch.entries:
            self._house.announcer.note(self.document, batch.entries, batch.roots)
        self.relay.commit(batch)

    # What the server writes

    def check_writable(self) -> None:
        """Do nothing if the server can change the document now, and take into it all that came before.

        Raises:
            Unavailable: the room ended or is being repaired; nothing was changed.
        """
        self._tick()
        self._end_typing()
        if self.is_ended or self._is_rebuilding or self.preparation.is_under_way:
            raise Unavailable("the document is being prepared, repaired or closed: try again")

    def stage(self, edit: Callable[[AnyDoc], object]) -> Staged:
        """Change the document, for a unit of work that commits or reverts it before anything else can run.

        Raises:
            Unavailable: the engine broke; the document is being repaired.
        """
        try:
            return self.live.stage(edit, self.screening.roots)
        except EnginePanic as panic:
            self._start_rebuilding(panic, ())
            raise Unavailable("the document is being repaired: try again") from panic

    def enlist(self, updates: Sequence[bytes], author: UserId) -> Batch:
        """Number updates that were staged, as a batch in flight; whoever commits it tells `relay.committed`."""
        batch = Batch(last_place=self._next_place - 1)
        for update in updates:
            self.screening.learn(update)
            batch.entries.append(self._numbered(update, author))
            batch.relays.append(update)
        self._house.announcer.note(self.document, batch.entries, None)
        self.relay.enlist(batch)
        return batch

    def keep(self, update: bytes) -> None:
        """Commit what a reverted change left behind: it is in the document, so it must be in the log."""
        batch = self.enlist([update], SERVER.id)
        self._house.journal.append(batch.entries, lambda error: self.relay.committed(batch, error))

    def _on_durable(self, batch: Batch) -> None:
        if batch.rows:
            self._house.ledger.tell(batch.rows)
        if batch.entries:
            self._house.on_committed(self)

    def _on_lost(self, error: BaseException, batch: Batch) -> None:
        """End the room, which can write no more."""
        log.error("room.cannot_write", extra={"document": self.name, "error": str(error)})
        cause = Unavailable("the document moved or was deleted: reconnect")
        batch.give_up(cause)
        # What is in the live document and not in the log must not make anybody's edit look durable.
        self._turn_away(cause)
        if not self.is_ended:
            self.end(cause)

    # When the engine breaks

    def _start_rebuilding(self, panic: EnginePanic, group: Sequence[Incoming]) -> None:
        log.error("engine.panic", extra={"document": self.name, "error": str(panic)})
        self._house.metrics.panicked()
        self._is_rebuilding = True
        for incoming in group:
            self._spawn(self._house.set_aside(aside(self.document, "poison", incoming, str(panic))))
            send_back(incoming, MalformedUpdate("this update breaks the document"))
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
        self.screening = self._screening(stored)
        self.meter.forget()
        self._parked = self._parked.of(self.live.waiting)
        for session in tuple(self.sessions):
            session.send(session.encoder.step1(self.live.state_vector()))
        self._tick()
        questions, self._questions = self._questions, []
        for ask in questions:
            ask()

    def _screening(self, stored: StoredState) -> Screening:
        return Screening(self.document.id, self.name, self.live, stored.writers, self.presence.speaker_of)

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        return self._tasks.add(self._loop.create_task(work))
