"""An approval request as its record keeps it, and the events that made it what it is. Pure values.

The record is the sum of its events: `machine.apply` takes them one by one, and each is an entry of the audit chain,
so that whoever has the chain can make the record again and see that nothing else went into it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from quorate_plugins.approval.evaluator import Pool, StageResult
from quorate_plugins.approval.ladders import Climb
from quorate_plugins.approval.stages import Stage


class State(enum.StrEnum):
    """Where a request stands. Escalation and delegation are facts about a stage, never states."""

    EVALUATING = "evaluating"
    PENDING = "pending"
    CHANGES_REQUESTED = "changes_requested"
    APPROVED = "approved"
    OVERRIDDEN = "overridden"
    EXECUTING = "executing"
    FULFILLED = "fulfilled"
    FULFILMENT_FAILED = "fulfilment_failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    REVOKED = "revoked"
    LAPSED = "lapsed"


RESOLVED = frozenset(State) - {State.EVALUATING, State.PENDING, State.CHANGES_REQUESTED}
"""States in which nobody decides any more."""
FINISHED = frozenset({State.REJECTED, State.CANCELLED, State.EXPIRED, State.SUPERSEDED, State.REVOKED, State.LAPSED})
"""States that nothing leaves."""
FROZEN = frozenset({State.EXECUTING, State.FULFILLED, State.FULFILMENT_FAILED}) | FINISHED
"""States in which the guarded content may not be edited: a change needs a new request."""


class StageState(enum.StrEnum):
    """Where a stage stands."""

    BLOCKED = "blocked"
    ACTIVE = "active"
    SATISFIED = "satisfied"
    DENIED = "denied"
    SKIPPED = "skipped"
    OVERRIDDEN = "overridden"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Block(enum.StrEnum):
    """Why a request that is pending cannot go on by itself."""

    QUORUM_IMPOSSIBLE = "quorum_impossible"
    ESCALATION_EXHAUSTED = "escalation_exhausted"
    POLICY_ERROR = "policy_error"
    NO_APPLICABLE_RULE = "no_applicable_rule"
    CLOCK_STEP = "clock_step"
    REQUESTER_DISABLED = "requester_disabled"


class Status(enum.StrEnum):
    """What a decision is worth."""

    COUNTED = "counted"
    SUPERSEDED = "superseded"
    DISMISSED_STALE = "dismissed_stale"
    INELIGIBLE = "ineligible"
    REVOKED = "revoked"
    LATE = "late"


Verdict = Literal["approve", "reject", "request_changes", "abstain"]
Change = Literal["cosmetic", "narrowing", "widening", "other"]
"""The class of an edit, see `edits`."""
Pools = Mapping[str, Mapping[str, Pool]]
"""The pools of requirements, by stage and requirement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What somebody said. `order` is its place among the decisions of the request; `at` in seconds since the epoch."""

    id: str
    order: int
    stage: str
    requirements: tuple[str, ...]
    actor: str
    principal: str
    verdict: Verdict
    revision: int
    content_hash: str
    at: float
    via: str
    delegation: str = ""
    acr: str = ""
    auth_time: float | None = None
    groups: tuple[str, ...] = ()
    directory_version: int = 0
    status: Status = Status.COUNTED


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRun:
    """How far a stage is.

    `activation` is another one, and greater, each time that the stage is opened, also after the request was submitted
    again: timers of earlier openings are told from those of this one by it.
    """

    state: StageState = StageState.BLOCKED
    activation: int = 0
    activated_at: float | None = None
    due_at: float | None = None
    reminded_at: float | None = None
    climb: Climb | None = None
    added: tuple[str, ...] = ()
    pools: Mapping[str, Pool] = field(default_factory=dict[str, Pool])
    result: StageResult | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request. Times are in seconds since the epoch; people are user ids.

    `version` counts its events, `revision` the contents that were put up for decision. `block` is why it cannot go on,
    `held` what of it was said by others and does not follow from the votes. `opened` is the greatest activation that a
    stage had when the policy was asked last.
    """

    type: str
    state: State
    version: int
    revision: int
    content_hash: str
    part_hashes: Mapping[str, str]
    requester: str
    beneficiaries: tuple[str, ...]
    contributors: tuple[str, ...]
    subject: str
    risk: str
    priority: str
    submitted_at: float
    template_version: int
    policy_version: int = 0
    deadline_at: float | None = None
    block: Block | None = None
    held: Block | None = None
    opened: int = 0
    resolved_at: float | None = None
    resolved_by: str = ""
    outcome: str = ""
    valid_until: float | None = None
    supersedes: str = ""
    superseded_by: str = ""
    is_automatic: bool = False
    explanation: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ()
    runs: Mapping[str, StageRun] = field(default_factory=dict[str, StageRun])
    decisions: Mapping[str, Decision] = field(default_factory=dict[str, Decision])

    def stage(self, key: str) -> Stage:
        """Return a stage by its id."""
        return next(each for each in self.stages if each.id == key)

    def active(self) -> tuple[Stage, ...]:
        """Return the stages that can be decided now."""
        return tuple(each for each in self.stages if self.runs[each.id].state is StageState.ACTIVE)

    def counted(self) -> list[Decision]:
        """Return the decisions that count, the oldest first."""
        found = [each for each in self.decisions.values() if each.status is Status.COUNTED]
        return sorted(found, key=lambda each: each.order)


# Events. `at` is when, in seconds since the epoch, and `by` who: a user's id, `policy:...` or `timer`.


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """The content was put up for decision, for the first time or again."""

    at: float
    by: str
    type: str
    content_hash: str
    part_hashes: Mapping[str, str]
    beneficiaries: tuple[str, ...] = ()
    contributors: tuple[str, ...] = ()
    subject: str = ""
    risk: str = ""
    priority: str = "normal"
    template_version: int = 0
    deadline_at: float | None = None
    valid_until: float | None = None
    supersedes: str = ""
    kind: Literal["submitted"] = "submitted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """The policy said what the request takes."""

    at: float
    by: str
    verdict: Literal["auto_approve", "auto_reject", "require"]
    policy_version: int
    explanation: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ()
    pools: Pools = field(default_factory=dict[str, Mapping[str, Pool]])
    block: Block | None = None
    kind: Literal["evaluated"] = "evaluated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """It was worked out when stages that became active are due, and when their ladders are climbed."""

    at: float
    by: str
    due_at: Mapping[str, float | None]
    climbs: Mapping[str, Climb | None]
    kind: Literal["scheduled"] = "scheduled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """Somebody decided, in time or too late."""

    at: float
    by: str
    decision: Decision
    kind: Literal["decided"] = "decided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """The guarded content changed. `change` says which class of edit it was; what is None stayed as it was."""

    at: float
    by: str
    content_hash: str
    part_hashes: Mapping[str, str]
    contributors: tuple[str, ...]
    beneficiaries: tuple[str, ...] | None = None
    subject: str | None = None
    risk: str | None = None
    priority: str | None = None
    change: Change = "other"
    pools: Pools = field(default_factory=dict[str, Mapping[str, Pool]])
    kind: Literal["edited"] = "edited"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolsChanged:
    """Other people may decide: the directory changed, or who owns the subject."""

    at: float
    by: str
    pools: Pools
    kind: Literal["pools_changed"] = "pools_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Climbed:
    """A stage was escalated: people were added to its pools."""

    at: float
    by: str
    stage: str
    climb: Climb | None
    added: tuple[str, ...]
    pools: Pools
    priority: str = ""
    kind: Literal["climbed"] = "climbed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reminded:
    """Those who have not decided yet on a stage were reminded of it."""

    at: float
    by: str
    stage: str
    kind: Literal["reminded"] = "reminded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reassigned:
    """Somebody else asks for it from now on; who did so far may still not decide it."""

    at: float
    by: str
    requester: str
    pools: Pools = field(default_factory=dict[str, Mapping[str, Pool]])
    kind: Literal["reassigned"] = "reassigned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extended:
    """A deadline was moved, of a stage or (without one) of the request."""

    at: float
    by: str
    stage: str
    until: float
    cause: str
    kind: Literal["extended"] = "extended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Why it cannot go on by itself; without a block: it can again."""

    at: float
    by: str
    block: Block | None = None
    kind: Literal["blocked"] = "blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRevoked:
    """Somebody took their own decision back."""

    at: float
    by: str
    decision: str
    kind: Literal["decision_revoked"] = "decision_revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """It was withdrawn, ran out, was superseded, or was decided by nobody in time."""

    at: float
    by: str
    state: Literal[State.CANCELLED, State.EXPIRED, State.REJECTED, State.SUPERSEDED, State.APPROVED]
    cause: str
    superseded_by: str = ""
    kind: Literal["ended"] = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrode:
    """Somebody decided against the rules, as they may in an emergency; it is reviewed afterwards."""

    at: float
    by: str
    kind: Literal["overrode"] = "overrode"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionStarted:
    """What was approved is being done, as it was stored."""

    at: float
    by: str
    kind: Literal["execution_started"] = "execution_started"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionEnded:
    """It is done, or could not be done."""

    at: float
    by: str
    is_done: bool
    kind: Literal["execution_ended"] = "execution_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """What was approved holds no more."""

    at: float
    by: str
    kind: Literal["revoked"] = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lapsed:
    """What was granted for a time has ended."""

    at: float
    by: str
    kind: Literal["lapsed"] = "lapsed"


Event = (
    Submitted
    | Evaluated
    | Scheduled
    | Decided
    | Edited
    | PoolsChanged
    | Climbed
    | Reminded
    | Reassigned
    | Extended
    | Blocked
    | DecisionRevoked
    | Ended
    | Overrode
    | ExecutionStarted
    | ExecutionEnded
    | Revoked
    | Lapsed
)

_REQUEST = TypeAdapter(Request)
_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def read_request(value: object) -> Request:
    """Read a request from its record."""
    return _REQUEST.validate_python(value)


def request_json(request: Request) -> dict[str, object]:
    """Return a request as its record keeps it."""
    dumped: dict[str, object] = _REQUEST.dump_python(request, mode="json", exclude_none=True)
    return dumped


def read_event(value: object) -> Event:
    """Read an event from the audit chain."""
    return _EVENT.validate_python(value)


def event_json(event: Event) -> dict[str, object]:
    """Return an event as the audit chain keeps it."""
    dumped: dict[str, object] = _EVENT.dump_python(event, mode="json", exclude_none=True)
    return dumped
