"""One bad neighbour, many rooms, many people at once: nobody else suffers and memory stays flat."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from tests.system.peers import HocuspocusPeer, YWebSocketPeer, until
from tests.system.servers import ServerProcess, token_for

MIB = 1024 * 1024


def rss(server: ServerProcess) -> int:
    assert server.process is not None
    return int(psutil.Process(server.process.pid).memory_info().rss)


async def test_a_peer_that_never_reads_is_closed_and_comes_back(tmp_path: Path) -> None:
    environment = {
        "QUORATE_SEND_BUFFER_BYTES": str(MIB),
        "QUORATE_UPDATE_BYTES_PER_SECOND": str(1000 * MIB),
    }
    async with ServerProcess(tmp_path, environment=environment) as server:
        writer = await YWebSocketPeer(server.websocket_url, "a", token_for("writer")).synced()
        reader = await YWebSocketPeer(server.websocket_url, "a", token_for("reader")).synced()
        lazy = await YWebSocketPeer(server.websocket_url, "a", token_for("lazy")).synced()
        assert lazy.socket is not None
        lazy.socket.transport.pause_reading()
        before = rss(server)

        async with server.http() as http:
            for _ in range(200):
                heard, start = len(writer.received), len(writer.text)
                writer.text += "x" * 60_000
                await until(lambda: len(writer.received) > heard, "the echo")  # noqa: B023
                del writer.text[start : start + 60_000]
                metrics = (await http.get("/metrics")).text
                if 'reason="send_buffer_bytes"' in metrics:
                    break
            else:
                pytest.fail("the lazy peer was never closed")
        assert rss(server) - before < 64 * MIB
        writer.text += "the end"
        await until(lambda: str(reader.text).endswith("the end"), "the other reader is served")

        lazy.socket.transport.resume_reading()
        await until(lambda: lazy.close_code, "closed")
        assert lazy.close_code in {1013, 1006}  # the close frame may wait behind what it never read
        await lazy.synced()
        assert str(lazy.text) == str(writer.text)
        for peer in (writer, reader, lazy):
            await peer.close()


async def test_many_who_open_a_new_document_at_once_find_the_seed_once(tmp_path: Path) -> None:
    await seed_storm(tmp_path, people=200)


@pytest.mark.soak
async def test_1000_who_open_a_new_document_at_once_find_the_seed_once(tmp_path: Path) -> None:
    await seed_storm(tmp_path, people=1000)


async def seed_storm(folder: Path, *, people: int) -> None:
    seeds = folder / "seeds" / "text"
    seeds.mkdir(parents=True)
    (seeds / "new.md").write_text("planted once")
    options = ("--seeds", str(folder / "seeds"))
    async with ServerProcess(folder / "data", options=options) as server:
        kinds = (YWebSocketPeer, HocuspocusPeer)
        peers = [kinds[i % 2](server.websocket_url, "text/new", token_for(f"person-{i}")) for i in range(people)]
        await asyncio.gather(*(peer.connect() for peer in peers))
        await until(lambda: all(peer.is_synced for peer in peers), "all synced", seconds=60)
        assert {str(peer.text) for peer in peers} == {"planted once"}
        await asyncio.gather(*(peer.close() for peer in peers))


@pytest.mark.soak
async def test_20000_rooms_leave_no_memory_behind(tmp_path: Path) -> None:
    environment = {"QUORATE_IDLE_ROOM_SECONDS": "0.05"}
    async with ServerProcess(tmp_path, environment=environment) as server:
        sizes: list[int] = []
        for batch in range(20):
            for part in range(10):
                peers = [
                    HocuspocusPeer(server.websocket_url, f"text/r-{batch}-{part}-{i}", token_for("anna"))
                    for i in range(100)
                ]
                for peer in peers:
                    await peer.synced()
                    peer.text += "a few words"
                await until(lambda: all(p.acknowledged for p in peers), "all saved")  # noqa: B023
                await asyncio.gather(*(peer.close() for peer in peers))
            async with server.http() as http:
                while "quorate_rooms 0.0" not in (await http.get("/metrics")).text:
                    await asyncio.sleep(0.05)
            sizes.append(rss(server))
        growth = sizes[-1] - sizes[4]
        print("resident MiB:", [size // MIB for size in sizes])  # noqa: T201
        assert growth < 4 * MIB, f"{growth / MIB:.1f} MiB in 15,000 rooms"


async def test_1000_rooms_leave_no_memory_behind(tmp_path: Path) -> None:
    environment = {"QUORATE_IDLE_ROOM_SECONDS": "0.05"}
    async with ServerProcess(tmp_path, environment=environment) as server:
        sizes: list[int] = []
        async with server.http(token_for("anna")) as http:
            for batch in range(4):
                for number in range(250):
                    name = f"text/r-{batch}-{number}"
                    assert (await http.post("/api/documents", json={"name": name})).is_success
                while "quorate_rooms 0.0" not in (await http.get("/metrics")).text:
                    await asyncio.sleep(0.05)
                sizes.append(rss(server))
        assert sizes[-1] - sizes[1] < 4 * MIB, [size / MIB for size in sizes]
