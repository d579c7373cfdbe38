"""Presence as y-protocols applies it, and as a room of ours does."""

import random
from functools import partial

from quorate_protocol.awareness import AwarenessEntry, decode_awareness, encode_awareness
from quorate_protocol.ids import ClientId, UserId
from quorate_protocol.limits import Limits
from quorate_protocol.presence import Presence
from tests.fuzz.mutations import mutate
from tests.fuzz.refusals import attempt
from tests.peers.node import Oracle

_UNLIMITED = Limits(awareness_entries_per_connection=10**6, awareness_changes_per_second=1e9)
_STATES = (None, '{"user":{}}', '{"user":{"name":"é😀"}}', '{"cursor":[1,2.5],"user":{}}')


def _random_entries(rng: random.Random) -> list[AwarenessEntry]:
    return [
        AwarenessEntry(ClientId(rng.randint(1, 4)), rng.randint(0, 6), rng.choice(_STATES))
        for _ in range(rng.randint(0, 4))
    ]


def test_a_room_agrees_with_a_client(oracle: Oracle, cases: int, rng: random.Random) -> None:
    """With one connection and nothing to stamp, our accept rule is that of y-protocols.

    But for one thing: the removal of somebody unknown, which a client remembers and a room does
    not.
    """
    for _ in range(cases // 2):
        history = [_random_entries(rng) for _ in range(rng.randint(1, 8))]
        answer = oracle.ask("applyAwareness", updates=[encode_awareness(h).hex() for h in history])
        room: Presence[str] = Presence(_UNLIMITED)
        relayed: dict[int, AwarenessEntry] = {}
        for now, entries in enumerate(history):
            change = room.apply("socket", entries, user=UserId("u"), stamp={}, now=now)
            assert not change.refused
            relayed.update((entry.client, entry) for entry in change.changed)

        clocks = dict(answer["clocks"])
        if any(_first_word(history, client) is None for client in clocks):
            continue
        present = {client: clocks[client] for client, _ in answer["states"]}
        assert {entry.client: entry.clock for entry in room.snapshot()} == present
        shown = {client for client, entry in relayed.items() if entry.state is not None}
        assert shown == set(present)
        assert all(relayed[client].clock == clock for client, clock in present.items())


def _first_word(history: list[list[AwarenessEntry]], client: int) -> str | None:
    entries = (entry for entries in history for entry in entries)
    return next(entry.state for entry in entries if entry.client == client and entry.clock > 0)


def test_a_client_reads_what_we_write(oracle: Oracle, cases: int, rng: random.Random) -> None:
    for _ in range(cases // 4):
        entries = list({entry.client: entry for entry in _random_entries(rng)}.values())
        entries = [entry._replace(clock=entry.clock + 1) for entry in entries]

        answer = oracle.ask("applyAwareness", updates=[encode_awareness(entries).hex()])

        assert answer["tests"] == [{"value": None}]
        assert dict(answer["clocks"]) == {entry.client: entry.clock for entry in entries}
        assert decode_awareness(bytes.fromhex(answer["again"])) == entries


def test_damaged_presence_raises_nothing_else(cases: int, rng: random.Random) -> None:
    sound = [encode_awareness(_random_entries(rng)) for _ in range(50)]
    room: Presence[int] = Presence()
    for now in range(cases * 5):
        data = mutate(rng.choice(sound), rng, sound)
        entries = attempt(partial(decode_awareness, data))
        if entries is None:
            continue
        change = room.apply(now % 5, entries, user=UserId(f"u{now % 3}"), stamp={"name": "n"}, now=now)
        assert decode_awareness(encode_awareness(change.changed)) == change.changed
        assert all('"name":"n"' in entry.state for entry in change.changed if entry.state)
        if now % 7 == 0:
            room.leave(now % 5, now)
            room.expire(now)
            room.flush(now)
