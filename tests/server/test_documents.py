"""The live document: what it gives to the engine, and what never reaches it."""

from __future__ import annotations

import random
from contextlib import closing
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text

from quorate_protocol.dividing import divide
from quorate_protocol.ids import ClientId
from quorate_protocol.state_vectors import decode_state_vector
from quorate_server.documents import TRIED_BYTES, LiveDocument
from quorate_server.errors import MalformedUpdate
from quorate_server.folding import state_hash
from quorate_server.plain_views import render_json


def test_values_and_types_nested_too_deeply_never_reach_the_engine() -> None:
    live = LiveDocument(nesting_levels=50)
    deep_value = b"\x01\x01\x05\x00\x08\x01\x01a\x01" + b"\x75\x01" * 100_000 + b"\x7e\x00"
    assert live.apply([deep_value]).malformed == (0,)
    doc: Doc[Any] = Doc()
    made: list[bytes] = []
    subscription = doc.observe(lambda event: made.append(event.update))
    current = doc.get("a", type=Array)
    for _ in range(60):
        current.append(Array())
        current = current[0]
    doc.unobserve(subscription)
    refused = [position for position, update in enumerate(made) if live.apply([update]).malformed]
    assert refused[0] == 50
    side_by_side: Doc[Any] = Doc()
    items = side_by_side.get("b", type=Array)
    for _ in range(60):
        items.append(Map())
    assert not live.apply([side_by_side.get_update()]).malformed
    live.close()


def test_covering_many_deletions_is_quick() -> None:
    """A viewer may send a step 2 of many deletions: 20,000 against 2,000 ranges took eight seconds once."""
    doc: Doc[Any] = Doc(client_id=5)
    text = doc.get("text", type=Text)
    text += "ab" * 2000
    for position in range(2000):
        del text[position : position + 1]
    live = LiveDocument([doc.get_update()])
    many = b"\x00\x01\x05" + b"\xa0\x9c\x01" + b"\x01\x01" * 20_000
    assert live.covers(doc.get_update())
    assert not live.covers(many)
    live.close()


def test_what_the_engine_would_corrupt_its_memory_over_is_never_parked_in_it() -> None:
    """A run behind a gap, then the same run whole: yrs 0.28 ended the process, when another client had written."""
    other = b"\x01\x01\x09\x00\x04\x01\x04text\x03aaa\x00"
    behind_a_gap = b"\x01\x01\x07\x02\x01\x01\x04text\x01\x00"
    whole = b"\x01\x02\x07\x00\x01\x01\x04text\x01\x84\x07\x00\x02bb\x00"
    live = LiveDocument()
    assert live.apply([other]).update == other
    assert live.apply([behind_a_gap]).parked == (behind_a_gap,)
    assert live.apply([whole]).update
    assert live.release_waiting() == ((behind_a_gap,), b"")
    assert render_json(live.encode()) == {"text": "bbaaa"}
    live.close()


@pytest.mark.parametrize("seed", range(20))
def test_updates_in_any_order_come_to_the_same_and_each_takes_effect_as_soon_as_it_can(seed: int) -> None:
    rng = random.Random(seed)
    docs: list[Doc[Any]] = [Doc(client_id=number) for number in (1, 2, 3)]
    made: list[bytes] = []
    for _ in range(40):
        doc = rng.choice(docs)
        subscription = doc.observe(lambda event: made.append(event.update))
        text = doc.get("text", type=Text)
        if len(text) > 3 and rng.random() < 0.3:
            del text[1:3]
        else:
            text.insert(rng.randint(0, len(text)), rng.choice(["a", "bc", "def"]))
        doc.unobserve(subscription)
        if rng.random() < 0.4:
            one, two = rng.sample(docs, 2)
            one.apply_update(two.get_update(one.get_state()))
    shuffled = rng.sample(made, len(made))
    live = LiveDocument()
    for update in shuffled:
        live.apply([update])
        live.release_waiting()
        known = decode_state_vector(live.state_vector())
        assert all(not divide(waits, known).is_stale(known) for waits in live.waiting)
    assert not live.waiting
    with closing(LiveDocument(made)) as in_order:
        assert state_hash(live.encode()) == state_hash(in_order.encode())
    live.close()


def test_many_that_wait_for_each_other_in_the_worst_order_are_released_at_once() -> None:
    """Each waits for the one that was sent after it: 5,000 passes over 5,000 updates, without care."""
    doc: Doc[Any] = Doc(client_id=5)
    made: list[bytes] = []
    subscription = doc.observe(lambda event: made.append(event.update))
    text = doc.get("text", type=Text)
    for _ in range(5000):
        text += "a"
    doc.unobserve(subscription)
    live = LiveDocument()
    for update in reversed(made[1:]):
        assert live.apply([update]).parked
    live.apply([made[0]])
    released, emitted = live.release_waiting()
    assert set(released) == set(made[1:])
    assert emitted
    assert render_json(live.encode()) == {"text": "a" * 5000}
    live.close()


def _long_text() -> bytes:
    """Return an update that is large enough to be tried unread."""
    doc: Doc[Any] = Doc(client_id=5)
    text = doc.get("text", type=Text)
    text += "word " * TRIED_BYTES
    return doc.get_update()


def test_a_large_stored_update_is_loaded_without_being_read() -> None:
    """What the engine says was new is the update itself, and what is known is as if it had been read."""
    stored = _long_text()
    with closing(LiveDocument([stored])) as live:
        assert live.encode() == stored
        assert live.knows(ClientId(5), 5 * TRIED_BYTES)
        assert live.version == 1


def test_a_large_stored_update_that_builds_on_what_is_missing_waits() -> None:
    """It was parked when it came first, and the engine does not keep it now either."""
    doc: Doc[Any] = Doc(client_id=5)
    text = doc.get("text", type=Text)
    text += "before"
    known = doc.get_state()
    text += "word " * TRIED_BYTES
    late = doc.get_update(known)
    with closing(LiveDocument([late])) as live:
        assert live.waiting == (late,)
        assert live.encode() == b"\x00\x00"
        assert not live.knows(ClientId(5), 1)


@pytest.mark.parametrize("damage", [b"\xff", b"\x80" * 12])
def test_a_large_stored_update_that_is_damaged_is_named_as_such(damage: bytes) -> None:
    """The engine cannot read it, and neither can we: the load fails, and nothing else."""
    stored = _long_text()
    with pytest.raises(MalformedUpdate, match="stored"):
        LiveDocument([damage + stored[len(damage) :]])
