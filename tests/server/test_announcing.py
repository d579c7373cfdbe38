"""When the change feed is told of edits: soon after the first, and now and then while somebody goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from quorate_server import announcing
from tests.server.houses import Guest, changes_of, open_house, open_room


async def test_a_document_that_is_written_in_all_the_time_is_told_of_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One change for the first edits; one more for all that was written until the next is due; none is left out."""
    monkeypatch.setattr(announcing, "ANNOUNCE_SECONDS", 0.02)
    monkeypatch.setattr(announcing, "GOING_ON_SECONDS", 0.5)
    async with open_house() as house:
        room = await open_room(house.rooms, "text/a")
        other = await open_room(house.rooms, "text/b")
        anna, ben = Guest(room, "anna"), Guest(other, "ben")
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() - began < 0.25:
            anna.type("a")
            await asyncio.sleep(0.01)
        ben.type("b")  # who has written nothing lately is told of soon
        async with asyncio.timeout(5):
            while not _of("text/b", await _told(house)):
                await asyncio.sleep(0.01)
        assert len(_of("text/a", await _told(house))) == 1
        async with asyncio.timeout(5):
            while len(told := _of("text/a", await _told(house))) < 2:
                await asyncio.sleep(0.01)
    first, second = told
    assert first["last"] + 1 == second["first"]
    assert second["last"] == room.newest_place


async def _told(house: Any) -> list[Any]:
    return await changes_of(house.rooms, "content.changed")


def _of(name: str, changes: list[Any]) -> list[dict[str, Any]]:
    return [change.data for change in changes if change.document == name]
