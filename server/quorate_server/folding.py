"""Folding a log into one state: the CRDT work that compaction and checking hand to the store's rules.

Storage knows no CRDT, so it is handed these functions. They build a document from what is stored and prove
that the folded state rebuilds the same document before anything is dropped.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from typing import ParamSpec, TypeVar

from quorate_protocol.limits import DEFAULT_LIMITS
from quorate_protocol.state_vectors import decode_state_vector
from quorate_protocol.updates import decode_update, update_ends
from quorate_server.children import begin, put_in_background
from quorate_server.documents import LiveDocument
from quorate_server.errors import EngineError
from quorate_server.plain_views import render_json
from quorate_storage.stores import StoredState

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedState:
    """A document as one state, and the updates that still wait for something they depend on."""

    state: bytes
    waiting: tuple[bytes, ...] = ()


def pieces(stored: StoredState) -> Iterator[bytes]:
    """Yield the updates that rebuild a document, in order."""
    if stored.snapshot is not None:
        yield stored.snapshot.state
        yield from stored.snapshot.waiting
    for entry in stored.tail:
        yield entry.update


def load(stored: StoredState, *, nesting_levels: int = DEFAULT_LIMITS.nesting_levels) -> LiveDocument:
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


class Folder:
    """Folds in a child process when a document is large, so that the event loop does not stall.

    The engine holds the interpreter's lock while it applies an update: a thread would not help.
    """

    def __init__(self, *, inline_bytes: int = 64 * 1024) -> None:
        self._inline_bytes = inline_bytes
        self._pools: dict[bool, ProcessPoolExecutor] = {}
        """The child for work in the background, and the one for what somebody waits for."""

    async def fold(self, updates: Sequence[bytes]) -> FoldedState:
        """Fold updates; see `fold`.

        Raises:
            EngineError: an update cannot be applied.
        """
        return await self.run_in_background(updates, fold, list(updates))

    async def verify(self, updates: Sequence[bytes], folded: FoldedState) -> bool:
        """Verify what was folded; see `verify`."""
        return await self.run_in_background(updates, verify, list(updates), folded)

    async def view(self, state: bytes) -> dict[str, object]:
        """Return the JSON view of a state; see `render_json`."""
        return await self.run((state,), render_json, state)

    async def run(self, updates: Sequence[bytes], work: Callable[P, R], *args: P.args, **more: P.kwargs) -> R:
        """Run work that somebody waits for on updates here when they are small, else in a child process."""
        return await self._run(updates, functools.partial(work, *args, **more), in_background=False)

    async def run_in_background(
        self, updates: Sequence[bytes], work: Callable[P, R], *args: P.args, **more: P.kwargs
    ) -> R:
        """Run work as `run` does, but nobody waits for it: it gets what the server leaves of its core."""
        return await self._run(updates, functools.partial(work, *args, **more), in_background=True)

    async def _run(self, updates: Sequence[bytes], call: Callable[[], R], *, in_background: bool) -> R:
        if sum(map(len, updates)) <= self._inline_bytes:
            return call()
        others = set(active_children())
        if in_background not in self._pools:
            # One worker each: the other cores are for the living.
            context = get_context("spawn")
            self._pools[in_background] = ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=begin)
        try:
            running = asyncio.get_running_loop().run_in_executor(self._pools[in_background], call)
            if in_background:
                for child in set(active_children()) - others:
                    put_in_background(child)
            return await running
        except BrokenProcessPool as error:
            self._pools.pop(in_background, None)  # the next one gets a new child
            raise EngineError("the folding process died") from error

    def close(self) -> None:
        """End the child processes, if there are any."""
        while self._pools:
            _, pool = self._pools.popitem()
            pool.shutdown(wait=True, cancel_futures=True)
