"""`Report`: the base of all reports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from quorate_plugins.approval.reports.chronicle import Chronicle, Step
from quorate_plugins.approval.reports.queries import Query, Span
from quorate_plugins.approval.reports.tables import Cell, Column, Row, Table
from quorate_server.hooks import AuditAttestation


class Report:
    """Watches the chain from its beginning, and says in the end what of it belongs to the period that was asked for.

    `serves` names the controls that ask for such a report; `notes` say what a reader must know to read it rightly.
    `wants_person` and `wants_attestation` say what it cannot do without.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    serves: ClassVar[tuple[str, ...]] = ()
    notes: ClassVar[tuple[str, ...]] = ()
    columns: ClassVar[tuple[Column, ...]]
    wants_person: ClassVar[bool] = False
    wants_attestation: ClassVar[bool] = False

    def __init__(self, query: Query, chronicle: Chronicle, attestation: AuditAttestation | None = None) -> None:
        self.query = query
        self.chronicle = chronicle
        self.attestation = attestation
        self.begin()

    def begin(self) -> None:
        """Prepare what it keeps while it watches."""

    def take(self, step: Step) -> None:
        """Look at the next event of the chain."""

    def rows(self, span: Span) -> Iterable[Row]:
        """Return the rows of the period; each has the `sequence` of the event that it rests on."""
        raise NotImplementedError

    def totals(self, span: Span, rows: list[Row]) -> Row:
        """Return what the rows come to."""
        del span, rows
        return {}

    def table(self, span: Span) -> Table:
        """Return the report."""
        rows = sorted(self.rows(span), key=_place)
        return Table(columns=self.columns, rows=rows, totals=self.totals(span, rows))


def _place(row: Row) -> int:
    sequence = row.get("sequence")
    return sequence if isinstance(sequence, int) else 0


def within(rows: Iterable[Row], span: Span) -> list[Row]:
    """Return the rows whose events belong to a period."""
    return [row for row in rows if _place(row) in span]


def count(rows: Iterable[Row], **wanted: Cell) -> int:
    """Return how many rows have these cells."""
    return sum(all(row.get(name) == cell for name, cell in wanted.items()) for row in rows)
