"""`Reminders`: an artifact whose `properties` have a `due_at` reminds its owners, and says when it is overdue.

What happened is in the record under `reminders`: for which due date, how far it is, and when its owners were told.
That they are told is a change of the feed, `reminder.due` or `reminder.overdue`, written in the same transaction; so
each is told once for each due date, whatever is restarted or asked twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, cast

from pydantic import Field

from quorate_server.hooks import (
    KIND_NAMES,
    Action,
    AnyDoc,
    AnySpec,
    Artifact,
    ArtifactName,
    Call,
    Command,
    CommandSpec,
    Conflict,
    Done,
    Engine,
    ProposedUpdate,
    Refused,
    Work,
    set_property,
)

ROOT = "properties"
SECTION = "reminders"
DAY_SECONDS = 86400.0

WAITING, REMINDED, OVERDUE, UNREADABLE = "waiting", "reminded", "overdue", "unreadable"


class Snooze(Command):
    """Move an artifact's due date, by some seconds from now."""

    artifact: ArtifactName
    seconds: Annotated[int, Field(ge=60, le=366 * 86400)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """When an artifact is due, and from when on its owners are to be reminded; seconds since the epoch."""

    due_text: str
    due_at: float
    remind_at: float

    def state_at(self, now: float) -> str:
        """Return how far it is at a time."""
        if now >= self.due_at:
            return OVERDUE
        return REMINDED if now >= self.remind_at else WAITING

    def next_after(self, now: float) -> float | None:
        """Return when that changes."""
        return next((at for at in (self.remind_at, self.due_at) if at > now), None)


class Reminders(Engine):
    """Reminds owners of due dates."""

    name = "reminders"
    version = "1"
    kinds = frozenset(KIND_NAMES)
    watches = frozenset({ROOT})
    guards = dict.fromkeys(KIND_NAMES, frozenset({ROOT}))

    clock: Callable[[], float] = staticmethod(time.time)

    def before_update(self, proposed: ProposedUpdate) -> None:
        """Refuse a due date that cannot be read: nobody would be reminded of it."""
        properties = proposed.content_json().get(ROOT)
        if isinstance(properties, Mapping):
            try:
                read_plan(cast("Mapping[str, object]", properties))
            except ValueError as error:
                raise Refused(str(error)) from error

    async def reconcile(self, artifact: Artifact) -> float | None:
        """Compare what the record says with the due date and the time, and do the difference."""
        now = self.clock()

        def decide(work: Work) -> float | None:
            said = artifact.record_section(SECTION)
            try:
                plan = read_plan(artifact.root_members(ROOT))
            except ValueError as error:
                work.set_record(artifact, SECTION, {"state": UNREADABLE, "reason": str(error)})
                return None
            if plan is None:
                work.set_record(artifact, SECTION, None)
                return None
            self._tell(work, artifact, plan, said, now)
            return plan.next_after(now)

        return await self.server.transact(decide, artifact)

    def _tell(self, work: Work, artifact: Artifact, plan: Plan, said: Mapping[str, object], now: float) -> None:
        """Write down how far it is, and tell the owners if that is news to them."""
        state = plan.state_at(now)
        is_same_date = said.get("due_at") == plan.due_text
        is_same_plan = is_same_date and said.get("remind_at") == plan.remind_at
        if is_same_plan and _is_as_far(said.get("state"), state):
            return  # a clock that was set back takes nothing back
        section: dict[str, object] = {"due_at": plan.due_text, "remind_at": plan.remind_at, "state": state}
        if is_same_date and said.get("state") == state:
            section["told_at"] = said.get("told_at")  # only the notice changed
        elif state != WAITING:
            owners = list(self.server.principals_with("owner", artifact.name))
            told = {"due_at": plan.due_text, "owners": owners}
            event = "reminder.due" if state == REMINDED else "reminder.overdue"
            work.publish(event, artifact, told)
            work.audit(event, artifact, facts={"due_at": plan.due_text})
            section["told_at"] = now
        work.set_record(artifact, SECTION, section)

    def commands(self) -> Sequence[AnySpec]:
        """Return the one command: to put a due date off."""
        return (
            CommandSpec(
                name="reminders.snooze",
                summary="Put the due date of an artifact off",
                command=Snooze,
                answer=Done,
                handler=self._snooze,
                permission=Action.WRITE,
                engine=self.name,
            ),
        )

    async def _snooze(self, call: Call, command: Snooze) -> Done:
        async with call.artifact(command.artifact) as artifact:

            def decide(work: Work) -> Done:
                if not artifact.root_members(ROOT).get("due_at"):
                    raise Conflict(f"{artifact.name!r} has no due date that could be put off")
                due = datetime.fromtimestamp(self.clock() + command.seconds, UTC).isoformat(timespec="seconds")

                def edit(doc: AnyDoc) -> None:
                    set_property(doc, "due_at", due)

                work.edit_content(artifact, edit, actor=work.actor.id)
                return Done()

            return await call.transact(decide)


def _is_as_far(said: object, state: str) -> bool:
    """Whether what was said is at least as far as a state."""
    order = (WAITING, REMINDED, OVERDUE)
    return said in order and order.index(str(said)) >= order.index(state)


def read_plan(properties: Mapping[str, object]) -> Plan | None:
    """Return when an artifact with these properties is due; `None` when it never is.

    Raises:
        ValueError: there is a due date that is no ISO 8601 time with its offset, or an impossible notice.
    """
    due = properties.get("due_at")
    if due in (None, ""):
        return None
    at = _time(due)
    if at is None:
        raise ValueError(f"`due_at` must be a time such as 2026-12-24T17:00:00+01:00, not {str(due)[:60]!r}")
    notice = properties.get("remind_before", DAY_SECONDS)
    if isinstance(notice, bool) or not isinstance(notice, (int, float)) or not 0 <= notice <= 366 * DAY_SECONDS:
        raise ValueError(f"`remind_before` must be a number of seconds up to a year, not {str(notice)[:60]!r}")
    return Plan(due_text=str(due), due_at=at, remind_at=at - notice)


def _time(text: object) -> float | None:
    """Return a time in seconds since the epoch; `None` if it is none, or does not say of which place."""
    try:
        read = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return None if read is None or read.tzinfo is None else read.timestamp()
