"""What every fabric must do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from quorate_protocol.ids import DocumentName
from quorate_storage.fabric import Delivery, Fabric, Frame, Lost

INBOX_FRAMES = 200
PATIENCE_SECONDS = 20.0


class Connect(Protocol):
    """Makes a fabric for an address, not yet entered, whose inboxes hold `INBOX_FRAMES` frames."""

    def __call__(self, address: str) -> Fabric:
        """Return it."""
        ...


class FabricContract:
    """Frames between processes. A subclass adds the fixture `connect`."""

    async def test_a_frame_arrives(self, connect: Connect) -> None:
        """A frame arrives whole and with its sender."""
        async with connect("one") as one, connect("two") as two:
            sent = Frame(document=DocumentName("text/é"), connection=7, payload=bytes(range(256)))

            await one.send("two", sent)

            assert await _next(two.receive()) == Delivery(sender="one", frame=sent)

    async def test_frames_go_both_ways(self, connect: Connect) -> None:
        """An answer reaches the sender by its address."""
        async with connect("one") as one, connect("two") as two:
            await one.send("two", _frame(1))
            question = await _next(two.receive())
            assert isinstance(question, Delivery)

            await two.send(question.sender, _frame(2))

            assert await _next(one.receive()) == Delivery(sender="two", frame=_frame(2))

    async def test_a_reader_is_woken(self, connect: Connect) -> None:
        """A frame that is sent while the receiver waits arrives."""
        async with connect("one") as one, connect("two") as two:
            waiting = asyncio.create_task(_next(two.receive()))
            await asyncio.sleep(0)

            await one.send("two", _frame(1))

            assert await waiting == Delivery(sender="one", frame=_frame(1))

    async def test_frames_of_a_sender_keep_their_order(self, connect: Connect) -> None:
        """Frames of each sender arrive in the order they were sent."""
        async with connect("one") as one, connect("two") as two, connect("three") as three:
            for number in range(20):
                await one.send("three", _frame(number))
                await two.send("three", _frame(number))

            arrived = await _take(three.receive(), 40)

            for sender in ("one", "two"):
                frames = [item.frame for item in arrived if item.sender == sender]
                assert frames == [_frame(number) for number in range(20)]

    async def test_reading_goes_on_where_it_stopped(self, connect: Connect) -> None:
        """A second reader gets what the first one left."""
        async with connect("one") as one, connect("two") as two:
            await one.send("two", _frame(1))
            await _next(two.receive())
            await one.send("two", _frame(2))

            assert await _next(two.receive()) == Delivery(sender="one", frame=_frame(2))

    async def test_what_does_not_fit_is_told(self, connect: Connect) -> None:
        """Frames that were pushed out of a full inbox are counted, and the newest arrive."""
        sent = 6 * INBOX_FRAMES
        async with connect("one") as one, connect("two") as two:
            for number in range(sent):
                await one.send("two", _frame(number))

            receiving = two.receive()
            lost = await _next(receiving)

            assert isinstance(lost, Lost)
            assert lost.frames >= sent - 3 * INBOX_FRAMES
            arrived = await _take(receiving, sent - lost.frames)
            assert arrived[-1].frame == _frame(sent - 1)


def _frame(number: int) -> Frame:
    return Frame(document=DocumentName("text/one"), connection=number, payload=b"%d" % number)


async def _next(receiving: AsyncIterator[Delivery | Lost]) -> Delivery | Lost:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await anext(receiving)


async def _take(receiving: AsyncIterator[Delivery | Lost], count: int) -> list[Delivery]:
    taken: list[Delivery] = []
    for _ in range(count):
        item = await _next(receiving)
        assert isinstance(item, Delivery)
        taken.append(item)
    return taken
