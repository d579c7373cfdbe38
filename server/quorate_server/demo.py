"""What only the demo has: sample people whose tokens anybody on this machine can take, and a sample workspace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from quorate_protocol.ids import DocumentName, UserId
from quorate_server.app import Quorate
from quorate_server.errors import Unavailable
from quorate_server.seeding import seeded_artifacts, seeded_commands, seeded_names
from quorate_server.settings import Settings
from quorate_server.tokens import sign_token
from quorate_server.users import User

TOKEN_SECONDS = 8 * 3600.0
SET_UP_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who can sign in to the demo."""

    id: str
    name: str
    role: str


PEOPLE = (
    Person(id="amara", name="Amara Okafor", role="owner"),
    Person(id="jonas", name="Jonas Weber", role="editor"),
    Person(id="mei", name="Mei Tanaka", role="editor"),
    Person(id="ravi", name="Ravi Menon", role="viewer"),
)


def demo_routes(settings: Settings, *, names_from: Path | None) -> list[BaseRoute]:
    """Return the demo's own route: who can sign in, with fresh tokens, and the sample documents."""

    async def people(_: Request) -> Response:
        now = time.time()
        listed = [
            {
                "id": person.id,
                "name": person.name,
                "role": person.role,
                "token": sign_token(
                    settings.secret,
                    subject=person.id,
                    name=person.name,
                    role=person.role,
                    expires_seconds=TOKEN_SECONDS,
                    signed_in_at=now,
                    now=now,
                ),
            }
            for person in PEOPLE
        ]
        return JSONResponse({"people": listed, "samples": seeded_names(names_from)})

    return [Route("/demo/people", people)]


async def set_up(quorate: Quorate, folder: Path | None) -> None:
    """Create the artifacts of a folder and give its commands, as the demo's owner.

    A workspace that has them is left as people made it, whatever they have changed since.
    """
    house = quorate.house
    owner = User(id=UserId(PEOPLE[0].id), name=PEOPLE[0].name, role=PEOPLE[0].role)
    names = [DocumentName(name) for name in seeded_artifacts(folder)]
    if names and all([await house.rooms.store.find(name) is not None for name in names]):
        return
    for name in (*map(DocumentName, seeded_names(folder)), *names):
        await house.rooms.open(name, owner, may_create=True)
    for number, command in enumerate(seeded_commands(folder), 1):
        async with asyncio.timeout(SET_UP_SECONDS):
            while True:
                try:
                    await house.commands.run(command.name, command.values, user=owner, via="demo", key=f"demo-{number}")
                    break
                except Unavailable:  # the engine is starting
                    await asyncio.sleep(0.05)


def describe_people(people: Sequence[Person]) -> str:
    """Return the lines that say who can sign in."""
    lines = [f"    {person.name} ({person.role})" for person in people]
    return "\n".join(["  Open it in two windows and sign in as two of:", *lines, "  Stop with Ctrl-C.", ""])
