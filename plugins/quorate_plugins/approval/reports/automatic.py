"""What nobody decided: approvals and rejections by policy, and outcomes because time ran out."""

from __future__ import annotations

from collections.abc import Iterable

from quorate_plugins.approval.reports.chronicle import Step
from quorate_plugins.approval.reports.queries import Span, moment
from quorate_plugins.approval.reports.report import Report, count, within
from quorate_plugins.approval.reports.tables import Cell, Row, columns_of
from quorate_plugins.approval.requests import Ended, Evaluated, Request

_BY_TIME = "timer"
_OUTCOMES = {"auto_approve": "approved", "auto_reject": "rejected"}


class AutomaticDecisions(Report):
    """Each outcome that a policy or a clock brought about in the period."""

    name = "automatic_decisions"
    title = "Automatic decisions"
    serves = ("GDPR Art. 22", "Model governance")
    notes = (
        (
            "`inputs_hash` is the hash of the guarded content the rules were asked about. They may also look at the"
            " requester's groups, the subject's owners and the time, which are not in the chain."
        ),
        "`rules` is the explanation as it was recorded: which rules matched, of which policies.",
    )
    columns = columns_of(
        {
            "sequence": "Event",
            "request": "Request",
            "type": "Type",
            "risk": "Risk",
            "requester": "Requester",
            "at": "When",
            "origin": "Brought about by",
            "outcome": "Outcome",
            "cause": "Cause",
            "rules": "Rules",
            "policy_version": "Policy version",
            "template_version": "Template version",
            "inputs_hash": "Hash of the inputs",
        }
    )

    def begin(self) -> None:
        """Begin with nothing seen."""
        self._rows: list[dict[str, Cell]] = []
        self._evaluations: list[int] = []

    def take(self, step: Step) -> None:
        """Look for verdicts of policies, and what time ended."""
        match step.event:
            case Evaluated(verdict=verdict, by=by) if step.after is not None:
                self._evaluations.append(step.sequence)
                if verdict in _OUTCOMES:
                    self._add(step, step.after, by, _OUTCOMES[verdict], "policy")
            case Ended(by="timer", state=state, cause=cause) if step.after is not None:
                self._add(step, step.after, _BY_TIME, str(state), cause)
            case _:
                pass

    def _add(self, step: Step, request: Request, origin: str, outcome: str, cause: str) -> None:
        self._rows.append(
            {
                "sequence": step.sequence,
                "request": step.artifact,
                "type": request.type,
                "risk": request.risk,
                "requester": request.requester,
                "at": moment(step.at),
                "origin": origin,
                "outcome": outcome,
                "cause": cause,
                "rules": request.explanation,
                "policy_version": request.policy_version,
                "template_version": request.template_version,
                "inputs_hash": request.content_hash,
            }
        )

    def rows(self, span: Span) -> Iterable[Row]:
        """Return the outcomes of the period."""
        return within(self._rows, span)

    def totals(self, span: Span, rows: list[Row]) -> Row:
        """Return how many outcomes there were of each kind, and how often policies were asked."""
        by_policy = sum(row["cause"] == "policy" for row in rows)
        return {
            "evaluations": sum(sequence in span for sequence in self._evaluations),
            "by_policy": by_policy,
            "approved_by_policy": count(rows, cause="policy", outcome="approved"),
            "rejected_by_policy": count(rows, cause="policy", outcome="rejected"),
            "by_time": len(rows) - by_policy,
            "approved_by_time": count(rows, origin=_BY_TIME, outcome="approved"),
        }
