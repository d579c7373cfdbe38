"""What the server promises every engine, beyond `test_engines.py`: asked, woken, told, and left in peace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest
from pycrdt import Map
from starlette.routing import BaseRoute

from quorate_protocol.ids import DocumentName
from quorate_server.artifacts import open_artifact
from quorate_server.engine_house import EngineHouse
from quorate_server.hooks import AnyDoc, Artifact, Change, Effect, Engine, Server, TryAgain, Work
from quorate_server.metrics import Metrics
from quorate_server.settings import Settings
from quorate_server.work import transact
from quorate_storage.memory import MemoryStore
from tests.server.houses import Guest, open_house, open_room, person, until

ARTIFACT = DocumentName("plan/one")


class Watcher(Engine):
    """Remembers what it was asked and told."""

    name = "watcher"
    kinds = frozenset({"plan"})

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.told: list[Change] = []
        self.at_once = self.most_at_once = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.wake_at: float | None = None

    async def after_commit(self, changes: Sequence[Change]) -> None:
        self.told.extend(changes)

    async def reconcile(self, artifact: Artifact) -> float | None:
        self.asked.append(artifact.name)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.gate.wait()
        self.at_once -= 1
        return self.wake_at


def author(engine: Engine) -> Work:
    """A unit of work in the engine's own name."""
    return Work(person("anna"), "test", engine=engine.name)


async def test_an_engine_without_kinds_looks_at_all_that_there_is() -> None:
    store = MemoryStore()
    async with open_house(store=store) as house:
        for name in ("plan/a", "text/b", "any room"):
            await open_room(house.rooms, name)
        head = await store.feed_head()

    class Everything(Watcher):
        kinds: ClassVar[frozenset[str]] = frozenset()

    engine = Everything()
    async with open_house(engine, store=store) as house:
        await until(lambda: house.engines.runtimes["watcher"].position >= head, "read the feed")
        await until(lambda: set(engine.asked) == {"plan/a", "text/b"}, "asked of every artifact")


async def test_an_edit_by_a_person_is_heard_of_although_the_engine_wrote_a_moment_later() -> None:
    """The feed tells of edits of one moment as one change; it is the engine's own only if nobody else had a part."""
    engine = Watcher()
    async with open_house(engine) as house:
        room = await open_room(house.rooms, ARTIFACT)
        await until(lambda: engine.told, "told of its creation")
        await until(lambda: not house.engines.runtimes["watcher"]._busy, "at rest")
        engine.told.clear()
        guest = Guest(room, "anna")
        guest.doc.get("plan", type=Map)["title"] = "a"
        guest.send(guest.made[-1])

        def edit(doc: AnyDoc) -> None:
            doc.get("plan", type=Map)["by"] = "engine"

        async with open_artifact(house.rooms, ARTIFACT) as artifact:
            await transact(house.rooms, [artifact], author(engine), lambda work: work.edit_content(artifact, edit))
        await until(lambda: engine.told, "told")
        [change] = engine.told
        assert (change.actor, change.data["authors"]) == ("engine:watcher", ["anna", "engine:watcher"])


async def test_one_artifact_is_never_reconciled_twice_at_once() -> None:
    engine = Watcher()
    async with open_house(engine) as house:
        await open_room(house.rooms, ARTIFACT)
        runtime = house.engines.runtimes["watcher"]
        await until(lambda: engine.asked and not runtime._busy, "at rest")
        engine.gate.clear()
        asked = [asyncio.create_task(runtime._reconcile(ARTIFACT)) for _ in range(3)]
        await until(lambda: engine.at_once, "one runs")
        engine.gate.set()
        while not asked[0].done():
            await asyncio.sleep(0)
        asked += [asyncio.create_task(runtime._reconcile(ARTIFACT)) for _ in range(3)]
        await asyncio.gather(*asked)
        assert engine.most_at_once == 1
        assert runtime._busy == {}


async def test_a_wake_up_that_is_asked_for_while_the_artifact_is_reconciled_is_not_lost() -> None:
    """By a command of the engine, say, which the reconciliation under way did not see."""
    engine = Watcher()
    async with open_house(engine) as house:
        await open_room(house.rooms, ARTIFACT)
        runtime = house.engines.runtimes["watcher"]
        await until(lambda: engine.asked and not runtime._busy, "at rest")
        engine.gate.clear()
        running = asyncio.create_task(runtime._reconcile(ARTIFACT))
        await until(lambda: engine.at_once, "it runs")
        later = time.time() + 3600
        await transact(house.rooms, [], author(engine), lambda work: work.wake(ARTIFACT, later))
        engine.gate.set()
        await running
        assert await house.rooms.store.next_wake_up() == later

        engine.wake_at = later - 60
        await runtime._reconcile(ARTIFACT)
        assert await house.rooms.store.next_wake_up() == later - 60


async def test_what_is_told_of_documents_that_never_were_stops_nobody() -> None:
    engine = Watcher()
    async with open_house(engine) as house:
        await transact(house.rooms, [], Work(person("anna"), "test"), lambda work: work.publish("x.y", ARTIFACT))
        await open_room(house.rooms, "plan/two")
        await until(lambda: "plan/two" in engine.asked, "it goes on")
        assert ARTIFACT not in engine.asked


async def test_an_engine_that_fails_to_stop_keeps_nobody_from_stopping() -> None:
    left: list[str] = []

    class Leaving(Watcher):
        @asynccontextmanager
        async def lifespan(self, server: Server) -> AsyncGenerator[None]:
            self.server = server
            yield
            left.append(self.name)
            raise RuntimeError("a bug")

    class Other(Leaving):
        name = "other"

    async with open_house(Leaving(), Other()):
        pass
    assert left == ["other", "watcher"]


async def test_an_engine_whose_routes_cannot_be_had_runs_without() -> None:
    class Lost(Watcher):
        def routes(self) -> Sequence[BaseRoute]:
            raise RuntimeError("a bug")

    assert EngineHouse([Lost()], Settings(open=True), Metrics()).routes() == []


@pytest.mark.parametrize("is_attempt", [True, False])
async def test_what_was_put_off_is_no_attempt(is_attempt: bool) -> None:  # noqa: FBT001
    class Mail(Engine):
        name = "mail"
        seen: ClassVar[list[int]] = []

        async def deliver(self, effect: Effect) -> None:
            self.seen.append(effect.attempts)
            if len(self.seen) % 3:
                raise TryAgain(0.0, "busy", is_attempt=is_attempt)

    Mail.seen.clear()
    async with open_house(Mail()) as house:
        await transact(house.rooms, [], Work(person("a"), "test", engine="mail"), lambda work: work.effect("k", {}))
        await until(lambda: len(Mail.seen) == 3, "three times")
        assert Mail.seen == ([0, 1, 2] if is_attempt else [0, 0, 0])


async def test_an_engine_whose_effects_hang_keeps_no_other_waiting() -> None:
    class Slow(Engine):
        name = "slow"

        async def deliver(self, effect: Effect) -> None:
            await asyncio.Event().wait()

    class Quick(Engine):
        name = "quick"
        seen: ClassVar[list[str]] = []

        async def deliver(self, effect: Effect) -> None:
            self.seen.append(effect.key)

    async with open_house(Slow(), Quick()) as house:
        for number in range(60):
            work = Work(person("a"), "test", engine="slow")
            await transact(house.rooms, [], work, lambda each, n=number: each.effect(f"s{n}", {}))  # type: ignore[misc]
        for number in range(60):
            work = Work(person("a"), "test", engine="quick")
            await transact(house.rooms, [], work, lambda each, n=number: each.effect(f"q{n}", {}))  # type: ignore[misc]
        await until(lambda: len(Quick.seen) == 60, "all of the other's came about")
