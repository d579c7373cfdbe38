import pytest

from quorate_protocol.errors import MalformedFrame
from quorate_protocol.ids import ClientId
from quorate_protocol.updates import (
    EMPTY_UPDATE,
    DecodedUpdate,
    DeleteRange,
    Struct,
    decode_update,
    is_covered,
    measure_update,
    update_ends,
)

_1 = ClientId(1)

_ROOT_T = "01 01 74"
"""The parent: the root type "t"."""


def _update(*structs: str, clock: int = 0, deletes: str = "00") -> bytes:
    """Build an update of client 1 from structs in hex."""
    return bytes.fromhex(f"01 {len(structs):02x} 01 {clock:02x} {' '.join(structs)} {deletes}")


def _only(struct: str) -> Struct:
    [decoded] = decode_update(_update(struct)).structs
    return decoded


@pytest.mark.parametrize(
    ("struct", "content", "length"),
    [
        (f"01 {_ROOT_T} 05", "deleted", 5),
        (f"02 {_ROOT_T} 02 01 31 09 756e646566696e6564", "json", 2),
        (f"03 {_ROOT_T} 02 00 ff", "binary", 1),
        (f"04 {_ROOT_T} 03 616263", "string", 3),
        (f"05 {_ROOT_T} 02 7b7d", "embed", 1),
        (f"06 {_ROOT_T} 01 62 04 74727565", "format", 1),
        (f"07 {_ROOT_T} 00", "type:array", 1),
        (f"07 {_ROOT_T} 01", "type:map", 1),
        (f"07 {_ROOT_T} 02", "type:text", 1),
        (f"07 {_ROOT_T} 03 01 70", "type:xml-element", 1),
        (f"07 {_ROOT_T} 04", "type:xml-fragment", 1),
        (f"07 {_ROOT_T} 05 01 68", "type:xml-hook", 1),
        (f"07 {_ROOT_T} 06", "type:xml-text", 1),
        (f"07 {_ROOT_T} 09", "type:doc", 1),
        (f"07 {_ROOT_T} 0f", "type:undefined", 1),
        (f"08 {_ROOT_T} 03 7e 7f 78", "any", 3),
        (f"09 {_ROOT_T} 01 67 76 01 02 6763 79", "doc", 1),
    ],
)
def test_every_kind_of_content(struct: str, content: str, length: int) -> None:
    assert _only(struct) == Struct(_1, 0, length, "item", content, parent="t")
    assert update_ends(_update(struct)) == {1: length}


@pytest.mark.parametrize(
    "link",
    [
        "00 05 06",  # one element
        "07 05 06 05 09",  # from one element to another
        "39 01 74 01 74",  # all of a root type
        "19 05 06 05 06",  # all of a nested type
        "29 01 74 05 06",  # from the start of a root type
    ],
)
def test_weak_links_of_yrs(link: str) -> None:
    assert _only(f"07 {_ROOT_T} 07 {link}").content == "type:weak-link"


@pytest.mark.parametrize(
    "value",
    [
        "7f",  # undefined
        "7e",  # null
        "7d 41",  # -1
        "7d bf ff ff ff 0f",
        "7c 3f c0 00 00",  # float32
        "7b 7f f8 00 00 00 00 00 00",  # NaN
        "7a 80 00 00 00 00 00 00 00",  # the lowest bigint
        "79",
        "78",
        "77 02 c3a9",
        "76 02 01 61 7f 01 62 75 01 7e",  # {"a": undefined, "b": [null]}
        "75 02 75 00 76 00",
        "74 02 00 ff",
    ],
)
def test_every_any_value(value: str) -> None:
    assert _only(f"08 {_ROOT_T} 01 {value}").length == 1


@pytest.mark.parametrize(
    ("text", "length"), [("", 0), ("abc", 3), ("é", 1), ("€", 1), ("😀", 2), ("a😀é", 4), ("\0", 1)]
)
def test_text_counts_utf16_code_units(text: str, length: int) -> None:
    raw = text.encode()

    assert _only(f"04 {_ROOT_T} {len(raw):02x} {raw.hex()}").length == length


def test_neighbours_stand_for_the_parent() -> None:
    assert _only("c4 02 03 04 05 01 61") == Struct(
        _1, 0, 1, "item", "string", origin=(ClientId(2), 3), right_origin=(ClientId(4), 5)
    )


def test_the_parent_may_be_an_item_and_have_a_key() -> None:
    assert _only("28 00 02 03 01 6b 01 7e") == Struct(_1, 0, 1, "item", "any", parent=(ClientId(2), 3), key="k")


def test_a_key_behind_a_neighbour_is_not_written() -> None:
    assert _only("a8 02 03 01 7e") == Struct(_1, 0, 1, "item", "any", origin=(ClientId(2), 3))


def test_clocks_run_on_through_gaps() -> None:
    update = _update(f"04 {_ROOT_T} 02 6161", "0a 05", "00 03", "0a 04", clock=10)

    assert decode_update(update).structs == (
        Struct(_1, 10, 2, "item", "string", parent="t"),
        Struct(_1, 12, 5, "skip"),
        Struct(_1, 17, 3, "gc"),
        Struct(_1, 20, 4, "skip"),
    )
    assert update_ends(update) == {1: 20}


def test_deleted_ranges() -> None:
    update = bytes.fromhex("00 02 01 02 00 01 05 02 09 01 03 01")

    assert decode_update(update) == DecodedUpdate(
        (), (DeleteRange(_1, 0, 1), DeleteRange(_1, 5, 2), DeleteRange(ClientId(9), 3, 1))
    )
    assert measure_update(update).delete_ends == {1: 7, 9: 4}
    assert update_ends(update) == {}


_AFTER_5 = "84 01 05 01 61"
"""A character behind operation 5 of client 1."""


@pytest.mark.parametrize(
    ("update", "is_typing"),
    [
        (_update(_AFTER_5, clock=6), True),
        (_update("c4 01 05 02 09 01 61", clock=6), True),  # before somebody else's
        (_update(_AFTER_5, "84 01 06 01 62", clock=6), True),
        (_update(_AFTER_5, clock=7), False),  # not the one right before
        (_update(_AFTER_5, clock=5), False),  # itself
        (_update("84 02 05 01 61", clock=6), False),  # another client's
        (_update("44 01 05 01 61", clock=6), False),  # in front of it
        (_update("88 01 05 01 7e", clock=6), False),  # a value
        (_update(f"04 {_ROOT_T} 01 61"), False),
        (_update(_AFTER_5, "00 01", clock=6), False),
        (_update(_AFTER_5, "84 01 05 01 62", clock=6), False),
        (_update(_AFTER_5, clock=6, deletes="01 01 01 05 01"), False),
        (_update(deletes="01 01 01 05 01"), False),
        (EMPTY_UPDATE, False),
        (bytes.fromhex(f"02 01 01 06 {_AFTER_5} 01 02 06 84 02 05 01 61 00"), False),  # two clients
    ],
)
def test_typing_goes_on_right_behind_what_its_client_wrote(update: bytes, *, is_typing: bool) -> None:
    assert measure_update(update).is_typing is is_typing


def test_an_empty_update_says_nothing() -> None:
    assert decode_update(EMPTY_UPDATE) == DecodedUpdate((), ())
    assert is_covered(EMPTY_UPDATE, {})


@pytest.mark.parametrize(("known", "covered"), [({}, False), ({1: 2}, False), ({1: 3}, True)])
def test_an_insertion_is_covered_when_all_of_it_is_known(known: dict[ClientId, int], *, covered: bool) -> None:
    assert is_covered(_update(f"04 {_ROOT_T} 03 616161"), known) is covered


@pytest.mark.parametrize(("known", "covered"), [({}, False), ({1: 6}, False), ({1: 7}, True)])
def test_a_deletion_is_covered_when_what_it_deletes_is_known(known: dict[ClientId, int], *, covered: bool) -> None:
    assert is_covered(bytes.fromhex("00 01 01 01 05 02"), known) is covered


@pytest.mark.parametrize(
    "update",
    [
        "",
        "00",
        "01",
        "01 01 01 00",
        "01 01 01 00 00 01",  # no deleted ranges
        "00 00 00",  # more than an update
        "00 01 01 01 05",
        "01 01 01 00 0b 01 01 74 00 00",  # no content of kind 11
        "01 01 01 00 80 01 01 01 00",  # nor of kind 0 behind an origin
        "01 01 01 00 07 01 01 74 08 00",  # no shared type 8
        "01 01 01 00 08 01 01 74 01 73 00",  # no any value 115
        "01 01 01 00 04 01 01 74 02 c3 28 00",  # not UTF-8
        "01 01 01 00 04 01 01 74 7f 61 00",  # text past the end
        "01 ff ff ff ff 0f 01 00 00 01 00",  # structs that do not follow
        "01 02 01 00 00 ff ff ff ff 0f 00 01 00",  # a clock over 32 bits
        "00 01 01 01 ff ff ff ff 0f 01",
        "02 01 01 00 00 01 01 01 01 00 01 00",  # client 1 twice
    ],
)
def test_malformed_updates_are_refused_by_every_reader(update: str) -> None:
    data = bytes.fromhex(update)
    with pytest.raises(MalformedFrame):
        decode_update(data)
    for reader in (update_ends, measure_update):
        with pytest.raises(MalformedFrame):
            reader(data)
    with pytest.raises(MalformedFrame):
        is_covered(data, {})


@pytest.mark.parametrize("depth", [101, 100_000])
@pytest.mark.parametrize("opening", ["75 01", "76 01 00"])
def test_values_that_would_overflow_a_stack_are_refused(opening: str, depth: int) -> None:
    """A value of 100,000 nested arrays ends the process of an engine that reads by recursion."""
    update = _update(f"08 {_ROOT_T} 01 {opening * depth} 7e")

    for reader in (decode_update, update_ends):
        with pytest.raises(MalformedFrame, match="values nested up to 100 deep"):
            reader(update)


def test_values_may_nest_to_the_limit() -> None:
    assert _only(f"08 {_ROOT_T} 01 {'75 01 ' * 100} 7e").length == 1
