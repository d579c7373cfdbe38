"""`QUORATE_TRACE_HOOKS=1`: prints each call of an engine's hook, how long it took and how it ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager

log = logging.getLogger("quorate.plugins")


class _Switch:
    """Whether hooks are traced; set once from the settings."""

    is_on = False


def trace_hooks(*, is_on: bool) -> None:
    """Trace every hook from now on, or no more."""
    _Switch.is_on = is_on


@contextmanager
def trace(engine: str, hook: str) -> Generator[None]:
    """Print one call of a hook, if hooks are traced."""
    if not _Switch.is_on:
        yield
        return
    started = time.perf_counter()
    outcome = "ok"
    try:
        yield
    except BaseException as error:
        outcome = f"{type(error).__name__}: {error}"
        raise
    finally:
        milliseconds = round((time.perf_counter() - started) * 1000, 3)
        log.info("hook", extra={"engine": engine, "hook": hook, "ms": milliseconds, "outcome": outcome})
