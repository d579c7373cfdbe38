"""Who counts: decisions and pools in, the state of a stage out. A pure function; nothing here knows a clock.

In a stage the threshold of denial is looked at first, then that of approval, and then whether further votes could
still satisfy it. One natural person fills at most one place of a requirement, in whoever's name they voted. Nothing
is ever satisfied by nobody: an empty pool, all of nobody, and zero percent are impossible, not met.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Annotated, Literal

from quorate_plugins.approval.stages import SORTED, Node, Requirement, Stage, Threshold

Person = str
"""A user's id."""

Voice = Literal["approve", "reject", "abstain"]


_Spot = str | int | tuple[int | str, str]


class Result(enum.StrEnum):
    """What a requirement, a node of the tree, or a stage has come to."""

    NOT_APPLICABLE = "not_applicable"
    UNSATISFIED = "unsatisfied"
    SATISFIED = "satisfied"
    DENIED = "denied"
    OVERRIDDEN = "overridden"
    IMPOSSIBLE = "impossible"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """A vote that is not stale, late, revoked or superseded. `actor` voted in the name of `principal`.

    `order` grows with time: of two ballots the one with the greater is the later. Without `requirements` it is for
    every requirement in whose pool the principal is.
    """

    principal: Person
    actor: Person
    voice: Voice
    order: int
    requirements: frozenset[str] = frozenset()

    @property
    def is_own(self) -> bool:
        """Whether the principal voted in person."""
        return self.actor == self.principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Who may decide one requirement: weights by person, and who of them, or acting for them, is excluded."""

    weights: Mapping[Person, float]
    excluded: Annotated[frozenset[Person], SORTED] = frozenset()
    applies: bool = True
    error: str = ""

    @property
    def eligible(self) -> frozenset[Person]:
        """Those who may decide."""
        return frozenset(self.weights) - self.excluded


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementResult:
    """What a requirement has come to, and by whom: natural persons. `needed` is a count of people, or a weight."""

    result: Result
    approved_by: tuple[Person, ...] = ()
    rejected_by: tuple[Person, ...] = ()
    abstained_by: tuple[Person, ...] = ()
    got: float = 0
    needed: float = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What a stage has come to, and each of its requirements."""

    result: Result
    requirements: Mapping[str, RequirementResult] = field(default_factory=dict[str, RequirementResult])


@dataclass(slots=True, kw_only=True)
class _Count:
    """One requirement while a stage is evaluated.

    `approvers` and `willing` are weights by natural person; `speakers` says for each willing principal who could
    approve in their name: they themselves, and the delegate who did.
    """

    requirement: Requirement
    pool: Pool
    approvers: dict[Person, float]
    rejecters: set[Person]
    abstainers: set[Person]
    willing: dict[Person, float]
    speakers: dict[Person, frozenset[Person]]
    needed: float
    has_all_answers: bool
    result: Result = Result.UNSATISFIED
    reason: str = ""

    @property
    def is_weighed(self) -> bool:
        return self.requirement.approve.weight is not None

    def amount(self, people: Mapping[Person, float]) -> float:
        return sum(people.values()) if self.is_weighed else len(people)


def evaluate(stage: Stage, pools: Mapping[str, Pool], ballots: Iterable[Ballot]) -> StageResult:
    """Return what a stage has come to.

    Args:
        stage: its requirements, and how they go together.
        pools: the pool of each requirement, by id.
        ballots: votes on the content as it is now.
    """
    cast = list(ballots)
    counts = {each.id: _count(each, pools[each.id], cast) for each in stage.requirements}
    for count in counts.values():
        count.result = _alone(count)
    is_possible = _make_distinct(stage, counts)
    result = _stage_result(stage, counts)
    if result is Result.UNSATISFIED and not is_possible:
        result = Result.IMPOSSIBLE
    return StageResult(result=result, requirements={key: _shown(count) for key, count in counts.items()})


# One requirement


def effective(ballots: Iterable[Ballot], requirement: str, pool: Pool) -> list[Ballot]:
    """Return the one ballot that counts for each principal of a pool: their own latest, else a delegate's latest."""
    chosen: dict[Person, Ballot] = {}
    for ballot in ballots:
        if not _may_count(ballot, requirement, pool):
            continue
        present = chosen.get(ballot.principal)
        if present is None or (ballot.is_own, ballot.order) > (present.is_own, present.order):
            chosen[ballot.principal] = ballot
    return list(chosen.values())


def _may_count(ballot: Ballot, requirement: str, pool: Pool) -> bool:
    """Whether a ballot is for a requirement, and by and for people who may decide it."""
    if ballot.principal not in pool.eligible or ballot.actor in pool.excluded:
        return False
    return not ballot.requirements or requirement in ballot.requirements


def needed(threshold: Threshold, eligible: int) -> float:
    """Return how many people, or which weight, a threshold demands of a pool of so many."""
    if threshold.all:
        return eligible
    if threshold.percent is not None:
        return max(1, math.ceil(threshold.percent * eligible / 100 - 1e-9))
    return threshold.count if threshold.count is not None else threshold.weight or 0


def _count(requirement: Requirement, pool: Pool, cast: Sequence[Ballot]) -> _Count:
    counted = effective(cast, requirement.id, pool)
    willing = {person: pool.weights[person] for person in pool.eligible - _unwilling(counted)}
    speaking = {ballot.principal: ballot.actor for ballot in counted if ballot.voice == "approve"}
    return _Count(
        requirement=requirement,
        pool=pool,
        approvers=_weights_of_approvers(counted, pool),
        rejecters=_people_saying("reject", counted),
        abstainers=_people_saying("abstain", counted),
        willing=willing,
        speakers={person: frozenset({person, speaking.get(person, person)}) for person in willing},
        needed=needed(requirement.approve, len(pool.eligible)),
        has_all_answers=frozenset(ballot.principal for ballot in counted) == pool.eligible,
    )


def _unwilling(counted: Iterable[Ballot]) -> set[Person]:
    """Return the principals who said in person that they do not approve; what a delegate says they may still change."""
    return {ballot.principal for ballot in counted if ballot.is_own and ballot.voice != "approve"}


def _weights_of_approvers(counted: Iterable[Ballot], pool: Pool) -> dict[Person, float]:
    """Return who approved, each with the greatest weight of those in whose name they did."""
    found: dict[Person, float] = {}
    for ballot in counted:
        if ballot.voice == "approve":
            found[ballot.actor] = max(found.get(ballot.actor, 0), pool.weights[ballot.principal])
    return found


def _people_saying(voice: Voice, counted: Iterable[Ballot]) -> set[Person]:
    return {ballot.actor for ballot in counted if ballot.voice == voice}


def _alone(count: _Count) -> Result:
    """Return what a requirement comes to when it is looked at alone."""
    if count.pool.error:
        count.reason = count.pool.error
        return Result.ERROR
    if not count.pool.applies:
        return Result.NOT_APPLICABLE
    if not count.pool.eligible:
        count.reason = "nobody may decide it"
        return Result.IMPOSSIBLE
    return _by_votes(count)


def _by_votes(count: _Count) -> Result:
    """Return what the votes on a requirement come to: denial first, then approval, then whether it can be met."""
    if count.requirement.mode != "all_responded" or count.has_all_answers:
        if _is_denied(count):
            return Result.DENIED
        if count.amount(count.approvers) >= count.needed:
            return Result.SATISFIED
    return Result.UNSATISFIED if count.amount(count.willing) >= count.needed else Result.IMPOSSIBLE


def _is_denied(count: _Count) -> bool:
    return bool(count.requirement.deny) and len(count.rejecters) >= count.requirement.deny


# People who may not be the same


def _make_distinct(stage: Stage, counts: Mapping[str, _Count]) -> bool:
    """Take satisfaction from requirements that have it by somebody who counts elsewhere.

    Returns whether further votes, by different people where that is demanded, could satisfy the stage.
    """
    distinct = [count for count in counts.values() if count.requirement.distinct]
    met = _with_result(distinct, {Result.SATISFIED})
    hopeful = _with_result(distinct, {Result.SATISFIED, Result.UNSATISFIED})
    is_possible = _could_satisfy(stage, counts, hopeful)
    _release(met, _kept(stage, counts, met))
    return is_possible


def _with_result(counts: Iterable[_Count], results: Collection[Result]) -> list[_Count]:
    return [count for count in counts if count.result in results]


def _kept(stage: Stage, counts: Mapping[str, _Count], met: Sequence[_Count]) -> tuple[_Count, ...]:
    """Return the most requirements that different people met: such as satisfy the stage, if there are."""
    fitting = [chosen for chosen in _subsets(met) if _fits(chosen, by_will=False)]
    return next((chosen for chosen in fitting if _satisfies(stage, counts, met, chosen, by_will=False)), fitting[0])


def _release(met: Iterable[_Count], kept: Collection[_Count]) -> None:
    for count in met:
        if count not in kept:
            count.result = Result.UNSATISFIED
            count.reason = "somebody else must approve: who did counts elsewhere"


def _could_satisfy(stage: Stage, counts: Mapping[str, _Count], hopeful: Sequence[_Count]) -> bool:
    return any(
        _fits(chosen, by_will=True) and _satisfies(stage, counts, hopeful, chosen, by_will=True)
        for chosen in _subsets(hopeful)
    )


def _subsets(counts: Sequence[_Count]) -> Iterator[tuple[_Count, ...]]:
    """Yield all subsets, the largest first."""
    for size in range(len(counts), -1, -1):
        yield from combinations(counts, size)


def _satisfies(
    stage: Stage, counts: Mapping[str, _Count], among: Collection[_Count], chosen: Collection[_Count], *, by_will: bool
) -> bool:
    """Whether the stage is satisfied, or (by will) could come to be, when of `among` only `chosen` are."""
    results = {key: count.result for key, count in counts.items()}
    for count in among:
        results[count.requirement.id] = Result.SATISFIED if count in chosen else Result.IMPOSSIBLE
    if by_will:
        results = _at_best(results)
    return _tree(stage.root(), results, _optional(stage)) is Result.SATISFIED


def _at_best(results: Mapping[str, Result]) -> dict[str, Result]:
    """Return results with all that may still be satisfied as if it were."""
    return {key: Result.SATISFIED if each is Result.UNSATISFIED else each for key, each in results.items()}


def _fits(chosen: Sequence[_Count], *, by_will: bool) -> bool:
    """Whether all of these can be met at once, each person in one place of those with the same word."""
    words = {count.requirement.distinct for count in chosen}
    return all(
        _fits_together([each for each in chosen if each.requirement.distinct == word], by_will) for word in words
    )


def _fits_together(chosen: Sequence[_Count], by_will: bool) -> bool:  # noqa: FBT001 - one of two columns
    """Match places with natural persons, as a flow; greedy assignment would be wrong.

    Each principal speaks once for a requirement, in person or by a delegate, and each person counts once for all.
    """
    room: dict[_Spot, dict[_Spot, int]] = {}  # how much may still flow from a spot to the next

    def pipe(start: _Spot, end: _Spot, width: int) -> None:
        room.setdefault(start, {})[end] = width
        room.setdefault(end, {}).setdefault(start, 0)

    for index, count in enumerate(chosen):
        pipe("source", index, int(count.needed))
        for principal, people in _speakers(count, by_will=by_will).items():
            pipe(index, (index, principal), 1)
            for person in people:
                pipe((index, principal), ("person", person), 1)
                pipe(("person", person), "sink", 1)
    return all(_push(room, "source", {"source"}) for count in chosen for _ in range(int(count.needed)))


def _speakers(count: _Count, *, by_will: bool) -> dict[Person, frozenset[Person]]:
    """Return who could approve in whose name (by will), or who did approve: each in their own."""
    return count.speakers if by_will else {person: frozenset({person}) for person in count.approvers}


def _push(room: Mapping[_Spot, dict[_Spot, int]], spot: _Spot, seen: set[_Spot]) -> bool:
    """Let one more flow from a spot to the sink, if it can."""
    if spot == "sink":
        return True
    for following, width in room[spot].items():
        if width and following not in seen:
            seen.add(following)
            if _push(room, following, seen):
                room[spot][following] -= 1
                room[following][spot] += 1
                return True
    return False


# The tree


def _stage_result(stage: Stage, counts: Mapping[str, _Count]) -> Result:
    results = {key: count.result for key, count in counts.items()}
    optional = _optional(stage)
    denied = [key for key in optional if results[key] is Result.DENIED]
    whole = _tree(stage.root(), results, optional)
    return Result.DENIED if denied and whole is not Result.NOT_APPLICABLE else whole


def _optional(stage: Stage) -> frozenset[str]:
    """Return the requirements that need not be met: none, if all of them were optional."""
    optional = frozenset(each.id for each in stage.requirements if each.is_optional)
    return optional if len(optional) < len(stage.requirements) else frozenset()


def _tree(node: Node, results: Mapping[str, Result], optional: frozenset[str]) -> Result:
    """Return what a node comes to; what does not apply, or is optional, is as if it were absent."""
    if node.requirement:
        return Result.NOT_APPLICABLE if node.requirement in optional else results[node.requirement]
    present = {_tree(child, results, optional) for child in node.children} - {Result.NOT_APPLICABLE}
    if not present:
        return Result.NOT_APPLICABLE
    return _worst(present) if node.all else _best(present)


def _worst(present: Collection[Result]) -> Result:
    return next((each for each in _WORST_FIRST if each in present), Result.SATISFIED)


def _best(present: Collection[Result]) -> Result:
    return next(each for each in _BEST_FIRST if each in present)


_WORST_FIRST = (Result.DENIED, Result.ERROR, Result.IMPOSSIBLE, Result.UNSATISFIED)
_BEST_FIRST = (Result.SATISFIED, Result.UNSATISFIED, Result.ERROR, Result.DENIED, Result.IMPOSSIBLE)


def _shown(count: _Count) -> RequirementResult:
    return RequirementResult(
        result=count.result,
        approved_by=tuple(sorted(count.approvers)),
        rejected_by=tuple(sorted(count.rejecters)),
        abstained_by=tuple(sorted(count.abstainers)),
        got=count.amount(count.approvers),
        needed=count.needed,
        reason=count.reason,
    )
