"""Engines over `kill -9`: what was under way is done after the restart, and what was done is not done again."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from pathlib import Path

import httpx
import pytest

from quorate_protocol.ids import DocumentName, UserId
from quorate_server.outbox import EFFECTS_OF_ONE_ENGINE
from quorate_storage.acts import Act, EngineValue, WakeUp
from quorate_storage.sql import SqlStore
from tests.system.peers import until
from tests.system.servers import token_for
from tests.system.test_fault_points import FaultyServer


async def make_plans(folder: Path, count: int, *, wake_at: float | None = None) -> None:
    """Write plans into the database of a server that does not run, and wake-ups for them."""
    async with SqlStore(f"sqlite:///{folder / 'quorate.db'}") as store:
        lease = await store.acquire_lease("all", holder="test", seconds=60, at=1.0)
        if wake_at is not None:  # as if the engine had looked at everything before
            known = EngineValue(engine="engine:sweeper", key="swept", value=b"1")
            await store.commit(Act(rows=(known,)), at=1.0, lease=lease)
        for number in range(count):
            name = DocumentName(f"plan/{number}")
            rows = () if wake_at is None else (WakeUp(engine="sweeper", artifact=name, at=wake_at),)
            await store.create(
                name, kind="plan", by=UserId("anna"), at=1.0, lease=lease, act=Act(rows=rows) if rows else None
            )
        await store.release_lease(lease)


def swept(folder: Path) -> Counter[str]:
    path = folder / "swept"
    return Counter(path.read_text().split() if path.exists() else [])


def outbox(folder: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(folder / "quorate.db") as database:
        return database.execute("SELECT key, state FROM outbox WHERE engine = 'sweeper'").fetchall()


async def kill_in_the_middle(folder: Path, count: int) -> None:
    server = FaultyServer(folder)
    await make_plans(folder, count)
    (folder / "sweep").touch()
    wanted = {f"sweep:plan/{number}" for number in range(count)}
    for part in (0.2, 0.5, 0.8):
        await server.start()
        await until(lambda: len(swept(folder)) >= part * count, "under way", seconds=120)  # noqa: B023
        await server.kill()
    await server.start()
    try:
        await until(lambda: set(swept(folder)) == wanted, "all are done", seconds=240)
        async with server.http(token_for("boss", role="owner")) as http:
            for number in range(0, count, max(1, count // 50)):
                view = (await http.get(f"/api/documents/plan/{number}/record")).json()
                assert view["content"]["record"]["sweeper"] == {"is_done": True}
                assert view["last_sequence"] == 1, "the record was written once"
    finally:
        await server.stop()
    rows = outbox(folder)
    assert sorted(key for key, _ in rows) == sorted(wanted), "one effect for each, none twice"
    assert {state for _, state in rows} == {"done"}
    # Only what was under way at one of the three kills is delivered again, under its key.
    assert sum(swept(folder).values()) - len(wanted) <= 3 * EFFECTS_OF_ONE_ENGINE


async def test_an_engine_killed_in_the_middle_reconciles_all(tmp_path: Path) -> None:
    await kill_in_the_middle(tmp_path, 120)


@pytest.mark.soak
async def test_an_engine_killed_in_the_middle_reconciles_all_1000(tmp_path: Path) -> None:
    await kill_in_the_middle(tmp_path, 1000)


async def fire_overdue(folder: Path, count: int) -> None:
    """Wake-ups that are overdue at the start are done, each once, before a command of the engine is taken."""
    (folder / "sweep").touch()
    server = FaultyServer(folder)
    await make_plans(folder, count, wake_at=5.0)
    await server.start()
    try:
        async with server.http(token_for("boss", role="owner")) as http:
            first = await ask(http)
            answer = first
            async with asyncio.timeout(600):
                while answer.status_code == 503:
                    await asyncio.sleep(0.02)
                    answer = await ask(http)
            assert first.status_code == 503, "it was not taken at once"
            assert answer.json() == {"artifacts": count}
    finally:
        await server.stop()
    with sqlite3.connect(folder / "quorate.db") as database:
        assert database.execute("SELECT count(*) FROM wake_ups").fetchone() == (0,)


async def ask(http: httpx.AsyncClient) -> httpx.Response:
    return await http.post("/api/commands/sweeper.count", json={})


async def test_overdue_wake_ups_are_done_before_any_command(tmp_path: Path) -> None:
    await fire_overdue(tmp_path, 200)


@pytest.mark.soak
async def test_10000_overdue_wake_ups_are_done_before_any_command(tmp_path: Path) -> None:
    await fire_overdue(tmp_path, 10_000)
