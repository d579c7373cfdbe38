"""`LiveDocument`: one Yjs document in memory. The only module that touches the CRDT engine (yrs).

Theory of operation
-------------------

The room hands over the updates of one author that arrived in one tick. They are applied in one
transaction, and the engine emits one update: what was new in them. That update is what goes to the log
and to everybody else. Three facts of the engine shape this module:

* An update may build on what has not come. The engine would park it inside, and breaks over what it parked: it
  was seen to encode it as if it had taken effect, to lose it, and to corrupt its memory when it came again. So
  the engine is given only what it can take at once; the rest waits here, in `waiting`.
* The engine may panic: `PanicException` derives from `BaseException`. The document is then unusable.
* Nothing may await between the start and the end of a transaction; everything here is synchronous.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count, islice
from typing import Any, TypeVar, cast

from pycrdt import Doc, Map, get_state

from quorate_protocol.bursts import join_typing, measure_burst
from quorate_protocol.deletions import is_inside, ranges_by_client
from quorate_protocol.dividing import Division, divide
from quorate_protocol.errors import RemoteProtocolError
from quorate_protocol.ids import ClientId
from quorate_protocol.limits import DEFAULT_LIMITS
from quorate_protocol.parents import ParentFinder
from quorate_protocol.state_vectors import decode_state_vector
from quorate_protocol.updates import (
    EMPTY_UPDATE,
    DecodedUpdate,
    UpdateExtent,
    decode_update,
    measure_update,
    update_ends,
)
from quorate_server.applied import Applied, Staged, Typing
from quorate_server.crdt_types import AnyDoc
from quorate_server.emissions import Emissions
from quorate_server.errors import EnginePanic, MalformedUpdate, Refused
from quorate_server.hashing import ContentHasher
from quorate_server.open_typing import OpenTyping
from quorate_server.shapes import Kind
from quorate_server.undoing import GUARDED, Undoing
from quorate_server.waiting import Waiting, take_waiting

Action = Callable[[], None]
Suspects = Sequence[tuple[bytes, object]]
"""Updates, each with whatever is known of it."""

Extents = Sequence[UpdateExtent | None]
T = TypeVar("T")

EMPTY_STATE_VECTOR = b"\x00"

TRIED_BYTES = 4096
"""A first stored update of at least so many bytes is tried unread: reading it is four fifths of what loading costs."""

REPLAYED_TOGETHER = 100
"""So many stored updates are applied in one transaction, which costs more than most of them do."""

SEED_CLIENT_ID = ClientId(1)
"""The client id of seeds: fixed, so that two servers that seed the same name come to the same bytes."""

SERVER_CLIENT_ID = ClientId(0x51554F52)
"""The client id of everything that the server writes into documents, seeds apart; no connection may write as it.

It is "QUOR": no small number, which people choose by hand, and as likely as any other to be drawn by chance.

One is enough: a document has one owner process, and what it lost uncommitted nobody has seen.
"""


_SERIALS = count()


class LiveDocument:
    """A document that updates can be applied to, and that can be asked for what somebody lacks.

    Not safe for use by several threads. After `EnginePanic` it must be thrown away.
    """

    _raw_doc: AnyDoc
    """The engine's document, to be asked for by `_doc` only."""
    _typing: OpenTyping | None

    def __init__(
        self,
        updates: Iterable[bytes] = (),
        *,
        state: bytes = EMPTY_UPDATE,
        nesting_levels: int = DEFAULT_LIMITS.nesting_levels,
    ) -> None:
        """Build the document from a state that `encode` returned, and updates that were accepted, in order.

        Raises:
            MalformedUpdate: one of them is no update.
            EnginePanic: one of them breaks the engine.
        """
        self._transaction: Any = None
        self._begin()
        self._known: dict[ClientId, int] = {}
        self._grown: dict[ClientId, int] = {}
        self._waiting: list[Waiting] = []
        self._hasher: ContentHasher | None = None
        self._max_depth = nesting_levels
        self._depth_bound = nesting_levels  # of what is stored it is not known: measured when a type is created
        self.version = 0
        """Grows whenever the content changes; equal versions mean equal content."""
        self.serial = next(_SERIALS)
        """Its number among all live documents of this process."""
        if state != EMPTY_UPDATE:
            self._load(state)
        self._replay(iter(updates))
        self.release_waiting()

    @property
    def waiting(self) -> tuple[bytes, ...]:
        """Updates that were accepted and of which something still waits for what it builds on."""
        return tuple(each.update for each in self._waiting)

    def close(self) -> None:
        """Let go of the engine's document. Without this it is never freed.

        The engine holds its observers, and they hold the document: a circle that the garbage collector
        cannot see, because half of it is not Python.
        """
        with suppress(EnginePanic):
            self.end_typing()
        self._emissions.look_away()
        if self._hasher is not None:
            self._hasher.close()
            self._hasher = None

    # Writing

    def measure(self, update: bytes) -> UpdateExtent | None:
        """Read an update before the engine does; None when it is none, or would nest types too deeply.

        The engine recurses into values and types without a bound, and a stack that overflows ends the
        process: nothing may reach it that was not read here.
        """
        try:
            extent = measure_update(update)
        except RemoteProtocolError:
            return None
        if extent.types:
            self._depth_bound += extent.types
            if self._depth_bound > self._max_depth:
                # The bound counts types side by side too. Measure, and count from there.
                self._depth_bound = extent.types + ParentFinder(decode_update(self.encode()).structs).depth()
                if self._depth_bound > self._max_depth and not self._stays_shallow(update):
                    return None
        return extent

    def measure_burst(self, updates: list[bytes]) -> dict[ClientId, int] | None:
        """See `bursts.measure_burst`."""
        return measure_burst(updates, self._known)

    def known(self) -> dict[ClientId, int]:
        """Return behind which clock the operations of each client end."""
        return dict(self._known)

    def knows(self, client: ClientId, end: int) -> bool:
        """Whether the operations of a client up to `end` are in the document."""
        return end <= self._known.get(client, 0)

    def apply(self, updates: Sequence[bytes], extents: Extents | None = None) -> Applied:
        """Apply updates of one author in one transaction. `extents` is what `measure` said of each, if it was asked.

        Raises:
            EnginePanic: the document can no longer be used.
        """
        read = list(zip(updates, extents or map(self.measure, updates), strict=True))
        sound = [(update, extent) for update, extent in read if extent is not None]
        emitted, parked, broken = self._transact(sound)
        if not parked and len(sound) == len(read) and not broken:
            return Applied(update=emitted)
        self._waiting += parked
        return Applied(
            update=emitted,
            parked=tuple(each.update for each in parked),
            malformed=tuple(i for i, (update, extent) in enumerate(read) if extent is None or update in broken),
        )

    def apply_burst(self, updates: Sequence[bytes], ends: Mapping[ClientId, int]) -> Applied:
        """Apply updates of which `measure_burst` said how far they reach, in one transaction.

        Raises:
            EnginePanic: the document can no longer be used.
        """
        broken: list[int] = []

        def apply_each() -> None:
            apply, transaction = self._engine.apply_update, self._transaction
            for position, update in enumerate(updates):
                try:
                    apply(transaction, update)
                except ValueError:  # the engine decodes an update whole before it touches anything
                    broken.append(position)

        suspects = [(update, None) for update in updates]
        self._run(apply_each, suspects)
        if broken:
            self._learn_own()
        elif measure_burst([emitted := self._emissions.newest], self._known) == ends and emitted != EMPTY_UPDATE:
            self._learn(ends)  # all of it took effect
            self.version += 1
            return Applied(update=emitted)
        else:
            self._learn(ends)
        return Applied(update=self._checked_emission(suspects), malformed=tuple(broken))

    def join_typing(self, updates: Sequence[bytes], ends: Mapping[ClientId, int]) -> Typing | None:
        """Return edits of which `measure_burst` said how far they reach as one; None when there is more than typing.

        Nothing of it is known here yet.
        """
        joined = join_typing(list(updates))
        if joined is None:
            return None
        client, clock, update = joined
        return Typing(client, ends[client], update) if clock == self._known.get(client, 0) else None

    def apply_typing(self, typed: Sequence[Typing]) -> int:
        """Apply what each of several clients typed; return of how many, up to one that is malformed.

        Raises:
            EnginePanic: the document can no longer be used.
        """
        if self._typing is None:
            self._emissions.look_away()
            self._typing = OpenTyping(self._raw_doc)
        taken = self._typing.add(typed)
        if self._typing.is_long:
            self.end_typing()
        self._known |= {each.client: each.end for each in typed[:taken]}
        self.version += 1
        return taken

    def apply_guarded(
        self, updates: Sequence[bytes], check: Callable[[DecodedUpdate], None], extents: Extents | None = None
    ) -> Applied:
        """Apply updates of one author, let `check` look at the result, and undo it all if that refuses.

        `check` may read this document as it would be, and raises `Refused` to refuse. An update that
        depends on something unknown cannot be judged; it is not applied, and listed with the malformed ones.

        Raises:
            EnginePanic: the document can no longer be used.
        """
        read = list(zip(updates, extents or map(self.measure, updates), strict=True))
        sound = [(update, extent) for update, extent in read if extent is not None]
        before = self.state_vector()
        undoing = self._undoing([decode_update(update) for update, _ in sound])
        try:
            emitted, parked, broken = self._transact(sound, origin=GUARDED, is_whole=True)
            unjudged = {*broken, *(each.update for each in parked)}
            malformed = tuple(i for i, (update, extent) in enumerate(read) if extent is None or update in unjudged)
            try:
                if emitted:
                    check(decode_update(emitted))
            except Refused as refusal:
                self._undo_all(undoing, updates)
                return Applied(update=self.missing_from(before), refusal=refusal, malformed=malformed)
        finally:
            undoing.close()
        return Applied(update=emitted, malformed=malformed)

    def apply_refused(self, update: bytes, extent: UpdateExtent | None, refusal: Refused) -> Applied:
        """Apply an update and undo it, so that whoever made it comes back to what was before.

        Raises:
            EnginePanic: the document can no longer be used.
        """

        def refuse(_: DecodedUpdate) -> None:
            raise refusal

        return self.apply_guarded([update], refuse, [extent])

    def stage(self, edit: Callable[[AnyDoc], object], roots: Iterable[str] = ()) -> Staged:
        """Run `edit` on the document in one transaction of the server; `roots` are those that it may create.

        An exception of `edit` is undone and returned.

        Raises:
            EnginePanic: the document can no longer be used.
        """
        before = self.state_vector()
        undoing = self._undoing((), roots)
        self._emissions.watch()
        self._grown.clear()

        def revert() -> bytes:
            self._undo_all(undoing, ())
            undoing.close()
            return self.missing_from(before)

        error: Exception | None = None
        try:
            with self._doc.transaction(origin=GUARDED):
                try:
                    edit(self._doc)
                except Exception as raised:  # noqa: BLE001 - whose edit it is judges its error
                    error = raised
        except BaseException as broken:
            if isinstance(broken, (KeyboardInterrupt, SystemExit)):
                raise
            undoing.close()
            raise EnginePanic((), repr(broken)) from broken
        emitted = self._emissions.only or (self.missing_from(before) if self._emissions.updates else b"")
        if emitted in {b"", EMPTY_UPDATE}:
            undoing.close()
            return Staged(update=b"", undoing=undoing, revert=bytes, error=error)
        self._learn_own()
        self.version += 1
        update = emitted if error is None else revert()
        return Staged(update=update, undoing=undoing, revert=revert, error=error)

    def change(self, edit: Callable[[AnyDoc], object]) -> bytes:
        """Run `edit` on the document in one transaction of the server; return the update it made.

        An exception of `edit` is undone and raised again.
        """
        staged = self.stage(edit)
        staged.close()
        if staged.error is not None:
            raise staged.error
        return staged.update

    def look(self, reader: Callable[[AnyDoc], T]) -> T:
        """Return what `reader` finds in the document, which it must not change or keep."""
        return reader(self._doc)

    def release_waiting(self) -> tuple[tuple[bytes, ...], bytes]:
        """Apply of the waiting updates what can be taken now; return those that took effect whole, and what was new.

        Raises:
            EnginePanic: the document can no longer be used.
        """
        if not any(each.division.is_stale(self._known) for each in self._waiting):
            return (), b""

        suspects = [(each.update, each) for each in self._waiting]
        self._run(lambda: take_waiting(self._waiting, self._known, self._take), suspects)
        released = tuple(each.update for each in self._waiting if not each.division.lacks)
        self._waiting = [each for each in self._waiting if each.division.lacks]
        return released, self._checked_emission(suspects)

    # Reading

    def hasher(self, kind: Kind) -> ContentHasher:
        """Return what keeps the content hash of the document, as a content of a kind; made when first asked for."""
        self.end_typing()
        if self._hasher is None:
            self._hasher = ContentHasher(kind, self._doc)
        return self._hasher

    def state_vector(self) -> bytes:
        """Return the encoded state vector: for each client, how far its edits are known."""
        return self._doc.get_state()

    def missing_from(self, state_vector: bytes) -> bytes:
        """Return as one update all that the holder of `state_vector` lacks, and every deletion.

        Raises:
            MalformedUpdate: `state_vector` is no encoded state vector.
        """
        try:
            return self._doc.get_update(state_vector)
        except Exception as error:
            raise MalformedUpdate("not a state vector") from error

    def encode(self) -> bytes:
        """Return the whole state as one update. What is in `waiting` is not part of it."""
        return self.missing_from(EMPTY_STATE_VECTOR)

    def covers(self, update: bytes) -> bool:
        """Whether applying `update` would add nothing: every insertion and deletion is known."""
        try:
            listing = decode_update(update)
        except RemoteProtocolError:
            return False
        if any(end > self._known.get(client, 0) for client, end in update_ends(update).items()):
            return False
        if not listing.deletes:
            return True
        ranges = ranges_by_client(decode_update(self.missing_from(self.state_vector())).deletes)
        return all(is_inside(each, ranges.get(each.client, [])) for each in listing.deletes)

    # Inside

    def _learn(self, ends: Mapping[ClientId, int]) -> None:
        for client, end in ends.items():
            if end > self._known.get(client, 0):
                self._known[client] = self._grown[client] = end

    def _learn_own(self) -> None:
        # Our own vector has no stranger's length to fear.
        self._known = decode_state_vector(self.state_vector(), _OWN)

    def _load(self, state: bytes) -> None:
        """Start with a state that this class encoded: reading it ourselves first would double the time of a load."""
        sound: list[bool] = []
        self._run(lambda: sound.append(self._take(state, {})), [(state, None)])
        if not all(sound):
            raise MalformedUpdate(f"{len(state)} bytes of stored state are no Yjs update")
        self._learn_own()
        self.version += 1

    def _begin(self) -> None:
        """Have a new document."""
        doc: AnyDoc = Doc(client_id=SERVER_CLIENT_ID)
        self._typing = None
        self._emissions = Emissions(doc)
        self._raw_doc = doc
        # `Doc.apply_update` opens a transaction within the one that is open: a third of what an update costs us.
        self._engine: Any = cast("Any", doc)._doc  # noqa: SLF001

    @property
    def _doc(self) -> AnyDoc:
        """The engine's document, in no transaction."""
        self.end_typing()
        return self._raw_doc

    def end_typing(self) -> None:
        """End the transaction that typing has left open.

        Raises:
            EnginePanic: the document can no longer be used.
        """
        typing, self._typing = self._typing, None
        if typing is not None:
            typing.end()

    def _replay(self, updates: Iterator[bytes]) -> None:
        for first in islice(updates, 1):
            if self.version or len(first) < TRIED_BYTES or not self._took_whole(first):
                self._apply_stored(first)
        while together := list(islice(updates, REPLAYED_TOGETHER)):
            if not self._replay_together(together):
                for update in together:
                    self._apply_stored(update)

    def _replay_together(self, updates: Sequence[bytes]) -> bool:
        ends = self.measure_burst(list(updates))
        if ends is None:
            return False
        typing = self.join_typing(updates, ends)
        return (typing is not None and self.apply_typing([typing]) == 1) or not self.apply_burst(
            updates, ends
        ).malformed

    def _took_whole(self, update: bytes) -> bool:
        """Give the engine, still empty, a large stored update unread; if it did not take all of it, begin anew.

        What the engine says was new in it is, byte for byte, the update: then nothing of it waits or is missing, and
        it was measured before it was stored. Anything else is left to `_apply_stored`, which reads it and says what
        is wrong.
        """
        with suppress(EnginePanic):
            self._run(partial(self._doc.apply_update, update), [(update, None)])
            if self._emissions.updates == [update]:
                self._learn_own()
                self.version += 1
                return True
        self._emissions.look_away()
        self._begin()
        return False

    def _apply_stored(self, update: bytes) -> None:
        """Apply what was measured before it was stored."""
        try:
            extent = measure_update(update)
        except RemoteProtocolError as error:
            raise MalformedUpdate(f"{len(update)} bytes of stored state are no Yjs update: {error}") from error
        _, parked, broken = self._transact([(update, extent)])
        self._waiting += parked
        if broken:
            raise MalformedUpdate(f"{len(update)} bytes of stored state are no Yjs update")

    def _stays_shallow(self, update: bytes) -> bool:
        """Whether the document stays within the bound with an update that creates many types at once."""
        structs = decode_update(self.encode()).structs + decode_update(update).structs
        ordered = sorted(structs, key=lambda struct: (struct.client, struct.clock))
        self._depth_bound = ParentFinder(ordered).depth()
        return self._depth_bound <= self._max_depth

    def _transact(
        self, updates: Sequence[tuple[bytes, UpdateExtent]], origin: str | None = None, *, is_whole: bool = False
    ) -> tuple[bytes, list[Waiting], list[bytes]]:
        """Apply of each update what can be taken now, or only updates that can be taken whole, in one transaction.

        Returns what was new in them, those of which something waits, and those that the engine cannot read.
        """
        parked: list[Waiting] = []
        broken: list[bytes] = []

        def apply_each() -> None:
            for update, extent in updates:
                taken, ends = update, extent.ends
                if not extent.is_ready(self._known):
                    division = divide(update, self._known)
                    taken = self._taken_now(update, division, parked, is_whole=is_whole)
                    ends = update_ends(taken)
                if not self._take(taken, ends):
                    broken.append(update)

        self._run(apply_each, updates, origin)
        if len(updates) == 1 and self._emissions.newest == updates[0][0] != EMPTY_UPDATE:
            self.version += 1
            return updates[0][0], parked, broken  # took effect whole: by far the usual case
        return self._checked_emission(updates), parked, broken

    @staticmethod
    def _taken_now(update: bytes, division: Division, parked: list[Waiting], *, is_whole: bool) -> bytes:
        """Park what waits of an update; return what of it can be taken now."""
        if not division.lacks:
            return division.taken
        if not _is_readable(division.left):
            return division.left  # to be refused by the engine
        parked.append(Waiting(update, division))
        return EMPTY_UPDATE if is_whole else division.taken

    def _take(self, update: bytes, ends: Mapping[ClientId, int] | None = None) -> bool:
        """Give the engine an update that it can take whole; False when it cannot read it."""
        if update == EMPTY_UPDATE:
            return True
        try:
            self._engine.apply_update(self._transaction, update)
        except ValueError:  # the engine decodes an update whole before it touches anything
            return False
        self._learn(update_ends(update) if ends is None else ends)
        return True

    def _run(self, work: Action, suspects: Suspects, origin: str | None = None) -> None:
        """Run `work` in one transaction of the engine, whose failure makes `suspects` suspect."""
        self.end_typing()
        self._emissions.watch()
        self._grown.clear()
        try:
            with self._doc.transaction(origin=origin) as transaction:
                self._transaction = cast("Any", transaction)._txn  # noqa: SLF001
                work()
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            raise EnginePanic(tuple(update for update, _ in suspects), repr(error)) from error

    def _checked_emission(self, suspects: Suspects) -> bytes:
        """Return what was new in the transaction that just ended; prove that all it was given took effect.

        Raises:
            EnginePanic: the engine kept something back that it should have taken.
        """
        emitted = self._emissions.newest
        if self._grown and measure_update(emitted).ends != self._grown:
            raise EnginePanic(tuple(update for update, _ in suspects), "the engine did not take what it was given")
        if emitted == EMPTY_UPDATE:
            return b""
        self.version += 1
        return emitted

    def _undoing(self, decoded: Sequence[DecodedUpdate], more: Iterable[str] = ()) -> Undoing:
        roots = set(self._doc.keys()) | set(more)
        roots |= {s.parent for d in decoded for s in d.structs if isinstance(s.parent, str)}
        # The kind of a root matters to its readers only; what is tracked is the branch itself.
        return Undoing([self._doc.get(name, type=Map) for name in sorted(roots)])

    def _undo_all(self, undoing: Undoing, suspects: Sequence[bytes]) -> None:
        undoing.undo_all(suspects)
        self._learn_own()
        self.version += 1


_OWN = replace(DEFAULT_LIMITS, state_vector_clients=2**53)


def _is_readable(update: bytes) -> bool:
    """Whether the engine can read an update that it is not given yet: later would be too late to refuse it."""
    try:
        get_state(update)
    except ValueError:
        return False
    return True
