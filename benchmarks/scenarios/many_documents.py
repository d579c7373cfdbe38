"""Many documents: five hundred that trickle, and thousands that nobody touches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import repeat

from benchmarks import material
from benchmarks.checks import check_convergence, latencies
from benchmarks.clients import Client
from benchmarks.contestants import Contestant
from benchmarks.scenarios.typing_loads import AUTHOR, Figures
from benchmarks.stage import Stage, Typist, stage

UPDATES_PER_SECOND = 2


async def trickle(contestant: Contestant, documents: int, seconds: float) -> Figures:
    """Two people in each document; one of them writes twice a second."""
    async with stage(contestant) as on:
        names = [f"d{number}" for number in range(documents)]
        writers, ramp = await _ramp(on, names)
        readers, second = await _ramp(on, names)
        letters = material.typing(AUTHOR, 200)
        typists = [Typist(client, AUTHOR, letters) for client in writers]
        on.mark()
        peak = [on.server.resident_mib()]
        watching = asyncio.create_task(_watch(on, peak))
        await asyncio.gather(*(_write(typist, i / documents, seconds) for i, typist in enumerate(typists)))
        spent, shares = on.server.cpu_spent(), on.shares()
        watching.cancel()
        await asyncio.gather(*(typist.acknowledged() for typist in typists))
        await on.swarm.settle(readers)
        for reader, typist in zip(readers, typists, strict=True):
            check_convergence([reader], material.text_of(*typist.written))
        times = [latencies([reader], [typist]) for reader, typist in zip(readers, typists, strict=True)]
        ages = sorted(float(age) for part in times for age in part)
        return {
            "µs an update": 1e6 * spent / len(ages),
            "memory MiB": max(peak),
            "ramp ms": 1000 * (ramp + second) / (2 * documents),
            "p50 ms": 1000 * ages[len(ages) // 2],
            "p99 ms": 1000 * ages[len(ages) * 99 // 100],
        } | shares


async def idle(contestant: Contestant, connections: int, documents: int) -> Figures:
    """Connections that only stay: what each of them and each room takes of the server's memory."""
    async with stage(contestant) as on:
        await on.crowd(["warm"])
        empty = on.server.resident_mib()
        first, ramp = await _ramp(on, [f"d{number}" for number in range(documents)])
        rooms = on.server.resident_mib()
        rest, _ = await _ramp(on, [f"d{number % documents}" for number in range(connections - documents)])
        full = on.server.resident_mib()
        on.mark()
        await asyncio.sleep(2)
        share = on.server.cpu_share()
        assert not any(client.is_lost for client in (*first, *rest)), "everybody is still there"
        connection = 1024 * (full - rooms) / len(rest)
        return {
            "KiB a connection": connection,
            "KiB a room": 1024 * (rooms - empty) / documents - connection,
            "KiB a connection, rooms and all": 1024 * (full - empty) / connections,
            "memory MiB": full,
            "ramp ms": 1000 * ramp / documents,
            "server core": share,
        }


async def _ramp(on: Stage, names: list[str]) -> tuple[list[Client], float]:
    """Join documents, and return how long it took until all were synced."""
    began = time.perf_counter()
    return await on.crowd(names), time.perf_counter() - began


async def _write(typist: Typist, phase: float, seconds: float) -> None:
    began = time.perf_counter() + phase / UPDATES_PER_SECOND
    for turn in _turns(seconds):
        await asyncio.sleep(max(0.0, began + turn / UPDATES_PER_SECOND - time.perf_counter()))
        typist.write(1)


def _turns(seconds: float) -> Iterator[int]:
    yield from range(int(seconds * UPDATES_PER_SECOND))


async def _watch(on: Stage, peak: list[float]) -> None:
    for _ in repeat(None):
        peak.append(on.server.resident_mib())
        await asyncio.sleep(0.5)
