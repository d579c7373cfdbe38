"""What is written: updates that the real Yjs made once, and that every server is given alike.

`peers/material.js` makes them; they are kept in `.cache`, which git ignores.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from pycrdt import Doc, Text

from benchmarks.contestants import PEERS, node

CACHE = Path(__file__).parent / ".cache"
RECORDING = Path(
    os.environ.get("QUORATE_TRACES", Path(__file__).parents[2] / "shared" / "data" / "editing-traces")
) / "automerge-paper.json.gz"  # fmt: skip


@cache
def typing(client: int, count: int) -> tuple[bytes, ...]:
    """Return the updates of one person who types `count` letters into an empty document."""
    return _made("typing", str(client), str(count))


def paper() -> bytes:
    """Return a real paper of 260,000 keystrokes as one update; a clone without the recording pastes one as large."""
    if not RECORDING.exists():
        return pasted(RECORDED_BYTES)
    return _made("paper", str(RECORDING))[0]


def pasted(size_bytes: int) -> bytes:
    """Return a document of about a size as one update."""
    return _made("pasted", str(size_bytes))[0]


RECORDED_BYTES = 220_000


def text_of(*updates: bytes) -> str:
    """Return what a document says that holds these updates."""
    doc: Doc[Any] = Doc()
    left = iter(updates)
    # At the end of each transaction the engine reads the whole run of text that was typed so far.
    while together := list(islice(left, APPLIED_TOGETHER)):
        with doc.transaction():
            for update in together:
                doc.apply_update(update)
    return str(doc.get("text", type=Text))


APPLIED_TOGETHER = 1000


def _made(kind: str, *arguments: str) -> tuple[bytes, ...]:
    program = PEERS / "material.js"
    key = hashlib.blake2b(repr((program.read_bytes(), kind, arguments)).encode(), digest_size=8).hexdigest()
    made = CACHE / f"{kind}-{key}"
    if not made.exists():
        CACHE.mkdir(exist_ok=True)
        unfinished = made.with_suffix(".part")
        subprocess.run([node(), str(program), kind, str(unfinished), *arguments], check=True)
        unfinished.rename(made)
    return tuple(_split(made.read_bytes()))


def _split(data: bytes) -> list[bytes]:
    updates, at = list[bytes](), 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        updates.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return updates
