"""The checks that a decision passes, in their order. Pure; the first that fails is the answer.

The order is part of the interface: who comes too late is told so whether or not they might have decided, and nobody
learns from a refusal what they could not have learned from the check before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quorate_plugins.approval.directory import Delegation, Directory, Parties
from quorate_plugins.approval.evaluator import Pool
from quorate_plugins.approval.refusals import (
    AlreadyResolved,
    DeadlinePassed,
    DelegationInvalid,
    DutiesNotSeparate,
    NotEligible,
    ReasonRequired,
    StageNotActive,
    StaleView,
    StepUpRequired,
)
from quorate_plugins.approval.requests import RESOLVED, Decision, Request, StageRun, StageState, Status, Verdict
from quorate_plugins.approval.stages import Requirement, Stage, StepUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What somebody wants to decide, and what their token says of how they signed in."""

    id: str
    actor: str
    verdict: Verdict
    content_hash: str
    has_reason: bool
    at: float
    via: str
    artifact: str = ""
    on_behalf_of: str = ""
    stage: str = ""
    requirements: tuple[str, ...] = ()
    acr: str = ""
    auth_time: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """What is so at the moment of deciding: the content's hash, and what changed since `content_hash` was seen."""

    content_hash: str
    diff: Mapping[str, object]


def check(request: Request, attempt: Attempt, directory: Directory, present: Present) -> Decision:
    """Return the decision that an attempt is.

    Raises:
        Refused: a check failed. Of one that came too late (`AlreadyResolved`, `DeadlinePassed`) a row is kept.
    """
    _check_open(request)
    stage, run = _stage_of(request, attempt)
    _check_in_time(request, run, attempt.at)
    if run.state is not StageState.ACTIVE:
        active = [each.id for each in request.active()]
        raise StageNotActive(f"stage {stage.id!r} is {run.state}; open are {active}", active=active)
    delegation = _delegation(request, attempt, directory)
    principal = attempt.on_behalf_of or attempt.actor
    requirements = _requirements(stage, run, attempt, principal)
    if attempt.content_hash != present.content_hash:
        raise StaleView(
            "the content is not what you saw: look at it again",
            current=present.content_hash,
            diff=dict(present.diff),
        )
    _check_step_up(requirements, attempt)
    _check_reason(requirements, attempt)
    return Decision(
        id=attempt.id,
        order=1 + max((each.order for each in request.decisions.values()), default=0),
        stage=stage.id,
        requirements=tuple(each.id for each in requirements),
        actor=attempt.actor,
        principal=principal,
        verdict=attempt.verdict,
        revision=request.revision,
        content_hash=attempt.content_hash,
        at=attempt.at,
        via=attempt.via,
        delegation="" if delegation is None else delegation.id,
        acr=attempt.acr,
        auth_time=attempt.auth_time,
        groups=tuple(sorted(directory.groups_of(principal))),
        directory_version=directory.version,
    )


def too_late(request: Request, attempt: Attempt) -> Decision:
    """Return the row that is kept of an attempt that came too late."""
    return Decision(
        id=attempt.id,
        order=1 + max((each.order for each in request.decisions.values()), default=0),
        stage=attempt.stage,
        requirements=attempt.requirements,
        actor=attempt.actor,
        principal=attempt.on_behalf_of or attempt.actor,
        verdict=attempt.verdict,
        revision=request.revision,
        content_hash=attempt.content_hash,
        at=attempt.at,
        via=attempt.via,
        status=Status.LATE,
    )


def _check_open(request: Request) -> None:
    if request.state in RESOLVED:
        raise AlreadyResolved(
            f"it is {request.state} since {request.resolved_by or 'somebody'} decided",
            outcome=request.state,
            by=request.resolved_by,
            at=request.resolved_at,
        )


def _check_in_time(request: Request, run: StageRun, at: float) -> None:
    """A deadline counts by itself: whether anything was done about it yet does not matter."""
    for due_at in (run.due_at, request.deadline_at):
        if due_at is not None and at > due_at:
            raise DeadlinePassed("the time to decide has passed", due_at=due_at)


def _stage_of(request: Request, attempt: Attempt) -> tuple[Stage, StageRun]:
    """Return the stage that is meant: the one named, else the first open one whose pools have the principal."""
    if attempt.stage:
        return _named(request, attempt.stage)
    active = request.active()
    if not active:
        raise StageNotActive(f"no stage is open: the request is {request.state}", active=[])
    principal = attempt.on_behalf_of or attempt.actor
    found = next((each for each in active if _has(request.runs[each.id], principal)), active[0])
    return found, request.runs[found.id]


def _named(request: Request, key: str) -> tuple[Stage, StageRun]:
    if key not in request.runs:
        known = [each.id for each in request.active()]
        raise StageNotActive(f"there is no stage {key!r}; open are {known}", active=known)
    return request.stage(key), request.runs[key]


def _has(run: StageRun, person: str) -> bool:
    return any(person in pool.weights for pool in run.pools.values())


def _delegation(request: Request, attempt: Attempt, directory: Directory) -> Delegation | None:
    """Return the delegation by which somebody decides for somebody else; it is never handed on."""
    if not attempt.on_behalf_of or attempt.on_behalf_of == attempt.actor:
        return None
    given = [each for each in directory.delegations_to(attempt.actor) if each.principal == attempt.on_behalf_of]
    whys = [_why_not(each, request, attempt, directory) for each in given]
    if "" in whys:
        return given[whys.index("")]
    why = whys[-1] if whys else "none"
    raise DelegationInvalid(f"{attempt.actor} may not decide for {attempt.on_behalf_of}: {why}", why=why)


def _why_not(delegation: Delegation, request: Request, attempt: Attempt, directory: Directory) -> str:
    why = delegation.why_not(
        at=attempt.at, request=attempt.artifact, type_=request.type, subject=request.subject, risk=request.risk
    )
    return why or ("" if directory.is_active(delegation.principal) else "principal_inactive")


def _requirements(stage: Stage, run: StageRun, attempt: Attempt, principal: str) -> list[Requirement]:
    """Return the requirements that the decision is for."""
    who = {principal, attempt.actor}
    named = [each for each in stage.requirements if _is_meant(each, attempt)]
    free = [each for each in named if _may(_pool(run, each), principal, who)]
    if free:
        return free
    excluded = set[str]().union(*(who & _pool(run, each).excluded for each in named))
    if excluded:
        who_text = " and ".join(sorted(excluded))
        raise DutiesNotSeparate(f"{who_text} asked for it, profits from it, or wrote in it: somebody else must decide")
    raise NotEligible(f"{principal} is not among those who may decide stage {stage.id!r}")


def _is_meant(requirement: Requirement, attempt: Attempt) -> bool:
    return not attempt.requirements or requirement.id in attempt.requirements


def _pool(run: StageRun, requirement: Requirement) -> Pool:
    return run.pools.get(requirement.id, _NOBODY)


def _may(pool: Pool, principal: str, who: set[str]) -> bool:
    return pool.applies and principal in pool.weights and not who & pool.excluded


_NOBODY = Pool(weights={})


def _check_step_up(requirements: list[Requirement], attempt: Attempt) -> None:
    for requirement in requirements:
        wanted = requirement.step_up
        if wanted is not None and not _is_enough(wanted, attempt):
            raise StepUpRequired(
                "sign in again to decide this",
                acr=list(wanted.acr),
                max_age_seconds=wanted.max_age_seconds,
            )


def _is_enough(wanted: StepUp, attempt: Attempt) -> bool:
    if attempt.auth_time is None or attempt.at - attempt.auth_time > wanted.max_age_seconds:
        return False
    return not wanted.acr or attempt.acr in wanted.acr


def _check_reason(requirements: list[Requirement], attempt: Attempt) -> None:
    is_no = attempt.verdict in {"reject", "request_changes"}
    wants = any(each.reason == "always" or (each.reason == "reject" and is_no) for each in requirements)
    if wants and not attempt.has_reason:
        raise ReasonRequired("say why")


def parties_of(request: Request, owners: tuple[str, ...]) -> Parties:
    """Return who has to do with a request."""
    return Parties(
        requester=request.requester,
        beneficiaries=request.beneficiaries,
        contributors=request.contributors,
        owners=owners,
    )
