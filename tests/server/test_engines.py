"""Engines at work: what they hear, when they are asked again, and how they fail without harming anybody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest
from pycrdt import Map

from quorate_protocol.ids import DocumentName, UserId
from quorate_server import engines
from quorate_server.announcing import ANNOUNCE_SECONDS
from quorate_server.artifacts import open_artifact
from quorate_server.connections import House
from quorate_server.engines import FAILURES_TO_DEGRADE
from quorate_server.errors import Refused, Unavailable
from quorate_server.hooks import (
    Action,
    AnySpec,
    Artifact,
    Call,
    Change,
    Command,
    CommandSpec,
    Done,
    Effect,
    Engine,
    GiveUp,
    Health,
    ProposedUpdate,
    TryAgain,
    Work,
)
from quorate_server.work import transact
from quorate_storage.acts import Act, WakeUp
from quorate_storage.memory import MemoryStore
from tests.server.houses import Guest, audit_of, changes_of, open_house, open_room, person, until

ARTIFACT = DocumentName("plan/one")


class Clerk(Engine):
    """Counts the members of `plan` into the record, and remembers what it was asked."""

    name = "clerk"
    version = "2"
    kinds = frozenset({"plan"})

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.told: list[Change] = []
        self.delivered: list[str] = []
        self.wake_at: float | None = None
        self.fault: Callable[[], Any] = lambda: None

    async def after_commit(self, changes: Sequence[Change]) -> None:
        self.told.extend(changes)

    async def reconcile(self, artifact: Artifact) -> float | None:
        self.asked.append(artifact.name)
        self.fault()
        count = len(artifact.root_members("plan"))

        def decide(work: Work) -> None:
            if work.set_record(artifact, self.name, {"count": count}):
                work.effect(f"{artifact.name}:{count}", {"count": count}, artifact=artifact)

        await self.server.transact(decide, artifact)
        return self.wake_at

    async def deliver(self, effect: Effect) -> None:
        self.delivered.append(effect.key)


def counted(house: House, name: str = ARTIFACT) -> object:
    record = house.rooms.find(DocumentName(f"{name}/record"))
    if record is None:
        return None
    found = record.live.look(lambda doc: doc.get("record", type=Map).to_py()) or {}
    clerk = found.get("clerk")
    return None if clerk is None else clerk["count"]


async def plan(house: House, name: str = ARTIFACT, **members: object) -> Guest:
    room = await open_room(house.rooms, name)
    guest = Guest(room, "anna")
    guest.doc.get("plan", type=Map).update(members)
    for made in guest.made:
        guest.send(made)
    return guest


async def test_an_engine_reconciles_what_people_write() -> None:
    clerk = Clerk()
    async with open_house(clerk) as house:
        guest = await plan(house, title="a", steps="b")
        await until(lambda: counted(house) == 2, "counted")
        guest.made.clear()
        guest.doc.get("plan", type=Map)["more"] = "c"
        guest.send(guest.made[-1])
        await until(lambda: counted(house) == 3, "counted again")
        await until(lambda: clerk.delivered == [f"{ARTIFACT}:2", f"{ARTIFACT}:3"], "delivered")

        await until(lambda: "content.changed" in {change.type for change in clerk.told}, "told")
        assert clerk.told[0].type == "document.created"
        assert "record.changed" not in {change.type for change in clerk.told}  # its own
        await noted_as_delivered(house)


async def noted_as_delivered(house: House) -> None:
    """An effect is noted as done after it was delivered."""
    async with asyncio.timeout(10):
        while {one.state for one in await house.rooms.store.list_effects("clerk")} != {"done"}:
            await asyncio.sleep(0)


async def test_what_changes_one_after_the_other_is_heard_of_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly twenty documents are created, in a while that is never over the feed is read once at most."""
    clerk, reads = Clerk(), list[int]()
    async with open_house(clerk) as house:
        await plan(house)
        await until(lambda: counted(house) == 0, "at work")
        await asyncio.sleep(2 * ANNOUNCE_SECONDS)  # nothing is on its way to the feed any more
        store = house.rooms.store
        head = await store.feed_head()
        await until(lambda: house.engines.runtimes["clerk"].position == head, "heard of all")
        monkeypatch.setattr(engines, "FOLLOW_SECONDS", 3600.0)
        read = store.read_changes

        async def noted(*, after: int, limit: int = 1000) -> Sequence[Change]:
            reads.append(after)
            return await read(after=after, limit=limit)

        monkeypatch.setattr(store, "read_changes", noted)
        for number in range(20):
            await open_room(house.rooms, DocumentName(f"other-{number}"))
        assert len(reads) <= 1


async def test_artifacts_of_other_kinds_are_none_of_its_business() -> None:
    clerk = Clerk()
    async with open_house(clerk) as house:
        await open_room(house.rooms, "text/other")
        await open_room(house.rooms, "any room")
        await plan(house, title="a")
        await until(lambda: counted(house) == 1, "counted")
        assert set(clerk.asked) == {ARTIFACT}


async def test_law_engines_are_reconcilers() -> None:
    """What was missed while it did not run is done when it starts; what was done is not done again."""
    store = MemoryStore()
    first, second, third = Clerk(), Clerk(), Clerk()
    async with open_house(store=store) as house:  # no engine is installed
        for number in range(5):
            await plan(house, f"plan/{number}", title="a")
            await house.rooms.journal.flush()
    async with open_house(first, store=store) as house:
        await until(lambda: len(first.delivered) == 5, "all are counted")
    async with open_house(second, store=store) as house:
        await until(lambda: house.engines.runtimes["clerk"].health is Health.WORKING, "working")
    assert second.delivered == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Clerk, "version", "3")
        async with open_house(third, store=store) as house:
            await until(lambda: len(set(third.asked)) == 5, "a new version looks at all of them once")
        assert third.delivered == []
        assert len(await store.list_effects("clerk")) == 5


async def test_an_engine_is_woken_at_the_time_it_asked_for() -> None:
    clerk = Clerk()
    async with open_house(clerk) as house:
        clerk.wake_at = time.time() + 0.2
        await plan(house, title="a")
        await until(lambda: clerk.asked, "asked")
        times = len(clerk.asked)
        clerk.wake_at = None
        await until(lambda: len(clerk.asked) > times, "asked again")
        assert await house.rooms.store.next_wake_up() is None


async def test_no_command_of_an_engine_is_taken_before_what_is_overdue_is_done() -> None:
    """Wake-ups that fell due while nothing ran come first, each once."""
    store = MemoryStore()
    names = [DocumentName(f"plan/{number}") for number in range(40)]
    async with open_house(store=store) as house:
        for name in names:
            await open_room(house.rooms, name)
        rows = tuple(WakeUp(engine="clerk", artifact=name, at=1.0) for name in names)
        await store.commit(Act(rows=rows), at=1.0, lease=house.rooms._leases.current())

    class Ask(Command):
        pass

    class Gated(Clerk):
        def commands(self) -> Sequence[AnySpec]:
            async def ask(_: Call, __: Ask) -> Done:
                return Done()

            return (
                CommandSpec(name="clerk.ask", summary="Ask", command=Ask, answer=Done, handler=ask, engine="clerk"),
            )

    clerk = Gated()
    async with open_house(clerk, store=store) as house:
        refused = 0
        while True:
            try:
                await house.commands.run("clerk.ask", {}, user=person("anna"), via="api")
            except Unavailable:
                refused += 1
                await asyncio.sleep(0)
            else:
                break
        assert refused > 0
        assert sorted(clerk.asked[: len(names)]) == sorted(names)
        assert await store.next_wake_up() is None


@pytest.mark.parametrize("how", ["raises", "loops", "hangs"])
async def test_law_an_engine_that_fails_degrades_itself_and_nobody_else(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quorate_server.engines.HOOK_SECONDS", 0.2)
    monkeypatch.setattr("quorate_server.engines.STEP_SECONDS", 0.1)
    monkeypatch.setattr("quorate_server.engines.FIRST_PAUSE_SECONDS", 0.05)

    class Broken(Engine):
        name = "broken"
        kinds = frozenset({"plan"})
        is_mended: ClassVar[bool] = False

        async def reconcile(self, artifact: Artifact) -> float | None:
            if self.is_mended:
                return None
            if how == "raises":
                raise RuntimeError("a bug")
            if how == "hangs":
                await asyncio.Event().wait()
            while True:
                pass

    broken, clerk = Broken(), Clerk()
    async with open_house(broken, clerk) as house:
        for number in range(FAILURES_TO_DEGRADE):
            await plan(house, f"plan/{number}", title="a")
        runtime = house.engines.runtimes["broken"]
        await until(lambda: runtime.health is Health.DEGRADED, "degraded")
        await until(lambda: all(counted(house, f"plan/{n}") == 1 for n in range(FAILURES_TO_DEGRADE)), "clerk works")
        described = {str(one["name"]): one for one in house.engines.describe(0, {})}
        assert described["broken"]["health"] == "degraded"
        assert described["broken"]["reason"]
        assert described["clerk"]["health"] == "working"
        assert b'quorate_engine_degraded{engine="broken"} 1.0' in house.metrics.render()

        def banners() -> list[object]:
            rooms = [house.rooms.find(DocumentName(f"plan/{n}/record")) for n in range(FAILURES_TO_DEGRADE)]
            said = [r.live.look(lambda doc: doc.get("record", type=Map).to_py()) or {} for r in rooms if r]
            return [record.get("engines") for record in said]

        await until(lambda: any(banners()), "the record says so")
        Broken.is_mended = True
        await until(lambda: runtime.health is Health.WORKING, "works again")
        await until(lambda: not any(banners()), "the record says no more")


async def test_an_engine_that_cannot_start_is_left_out() -> None:
    class Unfit(Engine):
        name = "unfit"

        def commands(self) -> Sequence[AnySpec]:
            raise RuntimeError("no configuration")

    clerk = Clerk()
    async with open_house(Unfit(), clerk) as house:
        await plan(house, title="a")
        await until(lambda: counted(house) == 1, "the other works")
        described = {str(one["name"]): one for one in house.engines.describe(0, {})}
        assert (described["unfit"]["health"], described["unfit"]["reason"]) == (
            "failed", "RuntimeError: no configuration",
        )  # fmt: skip


class Censor(Engine):
    """Wants no bad title, and breaks when it is told to."""

    name = "censor"
    guards: ClassVar[Any] = {"plan": frozenset({"plan"})}
    seen: ClassVar[list[frozenset[str]]] = []

    def before_update(self, proposed: ProposedUpdate) -> None:
        self.seen.append(proposed.roots)
        title = proposed.content_json()["plan"].get("title")  # type: ignore[attr-defined]  # a map, as the kind says
        if title == "break":
            raise RuntimeError("a bug")
        if title == "loop":
            while True:
                pass
        if title == "bad":
            raise Refused("not that title")


class StrictCensor(Censor):
    fails_closed = True


async def write(guest: Guest, **members: object) -> None:
    guest.made.clear()
    guest.doc.get("plan", type=Map).update(members)
    guest.send(guest.made[-1])
    await until(lambda: guest.room.is_durable, "answered")
    guest.take()


async def test_an_engine_refuses_an_edit_before_anybody_sees_it() -> None:
    async with open_house(Censor()) as house:
        room = await open_room(house.rooms, ARTIFACT)
        anna, ben = Guest(room, "anna"), Guest(room, "ben")
        await write(anna, title="good")
        await write(anna, title="bad")
        ben.take()

        assert anna.doc.get("plan", type=Map).to_py() == ben.doc.get("plan", type=Map).to_py() == {"title": "good"}
        [kept] = await house.rooms.store.list_set_aside(room.document.id)
        assert (kept.author, kept.reason) == ("anna", "not that title")
        assert [event["facts"]["rule"] for event in await audit_of(house.rooms, "edit.refused")] == ["guard"]


async def test_only_edits_of_guarded_roots_are_shown() -> None:
    Censor.seen.clear()
    async with open_house(Censor()) as house:
        room = await open_room(house.rooms, ARTIFACT)
        anna = Guest(room, "anna")
        anna.doc.get("properties", type=Map)["labels"] = "x"
        anna.send(anna.made[-1])
        await until(lambda: room.is_durable, "durable")
        assert Censor.seen == []
        await write(anna, title="good")
        assert Censor.seen == [frozenset({"plan"})]


@pytest.mark.parametrize("title", ["break", "loop"])
@pytest.mark.parametrize("censor", [Censor, StrictCensor])
async def test_a_guard_that_breaks_lets_pass_unless_it_fails_closed(censor: type[Censor], title: str) -> None:
    async with open_house(censor()) as house:
        room = await open_room(house.rooms, ARTIFACT)
        anna = Guest(room, "anna")
        await write(anna, title="good")
        await write(anna, title=title)

        kept = "good" if censor.fails_closed else title
        assert anna.doc.get("plan", type=Map).to_py() == {"title": kept}
        assert b'quorate_engine_failures_total{engine="censor",hook="before_update"} 1.0' in house.metrics.render()


async def test_an_effect_is_tried_until_it_comes_about_or_is_given_up() -> None:
    class Mail(Engine):
        name = "mail"
        attempts: ClassVar[list[tuple[str, int]]] = []

        async def deliver(self, effect: Effect) -> None:
            self.attempts.append((effect.key, effect.attempts))
            if effect.key == "dead":
                raise GiveUp("no such address")
            if effect.attempts < 2:
                raise TryAgain(0.01, "busy")

    async with open_house(Mail()) as house:
        await open_room(house.rooms, ARTIFACT)

        def decide(work: Work) -> None:
            for key in ("slow", "dead", "slow"):
                work.effect(key, {})

        await transact(house.rooms, [], Work(person("anna"), "test", engine="mail"), decide)
        store = house.rooms.store
        await until(lambda: [k for k, _ in Mail.attempts].count("slow") == 3, "three attempts")
        await house.rooms.journal.flush()
        found = {one.key: one for one in await store.list_effects("mail")}
        assert (found["slow"].state, found["slow"].attempts) == ("done", 3)
        assert (found["dead"].state, found["dead"].error) == ("dead", "no such address")


async def test_an_effect_that_ends_while_the_outbox_is_read_is_not_delivered_again() -> None:
    class Post(Engine):
        name = "post"
        delivered: ClassVar[list[str]] = []

        async def deliver(self, effect: Effect) -> None:
            await asyncio.sleep(0)
            self.delivered.append(effect.key)

    class SlowStore(MemoryStore):
        async def due_effects(self, engine: str, *, at: float, limit: int = 100) -> Sequence[Effect]:
            found = await super().due_effects(engine, at=at, limit=limit)
            for _ in range(30):
                await asyncio.sleep(0)
            return found

    async with open_house(Post(), store=SlowStore()) as house:
        for number in range(50):

            def decide(work: Work, number: int = number) -> None:
                work.effect(f"letter-{number}", {})

            await transact(house.rooms, [], Work(person("anna"), "test", engine="post"), decide)
        await until(lambda: len(set(Post.delivered)) == 50, "all are delivered")
        await house.rooms.journal.flush()
        assert len(Post.delivered) == 50


async def test_a_fork_comes_back_as_one_edit_of_its_actor() -> None:
    """An engine edits a copy, compares, and merges it as somebody."""
    async with open_house() as house:
        guest = await plan(house, title="a")
        await until(lambda: guest.room.is_durable, "durable")
        async with open_artifact(house.rooms, ARTIFACT) as artifact:
            fork = artifact.fork()
            try:
                fork.change(lambda doc: doc.get("plan", type=Map).update({"title": "b", "owner": "ben"}))
                assert artifact.root_members("plan") == {"title": "a"}

                def decide(work: Work) -> None:
                    work.merge(artifact, fork)

                await transact(house.rooms, [artifact], Work(person("ben"), "test"), decide)
            finally:
                fork.close()
            assert artifact.root_members("plan") == {"title": "b", "owner": "ben"}
        guest.take()
        assert guest.doc.get("plan", type=Map).to_py() == {"title": "b", "owner": "ben"}
        stored = await house.rooms.store.load(guest.room.document.id)
        assert [entry.author for entry in stored.tail] == ["anna", UserId("ben")]


# The feed


async def test_changes_of_a_document_are_told_in_order_and_all_of_them() -> None:
    """However edits and commands mix, the ranges that the feed tells of follow each other without a gap."""
    async with open_house() as house:
        guest = await plan(house, title="a")
        async with open_artifact(house.rooms, ARTIFACT) as artifact:
            for number in range(30):
                guest.made.clear()
                guest.doc.get("plan", type=Map)["n"] = number
                guest.send(guest.made[-1])
                if number % 3 == 0:
                    decide = _editing(artifact, "m", number)
                    await transact(house.rooms, [artifact], Work(person("c"), "test"), decide)
        house.rooms.announcer.flush()
        await house.rooms.journal.flush()

        last = 0
        for change in await changes_of(house.rooms, "content.changed"):
            assert change.data["first"] == last + 1
            last = int(str(change.data["last"]))
        assert last == guest.room.newest_place


async def test_what_a_dead_process_did_not_tell_is_told_by_the_next() -> None:
    store = MemoryStore()
    async with open_house(store=store) as house:
        guest = await plan(house, title="a")
        await until(lambda: guest.room.is_durable, "durable")
        house.rooms.announcer._untold.clear()  # as when the process dies
    assert await changes_of(house.rooms, "content.changed") == []
    async with open_house(store=store) as house:
        [change] = await changes_of(house.rooms, "content.changed")
        assert (change.document, change.data["first"], change.data["last"]) == (ARTIFACT, 1, 1)
    async with open_house(store=store) as house:
        assert len(await changes_of(house.rooms, "content.changed")) == 1


def _editing(artifact: Artifact, key: str, value: object) -> Callable[[Work], None]:
    def edit(doc: Any) -> None:
        doc.get("plan", type=Map)[key] = value

    return lambda work: work.edit_content(artifact, edit)


async def test_commands_of_an_engine_act_in_its_name() -> None:
    class Mark(Command):
        artifact: str

    class Marker(Engine):
        name = "marker"

        def commands(self) -> Sequence[AnySpec]:
            return (
                CommandSpec(
                    name="marker.mark", summary="Mark", command=Mark, answer=Done, handler=self._mark,
                    permission=Action.WRITE, engine=self.name,
                ),
            )  # fmt: skip

        async def _mark(self, call: Call, command: Mark) -> Done:
            async with call.artifact(command.artifact) as artifact:

                def decide(work: Work) -> Done:
                    work.set_record(artifact, "marker", {"by": call.user.id})
                    return Done()

                return await call.transact(decide)

    async with open_house(Marker()) as house:
        await plan(house, title="a")
        await until(lambda: house.engines.runtimes["marker"].is_ready, "ready")
        await house.commands.run("marker.mark", {"artifact": ARTIFACT}, user=person("anna"), via="channel")
        async with open_artifact(house.rooms, ARTIFACT) as artifact:
            assert artifact.record_json() == {"marker": {"by": "anna"}}
        [event] = await audit_of(house.rooms, "command.marker.mark")
        assert event["actor"] == {"sub": "anna", "via": "channel"}
        record = house.rooms.find(DocumentName(f"{ARTIFACT}/record"))
        assert record is not None
        stored = await house.rooms.store.load(record.document.id)
        assert [entry.author for entry in stored.tail] == ["engine:marker"]
