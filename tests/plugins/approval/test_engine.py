"""The approval engine at work: requests submitted, decided, edited, timed out, executed and taken back."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from pycrdt import Map

from quorate_plugins.approval.requests import StageState, Status
from quorate_protocol.ids import DocumentName
from quorate_server.artifacts import open_artifact
from quorate_server.connections import House
from quorate_server.errors import AccessDenied, Conflict, DocumentNotFound, Refused
from quorate_storage.memory import MemoryStore
from tests.plugins.approval.approval_houses import (
    PEOPLE,
    REQUEST,
    SCHEMA_CHANGE,
    SUBJECT,
    Clock,
    ask,
    assert_replays,
    clock,
    decide,
    open_approvals,
    own,
    publish,
    reconciled,
    request_of,
    signed_in,
    state_of,
    submit,
    write,
)
from tests.server.houses import Guest, audit_of, changes_of, open_room, person, until

__all__ = ["clock"]


async def refused(code: str, awaitable: object) -> Refused:
    with pytest.raises(Refused) as error:
        await awaitable  # type: ignore[misc]
    assert error.value.code == code, error.value
    return error.value


# From submission to outcome


async def test_a_request_goes_through_its_stages() -> None:
    async with open_approvals() as house:
        answer = await submit(house)
        assert (answer["state"], answer["revision"]) == ("pending", 1)
        request = await request_of(house)
        states = {key: run.state for key, run in request.runs.items()}
        assert states == {"steward": StageState.ACTIVE, "security": StageState.BLOCKED}
        assert request.runs["steward"].due_at is not None
        assert request.deadline_at is not None

        await decide(house, "sam")
        assert (await request_of(house)).runs["security"].state is StageState.ACTIVE
        answer = await decide(house, "sec")
        assert answer["request"]["state"] == "approved"
        assert answer["request"]["resolved_by"] == "sec"
        await assert_replays(house)
        told = [one.type for one in await changes_of(house.rooms) if one.type.startswith("approval.")]
        assert told == ["approval.pending", "approval.approved"]


async def test_what_the_template_asks_for_is_demanded_by_name() -> None:
    async with open_approvals() as house:
        await write(house, type="schema_change", is_breaking="yes", priority="soon")
        error = await refused("content-incomplete", ask(house, "submit", user="rita", artifact=REQUEST))
        assert error.details["missing"] == ["fields/change", "request/justification"]
        assert set(error.details["wrong"]) == {"fields/is_breaking", "request/priority"}  # type: ignore[call-overload]
        await write(house, type="wedding")
        await refused("content-incomplete", ask(house, "submit", user="rita", artifact=REQUEST))


async def test_a_first_reject_ends_it_and_executes_nothing() -> None:
    async with open_approvals() as house:
        await submit(house)
        await refused("reason-required", decide(house, "sam", "reject"))
        answer = await decide(house, "sam", "reject", reason="no")
        assert answer["request"]["state"] == "rejected"
        error = await refused("already-resolved", decide(house, "sue"))
        assert (error.details["outcome"], error.details["by"]) == ("rejected", "sam")
        late = [each for each in (await request_of(house)).decisions.values() if each.status is Status.LATE]
        assert [each.actor for each in late] == ["sue"]
        assert not [one for one in await changes_of(house.rooms) if one.type == "approval.executing"]
        await assert_replays(house)


async def test_changes_are_requested_and_the_request_comes_back() -> None:
    async with open_approvals() as house:
        await submit(house)
        before = await request_of(house)
        await decide(house, "sam", "request_changes", reason="say more")
        assert await state_of(house) == "changes_requested"
        await write(house, change="ALTER TABLE more")
        answer = await ask(house, "submit", user="rita", artifact=REQUEST)
        assert (answer["state"], answer["revision"]) == ("pending", 2)
        after = await request_of(house)
        assert after.deadline_at == before.deadline_at
        assert {each.status for each in after.decisions.values()} == {Status.SUPERSEDED}
        await assert_replays(house)


async def test_the_same_request_twice_is_one() -> None:
    async with open_approvals() as house:
        await submit(house)
        again = await ask(house, "submit", user="rita", artifact=REQUEST)
        assert again["is_existing"]
        other = await submit(house, "approval/two")
        assert (other["artifact"], other["is_existing"]) == (REQUEST, True)


# Who may decide, and on what


async def test_law_nobody_decides_on_what_they_asked_for_or_wrote() -> None:
    async with open_approvals() as house:
        await submit(house)
        await refused("sod-violation", decide(house, "rita"))
        await refused("not-eligible", decide(house, "max"))
        await write(house, by="sam", change="ALTER TABLE by sam")
        await refused("stale-view", decide(house, "sue", content_hash="0" * 64))
        await reconciled(house)
        await refused("sod-violation", decide(house, "sam"))
        await decide(house, "sue")
        await house.rooms.journal.flush()
        codes = [event["facts"]["code"] for event in await audit_of(house.rooms, "command.refused")]
        assert codes == ["sod-violation", "not-eligible", "stale-view", "sod-violation"]
        await assert_replays(house)


async def test_an_edit_and_its_undoing_makes_its_author_a_contributor() -> None:
    async with open_approvals() as house:
        await submit(house)
        await write(house, by="sam", change="something else")
        await write(house, by="sam", change=SCHEMA_CHANGE["change"])
        await refused("sod-violation", decide(house, "sam"))


async def test_who_wrote_before_a_restart_is_known_after_it() -> None:
    store = MemoryStore()
    async with open_approvals(store=store) as house:
        await submit(house)
        house.engines.runtimes["approvals"].engine._desk.writers.clear()  # type: ignore[attr-defined]
        await write(house, by="sam", change="ALTER TABLE by sam")
        house.engines.runtimes["approvals"].engine._desk.writers.clear()  # type: ignore[attr-defined]
    async with open_approvals(store=store, people=False) as house:
        await until_known(house)
        await refused("sod-violation", decide(house, "sam"))
        await decide(house, "sue")


async def until_known(house: House) -> None:
    await reconciled(house)
    assert "sam" in (await request_of(house)).contributors


async def test_law_a_decision_is_on_what_was_seen() -> None:
    """Somebody edits while an approver has the request open: the approver is told what changed; nothing counts."""
    async with open_approvals() as house:
        seen = (await submit(house))["content_hash"]
        await write(house, change="DROP TABLE")
        error = await refused("stale-view", decide(house, "sam", content_hash=seen))
        assert error.details["diff"] == {"fields/change": {"before": "ALTER TABLE", "after": "DROP TABLE"}}
        assert not (await request_of(house)).decisions
        answer = await decide(house, "sam", content_hash=str(error.details["current"]))
        assert answer["status"] == "counted"
        await assert_replays(house)


async def test_law_an_approval_falls_when_the_content_changes() -> None:
    async with open_approvals() as house:
        await submit(house)
        await decide(house, "sam")
        await write(house, change="DROP TABLE")
        await reconciled(house)
        request = await request_of(house)
        assert [each.status for each in request.decisions.values()] == [Status.DISMISSED_STALE]
        assert request.runs["steward"].state is StageState.ACTIVE
        assert request.revision == 2
        await write(house, change=SCHEMA_CHANGE["change"])  # back again: the votes stay dismissed
        await reconciled(house)
        assert not (await request_of(house)).counted()
        await assert_replays(house)


async def test_comments_and_titles_dismiss_nothing() -> None:
    async with open_approvals() as house:
        await submit(house)
        await decide(house, "sam")
        await write(house, title="Another title")
        guest = Guest(await open_room(house.rooms, REQUEST, by="max"), "max")
        guest.doc.get("comments", type=Map)["c1"] = Map({"author": "max"})
        guest.send(guest.made[-1])
        await until(lambda: guest.room.is_durable, "durable")
        await reconciled(house)
        request = await request_of(house)
        assert len(request.counted()) == 1
        assert request.revision == 1


async def test_who_may_not_read_it_does_not_learn_that_it_is() -> None:
    async with open_approvals() as house:
        seen = (await submit(house))["content_hash"]
        guest = person("sam", role="guest")
        with pytest.raises(DocumentNotFound):
            await decide(house, guest, content_hash=seen)


async def test_a_command_with_one_key_decides_once() -> None:
    async with open_approvals() as house:
        seen = (await submit(house))["content_hash"]
        values = {"artifact": REQUEST, "verdict": "approve", "content_hash": seen}
        first = await ask(house, "decide", user="sam", key="k", **values)
        assert await ask(house, "decide", user="sam", key="k", **values) == first
        assert len((await request_of(house)).decisions) == 1


async def test_law_of_fifty_at_once_the_first_count_and_the_rest_are_late() -> None:
    async with open_approvals() as house:
        crowd = [{"id": f"p{number}", "roles": ["steward"]} for number in range(50)]
        await ask(house, "put_people", people=crowd)
        await write(house, **(SCHEMA_CHANGE | {"type": "workflow_deployment", "version": "1", "environment": "prod"}))
        seen = (await ask(house, "submit", user="rita", artifact=REQUEST))["content_hash"]
        verdicts = ["approve", "reject"]
        answers = await asyncio.gather(
            *(
                decide(house, f"p{number}", verdicts[number % 2], content_hash=seen, reason="so")
                for number in range(50)
            ),
            return_exceptions=True,
        )
        counted = [each for each in answers if not isinstance(each, BaseException)]
        assert len(counted) == 1
        request = await request_of(house)
        statuses = [each.status for each in request.decisions.values()]
        assert (statuses.count(Status.COUNTED), statuses.count(Status.LATE)) == (1, 49)
        outcomes = [
            one for one in await changes_of(house.rooms) if one.type in {"approval.approved", "approval.rejected"}
        ]
        assert len(outcomes) == 1
        await assert_replays(house)


# Standing in


async def test_a_delegate_decides_for_somebody_and_takes_nothing_from_others() -> None:
    async with open_approvals() as house:
        await submit(house)
        await refused("delegation-invalid", decide(house, "max", on_behalf_of="sam"))
        made = await ask(house, "delegate", user="sam", delegate="max", valid_to=time.time() + 3600)
        inbox = await ask(house, "inbox", user="max")
        assert [(item["artifact"], item["on_behalf_of"]) for item in inbox["items"]] == [(REQUEST, "sam")]
        await decide(house, "max", on_behalf_of="sam")
        [decision] = (await request_of(house)).decisions.values()
        assert (decision.actor, decision.principal, decision.delegation) == ("max", "sam", made["id"])
        await assert_replays(house)


async def test_one_request_is_handed_over_and_no_other() -> None:
    async with open_approvals() as house:
        await submit(house)
        await submit(house, "approval/two", change="other")
        with pytest.raises(Conflict, match="does not wait for a decision of max"):
            await ask(house, "delegate", user="max", delegate="gov", artifact=REQUEST)
        with pytest.raises(Conflict, match="says when it ends"):
            await ask(house, "delegate", user="sam", delegate="gov")
        given = await ask(house, "delegate", user="sam", delegate="gov", artifact=REQUEST)
        assert given["valid_to"] == (await request_of(house)).deadline_at
        told = (await ask(house, "notices", user="gov"))["notices"]
        assert [(each["event"], each["request"], each["by"]) for each in told] == [("delegated", REQUEST, "sam")]
        items = (await ask(house, "inbox", user="gov"))["items"]
        assert [(each["artifact"], each["on_behalf_of"]) for each in items] == [(REQUEST, "sam")]
        await decide(house, "gov", on_behalf_of="sam")
        await refused("delegation-invalid", decide(house, "gov", name="approval/two", on_behalf_of="sam"))
        await assert_replays(house)


async def test_a_delegation_has_its_time_its_scope_and_no_circle() -> None:
    async with open_approvals() as house:
        await submit(house)
        soon = time.time() + 3600
        await ask(house, "delegate", user="sam", delegate="max", valid_to=soon, types=["access_grant"])
        error = await refused("delegation-invalid", decide(house, "max", on_behalf_of="sam"))
        assert error.details["why"] == "out_of_scope"
        with pytest.raises(Conflict, match="circle"):
            await ask(house, "delegate", user="max", delegate="sam", valid_to=soon)
        made = await ask(house, "delegate", user="sue", delegate="max", valid_to=soon)
        await ask(house, "end_delegation", user="sue", id=made["id"])
        error = await refused("delegation-invalid", decide(house, "max", on_behalf_of="sue"))
        assert error.details["why"] == "revoked"


async def test_a_requester_gets_no_decision_by_delegation() -> None:
    async with open_approvals() as house:
        await submit(house)
        await ask(house, "delegate", user="sam", delegate="rita", valid_to=time.time() + 3600)
        await refused("sod-violation", decide(house, "rita", on_behalf_of="sam"))


# Time


async def test_law_an_outage_gives_every_level_its_time(clock: Clock) -> None:
    """Eleven hours are missed on a ladder of eight levels: the schedule of the design, to the second."""
    start, hour, minute = clock.now, 3600, 60
    store = MemoryStore()
    people = [{"id": f"l{number}", "roles": [f"level{number}"]} for number in range(1, 9)]
    levels = [{"after": "1h", "add": [f"role:level{number}"]} for number in range(1, 9)]
    stage = {
        "id": "s", "due": "9h", "ladder": {"levels": levels},
        "requirements": [{"id": "r", "pool": ["role:steward"]}],
    }  # fmt: skip
    policy = {"rules": {"all": {"effect": "require", "stages": [stage]}}}
    async with open_approvals(store=store, clock=clock) as house:
        await ask(house, "put_people", people=people)
        await publish(house, policy)
        await submit(house)
        clock.now = start + hour
        await reconciled(house)
        assert (await request_of(house)).runs["s"].climb.level == 1  # type: ignore[union-attr]

    back = clock.now = start + 12.5 * hour
    fired: dict[int, float] = {}
    async with open_approvals(store=store, clock=clock, people=False) as house:
        while (await state_of(house)) == "pending":
            await reconciled(house)
            await reconciled(house)  # a second look at the same time does nothing
            run = (await request_of(house)).runs["s"]
            assert run.climb is not None
            fired.setdefault(run.climb.level, clock.now - back)
            clock.now += 15 * minute
        assert fired == {level: (level - 2) * 15 * minute for level in range(2, 9)}
        request = await request_of(house)
        assert (request.state, request.resolved_at) == ("expired", back + 105 * minute)
        await assert_replays(house)


async def test_after_an_outage_nobody_is_too_late_before_the_ladder_had_its_time(clock: Clock) -> None:
    start, hour = clock.now, 3600
    stage = {
        "id": "s", "due": "3h", "ladder": {"levels": [{"after": "1h", "add": ["user:max"]}]},
        "requirements": [{"id": "r", "pool": ["role:steward"]}],
    }  # fmt: skip
    async with open_approvals(clock=clock) as house:
        await publish(house, {"rules": {"all": {"effect": "require", "stages": [stage]}}})
        await submit(house)
        clock.now = start + 20 * hour
        await decide(house, "max")  # whom the overdue level adds
        assert await state_of(house) == "approved"


async def test_a_deadline_counts_before_anybody_looked_at_the_clock(clock: Clock) -> None:
    start = clock.now
    stage = {"id": "s", "due": "3h", "requirements": [{"id": "r", "pool": ["role:steward"]}]}
    async with open_approvals(clock=clock) as house:
        await publish(house, {"rules": {"all": {"effect": "require", "stages": [stage]}}})
        await submit(house)
        clock.now = start + 3 * 3600 + 1
        await refused("deadline-passed", decide(house, "sam"))
        assert [each.status for each in (await request_of(house)).decisions.values()] == [Status.LATE]
        await reconciled(house)
        assert await state_of(house) == "expired"
        await assert_replays(house)


async def test_people_can_still_decide_after_an_escalation(clock: Clock) -> None:
    async with open_approvals(clock=clock) as house:
        await submit(house)
        clock.now += 86400
        await reconciled(house)
        request = await request_of(house)
        assert request.runs["steward"].added == ("manager_of:requester",)
        await decide(house, "sam")
        assert (await request_of(house)).runs["steward"].state is StageState.SATISFIED


# People change


async def test_who_leaves_the_pool_stops_counting() -> None:
    async with open_approvals() as house:
        await submit(house)
        await decide(house, "sam")
        await ask(house, "put_people", people=[{"id": "sam", "is_active": False}])
        await reconciled(house)
        request = await request_of(house)
        assert [each.status for each in request.decisions.values()] == [Status.INELIGIBLE]
        assert request.runs["steward"].state is StageState.ACTIVE
        await assert_replays(house)


async def test_who_joins_the_pool_may_decide() -> None:
    async with open_approvals() as house:
        await submit(house)
        await ask(house, "put_people", people=[{"id": "new", "roles": ["steward"]}])
        await reconciled(house)
        await decide(house, "new")


async def test_nobody_to_decide_blocks_and_approves_nothing() -> None:
    async with open_approvals(people=False) as house:
        await ask(house, "put_people", people=[PEOPLE[0]])
        await submit(house)
        request = await request_of(house)
        assert (request.state, request.block) == ("pending", "quorum_impossible")


# Policies


LOW_RISK = {
    "rules": {
        "low": {"effect": "auto_approve", "types": ["access_grant"], "when": "request.risk == 'low'"},
        "never": {"effect": "forbid", "types": ["access_grant"], "when": "request.fields.role == 'owner'"},
    }
}
GRANT: dict[str, Any] = {
    "type": "access_grant", "subject": SUBJECT, "justification": "work", "principal": "user:ben", "role": "viewer",
    "risk_level": "low",
}  # fmt: skip


async def test_a_low_risk_grant_is_approved_and_given_by_the_policy() -> None:
    async with open_approvals() as house:
        await open_room(house.rooms, SUBJECT, by="max")
        await publish(house, LOW_RISK)
        await write(house, **GRANT)
        answer = await ask(house, "submit", user="rita", artifact=REQUEST)
        assert (answer["state"], answer["resolved_by"]) == ("fulfilled", "policy:1")
        assert [
            grant.role for grant in house.access.granted_in(DocumentName(SUBJECT)) if grant.principal == "user:ben"
        ] == ["viewer"]
        request = await request_of(house)
        assert request.is_automatic
        assert request.explanation == ("configuration/policy#low: auto_approve",)
        assert [e["type"] for e in await audit_of(house.rooms, "approval.evaluated", "access.granted")]
        await assert_replays(house)


async def test_what_a_policy_forbids_is_rejected_and_an_error_approves_nothing() -> None:
    async with open_approvals() as house:
        await open_room(house.rooms, SUBJECT, by="max")
        await publish(house, LOW_RISK)
        await write(house, **(GRANT | {"role": "owner"}))
        assert (await ask(house, "submit", user="rita", artifact=REQUEST))["state"] == "rejected"

    broken = {"rules": {"low": {"effect": "auto_approve", "when": "request.nothing == 1"}}}
    async with open_approvals() as house:
        await open_room(house.rooms, SUBJECT, by="max")
        await publish(house, broken)
        await write(house, **GRANT)
        answer = await ask(house, "submit", user="rita", artifact=REQUEST)
        assert (answer["state"], answer["block"]) == ("pending", "policy_error")


async def test_a_grant_ends_when_it_was_to_end_and_when_it_is_revoked(clock: Clock) -> None:
    async with open_approvals(clock=clock) as house:
        await open_room(house.rooms, SUBJECT, by="max")
        await publish(house, LOW_RISK)
        until_ = datetime.fromtimestamp(clock.now + 3600, UTC).isoformat()
        for name in (REQUEST, "approval/two"):
            await write(house, name, **(GRANT | {"valid_until": until_, "principal": f"user:{name[-3:]}"}))
            assert (await ask(house, "submit", user="rita", artifact=name))["state"] == "fulfilled"
        with pytest.raises(AccessDenied):
            await ask(house, "revoke", user="sam", artifact="approval/two", reason="no")
        await ask(house, "revoke", artifact="approval/two", reason="no")
        clock.now += 3601
        await reconciled(house)
        assert (await state_of(house), await state_of(house, "approval/two")) == ("lapsed", "revoked")
        ours = [g for g in house.access.granted_in(DocumentName(SUBJECT)) if g.principal in {"user:one", "user:two"}]
        assert not ours
        await assert_replays(house)


async def test_what_two_requests_gave_stays_until_both_are_over(clock: Clock) -> None:
    """The first ends, and takes nothing of what the second gave; also after a restart."""
    store = MemoryStore()
    end = datetime.fromtimestamp(clock.now + 3600, UTC).isoformat()
    async with open_approvals(store=store, clock=clock) as house:
        await open_room(house.rooms, SUBJECT, by="max")
        await publish(house, LOW_RISK)
        for name, more in ((REQUEST, {"valid_until": end}), ("approval/two", {"justification": "for good"})):
            await write(house, name, **(GRANT | {"principal": "user:ann"} | more))
            assert (await ask(house, "submit", user="rita", artifact=name))["state"] == "fulfilled"
    async with open_approvals(store=store, clock=clock, people=False) as house:
        clock.now += 3601
        await reconciled(house)
        assert await state_of(house) == "lapsed"
        assert [g.role for g in house.access.granted_in(DocumentName(SUBJECT)) if g.principal == "user:ann"] == [
            "viewer"
        ]
        await ask(house, "revoke", artifact="approval/two", reason="no")
        assert not [g for g in house.access.granted_in(DocumentName(SUBJECT)) if g.principal == "user:ann"]
        await assert_replays(house)


async def test_a_policy_is_changed_by_an_approved_request_only() -> None:
    async with open_approvals() as house:
        await publish(house, LOW_RISK)
        with pytest.raises(Conflict, match="policy_change"):
            await ask(house, "publish_policy", artifact="configuration/policy")
        draft = Guest(await open_room(house.rooms, "configuration/policy", by="rita"), "rita")
        draft.doc.apply_update(await draft.room.read())
        draft.made.clear()
        draft.doc.get("settings", type=Map)["rules"] = {"all": {"effect": "forbid"}}
        draft.send(draft.made[-1])
        await until(lambda: draft.room.is_durable, "durable")
        change: dict[str, Any] = {
            "type": "policy_change",
            "subject": "configuration/policy",
            "justification": "stricter",
        }
        await write(house, **change)
        error = await refused("conflict", ask(house, "submit", user="rita", artifact=REQUEST))
        await write(house, subject_version=str(error)[-64:])
        assert (await ask(house, "submit", user="rita", artifact=REQUEST))["state"] == "pending"
        draft.doc.get("settings", type=Map)["rules"] = {}  # what is published is what was approved, not what is now
        draft.send(draft.made[-1])
        await until(lambda: draft.room.is_durable, "durable")
        await decide(house, "gov")
        answer = await decide(house, "gus")
        assert answer["request"]["state"] == "fulfilled"
        other = await submit(house, "approval/two")
        assert other["state"] == "rejected"


async def test_a_draft_says_what_it_would_change() -> None:
    async with open_approvals() as house:
        await submit(house)
        guest = Guest(await open_room(house.rooms, "configuration/draft", by="gov"), "gov")
        guest.doc.get("settings", type=Map)["rules"] = {"no": {"effect": "forbid", "when": "request.risk == 'medium'"}}
        guest.send(guest.made[-1])
        await until(lambda: guest.room.is_durable, "durable")
        answer = await ask(house, "what_if", user="gov", artifact="configuration/draft")
        assert answer["asked"] == 1
        [difference] = answer["differences"]
        assert (difference["artifact"], difference["now"], difference["then"]) == (REQUEST, "require", "auto_reject")
        assert await state_of(house) == "pending"


async def test_law_an_edit_does_not_keep_the_stages_of_what_it_was_before() -> None:
    """Who edits a request into something riskier, or about something else, gets what that takes."""
    rules = {"low": {"effect": "require", "when": "request.risk == 'low'", "stages": [
        {"id": "easy", "requirements": [{"id": "r", "pool": ["role:governance_lead"]}]}]}}  # fmt: skip
    async with open_approvals() as house:
        await publish(house, {"rules": rules})
        await own(house, SUBJECT, "max")
        await own(house, "text/other", "ann")
        grant = GRANT | {"type": "configuration_change", "change": "x"}
        await write(house, **grant)
        await ask(house, "submit", user="rita", artifact=REQUEST)
        assert set((await request_of(house)).runs) == {"easy"}
        await write(house, risk_level="high")
        await reconciled(house)
        request = await request_of(house)
        assert (set(request.runs), request.risk) == ({"owner"}, "high")
        await write(house, subject="text/other")
        await refused("not-eligible", decide(house, "max", content_hash=await hash_of(house)))
        await decide(house, "ann")
        assert await state_of(house) == "approved"
        await assert_replays(house)


async def hash_of(house: House) -> str:
    async with open_artifact(house.rooms, DocumentName(REQUEST)) as artifact:
        return artifact.content_hash()


async def test_the_type_of_a_submitted_request_stays() -> None:
    async with open_approvals() as house:
        await submit(house)
        await write(house, type="custom")
        async with open_artifact(house.rooms, DocumentName(REQUEST)) as artifact:
            assert artifact.root_members("request")["type"] == "schema_change"


@pytest.mark.parametrize(
    "edit", [{"subject": "kind:text"}, {"subject": "*"}, {"principal": "everybody"}, {"role": "emperor"}]
)
async def test_law_a_request_gives_only_what_one_could_have_asked_for(edit: dict[str, Any]) -> None:
    """An edit after submission must not become a role in a whole kind, or in everything."""
    stage = {"id": "s", "requirements": [{"id": "r", "pool": ["role:steward"]}]}
    async with open_approvals() as house:
        await open_room(house.rooms, SUBJECT, by="max")
        await publish(house, {"rules": {"all": {"effect": "require", "stages": [stage]}}})
        await write(house, **GRANT)
        await ask(house, "submit", user="rita", artifact=REQUEST)
        await write(house, **edit)
        answer = await decide(house, "sam", content_hash=await hash_of(house))
        assert answer["request"]["state"] == "fulfilment_failed"
        held = [
            grant for scope in ("kind:text", "*", SUBJECT) for grant in house.access.granted_in(DocumentName(scope))
        ]
        assert {grant.principal for grant in held} <= {"user:max"}
        await assert_replays(house)


# Ending, overriding, executing


async def test_an_override_is_recorded_as_such_and_reviewed() -> None:
    async with open_approvals() as house:
        await submit(house)
        with pytest.raises(AccessDenied):
            await ask(house, "override", user=signed_in("sam"), artifact=REQUEST, reason="fire")
        await refused(
            "step-up-required", ask(house, "override", user=signed_in("ann", ago=900), artifact=REQUEST, reason="fire")
        )
        answer = await ask(house, "override", user=signed_in("ann"), artifact=REQUEST, reason="fire")
        assert answer["state"] == "overridden"
        with pytest.raises(AccessDenied):
            await ask(house, "review_override", user="sam", artifact=REQUEST, reason="seen")
        await ask(house, "review_override", user="aud", artifact=REQUEST, reason="seen")
        await assert_replays(house)


async def test_what_is_approved_is_executed_as_stored_and_closed_to_edits() -> None:
    async with open_approvals() as house:
        await submit(house)
        await decide(house, "sam")
        await refused("conflict", ask(house, "execute", user="rita", artifact=REQUEST))
        await decide(house, "sec")
        assert (await ask(house, "execute", user="rita", artifact=REQUEST))["state"] == "executing"
        await write(house, change="DROP TABLE")
        await reconciled(house)
        assert await state_of(house) == "executing"
        proposals = await house.rooms.store.list_set_aside((await open_room(house.rooms, REQUEST)).document.id)
        assert [one.author for one in proposals] == ["rita"]
        assert (await ask(house, "report", user="rita", artifact=REQUEST, is_done=True))["state"] == "fulfilled"
        await assert_replays(house)


async def test_an_edit_after_approval_takes_the_approval() -> None:
    async with open_approvals() as house:
        await submit(house)
        await decide(house, "sam")
        await decide(house, "sec")
        await write(house, change="DROP TABLE")
        with pytest.raises(Conflict, match="edited"):
            await ask(house, "execute", user="rita", artifact=REQUEST)
        await reconciled(house)
        assert await state_of(house) == "pending"
        await assert_replays(house)


async def test_a_requester_withdraws_and_a_newer_request_supersedes() -> None:
    async with open_approvals() as house:
        await submit(house)
        with pytest.raises(AccessDenied):
            await ask(house, "withdraw", user="sam", artifact=REQUEST)
        await write(house, "approval/two", **(SCHEMA_CHANGE | {"change": "better"}))
        await ask(house, "submit", user="rita", artifact="approval/two", supersedes=REQUEST)
        request = await request_of(house)
        assert (request.state, request.superseded_by) == ("superseded", "approval/two")
        await ask(house, "withdraw", user="rita", artifact="approval/two", reason="never mind")
        assert await state_of(house, "approval/two") == "cancelled"
        await refused("already-resolved", ask(house, "withdraw", user="rita", artifact="approval/two"))


async def test_everything_is_there_after_a_restart() -> None:
    store = MemoryStore()
    async with open_approvals(store=store) as house:
        await own(house, SUBJECT, "max")
        await submit(house)
        await ask(house, "delegate", user="sam", delegate="max", valid_to=time.time() + 3600)
        await publish(house, LOW_RISK)
    async with open_approvals(store=store, people=False) as house:
        inbox = await ask(house, "inbox", user="max")
        assert [item["on_behalf_of"] for item in inbox["items"]] == ["sam"]
        await decide(house, "max", on_behalf_of="sam")
        why = await ask(house, "explain", user="rita", artifact=REQUEST)
        assert [(stage["id"], stage["state"]) for stage in why["stages"]] == [
            ("steward", "satisfied"),
            ("security", "active"),
        ]
        with pytest.raises(Conflict, match="policy_change"):
            await ask(house, "publish_policy", artifact="configuration/policy")
        await assert_replays(house)
