"""Access that was granted: to whom, by which request, until when, and whether it ended then."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from quorate_plugins.approval.reports.chronicle import Step
from quorate_plugins.approval.reports.queries import Span, moment
from quorate_plugins.approval.reports.report import Report, count
from quorate_plugins.approval.reports.tables import Cell, Row, columns_of


@dataclass(slots=True, kw_only=True)
class _Grant:
    """A grant. Times are in seconds since the epoch; `ended_how` is empty while it holds."""

    step: Step
    scope: str
    principal: str
    role: str
    until: float | None
    ended_at: float | None = None
    ended_by: str = ""
    ended_how: str = ""
    ended_request: str = ""


class AccessGrants(Report):
    """Each grant of a role that began, ended or held in the period."""

    name = "access_grants"
    title = "Access grants and expiry"
    serves = ("SOC 2 CC6.1", "SOC 2 CC6.2", "SOC 2 CC6.3")
    notes = (
        "`is_active_past_end` must be `no` everywhere: it says that access still holds at `as_of` after its end.",
        "A grant without a request was given by command, by somebody who may share the artifact.",
        "A grant that another one of the same scope and principal follows is `replaced`.",
    )
    columns = columns_of(
        {
            "sequence": "Event that granted it",
            "scope": "Scope",
            "principal": "Principal",
            "role": "Role",
            "granted_by": "Granted by",
            "request": "Request",
            "granted_at": "Granted",
            "until": "Ends",
            "ended_at": "Ended",
            "ended_how": "How it ended",
            "ended_by": "Ended by",
            "ended_request": "Request that ended it",
            "is_early": "Ended early",
            "is_active": "Active",
            "is_active_past_end": "Active past its end",
        }
    )

    def begin(self) -> None:
        """Begin with no grants."""
        self._all: list[_Grant] = []
        self._open: dict[tuple[str, str], _Grant] = {}

    def take(self, step: Step) -> None:
        """Open and close grants."""
        if step.logged.type == "access.granted":
            self._end(step, "replaced")
            self._begin(step)
        elif step.logged.type == "access.revoked":
            self._end(step, "lapsed" if step.logged.actor.startswith("engine:") else "revoked")

    def _begin(self, step: Step) -> None:
        scope, principal = _place(step)
        until = step.number("until") or None
        grant = _Grant(step=step, scope=scope, principal=principal, role=step.fact("role"), until=until)
        self._open[scope, principal] = grant
        self._all.append(grant)

    def _end(self, step: Step, how: str) -> None:
        grant = self._open.pop(_place(step), None)
        if grant is not None:
            grant.ended_at, grant.ended_by, grant.ended_how = step.at, step.logged.actor, how
            grant.ended_request = step.cause

    def rows(self, span: Span) -> Iterable[Row]:
        """Return the grants of the period, and those from before it that had not ended by its beginning."""
        return [self._row(grant) for grant in self._all if grant.step.sequence <= span.last and self._held(grant, span)]

    def _held(self, grant: _Grant, span: Span) -> bool:
        begins = self.query.since
        return grant.step.sequence in span or grant.ended_at is None or begins is None or grant.ended_at >= begins

    def _row(self, grant: _Grant) -> dict[str, Cell]:
        is_active = grant.ended_at is None
        is_over = grant.until is not None and grant.until <= self.query.as_of
        return {
            "sequence": grant.step.sequence,
            "scope": grant.scope,
            "principal": grant.principal,
            "role": grant.role,
            "granted_by": grant.step.logged.actor,
            "request": grant.step.cause,
            "granted_at": moment(grant.step.at),
            "until": moment(grant.until),
            "ended_at": moment(grant.ended_at),
            "ended_how": grant.ended_how,
            "ended_by": grant.ended_by,
            "ended_request": grant.ended_request,
            "is_early": _is_early(grant),
            "is_active": is_active,
            "is_active_past_end": is_active and is_over,
        }

    def totals(self, span: Span, rows: list[Row]) -> Row:
        """Return how many hold, ended early, and hold past their end."""
        del span
        return {
            "grants": len(rows),
            "active": count(rows, is_active=True),
            "ended_early": count(rows, is_early=True),
            "active_past_end": count(rows, is_active_past_end=True),
        }


def _place(step: Step) -> tuple[str, str]:
    """Return what a grant is about. An event without its scope is about its artifact."""
    return step.fact("scope") or step.artifact, step.fact("principal")


def _is_early(grant: _Grant) -> bool:
    is_revoked = grant.ended_how == "revoked"
    return is_revoked and grant.ended_at is not None and (grant.until is None or grant.ended_at < grant.until)
