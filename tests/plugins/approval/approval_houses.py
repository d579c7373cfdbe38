"""Houses in which the approval engine is at work: people in its directory, requests that they write and decide on."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from pycrdt import Map, Text

from quorate_plugins.approval import Approvals
from quorate_plugins.approval.machine import replay
from quorate_plugins.approval.requests import Request, read_event, read_request
from quorate_protocol.ids import DocumentName, UserId
from quorate_server.artifacts import open_artifact
from quorate_server.connections import House
from quorate_server.settings import Settings
from quorate_server.users import User
from quorate_storage.acts import Grant
from quorate_storage.memory import MemoryStore
from tests.server.houses import Guest, audit_of, open_house, open_room, person, until

ADMIN = person("root", role="owner")
REQUEST = "approval/one"
SUBJECT = "text/handbook"

PEOPLE: list[dict[str, Any]] = [
    {"id": "rita", "name": "Rita", "manager": "max", "team": "sales", "email": "rita@example.org"},
    {"id": "sam", "roles": ["steward"], "groups": ["stewards"]},
    {"id": "sue", "roles": ["steward"], "groups": ["stewards"]},
    {"id": "sec", "roles": ["security"]},
    {"id": "max", "roles": []},
    {"id": "gov", "roles": ["governance_lead"]},
    {"id": "gus", "roles": ["governance_lead"]},
    {"id": "ann", "roles": ["override"]},
    {"id": "aud", "roles": ["auditor"]},
]


class Clock:
    """The time of units of work, and of the engine; a test moves it."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still until a test moves it."""
    found = Clock(time.time())
    monkeypatch.setattr("quorate_server.work.time", SimpleNamespace(time=found))
    return found


@asynccontextmanager
async def open_approvals(
    *,
    store: MemoryStore | None = None,
    clock: Callable[[], float] | None = None,
    people: bool = True,
    **settings: str,
) -> AsyncIterator[House]:
    engine = Approvals()
    if clock is not None:
        engine.clock = clock
    own = {f"approvals_{key}": value for key, value in settings.items()}
    chosen = Settings(open=True, data=tempfile.mkdtemp(prefix="quorate-"), engine_settings=own)
    async with open_house(engine, store=store, settings=chosen) as house:
        await until(lambda: house.engines.runtimes["approvals"].is_ready, "ready")
        if people:
            await ask(house, "put_people", people=PEOPLE)
        yield house


async def ask(
    house: House, command: str, *, user: User | str = ADMIN, key: str = "", **values: object
) -> dict[str, Any]:
    """Give a command of the engine."""
    who = person(user) if isinstance(user, str) else user
    answer = await house.commands.run(f"approvals.{command}", values, user=who, via="api", key=key)
    return answer.model_dump(mode="json")


def signed_in(name: str, *, ago: float = 10, now: float | None = None) -> User:
    """Somebody who signed in a moment ago."""
    return replace(person(name), claims={"auth_time": (time.time() if now is None else now) - ago, "acr": "mfa"})


async def write(house: House, name: str = REQUEST, *, by: str = "rita", **members: Any) -> None:
    """Edit the content of a request."""
    guest = Guest(await open_room(house.rooms, name, by=by), by)
    guest.doc.apply_update(await guest.room.read())
    guest.made.clear()
    request, fields = guest.doc.get("request", type=Map), guest.doc.get("fields", type=Map)
    with guest.doc.transaction():
        for key, value in members.items():
            if key == "justification":
                request[key] = Text(str(value))
            elif key in MEMBERS:
                request[key] = value
            else:
                fields[key] = value
    for made in guest.made:
        guest.send(made)
    await until(lambda: guest.room.is_durable, "durable")
    guest.room.leave(guest.session)


MEMBERS = {
    "title", "type", "priority", "subject", "subject_version", "risk_level", "compliance_tags", "beneficiaries",
    "valid_until",
}  # fmt: skip

SCHEMA_CHANGE: dict[str, Any] = {
    "type": "schema_change",
    "title": "Add a column",
    "subject": SUBJECT,
    "justification": "needed",
    "change": "ALTER TABLE",
    "is_breaking": False,
}


async def submit(house: House, name: str = REQUEST, **changes: object) -> dict[str, Any]:
    """Write a schema change and put it up for decision, as Rita."""
    await write(house, name, **(SCHEMA_CHANGE | changes))
    return await ask(house, "submit", user="rita", artifact=name)


async def decide(
    house: House, user: User | str, verdict: str = "approve", *, name: str = REQUEST, **values: Any
) -> dict[str, Any]:
    """Decide on a request as it is now."""
    seen = values.pop("content_hash", None) or (await request_of(house, name)).content_hash
    return await ask(house, "decide", user=user, artifact=name, verdict=verdict, content_hash=seen, **values)


async def request_of(house: House, name: str = REQUEST) -> Request:
    async with open_artifact(house.rooms, DocumentName(name)) as artifact:
        return read_request(artifact.record_section("approval"))


async def state_of(house: House, name: str = REQUEST) -> str:
    return (await request_of(house, name)).state


async def own(house: House, subject: str, user: str) -> None:
    await house.rooms.ledger.commit(
        Grant(scope=subject, principal=f"user:{user}", role="owner", by=UserId("root"), at=time.time())
    )


async def assert_replays(house: House, name: str = REQUEST) -> None:
    """The record is the sum of the events in the audit chain."""
    await house.rooms.journal.flush()  # what the engine does by itself shows before it is in the chain
    mine = [body["facts"] for body in await audit_of(house.rooms) if body.get("artifact") == name and "facts" in body]
    replayed = replay([read_event(facts["event"]) for facts in mine if "event" in facts])
    assert replayed == await request_of(house, name)


async def reconciled(house: House, name: str = REQUEST) -> None:
    """Have the engine look at a request now."""
    engine = house.engines.runtimes["approvals"].engine
    async with open_artifact(house.rooms, DocumentName(name)) as artifact:
        await engine.reconcile(artifact)
    await house.rooms.journal.flush()  # the engine may be at it by itself, and have shown what is not durable yet


async def publish(house: House, settings: Mapping[str, Any]) -> None:
    """Let a first policy take effect."""
    guest = Guest(await open_room(house.rooms, "configuration/policy", by="gov"), "gov")
    guest.doc.get("settings", type=Map).update(settings)
    guest.send(guest.made[-1])
    await until(lambda: guest.room.is_durable, "durable")
    guest.room.leave(guest.session)
    await ask(house, "publish_policy", artifact="configuration/policy")
