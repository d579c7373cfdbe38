"""The replay of decisions from the audit log: it agrees with what happened, and finds what was written otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from quorate_plugins.approval.replaying import DecisionReplay
from quorate_server.connections import House
from quorate_server.hooks import LoggedEvent
from quorate_storage.audit_rows import parse_body
from tests.plugins.approval.approval_houses import decide, open_approvals, reconciled, submit, write

Log = list[LoggedEvent]


async def decided_log() -> Log:
    """The audit log of two requests: one is approved after an edit, one rejected; somebody comes too late."""
    async with open_approvals() as house:
        await submit(house)
        await decide(house, "sam")
        await write(house, change="ALTER TABLE again")
        await reconciled(house)
        await decide(house, "sue")
        await submit(house, "approval/two", change="other")
        await decide(house, "sam", "reject", name="approval/two", reason="no")
        with pytest.raises(Exception, match="rejected"):
            await decide(house, "sue", name="approval/two")
        return await log_of(house)


async def log_of(house: House) -> Log:
    return [parse_body(record.body) for record in await house.rooms.store.read_audit(after=0)]


def problems_of(log: Log) -> list[str]:
    replay = DecisionReplay()
    for event in log:
        replay.take(event)
    return list(replay.problems())


async def test_what_happened_comes_out_the_same() -> None:
    log = await decided_log()
    assert problems_of(log) == []
    kinds = {event.type for event in log}
    assert {"approval.submitted", "approval.decided", "approval.edited"} <= kinds


def changed(log: Log, kind: str, change: Callable[[LoggedEvent], LoggedEvent]) -> Log:
    """The log with its last event of a type changed."""
    place = max(number for number, event in enumerate(log) if event.type == f"approval.{kind}")
    return [*log[:place], change(log[place]), *log[place + 1 :]]


def with_decision(**values: object) -> Callable[[LoggedEvent], LoggedEvent]:
    def change(event: LoggedEvent) -> LoggedEvent:
        facts: dict[str, Any] = dict(event.facts)
        decision = {**facts["event"]["decision"], **values}
        return replace(event, facts={**facts, "event": {**facts["event"], "decision": decision}})

    return change


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda event: replace(event, facts={**event.facts, "after": "approved"}), "says after 'approved'"),
        (lambda event: replace(event, facts={**event.facts, "version": 99}), "says version 99"),
        (lambda event: replace(event, actor="sec"), "was given by 'sec'"),
        (lambda event: replace(event, at=event.at + 60), "is dated"),
        (lambda event: replace(event, type="approval.edited"), "of another type"),
        (lambda event: replace(event, facts={**event.facts, "event": {"kind": "nonsense"}}), "cannot be replayed"),
        (with_decision(actor="sec"), "written down as that of 'sec'"),
    ],
)
async def test_what_was_written_otherwise_is_found(change: Callable[[LoggedEvent], LoggedEvent], found: str) -> None:
    problems = problems_of(changed(await decided_log(), "decided", change))
    assert any(found in problem for problem in problems), problems


async def test_a_verdict_that_was_turned_round_is_found() -> None:
    log = await decided_log()
    turned = with_decision(verdict="approve")
    rejected = max(
        number for number, e in enumerate(log) if e.facts.get("after") == "rejected" and e.facts["before"] == "pending"
    )
    problems = problems_of([*log[:rejected], turned(log[rejected]), *log[rejected + 1 :]])
    assert any("says after 'rejected'" in problem for problem in problems), problems


async def test_an_event_that_was_taken_out_is_found() -> None:
    log = await decided_log()
    for kind in ("submitted", "evaluated", "decided", "edited"):
        place = min(number for number, event in enumerate(log) if event.type == f"approval.{kind}")
        assert problems_of([*log[:place], *log[place + 1 :]]), kind
