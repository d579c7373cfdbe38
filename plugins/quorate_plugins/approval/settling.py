"""Where the stages of a request stand: they are evaluated in their order, and that says what becomes of the request.

Pure, and without events: `machine` says what each event changes, and settles the request then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from graphlib import TopologicalSorter

from quorate_plugins.approval.evaluator import Ballot, Pool, Result, Voice, evaluate
from quorate_plugins.approval.requests import Block, Decision, Pools, Request, StageRun, StageState, State, Status
from quorate_plugins.approval.stages import Stage

OPEN = frozenset({StageState.BLOCKED, StageState.ACTIVE})
"""States of stages that nobody has closed."""
_PASSED = frozenset({StageState.SATISFIED, StageState.SKIPPED, StageState.OVERRIDDEN})
OF_POLICY = frozenset({Block.POLICY_ERROR, Block.NO_APPLICABLE_RULE})
"""Blocks that come from the policies: another content may be free of them."""


def settle(request: Request, at: float, by: str = "policy") -> Request:
    """Evaluate the stages in their order, open and close them, and say what that makes of the request."""
    runs = _runs_at(request, at)
    settled = replace(request, runs=runs, held=_held(request, runs))
    settled = replace(settled, block=block_of(settled))
    states = {run.state for run in runs.values()}
    if StageState.DENIED in states:
        return _denied(settled, at, by)
    if states <= _PASSED and StageState.SATISFIED in states:
        return resolve(settled, State.APPROVED, at, by, "decided")
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
    return resolve(request, State.REJECTED, at, by, f"stage:{rejecting[0].id}")


def _run(request: Request, stage: Stage, run: StageRun, at: float, *, is_open: bool) -> StageRun:
    """Return a stage as it stands now: blocked, or whatever its decisions make of it."""
    if not is_open:
        return replace(run, state=StageState.BLOCKED, due_at=None, reminded_at=None, climb=None, result=None)
    ballots = ballots_of(request, stage)
    result = evaluate(stage, {each.id: run.pools.get(each.id, _NOBODY) for each in stage.requirements}, ballots)
    state = _STAGE_OF.get(result.result, StageState.ACTIVE)
    is_opened = state is StageState.ACTIVE and run.state is not StageState.ACTIVE
    if is_opened or run.activated_at is None:  # opened again, it has all its time again
        run = replace(run, activation=run.activation + 1, activated_at=at, due_at=None, reminded_at=None, climb=None)
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


def block_of(request: Request) -> Block | None:
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


def with_pools(request: Request, pools: Pools) -> dict[str, StageRun]:
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


def without_ineligible(request: Request) -> Request:
    """Return the request with the decisions of those set aside who are in none of the pools any more."""
    return replace(request, decisions={key: while_eligible(request, each) for key, each in request.decisions.items()})


def while_eligible(request: Request, decision: Decision) -> Decision:
    """Return a decision for the requirements that its people may decide."""
    if decision.status is not Status.COUNTED:
        return decision
    pools = request.runs[decision.stage].pools

    def may_decide(pool: Pool) -> bool:
        return decision.principal in pool.eligible and decision.actor not in pool.excluded

    left = tuple(key for key in decision.requirements if may_decide(pools.get(key, _NOBODY)))
    return narrowed(decision, left, Status.INELIGIBLE)


def put_off(request: Request, status: Status) -> dict[str, Decision]:
    """Return the decisions of a request, none of which counts any more."""
    return {
        key: replace(each, status=status) if each.status is Status.COUNTED else each
        for key, each in request.decisions.items()
    }


def resolve(request: Request, state: State, at: float, by: str, outcome: str) -> Request:
    """Return the request in a state in which nobody decides; stages that are open are not needed any more."""
    closed = StageState.EXPIRED if state is State.EXPIRED else StageState.CANCELLED
    runs = {key: replace(run, state=closed) if run.state in OPEN else run for key, run in request.runs.items()}
    held = request.held if request.held in OF_POLICY else None  # an edit opens it again, and the policy is asked
    return replace(
        request, state=state, runs=runs, resolved_at=at, resolved_by=by, outcome=outcome, block=None, held=held
    )


def narrowed(decision: Decision, left: tuple[str, ...], otherwise: Status) -> Decision:
    """Return a decision for the requirements that are left to it; with another status, and as it was, for none."""
    return replace(decision, requirements=left) if left else replace(decision, status=otherwise)
