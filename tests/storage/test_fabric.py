"""What is particular to each fabric; what they have in common is in the contract."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.asyncio import Redis

from quorate_protocol.ids import DocumentName
from quorate_storage.fabric import FabricUnavailable, Frame, Numbering
from quorate_storage.redis_fabric import INBOX_LIFE_SECONDS, RedisFabric

FRAME = Frame(document=DocumentName("text/one"), connection=1, payload=b"payload")


async def test_redis_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    """A server that cannot be reached stops the start."""
    with pytest.raises(FabricUnavailable):
        async with RedisFabric(f"unix://{tmp_path}/none", "one"):
            pass


async def test_an_inbox_has_a_lifetime(redis_url: str) -> None:
    """What was sent to nobody is gone after a while."""
    async with (
        RedisFabric(redis_url, "one", prefix="life:") as one,
        Redis.from_url(redis_url) as it,
    ):
        await one.send("nobody", FRAME)

        assert 0 < await it.ttl("life:nobody") <= INBOX_LIFE_SECONDS


async def test_leaving_throws_the_inbox_away(redis_url: str) -> None:
    """A process that left keeps no memory occupied."""
    async with RedisFabric(redis_url, "one", prefix="leave:") as one:
        async with RedisFabric(redis_url, "two", prefix="leave:"):
            await one.send("two", FRAME)

        async with Redis.from_url(redis_url) as it:
            assert await it.keys("leave:*") == []


async def test_an_inbox_that_vanished_is_noticed(redis_url: str) -> None:
    """Frames lost with the memory of Redis are told with the next one."""
    async with (
        RedisFabric(redis_url, "one", prefix="lost:") as one,
        RedisFabric(redis_url, "two", prefix="lost:") as two,
        Redis.from_url(redis_url) as it,
    ):
        await one.send("two", FRAME)
        receiving = two.receive()
        await anext(receiving)
        await one.send("two", FRAME)
        await it.delete("lost:two")
        await one.send("two", FRAME)

        lost = await anext(receiving)

        assert (lost.sender, lost.frames) == ("one", 1)  # type: ignore[union-attr]  # a Lost


def test_numbers_tell_what_is_missing() -> None:
    """A gap in a sender's numbers is counted once; other senders do not matter."""
    numbering = Numbering()

    assert [numbering.next_to("a"), numbering.next_to("a"), numbering.next_to("b")] == [1, 2, 1]
    assert [numbering.missing("a", number) for number in (1, 2, 5, 6)] == [0, 0, 2, 0]
    assert numbering.missing("b", 1) == 0
    assert numbering.missing("c", 3) == 2
