"""`OpenTyping`: a transaction of the engine that stays open while people type.

At the end of a transaction the engine joins what was typed to the run of text it goes on with, and reads the whole run
for that. So text that is only added goes into one transaction tick after tick, and that ends when somebody wants
anything else of the document, or after so many additions.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

from quorate_protocol.varints import write_var_uint
from quorate_server.applied import Typing
from quorate_server.crdt_types import AnyDoc
from quorate_server.errors import EnginePanic

MOST_TICKS = 32
"""After so many a transaction ends: what it added is joined piece by piece, which takes the square of their number."""


class OpenTyping:
    """What is typed into one document. Until its end nothing else may ask anything of the document."""

    __slots__ = ("_engine", "_ticks", "_transaction")

    def __init__(self, doc: AnyDoc) -> None:
        self._engine: Any = cast("Any", doc)._doc  # noqa: SLF001 - its own way there costs a third of an edit
        self._transaction: Any = doc.transaction().__enter__()
        self._ticks = 0

    @property
    def is_long(self) -> bool:
        """Whether it should end."""
        return self._ticks >= MOST_TICKS

    def add(self, typed: Sequence[Typing]) -> int:
        """Add what each of several clients typed; return of how many, up to one that the engine cannot read.

        Raises:
            EnginePanic: the document can no longer be used.
        """
        self._ticks += 1
        taken = 0
        transaction = self._transaction._txn  # noqa: SLF001
        try:
            with suppress(ValueError):  # the engine decodes an update whole before it touches anything
                for each in typed:
                    self._engine.apply_update(transaction, each.update)
                    taken += 1
            vector = self._engine.get_state(transaction)
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            raise EnginePanic(tuple(each.update for each in typed), repr(error)) from error
        for each in typed[:taken]:
            if write_var_uint(each.client) + write_var_uint(each.end) not in vector:
                raise EnginePanic((each.update,), "the engine did not take what it was given")
        return taken

    def end(self) -> None:
        """End the transaction.

        Raises:
            EnginePanic: the document can no longer be used.
        """
        try:
            self._transaction.__exit__(None, None, None)
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            raise EnginePanic((), repr(error)) from error
