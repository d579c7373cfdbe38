"""`Fabric`: how the processes of one installation reach each other.

One process owns a document; a socket may be at another one. Frames for the document travel to the
owner and answers travel back. Each process has an address and one inbox, which any process can send
to.

What is promised: frames from one sender arrive in order and at most once. An inbox is bounded; what
is pushed out of it is not silently missing, the receiver is told `Lost` and closes the connections
of that sender, whose clients then resynchronise. Nothing durable depends on the fabric: the log
does not go through it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from quorate_protocol.ids import DocumentName
from quorate_storage.errors import StorageError

INBOX_FRAMES = 10_000
"""How many frames an inbox holds by default: a second of a very busy process."""


class FabricUnavailable(StorageError):
    """The way between the processes is down. What was sent may or may not arrive."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return f"the fabric between processes is unavailable: {self.detail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Bytes on their way: about which document, of which connection of the socket's process."""

    document: DocumentName
    connection: int
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A frame that arrived from `sender`."""

    sender: str
    frame: Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """So many frames of `sender` never arrived; those delivered next come after the gap."""

    sender: str
    frames: int


class Fabric(Protocol):
    """One process's place in the fabric. An async context manager.

    `address` belongs to one life of one process: after a restart it is another one.
    """

    address: str

    async def __aenter__(self) -> Self:
        """Join: from now on what is sent to `address` is received.

        Raises:
            FabricUnavailable: nothing was changed.
        """
        ...

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave. What is still in the inbox is gone."""
        ...

    async def send(self, to: str, frame: Frame) -> None:
        """Put a frame into the inbox of an address, whether or not anyone is there.

        Raises:
            FabricUnavailable: it may or may not arrive; if not, the receiver is told with the next
            one.
        """
        ...

    def receive(self) -> AsyncIterator[Delivery | Lost]:
        """Yield what arrives, for ever. To be used by one reader at a time.

        Raises:
            FabricUnavailable: calling it again goes on where it stopped.
        """
        ...


class Numbering:
    """Counts the frames of each sender, to notice those that are missing."""

    def __init__(self) -> None:
        self._sent: dict[str, int] = {}
        self._received: dict[str, int] = {}

    def next_to(self, address: str) -> int:
        """Return the number of the next frame to an address: 1, 2, 3, ..."""
        number = self._sent.get(address, 0) + 1
        self._sent[address] = number
        return number

    def missing(self, sender: str, number: int) -> int:
        """Note the arrival of a frame; return how many of its sender are missing before it.

        A sender's first frame is number 1: one who joins after its sender began was sent nothing
        before.
        """
        missing = number - self._received.get(sender, 0) - 1
        self._received[sender] = number
        return max(missing, 0)


@dataclass(slots=True)
class Inbox:
    """The frames that wait for one process of a `MemoryNetwork`."""

    frames: deque[tuple[str, int, Frame]]
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


class MemoryNetwork:
    """What the fabrics of one process's tests have in common."""

    def __init__(self, *, inbox_frames: int = INBOX_FRAMES) -> None:
        self._limit = inbox_frames
        self._inboxes: dict[str, Inbox] = {}

    def inbox(self, address: str) -> Inbox:
        """Return the inbox of an address, a new one if need be."""
        return self._inboxes.setdefault(address, Inbox(deque(maxlen=self._limit)))

    def close(self, address: str) -> None:
        """Throw an inbox away."""
        self._inboxes.pop(address, None)


class MemoryFabric(Fabric):
    """The fabric within one process: what a server uses that owns every document."""

    def __init__(self, network: MemoryNetwork, address: str) -> None:
        self.address = address
        self._network = network
        self._numbering = Numbering()

    async def __aenter__(self) -> Self:
        """Open the inbox."""
        self._network.inbox(self.address)
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Throw the inbox away."""
        self._network.close(self.address)

    async def send(self, to: str, frame: Frame) -> None:
        """See `Fabric.send`."""
        inbox = self._network.inbox(to)
        inbox.frames.append((self.address, self._numbering.next_to(to), frame))
        inbox.arrived.set()

    async def receive(self) -> AsyncIterator[Delivery | Lost]:
        """See `Fabric.receive`."""
        inbox = self._network.inbox(self.address)
        while True:
            while inbox.frames:
                sender, number, frame = inbox.frames.popleft()
                missing = self._numbering.missing(sender, number)
                if missing:
                    yield Lost(sender=sender, frames=missing)
                yield Delivery(sender=sender, frame=frame)
            inbox.arrived.clear()
            await inbox.arrived.wait()
