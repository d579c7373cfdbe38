"""One timer for many deadlines: each key is acted on once, when it is due and not before."""

from __future__ import annotations

import asyncio

from quorate_server.deadlines import Deadlines


async def test_each_is_acted_on_when_it_is_due_and_whoever_begins_anew_later() -> None:
    acted: list[tuple[str, float]] = []
    loop = asyncio.get_running_loop()
    deadlines: Deadlines[str] = Deadlines(0.1, lambda key: acted.append((key, loop.time())))
    began = loop.time()
    for key in ("first", "anew", "cleared"):
        deadlines.set(key)
    deadlines.clear("cleared")
    deadlines.clear("never set")
    await asyncio.sleep(0.05)
    deadlines.set("anew")
    deadlines.set("second")
    assert "anew" in deadlines
    assert "cleared" not in deadlines
    await asyncio.sleep(0.3)

    assert [key for key, _ in acted] == ["first", "anew", "second"]
    assert acted[0][1] - began >= 0.099
    assert acted[1][1] - began >= 0.149
    assert "anew" not in deadlines


async def test_what_fails_keeps_nobody_else_from_being_acted_on() -> None:
    acted: list[int] = []

    def act(key: int) -> None:
        acted.append(key)
        raise ValueError(key)

    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    deadlines: Deadlines[int] = Deadlines(0.02, act)
    deadlines.set(1)
    deadlines.set(2)
    await asyncio.sleep(0.06)
    deadlines.set(3)
    await asyncio.sleep(0.06)

    assert acted == [1, 2, 3]


async def test_after_a_stop_nothing_is_due_until_something_is_set() -> None:
    acted: list[str] = []
    deadlines: Deadlines[str] = Deadlines(0.02, acted.append)
    deadlines.set("a")
    deadlines.stop()
    await asyncio.sleep(0.05)
    assert acted == []
    deadlines.set("b")
    await asyncio.sleep(0.05)
    assert acted == ["b"]
