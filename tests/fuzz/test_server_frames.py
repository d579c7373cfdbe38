"""Damaged frames against whole connections and rooms, in both dialects, without sockets.

After any of them: no exception escapes, the connection lives on or was closed with a code of the tables, a good
neighbour in the same document is served, and the live document equals its log replayed from zero (law 2).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psutil
import pytest
from pycrdt import Array, Doc, Map, Text

from quorate_protocol import hocuspocus, y_websocket
from quorate_protocol.awareness import AwarenessEntry, encode_awareness
from quorate_protocol.closing import CloseCode
from quorate_protocol.ids import ClientId, DocumentName, UserId
from quorate_protocol.varints import write_var_string
from quorate_server.channels import EXTENSION
from quorate_server.connections import Connection, House
from quorate_server.folding import load, state_hash
from quorate_server.hocuspocus_endpoint import HocuspocusConnection
from quorate_server.room import Room
from quorate_server.users import User
from quorate_server.y_websocket_endpoint import YWebSocketConnection
from tests.fuzz.mutations import mutate
from tests.server.houses import Guest, MemoryChannel, house_of, open_room, open_rooms, until

ROUND = 1500
"""Cases against one document; then its log is replayed and the next one is opened."""


async def nothing(*_: object) -> Any:
    return None


class Attack:
    """One connection that is fed damaged frames."""

    def __init__(self, house: House, room: Room, dialect: str) -> None:
        self.wire = MemoryChannel()
        self.dialect = dialect
        scope = {"type": "websocket", "extensions": {EXTENSION: self.wire}, "client": None}
        self.connection: Connection
        if dialect == "y-websocket":
            user = User(id=UserId("mallory"), name="Mallory")
            plain = YWebSocketConnection(house, scope, nothing, nothing, name=room.name, user=user)
            plain.enter(room, may_write=True, may_comment=True)
            self.connection = plain
        else:
            self.connection = HocuspocusConnection(house, scope, nothing, nothing)
            key = write_var_string(room.name)
            self.connection.take([key + b"\x02\x00" + write_var_string("Mallory")], 0)

    def end(self) -> None:
        self.connection.leave_all()
        if isinstance(self.connection, HocuspocusConnection):
            self.connection._clear_deadline()


def genuine_frames(name: str, rng: random.Random) -> Iterator[bytes]:
    """Yield sound frames of an editor that makes all kinds of content, in both dialects, for ever."""
    while True:
        doc: Doc[Any] = Doc(client_id=rng.randint(1, 2**31))
        made: list[bytes] = []
        subscription = doc.observe(lambda event: made.append(event.update))  # noqa: B023
        text, items, facts = doc.get("text", type=Text), doc.get("items", type=Array), doc.get("facts", type=Map)
        for number in range(30):
            match rng.randrange(6):
                case 0 if len(text) > 2:
                    del text[0:1]
                case 1:
                    items.append({"n": number, "deep": [1, [2, [3.5, None, True, "x"]]]})
                case 2:
                    facts[f"k{rng.randrange(4)}"] = Map({"a": number})
                case 3:
                    text.insert(0, "word ", {"bold": True})
                case _:
                    text += rng.choice(["a", "bc", "long words ", "äöü"])
        doc.unobserve(subscription)
        state = encode_awareness([AwarenessEntry(ClientId(doc.client_id), 1, '{"user":{}}')])
        vector = doc.get_state()
        yield from (y_websocket.encode_update(update) for update in made)
        yield from (hocuspocus.encode_update(name, update) for update in made)
        yield y_websocket.encode_step1(vector)
        yield y_websocket.encode_step2(doc.get_update())
        yield y_websocket.encode_awareness(state)
        yield hocuspocus.encode_step1(name, vector)
        yield hocuspocus.encode_step2(name, doc.get_update())
        yield hocuspocus.encode_awareness(name, state)
        yield hocuspocus.encode_stateless(name, "hello")
        yield b"\x09"


async def attack(cases: int, seed: int) -> dict[int, int]:
    """Run the cases; return how often each close code was used."""
    rng = random.Random(seed)
    codes: dict[int, int] = {}
    async with open_rooms(waiting_bytes=20_000, document_bytes=2_000_000) as rooms:
        for start in range(0, cases, ROUND):
            room = await open_room(rooms, f"text/{start}")
            await one_document(house_of(rooms), room, rng, min(ROUND, cases - start), codes)
            stored = await rooms.store.load(room.document.id)
            with closing(load(stored)) as replayed:
                assert state_hash(replayed.encode()) == state_hash(await room.read()), f"seed {seed}, case {start}"
            await rooms.delete(DocumentName(room.name), by=UserId("owner"))
    return codes


async def one_document(house: House, room: Room, rng: random.Random, cases: int, codes: dict[int, int]) -> None:
    neighbour = Guest(room, "neighbour")
    frames = genuine_frames(room.name, rng)
    attacks = [Attack(house, room, dialect) for dialect in ("y-websocket", "hocuspocus")]
    known = [next(frames) for _ in range(100)]
    for case in range(cases):
        frame = next(frames)
        known[rng.randrange(len(known))] = frame
        position = rng.randrange(len(attacks))
        current = attacks[position]
        current.connection.take([mutate(frame, rng, known) if rng.random() < 0.9 else frame], 0)
        if case % 20 == 0:
            await asyncio.sleep(0)
        if current.wire.closed is not None:
            code, _ = current.wire.closed
            codes[code] = codes.get(code, 0) + 1
            current.end()
            attacks[position] = Attack(house, room, current.dialect)
            await asyncio.sleep(0)
        if case % 250 == 249:
            neighbour.channel.frames.clear()
            neighbour.type("x")
            await until(lambda: neighbour.channel.frames, "the good neighbour is served")
            neighbour.channel.frames.clear()
    for each in attacks:
        each.end()
    await until(lambda: room.is_durable, "durable")
    assert neighbour.ended is None
    neighbour.close()


async def test_damaged_frames_hurt_nobody_else(cases: int, seed: int) -> None:
    before = psutil.Process().memory_info().rss
    codes = await attack(cases, seed)
    assert codes, "no damaged frame was refused"
    assert set(codes) <= {code.value for code in CloseCode}
    assert psutil.Process().memory_info().rss - before < 300 * 1024 * 1024


@pytest.mark.soak
@pytest.mark.timeout(5400)
async def test_a_million_damaged_frames_hurt_nobody_else(seed: int) -> None:
    sizes: list[int] = []
    total: dict[int, int] = {}
    for part in range(20):
        for code, count in (await attack(50_000, seed * 1000 + part)).items():
            total[code] = total.get(code, 0) + count
        sizes.append(psutil.Process().memory_info().rss // 1024**2)
    print("1,000,000 frames; closes:", total, "resident MiB:", sizes)  # noqa: T201
    assert sizes[-1] - sizes[4] < 8, sizes
