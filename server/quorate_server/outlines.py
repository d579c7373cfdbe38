"""Which shared type each operation of a document sits in, and whether an update fits the artifact's kind.

Theory of operation
-------------------

An update says where an item goes in one of three ways: it names a root type, it names the item that holds it, or
it names a neighbour, whose parent and key it shares. To judge an update before the engine has it, one must
therefore know of each operation where it sits. An outline keeps just that, and nothing of the content: for each
client its operations in a row, cut into runs of one *place*. A place is a container (a root type or a nested
shared type) and a key in it, or no key for what stands in a row. It knows which shape may stand there.

People write in runs, so an outline is small; one keystroke extends the newest run of its client by one. Both
engines place an item by its left neighbour where it names two, and so does the outline.

What is judged is learned, whatever the judgement: a refused update is applied and undone, so its operations
exist. What cannot be reached (a parent that is gone, a neighbour that was removed for good) has no place; the
engines drop it, and it is no fault. Deletions are kept too: a client that synchronises sends again all deletions that
it knows of, and only new ones count. Of entries that were set under one key at the same time only the engine
knows which are gone: learn what it emits, where that is not the very update that was judged.

Source: yjs `structs/Item.js`, `Item.getMissing`; `structs/ContentType.js`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from quorate_protocol.ids import ClientId
from quorate_protocol.updates import DeleteRange, Id, Struct, UpdateExtent, read_sections
from quorate_server.kinds import KINDS
from quorate_server.places import Container, Judgement, Line, Place, Ranges
from quorate_server.shapes import Kind

__all__ = ["Judgement", "Outline"]

_EARLY: Final = "The update builds on edits that are not known here."
_NOTHING: Final[tuple[DeleteRange, ...]] = ()


class Outline:
    """Where each operation of one live document sits. Bounded by the document, whatever is judged."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._roots: dict[str, Container] = {}
        self._nested: dict[Id, Container] = {}
        self._lines: dict[ClientId, Line] = {}
        self._deleted: dict[ClientId, Ranges] = {}
        self._deleted_last: tuple[DeleteRange, ...] = _NOTHING

    @classmethod
    def of(cls, kind: Kind, state: bytes) -> Outline:
        """Build the outline of a document from its whole state.

        Raises:
            MalformedFrame: `state` is no update.
        """
        outline = cls(kind)
        outline.learn(state)
        return outline

    def judge(self, update: bytes, extent: UpdateExtent) -> Judgement:
        """Say whether an update fits the kind, and learn its operations.

        Args:
            update: builds on nothing but what is known and what it brings itself, in whatever order. Of one that
                does not, only what can be reached is learned, and that is a fault.
            extent: what `measure_update` said of it.
        """
        if extent.is_typing and extent.ends:
            [(client, end)] = extent.ends.items()
            line = self._lines.get(client)
            if line is not None and line.end == extent.needs.get(client) and (place := line.places[-1]) is not None:
                line.end = end
                self._deleted_last = _NOTHING
                return place.typing or self._judge_typing(place)
        return self._take(update)

    def learn(self, update: bytes) -> None:
        """Learn what the server wrote, or what the engine made of an update that was judged.

        The latter says which entries went because others came under their key at the same time.

        Raises:
            MalformedFrame: it is no update; nothing was learned.
        """
        self._take(update)

    def truncate(self, ends: Mapping[ClientId, int]) -> None:
        """Forget the update that was judged last, which will not be applied: all operations from `ends` on."""
        for client, clock, length in self._deleted_last:
            self._deleted[client].remove(clock, clock + length)
        self._deleted_last = _NOTHING
        for client, line in self._lines.items():
            line.cut(ends.get(client, 0))
            if client in self._deleted:
                self._deleted[client].cut(line.end)
        self._lines = {client: line for client, line in self._lines.items() if line.end}
        self._nested = {item: each for item, each in self._nested.items() if item[1] < ends.get(item[0], 0)}
        self._forget_unused()

    def _forget_unused(self) -> None:
        """Forget root types and keys in which nothing sits any more."""
        for container in (*self._roots.values(), *self._nested.values()):
            container.places.clear()
        for line in self._lines.values():
            for place in line.places:
                if place is not None:
                    place.container.places[place.key] = place
        self._roots = {name: root for name, root in self._roots.items() if root.places}

    def container_of(self, client: ClientId, clock: int) -> str | Id | None:
        """Return what holds an operation: a root type's name or the item of a nested one; None if nothing does."""
        place = self._at((client, clock))
        return None if place is None else place.container.name

    # Inside

    def _judge_typing(self, place: Place) -> Judgement:
        fault = place.sentence(self._kind, "string")
        place.typing = Judgement(fault, frozenset((place.container.root,)))
        return place.typing

    def _take(self, update: bytes) -> Judgement:
        """Learn an update, in the order in which its parts build on each other, each struct once."""
        sections, deletes = read_sections(update)
        reading = _Reading({client: _Section(client, rows) for client, rows in sections})
        for section in reading.sections.values():
            # By far most updates bring what they build on in order.
            if self._advance(reading, section, sys.maxsize) is not None:
                self._take_section(reading, section)
        self._deleted_last = _NOTHING
        if deletes:
            self._deleted_last = tuple(self._delete(deletes))
            for client, clock, length in self._deleted_last:
                reading.roots.update(self._lines[client].roots(clock, clock + length))
        return Judgement(reading.fault, frozenset(reading.roots))

    def _take_section(self, reading: _Reading, first: _Section) -> None:
        """Learn a client's structs, and of others' first what they build on."""
        stack = [(first, sys.maxsize)]
        while stack:
            section, until = stack[-1]
            section.is_open = True
            lacks = self._advance(reading, section, until)
            if lacks is None:
                section.is_open = False
                stack.pop()
                continue
            other = reading.sections.get(lacks[0])
            if other is None or other.is_open or not other.rows:
                # Nobody brings it, or they wait for each other.
                section.rows = ()
                reading.fault = reading.fault or _EARLY
            else:
                stack.append((other, lacks[1] + 1))

    def _advance(self, reading: _Reading, section: _Section, until: int) -> Id | None:
        """Learn structs of a client up to a clock; return what the next one lacks, None if there is no next."""
        client, rows = section.client, section.rows
        line = self._lines.get(client)
        while section.next < len(rows):
            struct = rows[section.next][0]
            known = 0 if line is None else line.end
            if known >= until:
                return None
            end = struct.clock + struct.length
            if end > known and struct.kind != "skip":
                if struct.clock > known:
                    return client, struct.clock - 1
                if (lacks := self._lacks(struct)) is not None:
                    return lacks
                line = self._take_struct(reading, struct, line)
            section.next += 1
        section.rows = ()
        return None

    def _lacks(self, struct: Struct) -> Id | None:
        origin, right_origin, parent = struct.origin, struct.right_origin, struct.parent
        if origin is not None and self._is_unknown(origin):
            return origin
        if right_origin is not None and self._is_unknown(right_origin):
            return right_origin
        return parent if isinstance(parent, tuple) and self._is_unknown(parent) else None

    def _is_unknown(self, operation: Id) -> bool:
        line = self._lines.get(operation[0])
        return line is None or operation[1] >= line.end

    def _take_struct(self, reading: _Reading, struct: Struct, line: Line | None) -> Line:
        """Learn of a struct what is new in it; return the line of its client."""
        client, clock, content = struct.client, struct.clock, struct.content
        if line is None:
            line = self._lines[client] = Line()
        # Of a struct that is known in part the rest stands where the part does.
        known, end = line.end, clock + struct.length
        place = line.places[-1] if known > clock else self._place_of(struct)
        line.append(end, place)
        if content is None or content == "deleted":
            self._deleted_of(client).add(((known, end),))
        if place is None or content is None:
            return line
        reading.roots.add(place.container.root)
        is_fit = place.takes(content)
        if not is_fit and reading.fault is None:
            reading.fault = place.sentence(self._kind, content)
        if content.startswith("type:"):
            shape = place.shape if is_fit else None
            self._nested[client, clock] = Container((client, clock), place.container.root, shape, place)
        return line

    def _place_of(self, struct: Struct) -> Place | None:
        parent = struct.parent
        if isinstance(parent, str):
            return self._root(parent).place(struct.key)
        if parent is not None:
            container = self._nested.get(parent)
            return None if container is None else container.place(struct.key)
        left = None if struct.origin is None else self._at(struct.origin)
        if left is not None or struct.right_origin is None:
            return left
        return self._at(struct.right_origin)

    def _root(self, name: str) -> Container:
        container = self._roots.get(name)
        if container is None:
            root = self._kind.root(name)
            container = self._roots[name] = Container(name, name, None if root is None else root.shape, None)
        return container

    def _at(self, operation: Id) -> Place | None:
        line = self._lines.get(operation[0])
        return None if line is None else line.at(operation[1])

    def _deleted_of(self, client: ClientId) -> Ranges:
        ranges = self._deleted.get(client)
        if ranges is None:
            ranges = self._deleted[client] = Ranges()
        return ranges

    def _delete(self, deletes: Sequence[DeleteRange]) -> Iterator[DeleteRange]:
        """Learn deletions; yield those that are new and of known operations."""
        by_client: dict[ClientId, list[tuple[int, int]]] = {}
        for client, clock, length in deletes:
            line = self._lines.get(client)
            if line is not None and clock < line.end and length:
                by_client.setdefault(client, []).append((clock, min(clock + length, line.end)))
        for client, ranges in by_client.items():
            for start, end in self._deleted_of(client).add(ranges):
                yield DeleteRange(client, start, end - start)


class _Section:
    """The structs of one client in an update, and how many of them are read. Without any it is done."""

    __slots__ = ("client", "is_open", "next", "rows")

    def __init__(self, client: ClientId, rows: Sequence[tuple[Struct, int, int]]) -> None:
        self.client = client
        self.rows = rows
        self.next = 0
        self.is_open = False


class _Reading:
    """What was found in one update so far."""

    __slots__ = ("fault", "roots", "sections")

    def __init__(self, sections: Mapping[ClientId, _Section]) -> None:
        self.sections = sections
        self.fault: str | None = None
        self.roots: set[str] = set()


def outline_named(kind: str, state: bytes) -> Outline:
    """Return the outline of a content of the kind of that name; see `Outline.of`."""
    return Outline.of(KINDS[kind], state)
