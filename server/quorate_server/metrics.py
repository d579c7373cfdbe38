"""What operators can watch: Prometheus metrics of one server.

Counters are raised once a tick or a batch, never once an update: a metric must not be what a server does. What
happens with every edit is only noted, and counted when somebody asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from quorate_protocol.closing import Dialect

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)

MOST_NOTED = 200
"""So many commits are noted at most before they are counted, whether somebody asks or not."""


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        seconds, sizes = _SECONDS, _SIZES
        self.connections = Gauge("quorate_connections", "Open WebSockets", ["dialect"], registry=registry)
        for dialect in Dialect:
            self.connections.labels(dialect)  # shown from the start, not from the first visitor on
        self.sessions = self._gauge("sessions", "Documents open on connections")
        self.rooms = self._gauge("rooms", "Documents in memory")
        self.large_documents = self._gauge("large_documents", "Open documents over half their size limit")
        self.store_failing = self._gauge("store_failing", "1 while commits fail")
        self.journal_entries = self._gauge("journal_entries", "Updates that wait for their commit")
        self.journal_bytes = self._gauge("journal_bytes", "Bytes that wait for their commit")
        self.send_buffer_bytes = self._gauge("send_buffer_bytes", "Bytes that wait for slow peers")
        self._updates = self._counter("updates", "Updates made durable")
        self._relays = self._counter("relayed_updates", "Updates written to peers")
        self._commit_failures = self._counter("commit_failures", "Commits that failed and were retried")
        self._panics = self._counter("engine_panics", "Documents rebuilt after an engine panic")
        self._refused = self._counter("refused", "Frames and connections refused", ["reason"])
        self.compactions = self._counter("compactions", "Logs folded into a snapshot", ["outcome"])
        self._commit_seconds = self._histogram("commit_seconds", "Time of one commit of the log", seconds)
        self._commit_entries = self._histogram("commit_entries", "Updates in one commit of the log", sizes)
        self.commands = self._counter("commands", "Commands", ["command", "outcome"])
        self.effects = self._counter("effects", "Attempts at effects outside the server", ["engine", "state"])
        self.engine_failures = self._counter("engine_failures", "Hooks that raised or overstayed", ["engine", "hook"])
        self.engine_degraded = Gauge(
            "quorate_engine_degraded", "1 while an engine is passed over", ["engine"], registry=registry
        )
        self.unsealed_events = self._gauge("unsealed_events", "Audit events after the newest checkpoint")
        self._loop_lag = self._histogram("event_loop_lag_seconds", "How late the event loop is", seconds)
        self._new_updates = self._new_relays = 0
        self._new_commits: list[tuple[int, float]] = []

    def _gauge(self, name: str, help_text: str) -> Gauge:
        return Gauge(f"quorate_{name}", help_text, registry=self.registry)

    def _counter(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(f"quorate_{name}", help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(f"quorate_{name}", help_text, buckets=buckets, registry=self.registry)

    def committed(self, entries: int) -> None:
        """Count updates of one room that became durable."""
        self._new_updates += entries

    def relayed(self, deliveries: int) -> None:
        """Count updates written to peers."""
        self._new_relays += deliveries

    def refused(self, reason: str) -> None:
        """Count a frame, an edit or a connection that was refused."""
        self._refused.labels(reason).inc()

    def panicked(self) -> None:
        """Count an engine panic."""
        self._panics.inc()

    def observe_commit(self, *, entries: int, seconds: float) -> None:
        """Note one commit of the journal."""
        self._new_commits.append((entries, seconds))
        if len(self._new_commits) >= MOST_NOTED:
            self._count()

    def observe_failure(self) -> None:
        """Note one failed commit."""
        self._commit_failures.inc()

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        self._count()
        return generate_latest(self.registry)

    def _count(self) -> None:
        """Count what was noted."""
        commits, self._new_commits = self._new_commits, []
        for entries, seconds in commits:
            self._commit_entries.observe(entries)
            self._commit_seconds.observe(seconds)
        self._updates.inc(self._new_updates)
        self._relays.inc(self._new_relays)
        self._new_updates = self._new_relays = 0

    async def watch_loop(self, *, every_seconds: float = 0.25) -> None:
        """Measure for ever how late the event loop runs a timer."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + every_seconds
            await asyncio.sleep(every_seconds)
            self._loop_lag.observe(max(0.0, loop.time() - due))
