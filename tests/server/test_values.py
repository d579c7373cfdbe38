"""The small pure parts: frames, throttle, origins, seeds, JSON views, folding."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment

from quorate_protocol.ids import DocumentName
from quorate_protocol.limits import Limits
from quorate_server.documents import LiveDocument
from quorate_server.folding import FoldedState, fold, state_hash, verify
from quorate_server.frames import frame_bytes
from quorate_server.kinds import kind_of
from quorate_server.origins import is_origin_allowed
from quorate_server.plain_views import render_json
from quorate_server.seeding import text_seed
from quorate_server.settings import Settings
from quorate_server.throttles import Throttle


@given(st.integers(0, 70_000))
def test_a_frame_is_what_websockets_writes(size: int) -> None:
    from websockets.frames import Frame, Opcode  # noqa: PLC0415

    payload = bytes(size)
    assert frame_bytes(payload) == Frame(Opcode.BINARY, payload).serialize(mask=False)


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    limits = Limits(updates_per_second=10, update_bytes_per_second=1_000_000, burst_seconds=2)
    throttle = Throttle(limits, now=0.0)
    pauses = [throttle.take(1, 10, now=0.0) for _ in range(25)]
    assert pauses[:20] == [0.0] * 20
    assert pauses[24] == pytest.approx(0.5)
    assert throttle.take(1, 10, now=10.0) == 0.0


def test_bytes_are_throttled_too() -> None:
    throttle = Throttle(Limits(update_bytes_per_second=1000, burst_seconds=1), now=0.0)
    assert throttle.take(1, 3000, now=0.0) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("origin", "settings", "allowed"),
    [
        (None, Settings(open=True), True),
        ("http://localhost:3000", Settings(open=True), True),
        ("https://evil.example", Settings(open=True), False),
        ("null", Settings(open=True), False),
        ("https://evil.example", Settings(secret="x" * 32), True),
        ("https://a.example", Settings(allowed_origins="https://a.example, https://b.example"), True),
        ("https://c.example", Settings(allowed_origins="https://a.example"), False),
    ],
)
def test_which_pages_may_open_a_socket(origin: str | None, settings: Settings, *, allowed: bool) -> None:
    headers = [] if origin is None else [(b"origin", origin.encode())]
    assert is_origin_allowed({"headers": headers}, settings) is allowed


def test_a_seed_is_the_same_bytes_each_time_and_merges_to_one_text() -> None:
    assert text_seed("hello") == text_seed("hello")
    merged = LiveDocument([text_seed("hello"), text_seed("hello")])
    assert render_json(merged.encode()) == {"text": "hello"}
    merged.close()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("plan/x", "plan"), ("plan/", "text"), ("plan", "text"), ("notes/x", "text"), ("code/a/b", "code")],
)  # fmt: skip
def test_the_kind_is_in_the_name(name: str, kind: str) -> None:
    assert kind_of(DocumentName(name)) == kind


def test_every_kind_of_root_is_shown_as_what_it_looks_like() -> None:
    doc: Doc[Any] = Doc()
    doc["text"] = Text("hi")
    doc["list"] = Array([1, {"a": [True, None]}])
    doc["map"] = Map({"k": "v"})
    doc["xml"] = XmlFragment([XmlElement("p")])
    assert render_json(doc.get_update()) == {
        "text": "hi", "list": [1.0, {"a": [True, None]}], "map": {"k": "v"}, "xml": "<p></p>",
    }  # fmt: skip


def test_a_fold_that_lost_something_does_not_verify() -> None:
    updates = [text_seed("hello")]
    folded = fold(updates)
    assert verify(updates, folded)
    assert not verify(updates, FoldedState(state=b"\x00\x00"))
    assert not verify(updates, FoldedState(state=text_seed("hellp")))
    assert not verify([*updates, b"\x01\x01\x05\x07\x04\x01\x04text\x01x\x00"], folded)


def test_equal_documents_have_equal_hashes_whatever_their_encoding() -> None:
    doc: Doc[Any] = Doc(client_id=3)
    text = doc.get("text", type=Text)
    for letter in "hello":
        text += letter
    split = doc.get_update()
    assert state_hash(split) == state_hash(fold([split]).state)
    text += "!"
    assert state_hash(split) != state_hash(doc.get_update())


def test_a_panic_survives_the_way_from_a_child_process() -> None:
    import pickle  # noqa: PLC0415

    from quorate_server.errors import EnginePanic  # noqa: PLC0415

    panic = pickle.loads(pickle.dumps(EnginePanic((b"x",), "it broke")))
    assert (panic.suspects, str(panic)) == ((b"x",), "it broke")
