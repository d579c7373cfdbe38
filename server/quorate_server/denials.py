"""`Denials`: who was turned away a moment ago, and comes again all the same.

y-websocket 3.1 stops when the close code says that its token will never do. The versions before it, and those of
4 that are published so far, come back 0.1 s after any socket that opened, whatever they are told, for as long as
their page is open. They cannot be made to stop, but to wait: a socket that is turned away again is told why at
once, and closed only after a pause.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

PAUSE_SECONDS = 3.0
"""How long somebody who was turned away a moment ago waits for the close: one attempt in so many seconds."""

REPEATED_SECONDS = 10.0
"""Who comes again within this time does so by itself."""

MAX_REMEMBERED = 10_000
"""How many are remembered, at about 300 bytes each. The one that was turned away longest ago is forgotten."""


class Denials:
    """Remembers who was turned away when, within bounds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._denied: dict[Hashable, float] = {}

    def pause_of(self, client: Hashable) -> float:
        """Note that a client is turned away now; return how many seconds to wait before closing."""
        now = self._clock()
        denied_at = self._denied.pop(client, None)
        self._denied[client] = now
        if len(self._denied) > MAX_REMEMBERED:
            del self._denied[next(iter(self._denied))]
        is_repeated = denied_at is not None and now - denied_at < REPEATED_SECONDS
        return PAUSE_SECONDS if is_repeated else 0.0
