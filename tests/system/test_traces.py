"""Real people's keystrokes over real sockets: the stored document equals their text to the letter."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from quorate_protocol.state_vectors import decode_state_vector
from tests.system.peers import DIALECTS, Peer, until
from tests.system.servers import ServerProcess, token_for
from tests.system.traces import Step, Trace, load_trace

FAST = {"QUORATE_UPDATES_PER_SECOND": "1000000", "QUORATE_UPDATE_BYTES_PER_SECOND": "1000000000"}
"""People type slowly; a replay must not wait for the limit that protects against programs."""


@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_two_friends_write_at_once(dialect: str, tmp_path: Path) -> None:
    await replay(load_trace("friendsforever"), DIALECTS[dialect], tmp_path)


async def test_one_person_writes_a_component(tmp_path: Path) -> None:
    await replay(load_trace("sveltecomponent"), DIALECTS["hocuspocus"], tmp_path)


async def replay(trace: Trace, kind: type[Peer], folder: Path) -> None:
    """Replay with one client a person, kill the server half-way, and compare what is stored."""
    name = f"text/{trace.name}"
    async with ServerProcess(folder, environment=FAST) as server:
        peers = [
            await kind(server.websocket_url, name, token_for(f"person-{agent}")).synced()
            for agent in range(trace.agents)
        ]
        half = len(trace.steps) // 2
        await type_all(peers, trace.steps[:half], trace)
        await server.kill()
        await until(lambda: all(peer.close_code for peer in peers), "the sockets ended")
        await server.start()
        for peer in peers:
            await peer.synced()
        await type_all(peers, trace.steps, trace, start=half)
        await until(lambda: all(str(p.text) == trace.end for p in peers), "everybody has the text")

        reader = await kind(server.websocket_url, name, token_for("reader")).synced()
        await until(lambda: str(reader.text) == trace.end, "what is relayed is the text")
        for peer in (*peers, reader):
            await peer.close()
        await server.kill()
        await server.start()
        async with server.http(token_for("script")) as http:
            stored = (await http.get(f"/api/documents/{name}")).json()
        assert stored["content"] == {"text": trace.end}


async def type_all(peers: list[Peer], steps: list[Step], trace: Trace, *, start: int = 0) -> None:
    own: list[list[Step]] = [[] for _ in peers]
    for index, step in enumerate(steps):
        own[step.agent].append(step)
        del index
    offsets = [sum(s.agent == agent for s in trace.steps[:start]) for agent in range(len(peers))]
    await asyncio.gather(
        *(type_one(peer, own[agent][offsets[agent] :], ends_of(trace)) for agent, peer in enumerate(peers))
    )


async def type_one(peer: Peer, steps: list[Step], ends: list[list[int]]) -> None:
    """Send each step once its author has received what they had seen when they typed it."""
    for count, step in enumerate(steps):
        known = decode_state_vector(peer.doc.get_state())
        for agent, needed in enumerate(step.needs):
            if agent == step.agent or needed == 0:
                continue
            end = ends[agent][needed - 1]
            while known.get(agent + 1, 0) < end:  # type: ignore[call-overload]
                await asyncio.sleep(0)
                known = decode_state_vector(peer.doc.get_state())
        peer.doc.apply_update(step.update)
        if count % 50 == 0:
            await asyncio.sleep(0)


def ends_of(trace: Trace) -> list[list[int]]:
    """Return, for each person, the Yjs clock after each of their steps."""
    from quorate_protocol.updates import update_ends  # noqa: PLC0415

    ends: list[list[int]] = [[] for _ in range(trace.agents)]
    for step in trace.steps:
        clock = ends[step.agent][-1] if ends[step.agent] else 0
        ends[step.agent].append(max(clock, *update_ends(step.update).values(), 0))
    return ends
