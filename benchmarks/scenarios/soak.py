"""Half an hour of everything at once: people who come, type, point, break the rules and go without a word."""

from __future__ import annotations

import asyncio
import os
import random
import time

import numpy as np

from benchmarks import material
from benchmarks.checks import check_convergence
from benchmarks.contestants import Contestant
from benchmarks.scenarios.presence import cursor
from benchmarks.scenarios.typing_loads import AUTHOR, Figures
from benchmarks.stage import Stage, Typist, stage
from benchmarks.wire import masked

DOCUMENTS = 10
READERS = 4
LETTERS_A_ROUND = 40
ROUND_SECONDS = 1.5
SEED = 2026


async def mixed(contestant: Contestant, seconds: float) -> Figures:
    """Run rounds until the time is over; then everybody who comes sees all that was acknowledged."""
    source = random.Random(SEED)
    written = [0] * DOCUMENTS
    memory: list[tuple[float, float]] = []
    async with stage(contestant) as on:
        on.mark()
        began = time.perf_counter()
        while (now := time.perf_counter() - began) < seconds:
            memory.append((now, on.server.resident_mib()))
            await asyncio.gather(
                *(_round(on, number, written, source) for number in range(DOCUMENTS)), _fault(on, source)
            )
        for number in range(DOCUMENTS):
            (witness,) = await on.crowd([f"d{number}"])
            await on.swarm.settle([witness])
            check_convergence([witness], material.text_of(*_letters(number)[: written[number]]))
        return {
            "letters": float(sum(written)),
            "memory MiB": memory[-1][1],
            "MiB an hour": _slope(memory),
            "errors": float(on.server.errors()),
        } | on.shares()


async def _round(on: Stage, number: int, written: list[int], source: random.Random) -> None:
    """One document: readers come, somebody types and points, and all are gone again."""
    name = f"d{number}"
    readers = await on.crowd([name] * source.randint(1, READERS))
    (writer,) = await on.crowd([name])
    typist = Typist(writer, AUTHOR + number, _letters(number), sent_at=[0.0] * written[number])
    writer.send(on.swarm.dialect.awareness(name, cursor(AUTHOR + number, written[number] + 1)))
    await typist.write_at(LETTERS_A_ROUND / ROUND_SECONDS, ROUND_SECONDS)
    written[number] = len(typist.sent_at)
    for client in (*readers, writer):
        client.close()


async def _fault(on: Stage, source: random.Random) -> None:
    """Break a rule: bytes that are no message, an update that is none, or half a frame and silence."""
    client = await on.swarm.join(f"d{source.randrange(DOCUMENTS)}")
    await asyncio.sleep(ROUND_SECONDS / 2)
    if client.is_lost:
        return
    noise = os.urandom(64)
    broken = (masked(noise), masked(on.swarm.dialect.update(client.document, noise)), b"\x82\xfe\x10")
    client.send_raw(source.choice(broken))
    await asyncio.sleep(ROUND_SECONDS / 2)
    client.close()


def _letters(number: int) -> tuple[bytes, ...]:
    return material.typing(AUTHOR + number, 50_000)


def _slope(memory: list[tuple[float, float]]) -> float:
    """Return how fast memory grew, once the first third was over: caches have filled by then."""
    late = memory[len(memory) // 3 :]
    if len(late) < 2:
        return 0.0
    times, sizes = np.asarray([at for at, _ in late]), np.asarray([size for _, size in late])
    return float(np.polyfit(times, sizes, 1)[0]) * 3600
