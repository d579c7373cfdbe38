"""One contestant on its core and the load on the other: what every scenario is made of."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.clients import Client, Swarm
from benchmarks.contestants import Contestant
from benchmarks.dialects import Hocuspocus, messages_of
from benchmarks.server import Measured, running
from benchmarks.wire import masked
from quorate_protocol.ids import ClientId
from quorate_protocol.updates import update_ends
from quorate_protocol.varints import read_var_bytes, write_var_uint
from quorate_server.frames import frame_bytes

WINDOW = 256
"""How many updates a writer who is as fast as they can has under way before the first of them is acknowledged."""

PATIENCE_SECONDS = 20.0
OPENED_AT_ONCE = 50


@dataclass
class Stage:
    """A running server and its clients."""

    contestant: Contestant
    server: Measured
    swarm: Swarm
    _own: float = 0.0
    _at: float = 0.0

    async def crowd(self, documents: Iterable[str]) -> list[Client]:
        """Join a document for each name, fifty at a time, and wait until all are synced."""
        names = list(documents)
        # Two who open the same document in the same moment are too much for pycrdt-websocket: one goes first.
        clients = [await self.swarm.join(names[0])]
        await self.synced(clients)
        for start in range(1, len(names), OPENED_AT_ONCE):
            joining = [self.swarm.join(name) for name in names[start : start + OPENED_AT_ONCE]]
            joined = await asyncio.gather(*joining)
            await self.synced(joined)
            clients += joined
        return clients

    async def synced(self, clients: list[Client]) -> None:
        """Wait until the clients are synced; a relay has nothing to sync with."""
        if self.contestant.has_crdt:
            await self.swarm.synced(clients)
        else:
            await self.swarm.settle(clients, quiet_seconds=0.2)

    def mark(self) -> None:
        """Begin to count, for the server and for the generator."""
        self.server.mark()
        self._own, self._at = time.process_time(), time.perf_counter()

    def shares(self) -> dict[str, float]:
        """Return which shares of their cores the server and the generator used since the mark."""
        seconds = time.perf_counter() - self._at
        return {
            "server core": self.server.cpu_spent() / seconds,
            "generator core": (time.process_time() - self._own) / seconds,
        }


@asynccontextmanager
async def stage(contestant: Contestant, folder: Path | None = None) -> AsyncGenerator[Stage]:
    """Start a contestant, on new documents or on those in a folder, and a swarm around it."""
    with tempfile.TemporaryDirectory() as new, running(contestant, folder or Path(new)) as server:
        async with Swarm(server.port, contestant.dialect, contestant.prefix) as swarm:
            yield Stage(contestant, server, swarm)


class Acknowledgements:
    """Counts what comes back to a writer, frame by frame: SyncStatus 1, or its own letters in an echo."""

    def __init__(self, client: Client, author: int) -> None:
        self.count = 0
        self._rest = bytearray()
        self._author = author
        self._id = write_var_uint(author)
        self._saved = b""
        if isinstance(client.swarm.dialect, Hocuspocus):
            self._saved = frame_bytes(write_var_uint(len(client.document)) + client.document.encode() + b"\x08\x01")

    def feed(self, data: bytes) -> None:
        self._rest += data
        if self._saved:
            self._count_saved()
        else:
            self._count_letters()

    def _count_saved(self) -> None:
        self.count += self._rest.count(self._saved)
        last = self._rest.rfind(self._saved)
        kept = max(last + len(self._saved) if last >= 0 else 0, len(self._rest) - len(self._saved) + 1)
        del self._rest[:kept]

    def _count_letters(self) -> None:
        end, newest = 0, b""
        for end, message in messages_of(self._rest):  # noqa: B007 - the last end is how far it came
            if self._id in message and message[:2] == b"\x00\x02":
                newest = message
        if newest:  # echoes come in order: the last one tells of all
            self.count = update_ends(read_var_bytes(newest, 2)[0])[ClientId(self._author)]
        del self._rest[:end]


@dataclass(eq=False)
class Typist:
    """A person who types the letters that were made beforehand. Letter `n` is behind clock `n + 1`."""

    client: Client
    author: int
    updates: Sequence[bytes]
    sent_at: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        dialect, document = self.client.swarm.dialect, self.client.document
        self._frames = [masked(dialect.update(document, update)) for update in self.updates]
        self._acknowledged = Acknowledgements(self.client, self.author)
        self._news = asyncio.Event()
        self.client.on_data = self._on_data

    @property
    def written(self) -> Sequence[bytes]:
        """What was sent so far."""
        return self.updates[: len(self.sent_at)]

    @property
    def acknowledged_letters(self) -> int:
        """How many letters the writer was told of that they are kept."""
        return self._acknowledged.count

    def write(self, count: int) -> None:
        """Send the next letters at once."""
        position = len(self.sent_at)
        self.client.send_raw(b"".join(self._frames[position : position + count]))
        self.sent_at += [time.perf_counter()] * min(count, len(self._frames) - position)

    async def write_for(self, seconds: float, *, window: int = WINDOW) -> None:
        """Write as fast as acknowledgements come, then wait for the last of them."""
        deadline = time.perf_counter() + seconds
        while len(self.sent_at) < len(self._frames) and time.perf_counter() < deadline:
            room = self._acknowledged.count + window - len(self.sent_at)
            if room > 0:
                self.write(room)
            await self._until(lambda: self._acknowledged.count + window > len(self.sent_at))
        assert len(self.sent_at) < len(self._frames), "the writer had enough to write"
        await self.acknowledged()

    async def write_at(self, rate: float, seconds: float) -> None:
        """Write at a steady pace, then wait for the last acknowledgement."""
        began = time.perf_counter()
        for number in range(int(rate * seconds)):
            if (wait := began + number / rate - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            self.write(1)
        await self.acknowledged()

    async def acknowledged(self) -> None:
        """Wait until all that was sent is acknowledged."""
        await self._until(lambda: self._acknowledged.count >= len(self.sent_at))

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def _on_data(self, data: bytes) -> None:
        self._acknowledged.feed(data)
        self._news.set()
