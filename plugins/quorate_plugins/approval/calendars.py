"""`Calendar`: when people work, and how business time passes.

All times are seconds since the epoch, in UTC. An opening hour is the first moment at which the clocks of the zone show
it or a later hour. So windows that touch never overlap or leave a hole, a window over the hour that is repeated in
autumn is open for an hour more, and one over the hour that is left out in spring for an hour less.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from quorate_plugins.approval.durations import Duration

MOST_WINDOWS = 50
MOST_HOLIDAYS = 50
MOST_CLOSURES = 500
DAYS_IN_WEEK = 7
SEARCH_SECONDS = 5 * 366 * 86400.0
"""Business time that does not end within five years of its start is refused, so that no search goes on for ever."""

_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00", re.ASCII)
_ONE_DAY = timedelta(days=1)
_SHOWN_LENGTH = 60

Span = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Opening hours of one day of the week, by the clocks of the calendar's zone.

    Attributes:
        weekday: 0 for Monday up to 6 for Sunday.
        start: the hour and minute it opens, such as `08:00`.
        end: the hour and minute it closes, later than `start`; `24:00` is the end of the day.

    Raises:
        ValueError: one of them is none of these.
    """

    weekday: int
    start: str
    end: str

    def __post_init__(self) -> None:
        if not 0 <= self.weekday < DAYS_IN_WEEK:
            raise ValueError(f"a weekday must be from 0, Monday, to 6, Sunday, not {self.weekday}")
        if self.end_minute <= self.start_minute:
            raise ValueError(f"a window must end after it starts, not from {self.start} to {self.end}")

    @property
    def start_minute(self) -> int:
        """The minutes from midnight to its start."""
        return _minute_of(self.start)

    @property
    def end_minute(self) -> int:
        """The minutes from midnight to its end; up to 1440."""
        return _minute_of(self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Opening hours of each week in a time zone, without holidays and closures.

    Attributes:
        zone: the name of a time zone, such as `Europe/Berlin`.
        windows: from 1 to 50 windows that do not overlap, in any order; they may touch.
        holidays: up to 50 countries whose public holidays are closed days, with a subdivision if needed: `DE`, `DE-BY`.
        closures: up to 500 more closed days, as ISO dates such as `2026-12-24`.

    Raises:
        ValueError: one of them is none of these, is unknown, or there are too many.
    """

    zone: str
    windows: tuple[Window, ...]
    holidays: tuple[str, ...] = ()
    closures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _zone_named(self.zone)
        _check_windows(self.windows)
        if len(self.holidays) > MOST_HOLIDAYS:
            raise ValueError(f"a calendar must have up to {MOST_HOLIDAYS} countries, not {len(self.holidays)}")
        for code in self.holidays:
            _check_country(code)
        if len(self.closures) > MOST_CLOSURES:
            raise ValueError(f"a calendar must have up to {MOST_CLOSURES} closures, not {len(self.closures)}")
        for closure in self.closures:
            _date_of(closure)


def is_open(calendar: Calendar, at: float) -> bool:
    """Whether a moment is in open hours; a window is open from its start and no longer at its end."""
    return any(True for _ in _schedule_of(calendar).open_spans(at, math.nextafter(at, math.inf)))


def advance(calendar: Calendar | None, start: float, duration: Duration) -> float:
    """Return when a duration that begins at `start` is over; never before `start`.

    Wall time is added. Business hours are used up in open hours, and are over at the first moment at which they are
    all used up: so at the end of a window rather than at the start of the next one. Business days end at the same clock
    time as many working days later, or at the closest later opening of that day, or else at its close; days that begin
    on a closed day end at the close. No time at all is over at once, in or out of open hours.

    What begins later is never over sooner, with one exception: business days that begin in the repeated hour of the
    day on which clocks are set back, because the clock time counts.

    Args:
        calendar: whose open hours count; `None` will do for wall time.
        start: seconds since the epoch.
        duration: how long it takes.

    Raises:
        ValueError: business time without a calendar, or business time that is not over within five years.
    """
    if not duration.is_business:
        return start + duration.seconds
    if calendar is None:
        raise ValueError(f"a calendar must be named for business time such as {str(duration)!r}")
    if duration.amount == 0:
        return start
    schedule = _schedule_of(calendar)
    if duration.business_days:
        end = schedule.after_days(start, duration.business_days)
    else:
        end = schedule.after_seconds(start, duration.business_seconds)
    if end is None:
        raise ValueError(f"a duration must be over within five years in its calendar, not {str(duration)!r}")
    return end


def business_seconds_between(calendar: Calendar, start: float, end: float) -> float:
    """Return how many seconds really pass in open hours from `start` to `end`; 0 when `end` is not later."""
    if end <= start:
        return 0.0
    return math.fsum(closes - opens for opens, closes in _schedule_of(calendar).open_spans(start, end))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Schedule:
    """A calendar made ready for searching. `windows` has the opening and closing minutes of each day of the week."""

    zone: ZoneInfo
    windows: tuple[tuple[tuple[int, int], ...], ...]
    holidays: tuple[str, ...]
    closures: frozenset[date]

    def open_spans(self, start: float, end: float) -> Iterator[Span]:
        """Yield in order the open spans between two times, cut to them; none is empty."""
        # Clocks that are set back over midnight show a day after the next one has begun: so one day more on each side.
        day = datetime.fromtimestamp(start, self.zone).date() - _ONE_DAY
        last_day = datetime.fromtimestamp(end, self.zone).date() + _ONE_DAY
        while day <= last_day:
            for opens, closes in self.spans_on(day):
                span = (max(opens, start), min(closes, end))
                if span[0] < span[1]:
                    yield span
            day += _ONE_DAY

    def spans_on(self, day: date) -> list[Span]:
        """Return the open spans of a day, in order; none for a closed day."""
        windows = self.windows[day.weekday()]
        if not windows or self._is_day_off(day):
            return []
        midnight = datetime.combine(day, time.min)
        spans = [(self.first_at(midnight, opens), self.first_at(midnight, closes)) for opens, closes in windows]
        return [span for span in spans if span[0] < span[1]]

    def _is_day_off(self, day: date) -> bool:
        return day in self.closures or any(day in _public_holidays(code, day.year) for code in self.holidays)

    def first_at(self, midnight: datetime, minute: int) -> float:
        """Return the first moment at which a day's clocks show so many minutes after midnight, or more."""
        return _first_instant(self.zone, midnight + timedelta(minutes=minute))

    def after_seconds(self, start: float, seconds: float) -> float | None:
        """Return when so many open seconds are used up; `None` if the search ends before."""
        remaining = seconds
        for opens, closes in self.open_spans(start, start + SEARCH_SECONDS):
            if opens + remaining <= closes:
                return opens + remaining
            remaining -= closes - opens
        return None

    def after_days(self, start: float, days: int) -> float | None:
        """Return the end of so many working days; `None` if the search ends before."""
        local = datetime.fromtimestamp(start, self.zone)
        last_day = self._working_day(local.date(), days)
        if last_day is None:
            return None
        spans = self.spans_on(last_day)
        if not self.spans_on(local.date()):
            # Nobody has less than a whole day because it began on a closed one, and what begins later ends no sooner.
            return spans[-1][1]
        wanted = _first_instant(self.zone, datetime.combine(last_day, local.time()))
        return next((max(wanted, opens) for opens, closes in spans if wanted <= closes), spans[-1][1])

    def _working_day(self, day: date, count: int) -> date | None:
        """Return the `count`th working day after a day; `None` if the search ends before."""
        for _ in range(int(SEARCH_SECONDS // 86400)):
            day += _ONE_DAY
            if self.spans_on(day):
                count -= 1
            if count == 0:
                return day
        return None


@lru_cache(maxsize=128)
def _schedule_of(calendar: Calendar) -> _Schedule:
    """Return a calendar made ready for searching."""
    week: list[list[tuple[int, int]]] = [[] for _ in range(DAYS_IN_WEEK)]
    for window in calendar.windows:
        week[window.weekday].append((window.start_minute, window.end_minute))
    return _Schedule(
        zone=_zone_named(calendar.zone),
        windows=tuple(tuple(sorted(windows)) for windows in week),
        holidays=calendar.holidays,
        closures=frozenset(_date_of(closure) for closure in calendar.closures),
    )


def _first_instant(zone: ZoneInfo, wall: datetime) -> float:
    """Return the first moment at which the clocks of a zone show a time or a later one."""
    first = wall.replace(tzinfo=zone, fold=0).timestamp()
    second = wall.replace(tzinfo=zone, fold=1).timestamp()
    if first <= second:
        return first
    # The clocks never show it: they are set forward over it, somewhere between what the two offsets make of it.
    instants = range(math.floor(second), math.ceil(first) + 1)

    def shown(instant: int) -> datetime:
        return datetime.fromtimestamp(instant, zone).replace(tzinfo=None)

    return float(instants[bisect_left(instants, wall, key=shown)])


# The tables of holidays take 40 ms and 3 MiB to load, and many calendars have none.


def _public_holidays(code: str, year: int) -> frozenset[date]:
    from quorate_plugins.approval.public_holidays import holidays_of  # noqa: PLC0415

    return holidays_of(code, year)


def _check_country(code: str) -> None:
    from quorate_plugins.approval.public_holidays import check_country  # noqa: PLC0415

    check_country(code)


def _check_windows(windows: tuple[Window, ...]) -> None:
    """Refuse windows that are none, too many or overlap."""
    if not 1 <= len(windows) <= MOST_WINDOWS:
        raise ValueError(f"a calendar must have from 1 to {MOST_WINDOWS} windows, not {len(windows)}")
    in_order = sorted(windows, key=lambda window: (window.weekday, window.start_minute))
    for former, latter in pairwise(in_order):
        if former.weekday == latter.weekday and latter.start_minute < former.end_minute:
            spans = f"{former.start} to {former.end} and {latter.start} to {latter.end}"
            raise ValueError(f"windows must not overlap, as on weekday {former.weekday} {spans} do")


def _zone_named(name: str) -> ZoneInfo:
    """Return a time zone; raise `ValueError` if there is none of that name."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"a zone must be a known one such as Europe/Berlin, not {_shown(name)}") from error


def _minute_of(clock: str) -> int:
    """Return the minutes from midnight to a clock time; raise `ValueError` if it is none."""
    if _CLOCK.fullmatch(clock) is None:
        raise ValueError(f"an opening hour must be from 00:00 to 24:00 such as 08:30, not {_shown(clock)}")
    return int(clock[:2]) * 60 + int(clock[3:])


def _date_of(text: str) -> date:
    """Return a date; raise `ValueError` if it is none or is not written as `2026-12-24`."""
    try:
        read = date.fromisoformat(text)
    except ValueError:
        read = None
    if read is None or read.isoformat() != text:
        raise ValueError(f"a closure must be a date such as 2026-12-24, not {_shown(text)}")
    return read


def _shown(text: str) -> str:
    """Return a text as a message quotes it."""
    return repr(text[:_SHOWN_LENGTH])


OFFICE_HOURS = Calendar(
    zone="UTC", windows=tuple(Window(weekday=weekday, start="09:00", end="17:00") for weekday in range(5))
)
"""Monday to Friday from nine to five in UTC, without holidays: for those who said nothing else."""
