"""Public holidays of countries and their subdivisions, as calendars name them: `DE`, `DE-BY`."""

from __future__ import annotations

from datetime import date
from functools import lru_cache

import holidays

_SHOWN_LENGTH = 60


@lru_cache(maxsize=4096)
def holidays_of(code: str, year: int) -> frozenset[date]:
    """Return the public holidays of a year. Kept, because the tables take long to build."""
    country, _, subdivision = code.partition("-")
    return frozenset(holidays.country_holidays(country, subdiv=subdivision or None, years=year, expand=False))


@lru_cache(maxsize=1024)
def check_country(code: str) -> None:
    """Refuse a country or a subdivision whose holidays are not known.

    Raises:
        ValueError: it is one.
    """
    country, hyphen, subdivision = code.partition("-")
    reason = (
        f"holidays must be those of a known country or subdivision such as DE or DE-BY, not {code[:_SHOWN_LENGTH]!r}"
    )
    # The library would take the names of its classes for countries.
    if country not in _countries() or bool(hyphen) != bool(subdivision):
        raise ValueError(reason)
    try:
        holidays.country_holidays(country, subdiv=subdivision or None)
    except NotImplementedError as error:
        raise ValueError(reason) from error


@lru_cache(maxsize=1)
def _countries() -> frozenset[str]:
    """Return the codes of all countries whose holidays are known."""
    return frozenset(holidays.list_supported_countries(include_aliases=True))
