"""Approvals on a real server that is killed in the middle: the record is always what the audit chain says it is."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from pycrdt import Doc, Map, Text

from quorate_plugins.approval.machine import TRANSITIONS, replay
from quorate_plugins.approval.requests import Request, Status, read_event, read_request
from tests.system.servers import ServerProcess, token_for

STEWARDS = ("sam", "sue", "sid")
PEOPLE: list[dict[str, Any]] = [
    {"id": "rita"},
    *({"id": each, "roles": ["steward"]} for each in STEWARDS),
    {"id": "sec", "roles": ["security"]},
    {"id": "max"},
]
CONTENT = {"type": "schema_change", "title": "A column", "subject": "text/handbook"}
VERDICTS = ("approve", "approve", "approve", "reject", "request_changes", "abstain")


class Town:
    """People who use the server by HTTP, whatever happens to it."""

    def __init__(self, server: ServerProcess, random: Random, requests: int) -> None:
        self.server = server
        self.random = random
        self.names = [f"approval/r{number}" for number in range(requests)]
        self.http: dict[str, httpx.AsyncClient] = {}
        self.answers: dict[int, int] = {}
        self.step = 0

    async def open(self) -> None:
        for each in PEOPLE:
            name = str(each["id"])
            self.http[name] = self.server.http(token_for(name))
        self.http["root"] = self.server.http(token_for("root", role="owner"))
        assert (await self.give("root", "put_people", people=PEOPLE)).status_code == 200
        for name in self.names:
            await self.http["rita"].post("/api/documents", json={"name": name})
            await self.edit("rita", name, "first")

    async def close(self) -> None:
        for client in self.http.values():
            await client.aclose()

    async def give(self, who: str, command: str, **values: object) -> httpx.Response:
        self.step += 1
        return await self.http[who].post(
            f"/api/commands/approvals.{command}", json=values, headers={"Idempotency-Key": f"k{self.step}"}
        )

    async def edit(self, who: str, name: str, change: str) -> None:
        """Write in a request's content, as somebody's editor does."""
        state = await self.http[who].get(f"/api/states/{name}")
        doc: Doc[Any] = Doc()
        doc.apply_update(state.content)
        before = doc.get_state()
        with doc.transaction():
            request, fields = doc.get("request", type=Map), doc.get("fields", type=Map)
            for key, value in CONTENT.items():
                if key not in request:
                    request[key] = value
            if "justification" not in request:
                request["justification"] = Text("needed")
            fields["is_breaking"] = False
            fields["change"] = change
        await self.http[who].post(f"/api/updates/{name}", content=doc.get_update(before))

    async def record_of(self, name: str) -> Request | None:
        answer = await self.http["rita"].get(f"/api/documents/{name}/record")
        section = answer.json()["content"].get("record", {}).get("approval") if answer.status_code == 200 else None
        return read_request(section) if section else None

    async def act(self) -> None:
        """Do something at random; the server may die at any moment of it."""
        random, name = self.random, self.random.choice(self.names)
        try:
            what = random.random()
            if what < 0.3:
                await self.note(await self.give("rita", "submit", artifact=name))
            elif what < 0.75:
                request = await self.record_of(name)
                if request is not None:
                    who = random.choice((*STEWARDS, "sec", "sec", "rita", "max"))
                    verdict = random.choice(VERDICTS)
                    seen = request.content_hash
                    values = {"artifact": name, "verdict": verdict, "content_hash": seen, "reason": "so it is"}
                    await self.note(await self.give(who, "decide", **values))
            elif what < 0.85:
                await self.edit(random.choice(("rita", "sam")), name, f"change {random.randrange(4)}")
            elif what < 0.9:
                await self.note(await self.give("rita", "withdraw", artifact=name))
            elif what < 0.95:
                await self.note(await self.give("rita", "execute", artifact=name))
            else:
                is_there = random.random() < 0.7
                await self.give(
                    "root", "put_people", people=[{"id": "sid", "roles": ["steward"], "is_active": is_there}]
                )
        except httpx.HTTPError:
            await asyncio.sleep(0.05)  # it was killed

    async def note(self, answer: httpx.Response) -> None:
        self.answers[answer.status_code] = self.answers.get(answer.status_code, 0) + 1
        assert answer.status_code < 500 or answer.status_code == 503, answer.text

    async def check(self) -> dict[str, int]:
        """Compare every record with the replay of its audit events."""
        seen: dict[str, int] = {}
        for name in self.names:
            record, events = await self.both_of(name)
            assert replay([read_event(facts["event"]) for facts in events]) == record, name
            for facts in events:
                before = facts["before"]
                assert facts["after"] in TRANSITIONS[facts["event"]["kind"]][before], facts
            if record is not None:
                seen[record.state] = seen.get(record.state, 0) + 1
                counted = [each for each in record.decisions.values() if each.status is Status.COUNTED]
                assert not {each.principal for each in counted} & {"rita", "max"}
        return seen

    async def both_of(self, name: str) -> tuple[Request | None, list[dict[str, Any]]]:
        """A record and its events at a moment when nothing was written in between."""
        while True:
            before = await self.record_of(name)
            events = await self.events_of(name)
            if before == await self.record_of(name):
                return before, events

    async def events_of(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after = 0
        while True:
            answer = await self.http["root"].get("/api/audit", params={"artifact": name, "after": after, "limit": 1000})
            page = answer.json()
            found += [each["body"]["facts"] for each in page["events"] if "event" in each["body"].get("facts", {})]
            if not page["events"]:
                return found
            after = page["events"][-1]["sequence"]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    running = await ServerProcess(tmp_path, options=("--engines", "approvals")).start()
    yield running
    await running.kill()


async def live(server: ServerProcess, *, requests: int, kills: int, seconds: float, seed: int) -> None:
    random = Random(seed)
    town = Town(server, random, requests)
    await town.open()

    async def walk() -> None:
        while not is_over.is_set():
            await town.act()

    is_over = asyncio.Event()
    walkers = [asyncio.create_task(walk()) for _ in range(4)]
    for _ in range(kills):
        await asyncio.sleep(random.uniform(0.3, 1.0) * seconds)
        await server.kill()
        await server.start()
    await asyncio.sleep(seconds)
    is_over.set()
    await asyncio.gather(*walkers)
    seen = await town.check()
    told = f"{town.step} commands, {kills} kills: {seen}, answers {town.answers}"
    assert town.answers.get(200, 0) > requests, told
    if os.environ.get("QUORATE_SOAK"):
        print(told)  # noqa: T201 - the soak's figure
    await town.close()


async def test_law_the_record_of_an_approval_is_the_replay_of_the_audit_chain(server: ServerProcess) -> None:
    await live(server, requests=12, kills=3, seconds=2.0, seed=7)


@pytest.mark.soak
async def test_approvals_over_many_kills(server: ServerProcess) -> None:
    await live(server, requests=60, kills=40, seconds=4.0, seed=11)
