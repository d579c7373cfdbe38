"""What the audit chain holds of one person, and the proof of what was erased."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from quorate_plugins.approval.reports.chronicle import Step
from quorate_plugins.approval.reports.queries import Span, moment
from quorate_plugins.approval.reports.report import Report
from quorate_plugins.approval.reports.tables import Cell, Row, columns_of

ERASED = "audit.erased"


class DataSubject(Report):
    """Each event of the period that names the person, as its actor or in its facts."""

    name = "data_subject"
    title = "Data subject"
    serves = ("GDPR Art. 15", "GDPR Art. 17", "GDPR Art. 30")
    wants_person = True
    notes = (
        (
            "Personal texts lie beside the chain, which holds a salted commitment to each. `audit.erase_texts` with the"
            " sequences of this report erases them with their salts; the chain and every proof in it stay valid."
        ),
        (
            "`texts` are what the person wrote and is not erased. For what is erased, `erased_in` is the event of the"
            " chain that says so, and `commitments` are what remains."
        ),
        (
            "User ids stay in the chain: they are what makes it evidence. Reasons given with decisions are also"
            " in the record of their request, which erasing from the chain does not change."
        ),
        "Events are found by the person's user id. What others wrote about them in free text is not found.",
    )
    columns = columns_of(
        {
            "sequence": "Event",
            "type": "Type",
            "at": "When",
            "artifact": "Artifact",
            "is_actor": "Is the actor",
            "named_in": "Named in",
            "texts": "Texts",
            "commitments": "Commitments to texts",
            "erased": "Erased texts",
            "erased_in": "Events that erased them",
        }
    )

    def begin(self) -> None:
        """Begin with nothing found."""
        self._rows: dict[int, dict[str, Cell]] = {}

    def take(self, step: Step) -> None:
        """Look for the person, and for what is erased of theirs."""
        if step.logged.type == ERASED:
            self._erase(step)
        is_actor = step.logged.actor == self.query.person
        named = tuple(sorted(set(named_in(step.logged.facts, self.query.person))))
        if is_actor or named:
            self._rows[step.sequence] = _row(step, named, is_actor=is_actor)

    def _erase(self, step: Step) -> None:
        for sequence, _ in erased_places(step):
            row = self._rows.get(sequence)
            if row is not None:
                known = cast("tuple[str, ...]", row["erased_in"])
                row["erased_in"] = tuple(dict.fromkeys((*known, str(step.sequence))))

    def rows(self, span: Span) -> Iterable[Row]:
        """Return the events of the period."""
        return [row for sequence, row in self._rows.items() if sequence in span]

    def totals(self, span: Span, rows: list[Row]) -> Row:
        """Return how many events and texts there are, and how many texts are erased."""
        del span
        return {
            "events": len(rows),
            "as_actor": sum(row["is_actor"] is True for row in rows),
            "texts": _sum(rows, "texts"),
            "texts_erased": _sum(rows, "erased"),
            "sequences_with_texts": tuple(str(row["sequence"]) for row in rows if row["texts"]),
        }


def _row(step: Step, named: tuple[str, ...], *, is_actor: bool) -> dict[str, Cell]:
    logged, texts = step.logged, step.entry.texts
    own: Mapping[str, str] = texts if is_actor else {}
    commitments: Mapping[str, str] = logged.commitments if is_actor else {}
    return {
        "sequence": step.sequence,
        "type": logged.type,
        "at": moment(step.at),
        "artifact": step.artifact,
        "is_actor": is_actor,
        "named_in": named,
        "texts": tuple(f"{field}: {text}" for field, text in sorted(own.items())),
        "commitments": tuple(f"{field}: {hashed}" for field, hashed in sorted(commitments.items())),
        "erased": tuple(sorted(commitments.keys() - own.keys())),
        "erased_in": (),
    }


def _sum(rows: list[Row], column: str) -> int:
    return sum(len(cast("tuple[str, ...]", row[column])) for row in rows)


def named_in(value: object, person: str, path: str = "") -> Iterator[str]:
    """Yield where a JSON value names a person, as `decision/actor`; places in a list have the path of the list."""
    if isinstance(value, Mapping):
        yield from _named_in_members(cast("Mapping[str, object]", value), person, path)
    elif isinstance(value, list):
        for member in cast("list[object]", value):
            yield from named_in(member, person, path)
    elif is_person(value, person):
        yield path


def _named_in_members(members: Mapping[str, object], person: str, path: str) -> Iterator[str]:
    """Yield where members name a person; one whose key does has the path of the whole, which names nobody."""
    for key, member in members.items():
        if is_person(key, person):
            yield path
        yield from named_in(member, person, f"{path}/{key}" if path else key)


def is_person(value: object, person: str) -> bool:
    """Whether a text is a person's user id, by itself or as a principal or selector (`user:ID`)."""
    return value in {person, f"user:{person}"}


def erased_places(step: Step) -> Iterator[tuple[int, str]]:
    """Yield the texts that an event says are erased: the sequence that they belong to, and their field."""
    listed = step.logged.facts.get("texts")
    for place in cast("list[object]", listed) if isinstance(listed, list) else []:
        match place:
            case [int(sequence), str(field)]:
                yield sequence, field
            case _:
                pass
