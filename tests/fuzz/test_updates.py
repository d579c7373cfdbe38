"""Updates as Yjs and yrs emit them, read by Yjs and by us; and updates that nobody emits."""

import itertools
import random
import tracemalloc
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from quorate_protocol.errors import RemoteProtocolError
from quorate_protocol.state_vectors import decode_state_vector
from quorate_protocol.updates import (
    DecodedUpdate,
    decode_update,
    is_covered,
    measure_update,
    update_ends,
)
from tests.fuzz.listings import ours, theirs
from tests.fuzz.mutations import mutate
from tests.fuzz.refusals import attempt
from tests.peers.node import Oracle

_SEEDS_A_REQUEST = 20


def _sessions(oracle: Oracle, first: int, count: int) -> Iterator[dict[str, Any]]:
    for start in range(first, first + count, _SEEDS_A_REQUEST):
        seeds = list(range(start, min(start + _SEEDS_A_REQUEST, first + count)))
        yield from oracle.ask("documents", seeds=seeds)


def _ends(update: DecodedUpdate) -> dict[int, int]:
    ends: dict[int, int] = {}
    for each in update.structs:
        if each.kind != "skip" and each.length:
            ends[each.client] = max(ends.get(each.client, 0), each.clock + each.length)
    return ends


def test_yjs_updates_list_alike(oracle: Oracle, cases: int, seed: int) -> None:
    for case in _sessions(oracle, seed, cases // 4):
        update = bytes.fromhex(case["update"])
        where = f"seed {case['seed']}, update {case['update']}"

        decoded = decode_update(update)

        assert ours(decoded) == theirs(case["listing"]), where
        assert update_ends(update) == _ends(decoded), where


def test_ends_are_those_of_yjs(oracle: Oracle, cases: int, seed: int) -> None:
    """Yjs counts a trailing gap as an end, so only updates without gaps are compared."""
    for case in _sessions(oracle, seed + 100_000, cases // 10):
        update = bytes.fromhex(case["update"])
        if any(each.kind == "skip" for each in decode_update(update).structs):
            continue
        assert update_ends(update) == dict(case["ends"]), f"seed {case['seed']}"


def test_every_kind_of_content_occurs(oracle: Oracle, seed: int) -> None:
    """The generator must not silently stop writing what the tests above are for."""
    seen = {
        each.content or each.kind
        for case in _sessions(oracle, seed, 100)
        for each in decode_update(bytes.fromhex(case["update"])).structs
    }

    types = {"array", "map", "text", "xml-element", "xml-fragment", "xml-hook", "xml-text"}
    assert seen >= {"any", "binary", "deleted", "doc", "embed", "format", "string", "gc", "skip"}
    assert seen >= {f"type:{name}" for name in types}


def _random_pycrdt_updates(rng: random.Random) -> list[bytes]:
    updates: list[bytes] = []
    doc: Doc[Any] = Doc()
    doc.observe(lambda event: updates.append(event.update))
    text = doc.get("text", type=Text)
    array = doc.get("array", type=Array)
    mapping = doc.get("map", type=Map)
    xml = doc.get("xml", type=XmlFragment)
    for _ in range(rng.randint(3, 15)):
        at = rng.randint(0, len(array))
        value = rng.choice((1, 1.5, True, None, "é😀", [1, {"a": "b"}], b"\x00\xff", 2**52))
        kind = rng.randrange(7)
        if kind == 0:
            text.insert(0, rng.choice(("a", "é", "😀b", "word")), {"bold": True})
        elif kind == 1 and str(text):
            # yrs counts bytes of UTF-8, and breaks when cut inside of a character.
            del text[0 : len(str(text)[0].encode())]
        elif kind == 2:
            array.insert(at, value)
        elif kind == 3:
            array.insert(at, rng.choice((Text("t"), Array([1]), Map({"k": "v"}), Doc())))
        elif kind == 4:
            mapping[rng.choice(("k", "ключ"))] = value
        elif kind == 5:
            xml.children.insert(0, rng.choice((XmlElement("p", {"class": "x"}), XmlText("hi"))))
        elif len(array):
            del array[0]
    return [*updates, doc.get_update()]


def test_yrs_updates_list_alike(oracle: Oracle, cases: int, rng: random.Random) -> None:
    updates = [update for _ in range(cases // 10) for update in _random_pycrdt_updates(rng)]

    for start in range(0, len(updates), 100):
        batch = updates[start : start + 100]
        answers = oracle.ask("listings", updates=[each.hex() for each in batch])
        for update, answer in zip(batch, answers, strict=True):
            assert "error" not in answer, update.hex()
            assert ours(decode_update(update)) == theirs(answer["value"]), update.hex()


def test_an_applied_update_is_covered(cases: int, rng: random.Random) -> None:
    """What yrs applied whole is within its state vector; what it parked is not."""
    for _ in range(cases // 10):
        updates = _random_pycrdt_updates(rng)[:-1]
        whole: Doc[Any] = Doc()
        for update in updates:
            whole.apply_update(update)
            assert is_covered(update, decode_state_vector(whole.get_state())), update.hex()
        parking: Doc[Any] = Doc()
        for update in updates[1:]:
            parking.apply_update(update)
        known = decode_state_vector(parking.get_state())
        content = [update for update in updates[1:] if update_ends(update)]
        if not known and content:
            assert not is_covered(content[-1], known), content[-1].hex()


def _read_all(update: bytes) -> DecodedUpdate | None:
    """Read an update in every way; the ways must agree on whether it is one."""
    decoded = attempt(partial(decode_update, update))
    if decoded is None:
        for reader in (update_ends, measure_update):
            assert attempt(partial(reader, update)) is None
        return None
    assert update_ends(update) == _ends(decoded)
    assert is_covered(update, {**update_ends(update), **_merged(update)})
    return decoded


def _merged(update: bytes) -> dict[Any, int]:
    ends, deleted = update_ends(update), measure_update(update).delete_ends
    return {client: max(ends.get(client, 0), end) for client, end in deleted.items()}


def test_damaged_updates_are_refused_or_read_as_yjs_reads_them(
    oracle: Oracle, cases: int, seed: int, rng: random.Random
) -> None:
    sound = [bytes.fromhex(case["update"]) for case in _sessions(oracle, seed, 20)]
    sound = [update for update in sound if len(update) < 2000]
    damaged = [mutate(rng.choice(sound), rng, sound) for _ in range(cases * 5)]
    accepted: list[tuple[bytes, DecodedUpdate]] = []
    for update in damaged:
        decoded = _read_all(update)
        if decoded is not None:
            assert len(decoded.structs) + len(decoded.deletes) <= len(update)
            accepted.append((update, decoded))

    assert accepted
    for start in range(0, len(accepted), 200):
        batch = accepted[start : start + 200]
        answers = oracle.ask("listings", updates=[update.hex() for update, _ in batch])
        for (update, decoded), answer in zip(batch, answers, strict=True):
            if "value" in answer:
                assert ours(decoded) == theirs(answer["value"]), update.hex()


@pytest.mark.parametrize("kind", range(1, 10))
def test_announced_lengths_allocate_nothing(kind: int) -> None:
    """Whatever number stands for a length, memory is bounded by the size of the update."""
    numbers = (b"\x0f", b"\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\xff\xff\xff\x0f")
    tracemalloc.start()
    try:
        for number, tag in itertools.product(numbers, range(110, 128)):
            update = b"\x01\x01\x01\x00" + bytes((kind,)) + b"\x01\x01m" + number + bytes((tag,))
            for reader in (decode_update, update_ends):
                with pytest.raises(RemoteProtocolError):
                    reader(update + number)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
