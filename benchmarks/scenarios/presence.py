"""A hundred people who move their cursors."""

from __future__ import annotations

import asyncio
import json
import time

import numpy as np

from benchmarks.checks import Diverged, Times, cursor_latencies, milliseconds
from benchmarks.clients import Client
from benchmarks.contestants import Contestant
from benchmarks.scenarios.typing_loads import AUTHOR, Figures
from benchmarks.stage import stage
from benchmarks.wire import masked
from quorate_protocol.awareness import AwarenessEntry, encode_awareness
from quorate_protocol.ids import ClientId

RATE = 10

Moments = dict[tuple[int, int], float]


async def storm(contestant: Contestant, people: int, seconds: float) -> Figures:
    """Everybody moves their cursor ten times a second, each at their own moment; everybody sees all of them."""
    async with stage(contestant) as on:
        clients = await on.crowd(["a"] * people)
        turns = int(RATE * seconds)
        frames = [
            [masked(contestant.dialect.awareness("a", cursor(AUTHOR + person, turn + 1))) for turn in range(turns)]
            for person in range(people)
        ]
        on.mark()
        sent = await _move(clients, frames)
        spent, shares = on.server.cpu_spent(), on.shares()
        await on.swarm.settle(clients, quiet_seconds=0.5)
        ages = np.concatenate([_ages(client, people, turns, sent) for client in clients])
        return {
            "core for a second": spent / seconds,
            "oldest ms": milliseconds(ages, 1.0),
            "p99 ms": milliseconds(ages, 0.99),
        } | shares


async def _move(clients: list[Client], frames: list[list[bytes]]) -> Moments:
    """Send each cursor at its moment; return when that was, by who and clock."""
    sent: Moments = {}
    began = time.perf_counter()
    for turn in range(len(frames[0])):
        for person, client in enumerate(clients):
            due = began + (turn + person / len(clients)) / RATE
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            client.send_raw(frames[person][turn])
            sent[AUTHOR + person, turn + 1] = time.perf_counter()
    return sent


def _ages(client: Client, people: int, turns: int, sent: Moments) -> Times:
    """Return how old each cursor was that a client was shown.

    Raises:
        Diverged: it was not shown somebody's last move; of the others a server may leave some out.
    """
    ages = cursor_latencies(client, sent)
    last = {who for who, clock in ages if clock == turns}
    if len(last) < people:
        raise Diverged(client.document, people, len(last))
    return np.asarray(list(ages.values()))


def cursor(client: int, clock: int) -> bytes:
    """Return somebody's presence, as large as editors make it."""
    state = {
        "user": {"name": f"Person {client}", "color": "#30bced", "colorLight": "#30bced33"},
        "cursor": {"anchor": {"type": None, "tname": "text", "assoc": 0}, "head": {"item": clock, "assoc": 0}},
    }
    return encode_awareness([AwarenessEntry(ClientId(client), clock, json.dumps(state))])
