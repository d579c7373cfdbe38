"""A database that fails: acknowledgements stop, nothing is lost, and it recovers without a hand."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from pathlib import Path

import pytest

from quorate_protocol.state_vectors import decode_state_vector
from quorate_protocol.updates import is_covered
from quorate_server.documents import LiveDocument
from tests.system.peers import DIALECTS, Peer, until
from tests.system.servers import ServerProcess, token_for
from tests.system.test_durability import promised, write_for_ever

IMPATIENT = {"QUORATE_STORE_FAILURE_SECONDS": "1", "QUORATE_RECHECK_SECONDS": "0.2"}


@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_an_outage_acknowledges_nothing_and_loses_nothing(dialect: str, tmp_path: Path) -> None:
    await outage(DIALECTS[dialect], tmp_path, seconds=4)


@pytest.mark.soak
@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_an_outage_of_60_seconds(dialect: str, tmp_path: Path) -> None:
    await outage(DIALECTS[dialect], tmp_path, seconds=60)


async def outage(kind: type[Peer], folder: Path, *, seconds: float) -> None:
    """Lock the database against its owner while three people write, and watch what they are told."""
    async with ServerProcess(folder, environment=IMPATIENT) as server:
        peers = [await kind(server.websocket_url, "text/a", token_for(f"writer-{i}")).synced() for i in range(3)]
        writing = [asyncio.create_task(write_for_ever(peer, random.Random(i))) for i, peer in enumerate(peers)]
        await until(lambda: len(peers[0].received) > 30, "the load has begun")
        locked = sqlite3.connect(folder / "quorate.db", isolation_level=None, timeout=10, check_same_thread=False)
        await asyncio.to_thread(locked.execute, "BEGIN EXCLUSIVE")
        durable = LiveDocument(
            row[0] for row in locked.execute('SELECT "update" FROM updates ORDER BY sequence').fetchall()
        )
        known = decode_state_vector(durable.state_vector())

        await asyncio.sleep(seconds)  # the outage itself
        told = [update for peer in peers for update in promised(peer)]
        assert len(told) > 30
        early = [update for update in told if not is_covered(update, known)]
        assert not early, f"{len(early)} updates were promised while they could not be durable"
        assert {peer.close_code for peer in peers} == {1013}
        async with server.http() as http:
            assert (await http.get("/readyz")).status_code == 503
            assert (await http.get("/healthz")).status_code == 200

        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        locked.execute("ROLLBACK")
        locked.close()

        async with server.http() as http:
            while (await http.get("/readyz")).status_code != 200:  # recovers by itself
                await asyncio.sleep(0.05)
        for peer in peers:
            await peer.synced()
        await until(lambda: len({str(peer.text) for peer in peers}) == 1, "all converge")
        for peer in peers:
            await peer.close()
        await server.kill()
        await server.start()
        witness = await kind(server.websocket_url, "text/a", token_for("witness")).synced()
        assert str(witness.text) == str(peers[0].text)
        await witness.close()
