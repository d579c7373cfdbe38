"""What is so now: which requests wait, where, and for how long. Pure functions of the requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from quorate_plugins.approval.requests import Request, StageRun, State

AGES = (("under_1h", 3600.0), ("under_4h", 4 * 3600.0), ("under_1d", 86400.0), ("under_3d", 3 * 86400.0),
        ("under_7d", 7 * 86400.0))  # fmt: skip
"""Buckets of how long a stage has been open, by their upper bounds in seconds."""
OLDEST = "7d_or_more"


def pending(requests: Iterable[Request], now: float) -> dict[str, object]:
    """Return what waits: `stages` counts open stages by type, stage and age, each of the three nested in the last."""
    waiting = [request for request in requests if request.state is State.PENDING]
    runs = [(request.type, stage.id, request.runs[stage.id]) for request in waiting for stage in request.active()]
    return {
        "requests": len(waiting),
        "by_type": dict(Counter(request.type for request in waiting)),
        "stages": _by_stage(runs, now),
        "overdue_stages": sum(run.due_at is not None and run.due_at < now for _, _, run in runs),
        "blocked": dict(Counter(str(request.block) for request in waiting if request.block)),
    }


def _by_stage(runs: Iterable[tuple[str, str, StageRun]], now: float) -> dict[str, dict[str, dict[str, int]]]:
    stages: dict[str, dict[str, dict[str, int]]] = {}
    for type_, key, run in runs:
        ages = stages.setdefault(type_, {}).setdefault(key, {})
        age = age_of(run, now)
        ages[age] = ages.get(age, 0) + 1
    return stages


def age_of(run: StageRun, now: float) -> str:
    """Return the bucket of how long a stage has been open."""
    age = 0.0 if run.activated_at is None else now - run.activated_at
    return next((name for name, bound in AGES if age < bound), OLDEST)
