from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from quorate_plugins.approval.calendars import (
    OFFICE_HOURS,
    Calendar,
    Window,
    advance,
    business_seconds_between,
    is_open,
)
from quorate_plugins.approval.durations import Duration, parse_duration

HOUR = 3600.0


def week(start: str, end: str, days: int = 5) -> tuple[Window, ...]:
    return tuple(Window(weekday=weekday, start=start, end=end) for weekday in range(days))


BERLIN = Calendar(zone="Europe/Berlin", windows=week("08:00", "17:00"))
BAVARIA = Calendar(zone="Europe/Berlin", windows=week("08:00", "17:00"), holidays=("DE-BY",), closures=("2026-12-24",))
ALWAYS = Calendar(zone="Europe/Berlin", windows=week("00:00", "24:00", days=7))
LUNCH = Calendar(zone="Europe/Berlin", windows=week("08:00", "12:00") + week("13:00", "17:00"))
NIGHT = Calendar(zone="Europe/Berlin", windows=week("01:00", "02:30", days=7) + week("02:30", "04:00", days=7))
CALENDARS = (BERLIN, BAVARIA, ALWAYS, LUNCH, NIGHT, OFFICE_HOURS)


def at(text: str, zone: str = "Europe/Berlin", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def after(calendar: Calendar, start: str, duration: str) -> str:
    end = advance(calendar, at(start), parse_duration(duration))
    return datetime.fromtimestamp(end, ZoneInfo(calendar.zone)).isoformat(" ", "minutes")[:16]


calendars = st.sampled_from(CALENDARS)
times = st.floats(min_value=at("2025-12-01"), max_value=at("2027-02-01"))
business_hours = st.integers(0, 300).map(lambda amount: Duration(amount=amount, unit="h", is_business=True))
business_days = st.integers(0, 40).map(lambda amount: Duration(amount=amount, unit="d", is_business=True))


@pytest.mark.parametrize(
    ("text", "seconds", "business_seconds", "business_days"),
    [
        ("0m", 0, 0, 0),
        ("90m", 5400, 0, 0),
        ("4h", 14400, 0, 0),
        ("2d", 172800, 0, 0),
        ("1w", 604800, 0, 0),
        ("366d", 366 * 86400, 0, 0),
        ("4h business", 0, 14400, 0),
        ("3d business", 0, 0, 3),
    ],
)
def test_durations_are_read_and_written_back(
    text: str, seconds: int, business_seconds: int, business_days: int
) -> None:
    duration = parse_duration(text)

    assert (duration.seconds, duration.business_seconds) == (seconds, business_seconds)
    assert duration.business_days == business_days
    assert str(duration) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "4", "h", "4 h", "-4h", "1.5h", "04h", "4H", "4h ", "4h  business", "4hbusiness", "1h30m", "4s"),
        *("٤h", "1w business", "90m business", "9" * 500 + "d", "4h\n"),
    ],
)
def test_what_is_no_duration_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match=r"a duration must be such as 90m, 4h.*, not "):
        parse_duration(text)


@pytest.mark.parametrize("text", ["367d", "53w", "8785h", "527041m", "367d business", "8785h business"])
def test_more_than_a_year_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="366 days"):
        parse_duration(text)


def test_business_minutes_cannot_be_built_either() -> None:
    with pytest.raises(ValueError, match="a duration must be"):
        Duration(amount=5, unit="m", is_business=True)


@given(st.integers(0, 366), st.sampled_from(["m", "h", "d", "h business", "d business"]))
def test_every_duration_reads_back(amount: int, unit: str) -> None:
    assert str(parse_duration(f"{amount}{unit}")) == f"{amount}{unit}"


def test_two_hours_from_four_in_the_afternoon_end_the_next_morning() -> None:
    assert after(BERLIN, "2026-03-10 16:00", "2h business") == "2026-03-11 09:00"


def test_two_hours_from_friday_afternoon_end_on_monday() -> None:
    assert after(BERLIN, "2026-03-13 16:00", "2h business") == "2026-03-16 09:00"


def test_hours_that_fill_a_window_end_at_its_close() -> None:
    assert after(BERLIN, "2026-03-10 15:00", "2h business") == "2026-03-10 17:00"
    assert after(BERLIN, "2026-03-10 03:00", "9h business") == "2026-03-10 17:00"


def test_hours_pass_over_the_lunch_break() -> None:
    assert after(LUNCH, "2026-03-10 11:00", "2h business") == "2026-03-10 14:00"


def test_wall_time_passes_on_a_closed_day_and_needs_no_calendar() -> None:
    start = at("2026-03-14 12:00")

    assert advance(BERLIN, start, parse_duration("4h")) == start + 4 * HOUR
    assert advance(None, start, parse_duration("1w")) == start + 7 * 24 * HOUR


@pytest.mark.parametrize("text", ["4h business", "3d business", "0h business"])
def test_business_time_without_a_calendar_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a calendar must be named"):
        advance(None, 0.0, parse_duration(text))


@pytest.mark.parametrize(
    ("start", "duration", "end"),
    [
        ("2026-03-10 16:00", "3d business", "2026-03-13 16:00"),
        ("2026-03-13 16:00", "1d business", "2026-03-16 16:00"),
        ("2026-03-13 20:00", "1d business", "2026-03-16 17:00"),
        ("2026-03-13 06:00", "1d business", "2026-03-16 08:00"),
        ("2026-03-14 10:00", "1d business", "2026-03-16 17:00"),
        ("2026-03-14 10:00", "2d business", "2026-03-17 17:00"),
    ],
)
def test_business_days_end_at_the_same_clock_time_within_the_windows(start: str, duration: str, end: str) -> None:
    assert after(BERLIN, start, duration) == end


def test_a_business_day_that_would_end_in_the_lunch_break_ends_after_it() -> None:
    part_time = Calendar(
        zone="Europe/Berlin",
        windows=(Window(weekday=0, start="08:00", end="17:00"), *week("08:00", "12:00")[1:], *LUNCH.windows[6:]),
    )

    assert after(part_time, "2026-03-09 12:30", "1d business") == "2026-03-10 13:00"


def test_no_business_time_is_over_at_once() -> None:
    saturday = at("2026-03-14 12:00")

    assert advance(BERLIN, saturday, parse_duration("0h business")) == saturday
    assert advance(BERLIN, saturday, parse_duration("0d business")) == saturday


def test_the_year_ends_with_holidays_and_a_closure_of_its_own() -> None:
    # 24 December is the closure, 25 December a Friday, 1 January a Friday, and 6 January a holiday in Bavaria only.
    assert after(BAVARIA, "2026-12-23 16:00", "2h business") == "2026-12-28 09:00"
    assert after(BAVARIA, "2026-12-31 16:00", "2h business") == "2027-01-04 09:00"
    assert after(BAVARIA, "2027-01-05 12:00", "1d business") == "2027-01-07 12:00"
    assert after(BERLIN, "2027-01-05 12:00", "1d business") == "2027-01-06 12:00"


def test_a_holiday_observed_in_the_year_before_is_closed() -> None:
    american = Calendar(zone="America/New_York", windows=week("09:00", "17:00"), holidays=("US",))

    assert not is_open(american, at("2021-12-31 12:00", "America/New_York"))  # 1 January 2022 was a Saturday


@pytest.mark.parametrize(
    ("time", "expected"),
    [("07:59:59", False), ("08:00", True), ("16:59:59", True), ("17:00", False)],
)
def test_a_window_is_open_from_its_start_and_no_longer_at_its_end(time: str, *, expected: bool) -> None:
    assert is_open(BERLIN, at(f"2026-03-10 {time}")) is expected


def test_the_default_is_office_hours_in_utc() -> None:
    assert is_open(OFFICE_HOURS, at("2026-03-10 09:00", "UTC"))
    assert not is_open(OFFICE_HOURS, at("2026-03-10 17:00", "UTC"))
    assert not is_open(OFFICE_HOURS, at("2026-03-14 12:00", "UTC"))


def test_the_day_on_which_clocks_are_set_forward_has_twenty_three_hours() -> None:
    assert business_seconds_between(ALWAYS, at("2026-03-29 00:00"), at("2026-03-30 00:00")) == 23 * HOUR
    assert business_seconds_between(NIGHT, at("2026-03-29 00:00"), at("2026-03-30 00:00")) == 2 * HOUR
    assert after(NIGHT, "2026-03-29 01:30", "1h business") == "2026-03-29 03:30"


def test_the_day_on_which_clocks_are_set_back_has_twenty_five_hours() -> None:
    assert business_seconds_between(ALWAYS, at("2026-10-25 00:00"), at("2026-10-26 00:00")) == 25 * HOUR
    assert business_seconds_between(NIGHT, at("2026-10-25 00:00"), at("2026-10-26 00:00")) == 4 * HOUR
    assert is_open(NIGHT, at("2026-10-25 02:15", fold=1))
    assert advance(NIGHT, at("2026-10-25 01:30"), parse_duration("2h business")) == at("2026-10-25 02:30", fold=1)


@pytest.mark.parametrize("day", ["2026-03-27", "2026-10-23"])
def test_business_days_keep_the_clock_time_when_clocks_change(day: str) -> None:
    start = at(f"{day} 16:00")
    end = advance(BERLIN, start, parse_duration("1d business"))

    assert datetime.fromtimestamp(end, ZoneInfo("Europe/Berlin")).hour == 16
    assert end - start == (71 if day == "2026-03-27" else 73) * HOUR


def test_a_business_day_that_ends_in_the_hour_left_out_ends_when_clocks_are_set_forward() -> None:
    assert after(ALWAYS, "2026-03-28 02:30", "1d business") == "2026-03-29 03:00"


def test_a_day_that_a_zone_left_out_is_not_open() -> None:
    apia = Calendar(zone="Pacific/Apia", windows=week("09:00", "17:00"))  # it left out Friday 30 December 2011

    assert after(apia, "2011-12-30 12:00", "1d business")[:10] == "2012-01-02"
    start, end = at("2011-12-29 00:00", "Pacific/Apia"), at("2012-01-02 00:00", "Pacific/Apia")
    assert business_seconds_between(apia, start, end) == 8 * HOUR


def test_clocks_that_are_set_back_over_midnight_lose_and_double_nothing() -> None:
    # In Newfoundland they were set back from 00:01 on 7 November 2010 to 23:01 the day before.
    windows = week("00:00", "24:00", days=7)
    newfoundland = Calendar(zone="America/St_Johns", windows=windows)
    start, end = at("2010-11-06 12:00", newfoundland.zone), at("2010-11-07 12:00", newfoundland.zone)

    assert end - start == 25 * HOUR
    assert business_seconds_between(newfoundland, start, end) == 25 * HOUR
    assert all(is_open(newfoundland, start + minute * 60) for minute in range(25 * 60))


def test_no_time_passes_backwards() -> None:
    assert business_seconds_between(ALWAYS, 2000.0, 1000.0) == 0


def test_business_time_that_has_no_end_within_five_years_is_refused() -> None:
    weekly = Calendar(zone="UTC", windows=(Window(weekday=0, start="08:00", end="09:00"),))

    for text in ("300h business", "300d business"):
        with pytest.raises(ValueError, match="within five years"):
            advance(weekly, at("2026-01-01"), parse_duration(text))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"zone": "Europe/Nowhere"}, "a zone must be"),
        ({"zone": "../etc/passwd"}, "a zone must be"),
        ({"zone": "Europe"}, "a zone must be"),
        ({"zone": ""}, "a zone must be"),
        ({"holidays": ("XX",)}, "holidays must be"),
        ({"holidays": ("HolidayBase",)}, "holidays must be"),
        ({"holidays": ("DE-ZZ",)}, "holidays must be"),
        ({"holidays": ("DE-",)}, "holidays must be"),
        ({"holidays": ("",)}, "holidays must be"),
        ({"holidays": ("DE",) * 51}, "up to 50"),
        ({"windows": ()}, "from 1 to 50 windows"),
        ({"windows": week("08:00", "09:00") * 11}, "from 1 to 50 windows"),
        ({"windows": week("08:00", "12:00") + week("11:59", "13:00")}, "must not overlap"),
        ({"closures": ("24.12.2026",)}, "a closure must be"),
        ({"closures": ("20261224",)}, "a closure must be"),
        ({"closures": ("2026-02-30",)}, "a closure must be"),
        ({"closures": ("2026-12-24",) * 501}, "up to 500"),
    ],
)
def test_an_impossible_calendar_is_refused(changes: dict[str, object], message: str) -> None:
    values: dict[str, object] = {"zone": "UTC", "windows": week("08:00", "17:00"), **changes}

    with pytest.raises(ValidationError, match=message):
        TypeAdapter(Calendar).validate_python(values)
    with pytest.raises(ValueError, match=message):
        Calendar(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("weekday", "start", "end"),
    [
        *((7, "08:00", "17:00"), (-1, "08:00", "17:00"), (0, "17:00", "08:00"), (0, "08:00", "08:00")),
        *((0, "8:00", "17:00"), (0, "08:60", "17:00"), (0, "24:00", "24:00"), (0, "08:00", "24:01"), (0, "", "")),
    ],
)
def test_an_impossible_window_is_refused(weekday: int, start: str, end: str) -> None:
    with pytest.raises(ValueError, match="must"):
        Window(weekday=weekday, start=start, end=end)


@pytest.mark.parametrize("calendar", CALENDARS)
def test_calendars_round_trip_as_json(calendar: Calendar) -> None:
    adapter = TypeAdapter(Calendar)
    dumped = adapter.dump_python(calendar, mode="json")
    for window in dumped["windows"]:
        window["weekday"] = float(window["weekday"])

    assert adapter.validate_python(dumped) == calendar


def test_durations_round_trip_as_json() -> None:
    adapter = TypeAdapter(Duration)
    duration = parse_duration("3d business")

    assert adapter.validate_python(adapter.dump_python(duration, mode="json")) == duration


@settings(max_examples=60, deadline=None)
@given(calendars, times, business_hours)
def test_so_many_open_hours_pass_until_business_hours_are_over(
    calendar: Calendar, start: float, duration: Duration
) -> None:
    end = advance(calendar, start, duration)

    assert end >= start
    assert business_seconds_between(calendar, start, end) == duration.business_seconds


@settings(max_examples=60, deadline=None)
@given(calendars, times, st.floats(0, 40 * 86400), st.one_of(business_hours, business_days))
def test_what_begins_later_is_never_over_sooner(
    calendar: Calendar, start: float, delay: float, duration: Duration
) -> None:
    # The one exception is business days that begin in the repeated hour.
    for moment in (start, start + delay):
        if duration.business_days and datetime.fromtimestamp(moment, ZoneInfo(calendar.zone)).fold:
            return

    assert advance(calendar, start, duration) <= advance(calendar, start + delay, duration)


@settings(max_examples=60, deadline=None)
@given(calendars, times, business_days)
def test_more_business_days_take_longer(calendar: Calendar, start: float, duration: Duration) -> None:
    longer = Duration(amount=duration.amount + 1, unit="d", is_business=True)

    assert start <= advance(calendar, start, duration) < advance(calendar, start, longer)


@settings(max_examples=60, deadline=None)
@given(calendars, times, st.floats(0, 9 * 86400), st.floats(0, 9 * 86400))
def test_open_time_adds_up(calendar: Calendar, start: float, first: float, second: float) -> None:
    middle, end = start + first, start + first + second
    parts = business_seconds_between(calendar, start, middle) + business_seconds_between(calendar, middle, end)

    assert business_seconds_between(calendar, start, end) == pytest.approx(parts, abs=1e-5)
    assert parts <= end - start + 1e-5


@settings(max_examples=60, deadline=None)
@given(calendars, times)
def test_time_passes_exactly_while_it_is_open(calendar: Calendar, moment: float) -> None:
    whole = float(int(moment))

    assert business_seconds_between(calendar, whole, whole + 1) == float(is_open(calendar, whole))
