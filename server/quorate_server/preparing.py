"""`OutlinePreparation`: the outline of a large artifact is made elsewhere, while its edits wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine

from quorate_protocol.ids import DocumentName
from quorate_server.documents import LiveDocument
from quorate_server.outlines import Outline
from quorate_server.screening import Screening

log = logging.getLogger("quorate.server")

OUTLINE_INLINE_BYTES = 64 * 1024
"""The outline of a smaller document is made at its first edit: that takes a few milliseconds."""


class Preparation:
    """What has to be made before edits can be judged: nothing, in a plain document."""

    __slots__ = ()

    @property
    def is_under_way(self) -> bool:
        """Whether an outline is being made."""
        return False

    def can_judge(self, screening: Screening, live: LiveDocument, size_bytes: int) -> bool:  # noqa: ARG002
        """Whether edits can be judged now; else they wait until the room is told."""
        return True

    async def done(self) -> None:
        """Wait until edits can be judged, if that is being prepared."""


NOTHING_TO_PREPARE = Preparation()


class OutlinePreparation(Preparation):
    """Makes the outline of one room's document with `outline`, in a task of `spawn`, and says so by `then`."""

    def __init__(
        self,
        name: DocumentName,
        outline: Callable[[DocumentName, bytes], Awaitable[Outline]],
        spawn: Callable[[Coroutine[object, object, None]], asyncio.Task[None]],
        then: Callable[[], None],
    ) -> None:
        self._name = name
        self._outline = outline
        self._spawn = spawn
        self._then = then
        self._task: asyncio.Task[None] | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether an outline is being made."""
        return self._task is not None

    def can_judge(self, screening: Screening, live: LiveDocument, size_bytes: int) -> bool:
        """Whether edits can be judged now; else they wait until `then` is called."""
        if self._task is not None:
            return False
        if not screening.lacks_outline or size_bytes <= OUTLINE_INLINE_BYTES:
            return True
        self._task = self._spawn(self._prepare(screening, live.encode()))
        return False

    async def done(self) -> None:
        """Wait until edits can be judged, if that is being prepared."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _prepare(self, screening: Screening, state: bytes) -> None:
        # A repair puts another screening in its place, which will make its own.
        try:
            outline = await self._outline(self._name, state)
        except Exception:
            log.exception("outline.failed", extra={"document": self._name})
            outline = None  # it is made here, at the first edit
        self._task = None
        if outline is not None:
            screening.adopt(outline)
        self._then()
