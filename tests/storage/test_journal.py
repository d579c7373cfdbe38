"""The group commit: what is called back when, and what happens when the database fails."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from quorate_protocol.ids import DocumentId
from quorate_storage.acts import Act
from quorate_storage.errors import (
    DocumentMissing,
    LeaseLost,
    SequenceConflict,
    StorageUnavailable,
    ValueRefused,
)
from quorate_storage.journal import Journal, JournalSettings
from quorate_storage.stores import Lease, LogEntry
from quorate_storage.testing.building import EDITOR, START, entry, new_document, new_lease
from tests.storage.scripted import Fault, ScriptedStore

ONE, TWO, THREE = DocumentId(1), DocumentId(2), DocumentId(3)
AT_ONCE = JournalSettings(window_seconds=0)
NEVER_BY_ITSELF = JournalSettings(window_seconds=3600, small_updates=4)


@dataclass
class Watcher:
    commits: list[tuple[int, int]] = field(default_factory=list)
    failures: list[StorageUnavailable] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)

    def committed(self, entries: int, size_bytes: int, seconds: float) -> None:
        assert seconds >= 0
        self.commits.append((entries, size_bytes))

    def failed(self, error: StorageUnavailable) -> None:
        self.failures.append(error)

    def recovered(self, seconds: float) -> None:
        self.recoveries.append(seconds)


@dataclass
class Bench:
    """A journal on a store with three documents, and the record of what was called back."""

    store: ScriptedStore
    lease: Lease
    journal: Journal
    watcher: Watcher
    pauses: list[float]
    calls: list[tuple[DocumentId, int, BaseException | None]] = field(default_factory=list)

    def append(self, document: DocumentId, *places: int) -> None:
        self.append_entries([entry(document, place) for place in places])

    def append_entries(self, entries: list[LogEntry]) -> None:
        last = entries[-1]

        def done(error: BaseException | None) -> None:
            self.calls.append((last.document, last.sequence, error))

        self.journal.append(entries, done)

    @property
    def durable(self) -> list[tuple[DocumentId, int]]:
        return [(document, place) for document, place, error in self.calls if error is None]

    @property
    def refused(self) -> list[tuple[DocumentId, int, type[BaseException]]]:
        return [(document, place, type(error)) for document, place, error in self.calls if error]

    async def log(self, document: DocumentId) -> list[int]:
        return [one.sequence for one in (await self.store.load(document)).tail]


@asynccontextmanager
async def bench(*plan: Fault | Exception | None, settings: JournalSettings = AT_ONCE) -> AsyncIterator[Bench]:
    store = ScriptedStore(*plan)
    lease = await new_lease(store)
    for name in ("one", "two", "three"):
        await new_document(store, lease, name)
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    watcher = Watcher()
    journal = Journal(store, lambda: lease, settings=settings, observer=watcher, pause=pause, jitter=lambda: 1.0)
    async with journal:
        yield Bench(store=store, lease=lease, journal=journal, watcher=watcher, pauses=pauses)
        store.gate.set()


async def until(condition: Callable[[], bool]) -> None:
    """Let everything that is ready run until a condition holds."""
    while not condition():  # what is waited for has no event
        await asyncio.sleep(0)


async def turns(count: int = 20) -> None:
    """Let everything that is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


# When it commits


async def test_an_idle_journal_commits_at_once() -> None:
    """The first append needs no window and no flush."""
    async with bench(settings=NEVER_BY_ITSELF) as it:
        it.append(ONE, 1)
        assert it.calls == []

        await turns()

        assert it.durable == [(ONE, 1)]
        assert await it.log(ONE) == [1]


async def test_appends_of_one_turn_share_a_commit() -> None:
    """Whatever comes in one turn of the event loop is one commit, called back in order."""
    async with bench() as it:
        it.append(ONE, 1)
        it.append(TWO, 1, 2)
        it.append(ONE, 2)

        await it.journal.flush()

        assert len(it.store.appends) == 1
        assert it.durable == [(ONE, 1), (TWO, 2), (ONE, 2)]
        assert it.watcher.commits == [(4, 4 * len(b"update 1"))]


async def test_what_comes_during_a_commit_shares_the_next() -> None:
    """While a commit is under way others gather for one commit after it."""
    async with bench() as it:
        it.store.gate.clear()
        it.append(ONE, 1)
        await it.store.waiting.wait()
        for place in range(1, 6):
            it.append(TWO, place)
            await turns()
        assert it.calls == []

        it.store.gate.set()
        await it.journal.flush()

        assert [len(entries) for entries in it.store.appends] == [1, 5]


async def test_a_small_batch_waits_out_the_window() -> None:
    """After a commit a small batch waits; it is committed when it is small no more."""
    async with bench(settings=NEVER_BY_ITSELF) as it:
        it.append(ONE, 1)
        await turns()
        for place in (1, 2, 3):
            it.append(TWO, place)
            await turns()
        assert it.durable == [(ONE, 1)]

        it.append(ONE, 2)
        await turns()

        assert len(it.store.appends) == 2
        assert it.durable[-1] == (ONE, 2)


async def test_merged_updates_count_as_many() -> None:
    """One entry that carries the updates of many people does not wait for the window."""
    async with bench(settings=NEVER_BY_ITSELF) as it:
        it.append(ONE, 1)
        await turns()
        errors: list[BaseException | None] = []

        it.journal.append([entry(ONE, 2)], errors.append, weight=4)
        await turns()

        assert errors == [None]


async def test_what_has_no_room_follows_at_once() -> None:
    """What a bound kept out of a batch has waited already, and does not wait for another window."""
    settings = JournalSettings(window_seconds=3600, batch_entries=2)
    async with bench(settings=settings) as it:
        for place in (1, 2, 3):
            it.append(ONE, place)

        await turns()

        assert it.durable == [(ONE, 1), (ONE, 2), (ONE, 3)]


async def test_a_flush_does_not_wait_for_the_window() -> None:
    """Whoever flushes is waiting, so the window is cut short."""
    async with bench(settings=NEVER_BY_ITSELF) as it:
        it.append(ONE, 1)
        await turns()
        it.append(ONE, 2)

        await it.journal.flush()

        assert it.durable == [(ONE, 1), (ONE, 2)]


async def test_the_window_ends_by_itself() -> None:
    """A small batch is committed when the window is over, without anything else happening."""
    async with bench(settings=JournalSettings(window_seconds=0.02)) as it:
        it.append(ONE, 1)
        await turns()
        committed = asyncio.Event()

        it.journal.append([entry(ONE, 2)], lambda _error: committed.set())

        await committed.wait()
        assert await it.log(ONE) == [1, 2]


async def test_after_a_batch_of_several_rooms_the_next_waits_longer() -> None:
    """What many documents trickle shares its commits; a single room does not wait so long."""
    settings = JournalSettings(window_seconds=0, shared_window_seconds=3600, shared_by=3)
    async with bench(settings=settings) as it:
        it.append(ONE, 1)
        it.append(TWO, 1)
        await until(lambda: len(it.durable) == 2)
        for document, place in ((ONE, 2), (TWO, 2), (THREE, 1)):
            it.append(document, place)
        await until(lambda: len(it.durable) == 5)
        it.append(ONE, 3)
        await turns()

        assert len(it.durable) == 5

        await it.journal.flush()
        assert it.durable[-1] == (ONE, 3)


async def test_a_command_does_not_wait_for_the_window() -> None:
    """Whoever sent it waits for its reply, and what was handed in before goes with it."""
    async with bench(settings=NEVER_BY_ITSELF) as it:
        it.append(ONE, 1)
        await until(lambda: len(it.durable) == 1)
        it.append(TWO, 1)
        replied: list[BaseException | None] = []
        it.journal.append([], replied.append, Act(rows=()))
        await until(lambda: bool(replied))

        assert replied == [None]
        assert it.durable == [(ONE, 1), (TWO, 1)]


async def test_batches_are_bounded() -> None:
    """A batch holds at most so many entries and bytes, but at least one append."""
    settings = JournalSettings(window_seconds=0, batch_entries=3, batch_bytes=100)
    async with bench(settings=settings) as it:
        it.append(ONE, 1, 2)
        it.append(TWO, 1, 2)
        it.append(THREE, 1, 2, 3, 4)
        it.append_entries([entry(ONE, 3, b"x" * 1000)])
        it.append(ONE, 4)

        await it.journal.flush()

        assert [len(entries) for entries in it.store.appends] == [2, 2, 4, 1, 1]


async def test_pending_is_counted() -> None:
    """Pending entries and bytes are known until they are durable."""
    async with bench() as it:
        it.append(ONE, 1, 2)
        assert (it.journal.pending_entries, it.journal.pending_bytes) == (2, 16)

        await it.journal.flush()

        assert (it.journal.pending_entries, it.journal.pending_bytes) == (0, 0)


async def test_flushing_nothing_returns() -> None:
    """With nothing pending there is nothing to wait for."""
    async with bench() as it:
        await it.journal.flush()

        assert it.store.appends == []


# When the database fails


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER])
async def test_an_unavailable_database_is_tried_again(fault: Fault) -> None:
    """Nothing is called back for failed commits; the same batch is tried until it succeeds."""
    async with bench(fault, fault, fault) as it:
        it.append(ONE, 1)
        it.append(TWO, 1)

        await it.journal.flush()

        assert it.store.appends == [[entry(ONE, 1), entry(TWO, 1)]] * 4
        assert it.durable == [(ONE, 1), (TWO, 1)]
        assert await it.log(ONE) == [1]
        assert len(it.watcher.failures) == 3
        assert len(it.watcher.recoveries) == 1


async def test_pauses_grow_to_a_bound() -> None:
    """Between attempts the journal waits twice as long each time, up to two seconds."""
    async with bench(*[Fault.BEFORE] * 8) as it:
        it.append(ONE, 1)
        await it.journal.flush()

        assert it.pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])


async def test_failing_is_told() -> None:
    """Health can see that commits fail, since when, and that they succeed again."""
    async with bench(Fault.BEFORE) as it:
        assert not it.journal.is_failing
        it.append(ONE, 1)
        await until(lambda: it.journal.is_failing)
        assert it.journal.failing_since is not None

        await it.journal.flush()

        assert not it.journal.is_failing
        assert it.journal.failing_since is None


async def test_a_blocked_database_acknowledges_nothing() -> None:
    """As long as a commit hangs nothing is called back; afterwards everything is, in order."""
    async with bench() as it:
        it.store.gate.clear()
        for place in range(1, 30):
            it.append(ONE, place)
            it.append(TWO, place)
            await turns(3)
        assert it.calls == []

        it.store.gate.set()
        await it.journal.flush()

        assert it.durable == [(one, place) for place in range(1, 30) for one in (ONE, TWO)]


@pytest.mark.parametrize("seed", range(20))
async def test_random_faults_lose_nothing(seed: int) -> None:
    """Whatever fails and whenever, each document's log is complete and called back in order."""
    dice = random.Random(seed)
    plan = [dice.choice((None, Fault.BEFORE, Fault.AFTER)) for _ in range(60)]
    async with bench(*plan) as it:
        last = dict.fromkeys((ONE, TWO, THREE), 0)
        for _ in range(100):
            document = dice.choice((ONE, TWO, THREE))
            last[document] += 1
            it.append(document, last[document])
            await turns(dice.randrange(4))
        await it.journal.flush()

        for document, places in last.items():
            every = list(range(1, places + 1))
            assert await it.log(document) == every
            assert [place for one, place in it.durable if one == document] == every


# When entries can never be committed


async def test_a_conflict_fails_its_document_only() -> None:
    """Entries that do not continue their log are refused, and those behind them; others are not."""
    async with bench() as it:
        it.append(ONE, 1)
        it.append(TWO, 7)
        it.append(THREE, 1)
        it.append(TWO, 8)

        await it.journal.flush()

        assert it.durable == [(ONE, 1), (THREE, 1)]
        assert it.refused == [(TWO, 7, SequenceConflict), (TWO, 8, SequenceConflict)]


async def test_a_conflict_fails_what_is_queued_behind_it() -> None:
    """What waits for the next commit is refused with the update it follows."""
    async with bench() as it:
        it.store.gate.clear()
        it.append(TWO, 7)
        await it.store.waiting.wait()
        it.append(TWO, 8)
        it.append(ONE, 1)

        it.store.gate.set()
        await it.journal.flush()

        assert it.refused == [(TWO, 7, SequenceConflict), (TWO, 8, SequenceConflict)]
        assert it.durable == [(ONE, 1)]
        tried = [one for entries in it.store.appends for one in entries]
        assert tried == [entry(TWO, 7), entry(ONE, 1)]


async def test_a_refused_document_can_begin_again() -> None:
    """After a refusal the right continuation is committed."""
    async with bench() as it:
        it.append(TWO, 7)
        await it.journal.flush()
        it.append(TWO, 1)
        await it.journal.flush()

        assert it.durable == [(TWO, 1)]


async def test_a_deleted_document_fails_alone() -> None:
    """Entries of a tombstone are refused; the others of the batch are committed."""
    async with bench() as it:
        await it.store.delete(ONE, by=EDITOR, at=START, lease=it.lease)
        it.append(TWO, 1)
        it.append(ONE, 1)

        await it.journal.flush()

        assert it.refused == [(ONE, 1, DocumentMissing)]
        assert it.durable == [(TWO, 1)]


async def test_an_append_of_two_documents_is_one() -> None:
    """Entries handed in together are refused together."""
    async with bench() as it:
        it.append_entries([entry(ONE, 1), entry(TWO, 7)])
        it.append(THREE, 1)

        await it.journal.flush()

        assert it.refused == [(TWO, 7, SequenceConflict)]
        assert await it.log(ONE) == []


async def test_a_lost_lease_fails_everything() -> None:
    """When somebody else owns the documents nothing more is written."""
    async with bench() as it:
        await it.store.acquire_lease("all", holder="two", seconds=1, at=START + 1000)
        it.append(ONE, 1)
        it.append(TWO, 1)

        await it.journal.flush()

        assert it.refused == [(ONE, 1, LeaseLost), (TWO, 1, LeaseLost)]


@pytest.mark.parametrize("poisoned", range(1, 8))
async def test_a_value_that_does_not_fit_fails_alone(poisoned: int) -> None:
    """What no attempt can commit is found, whichever it is, and keeps nothing else back."""

    class Picky(ScriptedStore):
        async def append(self, entries: Sequence[LogEntry], *, lease: Lease, acts: Sequence[Act] = ()) -> None:
            if any(one.update == b"poison" for one in entries):
                raise ValueRefused("poison")
            await super().append(entries, lease=lease, acts=acts)

    store = Picky()
    lease = await new_lease(store)
    documents = [(await new_document(store, lease, f"d{number}")).id for number in range(7)]
    calls: list[tuple[int, BaseException | None]] = []
    async with Journal(store, lambda: lease, settings=AT_ONCE) as journal:
        for number, document in enumerate(documents, 1):
            update = b"poison" if number == poisoned else b"good"
            journal.append(
                [entry(document, 1, update)],
                lambda error, number=number: calls.append((number, error)),  # type: ignore[misc]  # bound now
            )
        await journal.flush()

    assert [number for number, error in calls if error] == [poisoned]
    assert [number for number, _error in calls] == list(range(1, 8))


async def test_a_failing_callback_stops_nobody() -> None:
    """A callback that raises is logged, and the next one is called."""
    async with bench() as it:

        def broken(_error: BaseException | None) -> None:
            raise ZeroDivisionError

        it.journal.append([entry(ONE, 1)], broken)
        it.append(ONE, 2)

        await it.journal.flush()

        assert it.durable == [(ONE, 2)]


# When it ends


async def test_leaving_commits_what_is_pending() -> None:
    """Nothing that was handed in before the end is forgotten."""
    async with bench(Fault.BEFORE, settings=NEVER_BY_ITSELF) as it:
        it.append(ONE, 1)
        it.append(ONE, 2)

    assert it.durable == [(ONE, 1), (ONE, 2)]


async def test_leaving_a_failing_database_gives_back() -> None:
    """What cannot be committed in time is given back, without a claim that it is durable."""
    settings = JournalSettings(window_seconds=0, drain_seconds=0.01)
    async with bench(*[Fault.BEFORE] * 100_000, settings=settings) as it:
        it.append(ONE, 1)

    assert it.refused == [(ONE, 1, StorageUnavailable)]


async def test_a_closed_journal_takes_nothing() -> None:
    """Appending after the end is a mistake that shows."""
    async with bench() as it:
        pass

    with pytest.raises(RuntimeError):
        it.append(ONE, 1)
