"""Deciding again, from the audit log alone, what the log says was decided.

Every event of a request is in the chain with all that it decided from, so the state machine must come to the same
states and versions again. Whoever changes an event, or made the server write another outcome than the rules give, is
found here even where the chain was made anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from quorate_plugins.approval.machine import TransitionRefused, apply
from quorate_plugins.approval.requests import Decided, Event, Request, read_event
from quorate_server.hooks import LoggedEvent

PREFIX = "approval."
MOST_PROBLEMS = 100
CLOCK_SECONDS = 1.0
"""By so much the time of a decision may differ from that of its event: they are written with different digits."""


class DecisionReplay:
    """Replays the decisions on requests. It holds a request in memory for each that the log tells of."""

    def __init__(self) -> None:
        self.requests: dict[str, Request] = {}
        """The requests as the events so far make them, by artifact."""
        self._lost: set[str] = set()
        self._problems: list[str] = []

    def take(self, logged: LoggedEvent) -> None:
        """Take the next event of the log; what is not about a request is passed over."""
        name = logged.artifact
        if name is None or name in self._lost or not is_of_a_request(logged):
            return
        try:
            event = read_event(logged.facts["event"])
            request = apply(self.requests.get(name), event)
        except (TransitionRefused, ValueError, LookupError) as error:
            self._lost.add(name)
            self._tell(logged, f"cannot be replayed: {error}")
            return
        for problem in _differences(logged, event, self.requests.get(name), request):
            self._tell(logged, problem)
        self.requests[name] = request

    def problems(self) -> Sequence[str]:
        """Return what came out differently, of the first events for which it did."""
        return tuple(self._problems)

    def _tell(self, logged: LoggedEvent, problem: str) -> None:
        if len(self._problems) < MOST_PROBLEMS:
            self._problems.append(f"event {logged.sequence} ({logged.type} of {logged.artifact}) {problem}")


def is_of_a_request(logged: LoggedEvent) -> bool:
    """Whether an event of the log is one of a request."""
    return logged.type.startswith(PREFIX) and "event" in logged.facts


def _differences(logged: LoggedEvent, event: Event, before: Request | None, after: Request) -> list[str]:
    """Return in what an event of the log differs from what it comes to."""
    said = logged.facts
    expected = {
        "before": None if before is None else str(before.state),
        "after": str(after.state),
        "version": after.version,
    }
    found = [
        f"says {key} {said.get(key)!r}, and is {is_so!r}" for key, is_so in expected.items() if said.get(key) != is_so
    ]
    if logged.type != f"{PREFIX}{event.kind}":
        found.append(f"holds an event of another type, {event.kind!r}")
    return [*found, *_forgeries(logged, event)]


def _forgeries(logged: LoggedEvent, event: Event) -> list[str]:
    """A decision is that of whoever gave it, when they gave it."""
    if not isinstance(event, Decided):
        return []
    decision = event.decision
    found: list[str] = []
    if decision.actor != logged.actor:
        found.append(f"was given by {logged.actor!r}, and is written down as that of {decision.actor!r}")
    if abs(decision.at - logged.at) > CLOCK_SECONDS:
        found.append(f"was given at {logged.time}, and is dated {decision.at}")
    return found
