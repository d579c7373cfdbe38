"""The run facet of OpenLineage: valid, true, and with whoever executes outside."""

from __future__ import annotations

import copy
import json
from datetime import datetime
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator, ValidationError
from referencing import Registry
from starlette.applications import Starlette
from starlette.routing import Mount

from quorate_plugins.approval.lineage import KEY, NAME, PATH, schema, schema_url, sequences_of
from quorate_server.connections import House
from quorate_server.errors import Conflict, DocumentNotFound
from quorate_server.users import User
from quorate_storage.checkpoints import VerifierKey, verify_checkpoint
from tests.plugins.approval.approval_houses import (
    REQUEST,
    ask,
    decide,
    open_approvals,
    request_of,
    signed_in,
    submit,
)
from tests.plugins.approval.test_reports import grant
from tests.server.houses import audit_of, changes_of

PAGE = "http://localhost:8000"
BASE = "https://openlineage.io/spec/2-0-2/OpenLineage.json"
# What OpenLineage demands of every facet of a run, in our words: both members are URIs, and others are welcome.
RUN_FACET = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": BASE,
    "$defs": {
        "RunFacet": {
            "type": "object",
            "properties": {
                "_producer": {"type": "string", "pattern": "^[a-z][a-z0-9+.-]*:.+"},
                "_schemaURL": {"type": "string", "pattern": "^[a-z][a-z0-9+.-]*:.+"},
                "_deleted": {"type": "boolean"},
            },
            "required": ["_producer", "_schemaURL"],
        }
    },
}


def check(facets: dict[str, Any]) -> dict[str, Any]:
    """Return the facet of what belongs into `run.facets`; fail if it does not follow its schema."""
    own = schema(PAGE)
    Draft202012Validator.check_schema(own)
    known: dict[str, Any] = {BASE: RUN_FACET, schema_url(PAGE): own}
    registry: Registry[Any] = Registry[Any]().with_contents(known.items())
    [(key, facet)] = facets.items()
    assert key == KEY
    Draft202012Validator({"$ref": facet["_schemaURL"]}, registry=registry).validate(facet)
    Draft202012Validator(own, registry=registry).validate(facets)
    for name in ("resolvedAt", "validUntil"):
        assert name not in facet or datetime.fromisoformat(facet[name]).tzinfo is not None
    checked: dict[str, Any] = facet
    return checked


async def facet_of(house: House, *, user: User | str = "rita") -> dict[str, Any]:
    return check((await ask(house, "lineage", user=user, artifact=REQUEST))["run_facets"])


async def approve(house: House) -> None:
    await submit(house)
    await decide(house, "sam")
    await decide(house, "sec")


async def test_a_facet_names_the_approval_its_deciders_and_where_it_is_proved() -> None:
    async with open_approvals() as house:
        await approve(house)
        request = await request_of(house)
        facet = await facet_of(house)
        assert (facet["request"], facet["outcome"], facet["basis"]) == (REQUEST, "approved", "decided")
        assert facet["contentHash"] == request.content_hash
        assert [(each["actor"], each["principal"], each["verdict"]) for each in facet["deciders"]] == [
            ("sam", "sam", "approve"),
            ("sec", "sec", "approve"),
        ]
        told = {body["seq"]: body for body in await audit_of(house.rooms)}
        for decider in facet["deciders"]:
            assert told[decider["auditSequence"]]["facts"]["event"]["decision"]["actor"] == decider["actor"]
        assert {told[sequence]["type"] for sequence in facet["auditSequences"]} == {
            "approval.submitted",
            "approval.evaluated",
            "approval.decided",
        }
        assert {told[sequence]["artifact"] for sequence in facet["auditSequences"]} == {REQUEST}
        head = verify_checkpoint(facet["checkpoint"]["note"], [VerifierKey.parse(house.sealer.verifier_key)])
        assert (head.size, head.root.hex()) == (facet["checkpoint"]["size"], facet["checkpoint"]["root"])
        assert max(facet["auditSequences"]) <= head.size


async def test_what_does_not_count_is_not_in_the_facet() -> None:
    async with open_approvals() as house:
        await submit(house)
        first = await decide(house, "sam")
        await ask(house, "revoke_decision", user="sam", artifact=REQUEST, decision=first["decision"])
        await decide(house, "sue")
        await decide(house, "sec")
        facet = await facet_of(house)
        assert [each["actor"] for each in facet["deciders"]] == ["sue", "sec"]
        [fallen] = [
            body["seq"]
            for body in await audit_of(house.rooms, "approval.decided")
            if body["facts"]["event"]["decision"]["id"] == first["decision"]
        ]
        assert fallen not in facet["auditSequences"]


async def test_an_override_is_not_told_as_an_approval() -> None:
    async with open_approvals() as house:
        await submit(house)
        await ask(house, "override", user=signed_in("ann"), artifact=REQUEST, reason="emergency")
        facet = await facet_of(house)
        assert (facet["outcome"], facet["resolvedBy"], facet["deciders"]) == ("overridden", "ann", [])
        [overrode] = await audit_of(house.rooms, "approval.overrode")
        assert overrode["seq"] in facet["auditSequences"]


async def test_nothing_runs_by_what_is_not_approved() -> None:
    async with open_approvals() as house:
        await submit(house)
        with pytest.raises(Conflict, match="it is pending"):
            await facet_of(house)
        await decide(house, "sam", "reject", reason="no")
        with pytest.raises(Conflict, match="it is rejected"):
            await facet_of(house)


async def test_whoever_may_not_read_a_request_learns_nothing_of_it() -> None:
    async with open_approvals() as house:
        await approve(house)
        with pytest.raises(DocumentNotFound):
            await facet_of(house, user=User(id=type(signed_in("x").id)("eve"), name="Eve", role="guest"))


async def test_who_executes_outside_is_told_by_which_approval() -> None:
    async with open_approvals() as house:
        await approve(house)
        await ask(house, "execute", user="rita", artifact=REQUEST)
        [told] = await changes_of(house.rooms, "approval.execution_authorised")
        data: Any = told.data
        facet = check(data["run_facets"])
        assert (told.document, data["type"], data["revision"]) == (REQUEST, "schema_change", 1)
        assert "checkpoint" not in facet
        assert len(json.dumps(data)) < 16 * 1024  # what a webhook carries
        await ask(house, "report", user="rita", artifact=REQUEST, is_done=True)
        later = await facet_of(house)
        assert set(facet["auditSequences"]) < set(later["auditSequences"])
        without = {"auditSequences", "checkpoint"}
        assert {key: value for key, value in later.items() if key not in without} == {
            key: value for key, value in facet.items() if key not in without
        }


async def test_what_the_server_does_itself_is_announced_to_nobody() -> None:
    async with open_approvals() as house:
        await grant(house)
        assert not await changes_of(house.rooms, "approval.execution_authorised")
        assert (await facet_of(house))["type"] == "access_grant"


async def test_a_damaged_chain_keeps_nobody_from_executing() -> None:
    async with open_approvals() as house:
        await approve(house)
        records: list[Any] = house.rooms.store._audit._records  # type: ignore[attr-defined]
        record, _ = next(each for each in records if each[1] == REQUEST)
        object.__setattr__(record, "body", b"no JSON")
        assert (await ask(house, "execute", user="rita", artifact=REQUEST))["state"] == "executing"
        [told] = await changes_of(house.rooms, "approval.execution_authorised")
        facets: Any = told.data["run_facets"]
        assert check(facets)["auditSequences"] == []


async def test_the_schema_is_where_the_facet_says() -> None:
    async with open_approvals(link="http://localhost:9000/") as house:
        await approve(house)
        url = (await ask(house, "lineage", user="rita", artifact=REQUEST))["run_facets"][KEY]["_schemaURL"]
        assert url == f"http://localhost:9000/api/engines/approvals{PATH}#/$defs/{NAME}"
        routes = house.engines.runtimes["approvals"].engine.routes()
        app = Starlette(routes=[Mount("/api/engines/approvals", routes=list(routes))])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), trust_env=False) as client:
            answer = await client.get(url)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("application/schema+json")
        assert answer.json() == schema("http://localhost:9000")
        assert answer.json()["$id"] == url.partition("#")[0]


@pytest.mark.parametrize("lost", ["_producer", "_schemaURL", "request", "contentHash", "outcome", "deciders"])
async def test_the_schema_demands_what_a_facet_is_for(lost: str) -> None:
    async with open_approvals() as house:
        await approve(house)
        facets = copy.deepcopy((await ask(house, "lineage", user="rita", artifact=REQUEST))["run_facets"])
        check(facets)
        del facets[KEY][lost]
        with pytest.raises((ValidationError, KeyError)):
            check(facets)


async def test_events_of_others_say_nothing() -> None:
    async with open_approvals() as house:
        await approve(house)
        assert sequences_of(await request_of(house), ()) == {}
