"""The state machine: laws that hold after every event, and the cases that people will ask about."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Literal, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate_plugins.approval.evaluator import Pool, RequirementResult, Result, evaluate
from quorate_plugins.approval.ladders import Climb
from quorate_plugins.approval.machine import TRANSITIONS, TransitionRefused, apply, replay
from quorate_plugins.approval.requests import (
    FINISHED,
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
    PoolsChanged,
    Reassigned,
    Reminded,
    Request,
    Revoked,
    Scheduled,
    StageRun,
    StageState,
    State,
    Status,
    Submitted,
    Verdict,
    event_json,
    read_event,
    read_request,
    request_json,
)
from quorate_plugins.approval.settling import ballots_of
from quorate_plugins.approval.stages import Requirement, Stage, Threshold, check_stages

PEOPLE = ("ann", "ben", "cat", "dan", "eve")
PARTS = ("fields/a", "fields/b", "attachments")

KEEPS: tuple[frozenset[Literal["cosmetic", "narrowing"]], ...] = (
    frozenset(),
    frozenset(),
    frozenset({"cosmetic"}),
    frozenset({"narrowing"}),
)
VERDICTS: tuple[Literal["require", "auto_approve", "auto_reject"], ...] = (
    *("require",) * 4,
    "auto_approve",
    "auto_reject",
)
ENDS: tuple[Literal[State.CANCELLED, State.EXPIRED, State.REJECTED, State.SUPERSEDED, State.APPROVED], ...] = (
    State.CANCELLED,
    State.EXPIRED,
    State.REJECTED,
    State.SUPERSEDED,
    State.APPROVED,
    State.APPROVED,
)

Pools = dict[str, dict[str, Pool]]

# Random requests


class Walk:
    """A request to which random events happen, sensible ones and others."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.events: list[Event] = []
        self.request: Request | None = None
        self.at = 0.0
        self.edits = 0

    @property
    def now(self) -> Request:
        assert self.request is not None
        return self.request

    def run(self, steps: int) -> Counter[str]:
        seen: Counter[str] = Counter()
        for _ in range(steps):
            self.at += self.random.choice((0, 1, 60))
            event = self.event()
            try:
                changed = apply(self.request, event)
            except TransitionRefused:
                seen["refused"] += 1
                continue
            check_step(self.request, event, changed)
            seen[event.kind] += 1
            seen[changed.state] += 1
            self.request = changed
            self.events.append(event)
        assert replay(self.events) == self.request
        assert replay(dict(enumerate(self.events))) == self.request
        assert replay([read_event(json.loads(json.dumps(event_json(each)))) for each in self.events]) == self.request
        return seen

    def event(self) -> Event:
        if self.request is None or self.random.random() < 0.03:
            return self.submitted()
        if self.request.state is State.EVALUATING and self.random.random() < 0.7:
            return self.evaluated()
        if self.request.state is State.CHANGES_REQUESTED and self.random.random() < 0.4:
            return self.submitted()
        if self.request.state in RESOLVED and self.random.random() < 0.3:
            return self.after()
        kinds = (self.decided, self.decided, self.decided, self.decided, self.edited, self.pools_changed, self.climbed)
        others = (
            *(self.extended, self.blocked, self.revoked, self.scheduled, self.ended, self.after, self.evaluated),
            *(self.reminded, self.reassigned),
        )
        kind: Callable[[], Event] = self.random.choice(kinds * 4 + others)
        return kind()

    def some(self, from_: Sequence[str] = PEOPLE, most: int = 3) -> tuple[str, ...]:
        return tuple(self.random.sample(from_, self.random.randint(0, min(most, len(from_)))))

    def hashes(self) -> dict[str, str]:
        return {part: str(self.random.randint(0, 3)) for part in PARTS if self.random.random() < 0.9}

    def submitted(self) -> Submitted:
        return Submitted(
            at=self.at,
            by=self.random.choice(PEOPLE),
            type="custom",
            content_hash="h0",
            part_hashes=self.hashes(),
            beneficiaries=self.some(),
            deadline_at=self.at + 1000,
        )

    def requirement(self, key: str) -> Requirement:
        approve = self.random.choice(
            (Threshold(count=1), Threshold(count=2), Threshold(percent=50), Threshold(all=True), Threshold(weight=2))
        )
        return Requirement(
            id=key,
            pool=("role:any",),
            approve=approve,
            deny=self.random.choice((0, 1, 1, 2)),
            mode=self.random.choice(("first", "first", "all_responded")),
            distinct="" if approve.weight else self.random.choice(("", "", "x")),
            is_optional=self.random.random() < 0.15,
            parts=self.some(("fields", *PARTS, "nothing"), 2) if self.random.random() < 0.4 else (),
            keeps=self.random.choice(KEEPS),
            role_check=self.random.choice(("until_resolved", "until_resolved", "at_decision")),
        )

    def stages(self) -> tuple[Stage, ...]:
        found: list[Stage] = []
        for number in range(self.random.randint(1, 4)):
            keys = [f"r{each}" for each in range(self.random.randint(1, 2))]
            found.append(
                Stage(
                    id=f"s{number}",
                    needs=self.some([each.id for each in found], 2),
                    requirements=tuple(self.requirement(key) for key in keys),
                    on_reject=self.random.choice(("reject", "request_changes")),
                )
            )
        check_stages(found)
        self.random.shuffle(found)  # the order is in `needs`, not in how they are listed
        return tuple(found)

    def pool(self) -> Pool:
        people = self.random.sample(PEOPLE, self.random.choice((0, 1, 2, 3, 4)))
        return Pool(
            weights={each: self.random.choice((1, 1, 2)) for each in people},
            excluded=frozenset(self.some(most=1)) if self.random.random() < 0.3 else frozenset(),
            applies=self.random.random() > 0.08,
            error="broken" if self.random.random() < 0.02 else "",
        )

    def pools(self, stages: tuple[Stage, ...]) -> Pools:
        given = {
            stage.id: {each.id: self.pool() for each in stage.requirements if self.random.random() < 0.97}
            for stage in stages
            if self.random.random() < 0.95
        }
        if self.random.random() < 0.02:
            given["unknown"] = {}
        return given

    def evaluated(self) -> Evaluated:
        verdict = self.random.choice(VERDICTS)
        stages = self.stages() if self.random.random() < 0.97 else ()
        return Evaluated(
            at=self.at,
            by="policy:house",
            verdict=verdict,
            policy_version=self.random.randint(1, 3),
            explanation=("house#a: require",),
            stages=stages,
            pools=self.pools(stages),
            block=self.random.choice((None,) * 8 + (Block.POLICY_ERROR, Block.NO_APPLICABLE_RULE)),
        )

    def decided(self) -> Decided:
        stages = self.now.active() if self.random.random() < 0.9 else self.now.stages
        stage = self.random.choice([each.id for each in stages] or ["unknown"])
        principal = self.random.choice(PEOPLE)
        keys = [each.id for each in self.now.stage(stage).requirements] if stage != "unknown" else []
        status = self.random.choice((Status.COUNTED,) * 8 + (Status.LATE, Status.INELIGIBLE))
        verdict = self.random.choice(("approve",) * 5 + ("reject", "abstain"))
        decision = Decision(
            id=f"d{len(self.now.decisions) + 1 - (self.random.random() < 0.02)}",
            order=len(self.now.decisions) + 1,
            stage=stage,
            requirements=tuple(keys) if self.random.random() < 0.7 else self.some(keys),
            actor=principal if self.random.random() < 0.7 else self.random.choice(PEOPLE),
            principal=principal,
            verdict=cast("Verdict", "request_changes" if self.random.random() < 0.03 else verdict),
            revision=self.now.revision,
            content_hash=self.now.content_hash if self.random.random() < 0.95 else "another",
            at=self.at,
            via="web",
            status=status,
        )
        return Decided(at=self.at, by=decision.actor, decision=decision)

    def edited(self) -> Edited:
        self.edits += 1
        is_same = self.random.random() < 0.1
        return Edited(
            at=self.at,
            by=self.random.choice(PEOPLE),
            content_hash=self.now.content_hash if is_same else f"h{self.edits}",
            part_hashes=self.now.part_hashes if is_same else {**self.now.part_hashes, **self.hashes()},
            contributors=self.some(),
            change=self.random.choice(("cosmetic", "narrowing", "widening", "other")),
            pools=self.pools(self.now.stages) if self.random.random() < 0.5 else {},
        )

    def pools_changed(self) -> PoolsChanged:
        return PoolsChanged(at=self.at, by="directory", pools=self.pools(self.now.stages))

    def climbed(self) -> Climbed:
        return Climbed(
            at=self.at,
            by="timer",
            stage=self.random.choice([*self.now.runs] or ["unknown"]),
            climb=Climb(activated_at=self.at, planned=(self.at + 1,), level=1),
            added=self.some(("role:lead", "user:ann")),
            pools=self.pools(self.now.stages),
            priority=self.random.choice(("", "high")),
        )

    def reminded(self) -> Reminded:
        return Reminded(at=self.at, by="timer", stage=self.random.choice([*self.now.runs] or ["unknown"]))

    def reassigned(self) -> Reassigned:
        requester = self.random.choice(PEOPLE)
        return Reassigned(at=self.at, by="directory", requester=requester, pools=self.pools(self.now.stages))

    def scheduled(self) -> Scheduled:
        active = [each.id for each in self.now.active()] if self.now.stages else ["unknown"]
        return Scheduled(
            at=self.at,
            by="timer",
            due_at={key: self.random.choice((None, self.at + 5)) for key in active},
            climbs={key: Climb(activated_at=self.at, planned=(self.at + 1,)) for key in active[:1]},
        )

    def extended(self) -> Extended:
        stage = self.random.choice(["", *self.now.runs, "unknown"])
        return Extended(at=self.at, by="boss", stage=stage, until=self.at + 100, cause="holiday")

    def blocked(self) -> Blocked:
        return Blocked(at=self.at, by="timer", block=self.random.choice((None, *Block)))

    def revoked(self) -> DecisionRevoked:
        return DecisionRevoked(at=self.at, by="ann", decision=self.random.choice([*self.now.decisions, "unknown"]))

    def ended(self) -> Ended:
        state = self.random.choice(ENDS)
        return Ended(at=self.at, by="timer", state=state, cause="timeout")

    def after(self) -> Event:
        events: tuple[Event, ...] = (
            ExecutionStarted(at=self.at, by="robot"),
            ExecutionEnded(at=self.at, by="robot", is_done=self.random.random() < 0.5),
            Revoked(at=self.at, by="boss"),
            Lapsed(at=self.at, by="timer"),
            Overrode(at=self.at, by="boss"),
        )
        return self.random.choice(events)


# What holds after every event


def as_floats(value: object) -> object:
    """What a Yjs map makes of JSON: it returns 3 as 3.0."""
    if isinstance(value, dict):
        return {key: as_floats(each) for key, each in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [as_floats(each) for each in cast("list[object]", value)]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def check_step(before: Request | None, event: Event, after: Request) -> None:
    assert after.state in TRANSITIONS[event.kind][None if before is None else before.state]
    assert after.version == (1 if before is None else before.version + 1)
    check_json(event, after)
    check_stages_of(after)
    check_approval(event, after)
    check_votes_that_do_not_count(after)
    if before is not None:
        check_decided(before, event, after)
        check_edited(before, event, after)
        for key, run in before.runs.items():  # a timer of an earlier opening is never taken for one of a later
            if key in after.runs:
                assert after.runs[key].activation >= run.activation
        assert before.decisions.keys() <= after.decisions.keys()


def check_json(event: Event, after: Request) -> None:
    for shape in (lambda value: value, lambda value: json.loads(json.dumps(value)), as_floats):
        assert read_event(shape(event_json(event))) == event
        assert read_request(shape(request_json(after))) == after


def check_stages_of(after: Request) -> None:
    if after.state is not State.PENDING:
        return
    passed = {StageState.SATISFIED, StageState.SKIPPED}
    for stage in after.stages:
        run = after.runs[stage.id]
        is_open = all(after.runs[need].state in passed for need in stage.needs)
        assert (run.state is StageState.BLOCKED) is not is_open
        assert run.state in passed | {StageState.ACTIVE, StageState.BLOCKED}
        if run.state is StageState.SATISFIED:
            check_satisfied(after, stage, run)
    if not {run.state for run in after.runs.values()} - {StageState.SKIPPED}:
        assert after.block is not None


def check_satisfied(request: Request, stage: Stage, run: StageRun) -> None:
    counted = request.counted()
    assert run.result is not None
    met = 0
    for key, result in run.result.requirements.items():
        if result.result is not Result.SATISFIED:
            continue
        met += 1
        voices = {each.actor for each in counted if each.stage == stage.id and key in each.requirements}
        assert set(result.approved_by) <= voices
        assert not set(result.approved_by) & run.pools[key].excluded
        assert len(result.approved_by) == len(set(result.approved_by))
        if stage.requirement(key).approve.weight is None:
            assert len(result.approved_by) >= result.needed > 0
        else:
            assert result.got >= result.needed > 0
    assert met


def check_approval(event: Event, after: Request) -> None:
    if after.state is not State.APPROVED or event.kind in {"ended", "evaluated"} or after.outcome != "decided":
        return
    states = {run.state for run in after.runs.values()}
    assert states <= {StageState.SATISFIED, StageState.SKIPPED}
    assert StageState.SATISFIED in states


def check_votes_that_do_not_count(after: Request) -> None:
    """What is not counted changes nothing: evaluated with what counts alone, every stage comes to the same."""
    alone = replace(after, decisions={each.id: each for each in after.counted()})
    for stage in after.stages:
        run = after.runs[stage.id]
        if run.result is not None and after.state is State.PENDING:
            pools = {each.id: run.pools.get(each.id, Pool(weights={})) for each in stage.requirements}
            assert evaluate(stage, pools, ballots_of(alone, stage)) == run.result
    if after.state is State.PENDING:
        for each in after.counted():
            pools_of = after.runs[each.stage].pools
            assert each.requirements
            assert any(each.principal in pools_of[key].eligible for key in each.requirements)
            assert all(each.actor not in pools_of[key].excluded for key in each.requirements)


def check_decided(before: Request, event: Event, after: Request) -> None:
    if not isinstance(event, Decided):
        return
    kept = after.decisions[event.decision.id]
    if before.state is not State.PENDING or kept.status is not Status.COUNTED:
        assert kept.status is not Status.COUNTED
        assert replace(after, version=before.version, decisions=before.decisions) == before
        assert {**before.decisions, kept.id: kept} == after.decisions


def check_edited(before: Request, event: Event, after: Request) -> None:
    if not isinstance(event, Edited):
        return
    if event.content_hash == before.content_hash:
        assert after.revision == before.revision
        return
    assert after.revision == before.revision + 1
    for each in after.counted():
        earlier = before.decisions[each.id]
        assert earlier.status is Status.COUNTED
        assert set(each.requirements) <= set(earlier.requirements)
        for key in each.requirements:
            rule = before.stage(each.stage).requirement(key)
            assert rule.parts or event.change in rule.keeps
            assert rule.parts or event.change != "widening"


def test_law_whatever_happens_to_a_request() -> None:
    seen: Counter[str] = Counter()

    @given(st.integers(0, 2**64))
    @settings(max_examples=50, deadline=None, derandomize=True)
    def run(seed: int) -> None:
        seen.update(Walk(seed).run(40))

    run()
    for seed in range(90):  # hypothesis likes small numbers; these are as good as any
        seen.update(Walk(seed * 7919 + 1).run(40))
    assert all(seen[each] for each in State), seen
    assert all(seen[each] for each in TRANSITIONS), seen


@pytest.mark.soak
def test_a_great_many_things_happen_to_requests() -> None:
    for seed in range(20_000):
        Walk(seed).run(60)


# The cases that people will ask about


def pool(*people: str, excluded: str = "", applies: bool = True) -> Pool:
    return Pool(weights=dict.fromkeys(people, 1.0), excluded=frozenset(excluded.split()), applies=applies)


def need(key: str = "r", count: int = 1, **more: Any) -> Requirement:
    plain = Requirement(id=key, pool=("role:any",), approve=Threshold(count=count))
    return replace(plain, **more)


class Story:
    """A request, told step by step. Stages without a pool given are decided by ann, ben and cat."""

    def __init__(self, *stages: Stage, verdict: str = "require", block: Block | None = None, **pools: Pool) -> None:
        self.events: list[Event] = []
        self.at = 0.0
        self.request = cast("Request", None)
        self.stages = stages
        self.given = pools
        self.submit()
        self.evaluate(verdict, block)

    def do(self, event: Event) -> Request:
        after = apply(self.request, event)
        check_step(self.request, event, after)
        self.request = after
        self.events.append(event)
        self.at += 1
        return after

    def pools(self, **changed: Pool) -> Pools:
        self.given = {**self.given, **changed}
        usual = pool("ann", "ben", "cat")
        return {
            stage.id: {each.id: self.given.get(f"{stage.id}_{each.id}", usual) for each in stage.requirements}
            for stage in self.stages
        }

    def submit(self, content: str = "h0", deadline: float = 1000) -> Request:
        parts = {"fields/a": "1", "fields/b": "1"}
        return self.do(
            Submitted(
                at=self.at,
                by="rex",
                type="custom",
                content_hash=content,
                part_hashes=parts,
                deadline_at=self.at + deadline,
            )
        )

    def evaluate(self, verdict: str = "require", block: Block | None = None) -> Request:
        return self.do(
            Evaluated(
                at=self.at,
                by="policy:house",
                verdict=verdict,  # type: ignore[arg-type]
                policy_version=1,
                stages=self.stages,
                pools=self.pools(),
                block=block,
            )
        )

    def say(self, text: str, stage: str = "s", requirements: tuple[str, ...] = ()) -> Request:
        """`ann approve`, or `eve for ann approve`."""
        actor, *middle, verdict = text.split()
        number = len(self.request.decisions) + 1
        return self.do(
            Decided(
                at=self.at,
                by=actor,
                decision=Decision(
                    id=f"d{number}",
                    order=number,
                    stage=stage,
                    requirements=requirements,
                    actor=actor,
                    principal=middle[-1] if middle else actor,
                    verdict=cast("Verdict", verdict),
                    revision=self.request.revision,
                    content_hash=self.request.content_hash,
                    at=self.at,
                    via="web",
                ),
            )
        )

    def edit(self, content: str, change: str = "other", **parts: str) -> Request:
        """Edit the parts `fields/NAME`."""
        changed = {f"fields/{key}": value for key, value in parts.items()}
        return self.do(
            Edited(
                at=self.at,
                by="rex",
                content_hash=content,
                part_hashes={**self.request.part_hashes, **changed},
                contributors=("rex",),
                change=change,  # type: ignore[arg-type]
                pools=self.pools() if self.request.runs else {},
            )
        )

    def climb(self, stage: str = "s", **pools: Pool) -> Request:
        climb = Climb(activated_at=0, planned=(1,), level=1, reached_at=self.at)
        return self.do(
            Climbed(at=self.at, by="timer", stage=stage, climb=climb, added=("role:lead",), pools=self.pools(**pools))
        )

    def schedule(self, **due: float) -> Request:
        return self.do(Scheduled(at=self.at, by="timer", due_at=due, climbs={}))

    def change(self, **pools: Pool) -> Request:
        return self.do(PoolsChanged(at=self.at, by="directory", pools=self.pools(**pools)))

    def statuses(self) -> str:
        return " ".join(each.status for each in self.request.decisions.values())

    def states(self) -> str:
        return " ".join(run.state for run in self.request.runs.values())


def one(count: int = 1, **more: Any) -> Stage:
    return Stage(id="s", requirements=(need(count=count, **more),))


def chain(*names: str, **more: Any) -> tuple[Stage, ...]:
    """Stages one after the other."""
    return tuple(
        Stage(id=name, needs=names[max(0, index - 1) : index], requirements=(need(**more),))
        for index, name in enumerate(names)
    )


def test_p1_people_still_decide_after_an_escalation_and_after_a_delegate() -> None:
    story = Story(one(3), s_r=pool("ann", "ben"))
    assert story.climb(s_r=pool("ann", "ben", "lea")).state is State.PENDING
    assert story.say("eve for ann approve").state is State.PENDING
    assert story.say("ben approve").state is State.PENDING
    assert story.say("lea approve").state is State.APPROVED


def test_p2_a_delegates_vote_takes_the_right_of_nobody() -> None:
    story = Story(one(2))
    before = story.request.runs["s"].pools
    story.say("eve for ann approve")
    assert story.request.runs["s"].pools == before
    story.say("ann reject")  # her own vote goes before that of her delegate
    assert story.request.state is State.REJECTED
    again = Story(one(2))
    again.say("eve for ann approve")
    assert again.say("ben approve").state is State.APPROVED


def test_p4_a_first_reject_of_what_is_only_optional_never_approves_on_its_way() -> None:
    story = Story(one(is_optional=True))
    after = story.say("ann reject")
    assert (after.state, after.outcome, after.resolved_by) == (State.REJECTED, "stage:s", "ann")
    with pytest.raises(TransitionRefused):
        story.do(ExecutionStarted(at=9, by="robot"))


def test_the_first_to_be_recorded_of_the_last_approval_and_a_veto_decides() -> None:
    approved, rejected = Story(one(2)), Story(one(2))
    for story in (approved, rejected):
        story.say("ann approve")
    approved.say("ben approve")
    approved.say("cat reject")
    rejected.say("cat reject")
    rejected.say("ben approve")
    assert (approved.request.state, approved.statuses()) == (State.APPROVED, "counted counted late")
    assert (rejected.request.state, rejected.statuses()) == (State.REJECTED, "counted counted late")
    assert approved.request.resolved_by == "ben"


def test_who_votes_twice_counts_once_and_the_last_time() -> None:
    story = Story(one(2))
    story.say("ann approve")
    story.say("ann approve")
    assert (story.request.state, story.statuses()) == (State.PENDING, "superseded counted")
    story.say("ann abstain")
    story.say("ben approve")
    assert story.request.state is State.PENDING
    assert story.say("cat approve").state is State.APPROVED


def test_a_vote_on_one_requirement_leaves_what_was_said_of_the_other() -> None:
    story = Story(Stage(id="s", requirements=(need("x", 2, deny=0), need("y", 2))))
    story.say("ann approve")
    story.say("ann reject", requirements=("x",))
    first, second = story.request.decisions.values()
    assert (first.requirements, second.requirements) == (("y",), ("x",))
    story.do(DecisionRevoked(at=9, by="ann", decision=second.id))
    assert story.statuses() == "counted revoked"
    assert [each.approved_by for each in results(story, "s")] == [(), ("ann",)]  # what she took back is not there again


def results(story: Story, stage: str) -> list[RequirementResult]:
    result = story.request.runs[stage].result
    assert result is not None
    return [*result.requirements.values()]


def test_an_edit_in_another_part_keeps_a_decision_and_one_in_its_own_dismisses_it() -> None:
    story = Story(one(2, parts=("fields/a",)))
    story.say("ann approve")
    story.edit("h1", b="2")
    assert (story.request.revision, story.statuses()) == (2, "counted")
    story.edit("h2", "widening", b="3")
    assert story.statuses() == "counted"
    story.edit("h3", a="2")
    assert story.statuses() == "dismissed_stale"


def test_one_decision_may_be_dismissed_for_one_requirement_and_kept_for_another() -> None:
    story = Story(Stage(id="s", requirements=(need("x", 2, parts=("fields/a",)), need("y", 2, parts=("fields/b",)))))
    story.say("ann approve")
    story.edit("h1", a="2")
    assert [each.requirements for each in story.request.counted()] == [("y",)]


@pytest.mark.parametrize("parts", [("fields",), ("fields/a/deep",), ("fields/a", "fields/b")])
def test_an_edit_above_or_below_a_part_is_in_it(parts: tuple[str, ...]) -> None:
    story = Story(one(2, parts=parts))
    story.say("ann approve")
    story.edit("h1", a="2")
    assert story.statuses() == "dismissed_stale"


@pytest.mark.parametrize("parts", [("feilds/b",), ("fields/b", "other"), ("fields/bb",)])
def test_a_part_that_the_content_does_not_have_keeps_nothing(parts: tuple[str, ...]) -> None:
    story = Story(one(2, parts=parts))
    story.say("ann approve")
    story.edit("h1", a="2")
    assert story.statuses() == "dismissed_stale"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("narrowing", "counted"),
        ("cosmetic", "counted"),
        ("widening", "dismissed_stale"),
        ("other", "dismissed_stale"),
    ],
)
def test_what_a_requirement_is_patient_with(change: str, expected: str) -> None:
    story = Story(one(2, keeps=frozenset({"narrowing", "cosmetic"})))
    story.say("ann approve")
    story.edit("h1", change, a="2")
    assert story.statuses() == expected
    strict = Story(one(2))
    strict.say("ann approve")
    strict.edit("h1", change, a="2")
    assert strict.statuses() == "dismissed_stale"


def test_stages_open_again_from_the_first_that_an_edit_affects() -> None:
    a, b, c = chain("a", "b", "c")
    a = replace(a, requirements=(need(parts=("fields/a",)),))
    b = replace(b, requirements=(need(parts=("fields/b",)),))
    story = Story(a, b, c)
    story.say("ann approve", "a")
    story.say("ann approve", "b")
    assert story.states() == "satisfied satisfied active"
    story.edit("h1", b="2")
    assert story.states() == "satisfied active blocked"
    story.say("ben approve", "b")
    assert story.states() == "satisfied satisfied active"
    story.edit("h2", a="2")
    assert story.states() == "active blocked blocked"
    runs = story.request.runs
    assert [runs[key].activation for key in "abc"] == [2, 2, 2]
    story.say("ann approve", "a")  # what was said of b still holds
    assert story.states() == "satisfied satisfied active"
    assert story.say("cat approve", "c").state is State.APPROVED


def test_a_stage_that_opens_again_has_all_its_time_again_and_the_request_has_not() -> None:
    story = Story(*chain("a", "b"))
    story.schedule(a=50.0)
    story.say("ann approve", "a")
    story.edit("h1", a="2")
    run = story.request.runs["a"]
    assert (run.activation, run.due_at, run.climb, run.activated_at) == (2, None, None, story.at - 1)
    assert story.request.deadline_at == 1000


def test_request_changes_then_submit_again_asks_the_policy_anew_in_the_same_time() -> None:
    story = Story(*chain("a", "b"))
    story.say("ann approve", "a")
    assert story.say("ben request_changes", "b").state is State.CHANGES_REQUESTED
    assert story.edit("h1", a="2").state is State.CHANGES_REQUESTED
    after = story.submit("h2")
    assert (after.state, after.revision, after.deadline_at, after.stages) == (State.EVALUATING, 3, 1000, ())
    assert story.statuses() == "dismissed_stale dismissed_stale"
    after = story.evaluate()
    assert story.states() == "active blocked"
    assert after.runs["a"].activation == 2  # timers of the first round are not taken for its own
    assert story.say("ann approve", "b").decisions["d3"].status is Status.LATE


def test_submitting_again_without_an_edit_keeps_no_vote() -> None:
    story = Story(*chain("a", "b"))
    story.say("ann approve", "a")
    story.say("ben request_changes", "b")
    story.submit()
    story.evaluate()
    assert (story.statuses(), story.states()) == ("superseded superseded", "active blocked")


def test_an_edit_that_is_undone_leaves_votes_dismissed() -> None:
    story = Story(one(2))
    story.say("ann approve")
    story.edit("h1", a="2")
    story.edit("h0", a="1")
    assert (story.statuses(), story.request.revision) == ("dismissed_stale", 3)


def test_an_edit_that_changes_nothing_dismisses_nothing() -> None:
    story = Story(one(2))
    story.say("ann approve")
    story.edit("h0")
    assert (story.statuses(), story.request.revision) == ("counted", 1)
    story.say("ben approve")
    assert story.edit("h0").state is State.APPROVED
    assert story.request.resolved_by == "ben"


def test_who_leaves_the_pool_counts_no_more_unless_only_the_moment_mattered() -> None:
    leaves, stays = Story(one(2)), Story(one(2, role_check="at_decision"))
    for story in (leaves, stays):
        story.say("ann approve")
        story.change(s_r=pool("ben", "cat"))
        story.say("ben approve")
    assert (leaves.request.state, leaves.statuses()) == (State.PENDING, "ineligible counted")
    assert (stays.request.state, stays.statuses()) == (State.APPROVED, "counted counted")


def test_who_left_the_pool_and_came_again_is_asked_again() -> None:
    story = Story(one(2))
    story.say("ann approve")
    story.change(s_r=pool("ben", "cat"))
    story.change(s_r=pool("ann", "ben", "cat"))
    assert story.statuses() == "ineligible"
    story.say("ben approve")
    assert story.say("ann approve").state is State.APPROVED


def test_a_completed_stage_opens_again_when_who_approved_it_leaves() -> None:
    story = Story(*chain("a", "b"))
    story.say("ann approve", "a")
    story.change(a_r=pool("ben"))
    assert story.states() == "active blocked"


def test_who_writes_in_it_or_stands_in_for_others_and_has_to_do_with_it_counts_no_more() -> None:
    story = Story(one(2, parts=("fields/a",)))
    story.say("ann approve")
    story.say("eve for cat approve")
    assert story.request.state is State.APPROVED
    story.given = {"s_r": pool("ann", "ben", "cat", excluded="ann eve")}
    story.edit("h1", b="2")
    assert (story.request.state, story.statuses()) == (State.PENDING, "ineligible ineligible")


def test_an_edit_may_leave_votes_that_suffice() -> None:
    """Ben, of all who had to approve, wrote in a part that is not theirs: he need not approve any more."""
    story = Story(one(approve=Threshold(all=True), parts=("fields/a",)), s_r=pool("ann", "ben"))
    story.say("ann approve")
    story.given = {"s_r": pool("ann", "ben", excluded="ben")}
    assert story.edit("h1", b="2").state is State.APPROVED


def test_a_request_to_which_nothing_applies_is_not_approved() -> None:
    story = Story(*chain("a", "b"), a_r=pool("ann", applies=False), b_r=pool("ann", applies=False))
    assert (story.request.state, story.states()) == (State.PENDING, "skipped skipped")
    assert story.request.block is Block.NO_APPLICABLE_RULE
    assert Story().request.block is Block.NO_APPLICABLE_RULE
    some = Story(*chain("a", "b"), a_r=pool("ann", applies=False))
    assert (some.request.block, some.states()) == (None, "skipped active")
    assert some.say("ann approve", "b").state is State.APPROVED


def test_an_impossible_quorum_blocks_until_people_are_added() -> None:
    story = Story(one(2), s_r=pool("ann"))
    assert (story.request.state, story.request.block) == (State.PENDING, Block.QUORUM_IMPOSSIBLE)
    story.climb(s_r=pool("ann", "lea"))
    assert story.request.block is None
    assert story.request.runs["s"].added == ("role:lead",)
    story.say("ann approve")
    assert story.say("lea approve").state is State.APPROVED


def test_a_broken_condition_of_a_requirement_blocks() -> None:
    story = Story(one(), s_r=Pool(weights={"ann": 1.0}, error="no such field"))
    assert story.request.block is Block.POLICY_ERROR
    story.say("ann approve")
    assert story.request.state is State.PENDING


def test_what_the_policy_said_stays_said_while_people_decide_and_an_edit_asks_it_again() -> None:
    story = Story(one(2), block=Block.POLICY_ERROR)
    assert story.say("ann approve").block is Block.POLICY_ERROR
    assert story.change(s_r=pool("ann", "ben", "cat", "dan")).block is Block.POLICY_ERROR
    after = story.edit("h1", a="2")
    assert (after.state, after.block) == (State.EVALUATING, None)
    after = story.evaluate()
    assert (after.state, after.block, story.statuses()) == (State.PENDING, None, "dismissed_stale")


def test_what_was_said_of_a_request_holds_beside_an_impossible_quorum() -> None:
    story = Story(one(2))
    story.do(Blocked(at=9, by="timer", block=Block.REQUESTER_DISABLED))
    assert story.change(s_r=pool("ann")).block is Block.QUORUM_IMPOSSIBLE
    assert story.change(s_r=pool("ann", "ben")).block is Block.REQUESTER_DISABLED
    assert story.edit("h1", a="2").block is Block.REQUESTER_DISABLED
    assert story.do(Blocked(at=9, by="timer", block=None)).block is None
    story.change(s_r=pool("ann"))
    assert story.do(Blocked(at=9, by="timer", block=None)).block is Block.QUORUM_IMPOSSIBLE


def test_an_exhausted_ladder_is_forgotten_when_its_stage_is_over_or_opens_again() -> None:
    story = Story(*chain("a", "b"))
    story.do(Blocked(at=9, by="timer", block=Block.ESCALATION_EXHAUSTED))
    assert story.change(b_r=pool("ann")).block is Block.ESCALATION_EXHAUSTED
    assert story.say("ann approve", "a").block is None
    story.do(Blocked(at=9, by="timer", block=Block.ESCALATION_EXHAUSTED))
    assert story.edit("h1", a="2").block is None


def test_an_edit_after_approval_opens_it_again_and_who_edited_approved_nothing() -> None:
    story = Story(one(parts=("fields/a",)))
    story.say("ann approve")
    after = story.edit("h1", b="2")
    assert (after.state, after.resolved_by, after.outcome) == (State.APPROVED, "ann", "decided")
    after = story.edit("h2", a="2")
    assert (after.state, after.resolved_at, after.resolved_by, after.outcome) == (State.PENDING, None, "", "")
    assert story.states() == "active"


def test_what_was_approved_because_nobody_answered_is_not_so_again_at_once_after_an_edit() -> None:
    story = Story(*chain("a", "b"))
    story.schedule(a=5.0)
    story.do(Ended(at=6, by="timer", state=State.APPROVED, cause="timeout:a"))
    assert story.states() == "cancelled cancelled"
    after = story.edit("h1", a="2")
    assert (after.state, story.states()) == (State.PENDING, "active blocked")
    assert after.runs["a"].due_at is None
    assert after.runs["a"].activation == 2


def test_an_edit_of_what_the_policy_approved_asks_the_policy_again() -> None:
    story = Story(verdict="auto_approve")
    assert (story.request.state, story.request.is_automatic) == (State.APPROVED, True)
    assert story.edit("h1", a="2").state is State.EVALUATING
    story.stages = (one(),)
    assert story.evaluate().state is State.PENDING
    assert Story(verdict="auto_reject").request.state is State.REJECTED


def test_an_override_closes_the_stages_and_an_edit_opens_them() -> None:
    story = Story(*chain("a", "b", "c"))
    story.say("ann approve", "a")
    after = story.do(Overrode(at=9, by="boss"))
    assert (after.state, story.states()) == (State.OVERRIDDEN, "satisfied overridden overridden")
    assert story.say("ben approve", "b").state is State.OVERRIDDEN
    assert story.edit("h0").state is State.OVERRIDDEN
    assert story.edit("h1", a="2").state is State.PENDING
    assert story.states() == "active blocked blocked"


def test_of_two_denied_stages_one_that_rejects_goes_before_one_that_asks() -> None:
    asks = Stage(id="a", requirements=(need(mode="all_responded"),), on_reject="request_changes")
    rejects = replace(asks, id="b", on_reject="reject")
    story = Story(asks, rejects, a_r=pool("ann", "ben"), b_r=pool("ann", "ben"))
    story.say("ann reject", "a")
    story.say("ann reject", "b")
    assert story.change(a_r=pool("ann"), b_r=pool("ann")).state is State.REJECTED
    alone = Story(asks)
    alone.change(a_r=pool("ann"))
    assert alone.say("ann reject", "a").state is State.CHANGES_REQUESTED


def test_a_delegates_vote_counts_when_the_principal_takes_their_own_back() -> None:
    story = Story(one(deny=2))
    story.say("ann reject")
    story.say("eve for ann approve")
    assert story.request.state is State.PENDING
    assert story.do(DecisionRevoked(at=9, by="ann", decision="d1")).state is State.APPROVED


def test_a_vote_for_a_content_that_is_no_more_does_not_count() -> None:
    story = Story(one())
    story.edit("h1", a="2")
    decision = Decision(
        id="d", order=1, stage="s", requirements=("r",), actor="ann", principal="ann", verdict="approve",
        revision=1, content_hash="h0", at=1, via="web",
    )  # fmt: skip
    after = story.do(Decided(at=9, by="ann", decision=decision))
    assert (after.state, story.statuses()) == (State.PENDING, "dismissed_stale")


@pytest.mark.parametrize("text", ["zoe approve", "zoe request_changes", "zoe reject", "ann for zoe approve"])
def test_what_strangers_say_does_nothing(text: str) -> None:
    story = Story(one())
    assert story.say(text).state is State.PENDING
    assert story.statuses() == "ineligible"


def test_what_is_about_nothing_is_refused() -> None:
    story = Story(one(2))
    story.say("ann approve")
    climb = Climb(activated_at=0, planned=(1,))
    for event in (
        Extended(at=9, by="boss", stage="x", until=99, cause="c"),
        Climbed(at=9, by="timer", stage="x", climb=climb, added=(), pools={}),
        Climbed(at=9, by="timer", stage="s", climb=climb, added=(), pools={"x": {}}),
        Scheduled(at=9, by="timer", due_at={}, climbs={"x": None}),
        PoolsChanged(at=9, by="directory", pools={"x": {}}),
        DecisionRevoked(at=9, by="ann", decision="x"),
        story.events[-1],
    ):
        with pytest.raises(TransitionRefused):
            story.do(event)
    story.do(DecisionRevoked(at=9, by="ann", decision="d1"))
    with pytest.raises(TransitionRefused):
        story.do(DecisionRevoked(at=9, by="ann", decision="d1"))


def test_nothing_leaves_a_finished_state() -> None:
    for kind, table in TRANSITIONS.items():
        for state in FINISHED:
            assert table.get(state, frozenset()) <= {state}, kind
        assert None not in table or kind == "submitted"
    with pytest.raises(TransitionRefused):
        apply(None, Overrode(at=1, by="boss"))


def test_a_ladder_without_a_due_time_is_scheduled() -> None:
    story = Story(one())
    climb = Climb(activated_at=0, planned=(5.0,))
    after = story.do(Scheduled(at=1, by="timer", due_at={}, climbs={"s": climb}))
    assert after.runs["s"].climb == climb
    after = story.do(Extended(at=1, by="boss", stage="s", until=99, cause="c"))
    assert after.runs["s"].due_at == 99
    after = story.do(Extended(at=1, by="boss", stage="", until=999, cause="c"))
    assert after.deadline_at == 999


def test_what_becomes_of_what_was_approved() -> None:
    story = Story(one())
    story.say("ann approve")
    assert story.do(ExecutionStarted(at=5, by="robot")).state is State.EXECUTING
    with pytest.raises(TransitionRefused):
        story.edit("h1", a="2")
    assert story.do(ExecutionEnded(at=6, by="robot", is_done=False)).state is State.FULFILMENT_FAILED
    assert story.do(ExecutionStarted(at=7, by="robot")).state is State.EXECUTING
    assert story.do(ExecutionEnded(at=8, by="robot", is_done=True)).state is State.FULFILLED
    assert story.say("ben reject").state is State.FULFILLED
    assert story.do(Lapsed(at=9, by="timer")).state is State.LAPSED


def test_only_who_voted_for_a_requirement_stays_in_its_pool() -> None:
    x, y = need("x", 2, role_check="at_decision"), need("y", 2, role_check="at_decision")
    story = Story(Stage(id="s", requirements=(x, y)), Stage(id="t", requirements=(x,)))
    story.say("ann approve", requirements=("y",))
    story.change(s_x=pool("ben"), s_y=pool("ben"), t_x=pool("ben"))
    runs = story.request.runs
    assert [runs["s"].pools["x"].eligible, runs["t"].pools["x"].eligible] == [{"ben"}, {"ben"}]
    assert runs["s"].pools["y"].eligible == {"ann", "ben"}
    story.say("ben approve", "t", ("x",))
    story.change(s_x=pool("cat"))
    assert story.request.runs["s"].pools["x"].eligible == {"cat"}


def test_a_change_of_one_pool_leaves_the_others() -> None:
    story = Story(Stage(id="s", requirements=(need("x", 2), need("y", 2))))
    story.do(PoolsChanged(at=1, by="directory", pools={"s": {"x": pool("dan")}}))
    assert [each.eligible for each in story.request.runs["s"].pools.values()] == [{"dan"}, {"ann", "ben", "cat"}]
