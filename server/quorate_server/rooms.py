"""`Rooms`: which documents are in memory, and the only way to one.

A name is loaded once however many ask at the same time, seeded at most once in its life, and unloaded a while
after its last visitor when all of it is durable. While the store fails nothing is unloaded, nobody let in.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from quorate_protocol.ids import DocumentName, UserId
from quorate_protocol.limits import Limits
from quorate_server import attribution
from quorate_server.announcing import Announcer
from quorate_server.attribution import Contribution, Ranges
from quorate_server.deadlines import Deadlines
from quorate_server.errors import (
    AccessDenied,
    Conflict,
    DocumentDeleted,
    DocumentNotFound,
    EngineError,
    Unavailable,
)
from quorate_server.folding import Folder, load
from quorate_server.guards import Guard
from quorate_server.hashing import Pieces, pieces_of
from quorate_server.kinds import artifact_of, check_name, find_kind, is_record, kind_of, record_name, view_named
from quorate_server.ledger import Ledger
from quorate_server.metrics import Metrics
from quorate_server.outlines import Outline, outline_named
from quorate_server.room import Room
from quorate_server.users import SERVER, User
from quorate_storage.acts import Act, AuditEvent, Change, Grant, Row, SetAside
from quorate_storage.compaction import CompactionRule, Folded, compact
from quorate_storage.errors import (
    CompactionRefused,
    DocumentExists,
    DocumentMissing,
    LeaseLost,
    StorageUnavailable,
)
from quorate_storage.journal import Journal
from quorate_storage.leases import LeaseKeeper
from quorate_storage.stores import Document, Store, StoredState

log = logging.getLogger("quorate.server")

IDLE_FOR_COMPACTION_SECONDS = 3600.0
"""A document that nobody has open counts as idle for long, whenever its last edit was."""

Seeder = Callable[[DocumentName], bytes]
"""Returns the update that a new document of this name starts with, empty for none. Must be deterministic."""


def no_seed(_: DocumentName) -> bytes:
    """Start every document empty."""
    return b""


class Rooms:
    """The documents in memory, over one store, journal and lease."""

    def __init__(
        self,
        *,
        store: Store,
        journal: Journal,
        leases: LeaseKeeper,
        limits: Limits,
        metrics: Metrics,
        seeder: Seeder = no_seed,
        guards: Sequence[Guard] = (),
        rule: CompactionRule | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.store = store
        self.journal = journal
        self.limits = limits
        self.metrics = metrics
        self.guards = guards
        self.ledger = ledger or Ledger(journal)
        self.announcer = Announcer(self.ledger)
        self._leases = leases
        self._seeder = seeder
        self._rule = rule or CompactionRule()
        self._rooms: dict[DocumentName, Room] = {}
        self._loading: dict[DocumentName, asyncio.Task[Room]] = {}
        self._unloading = Deadlines(limits.idle_room_seconds, self._unload)
        self._compacting: dict[DocumentName, asyncio.Task[None]] = {}
        self._compaction_turn = asyncio.Semaphore(1)
        self._folder = Folder()
        self._admits = True
        self.is_store_stalled = False
        """Whether the present commit has taken too long: nobody is let in while it lasts."""

    def __len__(self) -> int:
        return len(self._rooms)

    @property
    def open_rooms(self) -> list[Room]:
        """The rooms in memory."""
        return list(self._rooms.values())

    def find(self, name: DocumentName) -> Room | None:
        """Return the room of a document that is in memory."""
        return self._rooms.get(name)

    async def open(self, name: DocumentName, user: User, *, may_create: bool) -> Room:
        """Return the room of a document, loaded, or created and seeded when there is none of the name.

        Raises:
            DocumentDeleted: a tombstone stands there.
            AccessDenied: there is none, and `user` may not create it.
            Unavailable: the store fails, or the server is stopping.
        """
        self._check_admission()
        room = self._rooms.get(name)
        if room is not None:
            # Whoever asked may never join (a reader over HTTP, a socket that died): the wait begins anew.
            self._unloading.set(room)
            return room
        loading = self._loading.get(name)
        if loading is None:
            loading = asyncio.create_task(self._load(name, user, may_create=may_create))
            self._loading[name] = loading
            loading.add_done_callback(lambda _: self._loading.pop(name, None))
        try:
            # One visitor who gives up must not take the load away from the others.
            return await asyncio.shield(loading)
        except AccessDenied:
            if may_create and self._loading.get(name) is not loading:
                return await self.open(name, user, may_create=may_create)
            raise

    async def _load(self, name: DocumentName, user: User, *, may_create: bool) -> Room:
        try:
            stored = await self._read_or_create(name, user, may_create=may_create)
            if stored.document.deleted_at is not None:  # deleted since we looked
                raise DocumentDeleted(f"{name!r} was deleted")
        except (StorageUnavailable, LeaseLost) as error:
            raise Unavailable("the database cannot be reached: try again") from error
        try:
            live = load(stored, nesting_levels=self.limits.nesting_levels)
        except EngineError as error:
            log.exception("document.unreadable", extra={"document": name})
            raise Unavailable(f"{name!r} cannot be rebuilt from its log") from error
        room = Room(self, stored, live)
        self._rooms[name] = room
        self.metrics.rooms.set(len(self._rooms))
        self.on_empty(room)
        return room

    async def _read_or_create(self, name: DocumentName, user: User, *, may_create: bool) -> StoredState:
        """Return what is stored of a document.

        A record comes into being with whoever first looks at it, an artifact with its creator.
        """
        if is_record(name):
            artifact = await self.store.find(artifact_of(name))
            if artifact is None:
                raise DocumentNotFound(f"there is no {artifact_of(name)!r} that this could be the record of")
            if artifact.deleted_at is not None:
                raise DocumentDeleted(f"{artifact.name!r} was deleted")
            user, may_create = SERVER, True
        document = await self.store.find(name)
        if document is None:
            document, is_empty = await self._create(name, user, may_create=may_create)
            if is_empty:  # nobody else writes to it, so there is nothing to be read
                return StoredState(document=document, snapshot=None, tail=())
        elif document.deleted_at is not None:
            raise DocumentDeleted(f"{name!r} was deleted")
        return await self.store.load(document.id)

    async def create(self, name: DocumentName, user: User) -> Document:
        """Create a document that must not exist yet.

        Raises:
            Conflict: the name is taken, maybe by a deleted document.
            Unavailable: the store fails; it may or may not have been created.
        """
        self._check_admission()
        try:
            return await self._insert(name, user)
        except DocumentExists as error:
            state = "deleted; restore it" if error.document.deleted_at is not None else "in use"
            raise Conflict(f"the name {name!r} is {state}") from error
        except (StorageUnavailable, LeaseLost) as error:
            raise Unavailable("the database cannot be reached: try again") from error

    async def _create(self, name: DocumentName, user: User, *, may_create: bool) -> tuple[Document, bool]:
        """Create a document and tell whether it is surely empty; return the one that somebody else was first with."""
        if not may_create:
            raise AccessDenied(f"there is no {name!r}, and {user.id} may not create it")
        with suppress(DocumentExists):
            document = await self._insert(name, user)
            return document, document.last_sequence == 0
        existing = await self.store.find(name)
        assert existing is not None, "a name once taken stays taken"
        return existing, False

    async def _insert(self, name: DocumentName, user: User) -> Document:
        check_name(name, max_bytes=self.limits.name_bytes)
        seed = b"" if is_record(name) else self._seeder(name)
        now = time.time()
        act = Act(rows=tuple(self._creation(name, user, now, is_empty=not seed)))
        document = await self.store.create(
            name,
            kind=kind_of(name),
            by=SERVER.id if seed else user.id,
            at=now,
            lease=self._leases.current(),
            seed=seed,
            act=act,
        )
        self.ledger.tell(act.rows)
        return document

    @staticmethod
    def _creation(name: DocumentName, user: User, now: float, *, is_empty: bool) -> list[Row]:
        """Return what belongs to a document's creation: it is accounted for, and its creator owns it."""
        if is_record(name):
            return []
        data: dict[str, object] = {"roots": []} if is_empty else {}
        rows = _told("document.created", name, user.id, now, data)
        if user.is_proven and user is not SERVER:
            rows.append(Grant(scope=name, principal=f"user:{user.id}", role="owner", by=user.id, at=now))
        return rows

    # Deleting and restoring

    async def delete(self, name: DocumentName, *, by: UserId) -> Document:
        """Delete a document for good: everybody in it is sent away, and no client can bring it back.

        Raises:
            DocumentNotFound: the name was never used.
            Unavailable: the store fails; the document is as before.
        """
        return await self._change_life(
            name,
            lambda document, act: self.store.delete(
                document.id, by=by, at=time.time(), lease=self._leases.current(), act=act
            ),
            rows=_told("document.deleted", name, by, time.time()),
            ending=DocumentDeleted(f"{name!r} was deleted"),
        )

    async def restore(self, name: DocumentName, *, by: UserId = SERVER.id) -> Document:
        """Bring a deleted document back as it was when it was deleted.

        Raises:
            DocumentNotFound: the name was never used.
            Unavailable: the store fails; the tombstone stays.
        """
        return await self._change_life(
            name,
            lambda document, act: self.store.restore(
                document.id, at=time.time(), lease=self._leases.current(), act=act
            ),
            rows=_told("document.restored", name, by, time.time()),
            ending=None,
        )

    async def _change_life(
        self,
        name: DocumentName,
        change: Callable[[Document, Act | None], Awaitable[Document]],
        *,
        rows: Sequence[Row],
        ending: DocumentDeleted | None,
    ) -> Document:
        try:
            document = await self.store.find(name)
            if document is None:
                raise DocumentNotFound(f"there is no document {name!r}")
            if (room := self._rooms.get(name)) is not None:
                room.hand_over()
            await self.journal.flush()  # what people have seen is in the log before anything changes
            is_news = (document.deleted_at is None) == (ending is not None)
            act = Act(rows=tuple(rows)) if is_news else None
            changed = await change(document, act)
        except StorageUnavailable as error:
            raise Unavailable("the database cannot be reached: try again") from error
        if (loading := self._loading.get(name)) is not None:  # it may have read before we wrote
            await asyncio.wait({loading})
        if act is not None:
            self.ledger.tell(act.rows)
        for room in (self._rooms.get(name), self._record_of(name)):
            if room is not None and ending is not None:
                # Only now is it true. What came in between can no longer be written, and nobody was told it was.
                room.end(ending)
        return changed

    def _record_of(self, name: DocumentName) -> Room | None:
        return None if find_kind(name) is None else self._rooms.get(record_name(name))

    # What rooms ask for

    async def reload(self, room: Room) -> StoredState:
        """Return what is stored of a room whose document broke, all of its appends included."""
        await self.journal.flush()
        return await self.store.load(room.document.id)

    async def outline(self, name: DocumentName, state: bytes) -> Outline:
        """Return the outline of an artifact's whole state, made where the event loop does not wait for it."""
        return await self._folder.run((state,), outline_named, kind_of(name), state)

    async def hash_pieces(self, kind: str, state: bytes) -> dict[str, Pieces]:
        """Return the canonical pieces of a content, made elsewhere when it is large."""
        return await self._folder.run((state,), pieces_of, kind, state)

    async def set_aside(self, item: SetAside) -> None:
        """Keep an update that did not become part of the document, as soon as the store can."""
        wait = 0.1
        while True:
            try:
                await self.store.set_aside(item)
            except StorageUnavailable:
                await asyncio.sleep(wait)
                wait = min(2 * wait, 5.0)
            else:
                return

    def discard(self, room: Room) -> None:
        """Forget a room that ended; the next visitor loads the document anew."""
        if self._rooms.get(room.name) is room:
            del self._rooms[room.name]
            self.metrics.rooms.set(len(self._rooms))
        self._unloading.clear(room)
        # Those who still wait for their commit hold the room itself; the rest can go now.
        asyncio.get_running_loop().call_soon(room.close)

    def on_empty(self, room: Room) -> None:
        """Unload a room some time after its last visitor."""
        if not (room.is_ended or room in self._unloading):
            self._unloading.set(room)

    def _unload(self, room: Room) -> None:
        if room.sessions or room.is_ended:
            return
        if room.pins:
            self.on_empty(room)  # a command or an engine is at work in it
            return
        if not room.is_durable or room.name in self._compacting:
            self.on_empty(room)  # unsaved work is never unloaded
            return
        if self._rule.is_due(room.meter.log_size, at=time.time() + IDLE_FOR_COMPACTION_SECONDS):
            self._start_compacting(room)
            self.on_empty(room)
            return
        self.discard(room)

    # Compaction

    def on_committed(self, room: Room) -> None:
        """Fold the log into a snapshot once the rule says so."""
        if room.name not in self._compacting and self._rule.is_due(room.meter.log_size, at=time.time()):
            self._start_compacting(room)

    def _start_compacting(self, room: Room) -> None:
        task = asyncio.create_task(self._compact(room))
        self._compacting[room.name] = task
        task.add_done_callback(lambda _: self._compacting.pop(room.name, None))

    async def _compact(self, room: Room) -> None:
        before = room.meter.log_size

        async def fold() -> Folded | None:
            folded = await self._folder.fold(self.store, room.document.id, before.bytes + before.snapshot_bytes)
            if folded is not None:
                room.meter.snapshot_bytes = len(folded.state)
            return folded

        outcome = "folded"
        try:
            async with self._compaction_turn:
                await self.journal.flush()  # a batch that is being retried must find its rows
                lease = self._leases.current()
                await compact(self.store, room.document.id, lease, fold=fold, at=time.time())
        except CompactionRefused:
            outcome = "refused"
            log.exception("compaction.refused", extra={"document": room.name})
        except (StorageUnavailable, LeaseLost, DocumentMissing, EngineError) as error:
            outcome = "failed"
            log.warning("compaction.failed", extra={"document": room.name, "error": str(error)})
        except Exception:
            outcome = "failed"  # the log stays; a document must not suffer from its housekeeping
            log.exception("compaction.failed", extra={"document": room.name})
        self.metrics.compactions.labels(outcome).inc()
        # What failed is tried again only after as much more log.
        room.meter.folded(before)

    async def view(self, name: DocumentName, state: bytes) -> dict[str, object]:
        """Return the JSON view of a document's state, made elsewhere when it is large."""
        kind = find_kind(name)
        if kind is None:
            return await self._folder.view(state)
        return await self._folder.run((state,), view_named, kind.name, state)

    async def locate(self, state: bytes, wanted: Sequence[Ranges]) -> list[Contribution]:
        """Name the parts of a document that updates changed, elsewhere when it is large."""
        return await self._folder.run((state,), attribution.locate, state, wanted)

    # Life of the server

    def expire_presence(self) -> None:
        """Let go of people who have not been heard of for too long, in all rooms."""
        for room in self.open_rooms:
            room.presence.expire()

    def close_doors(self) -> None:
        """Let nobody in any more; rooms go on."""
        self._admits = False

    def hand_over(self) -> None:
        """Give all that came so far to the journal."""
        for room in self.open_rooms:
            room.hand_over()

    def send_away(self, cause: Unavailable) -> None:
        """Send everybody in every room away, keeping the rooms: what is unsaved stays in memory."""
        for room in self.open_rooms:
            for session in tuple(room.sessions):
                session.end(cause)

    def _check_admission(self) -> None:
        if not self._admits:
            raise Unavailable("the server is stopping: reconnect")
        if self.is_store_stalled or self.journal.is_failing:
            raise Unavailable("the database is failing: try again")

    async def close(self) -> None:
        """Wait until all is durable, then forget every room."""
        self.close_doors()
        self._unloading.stop()
        await asyncio.gather(*self._loading.values(), return_exceptions=True)
        await asyncio.gather(*self._compacting.values(), return_exceptions=True)
        for room in self.open_rooms:
            await room.settle()
            room.close()
        self._rooms.clear()
        self._folder.close()


def _told(type_: str, name: DocumentName, by: UserId, at: float, data: dict[str, object] | None = None) -> list[Row]:
    """Return the rows that account for a change in a document's life and tell of it."""
    return [
        AuditEvent(type=type_, at=at, actor=by, via="api", artifact=name),
        Change(type=type_, document=name, at=at, actor=by, data=data or {}),
    ]
