"""`contributions`: who changed which part of a document, read from its log and from what is kept of a folded one."""

from __future__ import annotations

from quorate_protocol.ids import Sequence as LogPlace
from quorate_server.attribution import Contribution, Ranges, ranges_of, unpack
from quorate_server.rooms import Rooms
from quorate_server.users import SERVER
from quorate_storage.stores import Document

LONGEST_PAGE = 1000
"""How many updates are looked at at once, at most."""


async def contributions(rooms: Rooms, document: Document, after: LogPlace, until: LogPlace) -> list[Contribution]:
    """Return who changed which part by the oldest thousand of the updates beyond `after` and up to `until`.

    Raises:
        StorageUnavailable: the database cannot be reached.
    """
    room = await rooms.open(document.name, SERVER, may_create=False)
    state = await room.read()
    # The log first: what is folded in between is then in both, and counted once.
    tail = await rooms.store.read_log(document.id, after=after, limit=LONGEST_PAGE)
    folded = await rooms.store.read_attributions(document.id, after=after, until=until)
    found: dict[LogPlace, Ranges] = {}
    for one in folded:
        found |= {each.sequence: each for each in unpack(one) if after < each.sequence <= until}
        if len(found) >= LONGEST_PAGE:
            break
    found |= {entry.sequence: ranges_of(entry) for entry in tail if entry.sequence <= until}
    wanted = [found[sequence] for sequence in sorted(found)]
    return await rooms.locate(state, wanted[:LONGEST_PAGE])
