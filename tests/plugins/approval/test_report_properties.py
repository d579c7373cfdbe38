"""What holds of reports whatever happened: nothing is missing, all forms say the same, nothing of them runs."""

from __future__ import annotations

import csv
import io
import json
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate_plugins.approval.machine import apply, replay
from quorate_plugins.approval.reports.building import Builder, Document, build
from quorate_plugins.approval.reports.catalogue import REPORTS
from quorate_plugins.approval.reports.chronicle import Chronicle
from quorate_plugins.approval.reports.queries import Query, Span
from quorate_plugins.approval.reports.rendering import Format, clean, render
from quorate_plugins.approval.reports.tables import Cell, Column, Table, text_of
from quorate_plugins.approval.requests import FINISHED, Event, Request, event_json
from quorate_protocol.ids import DocumentName, UserId
from quorate_server.hooks import AuditEntry
from quorate_storage.acts import AuditEvent
from quorate_storage.audit_rows import ChainWriter, parse_body
from quorate_storage.transparency import FIRST_CHAIN, Frontier
from tests.plugins.approval.report_chains import Page, cells_of_csv, cells_of_page
from tests.plugins.approval.test_machine import Walk

FORMS: tuple[Format, ...] = ("json", "csv", "html")
PURE = [name for name, kind in REPORTS.items() if not kind.wants_attestation]


def chain_of(seed: int, *, requests: int = 3, steps: int = 20) -> list[AuditEntry]:
    """A chain of the events of several requests to which random things happen, in a random order."""
    random = Random(seed)
    stories: dict[str, list[Event]] = {}
    for number in range(requests):
        walk = Walk(random.getrandbits(64))
        walk.run(steps)
        stories[f"approval/{number}"] = walk.events
    names = [name for name, events in stories.items() for _ in events]
    random.shuffle(names)
    states: dict[str, Request | None] = dict.fromkeys(stories)
    told: list[AuditEvent] = []
    for at, name in enumerate(names):
        event = stories[name].pop(0)
        before = states[name]
        after = states[name] = apply(before, event)
        facts: dict[str, object] = {
            "event": event_json(event),
            "version": after.version,
            "before": None if before is None else before.state,
            "after": after.state,
        }
        told.append(
            AuditEvent(
                type=f"approval.{event.kind}",
                at=float(at),
                actor=UserId(event.by),
                via="api",
                artifact=DocumentName(name),
                facts=facts,
            )
        )
    records = ChainWriter(Frontier(), FIRST_CHAIN).extend(told)
    return [AuditEntry(event=parse_body(record.body), texts={}) for record, _ in records]


def made(name: str, entries: list[AuditEntry], **asked: Any) -> Document:
    person = "ann" if name == "data_subject" else ""
    return build(Query(report=name, as_of=1e6, person=person, **asked), entries, seal=None)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**64), st.lists(st.floats(0, 200), max_size=4))
def test_law_of_the_population_nothing_is_missing_and_nothing_is_there_twice(seed: int, cuts: list[float]) -> None:
    """Periods that follow one another have, together, every request that was created, once."""
    entries = chain_of(seed)
    whole = made("population", entries)
    assert whole.table.totals["is_complete"]
    assert whole.table.totals["created"] == len({one.event.artifact for one in entries if one.event.artifact})
    ends = [None, *sorted(cuts), None]
    parts = [made("population", entries, since=since, until=until) for since, until in pairwise(ends)]
    assert all(part.table.totals["is_complete"] for part in parts)
    assert [row for part in parts for row in part.table.rows] == whole.table.rows


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**64), st.integers(1, 17))
def test_law_a_report_does_not_depend_on_how_the_chain_was_paged(seed: int, size: int) -> None:
    entries = chain_of(seed)
    for name in PURE:
        whole = made(name, entries)
        builder = Builder(whole.query, seal=None)
        for at in range(0, len(entries), size):
            builder.take(entries[at : at + size])
        assert render(builder.document(), "json") == render(whole, "json")


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**64))
def test_law_the_chronicle_is_the_replay_of_the_chain(seed: int) -> None:
    entries = chain_of(seed)
    chronicle = Chronicle()
    steps = [chronicle.take(entry) for entry in entries]
    assert not [step.problem for step in steps if step.problem]
    for name, request in chronicle.requests.items():
        replayed = replay([step.event for step in steps if step.artifact == name and step.event is not None])
        assert replayed is not None
        assert (request.version, request.state, request.decisions) == (
            replayed.version,
            replayed.state,
            replayed.decisions,
        )
        assert request == replayed or replayed.state in FINISHED


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**64), st.floats(0, 200), st.floats(0, 200))
def test_every_row_rests_on_an_event_of_the_period(seed: int, one: float, other: float) -> None:
    entries = chain_of(seed)
    since, until = sorted((one, other))
    for name in PURE:
        document = made(name, entries, since=since, until=until)
        assert all(row["sequence"] in document.span for row in document.table.rows)  # type: ignore[operator]


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**64))
def test_all_forms_of_a_report_have_the_same_rows(seed: int) -> None:
    entries = chain_of(seed)
    for name in PURE:
        check_same(made(name, entries))


# Whatever stands in the cells

TEXTS = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from("=+-@\t\r\n\0'\"<>&;,| \u200b\ufeff\uff1d"),
    ),
    max_size=12,
)
CELLS: st.SearchStrategy[Cell] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
    st.lists(TEXTS, max_size=3).map(tuple),
)


def document_of(cells: list[list[Cell]]) -> Document:
    names = [f"c{number}" for number in range(max((len(row) for row in cells), default=1))]
    columns = [Column(name=name, title=name) for name in names]
    rows = [{"sequence": at, **dict(zip(names, row, strict=False))} for at, row in enumerate(cells)]
    return Document(
        query=Query(report="population", as_of=0.0),
        title="<b>=1+1</b>",
        serves=("&",),
        notes=("<script>alert(1)</script>",),
        table=Table(columns=columns, rows=rows, totals={"a": "<i>"}),
        span=Span(),
        seal=None,
    )


def check_same(document: Document) -> None:
    columns = document.table.columns
    said = json.loads(render(document, "json"))["rows"]
    cells = [[_back(row[column.name]) for column in columns] for row in said]
    assert cells == [[clean(cell) for cell in document.table.cells(row)] for row in document.table.rows]
    texts = [[text_of(cell) for cell in row] for row in cells]
    assert cells_of_csv(render(document, "csv")) == texts
    if texts:
        assert cells_of_page(render(document, "html")) == texts


def _back(cell: Any) -> Cell:
    return tuple(cell) if isinstance(cell, list) else cell


@settings(deadline=None)
@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=4))
def test_whatever_stands_in_cells_all_forms_say_the_same(cells: list[list[Cell]]) -> None:
    check_same(document_of(cells))


@settings(deadline=None)
@given(st.lists(st.lists(TEXTS, min_size=2, max_size=2), min_size=1, max_size=3))
def test_no_text_is_a_formula_to_a_spreadsheet(cells: list[list[str]]) -> None:
    text = render(document_of([list(row) for row in cells]), "csv")
    for row in list(csv.reader(io.StringIO(text, newline="")))[1:]:
        assert not [cell for cell in row if cell.strip()[:1] in set("=+-@|%\uff1d\uff0b\uff0d\uff20") and cell.strip()]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1", "'x", "|calc"])
def test_a_formula_has_an_apostrophe_before_it(text: str) -> None:
    [row] = list(csv.reader(io.StringIO(render(document_of([[text]]), "csv"), newline="")))[1:]
    assert row[0] == f"'{text}"


def test_numbers_are_numbers_to_a_spreadsheet() -> None:
    [row] = list(csv.reader(io.StringIO(render(document_of([[-1, -2.5, True]]), "csv"), newline="")))[1:]
    assert row == ["-1", "-2.5", "yes"]


@settings(deadline=None)
@given(TEXTS)
def test_nothing_in_a_page_runs_or_is_fetched(text: str) -> None:
    page = Page(render(document_of([[text, f"<script>{text}</script>", f'" onload="{text}']]), "html"))
    assert page.tags <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "dl", "dt", "dd",
        "table", "thead", "tbody", "tr", "th", "td", "ul", "li",
    }  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_same_question_is_the_same_document(form: Format) -> None:
    entries = chain_of(7)
    assert render(made("population", entries), form) == render(made("population", entries), form)


def test_a_query_is_canonical() -> None:
    query = Query(report="population", as_of=2.0, since=1.5)
    assert query.text() == '{"as_of":2,"person":"","report":"population","since":1.5,"until":null}'
