"""Texts that people wrote, made fit to be shown: cleaned of control characters, on one line, not too long."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MAX_TEXT_LENGTH = 10_000
"""Longer texts are shortened, in each channel."""
SHOWN_LENGTH = 60
"""How much of a wrong value an error shows, and of a name a header."""

_MOST_READ = 2 * MAX_TEXT_LENGTH
"""How much of a text is looked at: nothing shows more, and a huge one must not hold up the server."""
_JOINERS = "\u200c\u200d"
"""They cannot be printed, but words of some languages and many emoji are written with them."""


def clean(text: str) -> str:
    """Return a text without control characters, half characters and marks that turn the direction of writing."""
    lines = text[:_MOST_READ].replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(_clean_line(line) for line in lines).strip()


def _clean_line(line: str) -> str:
    if not line.isprintable():
        line = "".join(each if _is_visible(each) else " " for each in line)
    return line.rstrip()


def _is_visible(character: str) -> bool:
    return character.isprintable() or character in _JOINERS


def one_line(text: str) -> str:
    """Return a text cleaned, its lines and blanks as single spaces."""
    return " ".join(clean(text).split())


def shortened(text: str, length: int) -> str:
    """Return a text of up to so many characters; a longer one ends in an ellipsis."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def time_text(at: float | None, zone: str) -> str:
    """Return a time as the clocks of a zone show it; as those of UTC if there is no such zone. Empty without a time."""
    if at is None:
        return ""
    try:
        found = ZoneInfo(zone)
    except (ValueError, ZoneInfoNotFoundError, OSError):
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
    return f"{datetime.fromtimestamp(at, found):%Y-%m-%d %H:%M} {zone}"
