"""Sockets that skip ASGI: what comes in arrives whole and in order, and what is no handshake is answered as such."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import accumulate
from typing import Any, cast

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode

from quorate_server import direct_sockets
from quorate_server.channels import Channel, open_channel
from quorate_server.direct_sockets import DirectHttpProtocol, Doors, keepalive
from quorate_server.frames import Frames
from tests.system.peers import until

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
LARGEST = 200_000
BOUND = 1_000_000


class Recorder:
    """An application that knows the extension, and keeps what it is handed."""

    channel: Channel
    reader: asyncio.StreamReader

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.codes: list[int] = []
        self.paths: list[str] = []
        self.overflows = 0
        self.pause_after = 0

    def take(self, messages: list[bytes], start: int) -> int:
        self.messages.append(messages[start])
        if len(self.messages) == self.pause_after:
            self.channel.pause_reading()
        return 1

    def overflow(self) -> None:
        self.overflows += 1

    def finish(self, code: int) -> None:
        self.codes.append(code)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        self.paths.append(scope["path"])
        await send({"type": "websocket.accept"})
        self.channel = open_channel(scope, receive, send, send_buffer_bytes=BOUND, listener=self)
        await self.channel.run()


@asynccontextmanager
async def serving(recorder: Any) -> AsyncIterator[tuple[str, int]]:
    """Run the application."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(recorder, ws="websockets-sansio", lifespan="off", log_level="critical")
    doors = Doors({"/": recorder}, {"/below/": recorder})
    http = partial(DirectHttpProtocol, doors=doors, keepalive=keepalive(), request_seconds=5.0, message_bytes=LARGEST)
    config.http = cast("Any", http)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve([listener]))
    try:
        yield listener.getsockname()
    finally:
        server.should_exit = True
        await running


@asynccontextmanager
async def connected(recorder: Recorder) -> AsyncIterator[asyncio.StreamWriter]:
    """Run the application, and shake hands with it."""
    async with serving(recorder) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(HANDSHAKE)
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        recorder.reader = reader
        yield writer
        writer.close()


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


@pytest.mark.parametrize(
    "request_head",
    [
        pytest.param(HANDSHAKE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"), id="a key that is none"),
        pytest.param(HANDSHAKE.replace(b"Version: 13", b"Version: 8"), id="another version"),
        pytest.param(HANDSHAKE.replace(b"Sec-WebSocket-Key", b"X-Key"), id="no key"),
        pytest.param(HANDSHAKE.replace(b"GET / ", b"GET /" + b"a" * 20_000 + b" "), id="an endless path"),
        pytest.param(HANDSHAKE.replace(b"Host: test", b"Host: test\r\nX: " + b"a" * 9_000), id="an endless header"),
    ],
)
async def test_what_is_no_handshake_is_answered_and_closed(request_head: bytes) -> None:
    async with serving(Recorder()) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(request_head)
        async with asyncio.timeout(5):
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()


async def test_frames_that_come_together_with_the_handshake_are_read() -> None:
    recorder = Recorder()
    async with serving(recorder) as address:
        _, writer = await asyncio.open_connection(*address)
        writer.write(HANDSHAKE.replace(b"GET / ", b"GET /below/this%20one ") + frame(b"early") + frame(b"more"))
        await until(lambda: len(recorder.messages) == 2, "both arrived")
        writer.close()
        await until(lambda: recorder.codes, "the end is told")

    assert recorder.messages == [b"early", b"more"]
    assert recorder.paths == ["/below/this one"]
    assert recorder.codes == [1006]


async def test_the_peers_close_is_answered_and_told_with_its_code() -> None:
    recorder = Recorder()
    async with connected(recorder) as writer:
        writer.write(frame(b"last") + Frame(Opcode.CLOSE, Close(4321, "bye").serialize()).serialize(mask=True))
        await until(lambda: recorder.codes, "the end is told")

    assert (recorder.messages, recorder.codes) == ([b"last"], [4321])


async def test_an_idle_peer_is_asked_whether_it_is_there_and_let_go_when_it_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(direct_sockets, "PING_SECONDS", 0.25)
    recorder = Recorder()
    async with connected(recorder) as writer:
        reader = recorder.reader
        for _ in range(3):
            assert (await reader.readexactly(2)) == b"\x89\x04"
            writer.write(frame(await reader.readexactly(4), opcode=Opcode.PONG))
            writer.write(frame(b"here"))
        assert (await reader.readexactly(2)) == b"\x89\x04"
        assert recorder.codes == []
        async with asyncio.timeout(5):
            await reader.read()  # to the end
        writer.close()

    assert recorder.messages == [b"here"] * 3
    assert recorder.codes == [1006]


async def test_a_peer_that_is_not_read_for_a_while_is_not_taken_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_sockets, "PING_SECONDS", 0.25)
    recorder = Recorder()
    async with connected(recorder) as writer:
        reader = recorder.reader
        recorder.channel.pause_reading()
        ping = await reader.readexactly(6)
        writer.write(frame(ping[2:], opcode=Opcode.PONG) + frame(b"here"))
        await asyncio.sleep(0.8)
        assert recorder.codes == []
        recorder.channel.resume_reading()
        await until(lambda: recorder.messages, "it is read again")
        assert len(await reader.readexactly(6)) == 6  # and asked again
        writer.close()


async def test_a_peer_that_does_not_read_is_closed_whole() -> None:
    recorder = Recorder()
    async with connected(recorder) as writer:
        while recorder.channel.buffered_bytes <= BOUND:
            recorder.channel.write(Frames([b"x" * 100_000]))
        assert not recorder.overflows
        recorder.channel.write(Frames([b"one more"]))
        recorder.channel.write(Frames([b"and what comes after the end is not written"]))
        await until(lambda: recorder.codes, "the end is told")
        writer.transport.abort()

    assert (recorder.overflows, recorder.codes) == (1, [1013])


async def test_what_is_read_while_paused_comes_later_and_in_order() -> None:
    recorder = Recorder()
    async with connected(recorder) as writer:
        recorder.pause_after = 2
        writer.write(b"".join(frame(b"%d" % number) for number in range(5)))
        await until(lambda: len(recorder.messages) == 2, "two arrived")
        recorder.pause_after = 0
        recorder.channel.resume_reading()
        assert recorder.messages == [b"%d" % number for number in range(5)]
        writer.write(frame(b"5"))
        await until(lambda: len(recorder.messages) == 6, "it reads on")


async def test_an_endpoint_that_fails_or_forgets_to_answer_ends_its_socket_alone() -> None:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("a bug")

    async def forget(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close", "code": 1008})

    for endpoint, answer in ((fail, b""), (forget, b"HTTP/1.1 101 "), (refuse, b"HTTP/1.1 403 ")):
        async with serving(endpoint) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(HANDSHAKE)
            async with asyncio.timeout(5):
                with suppress(ConnectionResetError):
                    assert (await reader.read()).startswith(answer)
            writer.close()


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 125, 126, 300, 65_535, 65_536]), st.booleans()), max_size=5), st.randoms()
)
def test_the_head_of_a_frame_is_never_cut(frames: list[tuple[int, bool]], source: random.Random) -> None:
    """Whatever is read at once, what the library is given ends behind a whole head, and it is told how much is due."""
    serialized = [Frame(Opcode.BINARY, bytes(size)).serialize(mask=mask) for size, mask in frames]
    stream, ends = b"".join(serialized), list(accumulate(map(len, serialized)))
    cut, missing, at = b"", 0, 0
    while at < len(stream):
        size = source.choice([1, 2, 3, 7, 14, 30_000, 100_000])
        read, begin = cut + stream[at : at + size], at - len(cut)
        at = min(at + size, len(stream))
        end, missing = direct_sockets._whole_heads(read, missing)
        cut = read[end:]
        assert len(cut) < 14
        assert begin + end + missing in {0, *ends}
        assert missing == 0 or not cut
    assert (cut, missing) == (b"", 0)
