"""How the cost of an update grows: with the document, with the rooms that are open, and with the readers."""

from __future__ import annotations

import asyncio
import time

from benchmarks import material
from benchmarks.checks import check_convergence
from benchmarks.contestants import Contestant
from benchmarks.dialects import Kind
from benchmarks.scenarios.typing_loads import AUTHOR, LETTERS_PER_SECOND, WARM_SECONDS, Figures, fan_out
from benchmarks.stage import PATIENCE_SECONDS, Stage, Typist, stage

ROOMS_A_SOCKET = 100
"""As many documents as one Hocuspocus socket may hold by default."""


async def with_size(contestant: Contestant, size_bytes: int, seconds: float) -> Figures:
    """One writer and one reader of a document that holds this much already."""
    state = material.pasted(size_bytes)
    _letters(seconds)
    async with stage(contestant) as on:
        (author,) = await on.crowd(["a"])
        author.send(on.swarm.dialect.update("a", state))
        reader = author
        async with asyncio.timeout(PATIENCE_SECONDS):
            while reader.received_bytes < len(state):
                (reader,) = await on.crowd(["a"])
        author.close()
        typist, figures = await _write(on, seconds)
        await on.swarm.settle([reader])
        check_convergence([reader], material.text_of(state, *typist.written))
        return figures


async def with_rooms(contestant: Contestant, rooms: int, seconds: float) -> Figures:
    """One writer and one reader in one room of many, the others idle."""
    _letters(seconds)
    async with stage(contestant) as on:
        await _open_rooms(on, rooms)
        (reader,) = await on.crowd(["a"])
        typist, figures = await _write(on, seconds)
        await on.swarm.settle([reader])
        check_convergence([reader], material.text_of(*typist.written))
        return figures | {"memory MiB": on.server.resident_mib()}


async def with_readers(contestant: Contestant, readers: int, seconds: float) -> Figures:
    """One writer and so many readers."""
    return await fan_out(contestant, readers, seconds)


async def _open_rooms(on: Stage, rooms: int) -> None:
    """Open rooms, a hundred on a socket, and wait until all are synced."""
    dialect = on.swarm.dialect
    for start in range(0, rooms, ROOMS_A_SOCKET):
        holder = await on.swarm.open("rooms")
        names = [f"room-{number}" for number in range(start, min(start + ROOMS_A_SOCKET, rooms))]
        for name in names:
            holder.send(*dialect.greeting(name))
        await on.swarm.settle([holder])
        assert sum(heard.kind is Kind.STEP2 for _, heard in holder.heard()) == len(names), "all are synced"


def _letters(seconds: float) -> tuple[bytes, ...]:
    """Return what is typed. Making it takes longer than a server waits for a client: before there is one."""
    return material.typing(AUTHOR, 2 * int(LETTERS_PER_SECOND * (seconds + 1)))


async def _write(on: Stage, seconds: float) -> tuple[Typist, Figures]:
    (writer,) = await on.crowd(["a"])
    typist = Typist(writer, AUTHOR, _letters(seconds))
    await typist.write_for(WARM_SECONDS)
    on.mark()
    before, began = len(typist.sent_at), time.perf_counter()
    await typist.write_for(seconds)
    written, took = len(typist.sent_at) - before, time.perf_counter() - began
    spent = on.server.cpu_spent()
    return typist, {"updates/s": written / took, "µs an update": 1e6 * spent / written} | on.shares()
