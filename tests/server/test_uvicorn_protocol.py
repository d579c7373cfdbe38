"""The WebSocket protocol of uvicorn that lets rooms skip ASGI: what comes in arrives whole and in order."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from websockets.frames import Frame, Opcode

from quorate_server.channels import EXTENSION
from quorate_server.uvicorn_protocol import FramesProtocol
from tests.system.peers import until

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
LARGEST = 200_000


class Recorder:
    """An application that knows the extension, and keeps what it is handed."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.codes: list[int] = []

    def take(self, messages: list[bytes], start: int) -> int:
        self.messages.append(messages[start])
        return 1

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        gone = asyncio.Event()

        def on_lost(code: int) -> None:
            self.codes.append(code)
            gone.set()

        scope["extensions"][EXTENSION].attach(self.take, on_lost)
        await gone.wait()


@asynccontextmanager
async def connected(recorder: Recorder) -> AsyncIterator[asyncio.StreamWriter]:
    """Run the application, and shake hands with it."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        recorder, ws=FramesProtocol, lifespan="off", log_level="critical", ws_max_size=LARGEST,
        ws_per_message_deflate=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    try:
        writer.write(HANDSHAKE)
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        yield writer
    finally:
        writer.close()
        server.should_exit = True
        await serving


def frame(data: bytes, *, opcode: Opcode = Opcode.BINARY, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


def conversation(source: random.Random) -> tuple[bytes, list[bytes]]:
    """Return messages of every size and form that RFC 6455 has, and what they say."""
    frames, said = list[bytes](), list[bytes]()
    for _ in range(60):
        size = source.choice([0, 1, 5, 125, 126, 127, 300, 65_535, 65_536, 70_000])
        message = source.randbytes(size)
        said.append(message)
        if size > 1 and source.random() < 0.3:
            cut = source.randrange(1, size)
            frames.append(frame(message[:cut], fin=False))
            if source.random() < 0.5:
                frames.append(frame(b"are you there", opcode=Opcode.PING))
            frames.append(frame(message[cut:], opcode=Opcode.CONT))
        else:
            frames.append(frame(message))
    return b"".join(frames), said


@pytest.mark.parametrize("seed", range(5))
async def test_messages_arrive_whole_wherever_the_stream_is_cut(seed: int) -> None:
    source, recorder = random.Random(seed), Recorder()
    stream, said = conversation(source)
    async with connected(recorder) as writer:
        while stream:
            size = source.choice([1, 2, 5, 7, 100, 5_000, 100_000])
            writer.write(stream[:size])
            stream = stream[size:]
            await asyncio.sleep(0)
        await until(lambda: len(recorder.messages) == len(said), "all arrived")

    assert recorder.messages == said


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"\x82\x01x", id="not masked"),
        pytest.param(b"\xc2\x81\x00\x00\x00\x00x", id="compressed, which nobody agreed on"),
        pytest.param(frame(b"x" * (LARGEST + 1)), id="too large"),
        pytest.param(frame(b"x", opcode=Opcode.CONT), id="goes on with nothing"),
        pytest.param(frame(b"x", fin=False) + frame(b"y"), id="begins anew in the middle"),
    ],
)
async def test_a_broken_frame_ends_the_connection_and_what_follows_is_not_read(broken: bytes) -> None:
    recorder = Recorder()
    async with connected(recorder) as writer:
        writer.write(frame(b"before") + broken + frame(b"after"))
        await until(lambda: recorder.codes, "the connection ended")

    assert recorder.messages == [b"before"]
