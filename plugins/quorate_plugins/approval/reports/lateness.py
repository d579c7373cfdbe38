"""Late and escalated: how long stages took, in wall and in business time, and how far they were escalated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from quorate_plugins.approval.calendars import Calendar, business_seconds_between
from quorate_plugins.approval.reports.chronicle import Step
from quorate_plugins.approval.reports.queries import Span, moment
from quorate_plugins.approval.reports.report import Report, count
from quorate_plugins.approval.reports.tables import Cell, Row, columns_of
from quorate_plugins.approval.requests import Decided, Extended, Request, StageRun, StageState, Status


@dataclass(slots=True, kw_only=True)
class _Activation:
    """One time that a stage was open. `first_due_at` is as it was planned, `due_at` as it was moved to."""

    step: Step
    stage: str
    type: str
    number: int
    began_at: float
    calendar: Calendar | None
    first_due_at: float | None = None
    due_at: float | None = None
    level: int = 0
    rounds: int = 0
    extensions: int = 0
    ended_at: float | None = None
    result: str = ""


class LateAndEscalated(Report):
    """Each time that a stage was opened in the period, until it was closed or `as_of`."""

    name = "late_and_escalated"
    title = "Late and escalated"
    serves = ("Operations", "Service levels")
    notes = (
        (
            "A stage is late when it was closed after it was due, or is open and due by `as_of`. `due_at` includes"
            " extensions; `first_due_at` does not."
        ),
        "Business time is in the calendar of the stage as it was published; empty where the chain does not hold it.",
        "`extensions` counts expiries that were deferred after an outage.",
        "Who could not be reached by any channel is not in the audit chain: see the dead effects of the outbox.",
    )
    columns = columns_of(
        {
            "sequence": "Event that opened it",
            "request": "Request",
            "type": "Type",
            "stage": "Stage",
            "activation": "Activation",
            "activated_at": "Opened",
            "first_due_at": "First due",
            "due_at": "Due",
            "ended_at": "Closed",
            "result": "Result",
            "wall_seconds": "Wall time, seconds",
            "business_seconds": "Business time, seconds",
            "is_late": "Late",
            "level": "Escalation level",
            "rounds": "Ladder begun anew",
            "extensions": "Extensions",
        }
    )

    def begin(self) -> None:
        """Begin with no stages."""
        self._all: list[_Activation] = []
        self._open: dict[tuple[str, str], _Activation] = {}
        self._late_decisions: list[int] = []

    def take(self, step: Step) -> None:
        """Follow the stages of the request."""
        if step.after is None:
            return
        self._note_extension(step)
        self._note_late_decision(step, step.after)
        for key in _stages_of(step):
            self._follow(step, key, step.after)

    def _note_late_decision(self, step: Step, request: Request) -> None:
        if isinstance(step.event, Decided) and request.decisions[step.event.decision.id].status is Status.LATE:
            self._late_decisions.append(step.sequence)

    def _note_extension(self, step: Step) -> None:
        if isinstance(step.event, Extended):
            for (artifact, stage), activation in self._open.items():
                if artifact == step.artifact and step.event.stage in {"", stage}:
                    activation.extensions += 1

    def _follow(self, step: Step, stage: str, request: Request) -> None:
        run = request.runs.get(stage)
        known = self._open.get((step.artifact, stage))
        if known is not None and _is_closed(known, run):
            known.ended_at, known.result = step.at, _result(request, run)
            del self._open[step.artifact, stage]
            known = None
        if run is not None and run.state is StageState.ACTIVE:
            _update(known or self._begin(step, stage, run, request), run)

    def _begin(self, step: Step, stage: str, run: StageRun, request: Request) -> _Activation:
        activation = _Activation(
            step=step,
            stage=stage,
            type=request.type,
            number=run.activation,
            began_at=step.at if run.activated_at is None else run.activated_at,
            calendar=self.chronicle.calendar(request.stage(stage).calendar),
        )
        self._open[step.artifact, stage] = activation
        self._all.append(activation)
        return activation

    def rows(self, span: Span) -> Iterable[Row]:
        """Return the stages that were opened in the period."""
        return [self._row(each) for each in self._all if each.step.sequence in span]

    def _row(self, each: _Activation) -> dict[str, Cell]:
        until = self.query.as_of if each.ended_at is None else each.ended_at
        return {
            "sequence": each.step.sequence,
            "request": each.step.artifact,
            "type": each.type,
            "stage": each.stage,
            "activation": each.number,
            "activated_at": moment(each.began_at),
            "first_due_at": moment(each.first_due_at),
            "due_at": moment(each.due_at),
            "ended_at": moment(each.ended_at),
            "result": each.result or "open",
            "wall_seconds": round(max(0.0, until - each.began_at), 3),
            "business_seconds": _business(each.calendar, each.began_at, until),
            "is_late": each.due_at is not None and until > each.due_at,
            "level": each.level,
            "rounds": each.rounds,
            "extensions": each.extensions,
        }

    def totals(self, span: Span, rows: list[Row]) -> Row:
        """Return how many were late, how many escalated, and how often somebody decided too late."""
        return {
            "stages": len(rows),
            "late": count(rows, is_late=True),
            "escalated": sum(row["level"] != 0 for row in rows),
            "expired": count(rows, result="expired"),
            "open": count(rows, result="open"),
            "extended": sum(row["extensions"] != 0 for row in rows),
            "late_decisions": sum(sequence in span for sequence in self._late_decisions),
        }


def _stages_of(step: Step) -> Iterator[str]:
    """Yield the stages that the request has, or had before the event."""
    both = [request.runs for request in (step.before, step.after) if request is not None]
    yield from dict.fromkeys(stage for runs in both for stage in runs)


def _is_closed(activation: _Activation, run: StageRun | None) -> bool:
    return run is None or run.state is not StageState.ACTIVE or run.activation != activation.number


def _update(activation: _Activation, run: StageRun) -> None:
    activation.due_at = run.due_at
    if activation.first_due_at is None:
        activation.first_due_at = run.due_at
    if run.climb is not None:
        activation.level = max(activation.level, run.climb.level)
        activation.rounds = run.climb.round


def _result(request: Request, run: StageRun | None) -> str:
    """Return what became of a stage that is not open any more, or is open anew."""
    if run is None or run.state is StageState.ACTIVE:
        return "reopened"
    return str(request.state) if run.state is StageState.CANCELLED else str(run.state)


def _business(calendar: Calendar | None, start: float, end: float) -> float | None:
    return None if calendar is None else round(business_seconds_between(calendar, start, end), 3)
