"""Houses in which the webhooks engine is at work, and what tests of it ask of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pycrdt import Map

from quorate_plugins.webhooks import Webhooks
from quorate_server.connections import House
from quorate_server.settings import Settings
from quorate_server.users import User
from quorate_server.work import Work, transact
from quorate_storage.memory import MemoryStore
from tests.server.houses import Guest, open_house, open_room, person, until

ADMIN = person("root", role="owner")
ARTIFACT = "plan/one"
SECRET_MARK = "whsec_"


@asynccontextmanager
async def open_webhooks(
    tmp_path: object, *, store: MemoryStore | None = None, allow_private: bool = True
) -> AsyncIterator[House]:
    own = {"webhooks_allow_private": "1"} if allow_private else {}
    settings = Settings(open=True, data=str(tmp_path), engine_settings=own)
    async with open_house(Webhooks(), store=store, settings=settings) as house:
        await until(lambda: house.engines.runtimes["webhooks"].is_ready, "ready")
        yield house


async def ask(house: House, command: str, *, user: User = ADMIN, key: str = "", **values: object) -> dict[str, Any]:
    answer = await house.commands.run(f"webhooks.{command}", values, user=user, via="api", key=key)
    return answer.model_dump(mode="json")


async def write(house: House, name: str = ARTIFACT, **members: object) -> None:
    """Edit a document as Anna and have the feed told of it."""
    guest = Guest(await open_room(house.rooms, name), "anna")
    guest.doc.get("plan", type=Map).update(members)
    for made in guest.made:
        guest.send(made)
    await until(lambda: guest.room.is_durable, "durable")
    house.rooms.announcer.flush()
    await house.rooms.journal.flush()


async def publish(house: House, type_: str, name: str = ARTIFACT, **data: object) -> None:
    work = Work(person("anna"), "test")
    await transact(house.rooms, [], work, lambda each: each.publish(type_, name, data))  # type: ignore[arg-type]


async def states(house: House) -> list[tuple[str, int, str]]:
    found = await house.rooms.store.list_effects("webhooks")
    return sorted((one.state, one.attempts, one.error) for one in found)


async def settled(house: House, *expected: tuple[str, int, str]) -> None:
    """Wait until the outbox holds just these: state, attempts, error."""
    async with asyncio.timeout(10):
        while await states(house) != sorted(expected):
            await asyncio.sleep(0)
