"""Compliance reports, made by command from what really happened, and again from an export."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import pytest
from pycrdt import Map

from quorate_plugins.approval.reports.building import build
from quorate_plugins.approval.reports.catalogue import REPORTS
from quorate_plugins.approval.reports.queries import Query, digest
from quorate_plugins.approval.reports.rendering import render
from quorate_protocol.ids import DocumentName
from quorate_server.artifacts import open_artifact
from quorate_server.connections import House
from quorate_server.errors import AccessDenied, Conflict, Refused
from quorate_storage.checkpoints import TreeHead, VerifierKey, verify_checkpoint
from tests.plugins.approval.approval_houses import (
    ADMIN,
    REQUEST,
    SUBJECT,
    Clock,
    ask,
    clock,
    decide,
    open_approvals,
    own,
    publish,
    reconciled,
    request_of,
    signed_in,
    submit,
    write,
)
from tests.plugins.approval.report_chains import (
    AUDITOR,
    attested,
    cells_of_csv,
    cells_of_page,
    exported,
    report,
    rows_of,
    totals_of,
)
from tests.server.houses import Guest, audit_of, open_room, until

__all__ = ["clock"]

HOUR = 3600.0
DAY = 24 * HOUR


async def live_through(house: House) -> None:
    """A little of everything that reports tell of."""
    await submit(house)
    for refused in (decide(house, "rita"), decide(house, "max")):
        with pytest.raises(Refused):
            await refused
    await decide(house, "sam", reason="=1+1")
    await write(house, change="ALTER TABLE another", by="max")
    await reconciled(house)
    await decide(house, "sue")
    await decide(house, "sec")
    await write(house, "approval/two", type="custom", title="Two", justification="because")
    await ask(house, "submit", user="rita", artifact="approval/two")
    await decide(house, "sam", "reject", name="approval/two", reason="no")
    with pytest.raises(Refused):
        await decide(house, "sue", name="approval/two")


# What all reports have in common


@pytest.mark.parametrize("name", [*REPORTS])
async def test_law_a_report_is_the_same_from_an_export(name: str) -> None:
    person = {"person": "sam"} if name == "data_subject" else {}
    async with open_approvals() as house:
        await live_through(house)
        answer = await report(house, name, **person)
        seal = json.loads(answer["seal"])
        entries, seals = await exported(house)
        sealed = next(one for one in seals if one.size == seal["size"])
        query = Query(**json.loads(seal["query"]))
        attestation = await attested(house) if REPORTS[name].wants_attestation else None
        if attestation is not None:  # of what was sealed then, and not of what was since
            assert attestation.checkpoints[0].note == sealed.note
            return
        again = build(query, entries, seal=sealed)
        assert render(again, "json") == answer["document"]
        assert query.text() == seal["query"]


async def test_a_report_is_sealed_to_a_checkpoint_that_verifies() -> None:
    async with open_approvals() as house:
        await submit(house)
        answer = await report(house, "population", form="csv")
        seal = json.loads(answer["seal"])
        head = verify_checkpoint(seal["checkpoint"], [VerifierKey.parse(house.sealer.verifier_key)])
        assert head == TreeHead(origin=head.origin, size=seal["size"], root=bytes.fromhex(seal["root"]))
        assert seal["sha256"] == hashlib.sha256(answer["document"].encode()).hexdigest()
        assert (seal["row_count"], seal["generator_version"]) == (answer["rows"], "1")
        assert (answer["rows"], answer["media_type"].partition(";")[0]) == (1, "text/csv")


@pytest.mark.parametrize("name", [name for name in REPORTS if name != "integrity"])
async def test_json_csv_and_page_have_the_same_rows(name: str) -> None:
    person = {"person": "sam"} if name == "data_subject" else {}
    async with open_approvals() as house:
        await live_through(house)
        await own(house, SUBJECT, "sue")
        end = time.time()
        told = [
            (await report(house, name, form=form, until=end, as_of=end, **person))["document"]
            for form in ("csv", "html")
        ]
        answer = await report(house, name, until=end, as_of=end, **person)
        rows = len(json.loads(answer["document"])["rows"])
        assert cells_of_csv(told[0]) == cells_of_page(told[1])[: rows or 0]
        assert len(cells_of_csv(told[0])) == rows


async def test_only_auditors_and_administrators_have_reports_made_and_it_is_accounted_for() -> None:
    async with open_approvals() as house:
        await submit(house)
        for person in ("rita", "sam", "gov"):
            with pytest.raises(AccessDenied):
                await report(house, "population", user=person)
        await report(house, "population", user=ADMIN)
        answer = await report(house, "population", user=AUDITOR)
        told = await audit_of(house.rooms, "approval.exported")
        assert [body["actor"]["sub"] for body in told] == ["root", "aud"]
        seal = json.loads(answer["seal"])
        assert {key: told[1]["facts"][key] for key in ("query", "sha256", "size")} == {
            key: seal[key] for key in ("query", "sha256", "size")
        }
        assert told[1]["facts"]["format"] == "json"


async def test_a_report_that_is_about_somebody_says_about_whom() -> None:
    async with open_approvals() as house:
        with pytest.raises(Conflict, match="about a `person`"):
            await report(house, "data_subject")
        with pytest.raises(Conflict, match="not about a `person`"):
            await report(house, "population", person="sam")


# Population


async def test_the_population_is_complete_and_says_what_became_of_each() -> None:
    async with open_approvals() as house:
        await live_through(house)
        rows = await rows_of(house, "population")
        assert [(row["request"], row["state"], row["approvers"]) for row in rows] == [
            (REQUEST, "approved", ["sue", "sec"]),
            ("approval/two", "rejected", []),
        ]
        one = rows[0]
        assert (one["requester"], one["revision"], one["contributors"]) == ("rita", 2, ["rita", "max"])
        assert one["content_hash"] == (await request_of(house)).content_hash
        totals = await totals_of(house, "population")
        assert (totals["created"], totals["rows"], totals["is_complete"]) == (2, 2, True)
        assert (totals["first_sequence"], totals["events_that_do_not_follow"]) == (1, 0)


async def test_a_period_has_what_was_created_in_it(clock: Clock) -> None:
    async with open_approvals(clock=clock) as house:
        ends: list[float] = []
        for name in (REQUEST, "approval/two", "approval/three"):
            clock.now += DAY
            ends.append(clock.now - HOUR)
            await submit(house, name, change=name)
        rows = await rows_of(house, "population", since=ends[1], until=ends[2])
        assert [row["request"] for row in rows] == ["approval/two"]
        rows = await rows_of(house, "population", until=ends[2])
        assert [row["request"] for row in rows] == [REQUEST, "approval/two"]
        totals = await totals_of(house, "population", since=clock.now + DAY)
        assert (totals["created"], totals["is_complete"], totals["first_sequence"]) == (0, True, 0)


async def test_an_event_that_was_tampered_with_is_not_passed_over() -> None:
    """Who takes the request out of the event that created it makes the population incomplete."""
    async with open_approvals() as house:
        await submit(house)
        entries, _ = await exported(house)
        [created] = [one for one in entries if one.event.type == "approval.submitted"]
        created.event.facts["event"]["kind"] = "lapsed"  # type: ignore[index]
        document = build(Query(report="population", as_of=0), entries, seal=None)
        assert document.table.totals["is_complete"] is False
        assert document.table.totals["created"] == 1
        assert document.table.totals["events_that_do_not_follow"] != 0


# Separation of duties


async def test_refusals_delegates_and_overrides_are_told_of() -> None:
    async with open_approvals() as house:
        await live_through(house)
        await submit(house, "approval/three", change="ALTER TABLE three")
        await ask(house, "delegate", user="sam", delegate="max", valid_to=time.time() + 1000)
        await decide(house, "max", name="approval/three", on_behalf_of="sam")
        await ask(house, "override", user=signed_in("ann"), artifact="approval/three", reason="emergency")
        rows = await rows_of(house, "separation_of_duties")
        assert [(row["case"], row["person"], row["counterpart"]) for row in rows] == [
            ("refused", "rita", None),
            ("delegated", "max", "sam"),
            ("override", "ann", None),
        ]
        assert rows[0]["command"] == "approvals.decide"
        assert rows[2]["review"] == "open"
        await ask(house, "review_override", user="aud", artifact="approval/three", reason="it was needed")
        row = (await rows_of(house, "separation_of_duties"))[2]
        assert (row["review"], row["reviewed_by"]) == ("closed", "aud")
        totals = await totals_of(house, "separation_of_duties")
        assert (totals["refused"], totals["overrides"], totals["overrides_not_reviewed"]) == (1, 1, 0)
        assert totals["pairs_of_delegates"] == 1


async def test_who_asked_on_one_side_and_approved_on_the_other_is_found() -> None:
    async with open_approvals() as house:
        custom = {"type": "custom", "title": "x", "justification": "y", "subject": SUBJECT}
        await write(house, REQUEST, by="sam", **custom, detail="one")
        await ask(house, "submit", user="sam", artifact=REQUEST)
        await decide(house, "sue")
        await write(house, "approval/two", by="sue", **custom, detail="two")
        await ask(house, "submit", user="sue", artifact="approval/two", supersedes=REQUEST)
        await decide(house, "sam", name="approval/two")
        rows = await rows_of(house, "separation_of_duties")
        assert [(row["case"], row["person"], row["request"], row["other_request"]) for row in rows] == [
            ("linked", "sue", REQUEST, "approval/two"),
            ("linked", "sam", "approval/two", REQUEST),
            ("reciprocal", "sam", "approval/two", REQUEST),
        ]


# Access


async def grant(house: House, *, until: str = "", name: str = REQUEST, principal: str = "user:gus") -> None:
    await open_room(house.rooms, SUBJECT)
    await own(house, SUBJECT, "gov")
    more = {"valid_until": until} if until else {}
    await write(
        house,
        name,
        type="access_grant",
        title="Access",
        subject=SUBJECT,
        justification="needed",
        principal=principal,
        role="editor",
        **more,
    )
    await ask(house, "submit", user="rita", artifact=name)
    await decide(house, "gov", name=name)


async def test_access_that_lapsed_is_not_active_past_its_end(clock: Clock) -> None:
    async with open_approvals(clock=clock) as house:
        until = clock.now + DAY
        await grant(house, until=time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(until)))
        [row] = await rows_of(house, "access_grants")
        assert (row["principal"], row["role"], row["request"]) == ("user:gus", "editor", REQUEST)
        assert (row["is_active"], row["is_active_past_end"]) == (True, False)
        # Before the timer has run, the truth is told.
        [row] = await rows_of(house, "access_grants", as_of=until + 1)
        assert row["is_active_past_end"] is True
        clock.now = until + 1
        await reconciled(house)
        [row] = await rows_of(house, "access_grants")
        assert (row["is_active"], row["is_active_past_end"], row["ended_how"]) == (False, False, "lapsed")
        assert row["ended_request"] == REQUEST
        assert (await totals_of(house, "access_grants"))["active_past_end"] == 0


async def test_access_that_was_revoked_early_says_so() -> None:
    async with open_approvals() as house:
        await grant(house)
        await ask(house, "revoke", user="gov", artifact=REQUEST)
        await house.commands.run(
            "access.share",
            {"artifact": SUBJECT, "principal": "user:max", "role": "viewer"},
            user=ADMIN,
            via="api",
        )
        rows = await rows_of(house, "access_grants")
        assert [(row["principal"], row["is_early"], row["ended_by"], row["request"]) for row in rows] == [
            ("user:gus", True, "gov", REQUEST),
            ("user:max", False, "", ""),
        ]
        totals = await totals_of(house, "access_grants")
        assert (totals["grants"], totals["active"], totals["ended_early"]) == (2, 1, 1)


# Automatic decisions


async def test_what_policies_and_clocks_decided_is_told_with_their_rules(clock: Clock) -> None:
    rules = {
        "low": {"effect": "auto_approve", "types": ["custom"], "when": "request.risk == 'low'"},
        "high": {"effect": "forbid", "types": ["custom"], "when": "request.risk == 'high'", "message": "too risky"},
    }
    async with open_approvals(clock=clock) as house:
        await publish(house, {"rules": rules})
        for name, risk in (("approval/low", "low"), ("approval/high", "high"), ("approval/none", "medium")):
            await write(house, name, type="custom", title=risk, justification=risk, risk_level=risk)
            await ask(house, "submit", user="rita", artifact=name)
        for _ in range(40):  # until nobody has decided for long enough
            clock.now += DAY
            await reconciled(house, "approval/none")
        rows = await rows_of(house, "automatic_decisions")
        assert [(row["request"], row["outcome"], row["origin"]) for row in rows] == [
            ("approval/low", "approved", "policy:1"),
            ("approval/high", "rejected", "policy:1"),
            ("approval/none", "expired", "timer"),
        ]
        assert any("configuration/policy#low" in rule for rule in rows[0]["rules"])
        assert rows[0]["inputs_hash"] == (await request_of(house, "approval/low")).content_hash
        totals = await totals_of(house, "automatic_decisions")
        assert (totals["evaluations"], totals["by_policy"], totals["by_time"]) == (3, 2, 1)
        assert totals["approved_by_time"] == 0


# Late and escalated


async def test_stages_are_told_with_wall_and_business_time_and_their_level(clock: Clock) -> None:
    clock.now = 1_799_056_800.0  # a Monday, ten o'clock in UTC
    async with open_approvals(clock=clock) as house:
        await submit(house)
        clock.now += 2 * HOUR
        await decide(house, "sam")
        for _ in range(3):
            clock.now += DAY + HOUR
            await reconciled(house)
        rows = await rows_of(house, "late_and_escalated")
        steward, security = rows
        assert (steward["stage"], steward["result"], steward["level"]) == ("steward", "satisfied", 0)
        assert (steward["wall_seconds"], steward["business_seconds"], steward["is_late"]) == (2 * HOUR, 2 * HOUR, False)
        assert security["level"] > 0
        assert (security["result"], security["is_late"]) == ("expired", True)
        assert security["business_seconds"] < security["wall_seconds"]
        totals = await totals_of(house, "late_and_escalated")
        assert (totals["stages"], totals["late"], totals["escalated"], totals["expired"]) == (2, 1, 1, 1)


async def test_business_time_is_in_the_calendar_that_was_published(clock: Clock) -> None:
    clock.now = 1_799_056_800.0
    stage = {
        "id": "s",
        "calendar": "always",
        "requirements": [{"id": "r", "pool": ["role:steward"]}],
        "due": "1h",
        "on_timeout": "hold",
    }
    windows = [{"weekday": day, "start": "00:00", "end": "24:00"} for day in range(7)]
    async with open_approvals(clock=clock) as house:
        template = {"title": "Something", "stages": [stage]}
        settings = {"templates": {"custom": template}, "calendars": {"always": {"zone": "UTC", "windows": windows}}}
        await publish(house, settings)
        await write(house, type="custom", title="x", justification="y")
        await ask(house, "submit", user="rita", artifact=REQUEST)
        clock.now += 20 * HOUR
        [row] = await rows_of(house, "late_and_escalated")
        assert (row["wall_seconds"], row["business_seconds"], row["result"]) == (20 * HOUR, 20 * HOUR, "open")


async def test_decisions_that_came_too_late_are_counted() -> None:
    async with open_approvals() as house:
        await live_through(house)
        assert (await totals_of(house, "late_and_escalated"))["late_decisions"] == 1


# Stale dismissals


async def test_a_dismissal_says_who_edited_what_and_when_it_was_made_up_for(clock: Clock) -> None:
    async with open_approvals(clock=clock) as house:
        await submit(house)
        before = await request_of(house)
        await decide(house, "sam")
        await write(house, change="ALTER TABLE another", by="max")
        await reconciled(house)
        [row] = await rows_of(house, "stale_dismissals")
        assert (row["decider"], row["edited_by"], row["changed_parts"]) == ("sam", ["max"], ["fields/change"])
        assert (row["approved_again_at"], row["seconds_to_approval"]) == (None, None)
        after = await request_of(house)
        part = "fields/change"
        assert row["diff_hash"] == digest({part: [before.part_hashes[part], after.part_hashes[part]]})
        assert (row["hash_before"], row["hash_after"]) == (before.content_hash, after.content_hash)
        clock.now += HOUR
        await decide(house, "sue")
        [row] = await rows_of(house, "stale_dismissals")
        assert row["seconds_to_approval"] == HOUR
        assert await totals_of(house, "stale_dismissals") == {"dismissed": 1, "edits": 1, "approved_again": 1}


# E-signatures


SIGNED = {
    "type": "security_exception",
    "title": "An exception",
    "justification": "needed",
    "control": "C1",
    "mitigation": "M1",
}


async def test_a_signature_has_a_printed_name_a_meaning_and_what_was_signed() -> None:
    async with open_approvals() as house:
        await ask(house, "put_people", people=[{"id": "sec", "name": "Sec Urity", "roles": ["security"]}])
        await write(house, **SIGNED)
        await ask(house, "submit", user="rita", artifact=REQUEST)
        await decide(house, "sam")
        await decide(house, signed_in("sec"))
        [row] = await rows_of(house, "e_signatures")
        assert (row["signer"], row["printed_name"], row["meaning"]) == ("sec", "Sec Urity", "approval")
        assert (row["acr"], row["is_accepted"]) == ("mfa", True)
        assert row["authenticated_at"] < row["signed_at"]
        assert row["content_hash"] == (await request_of(house)).content_hash


async def test_a_name_that_was_erased_is_not_told_and_the_signature_stays() -> None:
    async with open_approvals() as house:
        await submit(house)
        await ask(house, "override", user=signed_in("ann"), artifact=REQUEST, reason="emergency")
        [row] = await rows_of(house, "e_signatures")
        assert (row["signer"], row["printed_name"], row["meaning"]) == ("ann", "ann", "override")
        await house.commands.run("audit.erase_texts", {"sequences": [row["sequence"]]}, user=ADMIN, via="api")
        [row] = await rows_of(house, "e_signatures")
        assert row["printed_name"] == "[erased]"
        assert (await totals_of(house, "e_signatures")) == {"signatures": 1, "names_erased": 1}


# Policy history


async def test_policies_are_told_with_who_approved_them_and_what_they_changed() -> None:
    rule = {"effect": "auto_approve", "types": ["custom"], "when": "request.risk == 'low'"}
    async with open_approvals() as house:
        await publish(house, {"rules": {"low": rule}})
        await submit(house, "approval/open")
        guest = Guest(await open_room(house.rooms, "configuration/policy", by="sam"), "sam")
        guest.doc.apply_update(await guest.room.read())
        guest.made.clear()
        guest.doc.get("settings", type=Map)["rules"] = {"low": {**rule, "when": "request.risk == 'medium'"}}
        guest.send(guest.made[-1])
        await until(lambda: guest.room.is_durable, "durable")
        async with open_artifact(house.rooms, DocumentName("configuration/policy")) as policy:
            version = policy.content_hash()
        await write(
            house,
            "approval/change",
            type="policy_change",
            title="Change",
            justification="needed",
            subject="configuration/policy",
            subject_version=version,
        )
        await ask(house, "submit", user="rita", artifact="approval/change")
        await decide(house, "gov", name="approval/change")
        await decide(house, "gus", name="approval/change")
        first, second = await rows_of(house, "policy_history")
        assert (first["version"], first["published_by"], first["request"]) == (1, "root", "")
        assert first["difference"][0].startswith("rules: nothing -> ")
        assert (second["version"], second["request"], second["authors"]) == (2, "approval/change", ["rita"])
        assert second["approvers"] == ["gov", "gus"]
        assert second["difference"] == [
            "rules/low/when: \"request.risk == 'low'\" -> \"request.risk == 'medium'\"",
        ]
        assert second["content_hash"] == version
        # The request that published it is approved, so only the other one is open.
        assert (second["open_requests"], second["reevaluated"]) == (1, 0)
        await write(house, "approval/open", change="ALTER TABLE edited")
        await reconciled(house, "approval/open")
        totals = await totals_of(house, "policy_history")
        assert totals == {"versions": 2, "approved_by_request": 1, "by_administrators": 1}


# A data subject


async def test_everything_that_names_a_person_is_found_and_erasure_is_proved() -> None:
    async with open_approvals() as house:
        await live_through(house)
        rows = await rows_of(house, "data_subject", person="sam")
        own_rows = [row for row in rows if row["is_actor"]]
        assert {"approval.decided", "command.approvals.decide"} <= {row["type"] for row in own_rows}
        named = [row for row in rows if row["type"] == "approval.evaluated"]
        assert "event/pools/steward/role_steward/weights" in named[0]["named_in"]
        [decision] = [row for row in own_rows if row["texts"] == ["reason: =1+1"]]
        await house.commands.run("audit.erase_texts", {"sequences": [decision["sequence"]]}, user=ADMIN, via="api")
        [erasure] = await audit_of(house.rooms, "audit.erased")
        rows = await rows_of(house, "data_subject", person="sam")
        [after] = [row for row in rows if row["sequence"] == decision["sequence"]]
        assert (after["texts"], after["erased"], after["erased_in"]) == ([], ["reason"], [str(erasure["seq"])])
        assert after["commitments"] == decision["commitments"]
        assert (await report(house, "integrity"))["rows"] > 0


async def test_the_texts_of_others_are_not_told_to_a_data_subject() -> None:
    async with open_approvals() as house:
        await live_through(house)
        told = (await report(house, "data_subject", person="sue"))["document"]
        assert "=1+1" not in told


# Integrity


async def test_an_attestation_says_what_verifying_the_chain_found() -> None:
    async with open_approvals() as house:
        await live_through(house)
        rows = await rows_of(house, "integrity")
        [verified] = [row for row in rows if row["item"] == "verification"]
        assert (verified["result"], verified["sequence"]) == (
            "verified",
            json.loads(await attest_seal(house))["size"],
        )
        [key] = [row for row in rows if row["item"] == "key"]
        assert key["key"] == house.sealer.verifier_key
        [checkpoint] = [row for row in rows if row["item"] == "checkpoint"]
        assert (checkpoint["result"], checkpoint["at"] is not None) == ("covered by the verification", True)
        assert house.sealer.verifier_key.startswith(checkpoint["key"])
        totals = await totals_of(house, "integrity")
        assert (totals["verdict"], totals["unsealed"], totals["gaps"]) == ("verified", 0, 0)


async def attest_seal(house: House) -> str:
    """What the first report of the house was sealed to."""
    [body, *_] = await audit_of(house.rooms, "approval.exported")
    return json.dumps({"size": body["facts"]["size"]})


async def test_an_attestation_says_that_the_chain_was_tampered_with() -> None:
    async with open_approvals() as house:
        await submit(house)
        await house.sealer.seal()
        records: list[Any] = house.rooms.store._audit._records  # type: ignore[attr-defined]
        place = next(at for at, (record, *_) in enumerate(records) if b"approval.submitted" in record.body)
        del records[place]
        answer = json.loads((await report(house, "integrity"))["document"])
        assert answer["totals"]["verdict"] == "tampered"
        assert any(row["item"] == "fault" for row in answer["rows"])
