"""Honest people, clerks and cheats on one artifact, as a state machine: in whatever order they act, the laws hold.

* The record is what the server wrote, and nothing else.
* The content has the shape of its kind, and is what honest people and commenters wrote.
* The live documents equal their logs, replayed from zero.
* A command is done once for each key.
* Every attempt that was refused is in the audit chain, and nobody honest was sent away.
* Everybody who is still there converges.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, closing
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from pycrdt import Array, Doc, Map, Text

from quorate_protocol.ids import ClientId, DocumentName
from quorate_server.artifacts import Artifact
from quorate_server.commands import Answer, Call, Command, CommandSpec
from quorate_server.documents import SERVER_CLIENT_ID
from quorate_server.errors import KeyReused, Unavailable
from quorate_server.folding import load
from quorate_server.kinds import find_kind, view
from quorate_server.work import Work
from tests.server.houses import Guest, audit_of, open_house, person, until

ARTIFACT = DocumentName("approval/one")
RECORD = DocumentName("approval/one/record")
EXAMPLES = int(os.environ.get("QUORATE_FUZZ_CASES", "0")) or 25
PEOPLE = ("anna", "ben")
KEYS = st.sampled_from(["k1", "k2", "k3"])
TITLES = st.text("abcé", min_size=1, max_size=4)


class Count(Command):
    by: int


class Counted(Answer):
    total: int


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.record: dict[str, object] = {}
        self.fields: dict[str, str] = {}
        self.comments: set[str] = set()
        self.replies: dict[str, tuple[int, int]] = {}
        self.refusals = 0
        self.guests: dict[str, Guest] = {}
        self.readers: list[Guest] = []
        self._run(self._open())

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    async def _open(self) -> None:
        self.house = await self.stack.enter_async_context(open_house())
        self.house.commands.register(
            CommandSpec(name="test.count", summary="Count", command=Count, answer=Counted, handler=self._count)
        )
        await self._join()

    async def _join(self) -> None:
        rooms = self.house.rooms
        owner = person("olga", role="owner")
        self.room = await rooms.open(ARTIFACT, owner, may_create=True)
        self.book = await rooms.open(RECORD, owner, may_create=False)
        for name in PEOPLE:
            self.guests[name] = Guest(self.room, name)
        self.guests["carla"] = Guest(self.room, "carla", may_write=False)
        self.guests["carla"].session.may_comment = True
        self.readers = [Guest(self.book, "reader", may_write=False)]
        await self._catch_up()

    async def _catch_up(self) -> None:
        await until(lambda: self.room.is_durable and self.book.is_durable, "durable")
        for guest in (*self.guests.values(), *self.readers):
            if guest.ended is None:
                guest.doc.apply_update(await guest.room.read(guest.doc.get_state()))
                guest.channel.frames.clear()
                guest.made.clear()

    async def _edit(self, guest: Guest, edit: Callable[[Doc[Any]], object]) -> None:
        guest.made.clear()
        with guest.doc.transaction():
            edit(guest.doc)
        for update in list(guest.made):
            guest.send(update)
        await self._catch_up()

    # What honest people do

    @rule(name=st.sampled_from(PEOPLE), key=st.sampled_from("xyz"), title=TITLES)
    def fill_in(self, name: str, key: str, title: str) -> None:
        self._run(self._edit(self.guests[name], lambda doc: doc.get("fields", type=Map).update({key: title})))
        self.fields[key] = title

    @rule(name=st.sampled_from(["carla", *PEOPLE]), key=st.sampled_from("pq"))
    def comment(self, name: str, key: str) -> None:
        made = {key: Map({"author": name, "body": Text("why?")})}
        self._run(self._edit(self.guests[name], lambda doc: doc.get("comments", type=Map).update(made)))
        self.comments.add(key)

    @rule(name=st.sampled_from(PEOPLE))
    def synchronise(self, name: str) -> None:
        """Send all that one has, as a client does that comes back."""
        guest = self.guests[name]

        async def step2() -> None:
            self.room.receive(guest.session, guest.doc.get_update(), is_step2=True)
            await self._catch_up()

        self._run(step2())

    @rule()
    def reload(self) -> None:
        async def leave() -> None:
            for room in (self.room, self.book):
                room.end(Unavailable("reload"))
            await until(lambda: self.house.rooms.find(ARTIFACT) is None, "gone")
            await self._join()

        self._run(leave())

    @rule()
    def compact(self) -> None:
        async def fold() -> None:
            for room in (self.room, self.book):
                self.house.rooms._start_compacting(room)
                await until(lambda: not self.house.rooms._compacting, "folded")

        self._run(fold())

    # What clerks do

    async def _count(self, call: Call, command: Count) -> Counted:
        async with call.artifact(ARTIFACT) as artifact:

            def decide(work: Work) -> Counted:
                total = _total(artifact) + command.by
                work.set_record(artifact, "total", {"sum": total})
                return Counted(total=total)

            return await call.transact(decide)

    @rule(key=KEYS, by=st.integers(1, 3))
    def count(self, key: str, by: int) -> None:
        async def give() -> int | None:
            try:
                answer = await self.house.commands.run(
                    "test.count", {"by": by}, user=person("clerk"), via="api", key=key
                )
            except KeyReused:
                return None
            finally:
                await self._catch_up()
            return int(answer.model_dump()["total"])

        total = self._run(give())
        known = self.replies.get(key)
        if known is None:
            before = int(str(self.record.get("sum", 0)))
            assert total == before + by
            self.replies[key] = (by, total)
            self.record = {"sum": total}
        else:
            assert total == (known[1] if by == known[0] else None)

    # What cheats do

    @rule(what=st.sampled_from(["set", "delete", "append", "stray"]))
    def write_the_record(self, what: str) -> None:
        def attempt(doc: Doc[Any]) -> None:
            match what:
                case "set":
                    doc.get("record", type=Map)["total"] = 1_000_000
                case "delete" if "total" in doc.get("record", type=Map):
                    del doc.get("record", type=Map)["total"]
                case "append":
                    doc.get("record", type=Array).append("in a row")
                case _:
                    doc.get("elsewhere", type=Text).insert(0, "stray")

        self._run(self._edit(self.readers[0], attempt))
        self.refusals += 1

    @rule(name=st.sampled_from(PEOPLE), what=st.sampled_from(["stray", "list on map", "text on list"]))
    def break_the_shape(self, name: str, what: str) -> None:
        def attempt(doc: Doc[Any]) -> None:
            match what:
                case "list on map":
                    doc.get("fields", type=Array).append("in a row")
                case "text on list":
                    doc.get("attachments", type=Text).insert(0, "text")
                case _:
                    doc.get("stray", type=Map)["a"] = 1

        self._run(self._edit(self.guests[name], attempt))
        self.refusals += 1

    @rule()
    def edit_as_a_commenter(self) -> None:
        self._run(self._edit(self.guests["carla"], lambda doc: doc.get("fields", type=Map).update({"x": "carla"})))
        self.refusals += 1

    @rule(whose=st.sampled_from(["server", *PEOPLE]))
    def write_as_somebody_else(self, whose: str) -> None:
        async def spoof() -> None:
            mallory = Guest(self.room, "mallory")
            client = SERVER_CLIENT_ID if whose == "server" else ClientId(self.guests[whose].doc.client_id)
            forged: Doc[Any] = Doc(client_id=client)
            forged.apply_update(await self.room.read())
            since = forged.get_state()
            forged.get("fields", type=Map)["x"] = "forged"
            mallory.send(forged.get_update(since))
            await self._catch_up()
            assert (mallory.ended is not None) == is_claimed
            if mallory.ended is None:
                self.room.leave(mallory.session)

        is_claimed = whose == "server" or self.guests[whose].doc.client_id in self.room.screening._writers
        self._run(spoof())
        if is_claimed:
            self.refusals += 1
        else:  # nobody's so far: now it is Mallory's, and its owner gets a new one by reloading
            self.fields["x"] = "forged"
            self.reload()

    # The laws

    @invariant()
    def the_laws_hold(self) -> None:
        self._run(self._check())

    async def _check(self) -> None:
        await until(lambda: self.room.is_durable and self.book.is_durable, "durable")
        kind = find_kind(ARTIFACT)
        assert kind is not None
        record = {"total": self.record} if self.record else {}
        for room, expected in ((self.room, self._content()), (self.book, record)):
            stored = await self.house.rooms.store.load(room.document.id)
            with closing(load(stored)) as replayed:
                for state in (await room.read(), replayed.encode()):
                    doc: Doc[Any] = Doc()
                    doc.apply_update(state)
                    found = view(kind, state) if room is self.room else doc.get("record", type=Map).to_py()
                    assert _shown(found) == expected
        for guest in self.guests.values():
            assert guest.ended is None
            assert _shown(view(kind, guest.doc.get_update())) == self._content()
        assert self.readers[0].doc.get("record", type=Map).to_py() == record
        await self.house.rooms.journal.flush()
        assert len(await audit_of(self.house.rooms, "edit.refused")) == self.refusals

    def _content(self) -> dict[str, object]:
        content: dict[str, object] = {}
        if self.fields:
            content["fields"] = self.fields
        if self.comments:
            content["comments"] = self.comments
        return content

    def teardown(self) -> None:
        self._run(self.stack.aclose())
        self.runner.close()


def _total(artifact: Artifact) -> int:
    return int(float(str(artifact.record_section("total").get("sum", 0))))


def _shown(found: dict[str, Any] | None) -> dict[str, object]:
    """Leave out what is empty, and of comments all but their ids."""
    shown = {name: value for name, value in (found or {}).items() if value}
    if "comments" in shown:
        shown["comments"] = set(shown["comments"])
    return shown


def test_law_nobody_cheats_whatever_the_order() -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
