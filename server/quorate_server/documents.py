"""`LiveDocument`: one Yjs document in memory. The only module that touches the CRDT engine (yrs).

Theory of operation
-------------------

The room hands over the updates of one author that arrived in one tick. They are applied in one
transaction, and the engine emits one update: what was new in them. That update is what goes to the log
and to everybody else. Three facts of the engine shape this module:

* An update whose dependencies are missing is *parked*: it takes no effect and no event tells so. It may show up
  in the encoded state behind a gap, which other documents of this engine then take for real, so it is cut off
  there. The caller must keep such bytes itself, and `apply` returns them. That an update took effect is plain in
  the common case (the engine emitted the same bytes); else its extent is compared with the state vector.
* The engine may panic: `PanicException` derives from `BaseException`. The document is then unusable.
* Nothing may await between the start and the end of a transaction; everything here is synchronous.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pycrdt import Array, Doc, Map, Text, TransactionEvent, UndoManager, XmlFragment

from quorate_protocol.errors import RemoteProtocolError
from quorate_protocol.ids import ClientId
from quorate_protocol.limits import DEFAULT_LIMITS
from quorate_protocol.parents import ParentFinder
from quorate_protocol.state_vectors import decode_state_vector
from quorate_protocol.updates import (
    EMPTY_UPDATE,
    MAX_CLOCK,
    DecodedUpdate,
    DeleteRange,
    Id,
    UpdateExtent,
    decode_update,
    measure_update,
    update_ends,
    within,
)
from quorate_server.errors import EnginePanic, MalformedUpdate, Refused

EMPTY_STATE_VECTOR = b"\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of the updates of one author.

    `update` is everything that was new, as one update; empty when nothing was.
    `parked` took no effect yet: each waits for something it depends on.
    `malformed` are the positions of updates that are no updates; the others were applied.
    `refusal` tells that a guard refused: `update` then carries the edit *and* its undoing.
    `is_parked_outside` tells that what is parked was not given to the engine at all.
    """

    update: bytes = b""
    parked: tuple[bytes, ...] = ()
    malformed: tuple[int, ...] = ()
    refusal: Refused | None = None
    is_parked_outside: bool = False


@dataclass(slots=True)
class _Waiting:
    """An update that waits, and one operation that it lacks: while that is missing there is nothing to do."""

    update: bytes
    extent: UpdateExtent
    lacks: Id | None

    def is_ready(self, known: Mapping[ClientId, int]) -> bool:
        """Whether what it lacked has come and it has not taken effect by itself."""
        if self.lacks is None or known.get(self.lacks[0], 0) <= self.lacks[1]:
            return False
        return not self.extent.is_within(known)


class LiveDocument:
    """A document that updates can be applied to, and that can be asked for what somebody lacks.

    Not safe for use by several threads. After `EnginePanic` it must be thrown away.
    """

    def __init__(self, updates: Iterable[bytes] = (), *, nesting_levels: int = DEFAULT_LIMITS.nesting_levels) -> None:
        """Build the document from nothing and the given updates, in order.

        Raises:
            MalformedUpdate: one of them is no update.
            EnginePanic: one of them breaks the engine.
        """
        self._doc: Doc[Any] = Doc()
        self._emitted: list[bytes] = []
        self._subscription = self._doc.observe(self._on_transaction)
        self._waiting: list[_Waiting] = []
        self._max_depth = nesting_levels
        self._depth_bound = 0
        self.version = 0
        """Grows whenever the content changes; equal versions mean equal content."""
        for update in updates:
            self._apply_stored(update)
        self.release_waiting()

    @property
    def waiting(self) -> tuple[bytes, ...]:
        """Updates that were accepted and still wait for what they depend on."""
        return tuple(each.update for each in self._waiting)

    def close(self) -> None:
        """Let go of the engine's document. Without this it is never freed.

        The engine holds its observers, and they hold the document: a circle that the garbage collector
        cannot see, because half of it is not Python.
        """
        self._doc.unobserve(self._subscription)

    # Writing

    def apply(self, updates: Sequence[bytes]) -> Applied:
        """Apply updates of one author in one transaction.

        Raises:
            EnginePanic: the document can no longer be used.
        """
        read = [(update, self._measure(update)) for update in updates]
        sound = [(update, extent) for update, extent in read if extent is not None]
        emitted, broken = self._transact([update for update, _ in sound])
        if len(updates) == 1 and emitted == updates[0]:  # took effect whole: by far the usual case
            return Applied(update=emitted)
        parked = self._park([(update, extent) for update, extent in sound if update not in broken])
        malformed = tuple(i for i, (update, extent) in enumerate(read) if extent is None or update in broken)
        return Applied(update=emitted, parked=parked, malformed=malformed)

    def apply_guarded(self, updates: Sequence[bytes], check: Callable[[DecodedUpdate], None]) -> Applied:
        """Apply updates of one author, let `check` look at the result, and undo it all if that refuses.

        `check` may read this document as it would be, and raises `Refused` to refuse. An update that
        depends on something unknown cannot be judged and is returned as `parked` without being applied.

        Raises:
            EnginePanic: the document can no longer be used.
        """
        judged: list[bytes] = []
        parked: list[bytes] = []
        malformed: list[int] = []
        decoded: list[DecodedUpdate] = []
        for position, update in enumerate(updates):
            if self._measure(update) is None:
                malformed.append(position)
                continue
            listing = decode_update(update)
            lacks = _first_missing(listing, self._known())
            (judged if lacks is None else parked).append(update)
            decoded.append(listing)
        before = self.state_vector()
        undo = self._undo_manager(decoded)
        emitted, broken = self._transact(judged, origin=_GUARDED)
        malformed.extend(i for i, update in enumerate(updates) if update in broken)
        try:
            if emitted:
                check(decode_update(emitted))
        except Refused as refusal:
            self._undo_all(undo, judged)
            return Applied(update=self.missing_from(before), refusal=refusal, malformed=tuple(malformed))
        return Applied(
            update=emitted,
            parked=tuple(parked),
            malformed=tuple(malformed),
            is_parked_outside=True,
        )

    def change(self, edit: Callable[[Doc[Any]], None]) -> bytes:
        """Run `edit` on the document in one transaction of the server; return the update it made.

        An exception of `edit` is undone and raised again.
        """
        before = self.state_vector()
        undo = self._undo_manager(())
        self._emitted.clear()
        try:
            with self._doc.transaction(origin=_GUARDED):
                edit(self._doc)
        except BaseException:
            self._undo_all(undo, ())
            raise
        emitted = b"".join(self._emitted) if len(self._emitted) == 1 else b""
        return emitted or (self.missing_from(before) if self._emitted else b"")

    def release_waiting(self) -> tuple[tuple[bytes, ...], bytes]:
        """Let go of the waiting updates that have taken effect; return them, and what was new in the last of them.

        The engine keeps what waits too, but merges and at times forgets it. An update whose missing operation
        has come is therefore applied again; what is new in it then must be logged and relayed like any other.

        Raises:
            EnginePanic: the document can no longer be used.
        """
        if not self._waiting:
            return (), b""
        known = self._known()
        ready = [each for each in self._waiting if each.is_ready(known)]
        emitted = b""
        if ready:
            emitted, _ = self._transact([each.update for each in ready])
            known = self._known()
            for each in ready:
                each.lacks = _first_missing(decode_update(each.update), dict(known))
        released = tuple(each.update for each in self._waiting if each.extent.is_within(known))
        self._waiting = [each for each in self._waiting if not each.extent.is_within(known)]
        return released, emitted

    # Reading

    def state_vector(self) -> bytes:
        """Return the encoded state vector: for each client, how far its edits are known."""
        return self._doc.get_state()

    def missing_from(self, state_vector: bytes) -> bytes:
        """Return as one update all that the holder of `state_vector` lacks, and every deletion.

        Raises:
            MalformedUpdate: `state_vector` is no encoded state vector.
        """
        try:
            missing = self._doc.get_update(state_vector)
        except Exception as error:
            raise MalformedUpdate("not a state vector") from error
        return within(missing, self._known()) if self._waiting else missing

    def encode(self) -> bytes:
        """Return the whole state as one update. What is in `waiting` is not part of it."""
        return self.missing_from(EMPTY_STATE_VECTOR)

    def covers(self, update: bytes) -> bool:
        """Whether applying `update` would add nothing: every insertion and deletion is known."""
        try:
            listing = decode_update(update)
        except RemoteProtocolError:
            return False
        known = self._known()
        if any(end > known.get(client, 0) for client, end in update_ends(update).items()):
            return False
        if not listing.deletes:
            return True
        deleted = decode_update(self.missing_from(self.state_vector())).deletes
        ranges: dict[ClientId, list[tuple[int, int]]] = {}
        for each in deleted:
            ranges.setdefault(each.client, []).append((each.clock, each.clock + each.length))
        for of_client in ranges.values():
            of_client.sort()
        return all(_is_inside(each, ranges.get(each.client, [])) for each in listing.deletes)

    # Inside

    def _known(self) -> dict[ClientId, int]:
        # Our own vector has no stranger's length to fear.
        return decode_state_vector(self.state_vector(), _OWN)

    def _on_transaction(self, event: TransactionEvent) -> None:
        self._emitted.append(event.update)

    def _apply_stored(self, update: bytes) -> None:
        """Apply what we read before it was stored, or the engine encoded: reading it again would double a load."""
        emitted, broken = self._transact((update,))
        if broken:
            raise MalformedUpdate(f"{len(update)} bytes of stored state are no Yjs update")
        if emitted != update:
            try:
                extent = measure_update(update)
            except RemoteProtocolError as error:
                raise MalformedUpdate(f"stored state is no Yjs update: {error}") from error
            self._park([(update, extent)])
        self._depth_bound = self._max_depth  # not known: measured when the next type is created

    def _measure(self, update: bytes) -> UpdateExtent | None:
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

    def _stays_shallow(self, update: bytes) -> bool:
        """Whether the document stays within the bound with an update that creates many types at once."""
        structs = decode_update(self.encode()).structs + decode_update(update).structs
        ordered = sorted(structs, key=lambda struct: (struct.client, struct.clock))
        self._depth_bound = ParentFinder(ordered).depth()
        return self._depth_bound <= self._max_depth

    def _transact(self, updates: Sequence[bytes], origin: str | None = None) -> tuple[bytes, tuple[bytes, ...]]:
        """Apply updates in one transaction; return what was new in them, and those the engine cannot read."""
        self._emitted.clear()
        broken: list[bytes] = []
        try:
            with self._doc.transaction(origin=origin):
                for update in updates:
                    try:
                        self._doc.apply_update(update)
                    except ValueError:  # the engine decodes an update whole before it touches anything
                        broken.append(update)
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            raise EnginePanic(tuple(updates), repr(error)) from error
        if not self._emitted or self._emitted[-1] == EMPTY_UPDATE:
            return b"", tuple(broken)
        self.version += 1
        return self._emitted[-1], tuple(broken)

    def _park(self, applied: Sequence[tuple[bytes, UpdateExtent]]) -> tuple[bytes, ...]:
        """Return, and keep as waiting, those of the updates just applied that took no effect yet."""
        known = self._known()
        parked = [(update, extent) for update, extent in applied if not extent.is_within(known)]
        for update, extent in parked:
            lacks = _first_missing(decode_update(update), dict(known))
            self._waiting.append(_Waiting(update, extent, lacks))
        return tuple(update for update, _ in parked)

    def _undo_manager(self, decoded: Sequence[DecodedUpdate]) -> UndoManager:
        roots = set(self._doc.keys())
        roots |= {s.parent for d in decoded for s in d.structs if isinstance(s.parent, str)}
        # The kind of a root matters to its readers only; what is tracked is the branch itself.
        scopes = [self._doc.get(name, type=Map) for name in sorted(roots)]
        undo = UndoManager(scopes=scopes, capture_timeout_millis=0)
        undo.include_origin(_GUARDED)
        return undo

    def _undo_all(self, undo: UndoManager, suspects: Sequence[bytes]) -> None:
        try:
            while undo.can_undo():
                undo.undo()
        except BaseException as error:
            raise EnginePanic(tuple(suspects), repr(error)) from error
        self.version += 1


_OWN = replace(DEFAULT_LIMITS, state_vector_clients=2**53)

_GUARDED = "guarded"
"""Origin of transactions that may have to be undone."""


def _first_missing(listing: DecodedUpdate, known: dict[ClientId, int]) -> Id | None:
    """Return an operation that `listing` builds on and that is neither known nor comes within it; None if all are.

    Adds what comes within it to `known`.
    """
    for struct in listing.structs:
        clock = known.get(struct.client, 0)
        if struct.clock > clock:
            return struct.client, clock
        if struct.kind != "skip":  # a gap: what follows it depends on what is missing
            known[struct.client] = max(clock, struct.clock + struct.length)
    needed = [
        place
        for struct in listing.structs
        for place in (struct.origin, struct.right_origin, struct.parent)
        if isinstance(place, tuple)
    ]
    needed += [(d.client, d.clock + d.length - 1) for d in listing.deletes if d.length]
    return next((place for place in needed if place[1] >= known.get(place[0], 0)), None)


def _is_inside(deleted: DeleteRange, ranges: Sequence[tuple[int, int]]) -> bool:
    """Whether one of these disjoint, sorted ranges holds all of what is deleted."""
    position = bisect.bisect_right(ranges, (deleted.clock, MAX_CLOCK + 1)) - 1
    return position >= 0 and ranges[position][1] >= deleted.clock + deleted.length


# Reading a document as JSON


def render_json(state: bytes) -> dict[str, object]:
    """Return the JSON view of an encoded state: one member for each root.

    Yjs does not store what a root is, only its content, so each is read as what it looks like: text as a
    string (formatting left out), a map as an object, a list as an array, XML as a string.
    Decoded from a copy: naming a root's kind would change the live document for its readers.
    """
    doc: Doc[Any] = Doc()
    doc.apply_update(state)
    kinds = _root_kinds(decode_update(state))
    view: dict[str, object] = {}
    for name in sorted(doc.keys()):
        kind = kinds.get(name, Map)
        root = doc.get(name, type=kind)
        view[name] = str(root) if kind in {Text, XmlFragment} else root.to_py()
    return view


def _root_kinds(listing: DecodedUpdate) -> dict[str, type[Any]]:
    """Tell what each root looks like from what it contains."""
    kinds: dict[str, type[Any]] = {}
    for struct, root in ParentFinder(listing.structs).children_of_roots():
        if struct.key is not None:
            kinds[root] = Map
        elif struct.content in {"string", "format", "embed"}:
            kinds[root] = Text
        elif (struct.content or "").startswith("type:xml"):
            kinds[root] = XmlFragment
        elif struct.content not in {None, "deleted"}:
            kinds.setdefault(root, Array)
    return kinds
