"""`python -m benchmarks.approvals`: 1,000 open requests. How long a decision takes, and asking a draft of a policy.

A real server on SQLite with default settings, over HTTP, with signed tokens. A decision is timed from the request to
its answer, which comes when it is durable; `what if` evaluates all open requests by the policies of now and by the
draft, so it is twice the work of a re-evaluation.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from itertools import count
from typing import Any

import httpx
import numpy as np
import uvloop
from pycrdt import Doc, Map, Text

from benchmarks.server import Measured, measured_server, pin_generator
from quorate_server.tokens import sign_token

SECRET = "a-secret-of-the-benchmarks-with-enough-characters"
REQUESTS = 1000
ROUNDS = 5
keys = count(1)

PEOPLE = [
    {"id": "rita"},
    *({"id": f"steward-{number}", "roles": ["steward"]} for number in range(20)),
    {"id": "security", "roles": ["security"]},
]
RULES = {
    "large": {"effect": "require", "when": "request.risk == 'high' && size(request.fields.change) > 3", "stages": []},
    "breaking": {"effect": "forbid", "when": "request.fields.is_breaking && 'pii' in request.tags"},
    "mine": {"effect": "forbid", "when": "requester.groups.exists(g, g == 'contractors') && subject.kind == 'plan'"},
}
STAGE = {"id": "s", "requirements": [{"id": "r", "pool": ["role:steward"]}]}


def token(name: str, role: str = "editor") -> str:
    return sign_token(SECRET, subject=name, name=name, role=role, expires_seconds=36000, now=time.time())


def client(server: Measured, name: str, role: str = "editor") -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token(name, role)}"}
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", headers=headers, timeout=60)


async def give(http: httpx.AsyncClient, command: str, **values: object) -> dict[str, Any]:
    answer = await http.post(
        f"/api/commands/approvals.{command}", json=values, headers={"Idempotency-Key": f"k{next(keys)}"}
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def content(number: int) -> bytes:
    doc: Doc[Any] = Doc()
    request, fields = doc.get("request", type=Map), doc.get("fields", type=Map)
    with doc.transaction():
        request.update({"type": "schema_change", "title": f"Change {number}", "subject": f"text/table-{number}"})
        request["justification"] = Text("The quarter's report needs it.")
        fields.update({"change": f"ALTER TABLE t{number} ADD c int", "is_breaking": number % 2 == 0})
    return doc.get_update()


async def submit_all(server: Measured) -> list[str]:
    """Write and submit the requests; return the content hashes."""
    async with client(server, "root", "owner") as root, client(server, "rita") as rita:
        await give(root, "put_people", people=PEOPLE)
        hashes: list[str] = []
        for number in range(REQUESTS):
            name = f"approval/r{number}"
            await rita.post("/api/documents", json={"name": name})
            await rita.post(f"/api/updates/{name}", content=content(number))
            hashes.append((await give(rita, "submit", artifact=name))["content_hash"])
    return hashes


async def ask_draft(server: Measured) -> list[float]:
    """Ask what a draft would change, some times; return the seconds."""
    doc: Doc[Any] = Doc()
    doc.get("settings", type=Map)["rules"] = {
        key: rule | ({"stages": [STAGE]} if "stages" in rule else {}) for key, rule in RULES.items()
    }
    async with client(server, "rita") as rita:
        await rita.post("/api/documents", json={"name": "configuration/draft"})
        await rita.post("/api/updates/configuration/draft", content=doc.get_update())
        taken: list[float] = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            answer = await give(rita, "what_if", artifact="configuration/draft")
            taken.append(time.perf_counter() - started)
            assert answer["asked"] == REQUESTS, answer["asked"]
    return taken


async def decide_all(server: Measured, hashes: list[str], at_once: int) -> list[float]:
    """Decide on requests, some at once; return the seconds that each took."""
    numbers = iter(range(len(hashes)))
    taken: list[float] = []

    async def work(who: str) -> None:
        async with client(server, who) as http:
            for number in numbers:
                name = f"approval/r{number + offset}"
                started = time.perf_counter()
                await give(http, "decide", artifact=name, verdict="approve", content_hash=hashes[number])
                taken.append(time.perf_counter() - started)

    offset = 0 if at_once == 1 else REQUESTS // 2
    await asyncio.gather(*(work(f"steward-{number}") for number in range(at_once)))
    return taken


async def main() -> None:
    print(f"{REQUESTS} open requests\n\n| what | median, ms | p99, ms |\n|---|---|---|")
    with measured_server(way=("--secret", SECRET), QUORATE_ENGINES="approvals") as server:
        hashes = await submit_all(server)
        draft = await ask_draft(server)
        half = REQUESTS // 2
        rows = {
            "a decision, one at a time": await decide_all(server, hashes[:half], 1),
            "a decision, eight at once": await decide_all(server, hashes[half:], 8),
        }
        for title, taken in rows.items():
            print(f"| {title} | {statistics.median(taken) * 1e3:.1f} | {np.percentile(taken, 99) * 1e3:.1f} |")
        print(f"| a draft of a policy, all requests, before and after | {statistics.median(draft) * 1e3:.0f} | |")
        print(f"\nThe server holds {server.resident_mib():.0f} MiB.")


if __name__ == "__main__":
    pin_generator()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
