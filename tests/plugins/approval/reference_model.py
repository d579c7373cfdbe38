"""Another way to say who counts: by trying everything. Slow, short, and written without the evaluator's ideas.

Whether votes suffice is asked by trying every way in which each person could be given to one of the requirements that
want different people; whether they still could is asked by letting every set of people vote in person.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from quorate_plugins.approval.evaluator import Ballot, Pool, Result
from quorate_plugins.approval.stages import Node, Requirement, Stage

Pools = Mapping[str, Pool]


def expected(stage: Stage, pools: Pools, ballots: Sequence[Ballot]) -> Result:
    """What the stage has come to."""
    leaves = {each.id: _leaf(each, pools[each.id], ballots) for each in stage.requirements}
    optional = {each.id for each in stage.requirements if each.is_optional}
    if len(optional) == len(leaves):
        optional = set()
    shown = _walk(stage.root(), leaves, optional)
    if shown is Result.NOT_APPLICABLE:
        return shown
    if any(leaves[key] is Result.DENIED for key in optional):
        return Result.DENIED
    best = [_walk(stage.root(), taken, optional) for taken in _sharings(stage, pools, ballots, leaves)]
    if Result.SATISFIED in best:
        return Result.SATISFIED
    for bad in (Result.DENIED, Result.ERROR, Result.IMPOSSIBLE):
        if shown is bad:
            return bad
    if any(_could(stage, pools, [*ballots, *more], leaves, optional) for more in _further(pools, ballots)):
        return Result.UNSATISFIED
    return Result.IMPOSSIBLE


def _could(
    stage: Stage, pools: Pools, ballots: Sequence[Ballot], now: Mapping[str, Result], optional: set[str]
) -> bool:
    then = {each.id: _leaf(each, pools[each.id], ballots, is_last=True) for each in stage.requirements}
    fixed = {key: now[key] if now[key] in {Result.DENIED, Result.ERROR} else then[key] for key in now}
    return any(
        _walk(stage.root(), taken, optional) is Result.SATISFIED for taken in _sharings(stage, pools, ballots, fixed)
    )


def _further(pools: Pools, ballots: Sequence[Ballot]) -> Iterator[list[Ballot]]:
    """Every set of further approvals, by people in person who have not turned that requirement down in person."""
    places = [
        (person, key)
        for key, pool in sorted(pools.items())
        for person in sorted(set(pool.weights) - pool.excluded)
        if _own(ballots, person, key) in {"", "approve"}
    ]
    for votes in product((True, False), repeat=len(places)):
        yield [
            Ballot(principal=person, actor=person, voice="approve", order=10**6, requirements=frozenset({key}))
            for (person, key), does in zip(places, votes, strict=True)
            if does
        ]


def _own(ballots: Sequence[Ballot], person: str, key: str) -> str:
    mine = [b for b in ballots if b.principal == b.actor == person and (not b.requirements or key in b.requirements)]
    return max(mine, key=lambda ballot: ballot.order).voice if mine else ""


def _voices(pool: Pool, key: str, ballots: Sequence[Ballot]) -> dict[str, tuple[str, str]]:
    """The natural person and the voice that count for each principal."""
    found: dict[str, tuple[str, str]] = {}
    for person in pool.weights:
        if person in pool.excluded:
            continue
        theirs = [
            b
            for b in ballots
            if b.principal == person and b.actor not in pool.excluded and (not b.requirements or key in b.requirements)
        ]
        in_person = [b for b in theirs if b.actor == person]
        if theirs:
            last = max(in_person or theirs, key=lambda ballot: ballot.order)
            found[person] = (last.actor, last.voice)
    return found


def _approvers(pool: Pool, key: str, ballots: Sequence[Ballot]) -> dict[str, float]:
    found: dict[str, float] = {}
    for principal, (actor, voice) in _voices(pool, key, ballots).items():
        if voice == "approve":
            found[actor] = max(found.get(actor, 0), pool.weights[principal])
    return found


def _demand(requirement: Requirement, pool: Pool) -> float:
    size = len(set(pool.weights) - pool.excluded)
    approve = requirement.approve
    if approve.all:
        return size
    if approve.percent is not None:
        return next(k for k in range(1, size + 2) if 100 * k >= approve.percent * size or k > size)
    return approve.count or approve.weight or math.inf


def _leaf(requirement: Requirement, pool: Pool, ballots: Sequence[Ballot], *, is_last: bool = False) -> Result:
    if pool.error:
        return Result.ERROR
    if not pool.applies:
        return Result.NOT_APPLICABLE
    if not set(pool.weights) - pool.excluded:
        return Result.IMPOSSIBLE
    return _by_votes(requirement, pool, ballots, is_last=is_last)


def _by_votes(requirement: Requirement, pool: Pool, ballots: Sequence[Ballot], *, is_last: bool) -> Result:
    voices = _voices(pool, requirement.id, ballots)
    people = set(pool.weights) - pool.excluded
    weighs = requirement.approve.weight is not None
    approvers = _approvers(pool, requirement.id, ballots)
    enough = (sum(approvers.values()) if weighs else len(approvers)) >= _demand(requirement, pool)
    rejecters = {actor for actor, voice in voices.values() if voice == "reject"}
    waits = requirement.mode == "all_responded" and set(voices) != people
    if not waits and requirement.deny and len(rejecters) >= requirement.deny and not is_last:
        return Result.DENIED
    if enough and (not waits or is_last):
        return Result.SATISFIED
    if is_last:
        return Result.IMPOSSIBLE
    more = [
        Ballot(principal=p, actor=p, voice="approve", order=10**6)
        for p in people
        if _own(ballots, p, requirement.id) in {"", "approve"}
    ]
    is_possible = _leaf(requirement, pool, [*ballots, *more], is_last=True) is Result.SATISFIED
    return Result.UNSATISFIED if is_possible else Result.IMPOSSIBLE


def _sharings(
    stage: Stage, pools: Pools, ballots: Sequence[Ballot], leaves: Mapping[str, Result]
) -> Iterator[dict[str, Result]]:
    """Every way to give each person of a group of requirements that want different people to one of them."""
    groups: dict[str, list[Requirement]] = {}
    for each in stage.requirements:
        if each.distinct and leaves[each.id] is Result.SATISFIED:
            groups.setdefault(each.distinct, []).append(each)
    choices: list[tuple[str, str, list[str]]] = []
    for word, members in groups.items():
        people = sorted({p for each in members for p in _approvers(pools[each.id], each.id, ballots)})
        for person in people:
            able = [each.id for each in members if person in _approvers(pools[each.id], each.id, ballots)]
            choices.append((word, person, able))
    for given in product(*(able for _, _, able in choices)):
        taken = dict(leaves)
        for members in groups.values():
            for each in members:
                got = sum(1 for key in given if key == each.id)
                if got < _demand(each, pools[each.id]):
                    taken[each.id] = Result.UNSATISFIED
        yield taken


def _walk(node: Node, leaves: Mapping[str, Result], optional: set[str]) -> Result:
    if node.requirement:
        return Result.NOT_APPLICABLE if node.requirement in optional else leaves[node.requirement]
    below = {_walk(child, leaves, optional) for child in node.children} - {Result.NOT_APPLICABLE}
    if not below:
        return Result.NOT_APPLICABLE
    order = (
        [Result.DENIED, Result.ERROR, Result.IMPOSSIBLE, Result.UNSATISFIED, Result.SATISFIED]
        if node.all
        else [Result.SATISFIED, Result.UNSATISFIED, Result.ERROR, Result.DENIED, Result.IMPOSSIBLE]
    )
    return next(each for each in order if each in below)
