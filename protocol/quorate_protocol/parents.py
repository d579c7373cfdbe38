"""Who holds what in a document: the parent of each struct of a complete state.

An item that names a neighbour does not say who its parent is: it is the neighbour's. These chains are
followed here, without recursion and each only once: a hostile document can make them as long as it likes.

Source: yjs `structs/Item.js`, `Item.getMissing` and `Item.write`.
"""

import bisect
from collections.abc import Iterator, Sequence

from quorate_protocol.updates import Id, Struct

Parent = str | Id


class ParentFinder:
    """Finds the parent of any struct among the structs of one complete state."""

    def __init__(self, structs: Sequence[Struct]) -> None:
        self._structs = structs
        self._starts: dict[int, list[int]] = {}
        self._by_client: dict[int, list[Struct]] = {}
        for struct in structs:
            self._starts.setdefault(struct.client, []).append(struct.clock)
            self._by_client.setdefault(struct.client, []).append(struct)
        self._heads: dict[Id, Struct | None] = {}

    def children_of_roots(self) -> Iterator[tuple[Struct, str]]:
        """Yield each item that a root type holds directly, with the root's name."""
        for struct in self._structs:
            parent = self.parent_of(struct)
            if isinstance(parent, str):
                yield struct, parent

    def parent_of(self, struct: Struct) -> Parent | None:
        """Return the root's name or the holding item's id; None for what was removed for good."""
        head = self.head_of(struct)
        return None if head is None else head.parent

    def head_of(self, struct: Struct) -> Struct | None:
        """Return the item that names the parent, and the key, of all its neighbours; None for what was removed."""
        path: list[Id] = []
        current: Struct | None = struct
        while current is not None and current.parent is None:
            here = (current.client, current.clock)
            if here in self._heads:
                current = self._heads[here]
                break
            self._heads[here] = None  # neighbours that go in a circle end here
            path.append(here)
            current = self.at(current.origin or current.right_origin)
        self._heads.update(dict.fromkeys(path, current))
        return current

    def at(self, place: Id | None) -> Struct | None:
        """Return the struct that holds an operation; None when it is not there."""
        if place is None:
            return None
        client, clock = place
        starts = self._starts.get(client)
        if not starts:
            return None
        found = self._by_client[client][bisect.bisect_right(starts, clock) - 1]
        return found if found.clock <= clock < found.clock + found.length else None

    def depth(self) -> int:
        """Return how deeply shared types are nested: 1 for a type that a root holds, 0 when there is none."""
        depths: dict[Id, int] = {}
        for struct in self._structs:
            if struct.content is None or not struct.content.startswith("type:"):
                continue
            path: list[Id] = []
            current: Struct | None = struct
            while current is not None and (current.client, current.clock) not in depths:
                path.append((current.client, current.clock))
                parent = self.parent_of(current)
                current = self.at(parent) if isinstance(parent, tuple) else None
            depth = 0 if current is None else depths[current.client, current.clock]
            for step in reversed(path):
                depth += 1
                depths[step] = depth
        return max(depths.values(), default=0)
