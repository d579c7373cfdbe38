"""`RedisFabric`: the fabric between processes, over Redis streams.

An inbox is a stream of bounded length that expires when nothing was sent to it for a while, so a
process that died leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError
from redis.typing import EncodableT, FieldT

from quorate_protocol.ids import DocumentName
from quorate_storage.fabric import (
    INBOX_FRAMES,
    Delivery,
    Fabric,
    FabricUnavailable,
    Frame,
    Lost,
    Numbering,
)

BLOCK_MILLISECONDS = 5_000
"""How long one read waits. Shorter than the timeouts of proxies and of the client's own socket."""

INBOX_LIFE_SECONDS = 600
READ_FRAMES = 500
TIMEOUT_SECONDS = 10.0

Item = tuple[bytes, dict[bytes, bytes]]
"""The place of a frame in its stream, and its fields."""


class RedisFabric(Fabric):
    """A process's place in a fabric that Redis carries.

    The length of an inbox is bounded approximately: Redis drops the oldest frames in blocks.
    """

    def __init__(
        self,
        url: str,
        address: str,
        *,
        prefix: str = "quorate:inbox:",
        inbox_frames: int = INBOX_FRAMES,
    ) -> None:
        self.address = address
        self._prefix = prefix
        self._limit = inbox_frames
        self._numbering = Numbering()
        self._place = "0-0"
        options: dict[str, Any] = {
            "socket_timeout": TIMEOUT_SECONDS,
            "socket_connect_timeout": TIMEOUT_SECONDS,
        }
        self._redis: Redis = Redis.from_url(url, **options)  # pyright: ignore[reportUnknownMemberType]  # its keywords are not typed

    async def __aenter__(self) -> Self:
        """Connect, and find the end of the inbox."""
        try:
            async with _translated():
                newest = cast("list[Item]", await self._redis.xrevrange(self._key(self.address), count=1))
        except BaseException:
            await self._redis.aclose()
            raise
        if newest:
            self._place = newest[0][0].decode()
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Throw the inbox away and disconnect."""
        try:
            async with _translated():
                await self._redis.delete(self._key(self.address))
        except FabricUnavailable:
            pass  # it expires by itself
        finally:
            await self._redis.aclose()

    async def send(self, to: str, frame: Frame) -> None:
        """See `Fabric.send`."""
        key = self._key(to)
        fields: dict[FieldT, EncodableT] = {
            "sender": self.address,
            "number": self._numbering.next_to(to),
            "document": frame.document,
            "connection": frame.connection,
            "payload": frame.payload,
        }
        async with _translated(), self._redis.pipeline(transaction=False) as pipe:
            pipe.xadd(key, fields, maxlen=self._limit, approximate=True)
            pipe.expire(key, INBOX_LIFE_SECONDS)
            await pipe.execute()

    async def receive(self) -> AsyncIterator[Delivery | Lost]:
        """See `Fabric.receive`."""
        key = self._key(self.address)
        while True:
            async with _translated():
                answer: object = await self._redis.xread(
                    {key: self._place}, count=READ_FRAMES, block=BLOCK_MILLISECONDS
                )
            for place, fields in _items(answer):
                self._place = place.decode()
                sender = fields[b"sender"].decode()
                missing = self._numbering.missing(sender, int(fields[b"number"]))
                if missing:
                    yield Lost(sender=sender, frames=missing)
                yield Delivery(sender=sender, frame=_frame(fields))

    def _key(self, address: str) -> str:
        return self._prefix + address


def _items(answer: object) -> list[Item]:
    """Return the items of the one stream that was read; the protocol's version shapes it."""
    items: list[Item] = []
    if isinstance(answer, dict):
        for batch in cast("dict[bytes, list[list[Item]]]", answer).values():
            items.extend(item for part in batch for item in part)
    else:
        for _key, part in cast("list[tuple[bytes, list[Item]]]", answer or []):
            items.extend(part)
    return items


def _frame(fields: dict[bytes, bytes]) -> Frame:
    return Frame(
        document=DocumentName(fields[b"document"].decode()),
        connection=int(fields[b"connection"]),
        payload=fields[b"payload"],
    )


@asynccontextmanager
async def _translated() -> AsyncGenerator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise FabricUnavailable(f"{type(error).__name__}: {error}") from error
