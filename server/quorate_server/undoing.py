"""`Undoing`: taking back a change of a live document. Part of `documents`, and used by nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from pycrdt import UndoManager

from quorate_server.crdt_types import AnyMap
from quorate_server.errors import EnginePanic

GUARDED = "guarded"
"""Origin of transactions that may have to be undone."""


class Undoing:
    """Can take back what happens in a document under the origin `GUARDED`, until it is closed.

    It must be closed, and outside of any transaction: the engine breaks when its undo manager is freed within one,
    and a manager that an error's traceback holds is freed by the garbage collector, whenever that is.
    """

    def __init__(self, scopes: Sequence[AnyMap]) -> None:
        self._manager: UndoManager | None = UndoManager(scopes=list(scopes), capture_timeout_millis=0)
        self._manager.include_origin(GUARDED)

    def undo_all(self, suspects: Sequence[bytes]) -> None:
        """Take back everything.

        Raises:
            EnginePanic: the document can no longer be used.
        """
        assert self._manager is not None, "what was closed stands"
        try:
            while self._manager.can_undo():
                self._manager.undo()
        except BaseException as error:
            raise EnginePanic(tuple(suspects), repr(error)) from error

    def close(self) -> None:
        """Let everything stand."""
        self._manager = None
