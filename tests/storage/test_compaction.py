"""When a log becomes a snapshot, and that nothing is dropped without proof."""

from __future__ import annotations

import pytest

from quorate_protocol.ids import DocumentId
from quorate_storage.compaction import CompactionRule, Fold, Folded, compact, fold_and_verify
from quorate_storage.errors import CompactionRefused, LeaseLost
from quorate_storage.memory import MemoryStore
from quorate_storage.stores import Lease, LogSize, Store, StoredLog
from quorate_storage.testing.building import START, entries, entry, written

RULE = CompactionRule(tail_entries=100, tail_bytes=1000, tail_ratio=0.5, idle_seconds=60, idle_entries=10)


def fold(stored: StoredLog) -> Folded:
    """Fold as a CRDT would whose state is the list of its updates; those with "wait" wait."""
    before = [] if stored.snapshot is None else [stored.snapshot.state]
    updates = [one.update for one in stored.tail]
    return Folded(
        through=stored.tail[-1].sequence,
        state=b",".join(before + [one for one in updates if b"wait" not in one]),
        waiting=tuple(one for one in updates if b"wait" in one),
    )


def verify(stored: StoredLog, folded: Folded) -> bool:
    return fold(stored) == folded


async def compacted(store: Store, document: DocumentId, lease: Lease, fold: Fold = fold) -> int:
    """Compact as a server does that reads the log itself."""

    async def fold_here() -> Folded | None:
        return fold_and_verify(await store.load(document), fold=fold, verify=verify)

    return await compact(store, document, lease, fold=fold_here, at=START)


@pytest.mark.parametrize(
    ("entries", "size", "snapshot", "age", "due"),
    [
        (99, 10, 0, 0, False),
        (100, 10, 0, 0, True),
        (5, 999, 0, 0, False),
        (5, 1000, 0, 0, True),
        (5, 1000, 10_000, 0, False),
        (5, 5000, 10_000, 0, True),
        (9, 10, 0, 60, False),
        (10, 10, 0, 59, False),
        (10, 10, 0, 60, True),
    ],
)
def test_the_rule(entries: int, size: int, snapshot: int, age: float, due: bool) -> None:  # noqa: FBT001
    """A log is folded when it is long, large for its document, or idle and worth it."""
    log = LogSize(
        document=DocumentId(1),
        entries=entries,
        bytes=size,
        snapshot_bytes=snapshot,
        newest_at=START,
    )

    assert RULE.is_due(log, at=START + age) is due


async def test_a_log_becomes_a_snapshot() -> None:
    """The whole log is folded, and the waiting updates stay beside the state."""
    store = MemoryStore()
    async with written(store, 2) as (lease, document):
        await store.append([entry(document.id, 3, b"wait 3")], lease=lease)

        dropped = await compacted(store, document.id, lease)

        assert dropped == 3
        stored = await store.load(document.id)
        assert stored.snapshot is not None
        assert stored.snapshot.state == b"update 1,update 2"
        assert stored.snapshot.waiting == (b"wait 3",)
        assert (stored.snapshot.through, stored.tail) == (3, ())


async def test_an_empty_log_is_left_alone() -> None:
    """Without a tail there is nothing to fold."""
    store = MemoryStore()
    async with written(store, 0) as (lease, document):
        assert await compacted(store, document.id, lease) == 0
        assert (await store.load(document.id)).snapshot is None


async def test_without_proof_nothing_is_dropped() -> None:
    """A state that does not prove equal to its log replaces nothing."""

    def forget(stored: StoredLog) -> Folded:
        return Folded(through=stored.tail[-1].sequence, state=stored.tail[0].update)

    store = MemoryStore()
    async with written(store, 3) as (lease, document):
        before = await store.load(document.id)

        with pytest.raises(CompactionRefused) as caught:
            await compacted(store, document.id, lease, forget)

        assert (caught.value.document, caught.value.through) == (document.id, 3)
        assert await store.load(document.id) == before


async def test_a_fold_that_fails_changes_nothing() -> None:
    """An error of the fold passes through, and the log stays."""

    def broken(_stored: StoredLog) -> Folded:
        raise ZeroDivisionError

    store = MemoryStore()
    async with written(store, 3) as (lease, document):
        before = await store.load(document.id)

        with pytest.raises(ZeroDivisionError):
            await compacted(store, document.id, lease, broken)

        assert await store.load(document.id) == before


async def test_what_is_appended_meanwhile_stays() -> None:
    """Updates that come while the log is folded are in the tail afterwards."""
    store = MemoryStore()
    async with written(store, 3) as (lease, document):

        async def slow() -> Folded:
            folded = fold(await store.load(document.id))
            await store.append(entries(document.id, 4, 5), lease=lease)
            return folded

        dropped = await compact(store, document.id, lease, fold=slow, at=START)

        assert dropped == 3
        assert (await store.load(document.id)).tail == tuple(entries(document.id, 4, 5))


async def test_a_former_owner_compacts_nothing() -> None:
    """A lease that was lost during the fold keeps the log as it is."""
    store = MemoryStore()
    async with written(store, 3) as (lease, document):

        async def slow() -> Folded:
            await store.acquire_lease("all", holder="two", seconds=1, at=START + 1000)
            return fold(await store.load(document.id))

        with pytest.raises(LeaseLost):
            await compact(store, document.id, lease, fold=slow, at=START)

        assert (await store.load(document.id)).snapshot is None
