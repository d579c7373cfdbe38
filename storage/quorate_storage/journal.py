"""`Journal`: one group commit for all rooms of the process.

Rooms hand in entries and are called back when these are durable. One task takes what has gathered
and commits it as one batch; what comes meanwhile gathers for the next. When to commit:

* An idle journal commits at once: on the next turn of the event loop, so that everything handed in
  during one turn shares the commit.
* While a commit is under way the next batch gathers. The slower the disk, the larger the batch.
* A small batch is not committed sooner than `window_seconds` after the last commit began. A disk
  that
  commits in less than the window would otherwise be given one commit for each update of documents
  that trickle; with it there are at most `1 / window_seconds` commits a second until batches are
  large. So a lone editor, who never writes faster than that, is never delayed, and nobody by more
  than it.

Nothing is ever dropped. While the database is unavailable the same batch is tried again, with
growing pauses, for as long as it takes; appending twice is harmless (see `Store.append`).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from collections.abc import Sequence as SequenceOf
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from quorate_protocol.ids import DocumentId
from quorate_storage.acts import Act
from quorate_storage.errors import (
    DocumentMissing,
    LeaseLost,
    SequenceConflict,
    StorageUnavailable,
)
from quorate_storage.stores import Lease, LogEntry, Store

log = logging.getLogger("quorate.storage")

Done = Callable[[BaseException | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSettings:
    """When to commit and how to try again.

    A batch of `small_entries` or more does not wait for the window. `drain_seconds` is how long
    leaving waits for a database that fails.
    """

    window_seconds: float = 0.003
    small_entries: int = 64
    batch_entries: int = 2000
    batch_bytes: int = 4 * 1024 * 1024
    first_pause_seconds: float = 0.05
    longest_pause_seconds: float = 2.0
    drain_seconds: float = 10.0


class JournalObserver(Protocol):
    """Who watches the commits: metrics and health. Its methods must be quick and must not raise."""

    def committed(self, entries: int, size_bytes: int, seconds: float) -> None:
        """Note that a batch is durable, `seconds` after its commit was first tried."""

    def failed(self, error: StorageUnavailable) -> None:
        """Note that a commit failed; it will be tried again."""

    def recovered(self, seconds: float) -> None:
        """Note that commits succeed again, `seconds` after the first failure."""


@dataclass(slots=True, kw_only=True)
class _Ticket:
    """What one call of `append` handed in; it is committed or refused as a whole."""

    number: int
    entries: tuple[LogEntry, ...]
    size_bytes: int
    done: Done
    act: Act | None


class Journal:
    """The log writer of a process. An async context manager; leaving commits what is pending.

    `lease` returns the lease of the moment. `clock` is monotonic; `pause` and `jitter` (a number
    from 0 to 1) are there for tests.
    """

    def __init__(
        self,
        store: Store,
        lease: Callable[[], Lease],
        *,
        settings: JournalSettings | None = None,
        observer: JournalObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._lease = lease
        self._settings = settings or JournalSettings()
        self._observer = observer
        self._clock = clock
        self._pause = pause
        self._jitter = jitter
        # The oldest tickets are in the batch, the others behind them in the queue, both in order.
        self._batch: list[_Ticket] = []
        self._queue: deque[_Ticket] = deque()
        self._queued_entries = 0
        self._newest = 0
        self._flushing: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._arrived = asyncio.Event()
        self._enough = asyncio.Event()
        self._last_start = float("-inf")
        self._failing_since: float | None = None
        self._is_closing = False
        self._task: asyncio.Task[None] | None = None
        self.pending_entries = 0
        self.pending_bytes = 0

    async def __aenter__(self) -> Self:
        """Start the one task that commits."""
        self._task = asyncio.create_task(self._run(), name="journal")
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Commit what is pending and stop.

        When the database fails for longer than `drain_seconds`, what is left is given back to its
        owners with `StorageUnavailable`: it may or may not be durable.
        """
        task = self._task
        assert task is not None
        self._is_closing = True
        self._arrived.set()
        self._enough.set()
        await asyncio.wait((task,), timeout=self._settings.drain_seconds)
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
            self._give_back(StorageUnavailable("the journal was closed while the database failed"))
        if not task.cancelled():
            task.result()

    @property
    def is_failing(self) -> bool:
        """Tell whether the newest commit failed."""
        return self._failing_since is not None

    @property
    def failing_since(self) -> float | None:
        """Return when commits began to fail, by the journal's clock; None while they succeed."""
        return self._failing_since

    @property
    def stalled_since(self) -> float | None:
        """Return when the commit under way began, by the journal's clock; None when there is none.

        A database that hangs shows here long before it fails.
        """
        return self._last_start if self._batch else None

    def append(self, entries: SequenceOf[LogEntry], done: Done, act: Act | None = None) -> None:
        """Hand in entries of one document or of several and the act that belongs to them, and return at once.

        They are committed together, all or none. For each document, entries must be handed in in the order of
        their sequence, and are committed and called back in that order.

        Args:
            entries: at least one, unless there is an act.
            done: called once, on the event loop: with None when all is durable; with the error
                when it never will be (`SequenceConflict`, `DocumentMissing`, `LeaseLost`,
                `ValueRefused`), and then also for everything of the same document that was handed
                in since. While the database is unavailable it is not called at all.
            act: written in the same transaction.
        """
        if self._task is None or self._task.done():
            raise RuntimeError("the journal is not running")
        self._newest += 1
        size = sum(len(entry.update) for entry in entries)
        ticket = _Ticket(number=self._newest, entries=tuple(entries), size_bytes=size, done=done, act=act)
        self._queue.append(ticket)
        self._queued_entries += len(entries)
        self.pending_entries += len(entries)
        self.pending_bytes += size
        self._arrived.set()
        if self._queued_entries >= self._settings.small_entries:
            self._enough.set()

    async def flush(self) -> None:
        """Wait until everything handed in so far is durable or refused."""
        if not self._batch and not self._queue:
            return
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flushing.append((self._newest, finished))
        self._enough.set()
        await finished

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            await self._gather()
            self._take()
            if self._batch:
                await self._commit()
            elif self._is_closing:
                return

    async def _gather(self) -> None:
        """Wait out the window when commits come fast and the batch is small."""
        elapsed = self._clock() - self._last_start
        rest = self._settings.window_seconds - elapsed
        if rest <= 0 or self._enough.is_set():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(rest):
                await self._enough.wait()

    def _take(self) -> None:
        """Move tickets from the queue to the batch, up to its bounds but at least one.

        Those with an act make a batch apart: they take the slower path of an append, which the others need not.
        """
        settings = self._settings
        entries = size = 0
        while self._queue:
            ticket = self._queue[0]
            entries += len(ticket.entries)
            size += ticket.size_bytes
            is_full = entries > settings.batch_entries or size > settings.batch_bytes
            if self._batch and (is_full or (ticket.act is None) != (self._batch[0].act is None)):
                break
            self._batch.append(self._queue.popleft())
            self._queued_entries -= len(ticket.entries)
        if not self._queue and not self._is_closing:
            self._arrived.clear()
        if self._queued_entries < settings.small_entries and not self._is_closing:
            self._enough.clear()

    async def _commit(self) -> None:
        """Bring the batch to its end: each ticket durable or refused."""
        started = self._last_start = self._clock()
        pause = self._settings.first_pause_seconds
        while self._batch:
            try:
                await self._write(self._batch)
            except (SequenceConflict, DocumentMissing) as error:
                self._note_answer()
                self._refuse(error.document, error)
            except LeaseLost as error:
                self._note_answer()
                self._give_back(error)
            except StorageUnavailable as error:
                self._note_failure(error)
                await self._pause(pause * (0.5 + self._jitter() / 2))
                pause = min(2 * pause, self._settings.longest_pause_seconds)
            except Exception as error:  # noqa: BLE001  # a bug, or a value that does not fit
                self._isolate(error)
            else:
                self._note_answer()
                self._accept(self._clock() - started)

    async def _write(self, tickets: SequenceOf[_Ticket]) -> None:
        entries = [entry for ticket in tickets for entry in ticket.entries]
        acts = [ticket.act for ticket in tickets if ticket.act is not None]
        await self._store.append(entries, lease=self._lease(), acts=acts)

    def _isolate(self, error: Exception) -> None:
        """Find the ticket that no attempt can commit, by halves, so that it fails alone."""
        half = len(self._batch) // 2
        if half:
            rest = self._batch[half:]
            self._batch = self._batch[:half]
            self._queue.extendleft(reversed(rest))
            self._queued_entries += sum(len(ticket.entries) for ticket in rest)
            self._arrived.set()
            return
        log.error("append.refused", exc_info=error)
        alone = self._batch.pop(0)
        self._finish([alone], error)
        for document in {entry.document for entry in alone.entries}:
            self._refuse(document, error)

    def _note_failure(self, error: StorageUnavailable) -> None:
        if self._failing_since is None:
            self._failing_since = self._clock()
            log.error("append.failing", extra={"cause": error.detail})
        if self._observer is not None:
            self._observer.failed(error)

    def _note_answer(self) -> None:
        """Note that the database answers."""
        if self._failing_since is None:
            return
        seconds = self._clock() - self._failing_since
        self._failing_since = None
        log.warning("append.recovered", extra={"seconds": seconds})
        if self._observer is not None:
            self._observer.recovered(seconds)

    def _accept(self, seconds: float) -> None:
        """Call back the whole batch."""
        tickets, self._batch = self._batch, []
        if self._observer is not None:
            entries = sum(len(ticket.entries) for ticket in tickets)
            size = sum(ticket.size_bytes for ticket in tickets)
            self._observer.committed(entries, size, seconds)
        self._finish(tickets, None)

    def _refuse(self, document: DocumentId, error: BaseException) -> None:
        """Fail all that touches a document, in the batch and in the queue, in order."""
        refused: list[_Ticket] = []
        self._batch = _without(self._batch, document, refused)
        self._queue = deque(_without(self._queue, document, refused))
        self._queued_entries = sum(len(ticket.entries) for ticket in self._queue)
        self._finish(refused, error)

    def _give_back(self, error: BaseException) -> None:
        """Fail everything."""
        tickets = [*self._batch, *self._queue]
        self._batch = []
        self._queue.clear()
        self._queued_entries = 0
        self._finish(tickets, error)

    def _finish(self, tickets: SequenceOf[_Ticket], error: BaseException | None) -> None:
        for ticket in tickets:
            self.pending_entries -= len(ticket.entries)
            self.pending_bytes -= ticket.size_bytes
            try:
                ticket.done(error)
            except Exception:
                # The callback belongs to one room; its fault must not stop the commits of all
                # others.
                log.exception("append.callback_failed")
        oldest = self._oldest()
        while self._flushing and self._flushing[0][0] < oldest:
            _number, finished = self._flushing.popleft()
            if not finished.done():
                finished.set_result(None)

    def _oldest(self) -> int:
        """Return the number of the oldest ticket that is not finished."""
        first = self._batch[0] if self._batch else self._queue[0] if self._queue else None
        return self._newest + 1 if first is None else first.number


def _without(
    tickets: SequenceOf[_Ticket] | deque[_Ticket], document: DocumentId, refused: list[_Ticket]
) -> list[_Ticket]:
    """Return the tickets that do not touch a document; add the others to `refused`."""
    kept: list[_Ticket] = []
    for ticket in tickets:
        touches = any(entry.document == document for entry in ticket.entries)
        (refused if touches else kept).append(ticket)
    return kept
