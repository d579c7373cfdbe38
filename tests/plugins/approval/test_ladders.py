from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from quorate_plugins.approval.calendars import OFFICE_HOURS, Calendar, Window
from quorate_plugins.approval.ladders import (
    Climb,
    Exhaustion,
    Ladder,
    Level,
    Step,
    begin,
    climb_to,
    deadline_after_outage,
    exhausted_at,
    may_repeat,
    next_level_at,
    plan,
    restart,
)

HOUR, MINUTE = 3600.0, 60.0
START = 1_770_000_000.0


def ladder_of(*afters: str, on_exhausted: Exhaustion = "expire", repeat: int = 0, min_dwell: str = "15m") -> Ladder:
    levels = tuple(
        Level(after=after, add=(f"role:level-{number}",), min_dwell=min_dwell)
        for number, after in enumerate(afters, start=1)
    )
    return Ladder(levels=levels, on_exhausted=on_exhausted, repeat=repeat)


EIGHT = ladder_of(*["1h"] * 8)


def nobody_missing(_: int) -> bool:
    return False


def empty(*numbers: int) -> Callable[[int], bool]:
    return lambda index: index + 1 in numbers


def fired(number: int, at: float) -> Step:
    return Step(level=number, at=at, is_skipped=False)


def skipped(number: int, at: float) -> Step:
    return Step(level=number, at=at, is_skipped=True)


def to_the_top(
    climb: Climb, ladder: Ladder, now: float, is_empty: Callable[[int], bool] = nobody_missing
) -> tuple[Climb, list[Step]]:
    """Sweep now and then whenever the next level is due."""
    steps: list[Step] = []
    due_at: float | None = now
    while due_at is not None:
        now = max(now, due_at)
        if climb.reached_at == now:
            now += 1e-3  # without a dwell, the next level needs another time
        climb, new = climb_to(climb, ladder, OFFICE_HOURS, now, is_empty)
        steps += new
        due_at = next_level_at(climb, ladder)
    return climb, steps


def test_each_level_is_planned_from_the_one_before_it() -> None:
    assert plan(ladder_of("30m", "2h", "1d"), None, START) == (
        START + 30 * MINUTE,
        START + 150 * MINUTE,
        START + 150 * MINUTE + 24 * HOUR,
    )


def test_levels_are_planned_in_business_time() -> None:
    friday = datetime(2026, 3, 13, 16, tzinfo=UTC).timestamp()
    monday, tuesday = (datetime(2026, 3, day, 10, tzinfo=UTC).timestamp() for day in (16, 17))

    assert plan(ladder_of("2h business", "1d business"), OFFICE_HOURS, friday) == (monday, tuesday)


def test_business_time_needs_a_calendar() -> None:
    with pytest.raises(ValueError, match="a calendar must be named"):
        plan(ladder_of("2h business"), None, START)


def test_levels_fire_when_they_are_planned() -> None:
    _, steps = to_the_top(begin(EIGHT, None, START), EIGHT, START)

    assert steps == [fired(number, START + number * HOUR) for number in range(1, 9)]


def test_nothing_fires_before_it_is_planned() -> None:
    climb = begin(EIGHT, None, START)

    assert climb_to(climb, EIGHT, None, START + HOUR - 1, nobody_missing) == (climb, ())


def test_after_eleven_hours_without_a_server_levels_fire_each_quarter_and_the_stage_expires_after_them() -> None:
    due_at, back_at = START + 9 * HOUR, START + 12.5 * HOUR
    climb, steps = climb_to(begin(EIGHT, None, START), EIGHT, None, START + HOUR, nobody_missing)
    assert steps == (fired(1, START + HOUR),)
    assert deadline_after_outage(climb, EIGHT, START + 1.5 * HOUR, due_at) == due_at
    assert deadline_after_outage(climb, EIGHT, back_at, due_at) == back_at + 105 * MINUTE

    climb, steps = climb_to(climb, EIGHT, None, back_at, nobody_missing)
    assert steps == (fired(2, back_at),)
    assert climb_to(climb, EIGHT, None, back_at, nobody_missing) == (climb, ())

    for number in range(3, 9):
        at = back_at + (number - 2) * 15 * MINUTE
        assert next_level_at(climb, EIGHT) == at
        assert deadline_after_outage(climb, EIGHT, at, due_at) == back_at + 105 * MINUTE
        assert climb_to(climb, EIGHT, None, at - 1, nobody_missing) == (climb, ())
        climb, steps = climb_to(climb, EIGHT, None, at, nobody_missing)
        assert steps == (fired(number, at),)
        assert climb_to(climb, EIGHT, None, at, nobody_missing) == (climb, ())

    assert next_level_at(climb, EIGHT) is None
    assert exhausted_at(climb, EIGHT) == back_at + 105 * MINUTE
    assert deadline_after_outage(climb, EIGHT, back_at + 90 * MINUTE, due_at) == back_at + 105 * MINUTE


def test_after_a_short_outage_levels_are_back_on_their_plan() -> None:
    climb, _ = climb_to(begin(EIGHT, None, START), EIGHT, None, START + HOUR, nobody_missing)
    back_at = START + 3.25 * HOUR

    assert deadline_after_outage(climb, EIGHT, back_at, START + 9 * HOUR) == START + 9 * HOUR
    _, steps = to_the_top(climb, EIGHT, back_at)
    hours = [3.25, 3.5, 4, 5, 6, 7, 8]
    assert [(step.level, (step.at - START) / HOUR) for step in steps] == list(enumerate(hours, start=2))


def test_a_ladder_that_is_longer_than_its_stage_does_not_prolong_it() -> None:
    climb, _ = climb_to(begin(EIGHT, None, START), EIGHT, None, START + HOUR, nobody_missing)
    due_at = START + 1.5 * HOUR

    assert deadline_after_outage(climb, EIGHT, due_at, due_at) == due_at
    assert deadline_after_outage(climb, EIGHT, START + 6 * HOUR, due_at) == due_at


def test_a_stage_nobody_was_added_to_in_time_expires_when_it_is_due() -> None:
    climb = begin(EIGHT, None, START)

    assert deadline_after_outage(climb, EIGHT, START + 0.5 * HOUR, START + 0.5 * HOUR) == START + 0.5 * HOUR


def test_the_dwell_before_a_level_is_its_own() -> None:
    ladder = Ladder(levels=(Level(after="1h", add=("a",)), Level(after="1h", add=("b",), min_dwell="40m")))
    climb, _ = climb_to(begin(ladder, None, START), ladder, None, START + 1.5 * HOUR, nobody_missing)

    assert next_level_at(climb, ladder) == START + 1.5 * HOUR + 40 * MINUTE


def test_without_a_dwell_two_levels_still_need_two_times() -> None:
    ladder = ladder_of("1h", "0m", min_dwell="0m")
    climb, steps = climb_to(begin(ladder, None, START), ladder, None, START + HOUR, nobody_missing)

    assert steps == (fired(1, START + HOUR),)
    assert climb_to(climb, ladder, None, START + HOUR, nobody_missing) == (climb, ())
    assert climb_to(climb, ladder, None, START + HOUR + 1, nobody_missing)[1] == (fired(2, START + HOUR + 1),)


def test_an_empty_first_level_is_skipped_when_the_climb_begins() -> None:
    climb, steps = to_the_top(begin(EIGHT, None, START), EIGHT, START, empty(1, 2))

    assert steps[:2] == [skipped(1, START), skipped(2, START)]
    assert steps[2:] == [fired(number, START + (number - 2) * HOUR) for number in range(3, 9)]
    assert climb.planned == (START, START, *(START + number * HOUR for number in range(1, 7)))


def test_an_empty_level_is_skipped_when_the_one_before_it_fires() -> None:
    climb, _ = climb_to(begin(EIGHT, None, START), EIGHT, None, START, empty(2))
    climb, steps = climb_to(climb, EIGHT, None, START + HOUR, empty(2))

    assert steps == (fired(1, START + HOUR), skipped(2, START + HOUR))
    assert next_level_at(climb, EIGHT) == START + 2 * HOUR
    assert climb_to(climb, EIGHT, None, START + HOUR, empty(2)) == (climb, ())


def test_after_a_skipped_level_the_next_one_is_planned_in_business_time() -> None:
    ladder = ladder_of("4h business", "4h business", "4h business")
    nine = datetime(2026, 3, 10, 9, tzinfo=UTC).timestamp()
    climb, steps = climb_to(begin(ladder, OFFICE_HOURS, nine), ladder, OFFICE_HOURS, nine + 4 * HOUR, empty(2))

    assert steps == (fired(1, nine + 4 * HOUR), skipped(2, nine + 4 * HOUR))
    assert climb.planned == (nine + 4 * HOUR, nine + 4 * HOUR, nine + 8 * HOUR)


def test_an_overdue_level_that_is_skipped_moves_nothing() -> None:
    ladder = ladder_of("1h", "1h", "10h")
    climb, steps = climb_to(begin(ladder, None, START), ladder, None, START + 5 * HOUR, empty(2))

    assert steps == (fired(1, START + 5 * HOUR), skipped(2, START + 5 * HOUR))
    assert next_level_at(climb, ladder) == START + 12 * HOUR


def test_a_clock_that_was_set_back_does_nothing() -> None:
    climb, _ = climb_to(begin(EIGHT, None, START), EIGHT, None, START + HOUR, nobody_missing)
    later, steps = climb_to(climb, EIGHT, None, START - HOUR, empty(2))

    assert climb_to(climb, EIGHT, None, START - HOUR, nobody_missing) == (climb, ())
    assert steps == (skipped(2, START - HOUR),)
    assert later.planned[1:3] == (START + HOUR, START + 2 * HOUR)


def test_a_ladder_is_exhausted_when_the_last_level_had_its_dwell() -> None:
    ladder = ladder_of("1h", "1h")
    climb = begin(ladder, None, START)
    assert exhausted_at(climb, ladder) is None

    climb, _ = to_the_top(climb, ladder, START)

    assert exhausted_at(climb, ladder) == START + 2 * HOUR + 15 * MINUTE


def test_a_ladder_of_empty_levels_is_exhausted_no_sooner_than_its_dwell() -> None:
    ladder = ladder_of("1h", "1h")
    climb, steps = climb_to(begin(ladder, None, START), ladder, None, START, empty(1, 2))

    assert steps == (skipped(1, START), skipped(2, START))
    assert exhausted_at(climb, ladder) == START + 15 * MINUTE
    assert deadline_after_outage(climb, ladder, START, START + HOUR) == START + HOUR


def test_a_ladder_repeats_as_often_as_it_says() -> None:
    ladder = ladder_of("1h", "1h", on_exhausted="repeat", repeat=2)
    climb, now = begin(ladder, None, START), START
    for round_number in range(3):
        assert climb.round == round_number
        climb, steps = to_the_top(climb, ladder, now)
        assert [step.at - now for step in steps] == [HOUR, 2 * HOUR]
        now += 2 * HOUR + 15 * MINUTE
        if may_repeat(climb, ladder):
            climb = restart(climb, ladder, None, now)

    assert not may_repeat(climb, ladder)
    with pytest.raises(ValueError, match="repeats left"):
        restart(climb, ladder, None, now)


def test_a_ladder_does_not_begin_anew_before_it_is_exhausted() -> None:
    ladder = ladder_of("1h", on_exhausted="repeat", repeat=1)
    climb = begin(ladder, None, START)
    with pytest.raises(ValueError, match="exhausted"):
        restart(climb, ladder, None, START + HOUR)

    climb, _ = to_the_top(climb, ladder, START)
    with pytest.raises(ValueError, match="exhausted"):
        restart(climb, ladder, None, START + HOUR + 15 * MINUTE - 1)


def test_only_repeat_repeats() -> None:
    ladder = ladder_of("1h", on_exhausted="hold", repeat=3)

    assert not may_repeat(begin(ladder, None, START), ladder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": ()}, "from 1 to 8 levels"),
        ({"levels": EIGHT.levels * 2}, "from 1 to 8 levels"),
        ({"repeat": 10}, "from 0 to 9"),
        ({"repeat": -1}, "from 0 to 9"),
        ({"on_exhausted": "explode"}, "expire"),
    ],
)
def test_an_impossible_ladder_is_refused(changes: dict[str, object], message: str) -> None:
    values: dict[str, object] = {"levels": EIGHT.levels, **changes}

    with pytest.raises(ValidationError, match=message):
        TypeAdapter(Ladder).validate_python(values)
    with pytest.raises(ValueError, match=message):
        Ladder(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(("after", "min_dwell"), [("soon", "15m"), ("1h", "soon"), ("1h", "1h business")])
def test_an_impossible_level_is_refused(after: str, min_dwell: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        Level(after=after, add=(), min_dwell=min_dwell)


def test_ladders_and_climbs_round_trip_as_json() -> None:
    ladder = Ladder(
        levels=(Level(after="1d business", add=("role:owner",), channels=("mail",), set_priority="high"),),
        on_exhausted="repeat",
        repeat=2,
    )
    climb, steps = climb_to(begin(EIGHT, None, START), EIGHT, None, START + HOUR, empty(2))
    stored = TypeAdapter(Climb).dump_python(climb, mode="json")
    stored.update(level=float(stored["level"]), round=float(stored["round"]))

    assert TypeAdapter(Climb).validate_python(stored) == climb
    ladders, all_steps = TypeAdapter(Ladder), TypeAdapter(tuple[Step, ...])
    assert ladders.validate_python(ladders.dump_python(ladder, mode="json")) == ladder
    assert all_steps.validate_python(all_steps.dump_python(steps, mode="json")) == steps


minutes = st.integers(0, 300)
afters = st.one_of(
    minutes.map(lambda amount: f"{amount}m"),
    st.integers(0, 12).map(lambda amount: f"{amount}h business"),
    st.integers(0, 2).map(lambda amount: f"{amount}d business"),
)
levels = st.builds(
    Level, after=afters, add=st.just(("role:x",)), min_dwell=st.integers(0, 90).map(lambda amount: f"{amount}m")
)
ladders = st.builds(Ladder, levels=st.lists(levels, min_size=1, max_size=8).map(tuple))
sweeps = st.lists(st.floats(0, 2 * 86400), max_size=30)
pools = st.frozensets(st.integers(0, 7))


@settings(max_examples=60, deadline=None)
@given(ladders, sweeps, st.data())
def test_levels_fire_once_in_order_never_before_their_plan_and_never_within_their_dwell(
    ladder: Ladder, pauses: list[float], data: st.DataObject
) -> None:
    climb, now, steps = begin(ladder, OFFICE_HOURS, START), START, list[Step]()
    original = climb.planned
    last_fired: float | None = None
    for pause in pauses:
        now += pause
        pool = data.draw(pools)
        before = climb
        climb, new = climb_to(climb, ladder, OFFICE_HOURS, now, pool.__contains__)
        steps += new
        firing = [step for step in new if not step.is_skipped]
        assert len(firing) <= 1
        for step in firing:
            dwell = ladder.levels[step.level - 1].dwell_seconds
            assert step.level - 1 not in pool
            assert step.at == now >= climb.planned[step.level - 1]
            assert last_fired is None or step.at >= last_fired + dwell
            last_fired = step.at
        assert all(step.level - 1 in pool for step in new if step.is_skipped)
        assert all(moved <= planned for moved, planned in zip(climb.planned, before.planned, strict=True))
        assert list(climb.planned) == sorted(climb.planned)
        assert climb.reached_at == last_fired
        assert climb_to(climb, ladder, OFFICE_HOURS, now, pool.__contains__) == (climb, ())

    assert [step.level for step in steps] == list(range(1, climb.level + 1))
    if not any(step.is_skipped for step in steps):
        assert climb.planned == original


@settings(max_examples=60, deadline=None)
@given(ladders, pools)
def test_without_its_empty_levels_a_ladder_fires_the_same_levels_at_the_same_times(
    ladder: Ladder, pool: frozenset[int]
) -> None:
    kept = [number for number in range(1, len(ladder.levels) + 1) if number - 1 not in pool]
    # Two levels at the same time need two sweeps, and a moment after closing time is the next morning.
    ladder = replace(ladder, levels=tuple(replace(each, after=later(each), min_dwell="0m") for each in ladder.levels))
    _, steps = to_the_top(begin(ladder, OFFICE_HOURS, START), ladder, START, pool.__contains__)
    firing = [step for step in steps if not step.is_skipped]
    assert [step.level for step in firing] == kept
    if kept:
        shorter = replace(ladder, levels=tuple(ladder.levels[number - 1] for number in kept))
        _, expected = to_the_top(begin(shorter, OFFICE_HOURS, START), shorter, START)
        assert [step.at for step in firing] == [step.at for step in expected]


def later(level: Level) -> str:
    """How long after the one before a level is planned, and never at once."""
    return f"1{level.after[1:]}" if level.after.startswith("0") else level.after


@settings(max_examples=60, deadline=None)
@given(ladders, st.floats(0, 20 * 86400), st.floats(0, 20 * 86400))
def test_a_deferred_deadline_stays_the_same_while_levels_fire_on_time(
    ladder: Ladder, outage: float, due_after: float
) -> None:
    ladder = replace(ladder, levels=tuple(replace(level, min_dwell="10m") for level in ladder.levels))
    climb, now, due_at = begin(ladder, OFFICE_HOURS, START), START + outage, START + due_after
    deadline = deadline_after_outage(climb, ladder, now, due_at)
    assert deadline >= due_at
    for planned_at in climb.planned:
        if planned_at >= due_at:
            break
        now = max(now, next_level_at(climb, ladder) or now)
        climb, _ = climb_to(climb, ladder, OFFICE_HOURS, now, nobody_missing)
        assert deadline_after_outage(climb, ladder, now, due_at) == deadline


def test_a_stage_that_is_opened_again_is_planned_anew() -> None:
    saturday = datetime(2026, 3, 14, 9, tzinfo=UTC).timestamp()
    weekend = Calendar(zone="UTC", windows=(Window(weekday=5, start="08:00", end="24:00"),))
    ladder = ladder_of("2h business")

    assert begin(ladder, weekend, saturday) == Climb(activated_at=saturday, planned=(saturday + 2 * HOUR,))
