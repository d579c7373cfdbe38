"""People who type: one for many readers, at full speed or steadily, and many in one document."""

from __future__ import annotations

import asyncio
import time

from benchmarks import material
from benchmarks.checks import check_convergence, latencies, milliseconds
from benchmarks.clients import Client
from benchmarks.contestants import Contestant
from benchmarks.stage import Stage, Typist, stage

Figures = dict[str, float]

AUTHOR = 3_000_000_001
"""Client ids as Yjs draws them: of five bytes, mostly."""

LETTERS_PER_SECOND = 300_000
"""More than any server takes that writes to many: nobody runs out of updates. Where it is few it is twice that."""

FEW_READERS = 50

WARM_SECONDS = 0.5
"""A server compiles, grows its heap and opens its files before it is measured."""

WRITERS_WINDOW = 16
STEADY_RATE = 100.0
READERS_TIMED = 20
"""Latency is taken at so many of the readers; what they all hold is checked."""


async def fan_out(contestant: Contestant, readers: int, seconds: float, document: str = "a") -> Figures:
    """One writer, as fast as they can; everybody else reads."""
    count = int(LETTERS_PER_SECOND * (seconds + 1)) * (2 if readers <= FEW_READERS else 1)
    material.typing(AUTHOR, count)  # before anybody is connected: it takes a while
    async with stage(contestant) as on:
        clients = await on.crowd([document] * readers)
        typist = await _typist(on, document, AUTHOR, count)
        await typist.write_for(WARM_SECONDS)
        on.mark()
        before, began = len(typist.sent_at), time.perf_counter()
        await typist.write_for(seconds)
        figures = _figures(on, len(typist.sent_at) - before, readers, await on.swarm.settle(clients) - began)
        return figures | _timed(clients, [typist], since=began)


async def steady(contestant: Contestant, readers: int, seconds: float) -> Figures:
    """One writer at a hundred updates a second; what counts is the server's time for each that is delivered."""
    async with stage(contestant) as on:
        clients = await on.crowd(["a"] * readers)
        typist = await _typist(on, "a", AUTHOR, int(STEADY_RATE * seconds) + int(STEADY_RATE))
        await typist.write_at(STEADY_RATE, 0.5)  # a server that is warm
        on.mark()
        before = len(typist.sent_at)
        began = time.perf_counter()
        await typist.write_at(STEADY_RATE, seconds)
        spent = on.server.cpu_spent()
        shares = on.shares()
        await on.swarm.settle(clients)
        delivered = (len(typist.sent_at) - before) * readers
        assert time.perf_counter() - began < 2 * seconds + 1, "the writer kept the pace"
        return {"µs a delivery": 1e6 * spent / delivered} | shares | _timed(clients, [typist], since=began)


async def many_writers(contestant: Contestant, writers: int, seconds: float, document: str = "a") -> Figures:
    """Several people type into one document at once, each as fast as they can, and see what the others type."""
    count = 2 * int(LETTERS_PER_SECOND * (seconds + 0.5) / writers)
    for number in range(writers):
        material.typing(AUTHOR + number, count)  # before anybody is connected: it takes a while
    async with stage(contestant) as on:
        clients = await on.crowd([document] * writers)
        typists = [Typist(client, AUTHOR + i, material.typing(AUTHOR + i, count)) for i, client in enumerate(clients)]
        await _write(typists, WARM_SECONDS)
        on.mark()
        before, began = sum(len(typist.sent_at) for typist in typists), time.perf_counter()
        await _write(typists, seconds)
        written = sum(len(typist.sent_at) for typist in typists) - before
        figures = _figures(on, written, writers, await on.swarm.settle(clients) - began)
        return figures | _timed(clients, typists, since=began)


async def _write(typists: list[Typist], seconds: float) -> None:
    await asyncio.gather(*(typist.write_for(seconds, window=WRITERS_WINDOW) for typist in typists))


async def _typist(on: Stage, document: str, author: int, count: int) -> Typist:
    client = await on.swarm.join(document)
    await on.synced([client])
    return Typist(client, author, material.typing(author, count))


def _figures(on: Stage, written: int, readers: int, seconds: float) -> Figures:
    spent = on.server.cpu_spent()
    return {
        "updates/s": written / seconds,
        "delivered/s": written * readers / seconds,
        "µs an update": 1e6 * spent / written,
    } | on.shares()


def _timed(clients: list[Client], typists: list[Typist], *, since: float) -> Figures:
    """Check that everybody has everything, and tell how long what was sent since a time was on its way."""
    expected = material.text_of(*(update for typist in typists for update in typist.written))
    check_convergence(clients, expected)
    times = latencies(clients[:READERS_TIMED], typists, since=since)
    return {"p50 ms": milliseconds(times, 0.5), "p99 ms": milliseconds(times, 0.99)}
