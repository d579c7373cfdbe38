"""Puts the wall clock of a server off by as many seconds as a file says; for tests of clocks that jump."""

import os
import time

_true_time = time.time
_path = os.environ.get("CLOCK_OFFSET_FILE", "")
_looked_at = 0.0
_offset = 0.0


def _time() -> float:
    global _looked_at, _offset  # noqa: PLW0603 - it is the clock of the whole process
    now = time.monotonic()
    if now - _looked_at > 0.1:
        _looked_at = now
        with open(_path) as file:  # noqa: PTH123 - nothing else may be imported here
            _offset = float(file.read() or 0)
    return _true_time() + _offset


if _path:
    time.time = _time
