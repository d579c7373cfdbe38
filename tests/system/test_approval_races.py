"""Fifty people decide at the same instant, over sockets of their own: the first that are wanted count, and no more."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pycrdt import Doc, Map, Text

from quorate_client import Client, ProblemError
from tests.system.servers import ServerProcess, token_for

PEOPLE = 50


async def ask(server: ServerProcess, who: str, command: str, **values: object) -> dict[str, Any]:
    role = "owner" if who == "root" else "editor"
    async with server.http(token_for(who, role=role)) as http:
        answer = await http.post(f"/api/commands/approvals.{command}", json=values)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def write(server: ServerProcess, name: str, root: str, members: dict[str, Any]) -> None:
    doc: Doc[Any] = Doc()
    with doc.transaction():
        doc.get(root, type=Map).update(members)
    async with server.http(token_for("root", role="owner")) as http:
        await http.post("/api/documents", json={"name": name})
        assert (await http.post(f"/api/updates/{name}", content=doc.get_update())).status_code < 300


@pytest.mark.parametrize("wanted", [1, 3, 7])
async def test_law_exactly_the_first_that_are_wanted_count(tmp_path: Path, wanted: int) -> None:
    async with ServerProcess(tmp_path, options=("--engines", "approvals")) as server:
        people = [{"id": "rita"}, *({"id": f"s{number}", "roles": ["steward"]} for number in range(PEOPLE))]
        await ask(server, "root", "put_people", people=people)
        requirement = {"id": "r", "pool": ["role:steward"], "approve": {"count": wanted}}
        rule = {"effect": "require", "stages": [{"id": "s", "requirements": [requirement]}]}
        await write(server, "configuration/policy", "settings", {"rules": {"all": rule}})
        await ask(server, "root", "publish_policy", artifact="configuration/policy")
        await write(server, "approval/one", "fields", {"change": "ALTER TABLE", "is_breaking": False})
        request = {"type": "schema_change", "subject": "text/handbook", "justification": Text("needed")}
        await write(server, "approval/one", "request", request)
        seen = (await ask(server, "rita", "submit", artifact="approval/one"))["content_hash"]

        together = asyncio.Barrier(PEOPLE)

        async def decide(number: int) -> str:
            async with Client(server.url, token=token_for(f"s{number}")) as client:
                await together.wait()
                values = {"artifact": "approval/one", "verdict": "approve", "content_hash": seen}
                try:
                    await client.command("approvals.decide", values)
                except ProblemError as error:
                    return error.code
            return "counted"

        outcomes = Counter(await asyncio.gather(*(decide(number) for number in range(PEOPLE))))
        assert outcomes == {"counted": wanted, "already-resolved": PEOPLE - wanted}
        async with server.http(token_for("rita")) as http:
            record = (await http.get("/api/documents/approval/one/record")).json()["content"]["record"]["approval"]
        assert Counter(each["status"] for each in record["decisions"].values()) == {
            "counted": wanted,
            "late": PEOPLE - wanted,
        }
        assert record["state"] == "approved"
