"""What a store must do with updates and snapshots."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import replace

import pytest

from quorate_protocol.ids import DocumentId, Sequence, UserId
from quorate_storage.acts import Act
from quorate_storage.errors import DocumentMissing, SequenceConflict
from quorate_storage.stores import Document, Lease, LogEntry, Store, StoredLog
from quorate_storage.testing.building import (
    START,
    aside,
    entries,
    entry,
    new_document,
    new_lease,
    snapshot,
    written,
)

EVERY_BYTE = bytes(range(256))


class LogContract:
    """Appending, reading back, and folding."""

    async def test_updates_come_back_as_they_went_in(self, store: Store) -> None:
        """What was appended is read back in order, byte for byte, with author and exact time."""
        async with written(store, 0) as (lease, document):
            sent = [
                entry(document.id, 1, EVERY_BYTE),
                entry(document.id, 2, b"\0" * 300_000, author=UserId("é \U0001d11e '\"")),
            ]
            await store.append(sent, lease=lease)

            assert (await store.load(document.id)).tail == tuple(sent)

    async def test_the_last_sequence_grows_with_the_log(self, store: Store) -> None:
        """A document tells the newest place in its log wherever it is returned."""
        async with written(store, 3) as (_lease, document):
            found = await store.find(document.name)

            assert found is not None
            assert found.last_sequence == len(entries(document.id, 1, 3))
            assert (await store.load(document.id)).document == found
            assert await store.list_documents() == [found]

    async def test_many_documents_in_one_append(self, store: Store) -> None:
        """One append writes updates of several documents, in whatever order they are mixed."""
        lease = await new_lease(store)
        one = await new_document(store, lease, "text/one")
        two = await new_document(store, lease, "text/two")
        mixed = [entry(one.id, 1), entry(two.id, 1), entry(one.id, 2), entry(two.id, 2)]

        await store.append(mixed, lease=lease)

        assert (await store.load(one.id)).tail == tuple(entries(one.id, 1, 2))
        assert (await store.load(two.id)).tail == tuple(entries(two.id, 1, 2))

    async def test_an_act_is_written_with_its_update_and_once(self, store: Store) -> None:
        """What an act says is there when its update is, however often both are appended."""
        async with written(store, 2) as (lease, document):
            item = aside(document.id)
            act = Act(rows=(item,))
            for _ in range(2):
                await store.append([entry(document.id, 3), entry(document.id, 4)], lease=lease, acts=[act])

            [kept] = await store.list_set_aside(document.id)
            assert replace(kept, id=None) == item
            assert (await store.load(document.id)).tail == tuple(entries(document.id, 1, 4))

    async def test_an_act_of_a_refused_update_is_not_written(self, store: Store) -> None:
        """An append is all or nothing in this, too."""
        async with written(store, 2) as (lease, document):
            act = Act(rows=(aside(document.id),))
            with pytest.raises(SequenceConflict):
                await store.append([entry(document.id, 2, b"other")], lease=lease, acts=[act])

            assert await store.list_set_aside(document.id) == []

    async def test_appending_nothing_is_nothing(self, store: Store) -> None:
        """An append without entries succeeds."""
        await store.append([], lease=await new_lease(store))

    @pytest.mark.parametrize("first", [1, 3], ids=["all of it", "some of it"])
    async def test_appending_again_succeeds(self, store: Store, first: int) -> None:
        """What is there already is not written twice, and what follows it is written."""
        async with written(store, 4) as (lease, document):
            await store.append(entries(document.id, first, 4), lease=lease)
            await store.append(entries(document.id, first, 6), lease=lease)

            assert (await store.load(document.id)).tail == tuple(entries(document.id, 1, 6))

    @pytest.mark.parametrize(
        "other",
        [entry(DocumentId(0), 2, b"other"), entry(DocumentId(0), 2, author=UserId("other"))],
        ids=["other bytes", "other author"],
    )
    async def test_a_taken_place_is_refused(self, store: Store, other: LogEntry) -> None:
        """Another update at a place of the log is refused, and what is there stays."""
        async with written(store, 2) as (lease, document):
            wrong = entry(document.id, 2, other.update, author=other.author)

            await _expect_conflict(store, lease, document, [wrong, entry(document.id, 3)])

    @pytest.mark.parametrize("places", [[4], [3, 5], [3, 3], [4, 3], [0], [-1]], ids=lambda places: f"{places}")
    async def test_a_gap_is_refused(self, store: Store, places: list[int]) -> None:
        """Entries that do not continue the log one by one are refused."""
        async with written(store, 2) as (lease, document):
            wrong = [entry(document.id, place) for place in places]

            await _expect_conflict(store, lease, document, wrong)

    async def test_an_append_is_all_or_nothing(self, store: Store) -> None:
        """One refused entry keeps those of all other documents out."""
        lease = await new_lease(store)
        good = await new_document(store, lease, "text/good")
        bad = await new_document(store, lease, "text/bad")

        with pytest.raises(SequenceConflict) as caught:
            await store.append([entry(good.id, 1), entry(bad.id, 7)], lease=lease)

        assert caught.value.document == bad.id
        assert (await store.load(good.id)).tail == ()

    async def test_appending_to_nothing_is_refused(self, store: Store) -> None:
        """An entry of a document that does not exist is refused together with the others."""
        async with written(store, 0) as (lease, document):
            nowhere = DocumentId(999_999)

            with pytest.raises(DocumentMissing) as caught:
                await store.append([entry(document.id, 1), entry(nowhere, 1)], lease=lease)

            assert caught.value.document == nowhere
            assert (await store.load(document.id)).tail == ()

    async def test_of_two_at_one_place_one_wins(self, store: Store) -> None:
        """Of many different updates for one place, appended at once, exactly one is written."""
        async with written(store, 0) as (lease, document):
            rivals = [entry(document.id, 1, b"rival %d" % number) for number in range(8)]

            results = await asyncio.gather(
                *(store.append([rival], lease=lease) for rival in rivals), return_exceptions=True
            )

            (kept,) = (await store.load(document.id)).tail
            assert [type(result) for result in results if result] == [SequenceConflict] * 7
            assert results[rivals.index(kept)] is None

    async def test_a_log_is_read_in_parts(self, store: Store) -> None:
        """Reading continues after a sequence, up to a limit."""
        async with written(store, 5) as (_lease, document):
            part = await store.read_log(document.id, after=Sequence(1), limit=3)

            assert list(part) == entries(document.id, 2, 4)
            assert not await store.read_log(document.id, after=Sequence(5))

    async def test_the_size_of_a_log(self, store: Store) -> None:
        """Size counts the tail, its bytes and its newest time, and the snapshot's bytes."""
        async with written(store, 3) as (lease, document):
            await store.replace_tail(snapshot(document.id, 1, state=b"1234567"), lease=lease)

            size = await store.log_size(document.id)

            assert (size.entries, size.bytes) == (2, len(b"update 2update 3"))
            assert (size.snapshot_bytes, size.newest_at) == (7, START + 3)

    async def test_the_size_of_an_empty_log(self, store: Store) -> None:
        """An empty log has size zero."""
        async with written(store, 0) as (_lease, document):
            size = await store.log_size(document.id)

            assert (size.entries, size.bytes, size.snapshot_bytes, size.newest_at) == (0, 0, 0, 0.0)

    # Snapshots

    async def test_a_snapshot_takes_the_place_of_what_it_covers(self, store: Store) -> None:
        """Updates up to the snapshot are dropped and counted; those after it stay."""
        async with written(store, 5) as (lease, document):
            taken = snapshot(document.id, 3, waiting=(b"first", b"", EVERY_BYTE))

            dropped = await store.replace_tail(taken, lease=lease)

            stored = await store.load(document.id)
            assert stored.snapshot == taken
            assert stored.tail == tuple(entries(document.id, 4, 5))
            assert dropped == len(entries(document.id, 1, 3))

    async def test_another_process_reads_the_same_if_it_can(self, store: Store) -> None:
        """What it is handed can be pickled, and finds what `load` finds; of no document it finds nothing."""
        read = store.log_reader()
        if read is None:  # this store is read by its own process only
            return
        read = pickle.loads(pickle.dumps(read))  # noqa: S301 - our own
        async with written(store, 5) as (lease, document):
            before = await asyncio.to_thread(read, document.id)
            await store.replace_tail(snapshot(document.id, 3, waiting=(b"first", b"", EVERY_BYTE)), lease=lease)
            after = await asyncio.to_thread(read, document.id)
            stored = await store.load(document.id)

        assert (before.snapshot, before.tail) == (None, tuple(entries(document.id, 1, 5)))
        assert (after.snapshot, after.tail) == (stored.snapshot, stored.tail)
        assert read(DocumentId(999)) == StoredLog(snapshot=None, tail=())

    async def test_a_log_goes_on_after_a_snapshot_of_all(self, store: Store) -> None:
        """With every update dropped, the next one still gets the next place and no other."""
        async with written(store, 3) as (lease, document):
            await store.replace_tail(snapshot(document.id, 3), lease=lease)

            with pytest.raises(SequenceConflict):
                await store.append([entry(document.id, 1)], lease=lease)
            await store.append([entry(document.id, 4)], lease=lease)

            stored = await store.load(document.id)
            assert stored.tail == (entry(document.id, 4),)
            assert stored.document.last_sequence == stored.tail[-1].sequence

    async def test_a_newer_snapshot_replaces_an_older(self, store: Store) -> None:
        """Only the newest snapshot is kept."""
        async with written(store, 4) as (lease, document):
            await store.replace_tail(snapshot(document.id, 2, state=b"older"), lease=lease)
            newer = snapshot(document.id, 4, state=b"newer")

            dropped = await store.replace_tail(newer, lease=lease)

            assert dropped == len(entries(document.id, 3, 4))
            assert (await store.load(document.id)).snapshot == newer

    @pytest.mark.parametrize("through", [2, 3])
    async def test_an_older_snapshot_changes_nothing(self, store: Store, through: int) -> None:
        """A snapshot that reaches no further than the present one is not written."""
        async with written(store, 4) as (lease, document):
            present = snapshot(document.id, 3)
            await store.replace_tail(present, lease=lease)
            late = snapshot(document.id, through, state=b"late")

            assert await store.replace_tail(late, lease=lease) == 0
            assert (await store.load(document.id)).snapshot == present

    async def test_a_snapshot_of_the_future_is_refused(self, store: Store) -> None:
        """A snapshot cannot cover updates that are not in the log."""
        async with written(store, 2) as (lease, document):
            with pytest.raises(SequenceConflict):
                await store.replace_tail(snapshot(document.id, 3), lease=lease)

            assert (await store.load(document.id)).snapshot is None

    async def test_a_snapshot_needs_its_document(self, store: Store) -> None:
        """A snapshot of a document that does not exist is refused."""
        with pytest.raises(DocumentMissing):
            await store.replace_tail(snapshot(DocumentId(999), 1), lease=await new_lease(store))

    async def test_a_load_is_of_one_moment(self, store: Store) -> None:
        """Loads beside appends and compactions always see a log without a gap."""
        async with written(store, 20) as (lease, document):
            writing = asyncio.create_task(_write_and_fold(store, lease, document.id, 21, 60))
            while not writing.done():
                await asyncio.sleep(0)
                stored = await store.load(document.id)
                covered = 0 if stored.snapshot is None else stored.snapshot.through
                places = [one.sequence for one in stored.tail]
                assert places == list(range(covered + 1, stored.document.last_sequence + 1))
            await writing


async def _write_and_fold(store: Store, lease: Lease, document: DocumentId, first: int, last: int) -> None:
    for place in range(first, last + 1):
        await store.append([entry(document, place)], lease=lease)
        if place % 7 == 0:
            await store.replace_tail(snapshot(document, place - 3), lease=lease)


async def _expect_conflict(store: Store, lease: Lease, document: Document, wrong: list[LogEntry]) -> None:
    before = await store.load(document.id)
    with pytest.raises(SequenceConflict) as caught:
        await store.append(wrong, lease=lease)
    assert caught.value.document == document.id
    assert await store.load(document.id) == before
