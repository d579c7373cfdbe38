"""Processes that die or sleep at any instant: what was acknowledged stays, and is not harmed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time

from quorate_protocol.ids import DocumentId, Sequence
from quorate_storage.databases import SqlSettings
from quorate_storage.errors import StorageUnavailable
from quorate_storage.sql import SqlStore
from quorate_storage.stores import Lease, LogEntry
from quorate_storage.testing.building import EDITOR, START
from tests.storage.writer import DOCUMENTS, update

ROOT = Path(__file__).parents[2]
KILLS = 10


@contextmanager
def writer(url: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process that appends for ever."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.storage.writer", url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class Acknowledged:
    """The newest place of each document that its writer was told is durable."""

    def __init__(self) -> None:
        self.last: dict[DocumentId, int] = {}

    def read(self, process: subprocess.Popen[str], lines: int | None = None) -> list[str]:
        """Note so many lines of a process, or all of them; return those that are no numbers."""
        assert process.stdout is not None
        others: list[str] = []
        while lines is None or lines > 0:
            line = process.stdout.readline()
            if not line.endswith("\n"):
                break
            if line == "lost\n":
                others.append(line)
            else:
                document, sequence = map(int, line.split())
                self.last[DocumentId(document)] = sequence
            lines = None if lines is None else lines - 1
        return others

    async def check(self, store: SqlStore) -> None:
        """Make sure that all of it is in the log, without gaps and byte for byte."""
        assert len(self.last) == DOCUMENTS
        for document, acknowledged in self.last.items():
            tail = (await store.load(document)).tail
            assert [one.sequence for one in tail] == list(range(1, len(tail) + 1))
            assert len(tail) >= acknowledged
            for one in tail:
                assert one.update == update(document, one.sequence)


async def test_what_was_acknowledged_survives_a_kill(url: str) -> None:
    """A process killed at any instant leaves all it acknowledged, and the next starts at once."""
    dice = random.Random(7)
    seen = Acknowledged()
    for _ in range(KILLS if url.startswith("sqlite") else 3):
        with writer(url) as process:
            seen.read(process, dice.randrange(DOCUMENTS * 2, 400))
            process.kill()
            seen.read(process)
        async with SqlStore(url) as store:
            await seen.check(store)


async def test_an_owner_that_slept_is_fenced(url: str) -> None:
    """A process that is stopped, overtaken and continued writes nothing more, and is told."""
    seen = Acknowledged()
    with writer(url) as process:
        seen.read(process, 50)
        async with SqlStore(url, SqlSettings(operation_seconds=1)) as store:
            taken = await take_over(store, process)
            document = DocumentId(next(iter(seen.last)))
            last = (await store.load(document)).document.last_sequence
            ours = LogEntry(
                document=document,
                sequence=Sequence(last + 1),
                update=b"of the new owner",
                author=EDITOR,
                at=START,
            )
            await store.append([ours], lease=taken)

            process.send_signal(signal.SIGCONT)
            assert await asyncio.to_thread(seen.read, process) == ["lost\n"]

            assert (await store.load(document)).tail[-1] == ours
            assert seen.last[document] <= last


async def take_over(store: SqlStore, process: subprocess.Popen[str]) -> Lease:
    """Stop a process and take its lease, as if that had run out."""
    while True:
        process.send_signal(signal.SIGSTOP)
        stopped = os.WSTOPPED | os.WNOWAIT
        await asyncio.to_thread(os.waitid, os.P_PID, process.pid, stopped)
        try:
            return await store.acquire_lease("all", holder="new", seconds=60, at=time() + 1000)
        except StorageUnavailable:
            # On SQLite it can have been stopped while it held the lock of the file.
            process.send_signal(signal.SIGCONT)
