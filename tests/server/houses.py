"""Rooms on the reference store, with sessions whose channels only remember: no sockets, no waiting."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from pycrdt import Doc, Text

from quorate_protocol.errors import QuorateError
from quorate_protocol.ids import DocumentName, UserId
from quorate_protocol.limits import DEFAULT_LIMITS, Limits
from quorate_protocol.messages import SyncStep1, SyncUpdate
from quorate_protocol.y_websocket import YWebSocketConnection
from quorate_server.access import Access
from quorate_server.authenticators import OpenAuthenticator
from quorate_server.channels import Listener
from quorate_server.commands import Commands
from quorate_server.connections import House
from quorate_server.core_commands import core_commands
from quorate_server.engine_house import EngineHouse
from quorate_server.feed import Feed
from quorate_server.frames import Frames
from quorate_server.guards import Guard, GuardedUpdate
from quorate_server.hooks import Engine
from quorate_server.metrics import Metrics
from quorate_server.room import Room
from quorate_server.rooms import Rooms, Seeder, no_seed
from quorate_server.sealing import Sealer
from quorate_server.sessions import Encoder, HocuspocusEncoder, Session, YWebSocketEncoder
from quorate_server.settings import Settings
from quorate_server.users import User
from quorate_storage.acts import Change
from quorate_storage.compaction import CompactionRule
from quorate_storage.journal import Journal, JournalSettings
from quorate_storage.leases import LeaseKeeper
from quorate_storage.memory import MemoryStore
from quorate_storage.stores import Store


async def until(condition: Callable[[], Any], what: str) -> None:
    """Let the loop turn until `condition` holds; fail saying `what` was expected."""
    async with asyncio.timeout(10) as limit:
        try:
            while not condition():
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            if limit.expired():
                raise AssertionError(f"not in time: {what}") from None
            raise


@dataclass
class MemoryChannel:
    """A channel that keeps what is written."""

    frames: list[bytes] = field(default_factory=list)
    closed: tuple[int, str] | None = None

    def write(self, frames: Frames) -> None:
        self.frames.extend(frames.payloads)

    def close(self, code: int, reason: str = "") -> None:
        self.closed = self.closed or (code, reason)

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    @property
    def buffered_bytes(self) -> int:
        return 0

    def open(self, *, send_buffer_bytes: int, listener: Listener) -> MemoryChannel:
        """Be the channel of a connection, as the ASGI extension is."""
        return self

    async def run(self) -> None:
        raise NotImplementedError


class Guest:
    """A person in a room: a real Yjs document joined to it by a remembered channel."""

    def __init__(self, room: Room, name: str, *, may_write: bool = True, encoder: Encoder | None = None) -> None:
        self.room = room
        self.doc: Doc[Any] = Doc()
        self.text = self.doc.get("text", type=Text)
        self.made = made = list[bytes]()
        self.ended: QuorateError | None = None
        self.channel = MemoryChannel()
        self.user = User(id=UserId(name), name=name)
        self.session = Session(
            channel=self.channel,
            encoder=encoder or YWebSocketEncoder(),
            user=self.user,
            may_write=may_write,
            end=self._end,
        )
        # The observer must not hold this guest: the engine's half of such a circle is never freed.
        self._subscription = self.doc.observe(lambda event: made.append(event.update))
        room.join(self.session)

    def close(self) -> None:
        """Free the document, which the engine keeps as long as it is observed."""
        self.doc.unobserve(self._subscription)

    def _end(self, cause: QuorateError) -> None:
        self.ended = self.ended or cause
        self.room.leave(self.session)

    def send(self, update: bytes) -> None:
        self.room.receive(self.session, update, is_step2=False)

    def type(self, text: str) -> bytes:
        """Type at the end and send it."""
        self.made.clear()
        self.text += text
        self.send(self.made[-1])
        return self.made[-1]

    def ask(self) -> None:
        self.room.answer(self.session, self.doc.get_state())

    def take(self) -> list[bytes]:
        """Apply and return the updates that came, in order."""
        updates: list[bytes] = []
        protocol = YWebSocketConnection()
        for frame in self.channel.frames:
            for event in protocol.receive_frame(frame):
                if isinstance(event, SyncUpdate):
                    updates.append(event.update)
                    self.doc.apply_update(event.update)
                elif isinstance(event, SyncStep1):
                    missing = self.doc.get_update(event.state_vector)
                    self.room.receive(self.session, missing, is_step2=True)
        self.channel.frames.clear()
        return updates


@asynccontextmanager
async def open_rooms(
    store: Store | None = None,
    *,
    seeder: Seeder = no_seed,
    guards: Sequence[Guard] = (),
    rule: CompactionRule | None = None,
    limits: Limits | None = None,
    **changes: Any,
) -> AsyncIterator[Rooms]:
    """Rooms over a store (the reference one by default), as in a running server."""
    async with store or MemoryStore() as opened, LeaseKeeper(opened) as leases:
        settings = JournalSettings(window_seconds=0.0, shared_window_seconds=0.0, first_pause_seconds=0.001)
        async with Journal(opened, leases.current, settings=settings) as journal:
            rooms = Rooms(
                store=opened,
                journal=journal,
                leases=leases,
                limits=replace(limits or DEFAULT_LIMITS, **changes),
                metrics=Metrics(),
                seeder=seeder,
                guards=guards,
                rule=rule,
            )
            yield rooms
            await rooms.close()


async def open_room(rooms: Rooms, name: str = "text/a", *, by: str = "anna") -> Room:
    user = User(id=UserId(by), name=by)
    return await rooms.open(DocumentName(name), user, may_create=True)


def hocuspocus(name: str = "text/a") -> Encoder:
    return HocuspocusEncoder(name)


def house_of(rooms: Rooms) -> House:
    """What connections work with, around rooms that are open; everybody is let in."""
    settings = Settings(open=True, data=tempfile.mkdtemp(prefix="quorate-"))
    access = Access()
    rooms.ledger.listen(access.follow)
    feed = Feed(rooms.store)
    rooms.ledger.listen(feed.hear)
    return House(
        rooms=rooms,
        access=access,
        authenticator=OpenAuthenticator(),
        limits=rooms.limits,
        metrics=rooms.metrics,
        connections=set(),
        commands=Commands(store=rooms.store, rooms=rooms, access=access, metrics=rooms.metrics),
        engines=EngineHouse((), settings, rooms.metrics),
        sealer=Sealer(rooms.store, settings),
        feed=feed,
    )


@dataclass(frozen=True)
class RuleOf:
    """A guard that sees edits of one root."""

    judge: Callable[[GuardedUpdate], None]
    root: str = "text"

    def guarded_roots(self, name: DocumentName) -> frozenset[str]:
        return frozenset({self.root})

    def guard(self, update: GuardedUpdate) -> None:
        self.judge(update)


@asynccontextmanager
async def open_house(
    *engines: Engine, store: Store | None = None, settings: Settings | None = None, **changes: Any
) -> AsyncIterator[House]:
    """Rooms, commands and engines at work over a store, as in a running server, without sockets."""
    settings = settings or Settings(open=True, data=tempfile.mkdtemp(prefix="quorate-"))
    metrics = Metrics()
    house_of_engines = EngineHouse(engines, settings, metrics)
    async with open_rooms(store, guards=[house_of_engines], **changes) as rooms:
        rooms.metrics = metrics
        house = replace(house_of(rooms), engines=house_of_engines)
        house.access.follow(await rooms.store.list_grants())
        for spec in core_commands(house.access):
            house.commands.register(spec)
        await rooms.announcer.recover(rooms.store)
        announcing = asyncio.create_task(rooms.announcer.run())
        try:
            async with house_of_engines.running(
                rooms=rooms, access=house.access, sealer=house.sealer, commands=house.commands, feed=house.feed
            ):
                yield house
        finally:
            announcing.cancel()
            await asyncio.gather(announcing, return_exceptions=True)
            rooms.announcer.flush()
            await rooms.journal.flush()


def person(name: str, *, role: str = "editor", groups: tuple[str, ...] = ()) -> User:
    """Somebody who proved who they are."""
    return User(id=UserId(name), name=name.title(), role=role, groups=frozenset(groups))


async def audit_of(rooms: Rooms, *types: str) -> list[dict[str, Any]]:
    """The bodies of the audit events of some types, in order."""
    found = await rooms.store.read_audit(after=0)
    bodies = [json.loads(record.body) for record in found]
    return [body for body in bodies if not types or body["type"] in types]


async def changes_of(rooms: Rooms, *types: str) -> list[Change]:
    """The changes of some types, in order."""
    return [one for one in await rooms.store.read_changes(after=0) if not types or one.type in types]
