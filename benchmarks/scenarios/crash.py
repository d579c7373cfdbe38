"""`kill -9` while people type: of what was acknowledged or seen by somebody else, how much is gone after a restart."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path

from benchmarks import material
from benchmarks.checks import Diverged, text_after
from benchmarks.clients import Client
from benchmarks.contestants import Contestant
from benchmarks.dialects import Kind
from benchmarks.scenarios.typing_loads import AUTHOR, Figures
from benchmarks.stage import Stage, Typist, stage
from quorate_protocol.ids import ClientId
from quorate_protocol.updates import update_ends

RATE = 200.0
LONGEST_SECONDS = 1.5
SEED = 2026


async def kill_repeatedly(contestant: Contestant, kills: int) -> Figures:
    """Kill a server at random instants, each time in another document, and look what it kept when it runs again."""
    source = random.Random(SEED)
    promised = lost = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        told = 0
        for number in range(kills + 1):
            async with stage(contestant, folder) as on:
                if number:
                    lost += max(0, told - await _kept(on, f"d{number - 1}"))
                if number < kills:
                    told = await _promised(on, f"d{number}", source.uniform(0.1, LONGEST_SECONDS))
                    promised += told
    return {"kills": float(kills), "promised": float(promised), "lost": float(lost)}


async def _promised(on: Stage, document: str, seconds: float) -> int:
    """Type, kill the server after so many seconds, and return up to which letter anybody was told or shown them."""
    reader, writer = await on.crowd([document] * 2)
    typist = Typist(writer, AUTHOR, material.typing(AUTHOR, int(2 * RATE * LONGEST_SECONDS)))
    typing = asyncio.create_task(typist.write_at(RATE, LONGEST_SECONDS + 1))
    await asyncio.sleep(seconds)
    on.server.process.kill()
    async with asyncio.timeout(10):
        while not (reader.is_lost and writer.is_lost):
            await asyncio.sleep(0.005)
    typing.cancel()
    await asyncio.gather(typing, return_exceptions=True)
    return max(_seen(reader), typist.acknowledged_letters)


async def _kept(on: Stage, document: str) -> int:
    """Return how many letters a document has; they are the first that were typed."""
    (witness,) = await on.crowd([document])
    await on.swarm.settle([witness])
    found = text_after(witness)
    typed = material.text_of(*material.typing(AUTHOR, int(2 * RATE * LONGEST_SECONDS)))
    if not typed.startswith(found):
        raise Diverged(document, len(typed), len(found))
    return len(found)


def _seen(reader: Client) -> int:
    ends = (
        update_ends(heard.payload).get(ClientId(AUTHOR), 0)
        for _, heard in reader.heard()
        if heard.kind in {Kind.UPDATE, Kind.STEP2}
    )
    return max(ends, default=0)
