"""`Recent`: the events that this server recorded itself, so that whoever follows the chain need not replay them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import cast

from quorate_plugins.approval.reports.chronicle import Taken
from quorate_plugins.approval.requests import Event, Request
from quorate_server.hooks import DocumentName, LoggedEvent, Work

MOST = 20_000
"""More events than this are not kept; they are replayed from the chain instead."""


class Recent:
    """Events by artifact and version. An event may be noted whose transaction then failed: the chain has the say.

    `watcher` is the artifact whose reconciliation is asked for, some seconds later, when something is noted while it
    is `asleep`; empty for none.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.watcher = DocumentName("")
        self.pause_seconds = 5.0
        self.asleep = False
        self._now = now
        self._wake_at = 0.0
        self._taken: dict[tuple[str, int], Taken] = {}

    def note(self, work: Work, artifact: DocumentName, before: Request | None, event: Event, after: Request) -> None:
        """Note an event that is being recorded. It takes microseconds."""
        if not self.watcher:
            return
        self._taken.pop((artifact, after.version), None)
        if len(self._taken) < MOST:
            self._taken[artifact, after.version] = Taken(before=before, event=event, after=after)
        if self.asleep:
            now = self._now()
            if self._wake_at <= now:  # else it is asked for already, in this transaction or in one before it
                self._wake_at = now + self.pause_seconds
            work.wake(self.watcher, self._wake_at)

    def take(self, logged: LoggedEvent, before: Request | None) -> Taken | None:
        """Return, once, what is known of an event of the chain; `None` when it must be replayed."""
        version = logged.facts.get("version")
        found = self._taken.pop((logged.artifact or "", version), None) if isinstance(version, int) else None
        if found is None or found.before != before:
            return None
        return found if _is_same(found.event, logged.facts.get("event")) else None

    def clear(self) -> None:
        """Forget all events."""
        self._taken.clear()


def _is_same(event: Event, told: object) -> bool:
    """Whether an event is the one that the chain tells of, and not one whose transaction failed."""
    members: Mapping[str, object] = cast("Mapping[str, object]", told) if isinstance(told, Mapping) else {}
    return (event.kind, event.at) == (members.get("kind"), members.get("at"))
