"""How often a room tells of edits: at once after a pause, in step while they come fast, and at once when many wait."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing

import pytest

from quorate_protocol.ids import UserId
from quorate_server import sessions
from quorate_server.folding import load
from quorate_server.pacing import PROMPT_EDITS, Pace
from quorate_server.room import Room
from quorate_server.rooms import Rooms
from quorate_server.sessions import REPLY_SECONDS, Session, YWebSocketEncoder
from quorate_server.users import SERVER, User
from tests.server.houses import Guest, MemoryChannel, open_room, open_rooms, until

SLOW = 0.001
"""Rooms that tell of one edit in a quarter of an hour: what comes in a test came for another reason."""


class Ticks:
    def __init__(self, per_second: float) -> None:
        self.times: list[float] = []
        self.pace = Pace(asyncio.get_running_loop(), self.tick, per_second=per_second)

    def ask(self, edits: int) -> None:
        self.pace.gather(edits)
        self.pace.ask()

    def tick(self) -> None:
        self.pace.forget()
        self.pace.start()
        self.times.append(time.monotonic())


async def test_the_first_is_taken_on_the_next_turn_and_the_next_when_it_is_time() -> None:
    ticks = Ticks(per_second=20)
    ticks.ask(1)
    assert ticks.times == []  # not in the middle of what is being read
    await asyncio.sleep(0)
    assert len(ticks.times) == 1
    for _ in range(3):
        ticks.ask(1)
    await until(lambda: len(ticks.times) == 2, "the next")
    ticks.pace.ask()  # nothing waits
    await asyncio.sleep(0.12)
    assert len(ticks.times) == 2
    assert ticks.times[1] - ticks.times[0] >= 0.045  # the loop's clock counts milliseconds


async def test_many_that_wait_are_taken_at_once_and_then_nothing_is_due_any_more() -> None:
    ticks = Ticks(per_second=SLOW)
    for edits in (1, PROMPT_EDITS - 1, 1, PROMPT_EDITS + 1):
        ticks.ask(edits)
        await asyncio.sleep(0)
    assert len(ticks.times) == 3  # the first, and both that pressed
    ticks.ask(1)
    ticks.pace.forget()
    ticks.ask(PROMPT_EDITS)
    await asyncio.sleep(0)
    assert len(ticks.times) == 4


async def two_who_wrote(rooms: Rooms) -> tuple[Room, Guest, Guest]:
    """A room and two people in it; the first has written a letter after a pause, which the other was told at once."""
    room = await open_room(rooms, "a")
    anna, ben = Guest(room, "anna"), Guest(room, "ben")
    ben.take()
    anna.type("a")
    await until(lambda: ben.channel.frames, "an edit after a pause is told at once")
    assert len(ben.take()) == 1
    return room, anna, ben


async def test_a_program_that_writes_when_it_is_told_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "REPLY_SECONDS", 60.0)  # this machine may be slow
    async with open_rooms(relays_per_second=SLOW) as rooms:
        _, anna, ben = await two_who_wrote(rooms)
        anna.session._replies = 1  # it has waited once before: that may have been chance
        for letter in "bcde":
            anna.type(letter)
            await until(lambda: ben.channel.frames, "whoever waits is told")
            ben.take()
        ben.type("f")
        await asyncio.sleep(0.02)
        assert anna.take()
        assert str(anna.text) == "abcde", "somebody else does not wait"


def test_whoever_writes_soon_after_they_were_told_twice_in_a_row_waits_for_it() -> None:
    session = Session(
        channel=MemoryChannel(), encoder=YWebSocketEncoder(), user=SERVER, may_write=True, end=lambda _cause: None
    )
    soon, late = REPLY_SECONDS / 2, REPLY_SECONDS * 2
    assert not session.replies(0.0)  # nobody told it anything yet
    turns = [(1, soon, False), (2, soon, True), (3, soon, True), (4, late, False), (5, soon, False), (6, soon, True)]
    for now, delay, is_waiting in turns:
        session.told_at = float(now)
        assert session.replies(now + delay) is is_waiting, now
    assert not session.replies(6 + soon)  # that was not told of before it wrote


async def test_what_is_typed_fast_is_told_in_one_frame_and_one_entry() -> None:
    async with open_rooms(relays_per_second=SLOW) as rooms:
        room, anna, ben = await two_who_wrote(rooms)
        for letter in "bcdefgh":
            anna.type(letter)
            await asyncio.sleep(0)
        await asyncio.sleep(0.02)
        assert ben.take() == []
        anna.type("i")  # the eighth that waits
        await until(lambda: ben.channel.frames, "what has gathered is told at once")
        assert len(ben.take()) == 1
        assert str(ben.text) == "abcdefghi"
        assert room.newest_place == 2


async def test_a_question_is_answered_with_all_that_has_gathered() -> None:
    async with open_rooms(relays_per_second=SLOW) as rooms:
        room = await open_room(rooms, "a")
        anna, ben = Guest(room, "anna"), Guest(room, "ben")
        anna.type("a")
        await until(lambda: room.is_durable, "taken")
        anna.type("b")
        ben.channel.frames.clear()
        ben.ask()
        await until(lambda: len(ben.channel.frames) == 2, "answered, and told")
        ben.take()
        assert str(ben.text) == "ab"


async def test_who_waits_for_the_answer_does_not_wait_for_others() -> None:
    async with open_rooms(relays_per_second=SLOW) as rooms:
        room = await open_room(rooms, "a")
        anna = Guest(room, "anna")
        writer = User(id=UserId("writer"), name="Writer")
        for letter in "abc":
            made = anna.type(letter)
            async with asyncio.timeout(5):
                await room.write(writer, made)
        assert room.is_durable


async def test_a_server_that_stops_takes_what_has_gathered() -> None:
    async with open_rooms(relays_per_second=SLOW) as rooms:
        room = await open_room(rooms, "a")
        anna = Guest(room, "anna")
        for letter in "ab":
            anna.type(letter)
            await asyncio.sleep(0)
        anna.room.leave(anna.session)
        rooms.hand_over()
        await rooms.journal.flush()
        stored = await rooms.store.load(room.document.id)
        with closing(load(stored)) as replayed:
            assert replayed.covers(anna.doc.get_update())
