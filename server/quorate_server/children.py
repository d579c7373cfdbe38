"""How a child process begins that does background work. It loads nothing else, so that all else is loaded after it."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from multiprocessing import parent_process

NICENESS = 10
"""Whoever types comes first: a child has about a tenth of a core that its server could use itself."""


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
