"""Who changed which part: kept over compaction, by authenticated user, named by part."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text

from quorate_protocol.ids import DocumentId, UserId
from quorate_protocol.ids import Sequence as LogPlace
from quorate_server.attribution import REMOVED, Contribution, locate, pack, ranges_of, unpack
from quorate_storage.compaction import CompactionRule
from quorate_storage.stores import LogEntry
from tests.server.houses import Guest, open_room, open_rooms, until


class Log:
    """Edits of several people on one document, as the log has them."""

    def __init__(self) -> None:
        self.doc: Doc[Any] = Doc()
        self.entries: list[LogEntry] = []
        self._made = made = list[bytes]()
        self._subscription = self.doc.observe(lambda event: made.append(event.update))

    def edit(self, author: str, edit: Any) -> None:
        self._made.clear()
        with self.doc.transaction():
            edit(self.doc)
        for update in self._made:
            place = LogPlace(len(self.entries) + 1)
            self.entries.append(
                LogEntry(document=DocumentId(1), sequence=place, update=update, author=UserId(author), at=float(place))
            )

    def contributions(self) -> list[Contribution]:
        [packed] = pack(self.entries)
        return locate(self.doc.get_update(), unpack(packed))


def test_each_edit_is_its_authors_and_names_its_part() -> None:
    log = Log()
    log.edit("anna", lambda doc: doc.get("text", type=Text).insert(0, "hello"))
    log.edit("ben", lambda doc: doc.get("request", type=Map).update({"title": "a"}))
    log.edit("carla", lambda doc: doc.get("request", type=Map).update({"justification": Text("because")}))
    log.edit("dora", lambda doc: doc.get("request", type=Map)["justification"].insert(0, "just "))
    log.edit("emil", lambda doc: doc.get("text", type=Text).__delitem__(slice(1, 4)))
    log.edit("fred", lambda doc: doc.get("steps", type=Array).append(Map({"id": 1})))
    log.edit("gina", lambda doc: doc.get("request", type=Map).update({"title": "b"}))

    found = [(each.author, dict(each.inserted), dict(each.deleted)) for each in log.contributions()]
    assert found == [
        ("anna", {"text": 5}, {}),
        ("ben", {"request/title": 1}, {}),
        ("carla", {"request/justification": 8}, {}),
        ("dora", {"request/justification": 5}, {}),
        ("emil", {}, {"text": 3}),
        ("fred", {"steps": 1, "steps/id": 1}, {}),
        ("gina", {"request/title": 1}, {"request/title": 1}),
    ]


def test_what_was_removed_with_its_holder_says_so() -> None:
    log = Log()
    log.edit("anna", lambda doc: doc.get("request", type=Map).update({"justification": Text("because")}))
    log.edit("ben", lambda doc: doc.get("request", type=Map).__delitem__("justification"))

    first, second = log.contributions()
    assert dict(first.inserted) == {"request/justification": 1, REMOVED: 7}
    assert sum(second.deleted.values()) >= 1


@given(
    st.lists(
        st.tuples(st.sampled_from(["anna", "ben"]), st.integers(0, 2), st.integers(0, 30), st.integers(1, 5)),
        min_size=1,
        max_size=30,
    )
)
def test_nothing_is_lost_in_packing(steps: list[tuple[str, int, int, int]]) -> None:
    """What is packed comes back exactly, and every operation counts once."""
    log = Log()
    for author, what, place, length in steps:

        def edit(doc: Doc[Any], what: int = what, place: int = place, length: int = length) -> None:
            text = doc.get("text", type=Text)
            if what == 0 and len(text):
                start = place % len(text)
                del text[start : min(start + length, len(text))]
            elif what == 1:
                doc.get("facts", type=Map)[f"k{place}"] = length
            else:
                text.insert(min(place, len(text)), "x" * length)

        log.edit(author, edit)
    if not log.entries:
        return
    [packed] = pack(log.entries)
    assert unpack(packed) == [ranges_of(entry) for entry in log.entries]
    for entry, found in zip(log.entries, log.contributions(), strict=True):
        ranges = ranges_of(entry)
        assert sum(found.inserted.values()) == sum(length for _, _, length in ranges.inserted)
        assert sum(found.deleted.values()) == sum(length for _, _, length in ranges.deleted)


async def test_who_wrote_what_outlives_compaction() -> None:
    async with open_rooms(rule=CompactionRule(tail_entries=4)) as rooms:
        room = await open_room(rooms)
        anna, ben = Guest(room, "anna"), Guest(room, "ben")
        for number in range(3):
            for guest in (anna, ben):
                guest.take()
                guest.type(f"{number}")
                await until(lambda: room.is_durable, "durable")
        await until(lambda: not rooms._compacting and room.meter.entries < 4, "folded")

        kept = await rooms.store.read_attributions(room.document.id, after=LogPlace(0), until=LogPlace(99))
        tail = await rooms.store.read_log(room.document.id, after=LogPlace(0))
        ranges = [each for one in kept for each in unpack(one)] + [ranges_of(entry) for entry in tail]
        assert [each.sequence for each in ranges] == list(range(1, len(ranges) + 1))
        located = await rooms.locate(await room.read(), ranges)
        assert {(each.author, *each.inserted) for each in located} == {("anna", "text"), ("ben", "text")}
