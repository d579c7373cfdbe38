"""What is compiled says exactly what its reference in Python says, of sound input and of damaged."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment
from websockets.frames import Frame, Opcode

from quorate_protocol import _speedups, bursts, bursts_in_python
from quorate_protocol.ids import ClientId
from quorate_protocol.state_vectors import decode_state_vector
from quorate_protocol.varints import write_var_bytes
from quorate_server.folding import state_hash
from tests.fuzz.mutations import mutate

PREFIX = b"\x01a\x00\x02"
ASCII = ("a", "word", "x" * 200)
WIDE = ("häß", "日本語", "😀 wide")


def edit(doc: Doc[Any], source: random.Random) -> None:
    """Change something: mostly text, and sometimes each other thing that an update can hold."""
    text, rich = doc.get("text", type=Text), doc.get("rich", type=Text)
    what = source.random()
    if what < 0.5:
        text.insert(source.randint(0, len(text)) if source.random() < 0.5 else len(text), source.choice(ASCII))
    elif what < 0.6:
        rich.insert(0, source.choice(WIDE))
    elif what < 0.75 and len(text):
        del text[source.randrange(len(text))]
    elif what < 0.8 and len(rich):
        rich.format(0, 1, {"bold": source.choice([True, None, "é"])})
    elif what < 0.85:
        rich.insert_embed(0, {"image": source.choice(WIDE)})
    elif what < 0.9:
        doc.get("map", type=Map)[source.choice("abc")] = source.choice([1, None, 2.5, b"bytes", [1, {"a": []}], "ü"])
    elif what < 0.95:
        doc.get("list", type=Array).append(source.choice([7, "x", [[]], {"k": 1}]))
    else:
        doc.get("xml", type=XmlFragment).children.append(XmlElement("p"))


def conversation(source: random.Random) -> tuple[list[bytes], list[dict[ClientId, int]]]:
    """Return updates of up to three people on one document, and what was known before each."""
    docs: list[Doc[Any]] = [Doc(client_id=number) for number in source.sample([5, 300, 70_000, 3_000_000_001], 3)]
    made: list[bytes] = []
    subscriptions = [doc.observe(lambda event: made.append(event.update)) for doc in docs]
    updates: list[bytes] = []
    known: list[dict[ClientId, int]] = []
    for _ in range(source.randint(1, 25)):
        doc = source.choice(docs[: source.randint(1, 3)])
        known.append(decode_state_vector(docs[0].get_state()))
        made.clear()
        edit(doc, source)
        update = b"".join(made[:1]) or b"\x00\x00"
        updates.append(update)
        if source.random() < 0.8:
            for other in docs:
                other.apply_update(update)
    for doc, subscription in zip(docs, subscriptions, strict=True):
        doc.unobserve(subscription)
    return updates, known


def check_measures(source: random.Random, count: int) -> dict[str, int]:
    """Compare what both say of bursts; return how often they said what."""
    said = {"ends": 0, "none": 0, "left to Python": 0}
    others: list[bytes] = [b"\x00\x00"]
    done = 0
    while done < count:
        updates, known = conversation(source)
        others = [*others, *updates][-200:]
        for start in range(len(updates)):
            burst = updates[start : start + source.randint(1, 6)]
            if source.random() < 0.6:
                at = source.randrange(len(burst))
                burst[at] = mutate(burst[at], source, others)
            before = known[start] if source.random() < 0.9 else known[source.randrange(len(known))]
            expected = bursts_in_python.measure_burst(list(burst), dict(before))
            got = _speedups.measure_burst(list(burst), {int(client): end for client, end in before.items()})
            where = f"{[update.hex() for update in burst]} after {before}"
            if got is NotImplemented:
                said["left to Python"] += 1
            else:
                assert got == expected, where
                said["none" if got is None else "ends"] += 1
            done += 1
    return said


def typing(source: random.Random) -> tuple[Doc[Any], list[bytes]]:
    """Return a document of two people, and what one of them then types in a row, somewhere in it."""
    doc: Doc[Any] = Doc(client_id=source.choice([5, 70_000, 3_000_000_001]))
    text = doc.get("text", type=Text)
    other: Doc[Any] = Doc(client_id=9)
    for _ in range(source.randint(0, 4)):
        edit(doc, source)
        edit(other, source)
        other.apply_update(doc.get_update())
        doc.apply_update(other.get_update())
    before: Doc[Any] = Doc(client_id=1)
    before.apply_update(doc.get_update())
    made: list[bytes] = []
    subscription = doc.observe(lambda event: made.append(event.update))
    with doc.transaction():
        text += "."
    at = source.randint(0, len(str(text).encode()))
    at = len(str(text).encode()[:at].decode(errors="ignore").encode())
    for _ in range(source.randint(1, 8)):
        typed = source.choice([*ASCII, *WIDE])
        text.insert(at, typed)
        at += len(typed.encode())
    doc.unobserve(subscription)
    before.apply_update(made.pop(0))
    return before, made


def check_typing(source: random.Random, count: int) -> dict[str, int]:
    """Compare what both join, with each other and with what the updates say one by one; return how often which."""
    said = {"joined": 0, "none": 0}
    others: list[bytes] = [b"\x00\x00"]
    for _ in range(count):
        before, made = typing(source)
        others = [*others, *made][-200:]
        if source.random() < 0.4:
            at = source.randrange(len(made))
            made[at] = mutate(made[at], source, others)
        expected = bursts_in_python.join_typing(list(made))
        got = _speedups.join_typing(list(made))
        where = str([update.hex() for update in made])
        assert got == expected, where
        said["none" if got is None else "joined"] += 1
        if got is None:
            continue
        known = decode_state_vector(before.get_state())
        ends = bursts_in_python.measure_burst(list(made), dict(known))
        if ends is None or known.get(ClientId(got[0]), 0) != got[1]:
            continue
        together: Doc[Any] = Doc(client_id=2)
        together.apply_update(before.get_update())
        together.apply_update(got[2])
        for update in made:
            before.apply_update(update)
        assert decode_state_vector(together.get_state()) == known | ends, where
        assert str(together.get("text", type=Text)) == str(before.get("text", type=Text)), where
        assert state_hash(together.get_update()) == state_hash(before.get_update()), where
    return said


def frame_of(message: bytes, source: random.Random) -> bytes:
    opcode = Opcode.BINARY if source.random() < 0.95 else source.choice([Opcode.TEXT, Opcode.PING, Opcode.CONT])
    if opcode is Opcode.PING:
        return Frame(opcode, message[:125]).serialize(mask=True)
    return Frame(opcode, message, source.random() < 0.97).serialize(mask=source.random() < 0.98)


def check_frames(source: random.Random, count: int) -> None:
    others: list[bytes] = [b"\x82\x80\x00\x00\x00\x00"]
    for _ in range(count):
        sizes = [source.choice([0, 1, 3, 40, 125, 126, 300, 70_000]) for _ in range(source.randint(1, 5))]
        stream = b"".join(frame_of(source.randbytes(size), source) for size in sizes)
        others = [*others, stream[:1000]][-50:]
        if source.random() < 0.5:
            stream = mutate(stream, source, others)
        max_bytes = source.choice([1 << 62, 1 << 16, 200, 0])
        assert _speedups.read_plain_frames(stream, max_bytes) == bursts_in_python.read_plain_frames(stream, max_bytes)


def check_messages(source: random.Random, count: int) -> None:
    for _ in range(count):
        messages = [PREFIX + write_var_bytes(source.randbytes(source.choice([0, 1, 50, 127, 128, 400]))) for _ in "abc"]
        if source.random() < 0.7:
            at = source.randrange(3)
            messages[at] = mutate(messages[at], source, messages)
        start, max_bytes = source.randrange(3), source.choice([1 << 20, 140, 10])
        expected = bursts_in_python.read_updates(PREFIX, messages, start, max_bytes)
        assert _speedups.read_updates(PREFIX, messages, start, max_bytes) == expected


def test_bursts_are_measured_alike(cases: int, rng: random.Random) -> None:
    said = check_measures(rng, 3 * cases)

    assert min(said.values()) > cases // 100, said  # each verdict was met


def test_what_is_typed_in_a_row_is_joined_alike_and_says_the_same(cases: int, rng: random.Random) -> None:
    said = check_typing(rng, cases // 8)

    assert min(said.values()) > cases // 80, said


def test_frames_and_messages_are_read_alike(cases: int, rng: random.Random) -> None:
    check_frames(rng, cases)
    check_messages(rng, cases)


@pytest.mark.soak
@pytest.mark.timeout(5400)
def test_a_million_bursts_are_measured_alike(rng: random.Random) -> None:
    said = check_measures(rng, 1_000_000)
    check_frames(rng, 100_000)
    check_messages(rng, 200_000)
    joined = check_typing(rng, 50_000)
    print("1,000,000 bursts:", said, "50,000 of typing:", joined)  # noqa: T201


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("read_plain_frames", ("text", 1)),
        ("read_plain_frames", (b"",)),
        ("read_plain_frames", (b"", "x")),
        ("read_updates", (b"", (), 0, 1)),
        ("read_updates", (b"", [], "x", 1)),
        ("measure_burst", ((), {})),
        ("measure_burst", (["text"], {})),
        ("measure_burst", ([], [])),
        ("join_typing", ((),)),
        ("join_typing", (["text"],)),
        ("join_typing", ([], [])),
    ],
)
def test_what_is_compiled_is_strict_about_types(function: str, arguments: Sequence[object]) -> None:
    with pytest.raises(TypeError):
        getattr(_speedups, function)(*arguments)


def test_it_is_the_compiled_form_that_is_used() -> None:
    assert vars(bursts)["compiled"] is _speedups


def test_without_it_python_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bursts, "compiled", None)
    update = bytes.fromhex("01010100040101740161 00")
    frame = Frame(Opcode.BINARY, PREFIX + write_var_bytes(update)).serialize(mask=True)
    messages, end = bursts.read_plain_frames(frame + b"\x82", 1 << 20)

    assert end == len(frame)
    assert bursts.read_updates(PREFIX, messages, 0, 1 << 20) == [update]
    assert bursts.measure_burst([update], {}) == {1: 1}
    letters = [bytes.fromhex("01010101 840100 0161 00"), bytes.fromhex("01010102 840101 026263 00")]
    assert bursts.join_typing(letters) == (1, 1, bytes.fromhex("01010101 840100 03616263 00"))
    assert bursts.join_typing([update]) is None
