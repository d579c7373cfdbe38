"""Separation of duties: who tried to decide on what was theirs, who was let, and who decides for whom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from quorate_plugins.approval.reports.chronicle import Step
from quorate_plugins.approval.reports.queries import Span, moment
from quorate_plugins.approval.reports.report import Report, count, within
from quorate_plugins.approval.reports.tables import Cell, Row, columns_of
from quorate_plugins.approval.requests import Request, State, Submitted

REFUSED = "sod-violation"


class SeparationOfDuties(Report):
    """Refused attempts, overrides and their reviews, approvals across linked requests, and decisions by delegates."""

    name = "separation_of_duties"
    title = "Separation of duties"
    serves = ("SOX", "ISO 27001 A.5.3")
    notes = (
        "`refused`: somebody tried to decide on what they asked for, profit from or wrote; it was not counted.",
        "`override`: somebody decided against the rules; `review` says whether that was reviewed, and by whom.",
        "`linked`: the requester of one request approved another that supersedes it, or is superseded by it.",
        "`reciprocal`: two people approved each other's requests about one subject.",
        "`delegated`: a decision that a delegate made in another's name.",
    )
    columns = columns_of(
        {
            "sequence": "Event",
            "case": "Case",
            "request": "Request",
            "person": "Person",
            "counterpart": "Counterpart",
            "other_request": "Other request",
            "at": "When",
            "command": "Command",
            "review": "Review",
            "reviewed_by": "Reviewed by",
            "reviewed_at": "Reviewed",
        }
    )

    def begin(self) -> None:
        """Begin with nothing seen."""
        self._rows: list[dict[str, Cell]] = []
        self._overrides: dict[str, dict[str, Cell]] = {}
        self._approvals = _Approvals()

    def take(self, step: Step) -> None:
        """Look for refusals, overrides, reviews, delegates and approvals."""
        if step.logged.type == "command.refused":
            self._refused(step)
        elif step.logged.type == "approval.override_reviewed":
            self._reviewed(step)
        elif step.event is not None and step.after is not None:
            self._of_request(step, step.after)

    def _refused(self, step: Step) -> None:
        if step.fact("code") == REFUSED:
            self._add("refused", step, person=step.logged.actor, command=step.fact("command"))

    def _reviewed(self, step: Step) -> None:
        row = self._overrides.get(step.artifact)
        if row is not None:
            row |= {"review": "closed", "reviewed_by": step.logged.actor, "reviewed_at": moment(step.at)}

    def _of_request(self, step: Step, request: Request) -> None:
        event = step.event
        assert event is not None, "only events of requests come here"
        if event.kind == "overrode":
            self._overrides[step.artifact] = self._add("override", step, person=event.by, review="open")
        elif event.kind == "decided" and event.decision.actor != event.decision.principal:
            self._add("delegated", step, person=event.decision.actor, counterpart=event.decision.principal)
        self._approvals.take(step, request)

    def _add(self, case: str, step: Step, **cells: Cell) -> dict[str, Cell]:
        row: dict[str, Cell] = {"sequence": step.sequence, "case": case, "request": step.artifact}
        row |= {"at": moment(step.at), **cells}
        self._rows.append(row)
        return row

    def rows(self, span: Span) -> Iterable[Row]:
        """Return the cases of the period."""
        found = [*self._rows, *self._approvals.linked(), *self._approvals.reciprocal()]
        return within(found, span)

    def totals(self, span: Span, rows: list[Row]) -> Row:
        """Return how many cases there are of each kind."""
        del span
        pairs = {(row.get("person"), row.get("counterpart")) for row in rows if row["case"] == "delegated"}
        return {
            "refused": count(rows, case="refused"),
            "overrides": count(rows, case="override"),
            "overrides_not_reviewed": count(rows, case="override", review="open"),
            "linked": count(rows, case="linked"),
            "reciprocal": count(rows, case="reciprocal"),
            "delegated": count(rows, case="delegated"),
            "pairs_of_delegates": len(pairs),
        }


class _Approvals:
    """Who asked for what, and whose approval led to it; the last approval of a request is the one that counts."""

    def __init__(self) -> None:
        self._requesters: dict[str, str] = {}
        self._approved: dict[str, tuple[Step, frozenset[str], str]] = {}
        self._links: list[tuple[str, str]] = []

    def take(self, step: Step, request: Request) -> None:
        """Note who asked, what is superseded, and who approved when it becomes approved."""
        self._requesters[step.artifact] = request.requester
        if isinstance(step.event, Submitted) and step.event.supersedes:
            self._links.append((step.artifact, step.event.supersedes))
        was_approved = step.before is not None and step.before.state is State.APPROVED
        if request.state is State.APPROVED and not was_approved:
            self._approved[step.artifact] = (step, _approvers(request), request.subject)

    def linked(self) -> Iterator[Row]:
        """Yield the cases of linked requests: asked for the one, and approved the other."""
        for newer, older in self._links:
            for asked, approved in ((newer, older), (older, newer)):
                person = self._requesters.get(asked, "")
                step, people, _ = self._approved.get(approved, (None, frozenset[str](), ""))
                if step is not None and person in people:
                    yield _case("linked", step, person, self._requesters[approved], asked)

    def reciprocal(self) -> Iterator[Row]:
        """Yield the pairs of people who approved each other's requests about one subject, once each."""
        seen: dict[tuple[str, str, str], str] = {}
        for name, (step, people, subject) in self._approved.items():
            requester = self._requesters[name]
            for approver in sorted(people) if subject else ():
                other = seen.get((subject, approver, requester))
                if other is not None:
                    yield _case("reciprocal", step, approver, requester, other)
                seen.setdefault((subject, requester, approver), name)


def _approvers(request: Request) -> frozenset[str]:
    """Return whose approvals count, and in whose names."""
    approving = [each for each in request.counted() if each.verdict == "approve"]
    return frozenset(person for each in approving for person in (each.actor, each.principal))


def _case(case: str, step: Step, person: str, counterpart: str, other: str) -> Row:
    return {
        "sequence": step.sequence,
        "case": case,
        "request": step.artifact,
        "person": person,
        "counterpart": counterpart,
        "other_request": other,
        "at": moment(step.at),
    }
