"""The child process that folds: it ends with the server, also when that is killed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from pycrdt import Doc, Text

from quorate_protocol.ids import DocumentId
from quorate_server.attribution import unpack
from quorate_server.folding import FoldedState, Folder, fold, verify
from quorate_storage.errors import StorageUnavailable
from quorate_storage.sql import SqlStore
from quorate_storage.stores import StoredState
from quorate_storage.testing.building import EDITOR, entry, written
from tests.server.houses import until

PARENT = """
import asyncio, os, psutil
from quorate_server.folding import Folder

async def main():
    folder = Folder(inline_bytes=0)
    await folder.view(b"\\0\\0")
    print(*[child.pid for child in psutil.Process().children()], flush=True)
    await asyncio.sleep(60)

if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_the_child_of_a_server_that_was_killed_ends(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT, "utf-8")
    command = [sys.executable, str(script)]
    parent = await asyncio.to_thread(subprocess.Popen, command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    children = [int(pid) for pid in (await asyncio.to_thread(parent.stdout.readline)).split()]
    assert len(children) == 2  # the worker, and the tracker of its resources
    parent.kill()
    await asyncio.to_thread(parent.wait)
    parent.stdout.close()
    await until(lambda: not any(psutil.pid_exists(pid) for pid in children), "gone")


async def test_whoever_folds_runs_when_nobody_else_wants_to(tmp_path: Path) -> None:
    folder = Folder(inline_bytes=0)
    before = set(psutil.Process().children())
    try:
        async with SqlStore(f"sqlite:///{tmp_path / 'a.db'}") as store:
            document = await logged(store, written_by(2))
            await folder.fold(store, document, 1)
        folding = set(psutil.Process().children()) - before
        await folder.view(b"\0\0")
        others = set(psutil.Process().children()) - before - folding
        assert os.SCHED_IDLE in {os.sched_getscheduler(child.pid) for child in folding}
        assert [os.sched_getscheduler(child.pid) for child in others] == [os.SCHED_OTHER]
    finally:
        folder.close()


class UnreadStore(SqlStore):
    """A database that this process reads no log of."""

    async def load(self, document: DocumentId) -> StoredState:
        raise AssertionError(f"the server read the log of document {document}")


async def logged(store: SqlStore, updates: list[bytes]) -> DocumentId:
    async with written(store, 0) as (lease, document):
        await store.append([entry(document.id, i, update) for i, update in enumerate(updates, 1)], lease=lease)
        return document.id


async def test_a_child_reads_a_large_log_itself(tmp_path: Path) -> None:
    updates = written_by(3)
    folder = Folder()
    async with UnreadStore(f"sqlite:///{tmp_path / 'a.db'}") as store:
        document = await logged(store, updates)
        try:
            folded = await folder.fold(store, document, size_bytes=1_000_000)
            assert folded is not None
            assert folded.through == 3
            assert verify(updates, FoldedState(state=folded.state, waiting=folded.waiting))
            [kept] = folded.attributions
            assert [each.author for each in unpack(kept)] == [EDITOR] * 3
            assert await folder.fold(store, DocumentId(999), size_bytes=1_000_000) is None
        finally:
            folder.close()


def workers() -> set[psutil.Process]:
    """The children that work, without the one that keeps track of their resources."""
    return {child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())}


async def test_what_got_nothing_of_the_core_for_too_long_is_folded_all_the_same(tmp_path: Path) -> None:
    folder = Folder(patience_seconds=0.2)
    before = workers()
    async with UnreadStore(f"sqlite:///{tmp_path / 'a.db'}") as store:
        document = await logged(store, written_by(2))
        folding = asyncio.create_task(folder.fold(store, document, size_bytes=1_000_000))
        try:
            await until(lambda: workers() - before, "the child started")
            for child in workers() - before:
                child.suspend()
            folded = await folding
            assert folded is not None
            assert folded.through == 2
            assert [os.sched_getscheduler(child.pid) for child in workers() - before] == [os.SCHED_OTHER]
        finally:
            folder.close()


async def test_a_log_that_the_child_cannot_read_stays(tmp_path: Path) -> None:
    folder = Folder()
    async with UnreadStore(f"sqlite:///{tmp_path / 'a.db'}") as store:
        pass
    (tmp_path / "a.db").write_bytes(b"no database at all, but long enough to be looked at as one" * 100)
    try:
        with pytest.raises(StorageUnavailable, match="not a database"):
            await folder.fold(store, DocumentId(1), size_bytes=1_000_000)
    finally:
        folder.close()


def written_by(authors: int) -> list[bytes]:
    """The log of a document in which so many people wrote at once, each unaware of the others."""
    updates: list[bytes] = []
    for number in range(authors):
        doc: Doc[Text] = Doc()
        doc.get("text", type=Text).insert(0, f"author {number} ")
        updates.append(doc.get_update())
    return updates


@pytest.mark.parametrize("authors", [1, 2, 5, 20, 100])
def test_a_log_of_many_authors_is_proved_equal_to_what_it_is_folded_into(authors: int) -> None:
    """Encoded state vectors name authors in no order; taken for different they would keep every log for ever."""
    for _ in range(10):
        updates = written_by(authors)
        assert verify(updates, fold(updates))


def test_a_fold_that_lacks_an_author_is_not_taken_for_the_log() -> None:
    updates = written_by(20)
    assert not verify(updates, FoldedState(state=fold(updates[:-1]).state))
