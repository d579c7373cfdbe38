"""What one append writes, put in the form that a store checks and writes at once."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import NamedTuple

from quorate_protocol.ids import DocumentId, Sequence
from quorate_storage.errors import SequenceConflict
from quorate_storage.stores import LogEntry


class Head(NamedTuple):
    """Where the log of one document must end for the batch to continue it."""

    document: DocumentId
    last: Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Entries of any number of documents, those of each without a gap, and what they continue."""

    entries: tuple[LogEntry, ...]
    heads: tuple[Head, ...]


def batch_of(entries: SequenceOf[LogEntry]) -> Batch:
    """Check that the entries of each document follow each other.

    Raises:
        SequenceConflict: they do not.
    """
    heads: dict[DocumentId, Head] = {}
    newest: dict[DocumentId, int] = {}
    for entry in entries:
        document, sequence = entry.document, entry.sequence
        last = newest.get(document)
        if last is None:
            heads[document] = Head(document, Sequence(sequence - 1))
        elif sequence != last + 1:
            raise SequenceConflict(document, sequence, Sequence(last))
        if sequence < 1:
            raise SequenceConflict(document, sequence, Sequence(0))
        newest[document] = sequence
    return Batch(entries=tuple(entries), heads=tuple(heads.values()))
