"""What only the demo has: sample people whose tokens anybody on this machine can take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from quorate_server.seeding import seeded_names
from quorate_server.settings import Settings
from quorate_server.tokens import sign_token

TOKEN_SECONDS = 8 * 3600.0


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
                    now=now,
                ),
            }
            for person in PEOPLE
        ]
        return JSONResponse({"people": listed, "samples": seeded_names(names_from)})

    return [Route("/demo/people", people)]


def describe_people(people: Sequence[Person]) -> str:
    """Return the lines that say who can sign in."""
    lines = [f"    {person.name} ({person.role})" for person in people]
    return "\n".join(["  Open it in two windows and sign in as two of:", *lines, "  Stop with Ctrl-C.", ""])
