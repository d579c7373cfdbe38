"""Outlines: where operations sit, and which updates fit the kind of an artifact."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text, UndoManager, XmlElement, XmlFragment, XmlText

from quorate_protocol.dividing import divide
from quorate_protocol.errors import MalformedFrame
from quorate_protocol.ids import ClientId
from quorate_protocol.parents import ParentFinder
from quorate_protocol.state_vectors import decode_state_vector
from quorate_protocol.updates import EMPTY_UPDATE, decode_update, measure_update
from quorate_server.outlines import Judgement, Outline
from quorate_server.shapes import ANY, TEXT, VALUE, XML, Field, Kind, ListShape, MapShape, Root
from tests.fuzz.mutations import mutate

_ITEM = MapShape("Item", (Field("title", VALUE, ""), Field("source", TEXT, ""), Field("tags", ListShape(VALUE), "")))

KIND = Kind(
    "sample",
    "Sample",
    "Every shape.",
    (
        Root("text", TEXT, guarded=True, summary=""),
        Root("xml", XML, guarded=True, summary=""),
        Root("items", ListShape(_ITEM), guarded=True, summary=""),
        Root(
            "map", MapShape("Head", (Field("body", TEXT, ""), Field("part", XML, "")), VALUE), guarded=True, summary=""
        ),
        Root("strict", MapShape("Strict", (Field("a", VALUE, ""), Field("b", TEXT, ""))), guarded=True, summary=""),
        Root("any", MapShape(rest=ANY), guarded=False, summary=""),
        Root("comments", MapShape(rest=_ITEM), guarded=False, summary="", is_discussion=True),
    ),
)


class Writer:
    """A client whose edits are judged one by one by an outline that knows nothing else."""

    def __init__(self, client: int = 7) -> None:
        self.doc: Doc[Any] = Doc(client_id=client)
        self.outline = Outline(KIND)

    def root(self, name: str, kind: type[Any]) -> Any:
        return self.doc.get(name, type=kind)

    def edit(self, edit: Callable[[], object]) -> Judgement:
        made: list[bytes] = []
        subscription = self.doc.observe(lambda event: made.append(event.update))
        with self.doc.transaction():
            edit()
        self.doc.unobserve(subscription)
        [update] = made
        return self.outline.judge(update, measure_update(update))


def judge(outline: Outline, update: bytes) -> Judgement:
    return outline.judge(update, measure_update(update))


def fits(*roots: str) -> Judgement:
    return Judgement(None, frozenset(roots))


def _attempt(name: str, kind: type[Any], edit: Callable[[Any], object]) -> Judgement:
    writer = Writer()
    shared = writer.root(name, kind)
    return writer.edit(lambda: edit(shared))


@pytest.mark.parametrize(
    ("name", "kind", "edit"),
    [
        ("text", Text, lambda t: t.insert(0, "hé", {"bold": True})),
        ("text", Text, lambda t: t.insert_embed(0, {"image": "x"})),
        ("xml", XmlFragment, lambda x: x.children.append(XmlElement("p", {"a": "b"}, [XmlText("hi")]))),
        ("items", Array, lambda a: a.append(Map({"title": 1, "source": Text("x"), "tags": Array([1, "b"])}))),
        ("map", Map, lambda m: m.update({"free": [1, {"a": b"x"}], "body": Text("x"), "part": XmlFragment()})),
        ("strict", Map, lambda m: m.update({"a": None, "b": Text("x")})),
        ("any", Map, lambda m: m.update({"a": 1, "b": Array([Map({"c": Text("x")}), b"\x00"])})),
        ("comments", Map, lambda m: m.update({"c1": Map({"title": "hi"})})),
    ],
)
def test_what_fits_the_shape_is_no_fault(name: str, kind: type[Any], edit: Callable[[Any], object]) -> None:
    assert _attempt(name, kind, edit) == fits(name)


@pytest.mark.parametrize(
    ("name", "kind", "edit", "fault"),
    [
        ("stray", Text, lambda t: t.insert(0, "x"), "expected one of the root types text, xml, items, map, strict"),
        ("stray", Text, lambda t: t.insert(0, "x"), "'stray' came"),
        ("text", Map, lambda m: m.update({"k": 1}), "expected characters in text; an entry 'k' came"),
        ("text", Array, lambda a: a.append(1), "expected characters in text; a JSON value came"),
        ("text", Array, lambda a: a.append(Map()), "expected characters in text; a map (Y.Map) came"),
        ("xml", Text, lambda t: t.insert(0, "x"), "expected XML elements and texts in xml; characters came"),
        ("items", Map, lambda m: m.update({"k": 1}), "expected items without a key in items; an entry 'k' came"),
        ("items", Text, lambda t: t.insert(0, "x"), "expected a map (Y.Map) in items[]; characters came"),
        ("items", Array, lambda a: a.append(1), "expected a map (Y.Map) in items[]; a JSON value came"),
        ("items", Array, lambda a: a.append(Array()), "expected a map (Y.Map) in items[]; a list (Y.Array) came"),
        ("items", Array, lambda a: a.append(Map({"n": 1})), "the fields title, source, tags in items[]; an entry 'n'"),
        ("items", Array, lambda a: a.append(Map({"source": "x"})), "a text (Y.Text) in items[].source; a JSON value"),
        ("items", Array, lambda a: a.append(Map({"tags": Array([Map()])})), "expected a JSON value in items[].tags[]"),
        ("map", Array, lambda a: a.append(1), "expected entries with a key in map; items without a key came"),
        ("map", Map, lambda m: m.update({"free": Text("x")}), "expected a JSON value in map.free; a text (Y.Text)"),
        ("map", Map, lambda m: m.update({"body": Array()}), "expected a text (Y.Text) in map.body; a list (Y.Array)"),
        ("strict", Map, lambda m: m.update({"c": 1}), "expected one of the fields a, b in strict; an entry 'c' came"),
        (
            "any",
            Map,
            lambda m: m.update({"d": Doc()}),
            "expected a JSON value or a shared type in any.d; a subdocument",
        ),
        ("strict", Map, lambda m: m.update({"x" * 99: 1}), f"an entry '{'x' * 40}...' came"),
    ],
)
def test_a_fault_says_what_was_expected_and_what_came(
    name: str, kind: type[Any], edit: Callable[[Any], object], fault: str
) -> None:
    judgement = _attempt(name, kind, edit)

    assert judgement.fault is not None
    assert judgement.fault.startswith("Sample: ")
    assert fault in judgement.fault
    assert judgement.roots == {name}


def test_typing_goes_on_where_it_began() -> None:
    writer = Writer()
    text = writer.root("text", Text)
    assert writer.edit(lambda: text.insert(0, "a")) == fits("text")
    for _ in range(3):
        assert writer.edit(lambda: text.insert(1, "b")) == fits("text")
    for _ in range(3):
        assert writer.edit(lambda: text.insert(len(text), "c")) == fits("text")
    assert {writer.outline.container_of(ClientId(7), clock) for clock in range(7)} == {"text"}
    assert writer.outline.container_of(ClientId(7), 7) is None


def test_typing_in_a_stray_root_stays_a_fault() -> None:
    writer = Writer()
    stray = writer.root("stray", Text)
    faults = {writer.edit(lambda: stray.insert(len(stray), "a")).fault for _ in range(3)}
    assert len(faults) == 1
    assert None not in faults


def test_what_is_inside_of_something_refused_is_refused_too() -> None:
    writer = Writer()
    text = Text("x")
    assert writer.edit(lambda: writer.root("strict", Map).update({"a": text})).fault
    fault = writer.edit(lambda: text.insert(1, "y")).fault
    assert fault == "Sample: nothing was expected in strict.a; characters came."


def test_a_new_value_of_a_field_takes_its_place_by_its_neighbour() -> None:
    """Yjs writes no key where it names the entry that is replaced."""
    writer = Writer()
    strict = writer.root("strict", Map)
    assert writer.edit(lambda: strict.update({"b": Text("x")})) == fits("strict")
    assert writer.edit(lambda: strict.update({"b": Text("y")})) == fits("strict")
    fault = writer.edit(lambda: strict.update({"b": 1})).fault
    assert fault == "Sample: expected a text (Y.Text) in strict.b; a JSON value came."


def test_a_deletion_is_known_by_what_it_deletes_and_only_once() -> None:
    writer = Writer()
    text, items = writer.root("text", Text), writer.root("items", Array)
    writer.edit(lambda: text.insert(0, "abcdef"))
    writer.edit(lambda: items.append(Map({"source": Text("x")})))

    def delete() -> None:
        del text[1:3]

    assert writer.edit(delete) == fits("text")
    state = writer.doc.get_update()
    assert judge(writer.outline, state) == fits()
    assert writer.edit(lambda: items.pop(0)) == fits("items")
    assert judge(writer.outline, writer.doc.get_update()) == fits()


def test_a_commenter_who_deletes_a_bit_elsewhere_is_seen() -> None:
    writer = Writer()
    text, comments = writer.root("text", Text), writer.root("comments", Map)
    writer.edit(lambda: text.insert(0, "abcdef"))

    def both() -> None:
        comments["c"] = Map({"title": "x"})
        del text[0:1]

    assert writer.edit(both) == fits("text", "comments")


def test_known_operations_are_not_judged_again() -> None:
    writer = Writer()
    writer.edit(lambda: writer.root("stray", Text).insert(0, "x"))
    assert judge(writer.outline, writer.doc.get_update()) == fits()


def test_of_an_update_that_is_known_in_part_the_rest_is_judged() -> None:
    outline = Outline(KIND)
    assert judge(outline, bytes.fromhex("01 01 07 00 04 01 04 74657874 02 6161 00")) == fits("text")
    assert judge(outline, bytes.fromhex("01 01 07 00 04 01 04 74657874 03 616161 00")) == fits("text")
    assert outline.container_of(ClientId(7), 2) == "text"


def test_clients_may_build_on_each_other_in_one_update() -> None:
    one: Doc[Any] = Doc(client_id=1)
    two: Doc[Any] = Doc(client_id=2)
    for turn in range(10):
        writer, reader = (one, two) if turn % 2 else (two, one)
        writer.get("text", type=Text).insert(turn // 2, "ab")
        reader.apply_update(writer.get_update(reader.get_state()))
    assert judge(Outline(KIND), one.get_update()) == fits("text")


@pytest.mark.parametrize(
    "update",
    [
        "01 01 07 05 04 01 04 74657874 01 61 00",  # behind a gap
        "01 01 07 00 84 09 00 01 61 00",  # after an operation that nobody has
        "01 01 07 00 84 07 00 01 61 00",  # after itself
        "01 01 07 00 84 07 01 01 61 00",  # after a later one of its own
        "01 01 07 00 24 00 09 00 01 6b 01 61 00",  # in an item that nobody has
        "02 01 07 00 84 09 00 01 61 01 09 00 84 07 00 01 61 00",  # each after the other
    ],
)
def test_what_cannot_be_reached_is_a_fault_and_is_not_learned(update: str) -> None:
    outline = Outline(KIND)
    fault = judge(outline, bytes.fromhex(update)).fault
    assert fault == "The update builds on edits that are not known here."
    assert outline.container_of(ClientId(7), 0) is None
    assert judge(outline, bytes.fromhex("01 01 07 00 04 01 04 74657874 01 61 00")) == fits("text")


def test_a_left_neighbour_places_an_item_as_in_both_engines() -> None:
    """The right one may lie in another root type: yrs and Yjs look at the left one first."""
    update = bytes.fromhex("01 03 05 00 04 01 04 74657874 01 61 04 01 03 616e79 01 62 c4 05 00 05 01 01 78 00")
    outline = Outline(KIND)
    outline.learn(update)
    assert outline.container_of(ClientId(5), 2) == "text"
    doc: Doc[Any] = Doc()
    doc.apply_update(update)
    assert str(doc.get("text", type=Text)) == "ax"


def test_an_item_in_what_was_removed_has_no_place_and_no_fault() -> None:
    """Engines drop it."""
    outline = Outline(KIND)
    outline.learn(bytes.fromhex("01 01 07 00 00 05 00"))
    assert judge(outline, bytes.fromhex("01 01 09 00 84 07 02 01 61 00")) == fits()
    assert judge(outline, bytes.fromhex("01 01 09 01 28 00 07 01 01 6b 01 7e 00")) == fits()


def test_what_was_judged_last_can_be_forgotten() -> None:
    writer = Writer()
    text = writer.root("text", Text)
    writer.edit(lambda: text.insert(0, "abcdef"))
    known = decode_state_vector(writer.doc.get_state())
    rival: Doc[Any] = Doc(client_id=9)
    rival.apply_update(writer.doc.get_update())
    del rival.get("text", type=Text)[0:2]
    rival.get("any", type=Map)["a"] = Map({"b": 1})
    rejected = rival.get_update(writer.doc.get_state())
    assert judge(writer.outline, rejected) == fits("text", "any")

    writer.outline.truncate(known)

    assert writer.outline.container_of(ClientId(9), 0) is None
    assert writer.outline.container_of(ClientId(7), 5) == "text"
    assert writer.edit(lambda: text.insert(6, "g")) == fits("text")
    assert judge(writer.outline, rejected) == fits("text", "any")
    assert judge(writer.outline, rejected) == fits()


def test_no_update_teaches_an_outline_what_is_malformed() -> None:
    with pytest.raises(MalformedFrame):
        Outline(KIND).learn(b"\x01")
    outline = Outline.of(KIND, EMPTY_UPDATE)
    assert outline.container_of(ClientId(1), 0) is None


# Against the whole state


_CLIENTS = 3


class Crowd:
    """Clients that edit real documents and exchange what they wrote; every update is kept."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.docs: list[Doc[Any]] = [Doc(client_id=number + 1) for number in range(_CLIENTS)]
        self.undos = [
            UndoManager(scopes=[doc.get("text", type=Text), doc.get("items", type=Array)], capture_timeout_millis=0)
            for doc in self.docs
        ]
        self.made: list[bytes] = []

    def step(self) -> None:
        rng = self.rng
        index = rng.randrange(_CLIENTS)
        doc = self.docs[index]
        if rng.random() < 0.3:
            other = rng.choice(self.docs)
            doc.apply_update(other.get_update(doc.get_state()))
            return
        subscription = doc.observe(lambda event: self.made.append(event.update))
        if rng.random() < 0.1 and self.undos[index].can_undo():
            self.undos[index].undo()
        else:
            rng.choice((_edit_text, _edit_items, _edit_map, _edit_xml, _edit_nested, _edit_stray))(doc, rng)
        doc.unobserve(subscription)


def _edit_any_text(text: Text, rng: random.Random) -> None:
    if len(text) > 3 and rng.random() < 0.4:
        start = rng.randrange(len(text) - 1)
        del text[start : start + rng.randint(1, 2)]
    else:
        text.insert(rng.randint(0, len(text)), rng.choice(("a", "bc", "word")))


def _edit_text(doc: Doc[Any], rng: random.Random) -> None:
    _edit_any_text(doc.get("text", type=Text), rng)


def _edit_items(doc: Doc[Any], rng: random.Random) -> None:
    items: Array[Any] = doc.get("items", type=Array)
    if len(items) and rng.random() < 0.3:
        del items[rng.randrange(len(items))]
        return
    item: Any = rng.choice((Map({"title": 1}), Map({"source": Text("x"), "tags": Array([1, 2])}), Array([Map()]), 5))
    items.insert(rng.randint(0, len(items)), item)


def _edit_map(doc: Doc[Any], rng: random.Random) -> None:
    shared: Map[Any] = doc.get("map", type=Map)
    key = rng.choice(("body", "free", "x"))
    if key in shared and rng.random() < 0.3:
        del shared[key]
    else:
        shared[key] = rng.choice((1, Text("x"), Map({"a": Map({"b": 1})}), None))


def _edit_xml(doc: Doc[Any], rng: random.Random) -> None:
    children = doc.get("xml", type=XmlFragment).children
    if len(children) and rng.random() < 0.3:
        del children[rng.randrange(len(children))]
    else:
        children.insert(rng.randint(0, len(children)), XmlElement("p", {"class": "x"}, [XmlText("hi")]))


def _edit_nested(doc: Doc[Any], rng: random.Random) -> None:
    items: Array[Any] = doc.get("items", type=Array)
    nested = [item for item in items if isinstance(item, Map)]
    if nested:
        item = rng.choice(nested)
        if isinstance(item.get("source"), Text):
            _edit_any_text(item["source"], rng)
        else:
            item[rng.choice(("title", "source"))] = rng.choice((Text("y"), 2))


def _edit_stray(doc: Doc[Any], rng: random.Random) -> None:
    doc.get(rng.choice(("stray", "other")), type=Text).insert(0, "x")


def _places(outline: Outline, state: bytes) -> dict[tuple[int, int], object]:
    """Return where an outline puts each operation of a state that is not removed."""
    return {
        (struct.client, clock): outline.container_of(struct.client, clock)
        for struct in decode_update(state).structs
        if struct.kind == "item" and struct.content != "deleted"
        for clock in range(struct.clock, struct.clock + struct.length)
    }


def _expected(state: bytes) -> dict[tuple[int, int], object]:
    structs = decode_update(state).structs
    finder = ParentFinder(structs)
    return {
        (struct.client, clock): finder.parent_of(struct)
        for struct in structs
        if struct.kind == "item" and struct.content != "deleted"
        for clock in range(struct.clock, struct.clock + struct.length)
    }


def _feed(outline: Outline, updates: list[bytes]) -> Doc[Any]:
    """Judge updates in any order, each as soon as all that it builds on is there; return the document.

    What the engine emits says more: which of two concurrent entries under one key is gone.
    """
    doc: Doc[Any] = Doc()
    emitted: list[bytes] = []
    doc.observe(lambda event: emitted.append(event.update))
    waiting = updates
    while waiting:
        left: list[bytes] = []
        for update in waiting:
            known = decode_state_vector(doc.get_state())
            if divide(update, known).lacks:
                left.append(update)
                continue
            assert judge(outline, update).fault != "The update builds on edits that are not known here."
            doc.apply_update(update)
            if emitted:
                outline.learn(emitted.pop())
        assert len(left) < len(waiting)
        waiting = left
    return doc


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_every_live_item_sits_where_the_whole_state_says(seed: int, steps: int) -> None:
    rng = random.Random(seed)
    crowd = Crowd(rng)
    for _ in range(steps):
        crowd.step()
    outline = Outline(KIND)
    state = _feed(outline, rng.sample(crowd.made, len(crowd.made))).get_update()

    assert _places(outline, state) == _expected(state)
    assert _places(Outline.of(KIND, state), state) == _expected(state)
    assert judge(outline, state) == fits()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_an_update_is_faulted_and_named_alike_in_whole_and_in_parts(seed: int) -> None:
    rng = random.Random(seed)
    crowd = Crowd(rng)
    for _ in range(20):
        crowd.step()
    whole = Outline(KIND)
    parts = Outline(KIND)
    judgements = [judge(parts, update) for update in crowd.made if not divide(update, _known(parts)).lacks]
    if len(judgements) < len(crowd.made):
        return
    docs: Doc[Any] = Doc()
    for update in crowd.made:
        docs.apply_update(update)
    at_once = judge(whole, docs.get_update())
    assert at_once.roots >= {parent for parent in _expected(docs.get_update()).values() if isinstance(parent, str)}
    assert at_once.fault is None or any(each.fault for each in judgements)


def _known(outline: Outline) -> dict[ClientId, int]:
    return {client: line.end for client, line in outline._lines.items()}


@pytest.mark.parametrize("seed", range(8))
def test_nothing_that_is_an_update_breaks_an_outline(seed: int) -> None:
    rng = random.Random(seed)
    crowd = Crowd(rng)
    for _ in range(60):
        crowd.step()
    sound = [*crowd.made, crowd.docs[0].get_update()]
    outline = Outline(KIND)
    judged = 0
    for _ in range(1500):
        update = mutate(rng.choice(sound), rng, sound)
        try:
            extent = measure_update(update)
        except MalformedFrame:
            continue
        outline.judge(update, extent)
        judged += 1
        if rng.random() < 0.1:
            outline.truncate({client: end - rng.randrange(3) for client, end in _known(outline).items()})
    assert judged > 50


def test_deleting_in_many_pieces_is_quick() -> None:
    """Every second of 200,000 operations, then the others, in one update each: quadratic, without care."""
    count = 100_000
    outline = Outline(KIND)
    long = b"\x01\x01\x07\x00\x04\x01\x04text" + _var(2 * count) + b"a" * 2 * count + b"\x00"
    assert judge(outline, long) == fits("text")
    started = time.perf_counter()
    for first in (1, 0):
        ranges = b"".join(_var(clock) + b"\x01" for clock in range(first, 2 * count, 2))
        assert judge(outline, b"\x00\x01\x07" + _var(count) + ranges) == fits("text")
    everything = b"\x00\x01\x07" + _var(count) + (b"\x00" + _var(2 * count)) * count
    assert judge(outline, everything) == fits()
    assert time.perf_counter() - started < 10


def _var(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])
