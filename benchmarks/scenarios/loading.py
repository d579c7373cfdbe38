"""Opening a real document: from the database of a server that has just started, and from memory, many at once."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from pycrdt import Doc

from benchmarks import material
from benchmarks.checks import Diverged, distinct, text_after
from benchmarks.clients import Client
from benchmarks.contestants import Contestant
from benchmarks.dialects import EMPTY_STATE_VECTOR, Kind
from benchmarks.scenarios.typing_loads import Figures
from benchmarks.stage import PATIENCE_SECONDS, Stage, stage

DOCUMENT = "paper"
STORE_SECONDS = 3.0
"""Longer than Hocuspocus waits before it stores: 2 s without a change."""

stored: dict[str, tempfile.TemporaryDirectory[str]] = {}
"""The folder of each contestant that has the document, as long as this process lives."""


async def cold(contestant: Contestant, clients: int) -> Figures:
    """A server that has just started, and clients that come at once and hold nothing."""
    before = await _folder_of(contestant)
    with tempfile.TemporaryDirectory() as new:
        folder = shutil.copytree(before, Path(new) / "stored")
        async with stage(contestant, folder) as on:
            on.mark()
            return await _open(on, clients, EMPTY_STATE_VECTOR)


async def storm(contestant: Contestant, clients: int, *, holds: bool) -> Figures:
    """A document that is in memory, and clients that come at once: with what they held before, or with nothing."""
    async with stage(contestant) as on:
        await _fill(on)
        state = material.paper()
        doc: Doc[Any] = Doc()
        doc.apply_update(state)
        on.mark()
        return await _open(on, clients, doc.get_state() if holds else EMPTY_STATE_VECTOR, state if holds else None)


async def _folder_of(contestant: Contestant) -> Path:
    """Return a folder in which this contestant has the document; made once."""
    if contestant.name not in stored:
        stored[contestant.name] = made = tempfile.TemporaryDirectory()
        async with stage(contestant, Path(made.name)) as on:
            await _fill(on)
            await asyncio.sleep(STORE_SECONDS)
    return Path(stored[contestant.name].name)


async def _fill(on: Stage) -> None:
    """Bring the document in, and wait until another client sees all of it."""
    state = material.paper()
    (author,) = await on.crowd([DOCUMENT])
    author.send(on.swarm.dialect.update(DOCUMENT, state))
    witness = author
    async with asyncio.timeout(PATIENCE_SECONDS):
        while witness.received_bytes < len(state):
            (witness,) = await on.crowd([DOCUMENT])
    await on.swarm.settle([author, witness])


async def _open(on: Stage, count: int, state_vector: bytes, held: bytes | None = None) -> Figures:
    began = time.perf_counter()
    clients = await asyncio.gather(*(_greeted(on, state_vector) for _ in range(count)))
    least = 0 if held else len(material.paper()) * 9 // 10
    async with asyncio.timeout(PATIENCE_SECONDS):
        while any(client.received_bytes < least and not client.is_lost for client in clients):
            await asyncio.sleep(0.005)
    await on.swarm.settle(clients)
    await on.synced(clients)
    shares = on.shares()
    expected = material.text_of(material.paper())
    for client in distinct(clients):
        found = text_after(client, held) if held else text_after(client)
        if found != expected:
            raise Diverged(DOCUMENT, len(expected), len(found))
    return {"synced ms": 1000 * (max(map(_synced_at, clients)) - began)} | shares


async def _greeted(on: Stage, state_vector: bytes) -> Client:
    client = await on.swarm.open(DOCUMENT)
    client.send(*on.swarm.dialect.greeting(DOCUMENT, state_vector))
    return client


def _synced_at(client: Client) -> float:
    """Return when a client had all: an answer may be empty, and what was loaded come as an update behind it."""
    return max(at for at, heard in client.heard() if heard.kind in {Kind.STEP2, Kind.UPDATE})
