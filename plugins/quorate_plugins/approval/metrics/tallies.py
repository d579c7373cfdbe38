"""`Tally`: what happened to requests, counted event by event. Pure: the same events, the same numbers.

It counts from the audit chain, in order and each event once, so that it can be made again from the chain alone, and
a crash or a transaction that failed leaves no trace in it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Self, cast

from quorate_plugins.approval import clockwork
from quorate_plugins.approval.calendars import Calendar, business_seconds_between
from quorate_plugins.approval.clockwork import TIMER
from quorate_plugins.approval.metrics.histograms import Histogram, percentile, share
from quorate_plugins.approval.reports.chronicle import Step
from quorate_plugins.approval.requests import (
    RESOLVED,
    Block,
    Climbed,
    Decided,
    Decision,
    Evaluated,
    Event,
    Request,
    State,
    Status,
)

VERSION = 1
"""Another one whenever something is counted otherwise: everything is counted again then."""
MOST_LAGS = 1000
"""Of so many timers, the newest, percentiles are told."""
_TIMED = frozenset({"reminded", "climbed", "ended", "lapsed", "blocked"})
_CONCLUDED = frozenset({State.APPROVED, State.REJECTED, State.EXPIRED})
"""Outcomes that somebody or something decided: withdrawn and superseded requests are not among them."""

Calendars = Callable[[str], Calendar | None]
"""Calendars by name; `None` for one that is not known."""
_NAMES: Final = ("counts", "verdicts", "outcomes", "decisions", "refusals", "escalations")


class Tally:
    """The counts, over all time. `calendars` are those in which business time passes."""

    def __init__(self, calendars: Calendars) -> None:
        self._calendars = calendars
        self._counters: dict[str, Counter[str]] = {name: Counter() for name in _NAMES}
        self._wall, self._business = Histogram(), Histogram()
        self._lags: deque[float] = deque(maxlen=MOST_LAGS)

    # Counting

    def take(self, step: Step) -> None:
        """Count the next event of the chain."""
        if step.logged.type == "command.refused" and step.fact("command") == "approvals.decide":
            self._counters["refusals"][step.fact("code")] += 1
        if step.event is not None:
            self._count_event(step.event)
            if step.after is not None:
                self._count_change(step.event, step.before, step.after)
            elif step.event.kind == "revoked":  # of a request that was done for good, and is not followed any more
                self._counters["outcomes"][State.REVOKED] += 1

    def _count_event(self, event: Event) -> None:
        counts = self._counters["counts"]
        counts["events"] += 1
        if event.kind in {"overrode", "extended"}:
            counts[event.kind] += 1
        if isinstance(event, Evaluated):
            self._counters["verdicts"][event.verdict] += 1
        if isinstance(event, Decided) and event.decision.status is Status.LATE:
            counts["late_attempts"] += 1

    def _count_change(self, event: Event, before: Request | None, after: Request) -> None:
        self._count_outcome(event, before, after)
        self._counters["counts"]["policy_errors"] += _has_new_error(before, after)
        if isinstance(event, Decided):
            self._count_decision(event, before, after)
        if before is not None:
            self._counters["counts"]["dismissals"] += len(list(_dismissed(before, after)))
            self._count_timer(event, before, after)

    def _count_outcome(self, event: Event, before: Request | None, after: Request) -> None:
        if after.state not in RESOLVED or (before is not None and before.state is after.state):
            return
        self._counters["outcomes"][after.state] += 1
        if after.state in _CONCLUDED:
            is_automatic = event.kind == "evaluated" or event.by == TIMER
            self._counters["counts"]["automatic" if is_automatic else "by_people"] += 1

    def _count_decision(self, event: Decided, before: Request | None, after: Request) -> None:
        decision = after.decisions[event.decision.id]
        if decision.status is not Status.COUNTED or before is None:
            return
        self._counters["decisions"][decision.verdict] += 1
        opened_at = before.runs[decision.stage].activated_at
        if opened_at is None:
            return
        self._wall.add(max(0.0, decision.at - opened_at))
        calendar = self._calendars(before.stage(decision.stage).calendar)
        if calendar is not None:
            self._business.add(business_seconds_between(calendar, opened_at, decision.at))

    def _count_timer(self, event: Event, before: Request, after: Request) -> None:
        """Count how far a ladder was climbed, and how late a timer was."""
        if isinstance(event, Climbed):
            for level in _levels(event, before, after):
                self._counters["escalations"][str(level)] += 1
        planned = clockwork.next_at(before) if event.kind in _TIMED and event.by == TIMER else None
        if planned is not None and planned <= event.at:
            self._lags.append(event.at - planned)

    # Telling

    def shown(self) -> dict[str, object]:
        """Return the numbers for a dashboard. Shares and percentiles of nothing are `None`."""
        counts = self._counters["counts"]
        automatic, by_people = counts["automatic"], counts["by_people"]
        concluded = automatic + by_people
        return {
            "verdicts": dict(self._counters["verdicts"]),
            "outcomes": dict(self._counters["outcomes"]),
            "automatic": {
                "automatic": automatic,
                "by_people": by_people,
                "ratio": share(automatic, concluded),
            },
            "decisions": dict(self._counters["decisions"]),
            "decision_seconds": {"wall": self._wall.shown(), "business": self._business.shown()},
            "refusals": dict(self._counters["refusals"]),
            "separation_of_duties_refusals": self._counters["refusals"]["sod-violation"],
            "late_attempts": counts["late_attempts"],
            "stale_dismissals": counts["dismissals"],
            "escalations_by_level": dict(self._counters["escalations"]),
            "extensions": counts["extended"],
            "overrides": counts["overrode"],
            "policy_errors": counts["policy_errors"],
            "timer_lag_seconds": self._lag(),
        }

    def _lag(self) -> dict[str, object]:
        lags = tuple(self._lags)
        return {"timers": len(lags), "p50": percentile(lags, 0.5), "p99": percentile(lags, 0.99)}

    # Keeping

    def dump(self) -> dict[str, object]:
        """Return it as JSON that `load` reads."""
        return {
            "version": VERSION,
            "counters": {name: dict(counter) for name, counter in self._counters.items()},
            "wall": self._wall.dump(),
            "business": self._business.dump(),
            "lags": list(self._lags),
        }

    @classmethod
    def load(cls, value: object, calendars: Calendars) -> Self | None:
        """Read what `dump` wrote; `None` when another version of it did."""
        members = cast("Mapping[str, object]", value)
        if members.get("version") != VERSION:
            return None
        tally = cls(calendars)
        for name, counter in cast("Mapping[str, Mapping[str, int]]", members["counters"]).items():
            tally._counters[name].update(counter)
        tally._wall, tally._business = Histogram.load(members["wall"]), Histogram.load(members["business"])
        tally._lags.extend(cast("list[float]", members["lags"]))
        return tally


def _has_new_error(before: Request | None, after: Request) -> bool:
    was = None if before is None else before.block
    return after.block is Block.POLICY_ERROR and was is not Block.POLICY_ERROR


def _dismissed(before: Request, after: Request) -> Iterator[Decision]:
    """Yield the decisions that fell because the content was edited."""
    for key, earlier in before.decisions.items():
        if earlier.status is Status.COUNTED and after.decisions[key].status is Status.DISMISSED_STALE:
            yield earlier


def _levels(event: Climbed, before: Request, after: Request) -> range:
    """Return the levels of a ladder that were reached; those of a ladder that begins anew are counted again."""
    was, now = before.runs[event.stage].climb, event.climb
    if now is None or event.stage not in after.runs:
        return range(0)
    is_same_round = was is not None and was.round == now.round
    return range((was.level if was is not None and is_same_round else 0) + 1, now.level + 1)
