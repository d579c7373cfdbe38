"""`Ladder`: who is asked as well when those who were asked do not answer, level after level.

Levels only add people. The climb is a value without a clock: the caller stores it, asks when the next level is due, and
has it climb then. A server that was away finds many levels overdue; it does not fire them all at once, but the lowest
one, and each next one when people have had its `min_dwell`. All times are seconds since the epoch, in UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from quorate_plugins.approval.calendars import Calendar, advance
from quorate_plugins.approval.durations import parse_duration

Exhaustion = Literal["expire", "hold", "repeat", "approve"]

MOST_LEVELS = 8
MOST_REPEATS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One more group of people who are asked.

    Attributes:
        after: how long after the level before it is planned, as a duration's text; the first one is after activation.
        add: who is added, as selectors; they mean nothing here.
        channels: the channels over which they are told; none are the usual ones.
        min_dwell: the wall time that people have from the level before it to this one, if that was late, and after it.
        set_priority: the priority that the request has from then on; `None` leaves it.

    Raises:
        ValueError: a duration cannot be read, or `min_dwell` is business time.
    """

    after: str
    add: tuple[str, ...]
    channels: tuple[str, ...] = ()
    min_dwell: str = "15m"
    set_priority: str | None = None

    def __post_init__(self) -> None:
        parse_duration(self.after)
        # The time that is kept after an outage is for people who are told now, whatever a calendar says.
        if parse_duration(self.min_dwell).is_business:
            raise ValueError(f"`min_dwell` must be wall time such as 15m, not {self.min_dwell!r}")

    @property
    def dwell_seconds(self) -> int:
        """The seconds of `min_dwell`."""
        return parse_duration(self.min_dwell).seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """The levels in their order, and what happens after the last one.

    Attributes:
        levels: from 1 to 8.
        on_exhausted: what the caller does when the last level brought no answer either; `repeat` begins anew.
        repeat: how often it begins anew, from 0 to 9; only `repeat` looks at it.

    Raises:
        ValueError: one of them is none of these.
    """

    levels: tuple[Level, ...]
    on_exhausted: Exhaustion = "expire"
    repeat: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.levels) <= MOST_LEVELS:
            raise ValueError(f"a ladder must have from 1 to {MOST_LEVELS} levels, not {len(self.levels)}")
        if self.on_exhausted not in get_args(Exhaustion):
            raise ValueError(f"`on_exhausted` must be one of {', '.join(get_args(Exhaustion))}")
        if not 0 <= self.repeat <= MOST_REPEATS:
            raise ValueError(f"`repeat` must be from 0 to {MOST_REPEATS}, not {self.repeat}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """How far a ladder has been climbed.

    Attributes:
        activated_at: when this round began.
        planned: when each level is planned, as many as the ladder has.
        level: how many levels are behind it, fired or skipped.
        reached_at: when the last level fired that was not skipped; `None` before the first one.
        round: how often it has begun anew.
    """

    activated_at: float
    planned: tuple[float, ...]
    level: int = 0
    reached_at: float | None = None
    round: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What happened to one level.

    Attributes:
        level: its number, counted from 1 as `Climb.level` is.
        at: when it fired or was skipped.
        is_skipped: whether it had nobody to add.
    """

    level: int
    at: float
    is_skipped: bool


def plan(ladder: Ladder, calendar: Calendar | None, activated_at: float) -> tuple[float, ...]:
    """Return when each level is planned; never earlier than the level before it.

    Raises:
        ValueError: a level waits business time and there is no calendar, or it has no end in it.
    """
    return _plan_from(ladder, calendar, 0, activated_at)


def begin(ladder: Ladder, calendar: Calendar | None, activated_at: float) -> Climb:
    """Return a climb at the foot of its ladder; for a stage that is activated, or opened again.

    Raises:
        ValueError: as `plan` does.
    """
    return Climb(activated_at=activated_at, planned=plan(ladder, calendar, activated_at))


def next_level_at(climb: Climb, ladder: Ladder) -> float | None:
    """Return when the next level fires; `None` when none is left.

    It never fires before it is planned, nor sooner after the level before it than its `min_dwell`.
    """
    if climb.level >= len(ladder.levels):
        return None
    return _fires_at(climb, ladder, climb.level, climb.reached_at)


def exhausted_at(climb: Climb, ladder: Ladder) -> float | None:
    """Return when `on_exhausted` happens; `None` while a level is left.

    People have the last level's `min_dwell` before it, also when that level or all levels were skipped.
    """
    if climb.level < len(ladder.levels):
        return None
    since = climb.activated_at if climb.reached_at is None else climb.reached_at
    return max(climb.planned[-1], since + ladder.levels[-1].dwell_seconds)


def climb_to(
    climb: Climb, ladder: Ladder, calendar: Calendar | None, now: float, is_empty: Callable[[int], bool]
) -> tuple[Climb, tuple[Step, ...]]:
    """Do what is due, and return the climb after it and the steps in their order.

    One level fires at most, the lowest one, however many are overdue; the same call at the same time again does
    nothing. The next level is skipped at once if it has nobody to add: before one fires, and after it. So a climb is to
    be called when it begins, too. A skipped level counts as planned for now unless it was planned earlier, and those
    after it are planned from there.

    Args:
        climb: how far it is.
        ladder: its ladder, the same as before.
        calendar: the calendar it was planned with.
        now: the time.
        is_empty: whether a level has nobody to add, by its index from 0.

    Raises:
        ValueError: as `plan` does.
    """
    climb, before = _skip_empty(climb, ladder, calendar, now, is_empty)
    due_at = next_level_at(climb, ladder)
    # A level without a `min_dwell` still waits for another time than that of the level before it.
    is_same_time = climb.reached_at is not None and now <= climb.reached_at
    if due_at is None or now < due_at or is_same_time:
        return climb, before
    climb = replace(climb, level=climb.level + 1, reached_at=now)
    fired = Step(level=climb.level, at=now, is_skipped=False)
    climb, after = _skip_empty(climb, ladder, calendar, now, is_empty)
    return climb, (*before, fired, *after)


def deadline_after_outage(climb: Climb, ladder: Ladder, now: float, due_at: float) -> float:
    """Return when a stage expires that is due at `due_at`; that, or later if levels could not fire in time.

    Levels that were planned before `due_at` have their `min_dwell` before it expires: those that are left fire as early
    as they may from now on, and the last one that fired has its time as well. Levels planned for later never defer it,
    so a ladder that is longer than its stage does not prolong it. The answer stays the same while levels fire on time.
    """
    last, reached_at = climb.level - 1, climb.reached_at
    for index in range(climb.level, len(ladder.levels)):
        if climb.planned[index] >= due_at:
            break
        last, reached_at = index, max(now, _fires_at(climb, ladder, index, reached_at))
    if reached_at is None:
        return due_at
    return max(due_at, reached_at + ladder.levels[last].dwell_seconds)


def may_repeat(climb: Climb, ladder: Ladder) -> bool:
    """Whether the ladder begins anew when it is exhausted."""
    return ladder.on_exhausted == "repeat" and climb.round < ladder.repeat


def restart(climb: Climb, ladder: Ladder, calendar: Calendar | None, now: float) -> Climb:
    """Return the climb of the next round, planned from now.

    Raises:
        ValueError: the ladder does not begin anew, or is not exhausted yet; or as `plan` does.
    """
    ends_at = exhausted_at(climb, ladder)
    if not may_repeat(climb, ladder) or ends_at is None or now < ends_at:
        raise ValueError(f"a ladder must be exhausted and have repeats left to begin anew, not after {climb.round}")
    return replace(begin(ladder, calendar, now), round=climb.round + 1)


def _plan_from(ladder: Ladder, calendar: Calendar | None, index: int, start: float) -> tuple[float, ...]:
    """Return when the levels from an index on are planned, if the one before them is at `start`."""
    planned: list[float] = []
    for level in ladder.levels[index:]:
        start = advance(calendar, start, parse_duration(level.after))
        planned.append(start)
    return tuple(planned)


def _fires_at(climb: Climb, ladder: Ladder, index: int, reached_at: float | None) -> float:
    """Return when a level fires if the one before it fired at `reached_at`; `None` says that none has fired."""
    planned_at = climb.planned[index]
    return planned_at if reached_at is None else max(planned_at, reached_at + ladder.levels[index].dwell_seconds)


def _skip_empty(
    climb: Climb, ladder: Ladder, calendar: Calendar | None, now: float, is_empty: Callable[[int], bool]
) -> tuple[Climb, tuple[Step, ...]]:
    """Skip the next levels as long as they have nobody to add."""
    steps: list[Step] = []
    # A clock that was set back does not move the plan to before what has happened.
    earliest = climb.activated_at if climb.reached_at is None else climb.reached_at
    while climb.level < len(ladder.levels) and is_empty(climb.level):
        index = climb.level
        skipped_at = min(max(now, earliest), climb.planned[index])
        planned = climb.planned[index + 1 :]
        if skipped_at < climb.planned[index]:
            planned = _plan_from(ladder, calendar, index + 1, skipped_at)
        climb = replace(climb, level=index + 1, planned=(*climb.planned[:index], skipped_at, *planned))
        steps.append(Step(level=climb.level, at=now, is_skipped=True))
    return climb, tuple(steps)
