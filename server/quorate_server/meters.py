"""`LogMeter`: how much there is of one document, in the log and in all."""

from __future__ import annotations

import time

from quorate_server.documents import LiveDocument
from quorate_server.errors import DocumentTooLarge
from quorate_storage.stores import LogSize, StoredState


class LogMeter:
    """Counts of one document. `size_bytes` is a running total, which only ever overestimates."""

    __slots__ = ("_measured_version", "bytes", "document", "entries", "size_bytes", "snapshot_bytes")

    def __init__(self, stored: StoredState) -> None:
        self.document = stored.document.id
        self.entries = len(stored.tail)
        self.bytes = sum(len(entry.update) for entry in stored.tail)
        self.snapshot_bytes = len(stored.snapshot.state) if stored.snapshot else 0
        self.size_bytes = self.bytes + self.snapshot_bytes
        self._measured_version = -1

    def add(self, update: bytes) -> None:
        """Count an update that goes to the log."""
        self.entries += 1
        self.bytes += len(update)
        self.size_bytes += len(update)

    def forget(self) -> None:
        """Forget when it was measured: the document was replaced."""
        self._measured_version = -1

    def is_over(self, limit_bytes: int, live: LiveDocument) -> bool:
        """Whether the document passes a limit; measured when the running total does, once for each version."""
        if self.size_bytes > limit_bytes and self._measured_version != live.version:
            self.size_bytes = len(live.encode())
            self._measured_version = live.version
        return self.size_bytes > limit_bytes

    def full(self, limit_bytes: int) -> DocumentTooLarge:
        """Return what to tell somebody whose edit there is no room for."""
        return DocumentTooLarge(f"the document is full: {self.size_bytes} of {limit_bytes} bytes")

    @property
    def log_size(self) -> LogSize:
        """How much log there is beyond the snapshot."""
        return LogSize(
            document=self.document,
            entries=self.entries,
            bytes=self.bytes,
            snapshot_bytes=self.snapshot_bytes,
            newest_at=time.time(),
        )

    def folded(self, before: LogSize) -> None:
        """Note that as much of the log as there was is folded, or failed to be: that is tried after as much more."""
        self.entries -= before.entries
        self.bytes -= before.bytes
