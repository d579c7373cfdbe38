"""Hostile clients on a real server: each harms its own connection, and whoever writes beside them notices nothing."""

from __future__ import annotations

import asyncio
import gzip
import os
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import msgpack
import psutil
import pytest
import websockets
from pycrdt import Doc, Map
from websockets.asyncio.client import connect

from quorate_protocol import hocuspocus, y_websocket
from quorate_protocol.awareness import AwarenessEntry, encode_awareness
from quorate_protocol.varints import write_var_string, write_var_uint
from tests.fuzz.mutations import mutate
from tests.system.peers import HocuspocusPeer, Peer, YWebSocketPeer, until
from tests.system.servers import ServerProcess, token_for

MIB = 1024 * 1024
IS_SOAK = bool(os.environ.get("QUORATE_SOAK"))


def resident(server: ServerProcess) -> int:
    assert server.process is not None
    return int(psutil.Process(server.process.pid).memory_info().rss)


class Neighbours:
    """Two honest people who write beside what happens, in another document and in the same one."""

    def __init__(self, server: ServerProcess, name: str) -> None:
        self.server = server
        self.people: list[Peer] = [
            HocuspocusPeer(server.websocket_url, name, token_for("honest")),
            YWebSocketPeer(server.websocket_url, name, token_for("witness")),
        ]
        self.said = 0

    async def speak(self) -> None:
        """What one writes is durable, and the other sees it."""
        writer, witness = self.people
        mark = f"[{self.said}]"
        self.said += 1
        writer.text += mark
        await until(lambda: mark in str(witness.text), "the neighbour is served")

    async def check(self) -> None:
        writer, witness = self.people
        assert (writer.close_code, witness.close_code) == (None, None)
        await until(lambda: writer.acknowledged == self.said, "all is acknowledged")
        async with self.server.http() as http:
            assert (await http.get("/healthz")).status_code == 200
            assert (await http.get("/readyz")).status_code == 200


@asynccontextmanager
async def neighbours(server: ServerProcess, name: str = "text/quiet") -> AsyncIterator[Neighbours]:
    """Let two people write, before and after what happens, and see that it was nothing to them."""
    found = Neighbours(server, name)
    for peer in found.people:
        await peer.synced()
    await found.speak()
    yield found
    await found.speak()
    await found.check()
    for peer in found.people:
        await peer.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    async with ServerProcess(tmp_path) as running:
        yield running


async def send_all(address: str, frames: list[bytes]) -> int | None:
    """Send frames on a new socket as long as it takes them; return the code that the server closed with, if it did."""
    try:
        async with connect(address, max_size=None, compression=None, close_timeout=2, ping_interval=None) as socket:
            for frame in frames:
                await socket.send(frame)
            try:
                async with asyncio.timeout(0.3):
                    while True:
                        await socket.recv()
            except TimeoutError:
                return None
            except websockets.ConnectionClosed:
                return socket.close_code
    except (websockets.WebSocketException, OSError):
        return 1006


# Frames


def honest_frames(name: str, token: str) -> dict[str, list[bytes]]:
    """What clients of each dialect send, by the path they send it to."""
    doc: Doc[Map[object]] = Doc()
    doc.get("properties", type=Map)["a"] = "b" * 50
    update, vector = doc.get_update(), doc.get_state()
    presence = encode_awareness([AwarenessEntry(doc.client_id, 1, '{"user":{"name":"x"}}')])  # type: ignore[arg-type]
    authentication = write_var_string(name) + b"\x02\x00" + write_var_string(token) + write_var_string("4.8.0")
    command = {"t": "command", "id": 1, "name": "access.share", "values": {"artifact": name}}
    return {
        f"/sync/{name}?token={token}": [
            y_websocket.encode_step1(vector), y_websocket.encode_update(update), y_websocket.encode_awareness(presence),
        ],
        "/hocuspocus": [
            authentication, hocuspocus.encode_step1(name, vector), hocuspocus.encode_update(name, update),
            hocuspocus.encode_awareness(name, presence),
        ],
        "/channel": [msgpack.packb({"t": "hello", "token": token}), msgpack.packb(command)],
    }  # fmt: skip


async def test_mutated_frames_harm_nobody(server: ServerProcess) -> None:
    await mutate_many(server, sockets=2000 if IS_SOAK else 120, seed=3)


async def mutate_many(server: ServerProcess, *, sockets: int, seed: int) -> None:
    """Honest conversations whose frames are damaged, on all dialects, into a document that others write in."""
    random = Random(seed)
    conversations = honest_frames("text/target", token_for("mallory"))
    everything = [frame for frames in conversations.values() for frame in frames]

    async def attack(number: int) -> None:
        address, frames = list(conversations.items())[number % len(conversations)]
        damaged = [mutate(f, random, everything) if random.random() < 0.5 else f for f in frames * 3]
        await send_all(f"{server.websocket_url}{address}", damaged)

    async with neighbours(server), neighbours(server, "text/target") as same:
        before = resident(server)
        for start in range(0, sockets, 12):
            await asyncio.gather(*(attack(number) for number in range(start, min(start + 12, sockets))))
            if start % 120 == 0:
                await same.speak()
        assert resident(server) - before < 48 * MIB


async def test_lengths_that_are_lies_allocate_nothing(server: ServerProcess) -> None:
    """A length bomb on every layer: the frame's, a message's, an update's, a map's."""
    token = token_for("mallory")
    huge = write_var_uint(2**53 - 1)
    sync = f"/sync/text/bombs?token={token}"
    bombs = {
        sync: [
            b"\x00\x02" + huge + b"x", b"\x00\x00" + huge, b"\x00\x02" + write_var_uint(9) + b"\x01" + huge + bytes(3),
            b"\x01" + write_var_uint(20) + huge + bytes(12),
        ],
        "/hocuspocus": [huge + b"a", write_var_string("text/bombs") + b"\x02\x00" + huge],
        "/channel": [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff\xa1a", b"\xc6\xff\xff\xff\xff", b"\x91" * 5000],
    }  # fmt: skip
    async with neighbours(server):
        before = resident(server)
        for path, frames in bombs.items():
            for frame in frames:
                assert await send_all(f"{server.websocket_url}{path}", [frame]) is not None, (path, frame[:20])
        for header in (b"\x82\x7f" + struct.pack("!Q", 2**62), b"\x82\xff" + struct.pack("!Q", 2**40) + bytes(4)):
            assert await raw_frame(server, sync, header)
        assert resident(server) - before < 16 * MIB


async def raw_frame(server: ServerProcess, path: str, header: bytes) -> bool:
    """Whether the server closes a connection on which a frame begins so, before the frame has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    answer = await reader.readuntil(b"\r\n\r\n")
    assert b"101" in answer
    writer.write(header)
    try:
        async with asyncio.timeout(10):
            while await reader.read(65536):
                pass
    except ConnectionError:
        pass
    writer.close()
    return True


async def test_compression_is_not_spoken_so_nothing_expands(server: ServerProcess) -> None:
    """A decompression bomb needs somebody who decompresses: neither frames nor HTTP bodies are."""
    token = token_for("mallory")
    bomb = zlib.compress(bytes(64 * MIB), 9)
    async with neighbours(server):
        before = resident(server)
        async with connect(f"{server.websocket_url}/sync/text/a?token={token}", compression="deflate") as socket:
            assert "sec-websocket-extensions" not in {key.lower() for key in socket.response.headers}  # type: ignore[union-attr]
        assert await raw_frame(server, f"/sync/text/a?token={token}", b"\xc2\x85" + bytes(4) + b"abcde")
        async with server.http(token) as http:
            answer = await http.post(
                "/api/updates/text/a", content=gzip.compress(bytes(64 * MIB)), headers={"Content-Encoding": "gzip"}
            )
            assert 400 <= answer.status_code < 500
            answer = await http.post("/api/updates/text/a", content=bomb)
            assert 400 <= answer.status_code < 500
        assert resident(server) - before < 32 * MIB


# Floods


async def test_a_flood_of_edits_slows_its_author_only(server: ServerProcess) -> None:
    """Whoever writes faster than the limits is read more slowly; nothing of it is lost, and others write meanwhile."""
    edits = 6000 if IS_SOAK else 4000
    async with neighbours(server) as others:
        flooding = await HocuspocusPeer(server.websocket_url, "text/flood", token_for("flooder")).synced()
        for _ in range(edits):
            flooding.text += "x"
        for _ in range(20):
            await others.speak()
        assert flooding.acknowledged < edits, "the flood is still under way"
        await until(lambda: flooding.acknowledged == edits, "nothing is dropped", seconds=60)
        await flooding.close()


async def test_a_flood_of_connections_that_say_nothing_harms_nobody(server: ServerProcess) -> None:
    async with neighbours(server) as others:
        before = resident(server)
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(400)]
        for _, writer in idle[::2]:
            writer.write(b"GET /sync/text/a HTTP/1.1\r\nHost: a\r\n")
        await others.speak()
        assert resident(server) - before < 24 * MIB
        for _, writer in idle:
            writer.close()


async def test_a_flood_of_wrong_tokens_harms_nobody(server: ServerProcess) -> None:
    async with neighbours(server) as others:
        codes = await asyncio.gather(
            *(
                send_all(f"{server.websocket_url}/sync/text/a?token={'a' * 200}{number}", [b"\x00\x00\x01\x00"] * 20)
                for number in range(100)
            )
        )
        assert set(codes) <= {4401, 1006}
        await others.speak()


# Presence


async def test_a_presence_of_a_mebibyte_is_not_relayed(server: ServerProcess) -> None:
    async with neighbours(server, "text/crowd") as others:
        mallory = await YWebSocketPeer(server.websocket_url, "text/crowd", token_for("mallory")).synced()
        witness, author = others.people[1], mallory.doc.client_id
        mallory.set_presence(1, '"' + "x" * MIB + '"')
        mallory.set_presence(2, '{"user":{"name":"small"}}')
        await until(lambda: mallory.close_code or author in witness.present(), "what comes after it is dealt with")
        assert all(len(state) < 16 * 1024 for state in witness.present().values())
        await mallory.close()


async def test_a_storm_of_presences_is_bounded(server: ServerProcess) -> None:
    """Ten thousand made-up people on one connection: it may introduce a few, and is sent away for more."""
    async with neighbours(server, "text/crowd") as others:
        mallory = await YWebSocketPeer(server.websocket_url, "text/crowd", token_for("mallory")).synced()
        entries = [AwarenessEntry(client, 1, "{}") for client in range(1, 10_001)]  # type: ignore[arg-type]
        mallory.send(mallory.encode_presence(entries))
        await others.speak()
        assert len(others.people[1].present()) <= 20
        await mallory.close()


# Documents within documents


def with_subdocuments(count: int) -> bytes:
    doc: Doc[Map[object]] = Doc()
    places = doc.get("places", type=Map)
    with doc.transaction():
        for number in range(count):
            places[str(number)] = Doc()
    return doc.get_update()


async def test_100000_subdocuments_are_a_document_like_any_other(tmp_path: Path) -> None:
    """A plain document takes them, in memory that is a small multiple of its bytes; an artifact refuses them."""
    update = await asyncio.to_thread(with_subdocuments, 100_000)
    environment = {"QUORATE_IDLE_ROOM_SECONDS": "0.5"}
    async with ServerProcess(tmp_path, environment=environment) as server, neighbours(server) as others:
        before = resident(server)
        async with server.http(token_for("mallory")) as http:
            for name in ("many", "text/many"):
                assert (await http.post("/api/documents", json={"name": name})).status_code == 201
            sending = asyncio.create_task(http.post("/api/updates/many", content=update))
            while not sending.done():
                await others.speak()
            assert (await sending).status_code < 300
            answer = await http.post("/api/updates/text/many", content=update)
            assert 400 <= answer.status_code < 500, answer.text
            state = await http.get("/api/states/many")
            found: Doc[Map[object]] = Doc()
            found.apply_update(state.content)
            assert len(found.get("places", type=Map)) == 100_000
        assert resident(server) - before < 400 * MIB
