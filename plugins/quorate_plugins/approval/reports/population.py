"""The population of approval requests: every one that was created in the period, and that none is missing."""

from __future__ import annotations

from collections.abc import Iterable

from quorate_plugins.approval.reports.chronicle import Step
from quorate_plugins.approval.reports.queries import Span, moment
from quorate_plugins.approval.reports.report import Report, within
from quorate_plugins.approval.reports.tables import Cell, Row, columns_of
from quorate_plugins.approval.requests import Request, Verdict


class Population(Report):
    """Each request that was first submitted in the period, as it stands at the checkpoint."""

    name = "population"
    title = "Population of approval requests"
    serves = ("SOC 2 CC8.1", "SOX ITGC change management")
    notes = (
        (
            "`created` counts the events of the audit chain that began a request, between `first_sequence` and"
            " `last_sequence`, without replaying any; the population is complete when the rows are as many."
        ),
        "Approvers and rejecters are those whose decisions count at the checkpoint.",
    )
    columns = columns_of(
        {
            "sequence": "Event that created it",
            "request": "Request",
            "type": "Type",
            "risk": "Risk",
            "subject": "Subject",
            "requester": "Requester",
            "beneficiaries": "Beneficiaries",
            "contributors": "Contributors",
            "submitted_at": "First submitted",
            "revision": "Revision",
            "content_hash": "Content hash",
            "policy_version": "Policy version",
            "approvers": "Approved by",
            "rejecters": "Rejected by",
            "state": "State",
            "outcome": "Outcome",
            "resolved_by": "Resolved by",
            "resolved_at": "Resolved",
            "is_automatic": "Decided by policy",
            "execution": "Event that began execution",
            "executed_at": "Execution ended",
            "is_executed": "Executed",
            "last_sequence": "Last event",
        }
    )

    def begin(self) -> None:
        """Begin with no requests."""
        self._rows: dict[str, dict[str, Cell]] = {}
        self._created: list[int] = []
        self._unreadable: list[int] = []

    def take(self, step: Step) -> None:
        """Count what was created, and keep each request's row as it is now."""
        if step.logged.type == "approval.submitted" and step.logged.facts.get("before") is None:
            self._created.append(step.sequence)
        if step.problem:
            self._unreadable.append(step.sequence)
        if step.after is not None:
            self._keep(step, step.after)

    def _keep(self, step: Step, request: Request) -> None:
        row = self._rows.setdefault(
            step.artifact, {"sequence": step.sequence, "request": step.artifact, "submitted_at": moment(step.at)}
        )
        row.update(_described(request))
        row["last_sequence"] = step.sequence
        if step.event is not None and step.event.kind == "execution_started":
            row["execution"] = step.sequence
        if step.event is not None and step.event.kind == "execution_ended":
            row |= {"executed_at": moment(step.at), "is_executed": step.event.is_done}

    def rows(self, span: Span) -> Iterable[Row]:
        """Return the requests that were created in the period."""
        return within(self._rows.values(), span)

    def totals(self, span: Span, rows: list[Row]) -> Row:
        """Return that the rows are complete, by two counts that know nothing of each other."""
        created = sum(sequence in span for sequence in self._created)
        return {
            "created": created,
            "rows": len(rows),
            "is_complete": created == len(rows),
            "first_sequence": span.first,
            "last_sequence": span.last,
            "events_that_do_not_follow": len(self._unreadable),
        }


def _described(request: Request) -> dict[str, Cell]:
    return {
        "type": request.type,
        "risk": request.risk,
        "subject": request.subject,
        "requester": request.requester,
        "beneficiaries": request.beneficiaries,
        "contributors": request.contributors,
        "revision": request.revision,
        "content_hash": request.content_hash,
        "policy_version": request.policy_version,
        "approvers": voices(request, "approve"),
        "rejecters": voices(request, "reject"),
        "state": str(request.state),
        "outcome": request.outcome,
        "resolved_by": request.resolved_by,
        "resolved_at": moment(request.resolved_at),
        "is_automatic": request.is_automatic,
    }


def voices(request: Request, verdict: Verdict) -> tuple[str, ...]:
    """Return who said so with decisions that count: `B for A`, where B decided in A's name."""
    said = (each for each in request.counted() if each.verdict == verdict)
    return tuple(dict.fromkeys(speaker(each.actor, each.principal) for each in said))


def speaker(actor: str, principal: str) -> str:
    """Return who decided, and for whom."""
    return actor if actor == principal else f"{actor} for {principal}"
