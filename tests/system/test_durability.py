"""Law 1, durable before visible: `kill -9` at any instant loses nothing acknowledged and nothing seen."""

from __future__ import annotations

import asyncio
import random
import uuid
from pathlib import Path

import pytest

from quorate_protocol.state_vectors import decode_state_vector
from quorate_protocol.updates import is_covered
from tests.storage.servers import PostgresServer
from tests.system.peers import DIALECTS, HocuspocusPeer, Peer, until
from tests.system.servers import ServerProcess, token_for

WRITERS = 3


async def write_for_ever(peer: Peer, random_source: random.Random) -> None:
    """Type and delete as fast as the loop turns, in bursts like a person pasting."""
    while True:
        for _ in range(random_source.randint(1, 5)):
            length = len(peer.text)
            if length > 20 and random_source.random() < 0.3:
                start = random_source.randrange(length - 5)
                del peer.text[start : start + random_source.randint(1, 5)]
            else:
                peer.text.insert(random_source.randint(0, length), random_source.choice("abcdef "))
        await asyncio.sleep(random_source.random() * 0.004)


def promised(peer: Peer) -> list[bytes]:
    """Return every update that this peer saw of anybody, or that it was told is saved."""
    own = peer.sent[: peer.acknowledged] if isinstance(peer, HocuspocusPeer) else []
    return [*peer.received, *own]


@pytest.fixture(params=["sqlite", "postgresql"])
def options(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return what makes `quorate serve` use a fresh database of each kind."""
    if request.param == "sqlite":
        return ()
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return ("--database", postgres.create_database(f"kill_{uuid.uuid4().hex}"))


@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_law_durable_before_visible(dialect: str, options: tuple[str, ...], tmp_path: Path) -> None:
    await kill_repeatedly(DIALECTS[dialect], ServerProcess(tmp_path, options=options), kills=3)


@pytest.mark.soak
@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_law_durable_before_visible_200_kills(dialect: str, options: tuple[str, ...], tmp_path: Path) -> None:
    await kill_repeatedly(DIALECTS[dialect], ServerProcess(tmp_path, options=options), kills=200)


async def kill_repeatedly(kind: type[Peer], server: ServerProcess, *, kills: int) -> None:
    checked = 0
    async with server:
        for seed in range(kills):
            checked += await one_kill(server, kind, seed)
    print(f"{kills} kills, {checked} promised updates, 0 lost")  # noqa: T201 - the soak's figure
    assert checked > kills * 10, "the load was too small to prove anything"


async def one_kill(server: ServerProcess, kind: type[Peer], seed: int) -> int:
    random_source = random.Random(seed)
    name = f"text/kill-{seed}"
    peers = [await kind(server.websocket_url, name, token_for(f"writer-{i}")).synced() for i in range(WRITERS)]
    reader = await kind(server.websocket_url, name, token_for("reader")).synced()
    writing = [asyncio.create_task(write_for_ever(peer, random.Random(f"{seed}-{i}"))) for i, peer in enumerate(peers)]
    await until(lambda: len(reader.received) > 3, "the load has begun")
    await asyncio.sleep(random_source.random() * 0.5)  # the random instant
    await server.kill()
    for task in writing:
        task.cancel()
    await asyncio.gather(*writing, return_exceptions=True)
    everybody = [*peers, reader]
    await until(lambda: all(peer.close_code for peer in everybody), "the sockets ended")

    await server.start()
    witness = await kind(server.websocket_url, name, token_for("witness")).synced()
    known = decode_state_vector(witness.doc.get_state())
    promises = [update for peer in everybody for update in promised(peer)]
    lost = [update for update in promises if not is_covered(update, known)]
    assert not lost, f"seed {seed}: {len(lost)} of {len(promises)} promised updates are lost"

    for peer in everybody:
        await peer.synced()
    everybody.append(witness)
    await until(
        lambda: len({str(peer.text) for peer in everybody}) == 1,
        f"seed {seed}: all clients converge after the restart",
    )
    for peer in everybody:
        await peer.close()
    return len(promises)
