"""`Journal`: one group commit for all rooms of the process.

Rooms hand in entries and are called back when these are durable. What has gathered is committed as
one batch; what comes meanwhile gathers for the next. When to commit:

* An idle journal commits at once: on the next turn of the event loop, so that everything handed in
  during one turn shares the commit.
* While a commit is under way the next batch gathers. The slower the disk, the larger the batch.
* A small batch is not committed sooner than `window_seconds` after the last commit began. A disk that
  commits in less than the window would otherwise be given one commit for each update of documents
  that trickle; with it there are at most `1 / window_seconds` commits a second until batches are
  large. So a lone editor, who never writes faster than that, is never delayed, and nobody by more
  than it.
* What many documents trickle at the same time waits longer: after a batch of `shared_by` rooms or more the
  window is `shared_window_seconds`. Nobody sees the difference, and it takes a third of the commits.
* A command does not wait for the window: somebody waits for its reply.

A commit is most of what a lone update costs, so the way to it and back is callbacks on the event loop,
without a task or a timer for each, where the store has a prompt way of appending (`PromptStore`).
At any time one thing is due or under way: the beginning of a commit, its answer, or the pause after a
failure. Each ends in the method that decides what comes next.

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
from functools import partial
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
from quorate_storage.stores import Lease, LogEntry, PromptStore, Store

log = logging.getLogger("quorate.storage")

Done = Callable[[BaseException | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSettings:
    """When to commit and how to try again.

    A batch that carries `small_updates` or more does not wait for the window. `drain_seconds` is how long
    leaving waits for a database that fails.
    """

    window_seconds: float = 0.003
    shared_window_seconds: float = 0.025
    shared_by: int = 3
    small_updates: int = 64
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
    weight: int
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
        self._prompt = store if isinstance(store, PromptStore) else None
        self._lease = lease
        self._settings = settings or JournalSettings()
        self._observer = observer
        self._clock = clock
        self._pause = pause
        self._jitter = jitter
        # The oldest tickets are in the batch, the others behind them in the queue, both in order.
        self._batch: list[_Ticket] = []
        self._queue: deque[_Ticket] = deque()
        self._queued_weight = 0
        self._newest = 0
        self._flushing: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._due: asyncio.Handle | None = None
        self._is_due_now = False
        self._is_behind = False
        self._attempt: asyncio.Task[object] | None = None
        self._pause_seconds = 0.0
        self._last_start = float("-inf")
        self._window_seconds = self._settings.window_seconds
        self._failing_since: float | None = None
        self._is_running = False
        self.pending_entries = 0
        self.pending_bytes = 0

    async def __aenter__(self) -> Self:
        """Take entries from now on."""
        self._is_running = True
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
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.drain_seconds):
                    while self._batch or self._queue:
                        await self.flush()
        finally:
            # Whatever is still under way is not heard any more.
            self._is_running = False
            if self._attempt is not None:
                self._attempt.cancel()
                await asyncio.wait((self._attempt,))
            self._give_back(StorageUnavailable("the journal was closed while the database failed"))

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

    def append(
        self, entries: SequenceOf[LogEntry], done: Done, act: Act | None = None, *, weight: int | None = None
    ) -> None:
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
            weight: how many updates of people the entries carry, which may have been merged: what waits for this
                commit, and so what counts for `small_updates`. As many as there are entries when not given.
        """
        if not self._is_running:
            raise RuntimeError("the journal is not running")
        self._newest += 1
        size = sum(len(entry.update) for entry in entries)
        weight = len(entries) if weight is None else weight
        if act is not None:  # a command, whose sender waits for the reply
            weight = max(weight, self._settings.small_updates)
        ticket = _Ticket(
            number=self._newest, entries=tuple(entries), size_bytes=size, weight=weight, done=done, act=act
        )
        self._queue.append(ticket)
        self._queued_weight += weight
        self.pending_entries += len(entries)
        self.pending_bytes += size
        self._plan()

    async def flush(self) -> None:
        """Wait until everything handed in so far is durable or refused."""
        if not self._batch and not self._queue:
            return
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flushing.append((self._newest, finished))
        self._plan()
        await finished

    def _plan(self) -> None:
        """See to it that the next commit begins: soon, or when the window is over."""
        if self._batch or self._is_due_now or not self._queue:
            return
        loop = asyncio.get_running_loop()
        rest = self._window_seconds - (self._clock() - self._last_start)
        if rest <= 0 or self._is_urgent():
            if self._due is not None:
                self._due.cancel()
            self._is_due_now = True
            self._due = loop.call_soon(self._begin)
        elif self._due is None:
            self._due = loop.call_later(rest, self._begin)

    def _is_urgent(self) -> bool:
        """Tell whether the next batch must not wait for the window."""
        is_large = self._queued_weight >= self._settings.small_updates
        return is_large or self._is_behind or bool(self._flushing)

    def _begin(self) -> None:
        """Begin a commit of what has gathered."""
        self._due = None
        self._is_due_now = False
        self._take()
        if self._batch:
            self._last_start = self._clock()
            is_shared = len(self._batch) >= self._settings.shared_by
            self._window_seconds = self._settings.shared_window_seconds if is_shared else self._settings.window_seconds
            self._pause_seconds = self._settings.first_pause_seconds
            self._try()

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
            self._queued_weight -= ticket.weight
        # What had no room has waited for its turn already.
        self._is_behind = bool(self._queue)

    def _try(self) -> None:
        """Hand the batch to the store, in the cheapest way there is."""
        try:
            lease = self._lease()
            if self._prompt is not None and self._batch[0].act is None:
                answer = partial(self._on_prompt_answer, lease)
                if self._prompt.start_append(self._entries(), lease=lease, answer=answer):
                    return
        except Exception as error:  # noqa: BLE001 - told apart where every answer is
            asyncio.get_running_loop().call_soon(self._on_answer, error)
        else:
            self._append(lease)

    def _on_prompt_answer(self, lease: Lease, outcome: object) -> None:
        if outcome is False and self._is_running:
            self._append(lease)
        else:
            self._on_answer(outcome if isinstance(outcome, Exception) else None)

    def _append(self, lease: Lease) -> None:
        """Wait for the store in a task of its own: a batch with acts, or one that has something against it."""
        acts = [ticket.act for ticket in self._batch if ticket.act is not None]
        self._run(partial(self._store.append, self._entries(), lease=lease, acts=acts), self._on_answer)

    def _run(self, work: Callable[[], Awaitable[object]], then: Callable[[BaseException | None], None]) -> None:
        def finish(task: asyncio.Task[object]) -> None:
            self._attempt = None
            if not task.cancelled():
                then(task.exception())

        async def wait() -> None:
            await work()

        self._attempt = asyncio.create_task(wait(), name="journal")
        self._attempt.add_done_callback(finish)

    def _entries(self) -> list[LogEntry]:
        return [entry for ticket in self._batch for entry in ticket.entries]

    def _on_answer(self, error: BaseException | None) -> None:
        """Decide what the answer of the store means: each ticket is durable or refused in the end."""
        if not self._is_running:
            return
        if isinstance(error, StorageUnavailable):
            self._note_failure(error)
            seconds = self._pause_seconds * (0.5 + self._jitter() / 2)
            self._pause_seconds = min(2 * self._pause_seconds, self._settings.longest_pause_seconds)
            self._run(partial(self._pause, seconds), self._on_pause_over)
            return
        self._settle(error)
        if self._batch:
            self._try()
        else:
            self._plan()

    def _on_pause_over(self, error: BaseException | None) -> None:
        if error is not None:
            log.error("append.pause_failed", exc_info=error)
        if self._is_running:
            self._try()

    def _settle(self, error: BaseException | None) -> None:
        """Call back those of the batch whose fate an answer has decided."""
        if error is None:
            self._note_answer()
            self._accept(self._clock() - self._last_start)
        elif isinstance(error, SequenceConflict | DocumentMissing):
            self._note_answer()
            self._refuse(error.document, error)
        elif isinstance(error, LeaseLost):
            self._note_answer()
            self._give_back(error)
        else:  # a bug, or a value that does not fit
            self._isolate(error)

    def _isolate(self, error: BaseException) -> None:
        """Find the ticket that no attempt can commit, by halves, so that it fails alone."""
        half = len(self._batch) // 2
        if half:
            rest = self._batch[half:]
            self._batch = self._batch[:half]
            self._queue.extendleft(reversed(rest))
            self._queued_weight += sum(ticket.weight for ticket in rest)
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
        self._queued_weight = sum(ticket.weight for ticket in self._queue)
        self._finish(refused, error)

    def _give_back(self, error: BaseException) -> None:
        """Fail everything."""
        tickets = [*self._batch, *self._queue]
        self._batch = []
        self._queue.clear()
        self._queued_weight = 0
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
