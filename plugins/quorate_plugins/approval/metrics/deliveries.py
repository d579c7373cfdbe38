"""`DeliveryMeter`: what became of notifications, by channel, since this server was started."""

from __future__ import annotations

from collections import Counter, deque
from typing import Literal

from quorate_plugins.approval.metrics.histograms import percentile, share

Outcome = Literal["sent", "failed", "put_off"]
"""`sent`: the channel took it; `failed`: it never will, or not in time; `put_off`: it is tried again."""
MOST_LATENCIES = 1000


class DeliveryMeter:
    """Counts attempts by channel. Latencies are from when a notification was due to when the channel took it."""

    def __init__(self, since: float) -> None:
        self.since = since
        self._outcomes: dict[str, Counter[str]] = {}
        self._latencies: dict[str, deque[float]] = {}

    def note(self, channel: str, outcome: Outcome, latency_seconds: float | None = None) -> None:
        """Count an attempt."""
        self._outcomes.setdefault(channel, Counter())[outcome] += 1
        if latency_seconds is not None:
            self._latencies.setdefault(channel, deque(maxlen=MOST_LATENCIES)).append(max(0.0, latency_seconds))

    def shown(self) -> dict[str, object]:
        """Return the numbers by channel; percentiles are of the newest thousand, in seconds."""
        return {channel: self._of(channel) for channel in sorted(self._outcomes)}

    def _of(self, channel: str) -> dict[str, object]:
        outcomes, latencies = self._outcomes[channel], tuple(self._latencies.get(channel, ()))
        ended = outcomes["sent"] + outcomes["failed"]
        return {
            **outcomes,
            "success_ratio": share(outcomes["sent"], ended),
            "latency_seconds": {"p50": percentile(latencies, 0.5), "p99": percentile(latencies, 0.99)},
        }
