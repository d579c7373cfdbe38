"""The state machine: one event after the other makes a request what it is. Pure; the same events, the same request.

`TRANSITIONS` is the whole table of where an event may lead from where. What an event does beyond that (which stages
open, which decisions fall) follows from `evaluator.evaluate` and is done here, so that replaying the events of the
audit chain is replaying the decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from quorate_plugins.approval.requests import (
    RESOLVED,
    Block,
    Blocked,
    Climbed,
    Decided,
    Decision,
    DecisionRevoked,
    Edited,
    Ended,
    Evaluated,
    Event,
    ExecutionEnded,
    ExecutionStarted,
    Extended,
    Lapsed,
    Overrode,
    PoolsChanged,
    Reassigned,
    Reminded,
    Request,
    Revoked,
    Scheduled,
    StageRun,
    StageState,
    State,
    Status,
    Submitted,
)
from quorate_plugins.approval.settling import (
    OF_POLICY,
    OPEN,
    block_of,
    narrowed,
    put_off,
    resolve,
    settle,
    while_eligible,
    with_pools,
    without_ineligible,
)
from quorate_plugins.approval.stages import Requirement

S = State
_LIVE = frozenset({S.PENDING, S.CHANGES_REQUESTED})
_DECIDED = frozenset({S.PENDING, S.APPROVED, S.REJECTED, S.CHANGES_REQUESTED})

TRANSITIONS: Final[Mapping[str, Mapping[State | None, frozenset[State]]]] = MappingProxyType(
    {
        "submitted": {None: frozenset({S.EVALUATING}), S.CHANGES_REQUESTED: frozenset({S.EVALUATING})},
        "evaluated": {
            S.EVALUATING: frozenset({S.PENDING, S.APPROVED, S.REJECTED}),
            S.PENDING: frozenset({S.PENDING, S.APPROVED, S.REJECTED}),
        },
        "scheduled": {S.PENDING: frozenset({S.PENDING})},
        "decided": {each: _DECIDED if each is S.PENDING else frozenset({each}) for each in State},
        # Who edits may not decide any more, so an edit can change what the votes that it leaves come to.
        "edited": {
            S.EVALUATING: frozenset({S.EVALUATING}),
            S.PENDING: _DECIDED | {S.EVALUATING},
            S.CHANGES_REQUESTED: frozenset({S.CHANGES_REQUESTED}),
            S.APPROVED: _DECIDED | {S.EVALUATING},
            S.OVERRIDDEN: _DECIDED | {S.EVALUATING, S.OVERRIDDEN},
        },
        "pools_changed": {S.PENDING: _DECIDED},
        "climbed": {S.PENDING: _DECIDED},
        "reminded": {S.PENDING: frozenset({S.PENDING})},
        # Who asks may not decide, so their votes fall.
        "reassigned": {S.PENDING: _DECIDED, S.CHANGES_REQUESTED: frozenset({S.CHANGES_REQUESTED})},
        "extended": {S.PENDING: frozenset({S.PENDING}), S.CHANGES_REQUESTED: frozenset({S.CHANGES_REQUESTED})},
        "blocked": {each: frozenset({each}) for each in _LIVE},
        # Without somebody's own vote that of their delegate counts, and may be the last that was wanted.
        "decision_revoked": {S.PENDING: _DECIDED},
        "ended": {
            S.EVALUATING: frozenset({S.CANCELLED, S.SUPERSEDED}),
            S.PENDING: frozenset({S.CANCELLED, S.EXPIRED, S.REJECTED, S.SUPERSEDED, S.APPROVED}),
            S.CHANGES_REQUESTED: frozenset({S.CANCELLED, S.EXPIRED, S.SUPERSEDED}),
            S.APPROVED: frozenset({S.SUPERSEDED}),
        },
        "overrode": {S.PENDING: frozenset({S.OVERRIDDEN})},
        "execution_started": {
            each: frozenset({S.EXECUTING}) for each in (S.APPROVED, S.OVERRIDDEN, S.FULFILMENT_FAILED)
        },
        "execution_ended": {S.EXECUTING: frozenset({S.FULFILLED, S.FULFILMENT_FAILED})},
        "revoked": {each: frozenset({S.REVOKED}) for each in (S.APPROVED, S.OVERRIDDEN, S.FULFILLED)},
        "lapsed": {S.FULFILLED: frozenset({S.LAPSED})},
    }
)


class TransitionRefused(ValueError):
    """An event that the table does not have where the request stands, or that speaks of what the request has not."""


def apply(request: Request | None, event: Event) -> Request:
    """Return what a request is after an event; None stands for a draft that was never submitted.

    Raises:
        TransitionRefused: the table has no such event where the request stands, or it names a stage or a decision that
            is not there.
    """
    before = None if request is None else request.state
    allowed = _targets(event, before)
    if request is not None:
        _check_names(request, event)
    changed = _APPLY[type(event)](request, event)
    if changed.state not in allowed:
        raise TransitionRefused(f"{event.kind!r} does not lead from {before or 'a draft'} to {changed.state}")
    return replace(changed, version=1 if request is None else request.version + 1)


def _targets(event: Event, before: State | None) -> frozenset[State]:
    """Return the states that an event may lead to from one."""
    allowed = TRANSITIONS[event.kind].get(before)
    if allowed is None:
        raise TransitionRefused(f"{event.kind!r} has no place when a request is {before or 'a draft'}")
    return allowed


def _check_names(request: Request, event: Event) -> None:
    if unknown := _stages_named(event) - request.runs.keys():
        raise TransitionRefused(f"{event.kind!r} is about {sorted(unknown)}, which are no stages of the request")
    if isinstance(event, Decided) and event.decision.id in request.decisions:
        raise TransitionRefused(f"there is a decision {event.decision.id!r} already")
    if isinstance(event, DecisionRevoked) and not _is_counted(request, event.decision):
        raise TransitionRefused(f"there is no decision {event.decision!r} that counts")


def _is_counted(request: Request, decision: str) -> bool:
    found = request.decisions.get(decision)
    return found is not None and found.status is Status.COUNTED


def _stages_named(event: Event) -> set[str]:
    match event:
        case Scheduled():
            return {*event.due_at, *event.climbs}
        case Climbed():
            return {event.stage, *event.pools}
        case Reminded():
            return {event.stage}
        case Extended():
            return {event.stage} - {""}
        case Edited() | PoolsChanged() | Reassigned():
            return set(event.pools)
        case _:
            return set()


def replay(events: Mapping[int, Event] | Sequence[Event]) -> Request | None:
    """Return what all the events of a request make of it."""
    request: Request | None = None
    for event in events.values() if isinstance(events, Mapping) else events:
        request = apply(request, event)
    return request


# What each event does


def _submitted(request: Request | None, event: Submitted) -> Request:
    decisions = {} if request is None else put_off(request, Status.SUPERSEDED)
    return Request(
        type=event.type,
        state=State.EVALUATING,
        version=0,
        revision=1 if request is None else request.revision + 1,
        content_hash=event.content_hash,
        part_hashes=event.part_hashes,
        requester=event.by if request is None else request.requester,
        beneficiaries=event.beneficiaries,
        contributors=event.contributors,
        subject=event.subject,
        risk=event.risk,
        priority=event.priority,
        submitted_at=event.at,
        template_version=event.template_version,
        # Asking again does not give more time.
        deadline_at=event.deadline_at if request is None else request.deadline_at,
        valid_until=event.valid_until,
        supersedes=event.supersedes,
        opened=0 if request is None else _opened(request),
        decisions=decisions,
    )


def _opened(request: Request) -> int:
    return max((run.activation for run in request.runs.values()), default=request.opened)


def _evaluated(request: Request, event: Evaluated) -> Request:
    opened = _opened(request)
    changed = replace(
        request,
        policy_version=event.policy_version,
        explanation=event.explanation,
        stages=event.stages,
        is_automatic=event.verdict != "require",
        held=event.block,
        opened=opened,
        runs={stage.id: StageRun(activation=opened, pools=event.pools.get(stage.id, {})) for stage in event.stages},
        decisions=put_off(request, Status.SUPERSEDED),
    )
    if event.verdict == "require":
        return settle(replace(changed, state=State.PENDING), event.at)
    state = State.APPROVED if event.verdict == "auto_approve" else State.REJECTED
    return resolve(changed, state, event.at, event.by, "policy")


def _scheduled(request: Request, event: Scheduled) -> Request:
    runs = dict(request.runs)
    for key in event.due_at.keys() | event.climbs.keys():
        runs[key] = replace(runs[key], due_at=event.due_at.get(key), climb=event.climbs.get(key))
    return replace(request, runs=runs)


def _decided(request: Request, event: Decided) -> Request:
    decision = _as_worth(request, event.decision)
    if decision.status is not Status.COUNTED:
        return replace(request, decisions={**request.decisions, decision.id: decision})
    earlier = {key: _without_said_again(each, decision) for key, each in request.decisions.items()}
    changed = replace(request, decisions={**earlier, decision.id: decision})
    if decision.verdict == "request_changes":
        return replace(changed, state=State.CHANGES_REQUESTED)
    return settle(changed, event.at, event.by)


def _as_worth(request: Request, decision: Decision) -> Decision:
    """Return a decision with what it is worth: whoever recorded it may have been mistaken, or too slow."""
    if decision.status is not Status.COUNTED:
        return decision
    if not _is_open_at(request, decision.stage):
        return replace(decision, status=Status.LATE)
    if decision.content_hash != request.content_hash:
        return replace(decision, status=Status.DISMISSED_STALE)
    everything = tuple(each.id for each in request.stage(decision.stage).requirements)
    return while_eligible(request, replace(decision, requirements=decision.requirements or everything))


def _is_open_at(request: Request, stage: str) -> bool:
    """Whether a request can be decided at a stage."""
    run = request.runs.get(stage)
    return request.state is State.PENDING and run is not None and run.state is StageState.ACTIVE


def _without_said_again(earlier: Decision, later: Decision) -> Decision:
    """Return an earlier decision without the requirements of which the same person now says something else."""
    if earlier.status is not Status.COUNTED or _voice_of(earlier) != _voice_of(later):
        return earlier
    left = tuple(key for key in earlier.requirements if key not in later.requirements)
    return narrowed(earlier, left, Status.SUPERSEDED)


def _voice_of(decision: Decision) -> tuple[str, str, str]:
    return decision.actor, decision.principal, decision.stage


def _edited(request: Request, event: Edited) -> Request:
    is_same = event.content_hash == request.content_hash  # done and undone at once: nobody decided on anything else
    changed = _with_content(request, event, is_same=is_same)
    if _stays_after_edit(request, is_same=is_same):
        return changed
    reopened = replace(changed, state=State.PENDING, resolved_at=None, resolved_by="", outcome="")
    if not is_same and _is_of_policy(request):
        return replace(reopened, state=State.EVALUATING, held=None, block=None)
    settled = settle(without_ineligible(reopened), event.at, event.by)
    if request.state is State.APPROVED is settled.state:  # who edited it did not approve it
        return replace(settled, resolved_at=request.resolved_at, resolved_by=request.resolved_by)
    return settled


def _with_content(request: Request, event: Edited, *, is_same: bool) -> Request:
    """Return a request with what it is about after an edit, in the state it was in."""
    return replace(
        _with_said(request, event),
        revision=request.revision if is_same else request.revision + 1,
        content_hash=event.content_hash,
        part_hashes=event.part_hashes,
        contributors=tuple(dict.fromkeys((*request.contributors, *event.contributors))),
        runs=with_pools(request, event.pools),
        decisions=request.decisions if is_same else _decisions_after(request, event),
    )


def _stays_after_edit(request: Request, *, is_same: bool) -> bool:
    """Whether an edit leaves the state as it is: nobody can decide yet, or what was resolved is the same again."""
    return request.state in {State.EVALUATING, State.CHANGES_REQUESTED} or (is_same and request.state in RESOLVED)


def _with_said(request: Request, event: Edited) -> Request:
    """Return the request with what the content says now of what it is about."""
    return replace(
        request,
        beneficiaries=request.beneficiaries if event.beneficiaries is None else event.beneficiaries,
        subject=request.subject if event.subject is None else event.subject,
        risk=request.risk if event.risk is None else event.risk,
        priority=request.priority if event.priority is None else event.priority,
    )


def _is_of_policy(request: Request) -> bool:
    """Whether the policy answered by itself, or could not answer: another content may get another answer."""
    return request.is_automatic or not request.stages or request.held in OF_POLICY


def _decisions_after(request: Request, event: Edited) -> dict[str, Decision]:
    """Return the decisions, for the requirements whose parts, or whose patience, an edit leaves alone."""
    known = request.part_hashes.keys() | event.part_hashes.keys()
    changed = {part for part in known if request.part_hashes.get(part) != event.part_hashes.get(part)}

    def after(decision: Decision) -> Decision:
        if decision.status is not Status.COUNTED:
            return decision
        stage = request.stage(decision.stage)
        left = tuple(key for key in decision.requirements if _survives(stage.requirement(key), known, changed, event))
        return narrowed(decision, left, Status.DISMISSED_STALE)

    return {key: after(each) for key, each in request.decisions.items()}


def _survives(requirement: Requirement, known: Collection[str], changed: Collection[str], event: Edited) -> bool:
    if event.change in requirement.keeps:
        return True
    # A part that the content does not have may be misspelt: nothing says that the edit was elsewhere.
    return bool(requirement.parts) and all(
        _overlaps_any(own, known) and not _overlaps_any(own, changed) for own in requirement.parts
    )


def _overlaps_any(own: str, parts: Iterable[str]) -> bool:
    return any(_overlap(own, part) for part in parts)


def _overlap(one: str, other: str) -> bool:
    """Whether one part is the other, or within it."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _pools_changed(request: Request, event: PoolsChanged) -> Request:
    return settle(without_ineligible(replace(request, runs=with_pools(request, event.pools))), event.at, event.by)


def _climbed(request: Request, event: Climbed) -> Request:
    runs = with_pools(request, event.pools)
    run = runs[event.stage]
    added = tuple(dict.fromkeys((*run.added, *event.added)))
    runs[event.stage] = replace(run, climb=event.climb, added=added)
    changed = replace(request, runs=runs, priority=event.priority or request.priority)
    return settle(without_ineligible(changed), event.at, event.by)


def _reminded(request: Request, event: Reminded) -> Request:
    run = replace(request.runs[event.stage], reminded_at=event.at)
    return replace(request, runs={**request.runs, event.stage: run})


def _reassigned(request: Request, event: Reassigned) -> Request:
    changed = replace(
        request,
        requester=event.requester,
        contributors=tuple(dict.fromkeys((*request.contributors, request.requester))),
        held=None if request.held is Block.REQUESTER_DISABLED else request.held,
        runs=with_pools(request, event.pools),
    )
    if request.state is State.CHANGES_REQUESTED:
        return replace(changed, block=changed.held)
    return settle(without_ineligible(changed), event.at, event.by)


def _extended(request: Request, event: Extended) -> Request:
    if not event.stage:
        return replace(request, deadline_at=event.until)
    return replace(request, runs={**request.runs, event.stage: replace(request.runs[event.stage], due_at=event.until)})


def _blocked(request: Request, event: Blocked) -> Request:
    changed = replace(request, held=event.block)
    return replace(changed, block=event.block or block_of(changed))


def _decision_revoked(request: Request, event: DecisionRevoked) -> Request:
    taken = replace(request.decisions[event.decision], status=Status.REVOKED)
    return settle(replace(request, decisions={**request.decisions, event.decision: taken}), event.at, event.by)


def _ended(request: Request, event: Ended) -> Request:
    changed = replace(request, superseded_by=event.superseded_by)
    return resolve(changed, event.state, event.at, event.by, event.cause)


def _overrode(request: Request, event: Overrode) -> Request:
    runs = {
        key: replace(run, state=StageState.OVERRIDDEN) if run.state in OPEN else run
        for key, run in request.runs.items()
    }
    return resolve(replace(request, runs=runs), State.OVERRIDDEN, event.at, event.by, "override")


def _execution_started(request: Request, _: ExecutionStarted) -> Request:
    return replace(request, state=State.EXECUTING)


def _execution_ended(request: Request, event: ExecutionEnded) -> Request:
    return replace(request, state=State.FULFILLED if event.is_done else State.FULFILMENT_FAILED)


def _revoked(request: Request, event: Revoked) -> Request:
    return resolve(request, State.REVOKED, event.at, event.by, "revoked")


def _lapsed(request: Request, event: Lapsed) -> Request:
    return resolve(request, State.LAPSED, event.at, event.by, "lapsed")


_APPLY: Final[Mapping[type, Callable[[Any, Any], Request]]] = {
    Submitted: _submitted,
    Evaluated: _evaluated,
    Scheduled: _scheduled,
    Decided: _decided,
    Edited: _edited,
    PoolsChanged: _pools_changed,
    Climbed: _climbed,
    Reminded: _reminded,
    Reassigned: _reassigned,
    Extended: _extended,
    Blocked: _blocked,
    DecisionRevoked: _decision_revoked,
    Ended: _ended,
    Overrode: _overrode,
    ExecutionStarted: _execution_started,
    ExecutionEnded: _execution_ended,
    Revoked: _revoked,
    Lapsed: _lapsed,
}
