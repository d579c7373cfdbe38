r"""Documents as JSON, CSV, and a page to print.

A CSV file has the columns and the rows only, as RFC 4180 says: programs read it without knowing of us. What seals it
is beside it (`seal_json`). A text that a spreadsheet would take for a formula has an apostrophe before it, and so has
one that begins with an apostrophe, so that taking one away gives the text back; blanks before the sign change nothing,
for spreadsheets skip them.

Control characters, which neither a page nor a spreadsheet shows, are written as U+FFFD in all of them.
"""

from __future__ import annotations

import csv
import hashlib
import html
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from quorate_plugins.approval.reports.building import GENERATOR, GENERATOR_VERSION, Document
from quorate_plugins.approval.reports.tables import Cell, Column, Row, text_of

Format = Literal["json", "csv", "html"]
MEDIA_TYPES: Final[Mapping[str, str]] = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8; header=present",
    "html": "text/html; charset=utf-8",
}

# OWASP, "CSV Injection": what a cell that is evaluated begins with; the full-width forms are taken for them as well.
_FORMULA = re.compile(r"\s*['=+\-@\t\r\n|%\uff1d\uff0b\uff0d\uff20]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def render(document: Document, form: Format) -> str:
    """Return a document as text."""
    return _WRITERS[form](document)


# JSON


def seal_json(document: Document, rendered: str) -> dict[str, object]:
    """Return what seals a rendered document, to be kept beside it.

    `sha256` is of the UTF-8 bytes of the text. `checkpoint` is a C2SP signed note over the first `size` events.
    """
    return {**_sealed(document), "sha256": hashlib.sha256(rendered.encode()).hexdigest()}


def _sealed(document: Document) -> dict[str, object]:
    seal, span = document.seal, document.span
    return {
        "size": 0 if seal is None else seal.size,
        "root": "" if seal is None else seal.root.hex(),
        "checkpoint": "" if seal is None else seal.note,
        "query": document.query.text(),
        "first_sequence": span.first,
        "last_sequence": span.last,
        "row_count": len(document.table.rows),
        "generator": GENERATOR,
        "generator_version": GENERATOR_VERSION,
    }


def _json(document: Document) -> str:
    table = document.table
    value = {
        "report": document.query.report,
        "title": document.title,
        "serves": list(document.serves),
        "notes": list(document.notes),
        "seal": _sealed(document),
        "totals": {key: clean(cell) for key, cell in table.totals.items()},
        "columns": [{"name": column.name, "title": column.title} for column in table.columns],
        "rows": [_members(table.columns, row) for row in table.rows],
    }
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def _members(columns: Sequence[Column], row: Row) -> dict[str, Cell]:
    return {column.name: clean(row.get(column.name)) for column in columns}


def clean(cell: Cell) -> Cell:
    """Return a cell without control characters."""
    if isinstance(cell, str):
        return _CONTROL.sub("\ufffd", cell)
    return tuple(_CONTROL.sub("\ufffd", each) for each in cell) if isinstance(cell, tuple) else cell


# CSV


def _csv(document: Document) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow(column.name for column in document.table.columns)
    for row in document.table.rows:
        writer.writerow(safe(cell) for cell in document.table.cells(row))
    return out.getvalue()


def safe(cell: Cell) -> str:
    """Return a cell as text that no spreadsheet takes for a formula; numbers are written as they are."""
    text = text_of(clean(cell))
    is_text = isinstance(cell, (str, tuple))
    return f"'{text}" if is_text and _FORMULA.match(text) else text


# A page


def _html(document: Document) -> str:
    table = document.table
    head = "".join(f'<th scope="col">{_escaped(column.title)}</th>' for column in table.columns)
    body = "\n".join(f"<tr>{_cells(table.cells(row))}</tr>" for row in table.rows)
    return _PAGE.format(
        title=_escaped(document.title),
        style=_STYLE,
        serves=_escaped(", ".join(document.serves)),
        totals=_list({key: text_of(clean(cell)) for key, cell in table.totals.items()}),
        head=head,
        body=body or f'<tr><td colspan="{len(table.columns)}">Nothing in this period.</td></tr>',
        notes="".join(f"<li>{_escaped(note)}</li>" for note in document.notes),
        seal=_list({key: str(value) for key, value in _sealed(document).items()}),
    )


def _cells(cells: Sequence[Cell]) -> str:
    return "".join(f"<td>{_escaped(text_of(clean(cell)))}</td>" for cell in cells)


def _list(entries: Mapping[str, str]) -> str:
    return "".join(f"<dt>{_escaped(key)}</dt><dd>{_escaped(value)}</dd>" for key, value in entries.items())


def _escaped(text: str) -> str:
    return html.escape(text, quote=True)


_STYLE = """
body { font: 10pt/1.4 system-ui, sans-serif; margin: 2em; color: #111; background: #fff; }
table { border-collapse: collapse; width: 100%; font-size: 8pt; }
th, td { border: 1px solid #999; padding: 2px 4px; text-align: left; vertical-align: top; overflow-wrap: anywhere;
  white-space: pre-wrap; }
th { background: #eee; overflow-wrap: normal; white-space: normal; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1em; }
dt { font-weight: 600; }
dd { margin: 0; overflow-wrap: anywhere; white-space: pre-wrap; }
@page { size: A4 landscape; margin: 12mm; }
@media print {
  body { margin: 0; }
  thead { display: table-header-group; }
  tr, dl { break-inside: avoid; }
}
"""
# Nothing is fetched and nothing runs, whatever stands in the cells.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<p>{serves}</p>
<h2>Totals</h2>
<dl>{totals}</dl>
<h2>Rows</h2>
<table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table>
<h2>Notes</h2>
<ul>{notes}</ul>
<h2>Seal</h2>
<dl>{seal}</dl>
</body>
</html>
"""

_WRITERS: Mapping[str, Callable[[Document], str]] = {"json": _json, "csv": _csv, "html": _html}
