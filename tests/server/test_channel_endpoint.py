"""`/channel` in the process, on plain ASGI messages: records, rights, pages, and subscribers that do not read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Message

from quorate_protocol.channel_envelopes import (
    ClientEnvelope,
    FeedEvent,
    Goodbye,
    Progress,
    ServerEnvelope,
    Subscribe,
    SubscriptionClosed,
    Welcome,
)
from quorate_protocol.channel_frames import decode_server_envelope, encode_envelope
from quorate_protocol.ids import DocumentName, UserId
from quorate_server import feed_subscriptions
from quorate_server.channel_endpoint import serve_channel
from quorate_server.connections import House
from quorate_server.feed import PAGE, Feed
from quorate_server.feed_subscriptions import FeedFilter
from quorate_storage.acts import Change, Grant
from quorate_storage.errors import StorageUnavailable
from quorate_storage.memory import MemoryStore
from tests.server.houses import house_of, open_rooms, until


class AsgiPeer:
    """A peer on `receive` and `send`. It takes what it is sent while `may_take` is set."""

    def __init__(self) -> None:
        self.heard: list[ServerEnvelope] = []
        self.close_code: int | None = None
        self.may_take = asyncio.Event()
        self.may_take.set()
        self._said: asyncio.Queue[Message] = asyncio.Queue()
        self._said.put_nowait({"type": "websocket.connect"})

    def say(self, envelope: ClientEnvelope) -> None:
        self._said.put_nowait({"type": "websocket.receive", "bytes": encode_envelope(envelope)})

    async def receive(self) -> Message:
        return await self._said.get()

    async def send(self, message: Message) -> None:
        await self.may_take.wait()
        if message["type"] == "websocket.send":
            self.heard.append(decode_server_envelope(message["bytes"]))
        elif message["type"] == "websocket.close":
            self.close_code = message["code"]

    def events(self, subscription: int = 1) -> list[int]:
        return [e.position for e in self.heard if isinstance(e, FeedEvent) and e.subscription == subscription]

    def told(self, subscription: int = 1) -> int:
        """The newest position that a subscription was told of."""
        return max((e.position for e in self.heard if isinstance(e, FeedEvent | Progress)
                    and e.subscription == subscription), default=-1)  # fmt: skip

    def leave(self) -> None:
        self._said.put_nowait({"type": "websocket.disconnect", "code": 1000})


@asynccontextmanager
async def open_peer(house: House) -> AsyncIterator[AsgiPeer]:
    peer = AsgiPeer()
    scope = {"type": "websocket", "headers": [(b"authorization", b"Bearer Anna")], "query_string": b""}
    serving = asyncio.create_task(serve_channel(house, scope, peer.receive, peer.send))
    await until(lambda: peer.heard, "welcome")
    assert isinstance(peer.heard.pop(), Welcome)
    try:
        yield peer
    finally:
        peer.may_take.set()
        peer.leave()
        await serving
        assert not house.connections


def change(document: str, type_: str = "record.changed") -> Change:
    return Change(type=type_, document=DocumentName(document), at=1.0, actor=UserId("anna"), data={"text": "x" * 200})


def grant(scope: str, role: str | None) -> Grant:
    return Grant(scope=scope, principal="group:g", role=role, by=UserId("o"), at=1.0)


async def test_events_of_a_record_go_to_whoever_may_read_its_artifact() -> None:
    async with open_rooms() as rooms:
        house = house_of(rooms)
        async with open_peer(house) as peer:
            peer.say(Subscribe(id=1, prefix="text/", kinds=("text",)))
            await until(lambda: peer.told() == 0, "subscribed")
            await rooms.ledger.commit(change("text/a/record"), change("plan/a/record"), change("text/b"))
            await until(lambda: peer.told() == 3, "told")
            assert peer.events() == [1, 3]


async def test_catching_up_over_many_pages_skips_nothing_and_goes_on_live() -> None:
    async with open_rooms() as rooms:
        total = 3 * PAGE + 7
        await rooms.ledger.commit(*(change(f"text/{n % 5}") for n in range(total)))
        async with open_peer(house_of(rooms)) as peer:
            for number, after in ((1, 0), (2, 500)):
                peer.say(Subscribe(id=number, after=after))
            await until(lambda: peer.events(1)[-1:] == peer.events(2)[-1:] == [total], "caught up")
            await rooms.ledger.commit(*(change("text/live") for _ in range(300)))
            await until(lambda: peer.events(1)[-1:] == peer.events(2)[-1:] == [total + 300], "live")
            assert peer.events(1) == list(range(1, total + 301))
            assert peer.events(2) == list(range(501, total + 301))


async def test_subscriptions_at_the_same_place_share_a_read() -> None:
    class Counting(MemoryStore):
        reads = 0

        async def read_changes(self, *, after: int, limit: int = 1000) -> list[Change]:
            self.reads += 1
            await asyncio.sleep(0)
            return list(await super().read_changes(after=after, limit=limit))

    store = Counting()
    async with open_rooms(store) as rooms, open_peer(house_of(rooms)) as peer:
        for number in range(10):
            peer.say(Subscribe(id=number))
        await until(lambda: min(peer.told(number) for number in range(10)) == 0, "subscribed")
        store.reads = 0
        await rooms.ledger.commit(change("text/a"))
        await until(lambda: min(peer.told(number) for number in range(10)) == 1, "told")
        assert store.reads <= 4


async def test_a_read_that_began_before_the_bell_is_not_shared_after_it() -> None:
    class Held(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.gate = asyncio.Event()
            self.reads = 0

        async def read_changes(self, *, after: int, limit: int = 1000) -> list[Change]:
            found = list(await super().read_changes(after=after, limit=limit))
            self.reads += 1
            await self.gate.wait()
            return found

    store = Held()
    async with open_rooms(store) as rooms:
        feed = Feed(store)
        rooms.ledger.listen(feed.hear)
        early = asyncio.create_task(feed.read(0))
        await until(lambda: store.reads == 1, "the first read is under way")
        await rooms.ledger.commit(change("text/a"))
        late = asyncio.create_task(feed.read(0))
        await until(lambda: store.reads == 2, "a second one began")
        store.gate.set()
        assert (list(await early), [one.position for one in await late]) == ([], [1])


async def test_a_subscription_waits_for_a_database_that_does_not_answer() -> None:
    class Failing(MemoryStore):
        failures = 0

        async def read_changes(self, *, after: int, limit: int = 1000) -> list[Change]:
            if self.failures > 0:
                self.failures -= 1
                raise StorageUnavailable("gone")
            return list(await super().read_changes(after=after, limit=limit))

    store = Failing()
    async with open_rooms(store) as rooms, open_peer(house_of(rooms)) as peer:
        store.failures = 2
        peer.say(Subscribe(id=1, after=0))
        await rooms.ledger.commit(change("text/a"))
        await until(lambda: peer.events() == [1], "told")


async def test_a_fault_in_one_subscription_ends_it_alone() -> None:
    class Broken(MemoryStore):
        async def read_changes(self, *, after: int, limit: int = 1000) -> list[Change]:
            if after == 1:
                raise ZeroDivisionError
            return list(await super().read_changes(after=after, limit=limit))

    async with open_rooms(Broken()) as rooms, open_peer(house_of(rooms)) as peer:
        await rooms.ledger.commit(change("text/a"), change("text/a"))
        peer.say(Subscribe(id=1, after=1))
        peer.say(Subscribe(id=2, after=0))
        await until(lambda: any(isinstance(e, SubscriptionClosed) for e in peer.heard), "closed")
        await until(lambda: peer.told(2) == 2, "the other goes on")
        [closed] = [e for e in peer.heard if isinstance(e, SubscriptionClosed)]
        assert (closed.subscription, (closed.problem or {})["status"]) == (1, 500)


async def test_a_subscriber_that_does_not_read_is_let_go_and_resumes() -> None:
    async with open_rooms(send_buffer_bytes=200_000, channel_stalled_seconds=0.05) as rooms:
        house = house_of(rooms)
        await rooms.ledger.commit(*(change(f"text/{n}") for n in range(1000)))
        async with open_peer(house) as slow:
            slow.may_take.clear()
            slow.say(Subscribe(id=1, after=0))
            await until(
                lambda: [c for c in house.connections if c.channel.buffered_bytes > 100_000], "its buffer fills"
            )
            [connection] = house.connections
            most = connection.channel.buffered_bytes
            await until(lambda: connection._is_closing, "it is let go")
            assert connection.channel.buffered_bytes < most + feed_subscriptions.WRITE_BYTES
            slow.may_take.set()
            await until(lambda: slow.close_code, "closed")
            assert slow.close_code == 1013
            assert any(isinstance(e, Goodbye) for e in slow.heard)
        async with open_peer(house) as again:
            again.say(Subscribe(id=1, after=slow.events()[-1]))
            await until(lambda: again.events()[-1:] == [1000], "resumed")
            assert slow.events() + again.events() == list(range(1, 1001))


async def test_a_slow_subscriber_is_waited_for() -> None:
    async with open_rooms(send_buffer_bytes=5_000, channel_stalled_seconds=5.0) as rooms:
        await rooms.ledger.commit(*(change(f"text/{n}") for n in range(1000)))
        async with open_peer(house_of(rooms)) as slow:
            slow.say(Subscribe(id=1, after=0))
            while slow.told() < 1000:
                slow.may_take.clear()
                await asyncio.sleep(0)
                slow.may_take.set()
                await asyncio.sleep(0)
            assert slow.events() == list(range(1, 1001))


def test_filters_let_pass_what_fits_all_of_them() -> None:
    def fits(type_: str, document: str, **wanted: object) -> bool:
        return FeedFilter(**wanted).fits(change(document, type_))  # type: ignore[arg-type]

    assert fits("access.changed", "text/a")
    assert fits("access.changed", "text/a", types=("access.*",), prefix="text/", kinds=frozenset({"text"}))
    assert fits("access.changed", "text/a", types=("quorate.access.changed",))
    assert fits("access.changed", "text/a", types=("*",))
    assert not fits("accessory.changed", "text/a", types=("access.*",))
    assert not fits("access.changed.twice", "text/a", types=("access.changed",))
    assert not fits("access.changed", "text/a", prefix="plan/")
    assert not fits("access.changed", "text/a", kinds=frozenset({"plan"}))
    assert fits("record.changed", "plan/a/record", kinds=frozenset({"plan"}))


async def test_the_bell_rings_for_changes_only() -> None:
    async with open_rooms() as rooms:
        feed = house_of(rooms).feed
        await rooms.ledger.commit(grant("text/a", "viewer"))
        assert feed.rung == 0
        await rooms.ledger.commit(change("text/a"))
        assert feed.rung == 1
