"""Lines that cut, duplicate, reorder, delay and fall silent: in the end everybody has everything, once."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random

import httpx
import pytest

from tests.system.links import Faults, FaultyLine
from tests.system.peers import DIALECTS, Peer, until
from tests.system.servers import ServerProcess, token_for

BAD = Faults(cut=0.02, duplicate=0.1, reorder=0.15, delay=0.1)
WORDS = ("policy ", "steward ", "retention ", "risk ")


class Author:
    """Writes words with a number of their own at random places, over a line that fails, and comes back each time."""

    def __init__(self, peer: Peer, number: int, random: Random) -> None:
        self.peer = peer
        self.random = random
        self.number = number
        self.written: list[str] = []

    async def write(self, words: int) -> None:
        for _ in range(words):
            await self.be_connected()
            mark = f"<{self.number}.{len(self.written)} {self.random.choice(WORDS)}>"
            self.written.append(mark)
            self.peer.text.insert(self.random.choice((0, len(self.peer.text))), mark)
            await asyncio.sleep(self.random.random() * 0.01)

    async def be_connected(self) -> None:
        while self.peer.socket is None or self.peer.close_code is not None:
            try:
                await self.peer.connect()
            except (OSError, TimeoutError):
                await asyncio.sleep(0.02)

    async def come_back(self) -> None:
        """Begin a new connection over a line that works, and catch up both ways."""
        await self.peer.close()
        await self.peer.synced()


async def torture(folder: Path, dialect: str, name: str, *, seed: int, authors: int, words: int) -> dict[str, int]:
    random = Random(seed)
    environment = {"QUORATE_UPDATES_PER_SECOND": "100000"}
    async with ServerProcess(folder, environment=environment) as server, FaultyLine(server, random).open() as line:
        people = [
            Author(DIALECTS[dialect](line.url, name, token_for(f"author-{number}")), number, random)
            for number in range(authors)
        ]
        await asyncio.gather(*(author.be_connected() for author in people))
        line.faults = BAD
        await asyncio.gather(*(author.write(words) for author in people))
        line.heal()
        await converge(people)
        fresh = await DIALECTS[dialect](server.websocket_url, name, token_for("fresh")).synced()
        texts = {str(author.peer.text) for author in people} | {str(fresh.text)}
        assert len(texts) == 1
        [text] = texts
        for author in people:
            for mark in author.written:
                assert text.count(mark) == 1, mark
        for peer in (*(author.peer for author in people), fresh):
            await peer.close()
        return line.seen


async def converge(people: Sequence[Author]) -> None:
    for _ in range(2):  # what one brings in the first round the others have after the second
        await asyncio.gather(*(author.come_back() for author in people))
    await until(lambda: len({str(author.peer.text) for author in people}) == 1, "everybody has the same")


@pytest.mark.parametrize("name", ["plain", "text/artifact"])
@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_law_all_converge_over_a_bad_line(dialect: str, name: str, tmp_path: Path) -> None:
    seen = await torture(tmp_path, dialect, name, seed=5, authors=5, words=40)
    assert all(seen.values()), seen


@pytest.mark.soak
@pytest.mark.parametrize("name", ["plain", "text/artifact"])
@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_all_converge_over_many_bad_lines(dialect: str, name: str, tmp_path: Path) -> None:
    total: dict[str, int] = {}
    for seed in range(25):
        for what, count in (await torture(tmp_path / str(seed), dialect, name, seed=seed, authors=8, words=80)).items():
            total[what] = total.get(what, 0) + count
    print(f"{dialect} {name}: {total}")  # noqa: T201 - the soak's figure


@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_a_line_that_falls_silent_costs_nothing_and_leaves_nobody_behind(dialect: str, tmp_path: Path) -> None:
    """A half-open socket: its presence ends, the others go on, and its edits come when it is back."""
    async with ServerProcess(tmp_path) as server, FaultyLine(server, Random(1)).open() as line:
        lost = await DIALECTS[dialect](line.url, "text/a", token_for("lost")).synced()
        other = await DIALECTS[dialect](server.websocket_url, "text/a", token_for("other")).synced()
        lost.text += "before "
        await until(lambda: "before" in str(other.text), "the line works")
        line.fall_silent()
        lost.text += "unheard "
        other.text += "meanwhile "
        await until(lambda: other.acknowledged or other.received, "the other is served")
        assert "unheard" not in str(other.text)
        line.heal()
        await lost.close()
        await lost.synced()
        await until(lambda: str(lost.text) == str(other.text), "both have all")
        assert {"before", "unheard", "meanwhile"} <= set(str(lost.text).split())
        for peer in (lost, other):
            await peer.close()


async def test_a_full_disk_acknowledges_nothing_until_there_is_room(tmp_path: Path) -> None:
    """Files that may not grow stand for the full disk: the operating system refuses each write beyond their size."""
    environment = {"QUORATE_STORE_FAILURE_SECONDS": "1"}
    async with ServerProcess(tmp_path, environment=environment) as server:
        assert server.process is not None
        peer = await DIALECTS["hocuspocus"](server.websocket_url, "text/a", token_for("anna")).synced()
        other = await DIALECTS["hocuspocus"](server.websocket_url, "text/a", token_for("ben")).synced()
        peer.text += "first "
        await until(lambda: peer.acknowledged == 1, "saved")
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (largest(tmp_path), resource.RLIM_INFINITY))
        for number in range(40):
            peer.text += f"{number} {'x' * 20_000}"
            await asyncio.sleep(0.01)
        await until(lambda: not is_ready(server), "the server says that its database fails")
        durable = peer.acknowledged
        assert durable < 41
        assert len(str(other.text)) < len(str(peer.text)), "nobody sees what is not durable"
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await until(lambda: is_ready(server), "there is room again")
        await back(peer)
        await back(other)
        await until(lambda: str(other.text) == str(peer.text), "all of it arrived")
        for each in (peer, other):
            await each.close()
        assert await server.stop() == 0
        await server.start()
        fresh = await DIALECTS["hocuspocus"](server.websocket_url, "text/a", token_for("cat")).synced()
        assert str(fresh.text) == str(peer.text)
        await fresh.close()


def largest(folder: Path) -> int:
    """The size of the largest file of the database, in whole pages and one more."""
    return (max(path.stat().st_size for path in folder.glob("quorate.db*")) // 4096 + 1) * 4096


async def back(peer: Peer) -> None:
    """Come back, if the server sent them away meanwhile."""
    if peer.close_code is not None or not peer.is_synced:
        await peer.close()
        await peer.synced()


def is_ready(server: ServerProcess) -> bool:
    return httpx.get(f"{server.url}/readyz", timeout=10).status_code == 200


async def stop_between_transactions(process: int, database: Path) -> None:
    """Stop a process while it does not hold the lock of the file, which nobody could take from it."""
    while True:
        os.kill(process, signal.SIGSTOP)
        with closing(sqlite3.connect(database, isolation_level=None, timeout=0)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                os.kill(process, signal.SIGCONT)
                await asyncio.sleep(0.05)
            else:
                return


async def test_law_a_stopped_owner_that_wakes_up_writes_nothing(tmp_path: Path) -> None:
    """SIGSTOP for longer than the lease: another server takes over, and the first one finds out before it writes."""
    environment = {"QUORATE_LEASE_SECONDS": "1.5"}
    first = ServerProcess(tmp_path, environment=environment)
    second = ServerProcess(tmp_path, environment=environment)
    async with first:
        assert first.process is not None
        anna = await DIALECTS["y-websocket"](first.websocket_url, "text/a", token_for("anna")).synced()
        synced = len(anna.received)
        anna.text += "written before. "
        await until(lambda: len(anna.received) > synced, "saved")
        await stop_between_transactions(first.process.pid, tmp_path / "quorate.db")
        anna.text += "sent into the silence. "
        async with second:
            ben = await DIALECTS["y-websocket"](second.websocket_url, "text/a", token_for("ben")).synced()
            assert str(ben.text) == "written before. "
            caught_up = len(ben.received)
            ben.text += "by the new owner. "
            await until(lambda: len(ben.received) > caught_up, "saved by the new owner")
            heard = len(anna.received)
            os.kill(first.process.pid, signal.SIGCONT)
            await until(lambda: anna.close_code, "the old owner sends its people away")
            assert len(anna.received) == heard, "it acknowledged nothing"
            anna.url = second.websocket_url
            await anna.close()
            await anna.synced()
            await until(lambda: str(anna.text) == str(ben.text), "both have all")
            assert sorted(str(anna.text).split(". ")) == sorted(
                ["written before", "sent into the silence", "by the new owner", ""]
            )
            for peer in (anna, ben):
                await peer.close()


async def test_a_clock_that_jumps_changes_no_order_and_loses_nobody(tmp_path: Path) -> None:
    """The wall clock of the server jumps days ahead and back while people write."""
    (tmp_path / "jumping").mkdir()
    steps = tmp_path / "jumping" / "offset"
    steps.write_text("0")
    environment = {
        "PYTHONPATH": str(Path(__file__).parent / "jumping_clock"),
        "CLOCK_OFFSET_FILE": str(steps),
        "QUORATE_LEASE_SECONDS": "5",
    }
    async with ServerProcess(tmp_path, environment=environment) as server:
        long_lived = token_for("anna", seconds=30 * 86400)
        anna = await DIALECTS["hocuspocus"](server.websocket_url, "text/a", long_lived).synced()
        ben = await DIALECTS["y-websocket"](server.websocket_url, "text/a", long_lived).synced()
        expected = ""
        for offset in (0, 86400 * 3, -86400 * 3, 3600, 0):
            steps.write_text(str(offset))
            await asyncio.sleep(0.3)
            for number in range(5):
                mark = f"[{offset}.{number}]"
                expected += mark
                anna.text += mark
                await until(lambda: str(ben.text) == expected, "the other sees it")  # noqa: B023
        await until(lambda: anna.acknowledged == 25, "all is saved")
        for peer in (anna, ben):
            await peer.close()
        started = time.monotonic()
        assert await server.stop() == 0
        assert time.monotonic() - started < 25
        await server.start()
        fresh = await DIALECTS["hocuspocus"](server.websocket_url, "text/a", long_lived).synced()
        assert str(fresh.text) == expected
        await fresh.close()
