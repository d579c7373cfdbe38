"""Who is told what when a request changes. Pure: it follows from what the request was, and is."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from quorate_plugins.approval.requests import (
    RESOLVED,
    Decision,
    Event,
    Reminded,
    Request,
    StageState,
    State,
    Status,
)

OUTCOMES = {
    State.APPROVED: "decided",
    State.REJECTED: "decided",
    State.OVERRIDDEN: "decided",
    State.REVOKED: "decided",
    State.LAPSED: "decided",
    State.FULFILMENT_FAILED: "decided",
    State.EXPIRED: "expired",
    State.CANCELLED: "withdrawn",
    State.SUPERSEDED: "withdrawn",
    State.CHANGES_REQUESTED: "changes_requested",
}
"""What the requester is told when a request comes into a state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """That somebody is told something about a `stage`, because of a `decision`, or by somebody (`by`)."""

    person: str
    event: str
    stage: str = ""
    decision: Decision | None = None
    by: str = ""


def tellings(before: Request | None, after: Request, event: Event, *, reviewers: Collection[str] = ()) -> list[Telling]:
    """Return who is told what of an event; nobody is told of what they did themselves, but the requester's outcome.

    `reviewers` are those who look at an override afterwards.
    """
    decision = _decision(before, after)
    found = [*_outcome(before, after, decision), *_wanted(before, after, event), *_dismissed(before, after)]
    found += [*_reminded(after, event), *_reviewing(after, event, reviewers)]
    if before is not None and before.state not in RESOLVED and after.state in RESOLVED:
        told = {each.person for each in found}
        found += [each for each in _not_needed(before) if each.person not in {*told, event.by}]
    return list(dict.fromkeys(found))


def _decisions(request: Request | None) -> Mapping[str, Decision]:
    return {} if request is None else request.decisions


def _decision(before: Request | None, after: Request) -> Decision | None:
    """Return the decision that is new."""
    known = _decisions(before)
    return next((each for key, each in after.decisions.items() if key not in known), None)


def _outcome(before: Request | None, after: Request, decision: Decision | None) -> Iterator[Telling]:
    """The requester always learns the outcome, and by whom."""
    was = (None, None) if before is None else (before.state, before.block)
    if after.state is not was[0] and after.state in OUTCOMES:
        yield Telling(person=after.requester, event=OUTCOMES[after.state], decision=decision)
    if after.block is not None and after.block is not was[1]:
        yield Telling(person=after.requester, event="blocked")


def _wanted(before: Request | None, after: Request, event: Event) -> Iterator[Telling]:
    """Those who may decide what is open now and was not open to them before."""
    if after.state is not State.PENDING:
        return
    for stage in after.active():
        known = _asked(before, after, stage.id)
        name = "escalated" if known and event.kind == "climbed" else "decision_wanted"
        for person in sorted(_eligible(after, stage.id) - known - _voted(after, stage.id)):
            yield Telling(person=person, event=name, stage=stage.id)


def _reminded(after: Request, event: Event) -> Iterator[Telling]:
    """Those who may decide a stage, and have not."""
    if isinstance(event, Reminded):
        for person in sorted(_eligible(after, event.stage) - _voted(after, event.stage)):
            yield Telling(person=person, event="reminder", stage=event.stage)


def _reviewing(after: Request, event: Event, reviewers: Collection[str]) -> Iterator[Telling]:
    """Those who must look at an override, but for whoever did or asked it."""
    if event.kind == "overrode":
        for person in sorted(set(reviewers) - {event.by, after.requester}):
            yield Telling(person=person, event="override_review")


def _voted(request: Request, stage: str) -> set[str]:
    return {each.principal for each in request.counted() if each.stage == stage}


def _asked(before: Request | None, after: Request, stage: str) -> set[str]:
    """Return who was asked already since a stage was opened."""
    run = None if before is None else before.runs.get(stage)
    if before is None or run is None or run.state is not StageState.ACTIVE:
        return set()
    return _eligible(before, stage) if run.activation == after.runs[stage].activation else set()


def _dismissed(before: Request | None, after: Request) -> Iterator[Telling]:
    """Those whose decision fell because the content changed."""
    for key, earlier in _decisions(before).items():
        if earlier.status is Status.COUNTED and after.decisions[key].status is Status.DISMISSED_STALE:
            yield Telling(person=earlier.actor, event="dismissed", stage=earlier.stage)


def _not_needed(before: Request) -> Iterator[Telling]:
    """Those who were asked and need not answer any more."""
    for stage in before.active():
        for person in sorted(_eligible(before, stage.id) - _voted(before, stage.id)):
            yield Telling(person=person, event="not_needed", stage=stage.id)


def _eligible(request: Request, stage: str) -> set[str]:
    run = request.runs.get(stage)
    pools = () if run is None else run.pools.values()
    return {person for pool in pools if pool.applies for person in pool.eligible}


def still_matters(event: str, person: str, request: Request | None) -> bool:
    """Whether it still makes sense to tell somebody something when it goes out."""
    if event not in {"decision_wanted", "escalated", "reminder"}:
        return True
    if request is None or request.state is not State.PENDING:
        return False
    return any(person in _eligible(request, stage.id) for stage in request.active())
