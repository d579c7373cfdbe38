"""Hours of a working day in minutes: people come and go, lines and the disk fail, and memory stays flat."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest
from pycrdt import Doc, Text

from tests.system.links import Faults, FaultyLine
from tests.system.peers import DIALECTS, Peer
from tests.system.servers import ServerProcess, token_for

MIB = 1024 * 1024
NAMES = 12
"""Documents that are written in at the same time; after a while they are left, and others are begun."""
EPOCH_SECONDS = 20.0
BAD = Faults(cut=0.01, delay=0.05)


@dataclass
class Day:
    """The load: `people` at once, each with a line that works or one that does not."""

    server: ServerProcess
    line: FaultyLine
    random: Random
    ends_at: float
    numbers: Iterator[int] = field(default_factory=count)
    written: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """What was seen to be durable, by document."""
    visits: int = 0
    checked: int = 0
    faults: dict[str, int] = field(default_factory=dict[str, int])
    sizes: list[int] = field(default_factory=list[int])

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self.ends_at

    def name(self) -> str:
        epoch = int(time.monotonic() / EPOCH_SECONDS)
        kind = self.random.choice(("plain-", "text/"))
        return f"{kind}{epoch}-{self.random.randrange(NAMES)}"

    async def person(self) -> None:
        while not self.is_over:
            await self.visit()
            self.visits += 1

    async def visit(self) -> None:
        """Open a document, write for a while, and go when all of it is durable; lines may break on the way."""
        random, name = self.random, self.name()
        url = self.line.url if random.random() < 0.5 else self.server.websocket_url
        peer = DIALECTS[random.choice(list(DIALECTS))](url, name, token_for(f"person-{random.randrange(40)}"))
        marks: set[str] = set()
        for _ in range(random.randint(3, 25)):
            await connected(peer)
            mark = f"<{next(self.numbers)}>"
            marks.add(mark)
            peer.text.insert(random.choice((0, len(peer.text))), mark)
            peer.set_presence(random.randint(1, 10**6), '{"cursor":1}')
            await asyncio.sleep(random.random() * 0.15)
        peer.url = self.server.websocket_url
        while not marks <= await self.durable(name, marks):
            await peer.close()
            with suppress(AssertionError, OSError, TimeoutError):
                await peer.synced()
            await asyncio.sleep(0.2)
        self.written.setdefault(name, set()).update(marks)
        await peer.close()

    async def durable(self, name: str, marks: set[str]) -> set[str]:
        """Those of some marks that the server has: it shows nothing that is not durable."""
        text = await self.text_of(name)
        return {mark for mark in marks if mark in text}

    async def text_of(self, name: str) -> str:
        async with self.server.http(token_for("reader")) as http:
            answer = await http.get(f"/api/states/{name}")
        doc: Doc[Any] = Doc()
        if answer.status_code == 200 and answer.content:
            doc.apply_update(answer.content)
        return str(doc.get("text", type=Text))

    async def check_left(self, *, all_of_them: bool = False) -> None:
        """Check the documents that nobody writes in any more: every mark is there, once."""
        epoch = int(time.monotonic() / EPOCH_SECONDS)
        for name in list(self.written):
            if all_of_them or epoch_of(name) < epoch - 2:
                text = await self.text_of(name)
                for mark in self.written.pop(name):
                    assert text.count(mark) == 1, (name, mark)
                    self.checked += 1

    async def disturb(self) -> None:
        """Break something for a moment, and mend it."""
        assert self.server.process is not None
        process = self.server.process.pid
        while not self.is_over:
            await asyncio.sleep(self.random.uniform(3, 8))
            what = self.random.choice(("lines", "disk", "stop", "silence"))
            self.faults[what] = self.faults.get(what, 0) + 1
            if what == "lines":
                self.line.faults = BAD
                await asyncio.sleep(2)
                self.line.heal()
            elif what == "silence":
                self.line.fall_silent()
                await asyncio.sleep(1)
                self.line.heal()
            elif what == "disk":
                await asyncio.to_thread(lock_for_a_second, self.server.data / "quorate.db")
            else:
                os.kill(process, signal.SIGSTOP)
                await asyncio.sleep(0.4)
                os.kill(process, signal.SIGCONT)

    async def watch(self) -> None:
        assert self.server.process is not None
        process = psutil.Process(self.server.process.pid)
        while not self.is_over:
            await asyncio.sleep(5)
            self.sizes.append(int(process.memory_info().rss))
            await self.check_left()


def epoch_of(name: str) -> int:
    return int(name.removeprefix("plain-").removeprefix("text/").partition("-")[0])


async def connected(peer: Peer) -> None:
    while peer.socket is None or peer.close_code is not None:
        try:
            await peer.connect()
        except (OSError, TimeoutError):
            await asyncio.sleep(0.05)


def lock_for_a_second(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(1)
        other.execute("ROLLBACK")


async def live(folder: Path, *, seconds: float, people: int, seed: int) -> Day:
    environment = {"QUORATE_IDLE_ROOM_SECONDS": "2", "QUORATE_LOG_LEVEL": "warning"}
    async with (
        ServerProcess(folder, environment=environment) as server,
        FaultyLine(server, Random(seed)).open() as line,
    ):
        day = Day(server=server, line=line, random=Random(seed), ends_at=time.monotonic() + seconds)
        await asyncio.gather(*(day.person() for _ in range(people)), day.disturb(), day.watch())
        await day.check_left(all_of_them=True)
        log = (folder / "server.log").read_text("utf-8")
        assert "Traceback" not in log, log[-4000:]
        return day


async def test_a_busy_day_in_short(tmp_path: Path) -> None:
    day = await live(tmp_path, seconds=20, people=10, seed=1)
    assert day.checked > 200
    assert day.faults


@pytest.mark.soak
async def test_a_busy_day_of_half_an_hour(tmp_path: Path) -> None:
    """Memory after the first fifth and at the end: what grows is what was not given back."""
    seconds = float(os.environ.get("QUORATE_SOAK_SECONDS", "1800"))
    day = await live(tmp_path, seconds=seconds, people=20, seed=2)
    fifth = len(day.sizes) // 5
    early, late = statistics.median(day.sizes[fifth : 2 * fifth]), statistics.median(day.sizes[-fifth:])
    print(  # noqa: T201 - the soak's figure
        f"{seconds:.0f} s: {day.visits} visits, {day.checked} marks checked, faults {day.faults};"
        f" {early / MIB:.1f} MiB early, {late / MIB:.1f} MiB late, most {max(day.sizes) / MIB:.1f} MiB"
    )
    assert late - early < max(8 * MIB, 0.1 * early), [size // MIB for size in day.sizes]
