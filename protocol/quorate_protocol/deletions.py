"""What is deleted, as ranges of clocks that can be searched."""

import bisect
from collections.abc import Iterable, Sequence

from quorate_protocol.ids import ClientId
from quorate_protocol.updates import MAX_CLOCK, DeleteRange


def ranges_by_client(deleted: Iterable[DeleteRange]) -> dict[ClientId, list[tuple[int, int]]]:
    """Return deleted ranges by client, sorted, as start and end."""
    ranges: dict[ClientId, list[tuple[int, int]]] = {}
    for each in deleted:
        ranges.setdefault(each.client, []).append((each.clock, each.clock + each.length))
    for of_client in ranges.values():
        of_client.sort()
    return ranges


def is_inside(deleted: DeleteRange, ranges: Sequence[tuple[int, int]]) -> bool:
    """Whether one of these disjoint, sorted ranges holds all of what is deleted."""
    position = bisect.bisect_right(ranges, (deleted.clock, MAX_CLOCK + 1)) - 1
    return position >= 0 and ranges[position][1] >= deleted.clock + deleted.length
