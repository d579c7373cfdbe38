"""Rooms: the order of things, what is refused, and what happens when the engine or the store breaks."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from unittest.mock import Mock

import pytest
from pycrdt import Doc, Map

from quorate_protocol.errors import LimitExceeded
from quorate_protocol.ids import DocumentName, UserId
from quorate_server.applied import Applied
from quorate_server.documents import Extents, LiveDocument
from quorate_server.errors import (
    DocumentDeleted,
    DocumentTooLarge,
    EnginePanic,
    MalformedUpdate,
    Refused,
    Unavailable,
)
from quorate_server.folding import load, state_hash
from quorate_server.guards import GuardedUpdate
from quorate_server.plain_views import render_json
from quorate_server.seeding import text_seed
from quorate_server.sessions import HocuspocusEncoder
from quorate_server.users import User
from quorate_storage.compaction import CompactionRule
from tests.server.houses import Guest, RuleOf, hocuspocus, open_room, open_rooms, until
from tests.server.stores import HeldStore

SAVED = b"\x06text/a\x08\x01"
PLAIN = "any room"
"""A document that is no artifact: what comes early waits in it, since nobody judges its edits."""

NOT_SAVED = b"\x06text/a\x08\x00"


async def test_law_nothing_is_relayed_acknowledged_or_answered_before_its_commit() -> None:
    store = HeldStore()
    async with open_rooms(store) as rooms:
        room = await open_room(rooms)
        anna, ben = Guest(room, "anna"), Guest(room, "ben", encoder=hocuspocus())
        anna.channel.frames.clear()
        ben.channel.frames.clear()
        store.hold()
        anna.type("a")
        ben.type("b")
        late = Guest(room, "late")
        late.ask()
        await until(lambda: store.is_waiting, "the commit began")
        for _ in range(50):
            await asyncio.sleep(0)
        assert anna.take() == []
        assert ben.channel.frames == []
        assert [f[:2] for f in late.channel.frames] == [b"\x00\x00"]  # the step 1 says no content

        store.release()
        await until(lambda: anna.channel.frames, "the echo")
        anna.take()
        late.take()
        assert sorted(str(anna.text)) == sorted(str(late.text)) == ["a", "b"]
        assert ben.channel.frames.count(SAVED) == 1


@pytest.mark.parametrize("broken", ["reader", "author"])
async def test_a_session_that_cannot_be_written_to_ends_alone(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms)
        guests = {name: Guest(room, name, encoder=HocuspocusEncoder("a")) for name in ("author", "reader")}
        guests["neighbour"] = neighbour = Guest(room, "neighbour")
        monkeypatch.setattr(guests[broken].channel, "write", Mock(side_effect=RuntimeError("the handler is closed")))

        guests["author"].type("x")
        asked = asyncio.create_task(room.write(User(id=UserId("robot"), name="robot"), text_seed("y")))

        assert await asked
        assert len(neighbour.take()) == 2
        assert [name for name, guest in guests.items() if guest.ended] == [broken]
        assert guests[broken].session not in room.sessions
        await until(lambda: room.is_durable, "durable")


async def test_an_answer_that_fails_keeps_nobody_from_theirs() -> None:
    answered = list[str]()
    async with open_rooms() as rooms:
        room = await open_room(rooms)
        Guest(room, "author").type("x")
        room.hand_over()

        room.relay.after_commit(Mock(side_effect=ValueError("of this answer alone")))
        room.relay.after_commit(lambda: answered.append("second"))

        await until(lambda: room.is_durable, "durable")
    assert answered == ["second"]


async def test_what_arrives_in_one_tick_leaves_as_one_update() -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms)
        anna, ben = Guest(room, "anna"), Guest(room, "ben")
        for letter in "hello":
            anna.type(letter)
        await until(lambda: len(ben.channel.frames) > 1, "the relay")
        assert len(ben.take()) == 1
        assert str(ben.text) == "hello"


async def test_every_update_and_step_2_has_exactly_one_status_in_order() -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms)
        anna = Guest(room, "anna", encoder=hocuspocus())
        for letter in "hello":
            anna.type(letter)
        anna.room.receive(anna.session, b"\x00\x00", is_step2=True)
        anna.send(anna.made[-1])  # the same again: durable already, acknowledged again
        await until(lambda: anna.channel.frames.count(SAVED) == 7, "seven statuses")


async def test_a_viewer_gets_status_0_for_edits_and_1_for_a_step_2_without_news() -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms)
        anna = Guest(room, "anna")
        viewer = Guest(room, "victor", may_write=False, encoder=hocuspocus())
        anna.type("text")
        await until(lambda: len(anna.channel.frames) > 1, "the echo")
        known = anna.doc.get_update()
        viewer.room.receive(viewer.session, known, is_step2=True)
        assert viewer.channel.frames[-1] == SAVED
        viewer.type("graffiti")
        assert viewer.channel.frames[-1] == NOT_SAVED
        viewer.room.receive(viewer.session, viewer.doc.get_update(), is_step2=True)
        assert viewer.channel.frames[-1] == NOT_SAVED
        assert render_json(await room.read()) == {"text": "text"}


async def test_an_update_that_waits_is_durable_and_acknowledged_once_it_takes_effect() -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms, PLAIN)
        anna, ben = Guest(room, "anna", encoder=hocuspocus()), Guest(room, "ben")
        anna.made.clear()
        anna.text += "a"
        anna.text += "b"
        first, second = anna.made
        anna.send(second)
        await until(lambda: room.is_durable and len(anna.channel.frames) > 0, "asked again")
        assert SAVED not in anna.channel.frames
        assert b"\x06text/a\x00\x00" in [frame[:9] for frame in anna.channel.frames]
        assert room.live.waiting == (second,)
        assert ben.take() == []

        anna.send(first)
        await until(lambda: anna.channel.frames.count(SAVED) == 2, "both acknowledged")
        ben.take()
        assert str(ben.text) == "ab"
        stored = await rooms.store.load(room.document.id)
        assert str(load(stored).waiting) == "()"


async def test_waiting_updates_survive_compaction_and_reload() -> None:
    anna_doc: Doc[Map[int]] = Doc()
    made: list[bytes] = []
    subscription = anna_doc.observe(lambda event: made.append(event.update))
    root = anna_doc.get("m", type=Map)
    root["a"] = 1
    root["b"] = 2
    async with open_rooms(rule=CompactionRule(tail_entries=1)) as rooms:
        room = await open_room(rooms, PLAIN)
        anna = Guest(room, "anna")
        anna.send(made[1])
        await until(lambda: rooms.metrics.compactions.labels("folded")._value.get() == 1, "folded")
        room.end(Unavailable("reload"))
        again = await open_room(rooms, PLAIN)
        assert again.live.waiting == (made[1],)
        await again.write(anna.user, made[0])
        assert render_json(await again.read()) == {"m": {"a": 1.0, "b": 2.0}}
    anna_doc.unobserve(subscription)


async def test_too_much_that_waits_ends_its_author() -> None:
    async with open_rooms(waiting_bytes=100) as rooms:
        room = await open_room(rooms, PLAIN)
        anna = Guest(room, "anna")
        anna.text += "never sent"
        anna.made.clear()
        anna.text += "x" * 200
        anna.send(anna.made[-1])
        await until(lambda: anna.ended, "ended")
        assert isinstance(anna.ended, LimitExceeded)


def no_swearing(proposed: GuardedUpdate) -> None:
    view = render_json(proposed.document.encode())
    if "damn" in str(view):
        raise Refused("mind your language")


async def test_law_a_refused_edit_leaves_no_trace_and_its_author_converges() -> None:
    async with open_rooms(guards=[RuleOf(no_swearing)]) as rooms:
        room = await open_room(rooms)
        anna, _ben = Guest(room, "anna"), Guest(room, "ben", encoder=hocuspocus())
        anna.type("hello ")
        await until(lambda: len(anna.channel.frames) > 1, "the echo")
        anna.take()
        before = render_json(await room.read())

        bad = anna.type("damn")
        await until(lambda: any(f[:2] == b"\x02\x00" for f in anna.channel.frames), "told why")
        assert b"mind your language" in b"".join(anna.channel.frames)
        for update in [f for f in anna.channel.frames if f[:2] == b"\x00\x02"]:
            anna.doc.apply_update(update[3:])
        assert str(anna.text) == "hello "
        assert render_json(await room.read()) == before
        await until(lambda: room.is_durable, "the proposal is kept")
        [kept] = await rooms.store.list_set_aside(room.document.id)
        assert (kept.cause, kept.update, kept.author) == ("refused", bad, "anna")
        stored = await rooms.store.load(room.document.id)
        assert render_json(load(stored).encode()) == before

        anna.channel.frames.clear()
        anna.type("world")  # whoever was refused goes on
        await until(lambda: anna.channel.frames, "the echo")
        assert render_json(await room.read()) == {"text": "hello world"}


async def test_a_refused_author_on_hocuspocus_gets_status_0() -> None:
    async with open_rooms(guards=[RuleOf(no_swearing)]) as rooms:
        room = await open_room(rooms)
        ben = Guest(room, "ben", encoder=hocuspocus())
        ben.type("damn")
        await until(lambda: NOT_SAVED in ben.channel.frames, "status 0")
        assert SAVED not in ben.channel.frames


async def test_a_refused_deletion_comes_back_for_everybody() -> None:
    def no_deleting(proposed: GuardedUpdate) -> None:
        if proposed.update.deletes:
            raise Refused("nothing may be deleted")

    async with open_rooms(guards=[RuleOf(no_deleting)]) as rooms:
        room = await open_room(rooms)
        anna, ben = Guest(room, "anna"), Guest(room, "ben")
        anna.type("precious")
        await until(lambda: len(ben.channel.frames) > 1, "the relay")
        ben.take()
        ben.made.clear()
        del ben.text[0:4]
        ben.send(ben.made[-1])
        await until(lambda: any(f[:2] == b"\x02\x00" for f in ben.channel.frames), "told why")
        for frame in [f for f in ben.channel.frames if f[:2] == b"\x00\x02"]:
            ben.doc.apply_update(_payload(frame))
        assert str(ben.text) == "precious"
        assert render_json(await room.read()) == {"text": "precious"}


def _payload(frame: bytes) -> bytes:
    from quorate_protocol.varints import read_var_bytes  # noqa: PLC0415

    return read_var_bytes(frame, 2)[0]


async def test_an_engine_panic_costs_the_poison_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms)
        anna, ben, mallory = Guest(room, "anna"), Guest(room, "ben"), Guest(room, "mallory")
        anna.type("before ")
        await until(lambda: len(anna.channel.frames) > 1, "the echo")
        poison = mallory.type("poison")
        broken = room.live
        genuine = LiveDocument.apply

        def apply(self: LiveDocument, updates: list[bytes], extents: Extents | None = None) -> Applied:
            if poison in updates:
                raise EnginePanic(tuple(updates), "PanicException")
            return genuine(self, updates, extents)

        monkeypatch.setattr(LiveDocument, "apply", apply)
        anna.type("during ")
        late = Guest(room, "late")
        late.ask()
        await until(lambda: room.live is not broken and room.is_durable, "rebuilt")
        await until(lambda: any(f[:2] == b"\x00\x01" for f in late.channel.frames), "answered")

        assert isinstance(mallory.ended, MalformedUpdate)
        assert anna.ended is None
        anna.take()
        ben.take()
        late.take()
        assert str(ben.text) == str(late.text) == str(anna.text) == "before during "
        kept = await rooms.store.list_set_aside(room.document.id)
        assert [(item.cause, item.update) for item in kept] == [("poison", poison)]


async def test_a_malformed_update_ends_its_author_only() -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms)
        anna, mallory = Guest(room, "anna"), Guest(room, "mallory")
        mallory.send(b"\xff\xff\xff")
        anna.type("fine")
        await until(lambda: len(anna.channel.frames) > 1, "the echo")
        assert isinstance(mallory.ended, MalformedUpdate)
        assert anna.ended is None


async def test_a_full_document_takes_no_more() -> None:
    async with open_rooms(document_bytes=200) as rooms:
        room = await open_room(rooms)
        anna = Guest(room, "anna")
        anna.type("x" * 300)
        await until(lambda: room.is_durable, "durable")
        anna.channel.frames.clear()
        anna.type("more")
        assert [frame[:2] for frame in anna.channel.frames] == [b"\x02\x00"]  # told why, and not closed
        assert b"full" in anna.channel.frames[0]
        with pytest.raises(DocumentTooLarge):
            await room.write(anna.user, anna.made[-1])


async def test_a_full_document_can_still_be_shortened() -> None:
    async with open_rooms(document_bytes=200) as rooms:
        room = await open_room(rooms)
        anna = Guest(room, "anna")
        anna.type("x" * 300)
        await until(lambda: room.is_durable, "durable")
        anna.made.clear()
        del anna.text[0:290]
        anna.send(anna.made[-1])
        await until(lambda: room.is_durable, "durable")
        anna.type("!")
        assert render_json(await room.read()) == {"text": "x" * 10 + "!"}


async def test_a_full_log_does_not_count_as_a_full_document() -> None:
    async with open_rooms(document_bytes=400) as rooms:
        room = await open_room(rooms)
        anna = Guest(room, "anna")
        for _ in range(40):
            anna.type("x" * 30)
            await until(lambda: room.is_durable, "durable")
            anna.made.clear()
            del anna.text[0:30]
            anna.send(anna.made[-1])
            await until(lambda: room.is_durable, "durable")
        assert anna.ended is None


async def test_the_seed_is_there_once_however_many_come_at_once() -> None:
    async with open_rooms(seeder=lambda _: text_seed("seed")) as rooms:
        opened = await asyncio.gather(*(open_room(rooms, by=f"user-{i}") for i in range(1000)))
        assert len({id(room) for room in opened}) == 1
        assert render_json(await opened[0].read()) == {"text": "seed"}
        stored = await rooms.store.load(opened[0].document.id)
        assert len(stored.tail) == 1


async def test_a_deleted_document_sends_its_people_away_and_stays_deleted() -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms)
        anna = Guest(room, "anna")
        anna.type("text")
        await rooms.delete(DocumentName("text/a"), by=UserId("owner"))
        assert isinstance(anna.ended, DocumentDeleted)
        with pytest.raises(DocumentDeleted):
            await open_room(rooms)
        await rooms.restore(DocumentName("text/a"))
        again = await open_room(rooms)
        assert render_json(await again.read()) == {"text": "text"}


async def test_a_room_that_lost_its_lease_sends_its_people_away() -> None:
    store = HeldStore()
    async with open_rooms(store) as rooms:
        room = await open_room(rooms)
        anna = Guest(room, "anna")
        await store.steal_lease()
        anna.type("too late")
        await until(lambda: anna.ended, "sent away")
        assert isinstance(anna.ended, Unavailable)
        assert [frame for frame in anna.channel.frames if frame[:2] == b"\x00\x02"] == []


async def test_an_empty_room_is_unloaded_when_it_is_durable() -> None:
    async with open_rooms(idle_room_seconds=0.01) as rooms:
        room = await open_room(rooms)
        anna = Guest(room, "anna")
        anna.type("text")
        room.leave(anna.session)
        await until(lambda: not len(rooms), "unloaded")
        again = await open_room(rooms)
        assert render_json(await again.read()) == {"text": "text"}


@pytest.mark.parametrize("name", ["text/a", PLAIN])
async def test_an_unloaded_document_is_freed_without_the_garbage_collector(name: str) -> None:
    """It may be ten megabytes, and the collector of Python comes to old objects after minutes or never."""
    async with open_rooms(idle_room_seconds=0.01) as rooms:
        room = await open_room(rooms, name)
        anna = Guest(room, "anna")
        anna.type("text")
        room.leave(anna.session)
        live, closed = weakref.ref(room.live), weakref.ref(room)
        del anna.room, room  # it is a circle itself
        gc.disable()
        try:
            await until(lambda: not len(rooms), "unloaded")
            await until(lambda: closed() is None and live() is None, "freed")
        finally:
            gc.enable()


async def test_a_room_that_ends_with_a_commit_under_way_is_freed_after_it() -> None:
    store = HeldStore()
    async with open_rooms(store) as rooms:
        room = await open_room(rooms)
        anna = Guest(room, "anna")
        store.hold()
        anna.type("text")
        await until(lambda: store.is_waiting, "the commit began")
        room.end(Unavailable("closed by hand"))
        ended = weakref.ref(room)
        del anna.room, room  # it is a circle itself
        gc.disable()
        try:
            store.release()
            await until(lambda: ended() is None, "freed")
        finally:
            gc.enable()
        again = await open_room(rooms)
        assert render_json(await again.read()) == {"text": "text"}


async def test_unsaved_work_is_never_unloaded() -> None:
    store = HeldStore()
    async with open_rooms(store, idle_room_seconds=0.01) as rooms:
        room = await open_room(rooms)
        anna = Guest(room, "anna")
        store.hold()
        anna.type("text")
        room.leave(anna.session)
        await until(lambda: store.is_waiting, "the commit began")
        deadline = asyncio.get_running_loop().time() + 0.1
        await until(lambda: asyncio.get_running_loop().time() > deadline, "several idle times")
        assert len(rooms) == 1
        store.release()
        await until(lambda: not len(rooms), "unloaded")


@pytest.mark.parametrize("seed", range(20))
async def test_law_all_converge(seed: int) -> None:
    """Clients, the live document, the log replayed and every snapshot with its tail are equal."""
    source = random.Random(seed)
    rule = CompactionRule(tail_entries=source.choice([5, 50, 10_000]))
    async with open_rooms(rule=rule) as rooms:
        room = await open_room(rooms)
        guests = [Guest(room, f"guest-{i}") for i in range(4)]
        for _ in range(120):
            guest = source.choice(guests)
            match source.randrange(5):
                case 0:
                    guest.take()
                case 1 if len(guest.text) > 3:
                    guest.made.clear()
                    start = source.randrange(len(guest.text) - 2)
                    del guest.text[start : start + 2]
                    guest.send(guest.made[-1])
                case 2:
                    await asyncio.sleep(0)
                case 3:
                    room.leave(guest.session)
                    room.join(guest.session)
                    guest.ask()
                case _:
                    guest.made.clear()
                    guest.text.insert(source.randint(0, len(guest.text)), source.choice("abc"))
                    guest.send(guest.made[-1])
        for _ in range(3):
            await until(lambda: room.is_durable, "durable")
            for guest in guests:
                guest.ask()
                guest.take()
        await until(lambda: room.is_durable, "durable")
        for guest in guests:
            guest.take()
        live = await room.read()
        stored = await rooms.store.load(room.document.id)
        replayed = load(stored).encode()
        hashes = {state_hash(state) for state in (live, replayed)}
        hashes |= {state_hash(guest.doc.get_update()) for guest in guests}
        assert len(hashes) == 1


async def test_readers_of_a_state_wait_for_its_commit() -> None:
    store = HeldStore()
    async with open_rooms(store) as rooms:
        room = await open_room(rooms)
        anna = Guest(room, "anna")
        store.hold()
        anna.type("text")
        reading = asyncio.create_task(room.read())
        await until(lambda: store.is_waiting, "the commit began")
        assert not reading.done()
        store.release()
        assert render_json(await reading) == {"text": "text"}


async def test_writing_without_a_session_returns_its_place_when_durable() -> None:
    script = User(id=UserId("script"), name="")
    async with open_rooms() as rooms:
        room = await open_room(rooms)
        assert await room.write(script, text_seed("one")) == 1
        assert await room.write(script, text_seed("one")) == 1  # nothing new
        with pytest.raises(MalformedUpdate):
            await room.write(script, b"\xff")


async def test_an_empty_step_2_is_not_acknowledged_before_the_edit_in_front_of_it() -> None:
    store = HeldStore()
    async with open_rooms(store) as rooms:
        room = await open_room(rooms)
        anna = Guest(room, "anna", encoder=hocuspocus())
        anna.channel.frames.clear()
        store.hold()
        anna.type("a")
        room.receive(anna.session, b"\x00\x00", is_step2=True)
        await until(lambda: store.is_waiting, "the commit began")
        assert SAVED not in anna.channel.frames
        store.release()
        await until(lambda: anna.channel.frames.count(SAVED) == 2, "both acknowledged")


async def test_http_readers_do_not_keep_a_room_in_memory() -> None:
    async with open_rooms(idle_room_seconds=0.01) as rooms:
        await open_room(rooms)
        await open_room(rooms)
        await until(lambda: not len(rooms), "unloaded")


async def test_whoever_joins_a_room_that_ended_is_sent_away() -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms)
        room.end(Unavailable("over"))
        late = Guest(room, "late")
        assert isinstance(late.ended, Unavailable)
        assert not room.sessions


async def test_readers_and_writers_are_told_when_their_batch_can_never_be_written() -> None:
    script = User(id=UserId("script"), name="")
    store = HeldStore()
    async with open_rooms(store) as rooms:
        room = await open_room(rooms)
        store.hold()
        writing = asyncio.create_task(room.write(script, text_seed("one")))
        await until(lambda: store.is_waiting, "the commit began")
        reading = asyncio.create_task(room.read())
        again = asyncio.create_task(room.write(script, text_seed("one")))
        for _ in range(20):
            await asyncio.sleep(0)
        await store.steal_lease()
        store.release()
        answers = await asyncio.gather(writing, reading, again, return_exceptions=True)
        assert [type(answer) for answer in answers] == [Unavailable] * 3


async def test_an_update_with_a_gap_is_answered_when_it_is_durable() -> None:
    script = User(id=UserId("script"), name="")
    async with open_rooms() as rooms:
        room = await open_room(rooms, PLAIN)
        anna = Guest(room, "anna")
        anna.text += "never sent"
        anna.made.clear()
        anna.text += "gap"
        assert await room.write(script, anna.made[-1]) == 1
        assert room.live.waiting == (anna.made[-1],)
        assert render_json(await room.read()) == {}


async def test_what_waits_behind_a_gap_is_in_no_answer() -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms)
        anna = Guest(room, "anna")
        anna.type("seen")
        anna.text += " never sent"
        anna.made.clear()
        anna.text += " behind the gap"
        anna.send(anna.made[-1])
        assert b"behind the gap" not in await room.read()
        assert render_json(await room.read()) == {"text": "seen"}


async def test_a_document_deleted_while_it_loads_is_not_open_afterwards() -> None:
    async with open_rooms() as rooms:
        name = DocumentName("text/a")
        room = await open_room(rooms)
        room.end(Unavailable("reload"))
        loading = asyncio.create_task(open_room(rooms))
        await asyncio.sleep(0)
        await rooms.delete(name, by=UserId("owner"))
        await asyncio.gather(loading, return_exceptions=True)
        found = rooms.find(name)
        assert found is None or found.is_ended
