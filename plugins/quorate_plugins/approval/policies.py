"""Policies: what a request takes. Templates by type, rules with conditions, and exceptions that somebody owns.

A policy is written as an artifact of kind `configuration`, in its `settings`, and takes effect when it is published.
Rules go together so: one that forbids rejects; else all that require add their stages, and of two that demand the
same people the stricter holds; else one may approve at once, if it says so. Nothing that matches leaves the stages
of the template. An error is never an approval.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from quorate_plugins.approval.calendars import OFFICE_HOURS, Calendar
from quorate_plugins.approval.conditions import ConditionError, check_condition
from quorate_plugins.approval.durations import parse_duration
from quorate_plugins.approval.requests import Block
from quorate_plugins.approval.stages import Node, Requirement, Stage, Threshold, check_selectors, check_stages

TYPES = (
    "data_source_creation",
    "data_source_modification",
    "data_source_deletion",
    "schema_change",
    "access_grant",
    "access_revoke",
    "policy_change",
    "workflow_deployment",
    "configuration_change",
    "security_exception",
    "compliance_override",
    "custom",
)
"""The types of requests."""
PRIORITIES = ("low", "normal", "high", "urgent", "emergency")
MOST_RULES = 200

Effect = Literal["forbid", "require", "auto_approve", "skip", "reduce", "change_approvers", "extend_deadline"]
EXCEPTIONS = frozenset({"skip", "reduce", "change_approvers", "extend_deadline"})


_STRICT = with_config(ConfigDict(extra="forbid"))
"""A word that is misspelt would otherwise be left out, and with it what it demands."""


@_STRICT
@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRule:
    """A field that a template asks for. `type` is a JSON type.

    `is_scope` says that it is how much is asked for: fewer in a list, or a smaller number, is a narrowing edit.
    """

    type: Literal["string", "number", "boolean", "array", "object"] = "string"
    is_required: bool = True
    options: tuple[str, ...] = ()
    summary: str = ""
    is_scope: bool = False


@_STRICT
@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What a type of request asks for, and what it takes when no rule says otherwise.

    Attributes:
        deadline: how long after submission the request itself ends, as a duration.
        executor: who does what was approved: the server itself (`grant`, `revoke`, `publish`), or others, who say
            by command how it went (`external`).
        may_time_out_approved: whether a stage that says so may be approved because nobody decided.
        reviews_overrides: who must look at an override afterwards.
        on_requester_disabled: what becomes of a request when who asks is not active any more: it is held until somebody
            looks, cancelled, or their manager asks instead.
    """

    title: str
    fields: Mapping[str, FieldRule] = field(default_factory=dict[str, FieldRule])
    stages: tuple[Stage, ...] = ()
    deadline: str = "14d"
    risk: str = "medium"
    executor: Literal["grant", "revoke", "publish", "external"] = "external"
    may_time_out_approved: bool = False
    reviews_overrides: tuple[str, ...] = ("role:auditor",)
    on_requester_disabled: Literal["hold", "cancel", "reassign"] = "hold"
    version: int = 1


@_STRICT
@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. `when` is a condition; empty: always. `types`: for which types of requests; none: all.

    An exception has an owner and ends (`until`, an ISO 8601 time): `skip` leaves `stage` out, `reduce` has it take
    `count` approvals, `change_approvers` gives it another `pool`, `extend_deadline` gives `extra` more time.
    """

    effect: Effect
    when: str = ""
    types: tuple[str, ...] = ()
    message: str = ""
    stages: tuple[Stage, ...] = ()
    owner: str = ""
    until: str = ""
    stage: str = ""
    count: int = 1
    pool: tuple[str, ...] = ()
    extra: str = ""

    @property
    def is_exception(self) -> bool:
        """Whether it makes an exception from what others demand."""
        return self.effect in EXCEPTIONS

    def is_over(self, now: float) -> bool:
        """Whether it is an exception whose time has passed."""
        return self.is_exception and _time(self.until) <= now


@_STRICT
@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What one policy artifact says: rules by id, templates by type, calendars by name."""

    rules: Mapping[str, Rule] = field(default_factory=dict[str, Rule])
    templates: Mapping[str, Template] = field(default_factory=dict[str, Template])
    calendars: Mapping[str, Calendar] = field(default_factory=dict[str, Calendar])


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySet:
    """All that is published, by the name of the artifact. `version` counts publications."""

    version: int
    policies: Mapping[str, Policy]
    defaults: Policy

    def rules_for(self, type_: str, now: float) -> dict[str, Rule]:
        """Return the rules that may matter to a type, by `artifact#id`, in a fixed order."""
        return {
            f"{name}#{key}": rule
            for name, policy in sorted(self.policies.items())
            for key, rule in sorted(policy.rules.items())
            if (not rule.types or type_ in rule.types) and not rule.is_over(now)
        }

    def template(self, type_: str) -> Template:
        """Return the template of a type; one that was published goes before ours."""
        for _, policy in sorted(self.policies.items()):
            if type_ in policy.templates:
                return policy.templates[type_]
        return self.defaults.templates[type_]

    def calendar(self, name: str) -> Calendar:
        """Return a calendar; office hours in UTC for none.

        Raises:
            ValueError: no policy declares it.
        """
        if not name:
            return OFFICE_HOURS
        for policy in (*(policy for _, policy in sorted(self.policies.items())), self.defaults):
            if name in policy.calendars:
                return policy.calendars[name]
        raise ValueError(f"no policy declares a calendar {name!r}")


_POLICY = TypeAdapter(Policy)


def read_policy(settings: object) -> Policy:
    """Read a policy from the settings of its artifact.

    Raises:
        ValueError: it is none, and why.
    """
    try:
        policy = _POLICY.validate_python(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = "/".join(str(step) for step in first["loc"])
        raise ValueError(f"{where}: {first['msg']}") from error
    if len(policy.rules) > MOST_RULES:
        raise ValueError(f"a policy has at most {MOST_RULES} rules, this has {len(policy.rules)}")
    for key, rule in policy.rules.items():
        with _named(f"rules/{key}"):
            _check_rule(rule)
    for key, template in policy.templates.items():
        with _named(f"templates/{key}"):
            _check_template(key, template)
    return policy


@contextmanager
def _named(place: str) -> Generator[None, None, None]:
    """Say in a refusal which place of the policy it is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def _check_template(key: str, template: Template) -> None:
    if key not in TYPES:
        raise ValueError(f"expected one of {', '.join(TYPES)}")
    _check_stages(template.stages)
    check_selectors(template.reviews_overrides)
    parse_duration(template.deadline)


def _check_rule(rule: Rule) -> None:
    if rule.when:
        check_condition(rule.when)
    if unknown := set(rule.types) - set(TYPES):
        raise ValueError(f"{sorted(unknown)} are no types; expected some of {', '.join(TYPES)}")
    if rule.effect == "require":
        _check_stages(rule.stages)
    elif rule.stages:
        raise ValueError(f"only `require` has stages, not `{rule.effect}`")
    if rule.is_exception:
        _check_exception(rule)


def _check_ownership(rule: Rule) -> None:
    if not rule.owner or not rule.until:
        raise ValueError("an exception says who owns it (`owner`) and when it ends (`until`)")
    _time(rule.until)


def _check_exception(rule: Rule) -> None:
    _check_ownership(rule)
    if rule.effect == "extend_deadline":
        parse_duration(rule.extra)
    elif not rule.stage:
        raise ValueError(f"`{rule.effect}` says for which `stage`")
    if rule.effect == "change_approvers":
        check_selectors(rule.pool)
        if not rule.pool:
            raise ValueError("`change_approvers` says who decides instead (`pool`)")
    if rule.effect == "reduce":
        Threshold(count=rule.count)


def _check_stages(stages: Sequence[Stage]) -> None:
    check_stages(stages)
    for stage in stages:
        for requirement in stage.requirements:
            if requirement.when:
                check_condition(requirement.when)


def _time(text: str) -> float:
    read = datetime.fromisoformat(text)
    if read.tzinfo is None:
        raise ValueError(f"expected a time with its offset, such as 2027-01-31T00:00:00+00:00, not {text!r}")
    return read.timestamp()


# What a request takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What the policies make of a request. `explanation` names each rule that matched or could not be read.

    `extra` are durations by which the deadline is moved; `unsettled` are requirements of which it is not known
    whether they apply, by stage and requirement, with the reason; `absent` those that do not apply.
    """

    verdict: Literal["auto_approve", "auto_reject", "require"]
    stages: tuple[Stage, ...] = ()
    explanation: tuple[str, ...] = ()
    block: Block | None = None
    extra: tuple[str, ...] = ()
    unsettled: Mapping[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    absent: frozenset[tuple[str, str]] = frozenset()


Answers = Callable[[str], "bool | ConditionError"]
"""Says whether a condition holds for the request, by its source."""


def conditions_of(policies: PolicySet, type_: str, now: float) -> list[str]:
    """Return all the conditions that a ruling on a type may ask for, each once."""
    rules = policies.rules_for(type_, now).values()
    stages = [*policies.template(type_).stages, *(stage for rule in rules for stage in rule.stages)]
    found = [*(rule.when for rule in rules), *_conditions_in(stages)]
    return [each for each in dict.fromkeys(found) if each]


def _conditions_in(stages: Iterable[Stage]) -> Iterator[str]:
    return (requirement.when for stage in stages for requirement in stage.requirements)


def rule_on(policies: PolicySet, type_: str, now: float, holds: Answers) -> Ruling:
    """Return what a request of a type takes, when its conditions have these answers."""
    explanation: list[str] = []
    matched: list[Rule] = []
    broken: list[Rule] = []
    for key, rule in policies.rules_for(type_, now).items():
        answer = holds(rule.when) if rule.when else True
        if isinstance(answer, ConditionError):
            broken.append(rule)
            explanation.append(f"{key}: error: {answer.reason}")
        elif answer:
            matched.append(rule)
            explanation.append(f"{key}: {rule.effect}{': ' if rule.message else ''}{rule.message}")
    ruling = _combine(policies.template(type_), matched, broken)
    return replace(_with_conditions(ruling, holds), explanation=(*explanation, *ruling.explanation))


def _combine(template: Template, matched: Sequence[Rule], broken: Sequence[Rule]) -> Ruling:
    effects = {rule.effect for rule in matched}
    if "forbid" in effects:
        return Ruling(verdict="auto_reject")
    if broken:
        # Whatever else matched: a rule that could not be read may have forbidden it. One that may have demanded
        # stages is taken to demand them, or a content that breaks its condition would be rid of them.
        wanted = [template.stages, *_demanded((*matched, *broken))]
        return replace(_union(wanted, template), block=Block.POLICY_ERROR)
    if "auto_approve" in effects and "require" not in effects:
        return Ruling(verdict="auto_approve")
    return _demanded_with_exceptions(template, matched)


def _demanded_with_exceptions(template: Template, matched: Sequence[Rule]) -> Ruling:
    found = _union(_demanded(matched) or [template.stages], template)
    return found if found.block else _with_exceptions(found, template, [rule for rule in matched if rule.is_exception])


def _demanded(rules: Iterable[Rule]) -> list[tuple[Stage, ...]]:
    return [rule.stages for rule in rules if rule.effect == "require"]


def _with_exceptions(ruling: Ruling, template: Template, exceptions: Sequence[Rule]) -> Ruling:
    """Return a ruling with what exceptions change; when they leave nothing, somebody must look at it."""
    extra = tuple(rule.extra for rule in exceptions if rule.effect == "extend_deadline")
    changed = _excepted(ruling.stages, exceptions)
    block = None if changed else Block.NO_APPLICABLE_RULE
    return replace(ruling, stages=changed or template.stages, block=block, extra=extra)


def _union(wanted: Sequence[Sequence[Stage]], template: Template) -> Ruling:
    """Return the union of stages; those of the template, blocked, when rules contradict each other."""
    stages = merge_stages(wanted)
    try:
        check_stages(stages)
    except ValueError as error:
        note = f"the rules do not go together: {error}"
        # In no order they are all still wanted; only when not even that can be is the template all there is.
        unordered = tuple(replace(stage, needs=()) for stage in stages)
        stages = unordered if _go_together(unordered) else template.stages
        return Ruling(verdict="require", stages=stages, block=Block.POLICY_ERROR, explanation=(note,))
    return Ruling(verdict="require", stages=stages)


def _go_together(stages: Sequence[Stage]) -> bool:
    try:
        check_stages(stages)
    except ValueError:
        return False
    return True


def _excepted(stages: Sequence[Stage], exceptions: Sequence[Rule]) -> tuple[Stage, ...]:
    """Return the stages with what exceptions change; what needed one that is skipped needs what that needed."""
    needs = {stage.id: stage.needs for stage in stages}
    skipped = {rule.stage for rule in exceptions if rule.effect == "skip"}

    def left(keys: Iterable[str]) -> Iterator[str]:
        for key in keys:
            yield from left(needs[key]) if key in skipped else (key,)

    return tuple(
        replace(
            stage,
            needs=tuple(dict.fromkeys(left(stage.needs))),
            requirements=_eased(stage.requirements, _rules_about(stage, exceptions)),
        )
        for stage in stages
        if stage.id not in skipped
    )


def _rules_about(stage: Stage, exceptions: Iterable[Rule]) -> list[Rule]:
    return [rule for rule in exceptions if rule.stage == stage.id]


def _eased(requirements: tuple[Requirement, ...], exceptions: Sequence[Rule]) -> tuple[Requirement, ...]:
    for rule in exceptions:
        if rule.effect == "reduce":
            requirements = tuple(_reduced(each, rule.count) for each in requirements)
        elif rule.effect == "change_approvers":
            requirements = tuple(replace(each, pool=rule.pool) for each in requirements)
    return requirements


def _reduced(requirement: Requirement, count: int) -> Requirement:
    present = requirement.approve.count
    is_fewer = present is None or count < present  # an exception does not ask for more
    return replace(requirement, approve=Threshold(count=count)) if is_fewer else requirement


def _with_conditions(ruling: Ruling, holds: Answers) -> Ruling:
    """Say which requirements do not apply, and of which it is not known."""
    unsettled: dict[tuple[str, str], str] = {}
    absent: set[tuple[str, str]] = set()
    for stage in ruling.stages:
        for requirement in stage.requirements:
            answer = holds(requirement.when) if requirement.when else True
            if isinstance(answer, ConditionError):
                unsettled[stage.id, requirement.id] = answer.reason
            elif not answer:
                absent.add((stage.id, requirement.id))
    return replace(ruling, unsettled=unsettled, absent=frozenset(absent))


def merge_stages(wanted: Sequence[Sequence[Stage]]) -> tuple[Stage, ...]:
    """Return the union of what rules demand: stages by id, and in one stage the stricter of two equal pools.

    Whatever satisfies the union satisfies each of what is wanted.
    """
    merged: dict[str, Stage] = {}
    for stage in (stage for stages in wanted for stage in stages):
        present = merged.get(stage.id)
        merged[stage.id] = stage if present is None or present == stage else _merge(present, stage)
    return tuple(merged.values())


def _merge(one: Stage, other: Stage) -> Stage:
    one, other = _firm(one), _firm(other)
    is_flat = one.tree is None and other.tree is None
    requirements, renamed = _merged_requirements(one, other, is_flat=is_flat)
    return replace(
        one,
        needs=tuple(dict.fromkeys((*one.needs, *other.needs))),
        requirements=requirements,
        tree=None if is_flat else Node(all=(one.root(), _renamed(other.root(), renamed))),
        due=one.due or other.due,
        calendar=one.calendar or other.calendar,
        ladder=one.ladder or other.ladder,
        fallback=tuple(dict.fromkeys((*one.fallback, *other.fallback))),
        on_timeout=max(one.on_timeout, other.on_timeout, key=_CAUTIOUS_TIMEOUTS.index),
        on_impossible=max(one.on_impossible, other.on_impossible, key=_CAUTIOUS_IMPOSSIBLES.index),
        on_reject=max(one.on_reject, other.on_reject, key=_CAUTIOUS_REJECTS.index),
    )


def _merged_requirements(
    one: Stage, other: Stage, *, is_flat: bool
) -> tuple[tuple[Requirement, ...], Mapping[str, str]]:
    """Return the requirements of both, and which ids those of the other have now that stand beside the first's."""
    found = {each.id: each for each in one.requirements}
    renamed: dict[str, str] = {}
    for each in other.requirements:
        same = _key_of_comparable(found, each) if is_flat else None
        if same is None:
            key = renamed[each.id] = _free_id(each.id, found)
            found[key] = replace(each, id=key)
        else:
            found[same] = stricter(found[same], each)
    return tuple(found.values()), renamed


def _key_of_comparable(found: Mapping[str, Requirement], other: Requirement) -> str | None:
    return next((key for key, mine in found.items() if _is_comparable(mine, other)), None)


_CAUTIOUS_TIMEOUTS = ("approve", "hold", "expire", "reject")
_CAUTIOUS_IMPOSSIBLES = ("escalate", "fallback", "hold", "reject")
_CAUTIOUS_REJECTS = ("request_changes", "reject")


def _firm(stage: Stage) -> Stage:
    """Return a stage whose requirements must be met also beside others: they must, when all of them are optional."""
    if not all(each.is_optional for each in stage.requirements):
        return stage
    return replace(stage, requirements=tuple(replace(each, is_optional=False) for each in stage.requirements))


def _free_id(wanted: str, taken: Collection[str]) -> str:
    return next(key for key in (wanted, *(f"{wanted}+{n}" for n in range(2, len(taken) + 3))) if key not in taken)


def _renamed(node: Node, names: Mapping[str, str]) -> Node:
    if node.requirement:
        return Node(requirement=names[node.requirement])
    return Node(
        all=tuple(_renamed(each, names) for each in node.all), any=tuple(_renamed(each, names) for each in node.any)
    )


def _is_comparable(one: Requirement, other: Requirement) -> bool:
    """Whether one of two requirements can stand for both; otherwise both are kept, which demands as much."""
    is_step_same = one.step_up is None or other.step_up is None or one.step_up == other.step_up
    # A share is of those who are not excluded, so it is comparable only when the same people are.
    is_share_same = _kind(one.approve) == "count" or one.exclude == other.exclude
    return _terms(one) == _terms(other) and is_step_same and is_share_same


def _terms(requirement: Requirement) -> tuple[object, ...]:
    """Return what has to be the same in two requirements that can be compared."""
    return (
        frozenset(requirement.pool),
        requirement.when,
        requirement.mode,
        requirement.distinct,
        requirement.weights,
        _kind(requirement.approve),
    )


def _kind(threshold: Threshold) -> str:
    if threshold.count is not None:
        return "count"
    return "weight" if threshold.weight is not None else "share"


def _amount(threshold: Threshold) -> float:
    """Return how much a threshold asks for, to be compared with another of its kind."""
    if threshold.all:
        return 100
    return threshold.count or threshold.weight or threshold.percent or 0


def stricter(one: Requirement, other: Requirement) -> Requirement:
    """Return what meets both of two requirements whose thresholds are of one kind, under the id of the first."""
    most = max(one, other, key=lambda each: _amount(each.approve))
    both = (one, other)
    return replace(
        most,
        id=one.id,
        deny=min((each.deny for each in both if each.deny), default=0),
        exclude=one.exclude | other.exclude,
        is_optional=one.is_optional and other.is_optional,
        parts=_parts_of_both(one, other),
        keeps=one.keeps & other.keeps,
        role_check="at_decision" if one.role_check == other.role_check == "at_decision" else "until_resolved",
        reason=max(one.reason, other.reason, key=("never", "reject", "always").index),
        step_up=one.step_up or other.step_up,
    )


def _parts_of_both(one: Requirement, other: Requirement) -> tuple[str, ...]:
    """Return the parts that either is about; without any, one is about the whole content, and so are both."""
    return tuple(dict.fromkeys((*one.parts, *other.parts))) if one.parts and other.parts else ()
