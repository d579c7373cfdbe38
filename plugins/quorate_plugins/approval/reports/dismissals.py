"""Stale dismissals: decisions that fell because what they were about was edited afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from quorate_plugins.approval.reports.chronicle import Step
from quorate_plugins.approval.reports.population import speaker
from quorate_plugins.approval.reports.queries import Span, digest, moment
from quorate_plugins.approval.reports.report import Report
from quorate_plugins.approval.reports.tables import Cell, Row, columns_of
from quorate_plugins.approval.requests import Decision, Edited, Request, StageState, State, Status


@dataclass(slots=True, kw_only=True)
class _Dismissal:
    """A decision that fell, or that still counts for a part of what it was about only."""

    step: Step
    edited: Edited
    decision: Decision
    fell_for: tuple[str, ...]
    before: Request
    again_at: float | None = None


class StaleDismissals(Report):
    """Each decision that an edit in the period set aside."""

    name = "stale_dismissals"
    title = "Stale dismissals"
    serves = ("Change integrity",)
    notes = (
        "`diff_hash` is the SHA-256 of the canonical JSON of the changed parts, each with its hash before and after.",
        "`seconds_to_approval` is until the stage was satisfied again, or the request approved by another way.",
        "`edited_by` is who wrote last, and whoever had not written in the content before.",
        "`requirements` are those for which the decision does not count any more.",
    )
    columns = columns_of(
        {
            "sequence": "Event of the edit",
            "request": "Request",
            "edited_at": "Edited",
            "edited_by": "Edited by",
            "changed_parts": "Changed parts",
            "hash_before": "Content hash before",
            "hash_after": "Content hash after",
            "diff_hash": "Hash of the difference",
            "decider": "Decided by",
            "verdict": "Verdict",
            "decided_at": "Decided",
            "stage": "Stage",
            "requirements": "Requirements",
            "approved_again_at": "Approved again",
            "seconds_to_approval": "Time to approval, seconds",
        }
    )

    def begin(self) -> None:
        """Begin with nothing dismissed."""
        self._all: list[_Dismissal] = []
        self._waiting: dict[str, list[_Dismissal]] = {}

    def take(self, step: Step) -> None:
        """Look for what an edit set aside, and for stages that are satisfied again."""
        if step.after is None:
            return
        if isinstance(step.event, Edited) and step.before is not None:
            self._dismiss(step, step.event, step.before, step.after)
        self._close(step, step.after)

    def _dismiss(self, step: Step, edited: Edited, before: Request, after: Request) -> None:
        for key, earlier in before.decisions.items():
            fell_for = _fallen(earlier, after.decisions[key])
            if fell_for:
                found = _Dismissal(step=step, edited=edited, decision=earlier, fell_for=fell_for, before=before)
                self._all.append(found)
                self._waiting.setdefault(step.artifact, []).append(found)

    def _close(self, step: Step, request: Request) -> None:
        waiting = self._waiting.get(step.artifact)
        if not waiting:
            return
        for found in waiting:
            if _is_met(request, found.decision.stage):
                found.again_at = step.at
        self._waiting[step.artifact] = [found for found in waiting if found.again_at is None]

    def rows(self, span: Span) -> Iterable[Row]:
        """Return the dismissals of the period."""
        return [_row(found) for found in self._all if found.step.sequence in span]

    def totals(self, span: Span, rows: list[Row]) -> Row:
        """Return how many decisions fell, by how many edits, and how many were made up for."""
        del span
        return {
            "dismissed": len(rows),
            "edits": len({row["sequence"] for row in rows}),
            "approved_again": sum(row["approved_again_at"] is not None for row in rows),
        }


def _fallen(earlier: Decision, later: Decision) -> tuple[str, ...]:
    """Return the requirements for which a decision does not count any more after an edit."""
    if earlier.status is not Status.COUNTED:
        return ()
    if later.status is Status.DISMISSED_STALE:
        return earlier.requirements
    is_narrowed = later.status is Status.COUNTED
    return tuple(key for key in earlier.requirements if key not in later.requirements) if is_narrowed else ()


def _is_met(request: Request, stage: str) -> bool:
    run = request.runs.get(stage)
    is_satisfied = run is not None and run.state is StageState.SATISFIED
    return is_satisfied or request.state in {State.APPROVED, State.OVERRIDDEN}


def _editors(found: _Dismissal) -> tuple[str, ...]:
    """Return who wrote last, and whoever had no part in the content before; the event names all who ever wrote."""
    new = (each for each in found.edited.contributors if each not in found.before.contributors)
    return tuple(dict.fromkeys((found.edited.by, *new)))


def _row(found: _Dismissal) -> dict[str, Cell]:
    before, after = found.before.part_hashes, found.edited.part_hashes
    changed = {
        part: [before.get(part), after.get(part)]
        for part in sorted(before.keys() | after.keys())
        if before.get(part) != after.get(part)
    }
    return {
        "sequence": found.step.sequence,
        "request": found.step.artifact,
        "edited_at": moment(found.step.at),
        "edited_by": _editors(found),
        "changed_parts": tuple(changed),
        "hash_before": found.before.content_hash,
        "hash_after": found.edited.content_hash,
        "diff_hash": digest(changed),
        "decider": speaker(found.decision.actor, found.decision.principal),
        "verdict": found.decision.verdict,
        "decided_at": moment(found.decision.at),
        "stage": found.decision.stage,
        "requirements": found.fell_for,
        "approved_again_at": moment(found.again_at),
        "seconds_to_approval": None if found.again_at is None else round(found.again_at - found.step.at, 3),
    }
