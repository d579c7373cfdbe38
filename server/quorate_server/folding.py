"""Folding a log into one state: the CRDT work that compaction and checking hand to the store's rules.

Storage knows no CRDT, so it is handed these functions. They build a document from what is stored and prove
that the folded state rebuilds the same document before anything is dropped.
"""

from __future__ import annotations

import asyncio
import enum
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children, get_context
from multiprocessing.process import BaseProcess
from typing import ParamSpec, TypeVar

from quorate_protocol.ids import DocumentId
from quorate_protocol.limits import DEFAULT_LIMITS
from quorate_protocol.state_vectors import decode_state_vector
from quorate_protocol.updates import decode_update, update_ends
from quorate_server import attribution
from quorate_server.children import begin, put_in_background
from quorate_server.documents import LiveDocument
from quorate_server.errors import EngineError
from quorate_server.plain_views import render_json
from quorate_storage.compaction import Folded, fold_and_verify
from quorate_storage.stores import LogReader, Store, StoredLog

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedState:
    """A document as one state, and the updates that still wait for something they depend on."""

    state: bytes
    waiting: tuple[bytes, ...] = ()


def pieces(stored: StoredLog) -> Iterator[bytes]:
    """Yield the updates that rebuild a document, in order."""
    if stored.snapshot is not None:
        yield stored.snapshot.state
        yield from stored.snapshot.waiting
    for entry in stored.tail:
        yield entry.update


def load(stored: StoredLog, *, nesting_levels: int = DEFAULT_LIMITS.nesting_levels) -> LiveDocument:
    """Build a document from what is stored of it.

    Raises:
        EngineError: what is stored cannot be applied.
    """
    if stored.snapshot is None:
        return LiveDocument(pieces(stored), nesting_levels=nesting_levels)
    rest = itertools.islice(pieces(stored), 1, None)
    return LiveDocument(rest, state=stored.snapshot.state, nesting_levels=nesting_levels)


def warm_up() -> None:
    """Build a document and drop it: the engine's first takes 28 ms, which nobody should wait for who comes first."""
    LiveDocument().close()


def fold(updates: Sequence[bytes]) -> FoldedState:
    """Build a document from updates in order and encode it.

    Raises:
        EngineError: an update cannot be applied.
    """
    with closing(LiveDocument(updates)) as document:
        return FoldedState(state=document.encode(), waiting=document.waiting)


def verify(updates: Sequence[bytes], folded: FoldedState) -> bool:
    """Whether a document built from `folded` equals one built from `updates`.

    Equal means: the same state vector, the same deletions, the same content, the same updates waiting.
    """
    with (
        closing(LiveDocument(updates)) as original,
        closing(LiveDocument(folded.waiting, state=folded.state)) as rebuilt,
    ):
        return (
            # Not as bytes: those name the authors in an order that differs from one document to the next.
            decode_state_vector(rebuilt.state_vector()) == decode_state_vector(original.state_vector())
            and state_hash(rebuilt.encode()) == state_hash(original.encode())
            and rebuilt.waiting == original.waiting
        )


def state_hash(state: bytes) -> str:
    """Return a hash equal for equal documents: of the JSON view and of every inserted and deleted range.

    The encoded bytes themselves are no measure: one state has several encodings, and may name deletions of what
    is not there yet.
    """
    ends = update_ends(state)
    deletions = sorted(
        (d.client, d.clock, d.length)
        for d in decode_update(state).deletes
        if d.clock + d.length <= ends.get(d.client, 0)
    )
    view = json.dumps(render_json(state), sort_keys=True, default=str)
    return hashlib.sha256(f"{view}{sorted(ends.items())}{deletions}".encode()).hexdigest()


def fold_stored(stored: StoredLog) -> Folded | None:
    """Return what a log folds into, proved equal, and who wrote what; None when there is nothing to fold.

    Raises:
        EngineError: an update cannot be applied.
        CompactionRefused: it did not prove equal.
    """
    return fold_and_verify(stored, fold=_fold_stored, verify=_verify_stored)


def fold_read(read: LogReader, document: DocumentId) -> Folded | None:
    """Read a log and fold it as `fold_stored` does."""
    return fold_stored(read(document))


def _fold_stored(stored: StoredLog) -> Folded:
    folded = fold(list(pieces(stored)))
    return Folded(
        through=stored.tail[-1].sequence,
        state=folded.state,
        waiting=folded.waiting,
        attributions=attribution.pack(stored.tail),
    )


def _verify_stored(stored: StoredLog, folded: Folded) -> bool:
    return verify(list(pieces(stored)), FoldedState(state=folded.state, waiting=folded.waiting))


class Priority(enum.Enum):
    """How much of a core a child gets, beside a server that needs all of it."""

    WAITED_FOR = "a tenth"
    IDLE = "what is left"
    OVERDUE = "a tenth, after it waited too long for what is left"


class _Child:
    """One process that does one thing after the other."""

    def __init__(self, priority: Priority) -> None:
        # One worker each: the other cores are for the living.
        self._pool = ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"), initializer=begin)
        self._processes: set[BaseProcess] = set()
        self._priority = priority

    async def run(self, call: Callable[[], R]) -> R:
        others = set(active_children())
        running = asyncio.get_running_loop().run_in_executor(self._pool, call)
        if not self._processes:
            self._processes = set(active_children()) - others
            if self._priority is Priority.IDLE:
                for process in self._processes:
                    put_in_background(process)
        return await running

    def kill(self) -> None:
        for process in self._processes:
            process.kill()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


class Folder:
    """Folds in a child process when a document is large, so that the event loop does not stall.

    The engine holds the interpreter's lock while it applies an update: a thread would not help. Folding gets what
    the server leaves of its core; where that is nothing for so many seconds, it starts again and competes for it,
    since a log must not grow for ever.
    """

    def __init__(self, *, inline_bytes: int = 64 * 1024, patience_seconds: float = 30.0) -> None:
        self._inline_bytes = inline_bytes
        self._patience_seconds = patience_seconds
        self._children: dict[Priority, _Child] = {}

    async def fold(self, store: Store, document: DocumentId, size_bytes: int) -> Folded | None:
        """Fold a document's log where about so many bytes are stored; see `fold_stored`.

        A child reads a large log itself, where the store lets it.
        """
        read = store.log_reader()
        if read is not None and size_bytes > self._inline_bytes:
            return await self._fold(partial(fold_read, read, document))
        stored = await store.load(document)
        if sum(map(len, pieces(stored))) <= self._inline_bytes:
            return fold_stored(stored)
        return await self._fold(partial(fold_stored, stored))

    async def _fold(self, call: Callable[[], Folded | None]) -> Folded | None:
        try:
            async with asyncio.timeout(self._patience_seconds):
                return await self._run(call, Priority.IDLE)
        except TimeoutError:
            self._children.pop(Priority.IDLE).kill()
            return await self._run(call, Priority.OVERDUE)

    async def view(self, state: bytes) -> dict[str, object]:
        """Return the JSON view of a state; see `render_json`."""
        return await self.run((state,), render_json, state)

    async def run(self, updates: Sequence[bytes], work: Callable[P, R], *args: P.args, **more: P.kwargs) -> R:
        """Run work that somebody waits for on updates here when they are small, else in a child process."""
        if sum(map(len, updates)) <= self._inline_bytes:
            return work(*args, **more)
        return await self._run(partial(work, *args, **more), Priority.WAITED_FOR)

    async def _run(self, call: Callable[[], R], priority: Priority) -> R:
        if priority not in self._children:
            self._children[priority] = _Child(priority)
        try:
            return await self._children[priority].run(call)
        except BrokenProcessPool as error:
            self._children.pop(priority, None)  # the next one gets a new child
            raise EngineError("the folding process died") from error

    def close(self) -> None:
        """End the child processes, if there are any."""
        while self._children:
            _, child = self._children.popitem()
            child.close()
