"""Updates of which something waits for what it builds on: they are kept here, for the engine breaks over them."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from quorate_protocol.dividing import Division, divide
from quorate_protocol.ids import ClientId
from quorate_protocol.updates import update_ends


@dataclass(slots=True)
class Waiting:
    """An update of which something waits, and how it was divided last."""

    update: bytes
    division: Division


def take_waiting(
    waiting: Sequence[Waiting], known: Mapping[ClientId, int], take: Callable[[bytes, Mapping[ClientId, int]], object]
) -> None:
    """Take what can be taken, each time as soon as what it lacked has come: however they are ordered.

    `take` is given an update and how far it reaches, and makes that known.
    """
    lacking: dict[ClientId, list[tuple[int, int]]] = {}
    ready: deque[int] = deque()

    def sort_in(index: int) -> None:
        division = waiting[index].division
        if division.is_stale(known):
            ready.append(index)
        for client, end in division.lacks:
            heapq.heappush(lacking.setdefault(client, []), (end, index))

    for index in range(len(waiting)):
        sort_in(index)
    while ready:
        index = ready.popleft()
        each = waiting[index]
        if not each.division.is_stale(known):
            continue  # sorted in anew since
        each.division = divide(each.division.left, known)
        ends = update_ends(each.division.taken)
        take(each.division.taken, ends)
        sort_in(index)
        for client in ends:
            heap = lacking.get(client, [])
            while heap and heap[0][0] <= known[client]:
                ready.append(heapq.heappop(heap)[1])
