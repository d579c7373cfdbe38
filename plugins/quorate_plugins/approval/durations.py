"""`Duration`: how long something may take, as people write it: `4h`, or `3d business` for three working days.

A duration is either wall time, which always passes, or business time, which passes in the open hours of a calendar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

Unit = Literal["m", "h", "d", "w"]

UNIT_SECONDS: dict[str, int] = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
LONGEST_SECONDS = 366 * 86400
EXPECTED = "such as 90m, 4h, 2d, 1w, 4h business or 3d business"

_WRITTEN = re.compile(r"(0|[1-9][0-9]{0,5})(?:([mhdw])|([hd]) business)", re.ASCII)
_SHOWN_LENGTH = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """An amount of wall time or of business time, kept in the unit it was written in.

    Attributes:
        amount: how many of the unit; not negative, and 366 days at most.
        unit: minutes, hours, days or weeks; of business time there are hours and days only.
        is_business: whether it passes in open hours only.

    Raises:
        ValueError: the amount is out of its bounds, or business time is in another unit.
    """

    amount: int
    unit: Unit
    is_business: bool = False

    def __post_init__(self) -> None:
        if self.unit not in (("h", "d") if self.is_business else UNIT_SECONDS):
            raise ValueError(f"a duration must be {EXPECTED}, not {str(self)[:_SHOWN_LENGTH]!r}")
        if not 0 <= self.amount * UNIT_SECONDS[self.unit] <= LONGEST_SECONDS:
            raise ValueError(f"a duration must be from 0 to 366 days long, not {str(self)[:_SHOWN_LENGTH]!r}")

    def __str__(self) -> str:
        return f"{self.amount}{self.unit}{' business' if self.is_business else ''}"

    @property
    def seconds(self) -> int:
        """Its seconds of wall time; 0 for business time."""
        return 0 if self.is_business else self.amount * UNIT_SECONDS[self.unit]

    @property
    def business_seconds(self) -> int:
        """Its seconds of open hours; 0 for wall time and for business days."""
        return self.amount * UNIT_SECONDS[self.unit] if self.is_business and self.unit == "h" else 0

    @property
    def business_days(self) -> int:
        """Its working days; 0 for wall time and for business hours."""
        return self.amount if self.is_business and self.unit == "d" else 0


def parse_duration(text: str) -> Duration:
    """Return the duration a text says; `str` of it is the text again.

    Raises:
        ValueError: the text says none, or one of more than 366 days.
    """
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise ValueError(f"a duration must be {EXPECTED}, not {text[:_SHOWN_LENGTH]!r}")
    amount, unit, business_unit = found.groups()
    return Duration(amount=int(amount), unit=cast("Unit", unit or business_unit), is_business=unit is None)
