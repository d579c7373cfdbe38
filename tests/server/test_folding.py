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

from quorate_server.folding import FoldedState, Folder, fold, verify
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


async def test_whoever_folds_runs_when_nobody_else_wants_to() -> None:
    folder = Folder(inline_bytes=0)
    before = set(psutil.Process().children())
    try:
        await folder.fold(written_by(2))
        folding = set(psutil.Process().children()) - before
        await folder.view(b"\0\0")
        others = set(psutil.Process().children()) - before - folding
        assert os.SCHED_IDLE in {os.sched_getscheduler(child.pid) for child in folding}
        assert [os.sched_getscheduler(child.pid) for child in others] == [os.SCHED_OTHER]
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
