"""What happens around a request: its requester leaves, policies change, people are reminded and told together."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from quorate_server.connections import House
from quorate_server.errors import AccessDenied, Conflict
from tests.plugins.approval.approval_houses import (
    ADMIN,
    PEOPLE,
    REQUEST,
    Clock,
    ask,
    assert_replays,
    clock,
    decide,
    open_approvals,
    publish,
    reconciled,
    request_of,
    signed_in,
    submit,
    write,
)
from tests.plugins.approval.notifications.local_servers import mail_server
from tests.plugins.approval.test_notifying import MAILS, recipients, smtp, told

__all__ = ["clock"]

REQUIREMENT: dict[str, Any] = {"id": "steward", "pool": ["role:steward"]}
STEWARD: dict[str, Any] = {"id": "steward", "requirements": [REQUIREMENT]}


def template(**values: Any) -> dict[str, Any]:
    """A policy with one template for changes of schemas."""
    fields = {"change": {}, "is_breaking": {"type": "boolean"}}
    return {"templates": {"schema_change": {"title": "Change", "fields": fields, "stages": [STEWARD], **values}}}


async def set_active(house: House, *, is_active: bool) -> None:
    await ask(house, "put_people", people=[{**PEOPLE[0], "is_active": is_active}])
    await reconciled(house)


# The requester leaves


async def test_a_request_whose_requester_left_is_held_until_they_are_back() -> None:
    async with open_approvals() as house:
        await submit(house)
        await set_active(house, is_active=False)
        held = await request_of(house, REQUEST)
        assert (held.state, held.block) == ("pending", "requester_disabled")
        assert (await told(house, "rita"))[0][0] == "blocked"
        await set_active(house, is_active=False)
        assert await request_of(house, REQUEST) == held
        await set_active(house, is_active=True)
        assert (await request_of(house, REQUEST)).block is None
        await assert_replays(house)


async def test_a_template_cancels_what_nobody_asks_for_any_more() -> None:
    async with open_approvals() as house:
        await publish(house, template(on_requester_disabled="cancel"))
        await submit(house)
        await set_active(house, is_active=False)
        ended = await request_of(house, REQUEST)
        assert (ended.state, ended.outcome) == ("cancelled", "requester_disabled")
        await assert_replays(house)


async def test_a_template_lets_the_manager_ask_instead_and_neither_decides() -> None:
    async with open_approvals() as house:
        await publish(house, template(on_requester_disabled="reassign"))
        await ask(house, "put_people", people=[{"id": "max", "roles": ["steward"]}])
        await submit(house)
        await decide(house, "max")
        assert (await request_of(house, REQUEST)).state == "approved"
        await submit(house, "approval/two", change="other")
        await set_active(house, is_active=False)
        await reconciled(house, "approval/two")
        moved = await request_of(house, "approval/two")
        assert (moved.requester, moved.contributors) == ("max", ("rita",))
        assert moved.runs["steward"].pools["steward"].excluded >= {"max"}
        await assert_replays(house, "approval/two")


async def test_without_an_active_manager_it_is_held() -> None:
    async with open_approvals() as house:
        await publish(house, template(on_requester_disabled="reassign"))
        await ask(house, "put_people", people=[{"id": "max", "is_active": False}])
        await submit(house)
        await set_active(house, is_active=False)
        assert (await request_of(house, REQUEST)).block == "requester_disabled"


# Other policies


async def test_a_request_is_asked_again_only_when_an_administrator_says_so() -> None:
    async with open_approvals() as house:
        await submit(house)
        await decide(house, "sam")
        rule = {"effect": "require", "stages": [{**STEWARD, "id": "other"}], "message": "Others decide."}
        await publish(house, {"rules": {"other": rule}})
        await reconciled(house)
        before = await request_of(house, REQUEST)
        assert [stage.id for stage in before.stages] == ["steward", "security"]
        with pytest.raises(AccessDenied):
            await ask(house, "repin", user="rita", artifact=REQUEST)
        await ask(house, "repin", user=ADMIN, artifact=REQUEST, reason="The rules are new.")
        after = await request_of(house, REQUEST)
        assert ([stage.id for stage in after.stages], after.policy_version) == (["other"], 1)
        assert [each.status for each in after.decisions.values()] == ["superseded"]
        assert after.deadline_at == before.deadline_at
        await decide(house, "sam")
        with pytest.raises(Conflict, match="only what is pending"):
            await ask(house, "repin", user=ADMIN, artifact=REQUEST)
        await assert_replays(house)


# Classes of edits


async def test_a_narrowing_edit_leaves_the_decisions_of_those_who_say_so() -> None:
    kept = {**REQUIREMENT, "keeps": ["narrowing", "cosmetic"], "approve": {"count": 2}}
    stage = {"id": "s", "requirements": [kept]}
    fields = {"change": {}, "is_breaking": {"type": "boolean"}, "tables": {"type": "array", "is_scope": True}}
    async with open_approvals() as house:
        await publish(house, template(stages=[stage], fields=fields))
        await submit(house, tables=["a", "b"], beneficiaries=["x", "y"])
        edits: list[tuple[dict[str, Any], bool]] = [
            ({"tables": ["a"]}, True),
            ({"beneficiaries": ["y"]}, True),
            ({"justification": "needed "}, True),
            ({"tables": ["a", "c"]}, False),
        ]
        for number, (edit, counts) in enumerate(edits):
            if number == 0:
                await decide(house, "sam")
            await write(house, **edit)
            await reconciled(house)
            now = await request_of(house, REQUEST)
            assert now.revision == number + 2
            assert [each.status for each in now.decisions.values()] == ["counted" if counts else "dismissed_stale"]
        await assert_replays(house)


# Being told


async def test_those_who_review_an_override_are_told_at_once() -> None:
    async with open_approvals() as house:
        await ask(house, "put_people", people=[{"id": "ann", "roles": ["override", "auditor"]}])
        await submit(house)
        await ask(house, "override", user=signed_in("ann"), artifact=REQUEST, reason="fire")
        assert await told(house, "aud") == [("override_review", "overridden")]
        assert await told(house, "ann") == []  # nobody reviews themselves


async def test_who_has_not_decided_is_reminded_once_however_long_nobody_looked(clock: Clock) -> None:
    stage = {**STEWARD, "remind": "1d", "requirements": [{**REQUIREMENT, "approve": {"count": 2}}]}
    async with open_approvals(clock=clock) as house:
        await publish(house, template(stages=[stage]))
        await submit(house)
        await decide(house, "sam")
        clock.now += 86400 - 1
        await reconciled(house)
        assert [event for event, _ in await told(house, "sue")] == ["decision_wanted"]
        for days in (1, 5):
            clock.now += days * 86400
            await reconciled(house)
            await reconciled(house)
        assert [event for event, _ in await told(house, "sue")] == ["reminder", "reminder", "decision_wanted"]
        assert [event for event, _ in await told(house, "sam")] == ["decision_wanted"]
        await assert_replays(house)


async def test_a_digest_is_one_message_about_all_that_still_matters(clock: Clock) -> None:
    async with mail_server() as mail, open_approvals(clock=clock, **smtp(mail)) as house:
        await ask(house, "put_people", people=MAILS)
        for who in ("sam", "sue"):
            await ask(house, "prefer", user=who, channels=["email"], digest="daily")
        for number in range(3):
            await submit(house, f"approval/r{number}", change=f"change {number}", title=f"Request {number}")
        await decide(house, "sue", name="approval/r0")
        found = await house.rooms.store.list_effects("approvals", limit=100)
        assert [(each.payload["person"], each.state) for each in found if "digest" in each.payload] == [
            ("sue", "pending"),
            ("sam", "pending"),
        ]
        assert recipients(mail) in ([], ["sec"])  # who wants no digest is told at once
        due = found[-1].due_at
        async with asyncio.timeout(10):
            for effect in found:
                if "digest" in effect.payload:
                    await house.engines.runtimes["approvals"].engine.deliver(effect)
        assert due > clock.now
        assert recipients(mail) == ["sam", "sec", "sue"]
        [message] = [each for each in mail.messages if "sam@" in each["To"]]
        text = message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
        assert "Request 1" in text
        assert "Request 2" in text
        assert "Request 0" not in text  # it was decided meanwhile
        assert await house.rooms.store.read_values("approvals", prefix="digest/") == {}
