"""Reports made from a house, and from an export of its chain as somebody else would have it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

from quorate_plugins.approval.reports.building import Document, build
from quorate_plugins.approval.reports.queries import Query
from quorate_server.auditing import Auditor, export_audit
from quorate_server.connections import House
from quorate_server.hooks import AuditAttestation, AuditEntry, Seal
from quorate_storage.audit_export import ExportedCheckpoint, ExportedEvent, read_export
from quorate_storage.audit_rows import parse_body
from quorate_storage.checkpoints import read_checkpoint
from tests.plugins.approval.approval_houses import ask

AUDITOR = "aud"


async def report(house: House, name: str, *, user: Any = AUDITOR, form: str = "json", **asked: Any) -> dict[str, Any]:
    """The answer of the command."""
    return await ask(house, "make_report", user=user, report=name, format=form, **asked)


async def rows_of(house: House, name: str, **asked: Any) -> list[dict[str, Any]]:
    """The rows of a report."""
    answer = await report(house, name, **asked)
    found: list[dict[str, Any]] = json.loads(answer["document"])["rows"]
    assert len(found) == answer["rows"]
    return found


async def totals_of(house: House, name: str, **asked: Any) -> dict[str, Any]:
    """The totals of a report."""
    found: dict[str, Any] = json.loads((await report(house, name, **asked))["document"])["totals"]
    return found


async def exported(house: House, *, last: int | None = None) -> tuple[list[AuditEntry], list[Seal]]:
    """The events and checkpoints of an export, read as a file of somebody else's."""
    file = io.BytesIO()
    head = await house.rooms.store.audit_head()
    await export_audit(house.rooms.store, "test", file, head)
    file.seek(0)
    entries: list[AuditEntry] = []
    seals: list[Seal] = []
    for item in read_export(file):
        if isinstance(item, ExportedEvent):
            texts = {field: text for field, (_, text) in item.texts.items()}
            entries.append(AuditEntry(event=parse_body(item.body), texts=texts))
        elif isinstance(item, ExportedCheckpoint):
            found = read_checkpoint(item.note)
            seals.append(Seal(size=found.size, root=found.root, note=item.note))
    return entries[:last], seals


async def attested(house: House) -> AuditAttestation:
    return await Auditor(house.rooms.store, house.sealer).attest()


def made(entries: Sequence[AuditEntry], name: str, *, as_of: float = 0.0, **asked: Any) -> Document:
    """A report from events alone."""
    return build(Query(report=name, as_of=as_of, **asked), entries, seal=None)


def cells_of_csv(text: str) -> list[list[str]]:
    """The cells of a CSV file, the header left out, with what keeps spreadsheets from evaluating them taken away."""
    return [[cell.removeprefix("'") for cell in row] for row in list(csv.reader(io.StringIO(text, newline="")))[1:]]


class Page(HTMLParser):
    """The rows of the table of a page, and every tag that is in it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self._is_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")
            self._is_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self._is_cell = False

    def handle_data(self, data: str) -> None:
        if self._is_cell:
            self.rows[-1][-1] += data


def cells_of_page(text: str) -> list[list[str]]:
    """The cells of a page's table, row by row."""
    return [row for row in Page(text).rows if row]
