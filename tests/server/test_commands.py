"""Commands: who may give them, what a repetition gets, and what is told of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from pydantic import ValidationError

from quorate_protocol.errors import NameRefused
from quorate_protocol.ids import DocumentName, UserId
from quorate_server.access import EVERYTHING, ROLES, Access, Action
from quorate_server.commands import Answer, Call, Command, CommandSpec
from quorate_server.connections import House
from quorate_server.errors import AccessDenied, CommandUnknown, Conflict, KeyReused, Refused, Unavailable
from quorate_server.work import Work
from quorate_storage.acts import Grant
from tests.server.houses import audit_of, changes_of, open_house, open_room, person
from tests.server.stores import HeldStore

ARTIFACT = DocumentName("approval/one")
OWNER = person("olga", role="guest")


class Count(Command):
    artifact: str
    by: int = 1


class Counted(Answer):
    total: int


def counter(decides: Callable[[Call, Count], None] | None = None) -> CommandSpec[Count, Counted]:
    async def count(call: Call, command: Count) -> Counted:
        async with call.artifact(command.artifact) as artifact:

            def decide(work: Work) -> Counted:
                total = int(str(artifact.record_json().get("total", 0)).removesuffix(".0")) + command.by
                work.set_record(artifact, "total", total)
                work.effect(f"effect-{total}", {})
                if decides is not None:
                    decides(call, command)
                return Counted(total=total)

            return await call.transact(decide)

    return CommandSpec(
        name="test.count", summary="Count", command=Count, answer=Counted, handler=count, permission=Action.WRITE
    )


async def ready(house: House) -> None:
    """An artifact that Olga owns, and a command that counts in its record."""
    await house.rooms.open(ARTIFACT, OWNER, may_create=True)
    house.commands.register(counter())


def count(house: House, *, key: str = "", by: int = 1, user: str = "olga") -> Awaitable[Answer]:
    values = {"artifact": ARTIFACT, "by": by}
    return house.commands.run("test.count", values, user=person(user, role="guest"), via="api", key=key)


async def test_law_a_command_is_done_once_however_often_it_is_sent() -> None:
    async with open_house() as house:
        await ready(house)
        at_once = await asyncio.gather(*(count(house, key="k") for _ in range(20)))
        later = await count(house, key="k")

        assert {answer.model_dump_json() for answer in [*at_once, later]} == {'{"total":1}'}
        assert await count(house, key="other") == Counted(total=2)
        assert len(await house.rooms.store.list_effects("")) == 2
        assert len(await audit_of(house.rooms, "command.test.count")) == 2


async def test_a_key_belongs_to_one_command_and_one_person() -> None:
    async with open_house() as house:
        await ready(house)
        house.access.follow([_owner("ben")])
        await count(house, key="k")
        with pytest.raises(KeyReused):
            await count(house, key="k", by=5)
        assert await count(house, key="k", user="ben") == Counted(total=2)
        [refused] = await audit_of(house.rooms, "command.refused")
        assert refused["facts"] == {"code": "key-reused", "command": "test.count", "key": "k"}


async def test_a_command_that_is_refused_changes_nothing_and_is_accounted_for() -> None:
    def refuse(call: Call, command: Count) -> None:
        raise Conflict("not now")

    async with open_house() as house:
        await house.rooms.open(ARTIFACT, OWNER, may_create=True)
        house.commands.register(counter(refuse))
        for _ in range(2):
            with pytest.raises(Conflict, match="not now"):
                await count(house, key="k")
        with pytest.raises(AccessDenied):
            await count(house, user="mallory")
        await house.rooms.journal.flush()

        events = await audit_of(house.rooms, "command.refused")
        assert [event["actor"]["sub"] for event in events] == ["olga", "olga", "mallory"]
        assert await house.rooms.store.list_effects("") == []
        assert await audit_of(house.rooms, "command.test.count") == []


async def test_a_command_is_answered_when_it_is_durable_and_not_before() -> None:
    store = HeldStore()
    async with open_house(store=store) as house:
        await ready(house)
        async with asyncio.TaskGroup() as group:
            store.hold()
            running = group.create_task(_run(count(house)))
            await _turns(lambda: store.is_waiting)
            assert not running.done()
            store.release()
        assert running.result() == Counted(total=1)


async def test_a_command_whose_commit_is_lost_is_not_answered() -> None:
    store = HeldStore()
    async with open_house(store=store) as house:
        await ready(house)
        await store.steal_lease()
        with pytest.raises(Unavailable):
            await count(house)


async def test_what_does_not_fit_says_so() -> None:
    async with open_house() as house:
        await ready(house)
        with pytest.raises(CommandUnknown, match=r"access\.share"):
            await house.commands.run("no.such", {}, user=OWNER, via="api")
        for values in ({}, {"artifact": 5}, {"artifact": ARTIFACT, "more": 1}, {"artifact": ARTIFACT, "by": "x"}):
            with pytest.raises(ValidationError):
                await house.commands.run("test.count", values, user=OWNER, via="api")
        with pytest.raises(Refused, match="idempotency key"):
            await count(house, key="k" * 200)
        with pytest.raises(ValueError, match="already"):
            house.commands.register(counter())


# Roles


async def test_the_published_matrix_is_what_the_policies_say() -> None:
    """Each cell of the table at the head of the default policies is tried."""
    access = Access()
    header, *rows = [line.removeprefix("//") for line in _matrix().splitlines()]
    actions = header.split()
    assert sorted(actions) == sorted(Action)
    assert [row.split()[0] for row in rows] == list(reversed(ROLES))
    columns = [header.index(action) for action in actions]
    for row in rows:
        role = row.split()[0]
        for action, start in zip(actions, columns, strict=True):
            cell = row[start : start + len(action)].strip()
            assert access.may(person("p", role=role), Action(action), ARTIFACT) == (cell == "x"), (role, action)
            is_read = action == Action.READ
            may_record = access.may(person("p", role=role), Action(action), DocumentName(f"{ARTIFACT}/record"))
            assert may_record == (is_read and cell == "x")


async def test_roles_add_up_and_say_where_they_come_from() -> None:
    access = Access()
    access.follow(
        [
            Grant(scope=ARTIFACT, principal="user:anna", role="reviewer", by=UserId("olga"), at=1.0),
            Grant(scope="kind:approval", principal="group:stewards", role="editor", by=UserId("root"), at=2.0),
        ]
    )
    anna = person("anna", role="guest", groups=("stewards",))
    assert access.may(anna, Action.REVIEW, ARTIFACT)
    assert access.may(anna, Action.WRITE, ARTIFACT)
    assert not access.may(anna, Action.SHARE, ARTIFACT)
    assert access.may(anna, Action.WRITE, DocumentName("approval/two"))
    assert not access.may(anna, Action.REVIEW, DocumentName("approval/two"))
    assert not access.may(anna, Action.READ, DocumentName("text/two"))

    verdict = access.explain(anna, Action.WRITE, ARTIFACT)
    assert [str(held) for held in verdict.roles] == [
        "guest, by the token",
        f"reviewer, granted to user:anna in {ARTIFACT} by olga",
        "editor, granted to group:stewards in kind:approval by root",
    ]
    assert verdict.policies == ("write-and-create",)
    assert access.explain(anna, Action.DELETE, ARTIFACT).policies == ()


async def test_who_creates_an_artifact_owns_it_and_can_share_it() -> None:
    async with open_house() as house:
        await house.rooms.open(ARTIFACT, OWNER, may_create=True)
        share = {"artifact": ARTIFACT, "principal": "user:anna", "role": "viewer"}
        await house.commands.run("access.share", share, user=OWNER, via="api")

        assert house.access.may(person("anna", role="guest"), Action.READ, ARTIFACT)
        assert not house.access.may(person("anna", role="guest"), Action.WRITE, ARTIFACT)
        with pytest.raises(AccessDenied):
            await house.commands.run("access.share", share, user=person("anna", role="guest"), via="api")
        assert [one.data["role"] for one in await changes_of(house.rooms, "access.changed")] == ["viewer"]
        assert [one.role for one in await house.rooms.store.list_grants()] == ["viewer", "owner"]


async def test_law_no_document_gives_rights_over_the_server() -> None:
    """`*` stands for the server as a whole: no document is called so, and no grant reaches it."""
    async with open_house() as house:
        with pytest.raises(NameRefused):
            await house.rooms.open(DocumentName("*"), person("mallory"), may_create=True)
        house.access.follow(
            [
                Grant(scope=scope, principal="user:mallory", role="owner", by=UserId("x"), at=1.0)
                for scope in ("*", "kind:text")
            ]
        )
        assert house.access.may(person("mallory"), Action.ADMINISTER, DocumentName("text/a"))
        assert not house.access.may(person("mallory"), Action.ADMINISTER, EVERYTHING)
        assert house.access.may(person("boss", role="owner"), Action.ADMINISTER, EVERYTHING)


async def test_an_artifact_is_handed_over_and_never_left_without_an_owner() -> None:
    async with open_house() as house:
        await house.rooms.open(ARTIFACT, OWNER, may_create=True)
        last = {"artifact": ARTIFACT, "principal": "user:olga"}
        with pytest.raises(Conflict, match="last owner"):
            await house.commands.run("access.revoke", last, user=OWNER, via="api")
        transfer = {"artifact": ARTIFACT, "to": "group:stewards", "keep": "viewer"}
        await house.commands.run("access.transfer", transfer, user=OWNER, via="api")

        steward = person("anna", role="guest", groups=("stewards",))
        assert house.access.may(steward, Action.TRANSFER, ARTIFACT)
        assert not house.access.may(OWNER, Action.WRITE, ARTIFACT)
        await house.commands.run("access.revoke", last, user=steward, via="api")
        assert not house.access.may(OWNER, Action.READ, ARTIFACT)


async def test_personal_texts_are_erased_by_a_command() -> None:
    async with open_house() as house:
        await house.rooms.open(ARTIFACT, OWNER, may_create=True)
        with pytest.raises(AccessDenied):
            await house.commands.run(
                "access.share_kind", {"kind": "text", "principal": "user:a"}, user=OWNER, via="api"
            )
        await house.rooms.journal.flush()
        [refused] = [one for one in await house.rooms.store.read_audit(after=0) if one.texts]
        boss = person("boss", role="owner")
        erase = {"sequences": [refused.sequence]}
        answer = await house.commands.run("audit.erase_texts", erase, user=boss, via="api")

        assert answer.model_dump() == {"texts": len(refused.texts)}
        assert not [one for one in await house.rooms.store.read_audit(after=0) if one.texts]
        assert len(await audit_of(house.rooms, "audit.erased")) == 1


async def test_a_file_that_is_no_artifact_has_no_commands() -> None:
    async with open_house() as house:
        house.commands.register(counter())
        await open_room(house.rooms, "any room")
        values = {"artifact": "any room"}
        with pytest.raises(Refused, match="no artifact"):
            await house.commands.run("test.count", values, user=person("boss", role="owner"), via="api")


def _owner(name: str) -> Grant:
    return Grant(scope=ARTIFACT, principal=f"user:{name}", role="owner", by=UserId(name), at=1.0)


def _matrix() -> str:
    from importlib import resources  # noqa: PLC0415

    lines = resources.files("quorate_server").joinpath("policies/default.cedar").read_text("utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if "read  comment" in line)
    return "\n".join(lines[start : start + 1 + len(ROLES)])


async def _run(work: Awaitable[Answer]) -> Answer:
    return await work


async def _turns(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)
