"""How a child process begins that does background work. It loads nothing else, so that all else is loaded after it."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess

NICENESS = 10
"""Whoever types comes first: a child has about a tenth of a core that its server could use itself."""


def put_in_background(child: BaseProcess) -> None:
    """Let a child whose work nobody waits for run when nobody else wants to, from its first instruction on.

    By measurement a tenth of a core, taken in slices of milliseconds, was most of what the slowest of a hundred
    edits waited for on a server of one core.
    """
    assert child.pid is not None, "it was started"
    with suppress(OSError, AttributeError):  # not everywhere
        os.sched_setscheduler(child.pid, os.SCHED_IDLE, os.sched_param(0))


def begin() -> None:
    """Give way to others, and end when the server was killed: waiting for work, a child would never notice."""
    with suppress(OSError, AttributeError):  # not everywhere
        os.nice(NICENESS)
    parent = parent_process()
    assert parent is not None, "it is a child"

    def watch() -> None:
        parent.join()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
