"""The process that evaluates conditions, so that a costly one holds up itself and not the server.

It is run as a plain file and imports nothing of the server, so it starts fast and is cheap to kill and to replace.
It reads frames from its input and writes one answer for each question, as soon as it has it: so the one that asked
knows which question was in work when it had to kill this process. Messages, in both directions, are JSON in UTF-8
after its length in four bytes, most significant first. The first one that is written is `true`: it is ready.

A frame is `{"sources": [...], "facts": [...], "asks": [[source, facts], ...]}`; an ask names both by their place.
An answer is `true`, `false`, or a text: the reason why there is none.
"""

from __future__ import annotations

import json
import resource
import signal
import struct
import sys
from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType
from typing import BinaryIO, TypedDict, cast

if __name__ == "__main__":
    # The library loads its command line too, which takes four times as long as all else here, and is of no use.
    sys.modules["cel.cli"] = ModuleType("cel.cli")

import cel

LENGTH = struct.Struct(">I")
"""What is written before each message: its length in bytes."""
MAX_PROGRAMS = 1_000
"""So many compiled conditions are kept; the one that was not used for longest goes first."""
MAX_MEMORY_BYTES = 1024**3
"""Address space of the process: a condition that builds more ends the process instead of the machine's memory."""
MAX_FRAME_SECONDS = 30
"""The server kills a busy process long before. This ends one whose server died in the middle of a frame."""
MAX_REASON_CHARACTERS = 300


class Frame(TypedDict):
    """Questions: the sources of conditions, the facts they are asked about, and which go together."""

    sources: list[str]
    facts: list[dict[str, object]]
    asks: list[tuple[int, int]]


@lru_cache(maxsize=MAX_PROGRAMS)
def compiled(source: str) -> cel.Program:
    """Return the program of a condition, from the cache if it is there.

    Raises:
        ValueError: it is no expression.
    """
    return cel.compile(source)


def evaluate(source: str, context: cel.Context) -> bool | str:
    """Return what a condition says of facts, or the reason why it says nothing; never raises an `Exception`."""
    try:
        result: object = compiled(source).execute(context)
    except KeyError as error:
        return _short(f"there is no {error.args[0]!r} among the facts")
    except Exception as error:  # noqa: BLE001 - whatever an expression of a user does is its answer
        return _short(f"{type(error).__name__}: {error}")
    if isinstance(result, bool):
        return result
    return f"a condition is true or false, and this one is a value of type {type(result).__name__}"


def answers(frame: Frame) -> Iterator[bool | str]:
    """Evaluate the questions of a frame, in their order, each when the one before was taken."""
    # What an expression does leaves its facts as they were, so all questions about the same facts share them.
    contexts = [cel.Context(variables=facts) for facts in frame["facts"]]
    for source, facts in frame["asks"]:
        yield evaluate(frame["sources"][source], contexts[facts])


def main() -> None:
    """Answer frames until the other side closes the pipe."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    send(sys.stdout.buffer, answer=True)
    while (frame := receive(sys.stdin.buffer)) is not None:
        # Python handles no signal while an expression is evaluated; but without a handler the system ends us.
        signal.alarm(MAX_FRAME_SECONDS)
        for answer in answers(frame):
            send(sys.stdout.buffer, answer=answer)
        signal.alarm(0)


def send(stream: BinaryIO, *, answer: bool | str) -> None:
    """Write an answer and pass it on at once.

    Raises:
        OSError: nobody reads any more.
    """
    content = json.dumps(answer).encode()
    stream.write(LENGTH.pack(len(content)) + content)
    stream.flush()


def receive(stream: BinaryIO) -> Frame | None:
    """Wait for a frame and return it; `None` when the other side closed the pipe, even within a frame."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    size = int(LENGTH.unpack(head)[0])
    content = stream.read(size)
    return cast("Frame", json.loads(content)) if len(content) == size else None


def _short(reason: str) -> str:
    """Return a reason on one line and of limited length; errors of the parser draw pictures over many."""
    return " ".join(reason.split())[:MAX_REASON_CHARACTERS]


if __name__ == "__main__":
    main()
