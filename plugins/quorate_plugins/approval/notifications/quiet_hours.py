"""Hours of the day in which somebody is left alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from quorate_plugins.approval.notifications.cleaning import SHOWN_LENGTH

DAY_MINUTES = 1440

_HOUR_MINUTES = 60
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietHours:
    """Hours of each day in which somebody is left alone; they may go past midnight.

    Attributes:
        start: the hour and minute they begin, such as `22:00`.
        end: the hour and minute they are over, such as `07:00`; not the same as `start`.

    Raises:
        ValueError: one of them is none of these.
    """

    start: str
    end: str

    def __post_init__(self) -> None:
        if self.start_minute == self.end_minute:
            raise ValueError(f"quiet hours must not start and end at the same time, {self.start}")

    @property
    def start_minute(self) -> int:
        """The minutes from midnight to their start."""
        return _minute_of(self.start)

    @property
    def end_minute(self) -> int:
        """The minutes from midnight to their end."""
        return _minute_of(self.end)

    def minutes(self) -> frozenset[int]:
        """Return the minutes of the day, from 0 to 1439, that are in them."""
        start, end = self.start_minute, self.end_minute
        if start < end:
            return frozenset(range(start, end))
        return frozenset((*range(start, DAY_MINUTES), *range(end)))


def read_quiet(value: object) -> QuietHours:
    """Return the hours that a JSON object holds.

    Raises:
        ValueError: it is no object with `start` and `end`, or one of them is wrong.
    """
    hours: Mapping[object, object] = cast("Mapping[object, object]", value) if isinstance(value, Mapping) else {}
    start, end = hours.get("start"), hours.get("end")
    if not isinstance(start, str) or not isinstance(end, str) or set(hours) != {"start", "end"}:
        raise ValueError("quiet: objects with `start` and `end`, such as 22:00 and 07:00")
    return QuietHours(start=start, end=end)


def _minute_of(clock: str) -> int:
    found = _CLOCK.fullmatch(clock)
    if found is None:
        raise ValueError(f"a time of the day is such as 22:00, not {clock[:SHOWN_LENGTH]!r}")
    return int(found[1]) * _HOUR_MINUTES + int(found[2])
