"""The command that makes compliance reports: who may, what it reads, and that it was asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence

from quorate_plugins.approval.commands import ComplianceReport, MakeReport
from quorate_plugins.approval.handling import EVERYTHING, Handling
from quorate_plugins.approval.reports.building import Builder, Document
from quorate_plugins.approval.reports.catalogue import REPORTS
from quorate_plugins.approval.reports.queries import Query
from quorate_plugins.approval.reports.rendering import MEDIA_TYPES, render, seal_json
from quorate_server.hooks import Action, AuditAttestation, AuditEntry, Call, Conflict, Seal, Server, Work

AUDITOR_ROLE = "auditor"
"""The role in the directory whose holders may have reports made; administrators may as well."""
PAGE = 500
MOST_ROWS = 100_000
"""A report that is longer is refused: it is asked for in several periods."""


class Reporting(Handling):
    """Handles the command about reports."""

    async def make_report(self, call: Call, command: MakeReport) -> ComplianceReport:
        """Make a report over the chain as it is sealed now; that it was made is an event of the chain."""
        if not self.desk.directory.has_role(call.user.id, AUDITOR_ROLE):
            call.require(Action.ADMINISTER, EVERYTHING)
        query = Query(
            report=command.report,
            since=command.since,
            until=command.until,
            as_of=self.clock() if command.as_of is None else command.as_of,
            person=command.person,
        )
        document = await self._document(query)
        rows = len(document.table.rows)
        if rows > MOST_ROWS:
            raise Conflict(f"the report has {rows} rows, and {MOST_ROWS} are allowed: ask for a shorter period")
        text = await asyncio.to_thread(render, document, command.format)
        seal = seal_json(document, text)
        answer = ComplianceReport(
            report=command.report,
            format=command.format,
            media_type=MEDIA_TYPES[command.format],
            document=text,
            rows=rows,
            seal=json.dumps(seal, ensure_ascii=False, indent=1),
        )

        def decide(work: Work) -> ComplianceReport:
            work.audit("approval.exported", None, facts={**seal, "format": command.format})
            return answer

        return await call.transact(decide)

    async def _document(self, query: Query) -> Document:
        server = self.desk.server
        attestation: AuditAttestation | None = None
        if REPORTS[query.report].wants_attestation:
            attestation = await server.attest_audit()
        seal = await server.seal_audit() if attestation is None else attestation.seal
        try:
            builder = Builder(query, seal=seal, attestation=attestation)
        except ValueError as error:
            raise Conflict(str(error)) from error
        async for page in pages(server, seal):
            await asyncio.to_thread(builder.take, page)  # replaying takes its time, and others do not wait for it
        return await asyncio.to_thread(builder.document)


async def pages(server: Server, seal: Seal) -> AsyncGenerator[Sequence[AuditEntry]]:
    """Yield the events that a checkpoint covers, page by page."""
    after = 0
    while after < seal.size and (page := await server.read_audit(after=after, limit=min(PAGE, seal.size - after))):
        yield page
        after = page[-1].event.sequence
