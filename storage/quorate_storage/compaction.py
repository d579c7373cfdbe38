"""When and how a log becomes a snapshot.

Storage knows no CRDT: folding a log into a state, and proving that the state equals the log, are
handed in as functions. What is here is the rule and the order of steps: read, fold, verify, in
whatever process, and only then drop, in one transaction that checks the lease again. What is
appended in between stays in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from quorate_protocol.ids import DocumentId, Sequence
from quorate_storage.act_stores import Attribution
from quorate_storage.errors import CompactionRefused
from quorate_storage.stores import Lease, LogSize, Snapshot, Store, StoredLog

log = logging.getLogger("quorate.storage")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionRule:
    """When a log is worth folding: it is long, it is large, or nobody writes any more.

    A large document is not rewritten for a small tail: `tail_bytes` grows to `tail_ratio` times the
    snapshot, so that each byte of log costs at most `1 / tail_ratio` bytes of snapshot.
    """

    tail_entries: int = 2000
    tail_bytes: int = 512 * 1024
    tail_ratio: float = 0.5
    idle_seconds: float = 60.0
    idle_entries: int = 50

    def is_due(self, size: LogSize, *, at: float) -> bool:
        """Tell whether a log of that size should become a snapshot now."""
        if size.entries >= self.tail_entries:
            return True
        if size.bytes >= max(self.tail_bytes, self.tail_ratio * size.snapshot_bytes):
            return True
        is_idle = at - size.newest_at >= self.idle_seconds
        return is_idle and size.entries >= self.idle_entries


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What a log was folded into: one state, the updates that still wait for others, and who wrote what.

    It stands for the log up to the update `through`.
    """

    through: Sequence
    state: bytes
    waiting: tuple[bytes, ...] = ()
    attributions: tuple[Attribution, ...] = ()


Fold = Callable[[StoredLog], Folded]
"""Turns a snapshot and a tail that is not empty into one state. May raise: then nothing is changed."""

Verify = Callable[[StoredLog, Folded], bool]
"""Proves, from the bytes alone, that what was folded equals what it was folded from."""


def fold_and_verify(stored: StoredLog, *, fold: Fold, verify: Verify) -> Folded | None:
    """Return what a log folds into, proved equal; None when there is nothing to fold.

    Raises:
        CompactionRefused: it did not prove equal.
    """
    if not stored.tail:
        return None
    folded = fold(stored)
    if not verify(stored, folded):
        raise CompactionRefused(stored.tail[-1].document, folded.through)
    return folded


async def compact(
    store: Store, document: DocumentId, lease: Lease, *, fold: Callable[[], Awaitable[Folded | None]], at: float
) -> int:
    """Replace a document's log by the snapshot that `fold` made of it and proved equal.

    Returns:
        How many updates were dropped; 0 when there was nothing to fold.

    Raises:
        DocumentMissing: there is no such document.
        LeaseLost: somebody else owns the document; nothing was changed.
        StorageUnavailable: it is compacted or not, in either case whole; trying again is safe.
        Exception: `fold` raised it, `CompactionRefused` for one; the log is as it was.
    """
    folded = await fold()
    if folded is None:
        return 0
    snapshot = Snapshot(document=document, through=folded.through, state=folded.state, waiting=folded.waiting, at=at)
    dropped = await store.replace_tail(snapshot, lease=lease, attributions=folded.attributions)
    log.info(
        "compaction.done",
        extra={"document": document, "entries": dropped, "bytes": len(folded.state)},
    )
    return dropped
