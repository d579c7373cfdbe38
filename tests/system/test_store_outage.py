"""A database that fails: acknowledgements stop, nothing is lost, and it recovers without a hand."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from quorate_protocol.state_vectors import decode_state_vector
from quorate_protocol.updates import is_covered
from tests.storage.servers import PostgresServer, postgres_server
from tests.system.peers import DIALECTS, Peer, until
from tests.system.servers import ServerProcess, token_for
from tests.system.test_durability import promised, write_for_ever

IMPATIENT = {"QUORATE_STORE_FAILURE_SECONDS": "1", "QUORATE_RECHECK_SECONDS": "0.2"}


class LockedSqlite:
    """Somebody else locks the database file."""

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self._path = folder / "quorate.db"

    def begin(self) -> None:
        self._lock = sqlite3.connect(self._path, isolation_level=None, timeout=10, check_same_thread=False)
        self._lock.execute("BEGIN EXCLUSIVE")

    def end(self) -> None:
        self._lock.execute("ROLLBACK")
        self._lock.close()


class StoppedPostgres:
    """The database server dies and comes back."""

    def __init__(self, server: PostgresServer) -> None:
        self.url = server.create_database(f"outage_{uuid.uuid4().hex}")
        self._server = server

    def begin(self) -> None:
        self._server.stop("immediate")

    def end(self) -> None:
        self._server.start()


each_dialect = pytest.mark.parametrize("dialect", list(DIALECTS))


@pytest.fixture
def stoppable_postgres() -> Iterator[PostgresServer]:
    """A server of its own: others are not to feel that it stops."""
    with postgres_server() as server:
        yield server


@each_dialect
async def test_an_outage_of_sqlite_acknowledges_nothing_and_loses_nothing(dialect: str, tmp_path: Path) -> None:
    await outage(DIALECTS[dialect], tmp_path, LockedSqlite(tmp_path), seconds=4)


async def test_an_outage_of_postgresql_acknowledges_nothing_and_loses_nothing(
    stoppable_postgres: PostgresServer, tmp_path: Path
) -> None:
    await outage(DIALECTS["y-websocket"], tmp_path, StoppedPostgres(stoppable_postgres), seconds=4)


@pytest.mark.soak
@each_dialect
async def test_an_outage_of_sqlite_for_60_seconds(dialect: str, tmp_path: Path) -> None:
    await outage(DIALECTS[dialect], tmp_path, LockedSqlite(tmp_path), seconds=60)


@pytest.mark.soak
@each_dialect
async def test_an_outage_of_postgresql_for_60_seconds(
    stoppable_postgres: PostgresServer, dialect: str, tmp_path: Path
) -> None:
    await outage(DIALECTS[dialect], tmp_path, StoppedPostgres(stoppable_postgres), seconds=60)


async def outage(kind: type[Peer], folder: Path, database: LockedSqlite | StoppedPostgres, *, seconds: float) -> None:
    """Fail the database under its owner while three people write, and watch what they are told."""
    environment = {**IMPATIENT, **({"QUORATE_DATABASE": database.url} if database.url else {})}
    async with ServerProcess(folder, environment=environment) as server:
        peers = [await kind(server.websocket_url, "text/a", token_for(f"writer-{i}")).synced() for i in range(3)]
        writing = [asyncio.create_task(write_for_ever(peer, random.Random(i))) for i, peer in enumerate(peers)]
        await until(lambda: len(peers[0].received) > 30, "the load has begun")
        await asyncio.to_thread(database.begin)
        await asyncio.sleep(0.5)  # what was on its way to them arrives
        told = [update for peer in peers for update in promised(peer)]
        assert len(told) > 30

        await asyncio.sleep(seconds)  # the outage itself
        since = sum(len(promised(peer)) for peer in peers) - len(told)
        assert not since, f"{since} updates were promised while they could not be durable"
        assert {peer.close_code for peer in peers} == {1013}
        async with server.http() as http:
            assert (await http.get("/readyz")).status_code == 503
            assert (await http.get("/healthz")).status_code == 200

        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        await asyncio.to_thread(database.end)

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
        known = decode_state_vector(witness.doc.get_state())
        lost = [update for update in told if not is_covered(update, known)]
        assert not lost, f"{len(lost)} of {len(told)} promised updates are lost"
        await witness.close()
