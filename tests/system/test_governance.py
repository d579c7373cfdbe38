"""Artifacts over real sockets and HTTP: records, roles, attribution, proposals, and an audit chain to verify."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from pycrdt import Doc, Map

from tests.system.peers import DIALECTS, Peer, until
from tests.system.servers import ServerProcess, token_for

ARTIFACT = "approval/one"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    running = ServerProcess(tmp_path_factory.mktemp("governance")).start_now()
    yield running
    if running.process is not None:
        running.kill_now()


@pytest.fixture
async def owner(server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with server.http(token_for("olga", role="owner")) as client:
        yield client


async def give(http: httpx.AsyncClient, name: str, values: dict[str, Any], key: str = "") -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await http.post(f"/api/commands/{name}", json=values, headers=headers)


@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_a_record_is_live_for_readers_and_closed_to_writers(
    server: ServerProcess, owner: httpx.AsyncClient, dialect: str
) -> None:
    """A due date makes the reminders engine write the record; a reader sees it live, and cannot change it."""
    name = f"plan/{dialect}"
    writer = await DIALECTS[dialect](server.websocket_url, name, token_for("olga", role="owner")).synced()
    reader = await DIALECTS[dialect](server.websocket_url, f"{name}/record", token_for("rita", role="viewer")).synced()
    writer.doc.get("properties", type=Map)["due_at"] = "2020-01-01T00:00:00+00:00"
    record = reader.doc.get("record", type=Map)
    await until(lambda: (record.to_py() or {}).get("reminders", {}).get("state") == "overdue", "the record says so")

    before = record.to_py()
    record["reminders"] = "forged"
    await until(lambda: record.to_py() == before, "converged to what is shared")
    await until(
        lambda: any("written by the server" in text for text in [*reader.stateless, reader.denied or ""]), "told"
    )
    told_of = (await owner.get("/api/audit", params={"artifact": f"{name}/record"})).json()["events"]
    assert [event["body"]["actor"]["sub"] for event in told_of] == ["rita"]
    reminded = [one for one in await changes(owner) if one["type"] == "quorate.reminder.overdue"]
    assert [one["data"]["owners"] for one in reminded if one["subject"] == name] == [["user:olga"]]
    for peer in (writer, reader):
        await peer.close()


async def test_an_update_of_a_record_over_http_is_refused_and_accounted_for(
    server: ServerProcess, owner: httpx.AsyncClient
) -> None:
    name = "plan/http"
    assert (await owner.post("/api/documents", json={"name": name})).status_code == 201
    doc: Doc[Any] = Doc()
    doc.get("record", type=Map)["forged"] = "yes"
    answer = await owner.post(f"/api/updates/{name}/record", content=doc.get_update())
    assert answer.status_code == 403
    assert "written by the server" in answer.json()["detail"]
    told_of = (await owner.get("/api/audit", params={"artifact": f"{name}/record"})).json()["events"]
    assert [(event["body"]["actor"]["sub"], event["body"]["type"]) for event in told_of] == [("olga", "edit.refused")]


async def changes(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = 0
    while page := (await http.get("/api/changes", params={"after": after, "limit": 1000})).json():
        if not page["changes"] and page["next"] == after:
            return found
        found += page["changes"]
        after = page["next"]
    return found


@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_an_edit_that_breaks_the_kind_is_undone_told_and_kept(
    server: ServerProcess, owner: httpx.AsyncClient, dialect: str
) -> None:
    name = f"approval/shape-{dialect}"
    kind: type[Peer] = DIALECTS[dialect]
    anna = await kind(server.websocket_url, name, token_for("anna")).synced()
    ben = await kind(server.websocket_url, name, token_for("ben")).synced()
    anna.doc.get("smuggled", type=Map)["a"] = 1
    await until(lambda: not anna.doc.get("smuggled", type=Map).to_py(), "undone")
    anna.doc.get("request", type=Map)["title"] = "fine"
    await until(lambda: ben.doc.get("request", type=Map).to_py() == {"title": "fine"}, "the next edit arrives")

    assert any("smuggled" in text for text in [*anna.stateless, anna.denied or ""])
    proposals = (await owner.get(f"/api/proposals/{name}")).json()["proposals"]
    assert [(one["author"], "smuggled" in one["reason"]) for one in proposals] == [("anna", True)]
    for peer in (anna, ben):
        await peer.close()


async def test_a_grant_reaches_open_connections_and_is_explained(
    server: ServerProcess, owner: httpx.AsyncClient
) -> None:
    assert (await owner.post("/api/documents", json={"name": ARTIFACT})).status_code == 201
    guest = token_for("gustav", role="guest")
    async with server.http(guest) as http:
        assert (await http.get(f"/api/documents/{ARTIFACT}")).status_code == 403
        share = {"artifact": ARTIFACT, "principal": "user:gustav", "role": "editor"}
        assert (await give(http, "access.share", share)).status_code == 403
        assert (await give(owner, "access.share", share, key="k1")).json() == {"changed": True}
        why = (await http.get(f"/api/access/{ARTIFACT}", params={"action": "write"})).json()
        assert (why["allowed"], why["policies"]) == (True, ["write-and-create"])
        assert [(role["role"], role["scope"], role["by"]) for role in why["roles"]] == [
            ("guest", None, None),
            ("editor", ARTIFACT, "olga"),
        ]

        peer = await DIALECTS["y-websocket"](server.websocket_url, ARTIFACT, guest).synced()
        peer.doc.get("request", type=Map)["title"] = "by a guest"
        await until(lambda: len(peer.received) > 0, "the echo")
        revoke = {"artifact": ARTIFACT, "principal": "user:gustav"}
        assert (await give(owner, "access.revoke", revoke)).status_code == 200
        await until(lambda: peer.denied, "out within seconds", seconds=8)
        assert (await http.get(f"/api/documents/{ARTIFACT}")).status_code == 403
        await peer.close()
    grants = (await owner.get(f"/api/grants/{ARTIFACT}")).json()["grants"]
    assert [(one["principal"], one["role"]) for one in grants] == [("user:olga", "owner")]


async def test_who_changed_which_part_between_two_sequences(server: ServerProcess, owner: httpx.AsyncClient) -> None:
    name = "approval/parts"
    peers: dict[str, Peer] = {}
    for person in ("anna", "ben"):
        peers[person] = await DIALECTS["hocuspocus"](server.websocket_url, name, token_for(person)).synced()
    for person, root, key in (("anna", "request", "title"), ("ben", "fields", "cost"), ("anna", "fields", "cost")):
        peer = peers[person]
        heard = min(len(each.received) for each in peers.values())
        peer.doc.get(root, type=Map)[key] = person
        await until(partial(_all_heard, peers, heard + 1), "relayed")
    found = (await owner.get(f"/api/attributions/{name}")).json()["contributions"]
    assert [(one["author"], one["inserted"]) for one in found] == [
        ("anna", {"request/title": 1}),
        ("ben", {"fields/cost": 1}),
        ("anna", {"fields/cost": 1}),
    ]
    later = (await owner.get(f"/api/attributions/{name}", params={"after": 1, "until": 2})).json()["contributions"]
    assert [one["sequence"] for one in later] == [2]
    for peer in peers.values():
        await peer.close()


def _all_heard(peers: dict[str, Peer], count: int) -> bool:
    return all(len(peer.received) >= count for peer in peers.values())


def quorate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "quorate_server", *arguments], capture_output=True, text=True, check=False
    )


async def test_others_verify_the_audit_chain_without_the_server(tmp_path: Path) -> None:
    """Export, verify, prove, explain; and an edit by the database's administrator is found."""
    server = ServerProcess(tmp_path / "data", options=("--audit-checkpoints", str(tmp_path / "published")))
    await server.start()
    async with server.http(token_for("olga", role="owner")) as http:
        await http.post("/api/documents", json={"name": ARTIFACT})
        share = {"artifact": ARTIFACT, "principal": "group:stewards", "role": "reviewer"}
        assert (await give(http, "access.share", share)).status_code == 200
        assert (await give(http, "access.revoke", {"artifact": ARTIFACT, "principal": "user:olga"})).status_code == 409
        note = (await http.get("/api/audit/checkpoint")).text
    await server.stop()
    [*_, newest] = sorted((tmp_path / "published").iterdir())
    assert note.splitlines()[0] == newest.read_text().splitlines()[0] == "quorate"
    key = (tmp_path / "data" / "audit.key.pub").read_text().strip()
    export = str(tmp_path / "export.jsonl")

    async def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(quorate, "audit", *arguments)

    assert (await run("export", "--data", str(tmp_path / "data"), "--out", export)).returncode == 0
    verified = await run("verify", "--log", export, "--key", key, "--checkpoint", str(newest))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    explained = await run("explain", "--log", export, "--artifact", ARTIFACT)
    assert "access.granted" in explained.stdout
    assert "command.refused" in explained.stdout
    proof = str(tmp_path / "proof.json")
    assert (await run("prove", "--log", export, "--sequence", "3", "--out", proof)).returncode == 0
    assert (await run("verify-proof", "--proof", proof, "--key", key)).returncode == 0

    with sqlite3.connect(tmp_path / "data" / "quorate.db") as database:
        changed = database.execute(
            "UPDATE audit SET body = CAST(replace(CAST(body AS TEXT), 'reviewer', 'ownerrrr') AS BLOB)"
            " WHERE CAST(body AS TEXT) LIKE '%reviewer%'"
        )
        assert changed.rowcount >= 1
    forged = str(tmp_path / "forged.jsonl")
    assert (await run("export", "--data", str(tmp_path / "data"), "--out", forged)).returncode == 0
    tampered = await run("verify", "--log", forged, "--key", key, "--checkpoint", str(newest))
    assert tampered.returncode == 1, tampered.stdout


async def test_engines_and_kinds_describe_themselves(owner: httpx.AsyncClient) -> None:
    engines = (await owner.get("/api/engines")).json()["engines"]
    health = {one["name"]: one["health"] for one in engines}
    assert health == {"approvals": "working", "reminders": "working", "webhooks": "working"}
    assert {"reminders.snooze"} == set(next(one["commands"] for one in engines if one["name"] == "reminders"))
    kinds = (await owner.get("/api/kinds")).json()["kinds"]
    assert len(kinds) == 10
    assert {root["name"] for root in kinds[0]["roots"] if root["discussion"]} == {"comments"}
