"""What outlines are made of: places in shared types, and runs of operations that sit in one place.

A place is a container and a key in it, or None for what stands in a row. Each is made once for its container, so
that places can be compared by identity.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Final, NamedTuple

from quorate_protocol.updates import Id
from quorate_server.shapes import Kind, Shape

_MANY: Final = 100
"""From how many ranges on it is quicker to merge two lists than to insert one by one."""

_MAX_NAME: Final = 40
"""How much of a name that a client chose is shown in a sentence."""

_MAX_STEPS: Final = 8
"""How many steps of a path are shown in a sentence."""

_NOUNS: Final = {
    "json": "a JSON value",
    "any": "a JSON value",
    "binary": "bytes",
    "string": "characters",
    "embed": "an embedded value",
    "format": "formatting",
    "doc": "a subdocument",
    "type:array": "a list (Y.Array)",
    "type:map": "a map (Y.Map)",
    "type:text": "a text (Y.Text)",
    "type:xml-element": "an element of XML",
    "type:xml-fragment": "a fragment of XML (Y.XmlFragment)",
    "type:xml-hook": "a hook of XML",
    "type:xml-text": "a text of XML",
    "type:weak-link": "a link",
    "type:doc": "a subdocument",
}
"""What a sentence calls the contents of items."""


class Judgement(NamedTuple):
    """What an outline says of an update.

    `fault` is a sentence for the person, None when it fits. `roots` are the root types that it inserts into or
    deletes from, whether or not it fits.
    """

    fault: str | None
    roots: frozenset[str]


class Container:
    """A shared type: a root type by its name, or a nested one by the item that it is.

    `shape` is None where nothing is declared. `holder` is the place of a nested type.
    """

    __slots__ = ("holder", "name", "places", "root", "shape")

    def __init__(self, name: str | Id, root: str, shape: Shape | None, holder: Place | None) -> None:
        self.name = name
        self.root = root
        self.shape = shape
        self.holder = holder
        self.places: dict[str | None, Place] = {}

    def place(self, key: str | None) -> Place:
        """Return the place under a key, or in the row."""
        place = self.places.get(key)
        if place is None:
            shape = None if self.shape is None else self.shape.inside(key)
            place = self.places[key] = Place(self, key, shape)
        return place


class Place:
    """Where items sit. `shape` is what may stand there, None if nothing may; `typing` the judgement of more text."""

    __slots__ = ("container", "key", "shape", "typing")

    def __init__(self, container: Container, key: str | None, shape: Shape | None) -> None:
        self.container = container
        self.key = key
        self.shape = shape
        self.typing: Judgement | None = None

    def takes(self, content: str) -> bool:
        """Tell whether such content may stand here. What is deleted may anywhere."""
        return content == "deleted" or (self.shape is not None and self.shape.takes(content))

    def sentence(self, kind: Kind, content: str) -> str | None:
        """Say what was expected here and what came; None if it fits."""
        if self.takes(content):
            return None
        noun = _NOUNS.get(content, "something else")
        within = self.container.shape
        if within is None:
            if self.container.holder is None:
                expected = ", ".join(root.name for root in kind.roots)
                return f"{kind.title}: expected one of the root types {expected}; {_short(self.container.root)!r} came."
            return f"{kind.title}: nothing was expected in {self.container.holder.path()}; {noun} came."
        if self.shape is None:
            came = "items without a key" if self.key is None else f"an entry {_short(self.key)!r}"
            expected = within.expected_inside()
            return f"{kind.title}: expected {expected} in {_path_of(self.container)}; {came} came."
        return f"{kind.title}: expected {self.shape.noun} in {self.path()}; {noun} came."

    def path(self) -> str:
        """Return the way here from the root type, such as `steps[].title`; the beginning of a long one left out."""
        steps: list[str] = []
        place: Place | None = self
        while place is not None and len(steps) < _MAX_STEPS:
            steps.append(_step(place))
            container = place.container
            place = container.holder
        if place is not None:
            return "..." + "".join(reversed(steps))
        return _short(self.container.root) + "".join(reversed(steps))


def _path_of(container: Container) -> str:
    return _short(container.root) if container.holder is None else container.holder.path()


def _step(place: Place) -> str:
    if place.key is not None:
        return f".{_short(place.key)}"
    shape = place.container.shape
    # What stands in a row of a text is the text: only lists have items worth a step.
    return "[]" if shape is not None and shape.parts() else ""


def _short(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"{name[:_MAX_NAME]}..."


class Line:
    """The operations of one client up to `end`, in runs of one place. A run begins at each of `starts`.

    A place is None where nothing holds the operations.
    """

    __slots__ = ("end", "places", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.places: list[Place | None] = []
        self.end = 0

    def append(self, end: int, place: Place | None) -> None:
        """Put all up to `end` in a place."""
        if not self.places or self.places[-1] is not place:
            self.starts.append(self.end)
            self.places.append(place)
        self.end = end

    def at(self, clock: int) -> Place | None:
        """Return where an operation sits; None when it is unknown too."""
        return self.places[bisect.bisect_right(self.starts, clock) - 1] if clock < self.end else None

    def cut(self, end: int) -> None:
        """Forget all from `end` on."""
        if end < self.end:
            kept = bisect.bisect_left(self.starts, end)
            del self.starts[kept:], self.places[kept:]
            self.end = end

    def roots(self, start: int, end: int) -> set[str]:
        """Return the names of the root types in which a range of known operations sits."""
        first = bisect.bisect_right(self.starts, start) - 1
        last = bisect.bisect_left(self.starts, end)
        return {place.container.root for place in self.places[first:last] if place is not None}


class Ranges:
    """Disjoint ranges of clocks, in order."""

    __slots__ = ("ends", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def add(self, ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Add ranges, none empty, in whatever order; return the parts of them that are new."""
        if len(ranges) == 1:
            return self._add(*ranges[0])
        if len(ranges) < _MANY:
            return [part for start, end in ranges for part in self._add(start, end)]
        new: list[tuple[int, int]] = []
        added = _united(ranges)
        for start, end in added:
            new += self._missing(start, end)
        united = _united([*zip(self.starts, self.ends, strict=True), *added])
        self.starts = [start for start, _ in united]
        self.ends = [end for _, end in united]
        return new

    def remove(self, start: int, end: int) -> None:
        """Take out a range that lies inside of one."""
        index = bisect.bisect_right(self.starts, start) - 1
        around = (self.starts[index], start), (end, self.ends[index])
        left = [(first, last) for first, last in around if first < last]
        self.starts[index : index + 1] = [first for first, _ in left]
        self.ends[index : index + 1] = [last for _, last in left]

    def cut(self, end: int) -> None:
        """Forget all from `end` on."""
        kept = bisect.bisect_left(self.starts, end)
        del self.starts[kept:], self.ends[kept:]
        if self.ends and self.ends[-1] > end:
            self.ends[-1] = end

    def _add(self, start: int, end: int) -> list[tuple[int, int]]:
        if not self.ends or self.ends[-1] < start:
            self.starts.append(start)
            self.ends.append(end)
            return [(start, end)]
        new = self._missing(start, end)
        first = bisect.bisect_left(self.ends, start)
        last = bisect.bisect_right(self.starts, end)
        if first < last:
            start, end = min(start, self.starts[first]), max(end, self.ends[last - 1])
        self.starts[first:last] = [start]
        self.ends[first:last] = [end]
        return new

    def _missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the parts of a range that are not there."""
        missing: list[tuple[int, int]] = []
        index = bisect.bisect_right(self.ends, start)
        while start < end:
            next_start, next_end = (self.starts[index], self.ends[index]) if index < len(self.starts) else (end, end)
            if start < next_start:
                missing.append((start, min(next_start, end)))
            start = max(next_end, start)
            index += 1
        return missing


def _united(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges in order, those that meet made one."""
    united: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if united and start <= united[-1][1]:
            united[-1] = (united[-1][0], max(united[-1][1], end))
        else:
            united.append((start, end))
    return united
