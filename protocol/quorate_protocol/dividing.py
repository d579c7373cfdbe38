"""Dividing an update into what can be taken now and what has to wait.

An update may build on operations that its reader lacks: a run begins behind a gap, a neighbour or a
parent is unknown, a deletion names what has not come. Engines park such parts inside, which here is
done outside of them: what an engine is given builds on nothing but what it has.

Source: yjs `utils/encoding.js`, `integrateStructs`, and `structs/Item.js`, `Item.getMissing`.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from quorate_protocol.ids import ClientId
from quorate_protocol.updates import DeleteRange, Struct, read_sections
from quorate_protocol.varints import write_var_uint


class Division(NamedTuple):
    """An update in two: `taken` builds on nothing but what is known or taken with it, `left` has to wait.

    Each is an update, `EMPTY_UPDATE` where there is nothing of it. `lacks` says what would let more of it be
    taken: any of these clients known up to behind that clock. Empty when nothing is left.
    """

    taken: bytes
    left: bytes
    lacks: tuple[tuple[ClientId, int], ...]

    def is_stale(self, state_vector: Mapping[ClientId, int]) -> bool:
        """Tell whether something has come since that lets more of it be taken."""
        return any(end <= state_vector.get(client, 0) for client, end in self.lacks)


def divide(update: bytes, state_vector: Mapping[ClientId, int]) -> Division:
    """Divide an update into what the holder of a state vector can take now, and what has to wait.

    Operations that are known already are in neither part.

    Raises:
        MalformedFrame: it does not follow the grammar.
    """
    listing, deletes = read_sections(update)
    sections = [_Section(client, structs) for client, structs in listing]
    known = dict(state_vector)
    lacks = _advance(sections, known)
    taken = [part for section in sections if (part := section.encode(update, section.known, section.taken))]
    left = [part for section in sections if (part := section.encode(update, section.taken, len(section.structs)))]
    now, later = _divide_deletes(deletes, known)
    lacks += [(each.client, each.clock + 1) for each in later]
    return Division(_encode(taken, now), _encode(left, later), tuple(lacks))


def _divide_deletes(
    deletes: Iterable[DeleteRange], known: Mapping[ClientId, int]
) -> tuple[list[DeleteRange], list[DeleteRange]]:
    now: list[DeleteRange] = []
    later: list[DeleteRange] = []
    for client, clock, length in deletes:
        inside = min(max(known.get(client, 0) - clock, 0), length)
        if inside:
            now.append(DeleteRange(client, clock, inside))
        if inside < length:
            later.append(DeleteRange(client, clock + inside, length - inside))
    return now, later


class _Section:
    """The structs of one client in an update, with where each begins and ends in it."""

    def __init__(self, client: ClientId, structs: Sequence[tuple[Struct, int, int]]) -> None:
        self.client = client
        self.structs = structs[: _end_of_structs(structs)]
        self.known = 0
        """How many of the first structs say nothing new."""
        self.taken = 0
        """How many of the first structs are known or can be taken."""

    def advance(self, known: dict[ClientId, int]) -> tuple[ClientId, int] | None:
        """Take what can be taken, and add it to `known`; return what the next struct lacks.

        That is a client and behind which of its clocks it ends; None when all was taken.
        """
        while self.taken < len(self.structs):
            struct, _, _ = self.structs[self.taken]
            end = struct.clock + struct.length
            if end <= known.get(self.client, 0) or not struct.length:
                self.known += self.known == self.taken
            elif (lacks := _lacks(struct, known)) is not None:
                return lacks
            else:
                known[self.client] = end
            self.taken += 1
        return None

    def encode(self, update: bytes, start: int, stop: int) -> bytes:
        """Return these structs as a section; nothing when there are none but skips."""
        while start < stop and self.structs[start][0].kind == "skip":
            start += 1
        if start == stop:
            return b""
        first, begin, _ = self.structs[start]
        head = write_var_uint(stop - start) + write_var_uint(self.client) + write_var_uint(first.clock)
        return head + update[begin : self.structs[stop - 1][2]]


def _end_of_structs(structs: Sequence[tuple[Struct, int, int]]) -> int:
    """Return behind which struct there are only skips, which nothing has to wait for."""
    end = len(structs)
    while end and structs[end - 1][0].kind == "skip":
        end -= 1
    return end


def _lacks(struct: Struct, known: Mapping[ClientId, int]) -> tuple[ClientId, int] | None:
    """Return what must be known before a struct can be taken, as a client and behind which of its clocks it ends."""
    if struct.kind == "skip":
        return struct.client, struct.clock + struct.length
    if struct.clock > known.get(struct.client, 0):
        return struct.client, struct.clock
    for place in (struct.origin, struct.right_origin, struct.parent):
        if isinstance(place, tuple) and place[1] >= known.get(place[0], 0):
            return place[0], place[1] + 1
    return None


def _advance(sections: Sequence[_Section], known: dict[ClientId, int]) -> list[tuple[ClientId, int]]:
    """Take of each section what can be taken, going on as soon as what it lacked has come; return what they lack."""
    waiting: dict[ClientId, list[tuple[int, int]]] = {}
    ready = deque(range(len(sections)))
    while ready:
        index = ready.popleft()
        section = sections[index]
        lacks = section.advance(known)
        if lacks is not None:
            heapq.heappush(waiting.setdefault(lacks[0], []), (lacks[1], index))
        heap = waiting.get(section.client, [])
        while heap and heap[0][0] <= known.get(section.client, 0):
            ready.append(heapq.heappop(heap)[1])
    return [(client, end) for client, heap in waiting.items() for end, _ in heap]


def _encode(sections: Sequence[bytes], deletes: Sequence[DeleteRange]) -> bytes:
    ranges: dict[ClientId, list[DeleteRange]] = {}
    for each in deletes:
        ranges.setdefault(each.client, []).append(each)
    tail = b"".join(
        write_var_uint(client)
        + write_var_uint(len(of_client))
        + b"".join(write_var_uint(each.clock) + write_var_uint(each.length) for each in of_client)
        for client, of_client in ranges.items()
    )
    return write_var_uint(len(sections)) + b"".join(sections) + write_var_uint(len(ranges)) + tail
