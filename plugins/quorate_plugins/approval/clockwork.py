"""What time does to a request: ladders are climbed, stages and requests run out. Pure; the times are arguments.

A wake-up only says that it is worth looking. What is due follows from the request and the time, so it does not matter
when, or how often, somebody looks: after an outage the lowest overdue level fires and the next ones keep their
distance, and nothing runs out before every level that was due had its time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from quorate_plugins.approval.calendars import Calendar, advance
from quorate_plugins.approval.durations import parse_duration
from quorate_plugins.approval.ladders import (
    Climb,
    Ladder,
    Level,
    begin,
    climb_to,
    deadline_after_outage,
    exhausted_at,
    may_repeat,
    next_level_at,
    restart,
)
from quorate_plugins.approval.requests import (
    Block,
    Blocked,
    Climbed,
    Ended,
    Event,
    Extended,
    Lapsed,
    Pools,
    Reminded,
    Request,
    Scheduled,
    StageRun,
    State,
)
from quorate_plugins.approval.stages import Stage

TIMER = "timer"
"""Who does what nobody does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is not in a request and yet decides: calendars by name, and who would be in pools with others added.

    `pools` returns all pools of a request when some are added to a stage; `may_approve` says whether the template lets
    it be approved because nobody answered. While the clock `is_doubtful`, nothing ends by itself.
    """

    calendar: Callable[[str], Calendar]
    pools: Callable[[Request, str, Sequence[str]], Pools]
    may_approve: bool = False
    is_doubtful: bool = False


def schedule(request: Request, at: float, around: Surroundings) -> Scheduled | None:
    """Return when the stages that became active are due; `None` when no stage is without a schedule."""
    due: dict[str, float | None] = {}
    climbs: dict[str, Climb | None] = {}
    for stage in request.active():
        run = request.runs[stage.id]
        if not _is_scheduled(stage, run):
            since = at if run.activated_at is None else run.activated_at
            due[stage.id], climbs[stage.id] = _times_of(stage, since, around.calendar(stage.calendar))
    return Scheduled(at=at, by=TIMER, due_at=due, climbs=climbs) if due else None


def _times_of(stage: Stage, since: float, calendar: Calendar) -> tuple[float | None, Climb | None]:
    due_at = advance(calendar, since, parse_duration(stage.due)) if stage.due else None
    return due_at, begin(stage.ladder, calendar, since) if stage.ladder else None


def _is_scheduled(stage: Stage, run: StageRun) -> bool:
    has_time = not stage.due or run.due_at is not None
    return has_time and (stage.ladder is None or run.climb is not None)


def next_at(request: Request) -> float | None:
    """Return when time does something to a request next; `None` when it never does."""
    return min(_times(request), default=None)


def _times(request: Request) -> Iterator[float]:
    if request.state is State.FULFILLED and request.valid_until is not None:
        yield request.valid_until
    if request.state in _CAN_RUN_OUT and request.deadline_at is not None:
        yield request.deadline_at
    if request.state is State.PENDING:
        for stage in request.active():
            yield from _stage_times(request, stage)


def _stage_times(request: Request, stage: Stage) -> Iterator[float]:
    run = request.runs[stage.id]
    if run.due_at is not None and not (stage.on_timeout == "hold" and request.block):
        yield run.due_at
    if stage.remind:
        yield _reminder_at(stage, run)
    if stage.ladder is not None and run.climb is not None:
        yield from _ladder_times(request, stage.ladder, run.climb)


def _reminder_at(stage: Stage, run: StageRun) -> float:
    """Return when those who have not decided are reminded next; what was due meanwhile is one reminder."""
    since = run.reminded_at if run.reminded_at is not None else run.activated_at or 0.0
    return since + parse_duration(stage.remind).seconds


def _ladder_times(request: Request, ladder: Ladder, climb: Climb) -> Iterator[float]:
    level_at, ends_at = next_level_at(climb, ladder), exhausted_at(climb, ladder)
    if level_at is not None:
        yield level_at
    elif ends_at is not None and request.block is not Block.ESCALATION_EXHAUSTED:
        yield ends_at


_CAN_RUN_OUT = frozenset({State.PENDING, State.CHANGES_REQUESTED})


def catch_up(request: Request, now: float, around: Surroundings) -> Event | None:
    """Return the next thing that moves a ladder or a deadline; it ends nothing."""
    if request.state is not State.PENDING:
        return None
    for stage in request.active():
        found = _climb(request, stage, now, around) or _extension(request, stage, now)
        if found is not None:
            return found
    return None


def due(request: Request, now: float, around: Surroundings) -> Event | None:
    """Return the next thing that time does to a request; `None` when nothing more is due."""
    if request.state is State.FULFILLED:
        return _lapse(request, now)
    if request.state not in _CAN_RUN_OUT:
        return None
    return catch_up(request, now, around) or _ending(request, now, around) or _reminder(request, now)


def _ending(request: Request, now: float, around: Surroundings) -> Event | None:
    """Return what ends, or blocks, a request or a stage that ran out; nothing does while the clock is doubtful."""
    if around.is_doubtful:
        return None
    return _deadline(request, now) or _stages_due(request, now, around)


def _reminder(request: Request, now: float) -> Reminded | None:
    if request.state is not State.PENDING:
        return None
    for stage in request.active():
        if stage.remind and _reminder_at(stage, request.runs[stage.id]) <= now:
            return Reminded(at=now, by=TIMER, stage=stage.id)
    return None


def _lapse(request: Request, now: float) -> Lapsed | None:
    is_over = request.valid_until is not None and request.valid_until <= now
    return Lapsed(at=now, by=TIMER) if is_over else None


def _deadline(request: Request, now: float) -> Ended | None:
    if request.deadline_at is None or request.deadline_at > now:
        return None
    return Ended(at=now, by=TIMER, state=State.EXPIRED, cause="deadline")


def _stages_due(request: Request, now: float, around: Surroundings) -> Event | None:
    if request.state is not State.PENDING:
        return None
    for stage in request.active():
        found = _timeout(request, stage, now, around) or _exhaustion(request, stage, now, around)
        if found is not None:
            return found
    return _impossibility(request, now, around)


def _climb(request: Request, stage: Stage, now: float, around: Surroundings) -> Climbed | None:
    run = request.runs[stage.id]
    if stage.ladder is None or run.climb is None:
        return None
    ladder = stage.ladder

    def is_empty(level: int) -> bool:
        pools = around.pools(request, stage.id, (*run.added, *ladder.levels[level].add))[stage.id]
        return all(pools[key].eligible <= run.pools[key].eligible for key in pools)

    climb, steps = climb_to(run.climb, ladder, around.calendar(stage.calendar), now, is_empty)
    if climb == run.climb:
        return None
    fired = [ladder.levels[step.level - 1] for step in steps if not step.is_skipped]
    added, priority = _brought(fired)
    pools = around.pools(request, stage.id, (*run.added, *added))
    return Climbed(at=now, by=TIMER, stage=stage.id, climb=climb, added=added, pools=pools, priority=priority)


def _brought(fired: Sequence[Level]) -> tuple[tuple[str, ...], str]:
    """Return whom levels add, and the priority that the last of them gives."""
    added = tuple(dict.fromkeys(selector for level in fired for selector in level.add))
    return added, next((level.set_priority for level in reversed(fired) if level.set_priority), "")


def _extension(request: Request, stage: Stage, now: float) -> Extended | None:
    """Return by how much a stage, or the request, must wait until every level that was due had its time."""
    run = request.runs[stage.id]
    if stage.ladder is None or run.climb is None:
        return None
    for key, due_at in ((stage.id, run.due_at), ("", request.deadline_at)):
        if due_at is None:
            continue
        until = deadline_after_outage(run.climb, stage.ladder, now, due_at)
        if until > due_at and until > now:
            return Extended(at=now, by=TIMER, stage=key, until=until, cause="outage")
    return None


def _timeout(request: Request, stage: Stage, now: float, around: Surroundings) -> Event | None:
    run = request.runs[stage.id]
    if run.due_at is None or run.due_at > now:
        return None
    return _without_answer(request, stage.on_timeout, f"timeout:{stage.id}", now, around)


def _exhaustion(request: Request, stage: Stage, now: float, around: Surroundings) -> Event | None:
    run = request.runs[stage.id]
    ends_at = exhausted_at(run.climb, stage.ladder) if stage.ladder and run.climb else None
    if stage.ladder is None or run.climb is None or ends_at is None or ends_at > now:
        return None
    if may_repeat(run.climb, stage.ladder):
        climb = restart(run.climb, stage.ladder, around.calendar(stage.calendar), now)
        pools = around.pools(request, stage.id, run.added)
        return Climbed(at=now, by=TIMER, stage=stage.id, climb=climb, added=(), pools=pools)
    how = _how_exhausted(stage.ladder, run.climb)
    return _without_answer(request, how, f"exhausted:{stage.id}", now, around)


def _how_exhausted(ladder: Ladder, climb: Climb) -> str:
    """Return what happens at the end of a ladder; the silence of nobody approves nothing."""
    is_nobody = climb.reached_at is None
    if ladder.on_exhausted == "repeat" or (ladder.on_exhausted == "approve" and is_nobody):
        return "hold"
    return ladder.on_exhausted


def _without_answer(request: Request, how: str, cause: str, now: float, around: Surroundings) -> Event | None:
    """Return what happens when nobody decided; approval only where the template allows it, and the risk is low."""
    if how == "approve" and not (around.may_approve and request.risk in {"low", "medium"}):
        how = "hold"
    if how == "hold":
        block = Block.ESCALATION_EXHAUSTED
        return None if request.block is block else Blocked(at=now, by=TIMER, block=block)
    state = {"expire": State.EXPIRED, "reject": State.REJECTED, "approve": State.APPROVED}[how]
    return Ended(at=now, by=TIMER, state=state, cause=cause)  # type: ignore[arg-type]


def _impossibility(request: Request, now: float, around: Surroundings) -> Event | None:
    """Return what is done about stages that no further votes could satisfy."""
    if request.block is not Block.QUORUM_IMPOSSIBLE:
        return None
    for stage in request.active():
        if stage.on_impossible == "reject":
            return Ended(at=now, by=TIMER, state=State.REJECTED, cause=f"impossible:{stage.id}")
        run = request.runs[stage.id]
        added, climb = _rescue(stage, run, now)
        if added:
            pools = around.pools(request, stage.id, (*run.added, *added))
            return Climbed(at=now, by=TIMER, stage=stage.id, climb=climb, added=added, pools=pools)
    return None


def _rescue(stage: Stage, run: StageRun, now: float) -> tuple[tuple[str, ...], Climb | None]:
    """Return who is added to a stage that nobody can satisfy, and how far its ladder is then."""
    if stage.on_impossible == "fallback" and not set(stage.fallback) <= set(run.added):
        return stage.fallback, run.climb
    if stage.on_impossible == "escalate" and stage.ladder and run.climb and _is_left(run.climb, stage.ladder):
        climb = replace(run.climb, level=run.climb.level + 1, reached_at=now)
        return stage.ladder.levels[run.climb.level].add, climb
    return (), None


def _is_left(climb: Climb, ladder: Ladder) -> bool:
    return climb.level < len(ladder.levels)


def run_out(request: Request, now: float, around: Surroundings, do: Callable[[Event], Request]) -> Request:
    """Do all that is due, one after the other; `do` applies an event and returns the request after it."""
    for _ in range(MOST_STEPS):
        event = due(request, now, around)
        if event is None:
            return request
        request = do(event)
    return request


def caught_up(request: Request, now: float, around: Surroundings, do: Callable[[Event], Request]) -> Request:
    """Do all that moves ladders and deadlines, before somebody decides."""
    for _ in range(MOST_STEPS):
        event = catch_up(request, now, around)
        if event is None:
            return request
        request = do(event)
    return request


MOST_STEPS = 100
"""More things than this are never due at once; the bound keeps a mistake from going round for ever."""
