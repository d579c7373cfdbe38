"""Who changed which part of a document: kept when a log is folded, and read back with the part's name.

What is kept of an update is its place, its author, its time, and the ranges of operations that it inserted and
deleted, without their content. Where an operation sits (`text`, `request/title`, `cells/source`) is read off the
present state of the document. Authors are authenticated users, never CRDT client ids, which a client chooses.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from quorate_protocol.ids import ClientId, UserId
from quorate_protocol.ids import Sequence as LogPlace
from quorate_protocol.parents import ParentFinder
from quorate_protocol.updates import Struct, decode_update
from quorate_storage.act_stores import Attribution
from quorate_storage.stores import LogEntry

_PackedRow = tuple[int, str, float, list[list[int]], list[list[int]]]

Range = tuple[int, int, int]
"""Client, clock and length of a run of operations."""

REMOVED = "(removed)"
"""The part of what was removed for good: where it was is not known any more."""
DEEPEST_PART = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """What one update inserted and deleted."""

    sequence: LogPlace
    author: UserId
    at: float
    inserted: tuple[Range, ...]
    deleted: tuple[Range, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """What one update changed: how many operations it inserted and deleted, by part of the document."""

    sequence: LogPlace
    author: UserId
    at: float
    inserted: Mapping[str, int]
    deleted: Mapping[str, int]


def ranges_of(entry: LogEntry) -> Ranges:
    """Return what an update of the log inserted and deleted."""
    listing = decode_update(entry.update)
    inserted: list[Range] = []
    for struct in listing.structs:
        if struct.kind == "skip":
            continue
        last = inserted[-1] if inserted else None
        if last is not None and last[0] == struct.client and last[1] + last[2] == struct.clock:
            inserted[-1] = (last[0], last[1], last[2] + struct.length)
        else:
            inserted.append((struct.client, struct.clock, struct.length))
    deleted = tuple((each.client, each.clock, each.length) for each in listing.deletes)
    return Ranges(sequence=entry.sequence, author=entry.author, at=entry.at, inserted=tuple(inserted), deleted=deleted)


def pack(entries: Sequence[LogEntry]) -> tuple[Attribution, ...]:
    """Return what is kept of the updates of one document when they are dropped."""
    if not entries:
        return ()
    kept = [ranges_of(entry) for entry in entries]
    rows = [(each.sequence, each.author, each.at, each.inserted, each.deleted) for each in kept]
    packed = zlib.compress(json.dumps(rows, separators=(",", ":")).encode())
    return (
        Attribution(document=entries[0].document, first=entries[0].sequence, last=entries[-1].sequence, packed=packed),
    )


def unpack(attribution: Attribution) -> list[Ranges]:
    """Read what `pack` wrote."""
    rows = cast("list[_PackedRow]", json.loads(zlib.decompress(attribution.packed)))
    return [
        Ranges(
            sequence=LogPlace(sequence),
            author=UserId(author),
            at=at,
            inserted=tuple(cast("Range", tuple(each)) for each in inserted),
            deleted=tuple(cast("Range", tuple(each)) for each in deleted),
        )
        for sequence, author, at, inserted, deleted in rows
    ]


def locate(state: bytes, wanted: Sequence[Ranges]) -> list[Contribution]:
    """Name the parts of a document, by its whole state, that updates changed."""
    places = _Places(decode_update(state).structs)
    return [
        Contribution(
            sequence=each.sequence,
            author=each.author,
            at=each.at,
            inserted=places.count(each.inserted),
            deleted=places.count(each.deleted),
        )
        for each in wanted
    ]


class _Places:
    """Where each operation of a state sits."""

    def __init__(self, structs: Sequence[Struct]) -> None:
        self._finder = ParentFinder(structs)

    def count(self, ranges: Iterable[Range]) -> dict[str, int]:
        """Return how many operations of some ranges are in each part."""
        parts: dict[str, int] = {}
        for client, clock, length in ranges:
            for part, operations in self._cut(ClientId(client), clock, clock + length):
                parts[part] = parts.get(part, 0) + operations
        return parts

    def _cut(self, client: ClientId, clock: int, end: int) -> Iterator[tuple[str, int]]:
        """Cut a range where structs begin; yield the part and the length of each piece."""
        while clock < end and (struct := self._finder.at((client, clock))) is not None:
            here = min(struct.clock + struct.length, end)
            yield self._part_of(struct), here - clock
            clock = here
        if clock < end:
            yield REMOVED, end - clock

    def _part_of(self, struct: Struct) -> str:
        """Return the path from the root type to what holds an item: the names and keys on the way."""
        steps: list[str] = []
        current: Struct | None = struct
        for _ in range(DEEPEST_PART):
            if current is None:
                break
            head = self._finder.head_of(current)
            if head is None or head.parent is None:
                break
            if head.key is not None:
                steps.append(head.key)
            if isinstance(head.parent, str):
                return "/".join([head.parent, *reversed(steps)])
            current = self._finder.at(head.parent)
        return "/".join(reversed(steps)) or REMOVED
