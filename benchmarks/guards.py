"""`python -m benchmarks.guards`: what guarding and attribution cost on an artifact, against a plain document.

One server, one writer and ten readers on real sockets. The same updates go to a plain document and to an artifact, in
pairs of alternating order; the writer sends the next update when the echo of the one before has come, so each is a
transaction, a commit and a broadcast of its own. What counts is the server's processor time for each update.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import uvloop
from pycrdt import Doc, Map, Text

from benchmarks.scenarios import EMPTY, text_of
from benchmarks.server import Measured, measured_server, pin_generator
from benchmarks.wire import connect, masked
from quorate_protocol.y_websocket import encode_update

UPDATES = 2000
READERS = 10
PAIRS = 7
numbers = count(1)


@dataclass(frozen=True)
class Load:
    """One way of writing, as updates made before the clock starts, and the text they end in."""

    name: str
    updates: list[bytes]
    text: str


def load(name: str, edit: Callable[[Doc[Any], int], object]) -> Load:
    doc: Doc[Any] = Doc()
    text, made = doc.get("text", type=Text), list[bytes]()
    subscription = doc.observe(lambda event: made.append(event.update))
    for number in range(UPDATES):
        with doc.transaction():
            edit(doc, number)
    doc.unobserve(subscription)
    return Load(name, made, str(text))


def loads() -> list[Load]:
    return [
        load("typing", lambda doc, number: doc.get("text", type=Text).insert(number, "x")),
        load("typing at changing places", lambda doc, number: doc.get("text", type=Text).insert(number // 2, "x")),
        load("filling in a form", lambda doc, n: doc.get("properties", type=Map).update({f"k{n % 20}": n})),
    ]


async def seconds_of(server: Measured, name: str, load: Load) -> float:
    """Return the server's processor seconds for the updates of a load in one new document."""
    echoes = asyncio.Semaphore(0)

    def on_echo(message: bytes) -> None:
        if message[:2] == b"\x00\x02":
            echoes.release()

    wires = [await connect(server.port, f"/sync/{name}") for _ in range(READERS)]
    writer = await connect(server.port, f"/sync/{name}", on_echo)
    for wire in (*wires, writer):
        wire.send(masked(EMPTY))
    await asyncio.sleep(0.2)
    before = server.cpu_seconds()
    for update in load.updates:
        writer.send(masked(encode_update(update)))
        await echoes.acquire()
    spent = server.cpu_seconds() - before
    assert await text_of(server, name) == load.text, "the server has what was written"
    for wire in (*wires, writer):
        wire.transport.close()
    return spent


async def main() -> None:
    print(f"{UPDATES} updates, {READERS} readers, SQLite, one update in flight, {PAIRS} pairs\n")
    print("| load | plain, µs an update | artifact, µs an update | ratio, median of pairs |")
    print("|---|---|---|---|")
    with measured_server(QUORATE_ENGINES="none") as server:
        for each in loads():
            pairs: list[tuple[float, float]] = []
            for pair in range(PAIRS):
                names = [f"plain-{next(numbers)}", f"text/artifact-{next(numbers)}"]
                order = names if pair % 2 else names[::-1]
                spent = {name: await seconds_of(server, name, each) for name in order}
                pairs.append((spent[names[0]], spent[names[1]]))
            plain, guarded = (statistics.median(pair[i] for pair in pairs) / UPDATES * 1e6 for i in (0, 1))
            ratio = statistics.median(guarded / plain for plain, guarded in pairs)
            print(f"| {each.name} | {plain:.0f} | {guarded:.0f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    pin_generator()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
