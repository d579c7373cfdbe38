"""`Chronicle`: the events of the audit chain, added up to requests one after the other.

It sees the chain from its beginning and takes each event once. What a request was before an event and is after it is
worked out by `machine.apply`, so a report rests on the decisions replayed, not on what anybody says of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

from pydantic import ValidationError

from quorate_plugins.approval.calendars import OFFICE_HOURS, Calendar
from quorate_plugins.approval.machine import apply
from quorate_plugins.approval.policies import read_policy
from quorate_plugins.approval.requests import FINISHED, Event, Request, read_event
from quorate_server.hooks import AuditEntry, LoggedEvent

PUBLISHED = "approval.policy_published"
_CAUSING = frozenset({"approval.execution_started", "approval.lapsed", "approval.revoked"})
"""Events of a request that the server follows up by doing something, in the next event of the chain."""
_CAUSED = frozenset({"access.granted", "access.revoked", PUBLISHED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One event of the chain. Of a request's: the event, and the request `before` and `after` it.

    `cause` is the artifact of the request whose execution, end or revocation this event carries out; empty for none.
    `problem` says why an event of a request does not follow from those before it; there is no `after` then.
    """

    entry: AuditEntry
    event: Event | None = None
    before: Request | None = None
    after: Request | None = None
    cause: str = ""
    problem: str = ""

    @property
    def logged(self) -> LoggedEvent:
        """The event as the chain has it."""
        return self.entry.event

    @property
    def sequence(self) -> int:
        """The place in the chain."""
        return self.entry.event.sequence

    @property
    def at(self) -> float:
        """When it was, in seconds since the epoch."""
        return self.entry.event.at

    @property
    def artifact(self) -> str:
        """The artifact that it is about; empty for none."""
        return self.entry.event.artifact or ""

    def fact(self, name: str) -> str:
        """Return a fact that is a text; empty when there is none."""
        found = self.entry.event.facts.get(name)
        return found if isinstance(found, str) else ""

    def number(self, name: str) -> float | None:
        """Return a fact that is a number."""
        found = self.entry.event.facts.get(name)
        return found if isinstance(found, (int, float)) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What an event did to a request, by whoever applied it already."""

    before: Request | None
    event: Event
    after: Request


Known = Callable[[LoggedEvent, Request | None], Taken | None]


class Chronicle:
    """What the events so far come to: `requests` by artifact, and the calendars of the policies that were published.

    `known` returns what an event did where somebody knows it already, so that it is not replayed.
    """

    def __init__(self, known: Known | None = None) -> None:
        self.requests: dict[str, Request] = {}
        self._known = known
        self._calendars: dict[str, Mapping[str, Calendar]] = {}
        self._before: LoggedEvent | None = None

    def take(self, entry: AuditEntry) -> Step:
        """Add the next event of the chain, and return what it did."""
        step = self._step(entry)
        if step.after is not None:
            # Nothing of a finished request changes any more but that late decisions are noted.
            is_over = step.after.state in FINISHED
            self.requests[step.artifact] = replace(step.after, stages=(), runs={}) if is_over else step.after
        if step.logged.type == PUBLISHED:
            self._publish(step)
        self._before = entry.event
        return step

    def _step(self, entry: AuditEntry) -> Step:
        logged = entry.event
        if "event" not in logged.facts or not logged.artifact:
            return Step(entry=entry, cause=self._cause(logged))
        before = self.requests.get(logged.artifact)
        known = None if self._known is None else self._known(logged, before)
        if known is not None:
            return Step(entry=entry, event=known.event, before=before, after=known.after)
        return _replayed(entry, before)

    def _cause(self, logged: LoggedEvent) -> str:
        """Return the request that an event carries out: the two are written in one transaction, one after the other."""
        before = self._before
        is_caused = logged.type in _CAUSED and before is not None and before.type in _CAUSING
        return (before.artifact or "") if is_caused and before is not None else ""

    def _publish(self, step: Step) -> None:
        settings = step.logged.facts.get("settings")
        try:
            self._calendars[step.artifact] = read_policy(settings).calendars if settings is not None else {}
        except ValueError:
            self._calendars[step.artifact] = {}

    def calendar(self, name: str) -> Calendar | None:
        """Return a calendar as it is published now; `None` when the chain does not have it."""
        if not name:
            return OFFICE_HOURS
        return next((found[name] for _, found in sorted(self._calendars.items()) if name in found), None)


def _replayed(entry: AuditEntry, before: Request | None) -> Step:
    event: Event | None = None
    try:
        event = read_event(entry.event.facts["event"])
        after = apply(before, event)
    except (ValidationError, ValueError, KeyError) as error:
        return Step(entry=entry, event=event, before=before, problem=f"{type(error).__name__}: it does not follow")
    return Step(entry=entry, event=event, before=before, after=after)


def settings_of(step: Step) -> Mapping[str, object] | None:
    """Return what a policy said when it was published; `None` when the chain does not say it."""
    found = step.logged.facts.get("settings")
    return cast("Mapping[str, object]", found) if isinstance(found, Mapping) else None
