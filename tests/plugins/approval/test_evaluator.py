"""The evaluator against a model that tries everything, and the cases that people will ask about."""

from __future__ import annotations

import os
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate_plugins.approval.evaluator import Ballot, Pool, Result, Voice, evaluate
from quorate_plugins.approval.stages import Node, Requirement, Stage, Threshold, check_stages
from tests.plugins.approval.reference_model import expected

PEOPLE = ("ann", "ben", "cat", "dan")
VOICES: tuple[Voice, ...] = ("approve", "approve", "reject", "abstain")


def threshold(random: Random) -> Threshold:
    kind = random.choice(("count", "count", "percent", "all", "weight"))
    if kind == "count":
        return Threshold(count=random.choice((1, 1, 2, 3)))
    if kind == "percent":
        return Threshold(percent=random.choice((0, 1, 34, 50, 67, 100)))
    return Threshold(all=True) if kind == "all" else Threshold(weight=random.choice((1, 2, 3.5)))


def requirement(random: Random, key: str) -> Requirement:
    approve = threshold(random)
    return Requirement(
        id=key,
        pool=("group:any",),
        approve=approve,
        deny=random.choice((0, 1, 1, 2)),
        mode=random.choice(("first", "first", "all_responded")),
        distinct="" if approve.weight is not None else random.choice(("", "x", "x", "y")),
        is_optional=random.random() < 0.15,
    )


def tree(random: Random, keys: list[str]) -> Node:
    if len(keys) == 1:
        return Node(requirement=keys[0])
    cut = random.randint(1, len(keys) - 1)
    children = (tree(random, keys[:cut]), tree(random, keys[cut:]))
    return Node(all=children) if random.random() < 0.5 else Node(any=children)


def pool(random: Random) -> Pool:
    people = random.sample(PEOPLE, random.choice((0, 1, 2, 2, 3)))
    return Pool(
        weights={person: random.choice((1, 1, 2)) for person in people},
        excluded=frozenset(random.sample(PEOPLE, random.choice((0, 0, 1)))),
        applies=random.random() > 0.07,
        error="broken" if random.random() < 0.03 else "",
    )


def ballot(random: Random, order: int, keys: list[str]) -> Ballot:
    principal = random.choice(PEOPLE)
    return Ballot(
        principal=principal,
        actor=principal if random.random() < 0.7 else random.choice((*PEOPLE, "eve")),
        voice=random.choice(VOICES),
        order=order,
        requirements=frozenset(random.sample(keys, 1)) if random.random() < 0.2 else frozenset(),
    )


def case(random: Random) -> tuple[Stage, dict[str, Pool], list[Ballot]]:
    keys = [f"r{number}" for number in range(random.choice((1, 1, 2, 2, 3)))]
    stage = Stage(id="s", requirements=tuple(requirement(random, key) for key in keys), tree=tree(random, keys))
    check_stages([stage])
    ballots = [ballot(random, order, keys) for order in range(random.randint(0, 6))]
    random.shuffle(ballots)  # the order is in the ballots, not in how they are listed
    return stage, {key: pool(random) for key in keys}, ballots


@given(st.integers(0, 2**64))
@settings(max_examples=60, deadline=None)
def test_law_the_evaluator_agrees_with_brute_force(seed: int) -> None:
    random = Random(seed)
    for _ in range(25):
        assert_equal(*case(random))


@pytest.mark.soak
def test_the_evaluator_agrees_with_brute_force_a_million_times() -> None:
    """A million by default; `QUORATE_CASES` says otherwise."""
    seen: dict[Result, int] = dict.fromkeys(Result, 0)

    @given(st.integers(0, 2**64))
    @settings(max_examples=int(os.environ.get("QUORATE_CASES", "1000000")) // 100, deadline=None, database=None)
    def run(seed: int) -> None:
        random = Random(seed)
        for _ in range(100):
            seen[assert_equal(*case(random))] += 1

    run()
    assert all(seen[each] for each in Result if each is not Result.OVERRIDDEN), seen


def assert_equal(stage: Stage, pools: dict[str, Pool], ballots: list[Ballot]) -> Result:
    found = evaluate(stage, pools, ballots)
    assert found.result is expected(stage, pools, ballots), (stage, pools, ballots, found)
    for each in found.requirements.values():
        if each.result is Result.SATISFIED:
            assert each.got >= each.needed > 0
            assert len(set(each.approved_by)) == len(each.approved_by)
    return found.result


# The cases that people will ask about


def everybody(*people: str, excluded: str = "") -> Pool:
    return Pool(weights=dict.fromkeys(people, 1), excluded=frozenset(excluded.split()))


def votes(*said: str) -> list[Ballot]:
    """`ann approve`, or `eve for ann approve`."""
    found: list[Ballot] = []
    for order, text in enumerate(said):
        actor, *middle, voice = text.split()
        principal = middle[-1] if middle else actor
        found.append(Ballot(principal=principal, actor=actor, voice=voice, order=order))  # type: ignore[arg-type]
    return found


def one(approve: Threshold, pool: Pool, said: list[Ballot], **changes: object) -> Result:
    stage = Stage(id="s", requirements=(Requirement(id="r", pool=("group:g",), approve=approve, **changes),))  # type: ignore[arg-type]
    return evaluate(stage, {"r": pool}, said).result


def two(pools: dict[str, Pool], said: list[Ballot], **changes: object) -> Result:
    parts = tuple(Requirement(id=key, pool=("group:g",), **changes) for key in pools)  # type: ignore[arg-type]
    return evaluate(Stage(id="s", requirements=parts), pools, said).result


@pytest.mark.parametrize("approve", [Threshold(all=True), Threshold(percent=0), Threshold(count=1)])
def test_nobody_satisfies_nothing(approve: Threshold) -> None:
    assert one(approve, everybody(), []) is Result.IMPOSSIBLE
    assert one(approve, everybody("ann", excluded="ann"), votes("ann approve")) is Result.IMPOSSIBLE


def test_zero_percent_still_takes_one() -> None:
    assert one(Threshold(percent=0), everybody("ann", "ben"), []) is Result.UNSATISFIED
    assert one(Threshold(percent=0), everybody("ann", "ben"), votes("ben approve")) is Result.SATISFIED


def test_a_percentage_is_of_those_who_may_decide() -> None:
    pool = everybody("ann", "ben", "cat", "dan", excluded="dan")
    assert one(Threshold(percent=67), pool, votes("ann approve", "ben approve")) is Result.UNSATISFIED
    assert one(Threshold(percent=66), pool, votes("ann approve", "ben approve")) is Result.SATISFIED


def test_denial_comes_before_approval() -> None:
    said = votes("ann approve", "ben approve", "cat reject")
    assert one(Threshold(count=2), everybody("ann", "ben", "cat"), said) is Result.DENIED


def test_a_first_reject_denies_a_stage_that_has_only_optional_requirements() -> None:
    assert one(Threshold(count=1), everybody("ann", "ben"), votes("ann reject"), is_optional=True) is Result.DENIED
    assert one(Threshold(count=1), everybody("ann", "ben"), [], is_optional=True) is Result.UNSATISFIED


def test_a_second_vote_replaces_the_first_and_counts_once() -> None:
    pool = everybody("ann", "ben")
    assert one(Threshold(count=2), pool, votes("ann approve", "ann approve")) is Result.UNSATISFIED
    assert one(Threshold(count=1), pool, votes("ann reject", "ann approve")) is Result.SATISFIED


def test_a_delegate_for_two_fills_one_place_and_both_may_still_come() -> None:
    pool = everybody("ann", "ben")
    assert one(Threshold(count=2), pool, votes("eve for ann approve", "eve for ben approve")) is Result.UNSATISFIED
    said = votes("eve for ann approve", "eve for ben approve", "ben approve")
    assert one(Threshold(count=2), pool, said) is Result.SATISFIED


def test_ones_own_vote_outranks_a_delegates_whichever_is_later() -> None:
    pool = everybody("ann", "ben")
    assert one(Threshold(count=1), pool, votes("ann reject", "eve for ann approve"), deny=2) is Result.UNSATISFIED
    assert one(Threshold(count=1), pool, votes("eve for ann reject", "ann approve")) is Result.SATISFIED


def test_an_abstention_is_an_answer_and_no_approval() -> None:
    pool = everybody("ann", "ben")
    assert one(Threshold(count=2), pool, votes("ann abstain")) is Result.IMPOSSIBLE
    said = votes("ann abstain", "ben approve")
    assert one(Threshold(count=1), pool, said, mode="all_responded") is Result.SATISFIED
    assert one(Threshold(count=1), pool, said[1:], mode="all_responded") is Result.UNSATISFIED


def test_one_person_counts_in_two_pools_unless_they_must_differ() -> None:
    pools = {"a": everybody("ann", "ben"), "b": everybody("ann")}
    assert two(pools, votes("ann approve")) is Result.SATISFIED
    assert two(pools, votes("ann approve"), distinct="x") is Result.UNSATISFIED
    assert two(pools, votes("ann approve", "ben approve"), distinct="x") is Result.SATISFIED  # greedy would miss it
    assert two({"a": everybody("ann"), "b": everybody("ann")}, [], distinct="x") is Result.IMPOSSIBLE


def test_weights_are_of_people() -> None:
    pool = Pool(weights={"ann": 2, "ben": 1, "cat": 1})
    assert one(Threshold(weight=3), pool, votes("ben approve", "cat approve")) is Result.UNSATISFIED
    assert one(Threshold(weight=3), pool, votes("ann approve", "cat approve")) is Result.SATISFIED


def test_a_stage_to_which_nothing_applies_is_not_satisfied() -> None:
    assert one(Threshold(count=1), Pool(weights={"ann": 1}, applies=False), []) is Result.NOT_APPLICABLE
