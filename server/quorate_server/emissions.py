"""`Emissions`: what the engine says was new in a document's transactions, for those that want to know."""

from __future__ import annotations

from pycrdt import Subscription, TransactionEvent

from quorate_protocol.updates import EMPTY_UPDATE
from quorate_server.crdt_types import AnyDoc


class Emissions:
    """The updates that the engine emitted since it was last asked to tell.

    It tells before anybody has looked at the event, and reads for it the whole run of text that an edit goes on with:
    so it is asked only where that is needed. The engine holds its observer, and that holds the document: `look_away`
    before a document is let go of, or it is never freed.
    """

    __slots__ = ("_doc", "_subscription", "updates")

    def __init__(self, doc: AnyDoc) -> None:
        self._doc = doc
        self._subscription: Subscription | None = None
        self.updates: list[bytes] = []

    @property
    def newest(self) -> bytes:
        """What the newest transaction brought; the empty update when there was none, or nothing new."""
        return self.updates[-1] if self.updates else EMPTY_UPDATE

    @property
    def only(self) -> bytes | None:
        """What the transaction brought that was the only one."""
        return self.updates[0] if len(self.updates) == 1 else None

    def watch(self) -> None:
        """Have the engine tell what is new in each transaction from now on."""
        self.updates.clear()
        if self._subscription is None:
            self._subscription = self._doc.observe(self._on_transaction)

    def look_away(self) -> None:
        """Have it tell no more."""
        self.updates.clear()
        if self._subscription is not None:
            self._doc.unobserve(self._subscription)
            self._subscription = None

    def _on_transaction(self, event: TransactionEvent) -> None:
        self.updates.append(event.update)
