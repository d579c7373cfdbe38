"""`python -m benchmarks.guards`: what guarding and attribution cost on an artifact, against a plain document.

Real sockets, SQLite, pairs of alternating order; what counts is the server's processor time for each update.

* One update in flight: one writer, ten readers. The next is sent when the echo of the one before has come, so each is
  a transaction, a commit and a broadcast of its own, as when people type.
* As fast as it goes: the scenarios `fan_out` and `many_writers`, in which many updates share all of these.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx
import uvloop
from pycrdt import Doc, Map, Text

from benchmarks.contestants import BY_NAME
from benchmarks.scenarios.typing_loads import Figures, fan_out, many_writers
from benchmarks.server import Measured, measured_server, pin_generator
from benchmarks.wire import connect, masked
from quorate_protocol.y_websocket import encode_step1, encode_update

EMPTY = encode_step1(b"\x00")
UPDATES = 1500
READERS = 10
PAIRS = 5
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


async def text_of(server: Measured, name: str) -> str:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as http:
        view = (await http.get(f"/api/documents/{name}")).json()
    return str(view["content"].get("text", ""))


async def at_full_speed() -> None:
    print("\n| as fast as it goes | plain, µs an update | artifact, µs an update | ratio, median of pairs |")
    print("|---|---|---|---|")
    quorate = BY_NAME["quorate-y"]
    scenarios: dict[str, Callable[[str], Awaitable[Figures]]] = {
        "1 writer, 10 readers": lambda name: fan_out(quorate, 10, 1.0, name),
        "20 writers": lambda name: many_writers(quorate, 20, 1.0, name),
    }
    for title, run in scenarios.items():
        pairs: list[tuple[float, float]] = []
        for pair in range(PAIRS):
            names = ["plain", "text/artifact"]
            spent = {name: await run(name) for name in (names if pair % 2 else names[::-1])}
            first, second = (spent[name]["µs an update"] for name in names)
            pairs.append((first, second))
        _print_row(title, pairs)


def _print_row(title: str, pairs: list[tuple[float, float]]) -> None:
    plain, guarded = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
    ratio = statistics.median(guarded / plain for plain, guarded in pairs)
    print(f"| {title} | {plain:.1f} | {guarded:.1f} | {ratio:.2f} |", flush=True)


async def main() -> None:
    print(f"{READERS} readers, {PAIRS} pairs\n")
    print("| one update in flight | plain, µs an update | artifact, µs an update | ratio, median of pairs |")
    print("|---|---|---|---|")
    with measured_server(QUORATE_ENGINES="none") as server:
        for each in loads():
            pairs: list[tuple[float, float]] = []
            for pair in range(PAIRS):
                names = [f"plain-{next(numbers)}", f"text/artifact-{next(numbers)}"]
                order = names if pair % 2 else names[::-1]
                spent = {name: await seconds_of(server, name, each) for name in order}
                first, second = (spent[name] / UPDATES * 1e6 for name in names)
                pairs.append((first, second))
            _print_row(each.name, pairs)
    await at_full_speed()


if __name__ == "__main__":
    pin_generator()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
