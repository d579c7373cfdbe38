"""Code that keeps the event loop is ended, and nothing else is."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time

import pytest

from quorate_server.watchdog import Interrupting, OverBudget, interrupting


def spin() -> None:
    while True:
        pass


def test_what_overstays_is_ended() -> None:
    with pytest.raises(OverBudget):
        interrupting(spin, 0.05)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_ends_in_time_returns_and_is_not_hit_later() -> None:
    assert interrupting(lambda: 7, 0.01) == 7
    until = time.monotonic() + 0.05
    while time.monotonic() < until:
        pass


def test_an_error_passes() -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        interrupting(fail, 1.0)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_code_that_catches_every_exception_is_ended_all_the_same() -> None:
    def stubborn() -> None:
        while True:
            with contextlib.suppress(Exception):
                spin()

    with pytest.raises(OverBudget):
        interrupting(stubborn, 0.05)


def test_in_another_thread_code_is_let_be() -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(interrupting(lambda: 7, 0.001)))
    thread.start()
    thread.join()
    assert found == [7]


async def test_a_coroutine_is_ended_in_the_step_that_overstays() -> None:
    steps: list[str] = []

    async def work() -> None:
        await asyncio.sleep(0)
        steps.append("one")
        await asyncio.sleep(0)
        spin()

    with pytest.raises(OverBudget):
        await Interrupting(work(), 0.05)
    assert steps == ["one"]


async def test_a_coroutine_that_waits_is_not_ended() -> None:
    async def work() -> str:
        await asyncio.sleep(0.1)
        return "done"

    assert await Interrupting(work(), 0.05) == "done"


async def test_a_cancelled_coroutine_cleans_up() -> None:
    cleaned: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await Interrupting(work(), 1.0)
    assert cleaned == ["up"]


async def test_what_a_coroutine_catches_it_catches() -> None:
    async def work() -> str:
        try:
            async with asyncio.timeout(0.02):
                await asyncio.Event().wait()
        except TimeoutError:
            return "caught"
        return "not"

    assert await Interrupting(work(), 1.0) == "caught"
