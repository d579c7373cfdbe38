"""The state machine: one event after the other makes a request what it is. Pure; the same events, the same request.

`TRANSITIONS` is the whole table of where an event may lead from where. What an event does beyond that (which stages
open, which decisions fall) follows from `evaluator.evaluate` and is done here, so that replaying the events of the
audit chain is replaying the decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter
from types import MappingProxyType
from typing import Any, Final

from quorate_plugins.approval.evaluator import Ballot, Pool, Result, Voice, evaluate
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
    Pools,
    PoolsChanged,
    Request,
    Revoked,
    Scheduled,
    StageRun,
    StageState,
    State,
    Status,
    Submitted,
)
from quorate_plugins.approval.stages import Requirement, Stage

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
        case Extended():
            return {event.stage} - {""}
        case Edited() | PoolsChanged():
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
    decisions = {} if request is None else _put_off(request, Status.SUPERSEDED)
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
        decisions=_put_off(request, Status.SUPERSEDED),
    )
    if event.verdict == "require":
        return _settle(replace(changed, state=State.PENDING), event.at)
    state = State.APPROVED if event.verdict == "auto_approve" else State.REJECTED
    return _resolve(changed, state, event.at, event.by, "policy")


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
    return _settle(changed, event.at, event.by)


def _as_worth(request: Request, decision: Decision) -> Decision:
    """Return a decision with what it is worth: whoever recorded it may have been mistaken, or too slow."""
    if decision.status is not Status.COUNTED:
        return decision
    if not _is_open_at(request, decision.stage):
        return replace(decision, status=Status.LATE)
    if decision.content_hash != request.content_hash:
        return replace(decision, status=Status.DISMISSED_STALE)
    everything = tuple(each.id for each in request.stage(decision.stage).requirements)
    return _while_eligible(request, replace(decision, requirements=decision.requirements or everything))


def _is_open_at(request: Request, stage: str) -> bool:
    """Whether a request can be decided at a stage."""
    run = request.runs.get(stage)
    return request.state is State.PENDING and run is not None and run.state is StageState.ACTIVE


def _without_said_again(earlier: Decision, later: Decision) -> Decision:
    """Return an earlier decision without the requirements of which the same person now says something else."""
    if earlier.status is not Status.COUNTED or _voice_of(earlier) != _voice_of(later):
        return earlier
    left = tuple(key for key in earlier.requirements if key not in later.requirements)
    return _narrowed(earlier, left, Status.SUPERSEDED)


def _voice_of(decision: Decision) -> tuple[str, str, str]:
    return decision.actor, decision.principal, decision.stage


def _narrowed(decision: Decision, left: tuple[str, ...], otherwise: Status) -> Decision:
    """Return a decision for the requirements that are left to it; with another status, and as it was, for none."""
    return replace(decision, requirements=left) if left else replace(decision, status=otherwise)


def _edited(request: Request, event: Edited) -> Request:
    is_same = event.content_hash == request.content_hash  # done and undone at once: nobody decided on anything else
    changed = _with_content(request, event, is_same=is_same)
    if _stays_after_edit(request, is_same=is_same):
        return changed
    reopened = replace(changed, state=State.PENDING, resolved_at=None, resolved_by="", outcome="")
    if not is_same and _is_of_policy(request):
        return replace(reopened, state=State.EVALUATING, held=None, block=None)
    settled = _settle(_without_ineligible(reopened), event.at, event.by)
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
        runs=_with_pools(request, event.pools),
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
    return request.is_automatic or not request.stages or request.held in _OF_POLICY


def _decisions_after(request: Request, event: Edited) -> dict[str, Decision]:
    """Return the decisions, for the requirements whose parts, or whose patience, an edit leaves alone."""
    known = request.part_hashes.keys() | event.part_hashes.keys()
    changed = {part for part in known if request.part_hashes.get(part) != event.part_hashes.get(part)}

    def after(decision: Decision) -> Decision:
        if decision.status is not Status.COUNTED:
            return decision
        stage = request.stage(decision.stage)
        left = tuple(key for key in decision.requirements if _survives(stage.requirement(key), known, changed, event))
        return _narrowed(decision, left, Status.DISMISSED_STALE)

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
    return _settle(_without_ineligible(replace(request, runs=_with_pools(request, event.pools))), event.at, event.by)


def _climbed(request: Request, event: Climbed) -> Request:
    runs = _with_pools(request, event.pools)
    run = runs[event.stage]
    added = tuple(dict.fromkeys((*run.added, *event.added)))
    runs[event.stage] = replace(run, climb=event.climb, added=added)
    changed = replace(request, runs=runs, priority=event.priority or request.priority)
    return _settle(_without_ineligible(changed), event.at, event.by)


def _extended(request: Request, event: Extended) -> Request:
    if not event.stage:
        return replace(request, deadline_at=event.until)
    return replace(request, runs={**request.runs, event.stage: replace(request.runs[event.stage], due_at=event.until)})


def _blocked(request: Request, event: Blocked) -> Request:
    changed = replace(request, held=event.block)
    return replace(changed, block=event.block or _block(changed))


def _decision_revoked(request: Request, event: DecisionRevoked) -> Request:
    taken = replace(request.decisions[event.decision], status=Status.REVOKED)
    return _settle(replace(request, decisions={**request.decisions, event.decision: taken}), event.at, event.by)


def _ended(request: Request, event: Ended) -> Request:
    changed = replace(request, superseded_by=event.superseded_by)
    return _resolve(changed, event.state, event.at, event.by, event.cause)


def _overrode(request: Request, event: Overrode) -> Request:
    runs = {
        key: replace(run, state=StageState.OVERRIDDEN) if run.state in _OPEN else run
        for key, run in request.runs.items()
    }
    return _resolve(replace(request, runs=runs), State.OVERRIDDEN, event.at, event.by, "override")


def _execution_started(request: Request, _: ExecutionStarted) -> Request:
    return replace(request, state=State.EXECUTING)


def _execution_ended(request: Request, event: ExecutionEnded) -> Request:
    return replace(request, state=State.FULFILLED if event.is_done else State.FULFILMENT_FAILED)


def _revoked(request: Request, event: Revoked) -> Request:
    return _resolve(request, State.REVOKED, event.at, event.by, "revoked")


def _lapsed(request: Request, event: Lapsed) -> Request:
    return _resolve(request, State.LAPSED, event.at, event.by, "lapsed")


_APPLY: Final[Mapping[type, Callable[[Any, Any], Request]]] = {
    Submitted: _submitted,
    Evaluated: _evaluated,
    Scheduled: _scheduled,
    Decided: _decided,
    Edited: _edited,
    PoolsChanged: _pools_changed,
    Climbed: _climbed,
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

# Where the stages stand

_OPEN = frozenset({StageState.BLOCKED, StageState.ACTIVE})
_PASSED = frozenset({StageState.SATISFIED, StageState.SKIPPED, StageState.OVERRIDDEN})
_OF_POLICY = frozenset({Block.POLICY_ERROR, Block.NO_APPLICABLE_RULE})


def _settle(request: Request, at: float, by: str = "policy") -> Request:
    """Evaluate the stages in their order, open and close them, and say what that makes of the request."""
    runs = _runs_at(request, at)
    settled = replace(request, runs=runs, held=_held(request, runs))
    settled = replace(settled, block=_block(settled))
    states = {run.state for run in runs.values()}
    if StageState.DENIED in states:
        return _denied(settled, at, by)
    if states <= _PASSED and StageState.SATISFIED in states:
        return _resolve(settled, State.APPROVED, at, by, "decided")
    return settled


def _runs_at(request: Request, at: float) -> dict[str, StageRun]:
    """Return the runs of the stages, each evaluated after those it needs."""
    runs = dict(request.runs)
    for key in TopologicalSorter({stage.id: stage.needs for stage in request.stages}).static_order():
        stage = request.stage(key)
        is_open = all(runs[need].state in _PASSED for need in stage.needs)
        runs[key] = _run(request, stage, runs[key], at, is_open=is_open)
    return runs


def _denied(request: Request, at: float, by: str) -> Request:
    """Return the request after a stage was denied; of several, one that rejects goes before one that asks."""
    denied = [each for each in request.stages if request.runs[each.id].state is StageState.DENIED]
    rejecting = [each for each in denied if each.on_reject == "reject"]
    if not rejecting:
        return replace(request, state=State.CHANGES_REQUESTED)
    return _resolve(request, State.REJECTED, at, by, f"stage:{rejecting[0].id}")


def _run(request: Request, stage: Stage, run: StageRun, at: float, *, is_open: bool) -> StageRun:
    """Return a stage as it stands now: blocked, or whatever its decisions make of it."""
    if not is_open:
        return replace(run, state=StageState.BLOCKED, due_at=None, climb=None, result=None)
    ballots = ballots_of(request, stage)
    result = evaluate(stage, {each.id: run.pools.get(each.id, _NOBODY) for each in stage.requirements}, ballots)
    state = _STAGE_OF.get(result.result, StageState.ACTIVE)
    is_opened = state is StageState.ACTIVE and run.state is not StageState.ACTIVE
    if is_opened or run.activated_at is None:  # opened again, it has all its time again
        run = replace(run, activation=run.activation + 1, activated_at=at, due_at=None, climb=None)
    return replace(run, state=state, result=result)


_NOBODY = Pool(weights={})
_STAGE_OF = {
    Result.SATISFIED: StageState.SATISFIED,
    Result.DENIED: StageState.DENIED,
    Result.NOT_APPLICABLE: StageState.SKIPPED,
}


def ballots_of(request: Request, stage: Stage) -> list[Ballot]:
    """Return the votes that count in a stage."""
    voices: dict[str, Voice] = {"approve": "approve", "reject": "reject", "abstain": "abstain"}
    return [
        Ballot(
            principal=each.principal,
            actor=each.actor,
            voice=voices[each.verdict],
            order=each.order,
            requirements=frozenset(each.requirements),
        )
        for each in request.counted()
        if each.stage == stage.id and each.verdict in voices
    ]


def _block(request: Request) -> Block | None:
    """Return why it cannot go on: what its stages came to, else what was said of it."""
    results = _active_results(request)
    if Result.ERROR in results:
        return Block.POLICY_ERROR
    if Result.IMPOSSIBLE in results:
        return Block.QUORUM_IMPOSSIBLE
    is_empty = all(run.state is StageState.SKIPPED for run in request.runs.values())
    return request.held or (Block.NO_APPLICABLE_RULE if is_empty else None)


def _active_results(request: Request) -> set[Result]:
    runs = request.runs.values()
    return {run.result.result for run in runs if run.result and run.state is StageState.ACTIVE}


def _held(request: Request, runs: Mapping[str, StageRun]) -> Block | None:
    """Return what still holds of what was said; a ladder is not exhausted when its stage is over, or opened again."""
    if request.held is not Block.ESCALATION_EXHAUSTED:
        return request.held
    is_same = any(
        run.state is runs[key].state is StageState.ACTIVE and run.activation == runs[key].activation
        for key, run in request.runs.items()
    )
    return request.held if is_same else None


def _with_pools(request: Request, pools: Pools) -> dict[str, StageRun]:
    """Return the stages with other pools."""
    runs = dict(request.runs)
    for key, given in pools.items():
        before = runs[key].pools
        stayed = {each: _with_voters(request, key, each, pool, before) for each, pool in given.items()}
        runs[key] = replace(runs[key], pools={**before, **stayed})
    return runs


def _with_voters(request: Request, stage: str, key: str, pool: Pool, before: Mapping[str, Pool]) -> Pool:
    """Return a pool with those who left it but have voted, where only the moment of deciding matters."""
    asked = {each.id: each.role_check for each in request.stage(stage).requirements}
    if asked.get(key) != "at_decision":
        return pool
    earlier = before.get(key, _NOBODY).weights
    voted = _voters(request, stage, key)
    return replace(pool, weights={**{each: earlier[each] for each in sorted(voted & earlier.keys())}, **pool.weights})


def _voters(request: Request, stage: str, key: str) -> set[str]:
    return {each.principal for each in request.counted() if each.stage == stage and key in each.requirements}


def _without_ineligible(request: Request) -> Request:
    """Return the request with the decisions of those set aside who are in none of the pools any more."""
    return replace(request, decisions={key: _while_eligible(request, each) for key, each in request.decisions.items()})


def _while_eligible(request: Request, decision: Decision) -> Decision:
    """Return a decision for the requirements that its people may decide."""
    if decision.status is not Status.COUNTED:
        return decision
    pools = request.runs[decision.stage].pools

    def may_decide(pool: Pool) -> bool:
        return decision.principal in pool.eligible and decision.actor not in pool.excluded

    left = tuple(key for key in decision.requirements if may_decide(pools.get(key, _NOBODY)))
    return _narrowed(decision, left, Status.INELIGIBLE)


def _put_off(request: Request, status: Status) -> dict[str, Decision]:
    return {
        key: replace(each, status=status) if each.status is Status.COUNTED else each
        for key, each in request.decisions.items()
    }


def _resolve(request: Request, state: State, at: float, by: str, outcome: str) -> Request:
    """Return the request in a state in which nobody decides; stages that are open are not needed any more."""
    closed = StageState.EXPIRED if state is State.EXPIRED else StageState.CANCELLED
    runs = {key: replace(run, state=closed) if run.state in _OPEN else run for key, run in request.runs.items()}
    held = request.held if request.held in _OF_POLICY else None  # an edit opens it again, and the policy is asked
    return replace(
        request, state=state, runs=runs, resolved_at=at, resolved_by=by, outcome=outcome, block=None, held=held
    )
