"""Stages and requirements: who must agree to a request, as a template or a policy says it.

Pure values, written in JSON as they are here (`read_stages`). A request pins its stages when it is submitted; what
happens to them afterwards is in `requests.py`, and who counts is decided by `evaluator.py`.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Literal

from pydantic import ConfigDict, PlainSerializer, TypeAdapter, with_config

from quorate_plugins.approval.durations import parse_duration
from quorate_plugins.approval.ladders import Ladder

DEEPEST_TREE = 5
MOST_STAGES = 20
MOST_REQUIREMENTS = 30
MOST_APPROVALS = 100
WHOLE_PERCENT = 100
MOST_WEIGHT = 1e6
LEAST_REMIND_SECONDS = 15 * 60
MOST_DISTINCT = 8
"""How many requirements of one stage may demand different people: all their subsets are looked at."""

SELECTORS = ("user", "role", "group")
RELATIONS = ("owner_of:subject", "manager_of:requester", "manager_of:beneficiary")


def _in_order(members: Iterable[str]) -> list[str]:
    return sorted(members)


SORTED = PlainSerializer(_in_order)
"""Sets are written in order: the same value is the same JSON, whichever process writes it."""
_STRICT = with_config(ConfigDict(extra="forbid"))
"""A word that is misspelt would otherwise be left out, and with it what it demands."""


class Exclusion(enum.StrEnum):
    """Who may not decide, though they are in the pool."""

    REQUESTER = "requester"
    BENEFICIARY = "beneficiary"
    CONTRIBUTOR = "contributor"
    SAME_TEAM = "same_team"


EVERY_PARTY = frozenset({Exclusion.REQUESTER, Exclusion.BENEFICIARY, Exclusion.CONTRIBUTOR})


def _is_outside(value: float | None, least: float, most: float) -> bool:
    return value is not None and not least <= value <= most


@_STRICT
@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """How many must approve: exactly one of a count of people, a percentage of the pool, all of it, or a weight."""

    count: int | None = None
    percent: float | None = None
    all: bool = False
    weight: float | None = None

    def __post_init__(self) -> None:
        """Refuse what is no threshold."""
        given = [self.count is not None, self.percent is not None, self.all, self.weight is not None]
        if sum(given) != 1:
            raise ValueError("a threshold is exactly one of `count`, `percent`, `all` and `weight`")
        if _is_outside(self.count, 1, MOST_APPROVALS):
            raise ValueError(f"`count` must be 1 to {MOST_APPROVALS}, not {self.count}")
        if _is_outside(self.percent, 0, WHOLE_PERCENT):
            raise ValueError(f"`percent` must be 0 to {WHOLE_PERCENT}, not {self.percent}")
        if self.weight is not None and not 0 < self.weight <= MOST_WEIGHT:
            raise ValueError(f"`weight` must be above 0 and at most {MOST_WEIGHT:.0f}, not {self.weight}")


@_STRICT
@dataclass(frozen=True, slots=True, kw_only=True)
class StepUp:
    """How strongly, and how recently, somebody must have signed in to decide."""

    acr: tuple[str, ...] = ()
    max_age_seconds: float = 300.0


@_STRICT
@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """That enough people of a pool agree.

    Attributes:
        pool: who may decide: `user:ID`, `role:NAME`, `group:NAME`, `owner_of:subject`, `manager_of:requester`.
        approve: how many must approve.
        deny: how many rejections deny it; 0: they are advice, and only make it impossible.
        mode: `first` is decided as soon as it can be; `all_responded` when everybody in the pool has answered.
        distinct: requirements of a stage with the same word here are met by different people.
        exclude: who of the pool may not decide.
        is_optional: asked, and may deny, but need not be met.
        when: a condition (CEL) on the request; where it does not hold, the requirement does not apply.
        weights: the weight of those whom a selector names; 1 for everybody else.
        parts: the parts of the content that it is about; an edit elsewhere leaves its decisions. None: all of it.
        keeps: classes of edits that leave its decisions: `cosmetic`, `narrowing`.
        role_check: whether somebody who leaves the pool stops counting (`until_resolved`) or not (`at_decision`).
    """

    id: str
    pool: tuple[str, ...]
    approve: Threshold = field(default_factory=lambda: Threshold(count=1))
    deny: int = 1
    mode: Literal["first", "all_responded"] = "first"
    distinct: str = ""
    exclude: Annotated[frozenset[Exclusion], SORTED] = EVERY_PARTY
    is_optional: bool = False
    when: str = ""
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    parts: tuple[str, ...] = ()
    keeps: Annotated[frozenset[Literal["cosmetic", "narrowing"]], SORTED] = frozenset()
    role_check: Literal["until_resolved", "at_decision"] = "until_resolved"
    reason: Literal["never", "reject", "always"] = "reject"
    step_up: StepUp | None = None


@_STRICT
@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node of the tree of a stage: exactly one of a requirement's id, all of some nodes, or any of them."""

    requirement: str = ""
    all: tuple[Node, ...] = ()
    any: tuple[Node, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is no node."""
        if sum((bool(self.requirement), bool(self.all), bool(self.any))) != 1:
            raise ValueError("a node is exactly one of `requirement`, `all` and `any`")

    @property
    def children(self) -> tuple[Node, ...]:
        """The nodes below it."""
        return self.all or self.any

    def leaves(self) -> Iterator[str]:
        """Yield the ids of the requirements below it."""
        if self.requirement:
            yield self.requirement
        for child in self.children:
            yield from child.leaves()

    def depth(self) -> int:
        """Return how many nodes are on the longest way down, itself included."""
        return 1 + max((child.depth() for child in self.children), default=0)


OnTimeout = Literal["expire", "reject", "approve", "hold"]
OnImpossible = Literal["escalate", "fallback", "hold", "reject"]
OnReject = Literal["reject", "request_changes"]


@_STRICT
@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage: requirements in a tree of and/or, after the stages that it needs.

    Attributes:
        needs: ids of the stages that must be satisfied before.
        tree: how its requirements go together; all of them, when it says nothing.
        due: how long after it became active it is due, as a duration; empty: never.
        remind: how long after it became active, and then again and again, those who have not decided are reminded, as a
            duration of wall time; empty: never.
        calendar: which of the policy's calendars its business time is of; empty: office hours in UTC.
        ladder: who is added when nobody decides in time.
        on_timeout: what happens when it is due. `approve` only has effect where the template allows it.
        on_impossible: what happens when no further votes could satisfy it.
        fallback: who is added then, for `fallback`.
        on_reject: what becomes of the request when the stage is denied.
    """

    id: str
    title: str = ""
    needs: tuple[str, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    tree: Node | None = None
    due: str = ""
    remind: str = ""
    calendar: str = ""
    ladder: Ladder | None = None
    on_timeout: OnTimeout = "expire"
    on_impossible: OnImpossible = "escalate"
    fallback: tuple[str, ...] = ()
    on_reject: OnReject = "reject"

    def root(self) -> Node:
        """Return the tree; all of the requirements, when none was given."""
        return self.tree or Node(all=tuple(Node(requirement=each.id) for each in self.requirements))

    def requirement(self, key: str) -> Requirement:
        """Return a requirement by its id."""
        return next(each for each in self.requirements if each.id == key)

    def wants_signature(self, requirements: Collection[str]) -> bool:
        """Whether one of some requirements takes a fresh sign-in, so that a decision about it is a signature."""
        return any(each.step_up is not None for each in self.requirements if each.id in requirements)


_STAGES = TypeAdapter(tuple[Stage, ...])


def read_stages(value: object) -> tuple[Stage, ...]:
    """Read stages from JSON.

    Raises:
        ValueError: they are no stages, or go together in no sensible way; the text says what was expected.
    """
    stages = _STAGES.validate_python(value)
    check_stages(stages)
    return stages


def check_stages(stages: Sequence[Stage]) -> None:
    """Do nothing if stages go together.

    Raises:
        ValueError: they do not.
    """
    if not 1 <= len(stages) <= MOST_STAGES:
        raise ValueError(f"expected 1 to {MOST_STAGES} stages, got {len(stages)}")
    _check_unique("stage", [stage.id for stage in stages])
    known = {stage.id for stage in stages}
    for stage in stages:
        if unknown := set(stage.needs) - known:
            raise ValueError(f"stage {stage.id!r} needs {sorted(unknown)}, which are no stages")
        _check_stage(stage)
    _check_order(stages)


def _check_order(stages: Sequence[Stage]) -> None:
    try:
        TopologicalSorter({stage.id: stage.needs for stage in stages}).prepare()
    except CycleError as error:
        raise ValueError(f"stages need each other in a circle: {' -> '.join(error.args[1])}") from error


def _check_stage(stage: Stage) -> None:
    if not 1 <= len(stage.requirements) <= MOST_REQUIREMENTS:
        raise ValueError(f"stage {stage.id!r}: expected 1 to {MOST_REQUIREMENTS} requirements")
    _check_unique("requirement", [each.id for each in stage.requirements])
    _check_tree(stage)
    _check_time(stage)
    for requirement in stage.requirements:
        _check_requirement(requirement)
    _check_distinct(stage)


def _check_distinct(stage: Stage) -> None:
    distinct = [each for each in stage.requirements if each.distinct]
    if len(distinct) > MOST_DISTINCT:
        raise ValueError(f"stage {stage.id!r}: at most {MOST_DISTINCT} requirements may be `distinct`")


def _check_tree(stage: Stage) -> None:
    leaves = list(stage.root().leaves())
    if sorted(leaves) != sorted(each.id for each in stage.requirements):
        raise ValueError(f"stage {stage.id!r}: its tree must name each of its requirements once, it names {leaves}")
    if stage.root().depth() > DEEPEST_TREE:
        raise ValueError(f"stage {stage.id!r}: a tree is at most {DEEPEST_TREE} nodes deep")


def _check_time(stage: Stage) -> None:
    """Check what happens when nobody decides in time, or nobody can."""
    if stage.due:
        parse_duration(stage.due)
    if stage.remind and parse_duration(stage.remind).seconds < LEAST_REMIND_SECONDS:
        raise ValueError(f"stage {stage.id!r}: `remind` is at least 15m of wall time, not {stage.remind!r}")
    if stage.on_impossible == "fallback" and not stage.fallback:
        raise ValueError(f"stage {stage.id!r}: `fallback` must say who is added")
    check_selectors(stage.fallback)
    for level in stage.ladder.levels if stage.ladder else ():
        check_selectors(level.add)


def _check_requirement(requirement: Requirement) -> None:
    if not requirement.pool:
        raise ValueError(f"requirement {requirement.id!r}: its pool names nobody")
    check_selectors(requirement.pool)
    _check_weights(requirement)
    if requirement.deny < 0:
        raise ValueError(f"requirement {requirement.id!r}: `deny` is a count of people, not {requirement.deny}")
    if requirement.distinct and requirement.approve.weight is not None:
        raise ValueError(f"requirement {requirement.id!r}: weights and `distinct` do not go together")


def _check_weights(requirement: Requirement) -> None:
    check_selectors(requirement.weights)
    for selector, weight in requirement.weights.items():
        if not 0 < weight <= MOST_WEIGHT:
            raise ValueError(
                f"requirement {requirement.id!r}: the weight of {selector!r} must be above 0, not {weight}"
            )


def check_selectors(selectors: Iterable[str]) -> None:
    """Do nothing if all of them are selectors.

    Raises:
        ValueError: one is not.
    """
    for selector in selectors:
        kind, _, name = selector.partition(":")
        if selector not in RELATIONS and not (kind in SELECTORS and name):
            known = ", ".join((*(f"{each}:NAME" for each in SELECTORS), *RELATIONS))
            raise ValueError(f"{selector!r} names nobody; expected one of {known}")


def _check_unique(what: str, names: Sequence[str]) -> None:
    if "" in names or len(set(names)) != len(names):
        raise ValueError(f"each {what} has an id of its own, these have {list(names)}")
