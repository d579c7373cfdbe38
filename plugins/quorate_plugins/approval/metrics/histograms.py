"""How long things took: histograms that can be added to for ever, and percentiles of the newest values."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Self, cast

BOUNDS = (60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 8 * 3600.0, 86400.0, 3 * 86400.0, 7 * 86400.0, 30 * 86400.0)
"""Upper bounds of the buckets, in seconds: from a minute to a month."""


class Histogram:
    """Counts of durations by bucket, in the manner of Prometheus: `le` counts what took at most so many seconds."""

    def __init__(self, counts: Sequence[int] = (), total: float = 0.0) -> None:
        self._counts = list(counts) or [0] * (len(BOUNDS) + 1)
        self._total = total

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._total += seconds

    def shown(self) -> dict[str, object]:
        """Return it for a dashboard: `count`, `sum_seconds`, and `le` by bound in seconds, each including the last."""
        running = 0
        below: dict[str, int] = {}
        for bound, count in zip(BOUNDS, self._counts, strict=False):
            running += count
            below[f"{bound:.0f}"] = running
        return {"count": sum(self._counts), "sum_seconds": round(self._total, 3), "le": below}

    def dump(self) -> dict[str, object]:
        """Return it as JSON that `load` reads."""
        return {"counts": self._counts, "total": self._total}

    @classmethod
    def load(cls, value: object) -> Self:
        """Read what `dump` wrote."""
        members = cast("Mapping[str, object]", value)
        return cls(cast("Sequence[int]", members["counts"]), cast("float", members["total"]))


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least a share of all are not above (nearest rank); `None` for no values."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def share(part: int, whole: int) -> float | None:
    """Return a share, to four digits; `None` of nothing."""
    return round(part / whole, 4) if whole else None
