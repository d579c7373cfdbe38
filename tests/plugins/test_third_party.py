"""An engine of somebody else's: built and installed by pip, found by its entry point, at work in a real server."""

from __future__ import annotations

import ast
import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pycrdt import Map

from tests.system.peers import Peer, YWebSocketPeer, until
from tests.system.servers import ServerProcess, token_for

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).parent / "third_party"
PLAN = "plan/launch"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip installed the engine into, without asking any registry."""
    source, target = tmp_path_factory.mktemp("source") / "badges", tmp_path_factory.mktemp("installed")
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--no-index", "--no-build-isolation", "--target", str(target), str(source)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
async def server(installed: Path, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    environment = {"PYTHONPATH": str(installed), "QUORATE_ENGINE_BADGES_FILE": str(tmp_path / "out" / "badges.txt")}
    async with ServerProcess(tmp_path / "data", environment=environment) as started:
        yield started


def lines(tmp_path: Path) -> list[str]:
    file = tmp_path / "out" / "badges.txt"
    return file.read_text("utf-8").splitlines() if file.exists() else []


async def peer(server: ServerProcess, name: str, document: str = PLAN) -> Peer:
    return await YWebSocketPeer(server.websocket_url, document, token_for(name)).synced()


def record_of(record: Peer) -> dict[str, Any]:
    found: dict[str, Any] = (record.doc.get("record", type=Map).to_py() or {}).get("badges", {})
    return found


async def state_of(client: httpx.AsyncClient) -> dict[str, Any]:
    listed = (await client.get("/api/engines")).json()["engines"]
    found: dict[str, Any] = next(engine for engine in listed if engine["name"] == "badges")
    return found


def test_it_imports_nothing_of_quorate_but_the_hooks() -> None:
    tree = ast.parse((SOURCE / "quorate_badges.py").read_text("utf-8"))
    named = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    named += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert {name for name in named if "quorate" in name} == {"quorate_server.hooks"}


def test_its_types_check_against_what_is_installed(installed: Path, tmp_path: Path) -> None:
    """As its author would check it: strictly, from another folder, with Quorate as a dependency."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--config-file", os.devnull,
               str(installed / "quorate_badges.py")]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "Success: no issues found in 1 source file\n", done.stdout + done.stderr


async def test_it_is_listed_with_its_hooks_and_commands(server: ServerProcess) -> None:
    async with server.http(token_for("anna")) as client:
        state = await state_of(client)
        assert (state["version"], state["kinds"], state["commands"]) == ("1.0", ["plan"], ["badges.award"])
        assert state["hooks"] == [
            "lifespan", "before_update", "after_commit", "reconcile", "deliver", "commands", "routes",
        ]  # fmt: skip
        described = (await client.get("/api/openapi.json")).json()
        assert described["paths"]["/api/commands/badges.award"]["post"]["summary"] == "Award a badge"


async def test_its_route_knows_who_asks_and_what_they_may(server: ServerProcess) -> None:
    writer = await peer(server, "anna")
    path = "/api/engines/badges/board"
    async with server.http() as nobody, server.http(token_for("gus", role="guest")) as guest:
        assert (await nobody.get(path)).status_code == 401
        assert (await guest.get(path)).status_code == 403
    async with server.http(token_for("anna")) as client:
        async with asyncio.timeout(10):
            while (board := (await client.get(path)).json()) != {"plans": [PLAN], "for": "anna"}:
                assert board["for"] == "anna"
                await asyncio.sleep(0.01)
    await writer.close()


async def test_it_refuses_an_edit_and_its_author_is_told(server: ServerProcess) -> None:
    anna, ben = await peer(server, "anna"), await peer(server, "ben")
    anna.doc.get("plan", type=Map)["title"] = "Launch"
    await until(lambda: ben.doc.get("plan", type=Map).to_py() == {"title": "Launch"}, "came")
    anna.doc.get("plan", type=Map)["title"] = "Certified!"
    await until(lambda: anna.doc.get("plan", type=Map).to_py() == {"title": "Launch"}, "taken back")
    assert ben.doc.get("plan", type=Map).to_py() == {"title": "Launch"}
    async with server.http(token_for("anna")) as client:
        [proposal] = (await client.get(f"/api/proposals/{PLAN}")).json()["proposals"]
    assert (proposal["author"], proposal["reason"]) == (
        "anna", "a plan does not call itself certified: ask for a badge",
    )  # fmt: skip
    for each in (anna, ben):
        await each.close()


async def test_its_command_writes_the_record_once_for_one_key(server: ServerProcess) -> None:
    anna, record = await peer(server, "anna"), await peer(server, "anna", f"{PLAN}/record")
    anna.doc.get("plan", type=Map)["title"] = "Launch"
    await until(lambda: record_of(record) == {"level": "bronze"}, "reconciled")
    async with server.http(token_for("ben")) as client:
        for _ in range(2):
            answer = await client.post(
                "/api/commands/badges.award", json={"artifact": PLAN, "badge": "shiny"},
                headers={"Idempotency-Key": "one"},
            )  # fmt: skip
            assert (answer.status_code, answer.json()) == (200, {"badge": "shiny", "by": "ben"})
        again = await client.post("/api/commands/badges.award", json={"artifact": PLAN, "badge": "shiny"})
        assert again.status_code == 409
        changes = (await client.get("/api/changes", params={"limit": 1000})).json()["changes"]
    await until(lambda: record_of(record) == {"level": "bronze", "shiny": "ben"}, "everybody sees it")
    assert [one["data"]["badge"] for one in changes if one["type"] == "quorate.badge.awarded"] == ["shiny"]
    async with server.http(token_for("vic", role="viewer")) as client:
        denied = await client.post("/api/commands/badges.award", json={"artifact": PLAN, "badge": "x"})
        assert denied.status_code == 403
    for each in (anna, record):
        await each.close()


async def test_law_a_kill_at_any_time_leaves_what_it_should_do_done_once(server: ServerProcess, tmp_path: Path) -> None:
    """The effect cannot come about at first; what was asked for survives kills, and then comes about once."""
    anna = await peer(server, "anna")
    for number, member in enumerate(("title", "owner", "scope"), 1):
        ben = await peer(server, "ben")
        anna.doc.get("plan", type=Map)[member] = "x"
        plan = ben.doc.get("plan", type=Map)
        await until(lambda p=plan, n=number: len(p) == n, "visible, and so durable")  # type: ignore[misc]
        await server.kill()
        if number < 3:
            await server.start()
            await anna.synced()
    assert lines(tmp_path) == []
    (tmp_path / "out").mkdir()

    for _ in range(2):
        await server.start()
        record = await peer(server, "anna", f"{PLAN}/record")
        await until(lambda: f"{PLAN} gold" in lines(tmp_path), "the effect came about")
        await until(lambda r=record: record_of(r) == {"level": "gold"}, "the record says so")  # type: ignore[misc]
        async with server.http(token_for("anna")) as client, asyncio.timeout(10):
            while (state := await state_of(client))["lag"] or state["health"] != "working":
                await asyncio.sleep(0.01)
        await record.close()
        await server.kill()
    assert len(lines(tmp_path)) == len(set(lines(tmp_path)))
    assert lines(tmp_path)[-1] == f"{PLAN} gold"
