"""`Ledger`: how what belongs to no update becomes durable, and who hears of it when it is.

Rows that come with updates go to the journal with these (see `relay`); rows that come alone go through `commit`.
Either way `tell` passes on what is durable: to the roles in memory, to readers of the change feed, to the clocks of
engines and of the outbox.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from quorate_server.errors import Unavailable
from quorate_storage.acts import Act, Row
from quorate_storage.errors import StorageError
from quorate_storage.journal import Journal

log = logging.getLogger("quorate.server")

Listener = Callable[[Sequence[Row]], None]
"""Hears of rows that became durable, in order. Must be quick and must not raise."""


class Ledger:
    """Acts on their way to the journal of the process, in the order of all other writes."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of every row from now on."""
        self._listeners.append(listener)

    def tell(self, rows: Sequence[Row]) -> None:
        """Pass on rows that are durable."""
        for listener in self._listeners:
            try:
                listener(rows)
            except Exception:  # a listener's fault must not stop the commits of everybody
                log.exception("ledger.listener_failed")

    async def commit(self, *rows: Row) -> None:
        """Write rows in one transaction and return when they are durable.

        Raises:
            Unavailable: the server lost its lease or is stopping; it is not known whether they were written.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.post(rows, done)
        await done

    def post(self, rows: Sequence[Row], done: asyncio.Future[None] | None = None) -> None:
        """Hand in rows to be written in one transaction, and return at once."""

        def committed(error: BaseException | None) -> None:
            if error is None:
                self.tell(rows)
            else:
                log.error("ledger.lost", extra={"rows": len(rows), "error": str(error)})
            if done is None or done.done():
                return
            if error is None:
                done.set_result(None)
            elif isinstance(error, StorageError):
                done.set_exception(Unavailable("the database cannot be written: try again"))
            else:
                done.set_exception(error)

        self._journal.append((), committed, Act(rows=tuple(rows)))
