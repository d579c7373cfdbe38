"""`kill -9` between any two statements of a command with effects: all of it is there afterwards, or nothing."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.system.servers import ServerProcess, token_for

SHORT = (1, 2, 4, 7, 11, 16, 22, 29, 37)
ALL = range(1, 200)
ARTIFACT = "approval/one"


class FaultyServer(ServerProcess):
    """The server of `faulty_server.py`, armed or not."""

    def start_now(self) -> FaultyServer:
        self.data.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.system.faulty_server", str(self.port), str(self.data)]
        with (self.data / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ)
        assert self.process.stdout is not None
        match = re.search(r"ready on http://[^:]+:(\d+)", self.process.stdout.readline())
        assert match is not None, (self.data / "server.log").read_text()[-2000:]
        self.port = int(match[1])
        return self

    def arm(self, statements: int) -> None:
        (self.data / "armed").write_text(str(statements))

    def disarm(self) -> None:
        (self.data / "armed").unlink(missing_ok=True)


async def submit(http: httpx.AsyncClient, number: int) -> httpx.Response:
    return await http.post(
        "/api/commands/desk.submit",
        json={"artifact": ARTIFACT, "title": f"title {number}"},
        headers={"Idempotency-Key": f"key-{number}"},
    )


async def content_of(http: httpx.AsyncClient, name: str) -> dict[str, Any]:
    answer = await http.get(f"/api/documents/{name}")
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()["content"]
    return content


async def state_of(http: httpx.AsyncClient) -> dict[str, Any]:
    """Everything that a submission writes, as the outside sees it."""
    record = await content_of(http, f"{ARTIFACT}/record")
    content = await content_of(http, ARTIFACT)
    audit = (await http.get("/api/audit", params={"limit": 1000})).json()["events"]
    changes = (await http.get("/api/changes", params={"limit": 1000})).json()["changes"]
    return {
        "record": len(record.get("record", {}).get("submissions", {})),
        "content": int(content.get("properties", {}).get("submissions", 0)),
        "audit": sum(event["body"]["type"] == "desk.submitted" for event in audit),
        "command": sum(event["body"]["type"] == "command.desk.submit" for event in audit),
        "change": sum(change["type"] == "quorate.desk.submitted" for change in changes),
    }


async def try_every_point(folder: Path, points: Any) -> int:
    server = FaultyServer(folder)
    await server.start()
    done = deaths = 0
    try:
        async with server.http(token_for("boss", role="owner")) as http:
            await http.post("/api/documents", json={"name": ARTIFACT})
            await http.get(f"/api/documents/{ARTIFACT}/record")
        for point in points:
            server.arm(point)
            async with server.http(token_for("boss", role="owner")) as http:
                try:
                    answer = await submit(http, done + 1)
                except httpx.HTTPError:
                    answer = None
            await server.kill()
            has_survived = answer is not None and answer.status_code == 200
            deaths += not has_survived
            server.disarm()
            await server.start()
            async with server.http(token_for("boss", role="owner")) as http:
                counts = set((await state_of(http)).values())
                assert counts in ({done}, {done + 1}), f"at point {point}: {await state_of(http)}"
                assert not has_survived or counts == {done + 1}, "what was answered is there"
                again = await submit(http, done + 1)
                assert again.json() == {"number": done + 1}, f"at point {point}"
                done += 1
                assert set((await state_of(http)).values()) == {done}
                await _delivered(folder, done)
            if has_survived:
                break
        return deaths
    finally:
        if server.process is not None:
            await server.kill()


async def _delivered(folder: Path, number: int) -> None:
    async with asyncio.timeout(20):
        while True:
            lines = (folder / "delivered").read_text().split() if (folder / "delivered").exists() else []
            assert set(lines) <= {f"mail-{n}" for n in range(1, number + 1)}, "no effect is invented"
            if set(lines) == {f"mail-{n}" for n in range(1, number + 1)}:
                return
            await asyncio.sleep(0.01)


@pytest.mark.timeout(240)
async def test_law_every_act_is_accounted_for_whenever_the_power_fails(tmp_path: Path) -> None:
    assert await try_every_point(tmp_path, SHORT) >= 4


@pytest.mark.soak
async def test_law_every_act_is_accounted_for_at_every_statement(tmp_path: Path) -> None:
    assert await try_every_point(tmp_path, ALL) > 20
