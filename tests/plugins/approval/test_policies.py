"""What a request takes: how rules combine, what exceptions change, and that an error is never an approval."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import pytest

from quorate_plugins.approval.calendars import OFFICE_HOURS
from quorate_plugins.approval.conditions import ConditionError
from quorate_plugins.approval.evaluator import Ballot, Pool, Result, evaluate
from quorate_plugins.approval.policies import (
    Answers,
    Effect,
    Policy,
    PolicySet,
    Rule,
    Ruling,
    Template,
    conditions_of,
    merge_stages,
    read_policy,
    rule_on,
    stricter,
)
from quorate_plugins.approval.requests import Block
from quorate_plugins.approval.stages import Exclusion, Node, Requirement, Stage, StepUp, Threshold, check_stages

NOW = 1_800_000_000.0
LATER = "2099-01-01T00:00:00+00:00"
BEFORE = "2020-01-01T00:00:00Z"
TYPE = "schema_change"


def need(key: str = "r", pool: str = "role:steward", count: int = 1, **more: object) -> Requirement:
    return replace(Requirement(id=key, pool=(pool,), approve=Threshold(count=count)), **more)  # type: ignore[arg-type]


def step(key: str, *requirements: Requirement, needs: tuple[str, ...] = ()) -> Stage:
    return Stage(id=key, requirements=requirements or (need(),), needs=needs)


DEFAULT = (step("default", need("owner", "owner_of:subject")),)


def policies(*rules: Rule, stages: tuple[Stage, ...] = DEFAULT, more: dict[str, Policy] | None = None) -> PolicySet:
    defaults = Policy(templates={TYPE: Template(title="t", stages=stages), "custom": Template(title="c")})
    written = Policy(rules={f"r{number}": rule for number, rule in enumerate(rules)})
    return PolicySet(version=1, policies={"house": written, **(more or {})}, defaults=defaults)


def answers(condition: str) -> bool | ConditionError:
    return ConditionError(reason="no such field") if condition == "broken" else condition == "yes"


def ruled(*rules: Rule, stages: tuple[Stage, ...] = DEFAULT, holds: Answers = answers) -> Ruling:
    return rule_on(policies(*rules, stages=stages), TYPE, NOW, holds)


FORBID = Rule(effect="forbid", message="never on a Friday")
BROKEN = Rule(effect="auto_approve", when="broken")
REQUIRE = Rule(effect="require", stages=(step("extra"),))
AUTO = Rule(effect="auto_approve")
RULES = (FORBID, BROKEN, REQUIRE, AUTO)


def test_nothing_that_matches_leaves_the_stages_of_the_template() -> None:
    assert ruled() == Ruling(verdict="require", stages=DEFAULT)
    assert ruled(replace(FORBID, when="no"), replace(AUTO, when="no"), replace(REQUIRE, types=("custom",))) == ruled()


@pytest.mark.parametrize("rules", [rules for size in range(1, 5) for rules in combinations(RULES, size)])
def test_forbid_goes_before_an_error_that_before_require_and_that_before_auto_approve(rules: tuple[Rule, ...]) -> None:
    for order in (rules, rules[::-1]):
        ruling = ruled(*order)
        keys = [stage.id for stage in ruling.stages]
        if FORBID in rules:
            assert ruling.verdict == "auto_reject"
        elif BROKEN in rules:
            wanted = ["default", "extra"] if REQUIRE in rules else ["default"]
            assert (ruling.verdict, ruling.block, keys) == ("require", Block.POLICY_ERROR, wanted)
        elif REQUIRE in rules:
            assert (ruling.verdict, ruling.block, keys) == ("require", None, ["extra"])
        else:
            assert (ruling.verdict, ruling.block, keys) == ("auto_approve", None, [])


def test_what_followed_is_explained() -> None:
    assert ruled(FORBID, BROKEN).explanation == (
        "house#r0: forbid: never on a Friday",
        "house#r1: error: no such field",
    )


@pytest.mark.parametrize("effect", ["forbid", "auto_approve", "skip", "reduce", "change_approvers", "extend_deadline"])
def test_no_broken_condition_approves(effect: Effect) -> None:
    broken = Rule(effect=effect, when="broken", stage="default", owner="o", until=LATER, extra="1d", pool=("user:x",))
    ruling = ruled(broken, AUTO)
    assert ruling.verdict == "require"
    assert ruling.block is Block.POLICY_ERROR
    assert ruling.stages == DEFAULT
    assert ruling.extra == ()


def test_a_broken_condition_does_not_rid_a_request_of_what_it_demands() -> None:
    strict = Rule(effect="require", when="broken", stages=(step("strict"),))
    assert {stage.id for stage in ruled(strict, REQUIRE).stages} == {"default", "strict", "extra"}


def test_requirements_that_do_not_apply_and_those_of_which_it_is_not_known() -> None:
    stages = (step("s", need("a", when="yes"), need("b", when="no"), need("c", when="broken")),)
    ruling = ruled(stages=stages)
    assert ruling.absent == {("s", "b")}
    assert ruling.unsettled == {("s", "c"): "no such field"}
    assert ruling.verdict == "require"


def test_conditions_are_asked_for_once_and_only_where_they_may_matter() -> None:
    template = (step("s", need("a", when="one"), need("b", when="two")),)
    rules = (
        Rule(effect="forbid", when="two"),
        Rule(effect="require", when="three", stages=(step("t", need(when="four")),)),
        Rule(effect="forbid", when="other", types=("custom",)),
        Rule(effect="skip", when="over", owner="o", until=BEFORE, stage="s"),
    )
    found = conditions_of(policies(*rules, stages=template), TYPE, NOW)
    assert sorted(found) == ["four", "one", "three", "two"]

    def only_those(condition: str) -> bool:
        assert condition in found
        return False

    ruled(*rules, stages=template, holds=only_those)


# Exceptions


def exception(effect: Effect, **more: object) -> Rule:
    plain = Rule(effect=effect, owner="user:boss", until=LATER, stage="b")
    return replace(plain, **more)  # type: ignore[arg-type]


CHAIN = (step("a"), step("b", need(count=3), needs=("a",)), step("c", needs=("b",)))


def test_a_stage_that_is_skipped_leaves_its_place_in_the_order() -> None:
    first, last = ruled(exception("skip"), stages=CHAIN).stages
    assert (first.id, first.needs, last.id, last.needs) == ("a", (), "c", ("a",))


def test_an_exception_that_is_over_changes_nothing() -> None:
    assert ruled(exception("skip", until=BEFORE), stages=CHAIN).stages == CHAIN
    rule = exception("skip", until="2027-01-15T08:00:00+00:00")
    assert not rule.is_over(NOW - 1)
    assert rule.is_over(NOW)
    assert not Rule(effect="forbid").is_over(NOW)


def test_a_request_of_which_all_stages_are_skipped_is_not_approved() -> None:
    ruling = ruled(*(exception("skip", stage=key) for key in "abc"), Rule(effect="require", stages=CHAIN))
    assert (ruling.verdict, ruling.block, ruling.stages) == ("require", Block.NO_APPLICABLE_RULE, DEFAULT)


def test_fewer_approvals_never_more() -> None:
    def counts(count: int) -> list[int | None]:
        return [
            stage.requirements[0].approve.count
            for stage in ruled(exception("reduce", count=count), stages=CHAIN).stages
        ]

    assert counts(2) == [1, 2, 1]
    assert counts(9) == [1, 3, 1]
    everybody = (step("b", need(approve=Threshold(all=True))),)
    assert ruled(exception("reduce"), stages=everybody).stages[0].requirements[0].approve == Threshold(count=1)


def test_other_approvers_and_more_time() -> None:
    ruling = ruled(
        exception("change_approvers", pool=("user:deputy",)), exception("extend_deadline", extra="2d"), stages=CHAIN
    )
    assert [stage.requirements[0].pool[0] for stage in ruling.stages] == ["role:steward", "user:deputy", "role:steward"]
    assert ruling.extra == ("2d",)


# The union of what rules demand


def merged(one: Stage, other: Stage) -> Stage:
    (found,) = merge_stages([(one,), (other,)])
    check_stages([replace(found, needs=())])
    return found


def test_of_two_demands_on_the_same_people_the_stricter_holds() -> None:
    for pair in ((1, 3), (3, 1)):
        (only,) = merged(*(step("s", need(count=count)) for count in pair)).requirements
        assert only.approve == Threshold(count=3)
    shares = [need(approve=Threshold(percent=50)), need(approve=Threshold(all=True))]
    assert stricter(*shares).approve == Threshold(all=True)


def test_the_stricter_is_strict_in_everything() -> None:
    lax = need(
        exclude=frozenset({Exclusion.REQUESTER}), deny=0, keeps=frozenset({"cosmetic"}), parts=("a",), reason="never"
    )
    hard = need("q", exclude=frozenset({Exclusion.SAME_TEAM}), deny=2, parts=("b",), role_check="until_resolved")
    signed = StepUp(acr=("gold",))
    for found in (stricter(lax, replace(hard, step_up=signed)), stricter(replace(hard, step_up=signed), lax)):
        assert found.exclude == {Exclusion.REQUESTER, Exclusion.SAME_TEAM}
        assert (found.deny, found.keeps, set(found.parts), found.reason) == (2, frozenset(), {"a", "b"}, "reject")
        assert found.step_up == signed
    assert stricter(lax, replace(hard, parts=())).parts == ()


@pytest.mark.parametrize(
    "other",
    [
        need(when="no", count=5),
        need(approve=Threshold(percent=1)),
        need(approve=Threshold(all=True)),
        need(approve=Threshold(weight=1)),
        need(mode="all_responded"),
        need(distinct="x"),
        need(pool="role:security"),
    ],
)
def test_demands_that_cannot_be_compared_are_both_kept(other: Requirement) -> None:
    found = merged(step("s", need()), step("s", other))
    assert [each.id for each in found.requirements] == ["r", "r+2"]
    assert found.requirements == (need(), replace(other, id="r+2"))


def test_trees_of_two_rules_must_both_be_satisfied() -> None:
    either = replace(
        step("s", need("a", "user:a"), need("b", "user:b")),
        tree=Node(any=(Node(requirement="a"), Node(requirement="b"))),
    )
    found = merged(either, step("s", need("a", "user:a"), need("c", "user:c")))
    assert found.root() == Node(
        all=(either.root(), Node(all=(Node(requirement="a+2"), Node(requirement="c")))),
    )


def test_the_same_stage_twice_is_the_stage() -> None:
    assert merged(CHAIN[1], CHAIN[1]) == CHAIN[1]


def test_the_more_cautious_end_of_a_stage_holds() -> None:
    hasty = replace(step("s"), on_timeout="approve", on_reject="request_changes", due="")
    careful = replace(step("s"), on_timeout="expire", on_impossible="reject", due="1d", calendar="house")
    for found in (merged(hasty, careful), merged(careful, hasty)):
        assert (found.on_timeout, found.on_reject, found.on_impossible) == ("expire", "reject", "reject")
        assert (found.due, found.calendar) == ("1d", "house")


def test_optional_requirements_that_had_to_be_met_still_have_to() -> None:
    optional = step("s", need("a", "user:a", is_optional=True))
    found = merged(optional, step("s", need("b", "user:b")))
    assert not any(each.is_optional for each in found.requirements)


def test_law_what_satisfies_the_union_satisfies_each_of_what_was_wanted() -> None:
    people = ("ann", "ben", "cat")
    thresholds = [Threshold(count=1), Threshold(count=2), Threshold(percent=60), Threshold(all=True)]
    wanted = [need(approve=each, exclude=frozenset(), deny=deny) for each in thresholds for deny in (0, 1)]
    pool = Pool(weights=dict.fromkeys(people, 1.0))
    for one, other in product(wanted, wanted):
        stages = [step("s", one), step("s", other)]
        union = merged(*stages)
        for voices in product(("approve", "reject", ""), repeat=3):
            votes = [
                Ballot(principal=person, actor=person, voice=voice, order=1)  # type: ignore[arg-type]
                for person, voice in zip(people, voices, strict=True)
                if voice
            ]
            if evaluate(union, {each.id: pool for each in union.requirements}, votes).result is Result.SATISFIED:
                assert all(evaluate(each, {"r": pool}, votes).result is Result.SATISFIED for each in stages)


def test_rules_that_contradict_each_other_lose_their_order_and_nothing_else() -> None:
    one = Rule(effect="require", stages=(step("a", needs=("b",)), step("b")))
    other = Rule(effect="require", stages=(step("a"), step("b", needs=("a",))))
    ruling = ruled(one, other)
    assert {stage.id for stage in ruling.stages} == {"a", "b"}
    assert ruling.block is Block.POLICY_ERROR
    assert "in a circle" in ruling.explanation[-1]
    check_stages(ruling.stages)


def test_rules_that_demand_too_much_leave_the_template_and_say_so() -> None:
    rules = [Rule(effect="require", stages=tuple(step(f"{rule}{n}") for n in range(15))) for rule in "xy"]
    ruling = ruled(*rules)
    assert (ruling.stages, ruling.block, ruling.verdict) == (DEFAULT, Block.POLICY_ERROR, "require")


# Reading


def test_what_was_published_goes_before_what_is_shipped() -> None:
    mine = Template(title="mine", stages=DEFAULT)
    found = policies(more={"b": Policy(templates={TYPE: mine}, calendars={"house": OFFICE_HOURS})})
    assert found.template(TYPE) == mine
    assert found.template("custom").title == "c"
    assert found.calendar("house") is OFFICE_HOURS
    assert found.calendar("") is OFFICE_HOURS
    with pytest.raises(ValueError, match="no policy declares a calendar 'other'"):
        found.calendar("other")


STAGE = {"id": "s", "requirements": [{"id": "r", "pool": ["role:steward"], "when": "request.risk == 'high'"}]}


def test_a_policy_is_read() -> None:
    policy = read_policy(
        {
            "rules": {
                "a": {"effect": "require", "when": "request.risk == 'high'", "types": [TYPE], "stages": [STAGE]},
                "b": {"effect": "skip", "owner": "user:boss", "until": LATER, "stage": "s"},
            },
            "templates": {"custom": {"title": "Other", "stages": [STAGE], "fields": {"why": {"type": "string"}}}},
        }
    )
    assert policy.rules["b"].is_exception
    assert policy.templates["custom"].stages[0].requirements[0].when == "request.risk == 'high'"


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ({"rules": {"a": {"effect": "allow"}}}, "rules/a/effect: "),
        ({"rules": {"a": {"effect": "require", "stages": []}}}, "rules/a: expected 1 to 20 stages"),
        ({"rules": {"a": {"effect": "require", "stages": [STAGE | {"needs": ["x"]}]}}}, "rules/a: stage 's' needs"),
        ({"rules": {"a": {"effect": "require", "stages": [STAGE | {"tree": {}}]}}}, "rules/a/stages/0/tree: "),
        ({"rules": {"a": {"effect": "forbid", "when": "request.risk ="}}}, "rules/a: "),
        ({"rules": {"a": {"effect": "forbid", "types": ["dance"]}}}, r"rules/a: \['dance'\] are no types"),
        ({"rules": {"a": {"effect": "forbid", "whne": "true"}}}, "rules/a/whne: "),
        ({"rules": {"a": {"effect": "forbid", "stages": [STAGE]}}}, "rules/a: only `require` has stages"),
        ({"rules": {"a": {"effect": "skip", "stage": "s", "until": LATER}}}, "rules/a: an exception says who owns it"),
        ({"rules": {"a": {"effect": "skip", "stage": "s", "owner": "o"}}}, "rules/a: an exception says who owns it"),
        ({"rules": {"a": {"effect": "skip", "owner": "o", "until": LATER}}}, "rules/a: `skip` says for which `stage`"),
        ({"rules": {"a": {"effect": "skip", "stage": "s", "owner": "o", "until": "soon"}}}, "rules/a: "),
        ({"rules": {"a": {"effect": "skip", "stage": "s", "owner": "o", "until": LATER[:19]}}}, "with its offset"),
        (
            {"rules": {"a": {"effect": "extend_deadline", "owner": "o", "until": LATER, "extra": "long"}}},
            "rules/a: a duration must be",
        ),
        (
            {"rules": {"a": {"effect": "change_approvers", "stage": "s", "owner": "o", "until": LATER}}},
            "rules/a: `change_approvers` says who",
        ),
        (
            {"rules": {"a": {"effect": "reduce", "stage": "s", "owner": "o", "until": LATER, "count": 0}}},
            "rules/a: `count` must be 1 to 100",
        ),
        ({"rules": {str(n): {"effect": "forbid"} for n in range(201)}}, "at most 200 rules"),
        ({"templates": {"dance": {"title": "x", "stages": [STAGE]}}}, "templates/dance: expected one of"),
        ({"templates": {"custom": {"title": "x"}}}, "templates/custom: expected 1 to 20 stages"),
        ({"templates": {"custom": {"title": "x", "stages": [STAGE], "deadline": "?"}}}, "templates/custom: a duration"),
        (
            {"templates": {"custom": {"title": "x", "stages": [STAGE], "reviews_overrides": ["all"]}}},
            "templates/custom: 'all' names nobody",
        ),
        ({"templates": {"custom": {"stages": [STAGE]}}}, "templates/custom/title: "),
        ({"rulse": {}}, "rulse: "),
        ([], ": "),
    ],
)
def test_a_policy_that_cannot_be_read_is_refused_and_the_place_named(written: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_policy(written)
