"""The scenarios: what is sent, by how many, and what is measured. Each returns rows for the table.

Updates are made beforehand by the engine that Python editors use. At the end of each scenario the state of
the server is decoded and compared with what was typed: a fast server that loses letters has no time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from pycrdt import Doc, Text

from benchmarks.server import Measured, measured_server
from benchmarks.wire import Wire, connect, masked
from quorate_protocol.awareness import AwarenessEntry
from quorate_protocol.awareness import encode_awareness as encode_entries
from quorate_protocol.ids import ClientId
from quorate_protocol.y_websocket import encode_awareness, encode_step1, encode_update

MARK = b"\xe2\x96\x88"  # a full block: announces the number of an update in the text
EMPTY = encode_step1(b"\x00")


@dataclass
class Row:
    scenario: str
    figures: dict[str, str] = field(default_factory=dict)


def typed(count: int, *, client: int, every: int = 25) -> tuple[list[bytes], str]:
    """Return `count` updates of somebody typing one letter at a time; every so often the update is numbered."""
    doc: Doc[Any] = Doc(client_id=client)
    text, made = doc.get("text", type=Text), list[bytes]()
    subscription = doc.observe(lambda event: made.append(event.update))
    for number in range(count):
        text += f"\N{FULL BLOCK}{client}.{number};" if number % every == 0 or number == count - 1 else "x"
    doc.unobserve(subscription)
    return made, str(text)


class Stopwatch:
    """Notes when numbered updates were sent and when each reader got them."""

    def __init__(self) -> None:
        self.sent: dict[bytes, float] = {}
        self.latencies: list[float] = []

    def reader(self, on_number: Callable[[bytes], None] | None = None) -> Callable[[bytes], None]:
        def on_message(message: bytes) -> None:
            start = message.find(MARK)
            while start != -1:
                number = message[start + 3 : message.find(b";", start)]
                if number in self.sent:
                    self.latencies.append(time.perf_counter() - self.sent[number])
                    if on_number is not None:
                        on_number(number)
                start = message.find(MARK, start + 3)

        return on_message

    def quantile(self, share: float) -> str:
        return f"{1000 * float(np.quantile(self.latencies, share)):.1f} ms" if self.latencies else "-"


def number_of(update: bytes) -> bytes | None:
    start = update.find(MARK)
    return None if start == -1 else update[start + 3 : update.find(b";", start)]


async def join(server: Measured, name: str, on_message: Callable[[bytes], None] | None = None) -> Wire:
    wire = await connect(server.port, f"/sync/{name}", on_message)
    wire.send(masked(EMPTY))
    return wire


async def text_of(server: Measured, name: str) -> str:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as http:
        view = (await http.get(f"/api/documents/{name}")).json()
    return str(view["content"].get("text", ""))


async def fan_out(readers: int, updates: int, name: str = "a") -> Row:
    """One person types as fast as the server takes it, never more than 64 updates ahead of the echo."""
    made, expected = typed(updates, client=7, every=8)
    with measured_server() as server:
        watch, done = Stopwatch(), asyncio.Event()
        finished: set[int] = set()
        last = number_of(made[-1])
        echoed = 0

        def on_echo(message: bytes) -> None:
            nonlocal echoed
            start = message.rfind(MARK)
            if start != -1:
                echoed = int(message[start + 3 : message.find(b";", start)].partition(b".")[2]) + 1

        for index in range(readers):

            def on_number(number: bytes, index: int = index) -> None:
                if number == last:
                    finished.add(index)
                    if len(finished) == readers:
                        done.set()

            await join(server, name, watch.reader(on_number))
        writer = await join(server, name, on_echo)
        await asyncio.sleep(0.2)
        server.mark()
        began, own = time.perf_counter(), time.process_time()
        for position, update in enumerate(made):
            number = number_of(update)
            if number is not None:
                watch.sent[number] = time.perf_counter()
            writer.send(masked(encode_update(update)))
            while position - echoed > 64:
                await asyncio.sleep(0)
        async with asyncio.timeout(120):
            await done.wait()
        seconds = time.perf_counter() - began
        cpu, generator = server.cpu_share(), (time.process_time() - own) / seconds
        assert await text_of(server, name) == expected
    return Row(f"fan-out, 1 writer, {readers} readers", {
        "updates/s in": f"{updates / seconds:,.0f}", "delivered/s": f"{updates * readers / seconds:,.0f}",
        "p50": watch.quantile(0.5), "p99": watch.quantile(0.99), "server core": f"{cpu:.0%}",
        "generator": f"{generator:.0%}", "µs an update": f"{cpu * seconds / updates * 1e6:.1f}",
    })  # fmt: skip


async def many_writers(writers: int, updates: int, name: str = "a") -> Row:
    """Several people type into one document at once, as fast as they can."""
    texts = [typed(updates, client=100 + i) for i in range(writers)]
    with measured_server() as server:
        watch, done = Stopwatch(), asyncio.Event()
        finished: set[int] = set()
        wires: list[Wire] = []
        for index, (made, _) in enumerate(texts):
            last = number_of(made[-1])

            def on_number(number: bytes, index: int = index, last: bytes | None = last) -> None:
                if number == last:
                    finished.add(index)
                    if len(finished) == writers:
                        done.set()

            wires.append(await join(server, name, watch.reader(on_number)))
        await asyncio.sleep(0.2)
        server.mark()
        began, own = time.perf_counter(), time.process_time()
        for position in range(updates):
            for wire, (made, _) in zip(wires, texts, strict=True):
                number = number_of(made[position])
                if number is not None:
                    watch.sent[number] = time.perf_counter()
                wire.send(masked(encode_update(made[position])))
            await asyncio.sleep(0)
        async with asyncio.timeout(120):
            await done.wait()
        seconds = time.perf_counter() - began
        cpu, generator = server.cpu_share(), (time.process_time() - own) / seconds
        assert sorted(await text_of(server, name)) == sorted("".join(text for _, text in texts))
    return Row(f"{writers} writers, one document", {
        "updates/s in": f"{writers * updates / seconds:,.0f}",
        "p50": watch.quantile(0.5), "p99": watch.quantile(0.99), "server core": f"{cpu:.0%}",
        "generator": f"{generator:.0%}", "µs an update": f"{cpu * seconds / (writers * updates) * 1e6:.1f}",
    })  # fmt: skip


async def many_documents(documents: int, seconds: float) -> Row:
    """Two people in each of many documents, each document with two updates a second."""
    with measured_server() as server:
        watch = Stopwatch()
        made = {i: typed(int(seconds * 2) + 1, client=1000 + i, every=1)[0] for i in range(documents)}
        wires = []
        for i in range(documents):
            wires.append(await join(server, f"d{i}"))
            await join(server, f"d{i}", watch.reader())
        server.mark()
        began = time.perf_counter()
        for turn in range(int(seconds * 2)):
            for i, wire in enumerate(wires):
                due = began + turn / 2 + i / documents / 2
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                number = number_of(made[i][turn])
                assert number is not None
                watch.sent[number] = time.perf_counter()
                wire.send(masked(encode_update(made[i][turn])))
        await asyncio.sleep(0.5)
        cpu = server.cpu_share()
        expected = documents * int(seconds * 2)
        assert len(watch.latencies) == expected, (len(watch.latencies), expected)
        return Row(f"{documents} documents of 2, 2 updates/s each", {
            "updates/s in": f"{documents * 2:,.0f}", "p50": watch.quantile(0.5), "p99": watch.quantile(0.99),
            "server core": f"{cpu:.0%}", "memory": f"{server.resident_mib():.0f} MiB",
        })  # fmt: skip


def paragraphs(count: int) -> Iterator[bytes]:
    """Yield updates of 8,000 characters, numbered: in ten seconds they pass any buffer of a peer that never reads."""
    doc: Doc[Any] = Doc(client_id=5)
    text, made = doc.get("text", type=Text), list[bytes]()
    subscription = doc.observe(lambda event: made.append(event.update))
    for number in range(count):
        made.clear()
        text += f"\N{FULL BLOCK}5.{number};{'y' * 8000}"
        yield made[-1]
    doc.unobserve(subscription)


async def lazy_peer(readers: int, seconds: float) -> list[Row]:
    """Full speed to many readers, without and with one more peer that never reads."""
    rows: list[Row] = []
    quantiles: list[float] = []
    frames = [masked(encode_update(update)) for update in paragraphs(int(seconds * 200))]
    for is_lazy in (False, True):
        with measured_server() as server:
            watch = Stopwatch()
            for _ in range(readers):
                await join(server, "a", watch.reader())
            if is_lazy:
                lazy = await join(server, "a")
                lazy.transport.pause_reading()
            writer = await join(server, "a")
            await asyncio.sleep(0.2)
            began, number, peak = time.perf_counter(), 0, 0.0
            while time.perf_counter() - began < seconds and number < len(frames):
                watch.sent[f"5.{number}".encode()] = time.perf_counter()
                writer.send(frames[number])
                number += 1
                if not number % 50:
                    peak = max(peak, server.resident_mib())
                await asyncio.sleep(0.005)
            await asyncio.sleep(1)
            assert len(watch.latencies) == number * readers
            quantiles.append(float(np.quantile(watch.latencies, 0.99)))
            async with httpx.AsyncClient() as http:
                metrics = (await http.get(f"http://127.0.0.1:{server.port}/metrics")).text
            was_closed = 'reason="send_buffer_bytes"' in metrics
            rows.append(Row(f"{readers} readers, {'one more that never reads' if is_lazy else 'all read'}", {
                "updates/s in": f"{number / seconds:,.0f}", "p50": watch.quantile(0.5), "p99": watch.quantile(0.99),
                "memory": f"{peak:.0f} MiB", "note": "the lazy one was closed" if was_closed else "",
            }))  # fmt: skip
    rows[-1].figures["note"] += f"; p99 {quantiles[1] / quantiles[0]:.2f} times that without it"
    return rows


async def cold_load(clients: int) -> Row:
    """Many open a document of 20,000 keystrokes at once, in a server that has just started."""
    made, expected = typed(20_000, client=9)
    state_doc: Doc[Any] = Doc()
    for update in made:
        state_doc.apply_update(update)
    with measured_server() as server:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
            await http.post("/api/documents", json={"name": "a"})
            await http.post("/api/updates/a", content=state_doc.get_update())
        got: set[int] = set()
        done = asyncio.Event()

        def on_message(message: bytes, index: int) -> None:
            if message[:2] == b"\x00\x01" and len(message) > 10_000:
                got.add(index)
                if len(got) == clients:
                    done.set()

        server.mark()
        began = time.perf_counter()
        await asyncio.gather(*(join(server, "a", lambda message, i=i: on_message(message, i)) for i in range(clients)))
        async with asyncio.timeout(60):
            await done.wait()
        seconds = time.perf_counter() - began
        assert await text_of(server, "a") == expected
    return Row(f"{clients} clients open one document at once", {"all synced": f"{1000 * seconds:.0f} ms"})


async def presence_storm(people: int, seconds: float) -> Row:
    """Everybody moves their cursor ten times a second."""
    with measured_server() as server:
        wires = [await join(server, "a") for _ in range(people)]
        await asyncio.sleep(0.2)
        server.mark()
        began = time.perf_counter()
        for turn in range(int(seconds * 10)):
            for i, wire in enumerate(wires):
                entry = AwarenessEntry(ClientId(i + 1), turn + 1, f'{{"cursor":{turn}}}')
                wire.send(masked(encode_awareness(encode_entries([entry]))))
            if (wait := began + (turn + 1) / 10 - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
        cpu = server.cpu_share()
    return Row(f"{people} cursors at 10 Hz", {"server core": f"{cpu:.0%}"})
