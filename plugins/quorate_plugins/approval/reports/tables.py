"""Tables of reports: columns, rows, totals. Values only; `rendering` writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Cell = str | int | float | bool | tuple[str, ...] | None
"""What stands in a row. Times are RFC 3339 texts in UTC, durations seconds, several things a tuple."""
Row = Mapping[str, Cell]
"""Cells by column; a column that a row does not have is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: the name that programs use, and what it says, for people."""

    name: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rows of a report in the order of the chain, and what they come to."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    totals: Row = field(default_factory=dict[str, Cell])

    def cells(self, row: Row) -> list[Cell]:
        """Return the cells of a row in the order of the columns."""
        return [row.get(column.name) for column in self.columns]


def columns_of(titles: Mapping[str, str]) -> tuple[Column, ...]:
    """Return columns from their titles by name."""
    return tuple(Column(name=name, title=title) for name, title in titles.items())


def text_of(cell: Cell) -> str:
    """Return a cell as text: nothing for `None`, `yes` and `no`, several things with semicolons between."""
    match cell:
        case None:
            return ""
        case bool():
            return "yes" if cell else "no"
        case tuple():
            return "; ".join(cell)
        case _:
            return str(cell)
