"""Edits that come in one read have the outcome that they have one by one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import Mock, patch

import pytest
from pycrdt import Array, Doc, Map, Text

from quorate_protocol.errors import QuorateError
from quorate_protocol.ids import ClientId
from quorate_protocol.limits import DEFAULT_LIMITS
from quorate_protocol.updates import update_ends
from quorate_server.applied import Applied, Typing
from quorate_server.documents import LiveDocument
from quorate_server.errors import EnginePanic
from quorate_server.guards import GuardedUpdate
from quorate_server.open_typing import MOST_TICKS, OpenTyping
from quorate_server.plain_views import render_json
from quorate_server.screening import Screening
from tests.server.houses import Guest, RuleOf, hocuspocus, open_room, open_rooms, until

PLAIN = "any room"
SAVED = b"\x06text/a\x08\x01"


def letters(client: int, count: int, *, root: str = "text") -> list[bytes]:
    """Return the updates of somebody who types."""
    doc: Doc[Any] = Doc(client_id=client)
    made: list[bytes] = []
    subscription = doc.observe(lambda event: made.append(event.update))
    text = doc.get(root, type=Text)
    for number in range(count):
        text.insert(number, "abcdefghij"[number % 10])
    doc.unobserve(subscription)
    return made


def edits(client: int, source: random.Random) -> list[bytes]:
    """Return the updates of somebody who types, deletes, and now and then does something else."""
    doc: Doc[Any] = Doc(client_id=client)
    made: list[bytes] = []
    subscription = doc.observe(lambda event: made.append(event.update))
    text = doc.get("text", type=Text)
    for _ in range(source.randint(2, 30)):
        what = source.random()
        if what < 0.8 or not len(text):
            text.insert(source.randint(0, len(text)), source.choice("abc"))
        elif what < 0.93:
            del text[source.randrange(len(text))]
        elif what < 0.97:
            doc.get("map", type=Map)["k"] = source.choice([1, "x", {"nested": True}])
        else:
            doc.get("list", type=Array).append(Map({"a": 1}))
    doc.unobserve(subscription)
    return made


def runs(client: int, source: random.Random) -> list[bytes]:
    """Return the updates of somebody who types a few words, each somewhere, some where an artifact has no text."""
    doc: Doc[Any] = Doc(client_id=client)
    made: list[bytes] = []
    subscription = doc.observe(lambda event: made.append(event.update))
    for _ in range(source.randint(1, 5)):
        text = doc.get(source.choice(["text", "text", "text", "stray"]), type=Text)
        at = source.randint(0, len(text))
        for number in range(source.randint(2, 9)):
            text.insert(at + number, source.choice("abc"))
    doc.unobserve(subscription)
    return made


def damaged(updates: list[bytes], source: random.Random) -> list[bytes]:
    """Return them with one twice, out of order, missing or broken, or as they are."""
    updates = list(updates)
    at = source.randrange(len(updates))
    how = source.random()
    if how < 0.2:
        updates.insert(source.randrange(len(updates)), updates[at])
    elif how < 0.4:
        source.shuffle(updates)
    elif how < 0.5:
        del updates[at]
    elif how < 0.6:
        updates[at] = updates[at][:-1]
    elif how < 0.65:
        updates[at] = b"\x00\x00"
    return updates


async def outcome(name: str, bursts: list[list[bytes]], *, at_once: bool) -> dict[str, object]:
    """Send bursts to a new room; return what is in it, and what the author was told."""
    async with open_rooms() as rooms:
        room = await open_room(rooms, name)
        anna = Guest(room, "anna", encoder=hocuspocus())
        anna.channel.frames.clear()
        for burst in bursts:
            if anna.ended is not None:
                break
            if at_once:
                room.receive_burst(anna.session, list(burst))
            else:
                for update in burst:
                    anna.send(update)
            await until(lambda: room.is_durable, "all is durable")
        return {
            "content": render_json(await room.read()),
            "known": room.live.known(),
            "waiting": len(room.live.waiting),
            "answers": [frame for frame in anna.channel.frames if frame.startswith(SAVED[:-1])],
            "ended": type(anna.ended),
        }


@pytest.mark.parametrize("name", [PLAIN, "text/a"])
@pytest.mark.parametrize("seed", range(40))
async def test_bursts_and_single_edits_have_the_same_outcome(seed: int, name: str) -> None:
    source = random.Random(seed)
    whole = damaged(edits(7 + seed, source), source)
    bursts: list[list[bytes]] = []
    while whole:
        size = source.randint(1, 12)
        bursts.append(whole[:size])
        whole = whole[size:]

    assert await outcome(name, bursts, at_once=True) == await outcome(name, bursts, at_once=False)


@pytest.mark.parametrize("seed", range(60))
async def test_typing_into_an_artifact_has_the_outcome_of_its_letters(seed: int) -> None:
    source = random.Random(seed)
    typed = runs(7 + seed, source)
    if source.random() < 0.3:
        typed = damaged(typed, source)
    bursts: list[list[bytes]] = []
    while typed:
        size = source.randint(2, 12)
        bursts.append(typed[:size])
        typed = typed[size:]

    assert await outcome("text/a", bursts, at_once=True) == await outcome("text/a", bursts, at_once=False)


async def test_typing_into_an_artifact_is_judged_at_once_and_each_letter_is_answered() -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms, "text/a")
        anna, ben = Guest(room, "anna", encoder=hocuspocus()), Guest(room, "ben")
        made = letters(7, 101)
        anna.send(made[0])
        await until(lambda: SAVED in anna.channel.frames, "the first has no letter before it")
        anna.channel.frames.clear()
        ben.take()
        screened = Mock(wraps=room.screening.screen)
        with patch.object(Screening, "screen", screened):
            room.receive_burst(anna.session, made[1:])
            await until(lambda: anna.channel.frames.count(SAVED) == 100, "each is answered")

        assert screened.call_count == 1
        assert room.newest_place == 2
        assert len(ben.take()) == 1
        assert str(ben.text) == ("abcdefghij" * 11)[:101]


async def test_a_guard_sees_each_letter_by_itself() -> None:
    seen = list[GuardedUpdate]()
    async with open_rooms(guards=[RuleOf(seen.append)]) as rooms:
        room = await open_room(rooms, "text/a")
        anna = Guest(room, "anna", encoder=hocuspocus())
        made = letters(7, 11)
        anna.send(made[0])
        await until(lambda: SAVED in anna.channel.frames, "the first has no letter before it")
        anna.channel.frames.clear()
        room.receive_burst(anna.session, made[1:])
        await until(lambda: anna.channel.frames.count(SAVED) == 10, "each is answered")

    assert len(seen) == len(made)


async def test_typing_under_somebody_elses_id_is_turned_away_whole() -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms, "text/a")
        anna, mallory = Guest(room, "anna"), Guest(room, "mallory")
        made = letters(7, 20)
        room.receive_burst(anna.session, made[:10])
        await until(lambda: room.is_durable, "durable")
        room.receive_burst(mallory.session, made[10:])
        await until(lambda: mallory.ended, "she is sent away")
        await until(lambda: room.is_durable, "durable")

        assert room.live.known() == {7: 10}
        assert anna.ended is None


async def test_a_burst_is_one_entry_and_each_edit_is_answered() -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms, PLAIN)
        anna, ben = Guest(room, "anna", encoder=hocuspocus()), Guest(room, "ben")
        anna.channel.frames.clear()
        ben.channel.frames.clear()
        room.receive_burst(anna.session, letters(7, 100))
        await until(lambda: anna.channel.frames.count(SAVED) == 100, "each is answered")

        assert room.newest_place == 1
        assert len(ben.take()) == 1
        assert str(ben.text) == "abcdefghij" * 10


async def test_bursts_of_several_people_leave_in_one_write_and_stay_apart_in_the_log() -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms, PLAIN)
        people = [Guest(room, f"p{i}") for i in range(5)]
        for guest in people:
            guest.channel.frames.clear()
        for number, guest in enumerate(people):
            room.receive_burst(guest.session, letters(100 + number, 10, root=f"r{number}"))
        await until(lambda: room.is_durable, "all is durable")
        log = await rooms.store.read_log(room.document.id, after=0)  # type: ignore[arg-type]

        assert [entry.author for entry in log] == [f"p{i}" for i in range(5)]
        assert all(len(guest.take()) == 5 for guest in people)
        assert room.live.known() == {ClientId(100 + i): 10 for i in range(5)}


async def outcome_of_people(edits_of: list[list[bytes]], sizes: list[int], *, at_once: bool) -> dict[str, object]:
    """Let people send their edits in parts, all of them in the same tick or one after the other."""
    async with open_rooms() as rooms:
        room = await open_room(rooms, PLAIN)
        people = [Guest(room, f"p{number}", encoder=hocuspocus()) for number in range(len(edits_of))]
        left = [list(made) for made in edits_of]
        for size in sizes:
            for guest, edits_left in zip(people, left, strict=True):
                part, edits_left[:size] = edits_left[:size], []
                if part and guest.ended is None:
                    room.receive_burst(guest.session, part)
                if not at_once:
                    await until(lambda: room.is_durable, "all is durable")
            await until(lambda: room.is_durable, "all is durable")
        log = await rooms.store.read_log(room.document.id, after=0)  # type: ignore[arg-type]
        return {
            "content": render_json(await room.read()),
            "known": room.live.known(),
            "waiting": len(room.live.waiting),
            "ended": [type(guest.ended) for guest in people],
            "answers": [guest.channel.frames.count(SAVED) for guest in people],
            "authors": sorted({(entry.author, each) for entry in log for each in update_ends(entry.update)}),
        }


@pytest.mark.parametrize("seed", range(40))
async def test_people_at_once_and_one_after_the_other_have_the_same_outcome(seed: int) -> None:
    source = random.Random(seed)
    edits_of = [
        letters(100 + number, source.randint(1, 30), root=f"r{number}")
        if source.random() < 0.7
        else damaged(edits(100 + number, source), source)
        for number in range(source.randint(2, 6))
    ]
    sizes = [source.randint(1, 12) for _ in range(20)]

    together = await outcome_of_people(edits_of, sizes, at_once=True)
    assert together == await outcome_of_people(edits_of, sizes, at_once=False)


async def test_two_who_send_the_same_letters_at_once_wrote_them_once() -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms, PLAIN)
        anna, ben = Guest(room, "anna", encoder=hocuspocus()), Guest(room, "ben", encoder=hocuspocus())
        whole = letters(7, 20)
        for guest in (anna, ben):
            room.receive_burst(guest.session, list(whole))
        await until(lambda: room.is_durable, "durable")

        assert room.live.known() == {ClientId(7): 20}
        assert render_json(await room.read()) == {"text": "abcdefghij" * 2}
        assert [guest.channel.frames.count(SAVED) for guest in (anna, ben)] == [20, 20]


async def test_whose_typing_breaks_the_engine_is_found_among_many(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(update: bytes) -> bool:
        return b"POISON" in update

    add, apply = OpenTyping.add, LiveDocument.apply

    def add_or_break(self: OpenTyping, typed: Sequence[Typing]) -> int:
        if any(breaks(each.update) for each in typed):
            raise EnginePanic(tuple(each.update for each in typed), "PanicException")
        return add(self, typed)

    def apply_or_break(self: LiveDocument, updates: Sequence[bytes], *rest: Any) -> Applied:
        if any(map(breaks, updates)):
            raise EnginePanic(tuple(updates), "PanicException")
        return apply(self, updates, *rest)

    monkeypatch.setattr(OpenTyping, "add", add_or_break)
    monkeypatch.setattr(LiveDocument, "apply", apply_or_break)
    async with open_rooms() as rooms:
        room = await open_room(rooms, PLAIN)
        people = [Guest(room, f"p{number}") for number in range(5)]
        typed = [letters(100 + number, 10, root=f"r{number}") for number in range(5)]
        for guest, made in zip(people, typed, strict=True):
            room.receive_burst(guest.session, made[:1])
        await until(lambda: room.is_durable, "durable")
        typed[2][1:] = [goes_on_with("POISON", typed[2][0])]
        for guest, made in zip(people, typed, strict=True):
            room.receive_burst(guest.session, made[1:])
        await until(lambda: room.is_durable and 10 in room.live.known().values(), "the others' is durable")
        assert room.live.known() == {ClientId(100 + number): 1 if number == 2 else 10 for number in range(5)}
        kept = await rooms.store.list_set_aside(room.document.id)

        assert [guest.ended is None for guest in people] == [True, True, False, True, True]
        assert [(each.cause, each.author) for each in kept] == [("poison", "p2")]
        people[0].type("goes on")
        await until(lambda: "goes on" in str(people[4].take() and people[4].text), "the room goes on")


async def test_typing_that_goes_on_for_long_is_all_there_whenever_somebody_looks() -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms, PLAIN)
        anna = Guest(room, "anna")
        whole = letters(7, 2 * MOST_TICKS + 3)
        for number, letter in enumerate(whole, 1):
            room.receive_burst(anna.session, [letter])
            await until(lambda: room.is_durable, "durable")
            if number % 7 == 0:
                assert len(str(render_json(await room.read())["text"])) == number
            if number % 11 == 0:
                assert room.live.state_vector() == bytes((1, 7, number))
        assert room.live.version == len(whole)


def goes_on_with(words: str, first: bytes) -> bytes:
    """Return the update of whoever wrote `first` and types on."""
    [client] = update_ends(first)
    doc: Doc[Any] = Doc(client_id=client)
    doc.apply_update(first)
    before = doc.get_state()
    [root] = doc.keys()
    doc.get(root, type=Text).insert(1, words)
    return doc.get_update(before)


async def test_whoever_may_not_write_is_refused_each_edit_of_a_burst() -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms, PLAIN)
        reader = Guest(room, "reader", may_write=False, encoder=hocuspocus())
        reader.channel.frames.clear()
        room.receive_burst(reader.session, letters(7, 20))
        await until(lambda: len(reader.channel.frames) >= 20, "each is answered")

        assert reader.channel.frames.count(SAVED[:-1] + b"\x00") == 20
        assert room.live.known() == {}


async def test_a_burst_to_a_full_document_is_refused() -> None:
    async with open_rooms(limits=replace(DEFAULT_LIMITS, document_bytes=1)) as rooms:
        room = await open_room(rooms, PLAIN)
        anna = Guest(room, "anna", encoder=hocuspocus())
        room.receive_burst(anna.session, letters(7, 3))
        await until(lambda: room.is_durable, "durable")
        anna.channel.frames.clear()
        room.receive_burst(anna.session, letters(8, 20))
        await until(lambda: len(anna.channel.frames) >= 20, "each is answered")

        assert room.live.known() == {ClientId(7): 3}


async def test_a_burst_with_somebody_elses_client_id_ends_its_author_alone() -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms, PLAIN)
        anna, cheat = Guest(room, "anna"), Guest(room, "cheat")
        whole = letters(7, 20)
        room.receive_burst(anna.session, whole[:10])
        await until(lambda: room.is_durable, "durable")
        room.receive_burst(cheat.session, whole[10:])
        await until(lambda: cheat.ended is not None, "the cheat is sent away")

        assert isinstance(cheat.ended, QuorateError)
        assert anna.ended is None
        assert room.live.known() == {ClientId(7): 10}
