"""`build`: a report as a document that is sealed to a checkpoint, from the events of the audit chain.

    entries = ...                                    all events of the chain, from the first, up to the checkpoint
    document = build(Query(report="population", as_of=...), entries, seal=seal)
    text = render(document, "html")

The same query and the same events are the same document to the byte: what depends on anything else is in the query.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from quorate_plugins.approval.reports.catalogue import REPORTS
from quorate_plugins.approval.reports.chronicle import Chronicle
from quorate_plugins.approval.reports.queries import Query, Span
from quorate_plugins.approval.reports.tables import Table
from quorate_server.hooks import AuditAttestation, AuditEntry, Seal

GENERATOR = "quorate-approval-reports"
GENERATOR_VERSION = "1"
"""Another one whenever the same events and query would come to another document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A report. It rests on the events up to `seal.size` and on nothing else; `span` is its period in the chain.

    Without a seal (an export that has no checkpoint) nothing vouches for the events.
    """

    query: Query
    title: str
    serves: Sequence[str]
    notes: Sequence[str]
    table: Table
    span: Span
    seal: Seal | None


class Builder:
    """Takes the chain page by page, so that it need not be in memory as a whole.

    Raises:
        ValueError: there is no such report, or it lacks whom or what it is about.
    """

    def __init__(self, query: Query, *, seal: Seal | None, attestation: AuditAttestation | None = None) -> None:
        kind = REPORTS.get(query.report)
        if kind is None:
            raise ValueError(f"there is no report {query.report!r}; there are {', '.join(REPORTS)}")
        if kind.wants_person != bool(query.person):
            raise ValueError(f"`{query.report}` is {'' if kind.wants_person else 'not '}about a `person`")
        if kind.wants_attestation and attestation is None:
            raise ValueError(f"`{query.report}` is about a verification of the chain")
        self._query = query
        self._seal = seal
        self._span = Span()
        self._chronicle = Chronicle()
        self._report = kind(query, self._chronicle, attestation)

    def take(self, entries: Iterable[AuditEntry]) -> None:
        """Take the next events of the chain; those beyond the checkpoint are left out."""
        for entry in entries:
            event = entry.event
            if self._seal is None or event.sequence <= self._seal.size:
                self._span.note(event.sequence, event.at, self._query)
                self._report.take(self._chronicle.take(entry))

    def document(self) -> Document:
        """Return the report of what was taken."""
        report = self._report
        return Document(
            query=self._query,
            title=report.title,
            serves=report.serves,
            notes=report.notes,
            table=report.table(self._span),
            span=self._span,
            seal=self._seal,
        )


def build(
    query: Query,
    entries: Iterable[AuditEntry],
    *,
    seal: Seal | None,
    attestation: AuditAttestation | None = None,
) -> Document:
    """Return a report over the events of the chain, all of them and in order; raises what `Builder` does."""
    builder = Builder(query, seal=seal, attestation=attestation)
    builder.take(entries)
    return builder.document()
