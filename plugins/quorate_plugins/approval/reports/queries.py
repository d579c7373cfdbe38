"""`Query`: what a report was asked for, in a form that is the same text for the same question."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime

import rfc8785


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked. Times are in seconds since the epoch.

    Attributes:
        report: the report's name.
        since: the period begins with the first event at this time or later; `None`: with the first of all.
        until: it ends before the first event at this time or later; `None`: with the last that is sealed.
        as_of: the time at which what is open is measured.
        person: whom the report is about, by user id; only `data_subject` asks for it.
    """

    report: str
    as_of: float
    since: float | None = None
    until: float | None = None
    person: str = ""

    def members(self) -> dict[str, object]:
        """Return the query as JSON."""
        return {
            "report": self.report,
            "since": self.since,
            "until": self.until,
            "as_of": self.as_of,
            "person": self.person,
        }

    def text(self) -> str:
        """Return the query as RFC 8785 canonical JSON."""
        return canonical(self.members()).decode()


@dataclass(slots=True)
class Span:
    """The events of a period, by their sequences in the chain, both included; none while `last` is less than `first`.

    The order of events is that of the chain, not of the clocks that stamped them: a period begins with the first event
    at its beginning or later, and ends before the first one at its end or later. So of periods that follow one another
    each event belongs to one, whatever steps the clocks made.
    """

    first: int = 0
    last: int = 0
    _is_over: bool = field(default=False, init=False, repr=False)

    def note(self, sequence: int, at: float, query: Query) -> None:
        """Take note of the chain's next event."""
        self._is_over = self._is_over or (query.until is not None and at >= query.until)
        if not self.first and (query.since is None or at >= query.since):
            self.first = sequence
        if self.first and not self._is_over:
            self.last = sequence

    def __contains__(self, sequence: int) -> bool:
        """Whether an event belongs to the period."""
        return 0 < self.first <= sequence <= self.last


def canonical(value: object) -> bytes:
    """Return JSON as RFC 8785 canonical bytes."""
    return rfc8785.dumps(value)  # type: ignore[arg-type]  # the library's type is recursive and covers dict and list only


def digest(value: object) -> str:
    """Return the SHA-256 of canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


def moment(at: float | None) -> str | None:
    """Return a time in RFC 3339, UTC, to the millisecond."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
