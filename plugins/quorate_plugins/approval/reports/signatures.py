"""E-signatures: decisions for which somebody had to prove again who they are, and what they signed."""

from __future__ import annotations

from collections.abc import Iterable

from quorate_plugins.approval.reports.chronicle import Step
from quorate_plugins.approval.reports.population import speaker
from quorate_plugins.approval.reports.queries import Span, moment
from quorate_plugins.approval.reports.report import Report, count, within
from quorate_plugins.approval.reports.tables import Cell, Row, columns_of
from quorate_plugins.approval.requests import Decided, Decision, Overrode, Request, Status

PRINTED_NAME = "name"
"""The personal text of an event that holds the signer's name as the directory had it."""
MEANINGS = {
    "approve": "approval",
    "reject": "rejection",
    "request_changes": "return for changes",
    "abstain": "abstention",
}


class ElectronicSignatures(Report):
    """Each decision in the period that took a fresh sign-in, and each override."""

    name = "e_signatures"
    title = "Electronic signatures"
    serves = ("21 CFR 11.50", "21 CFR 11.70")
    notes = (
        (
            "The printed name is the one that the directory had at the time. It is a personal text: the chain holds a"
            " salted commitment to it, and `[erased]` stands where the text was erased."
        ),
        "A signature is linked to what was signed by `content_hash`, and to its place in the chain by `sequence`.",
        "An override takes a fresh sign-in as well; which one is not in its event.",
    )
    columns = columns_of(
        {
            "sequence": "Event",
            "request": "Request",
            "signer": "Signer",
            "printed_name": "Printed name",
            "meaning": "Meaning",
            "signed_at": "Signed",
            "stage": "Stage",
            "revision": "Revision",
            "content_hash": "Content hash",
            "acr": "Authentication class",
            "authenticated_at": "Signed in",
            "is_accepted": "Counted when it was made",
        }
    )

    def begin(self) -> None:
        """Begin with no signatures."""
        self._rows: list[dict[str, Cell]] = []

    def take(self, step: Step) -> None:
        """Look for signatures."""
        match step.event:
            case Decided(decision=decision) if step.before is not None and step.after is not None:
                if _is_signed(step.before, decision):
                    self._rows.append(_signed(step, step.after.decisions[decision.id]))
            case Overrode(by=by) if step.after is not None:
                self._rows.append(_overridden(step, by, step.after))
            case _:
                pass

    def rows(self, span: Span) -> Iterable[Row]:
        """Return the signatures of the period."""
        return within(self._rows, span)

    def totals(self, span: Span, rows: list[Row]) -> Row:
        """Return how many signatures there are, and how many names are erased."""
        del span
        return {"signatures": len(rows), "names_erased": count(rows, printed_name=ERASED)}


ERASED = "[erased]"


def _is_signed(request: Request, decision: Decision) -> bool:
    """Whether a decision was about a requirement that wants a fresh sign-in."""
    stage = next((each for each in request.stages if each.id == decision.stage), None)
    if stage is None or decision.status is Status.LATE:
        return False
    return stage.wants_signature(decision.requirements)


def _signed(step: Step, decision: Decision) -> dict[str, Cell]:
    return {
        "sequence": step.sequence,
        "request": step.artifact,
        "signer": speaker(decision.actor, decision.principal),
        "printed_name": printed_name(step),
        "meaning": MEANINGS[decision.verdict],
        "signed_at": moment(decision.at),
        "stage": decision.stage,
        "revision": decision.revision,
        "content_hash": decision.content_hash,
        "acr": decision.acr,
        "authenticated_at": moment(decision.auth_time),
        "is_accepted": decision.status is Status.COUNTED,
    }


def _overridden(step: Step, by: str, request: Request) -> dict[str, Cell]:
    return {
        "sequence": step.sequence,
        "request": step.artifact,
        "signer": by,
        "printed_name": printed_name(step),
        "meaning": "override",
        "signed_at": moment(step.at),
        "revision": request.revision,
        "content_hash": request.content_hash,
        "is_accepted": True,
    }


def printed_name(step: Step) -> str | None:
    """Return the name that was signed with: erased, or `None` when none was recorded."""
    if PRINTED_NAME not in step.logged.commitments:
        return None
    return step.entry.texts.get(PRINTED_NAME, ERASED)
