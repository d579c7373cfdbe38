"""What can be taken of an update, and what waits."""

import pytest

from quorate_protocol.dividing import divide
from quorate_protocol.ids import ClientId
from quorate_protocol.updates import EMPTY_UPDATE, measure_update
from quorate_protocol.varints import write_var_uint as varint

_1, _2 = ClientId(1), ClientId(2)


def _text(length: int) -> str:
    return f"04 01 01 74 {length:02x} {'61' * length}"


def _behind(client: int, clock: int, length: int = 1) -> str:
    return f"84 {client:02x} {clock:02x} {length:02x} {'62' * length}"


def _section(client: int, clock: int, *structs: str) -> str:
    return f"{len(structs):02x} {client:02x} {clock:02x} {' '.join(structs)}"


def _update(*sections: str, deletes: str = "00") -> bytes:
    return bytes.fromhex(f"{len(sections):02x} {' '.join(sections)} {deletes}")


def test_what_builds_on_nothing_missing_is_taken_whole() -> None:
    update = _update(_section(1, 3, _behind(1, 2), _behind(2, 4)))
    assert measure_update(update).is_ready({_1: 3, _2: 5})
    assert divide(update, {_1: 3, _2: 5}) == (update, EMPTY_UPDATE, ())


def test_a_run_behind_a_gap_waits_for_the_gap() -> None:
    update = _update(_section(1, 3, _behind(1, 2)))
    assert not measure_update(update).is_ready({_1: 2})
    assert divide(update, {_1: 2}) == (EMPTY_UPDATE, update, ((_1, 3),))


def test_a_run_is_cut_where_a_neighbour_is_missing() -> None:
    update = _update(_section(1, 0, _text(2), _behind(2, 4), _behind(1, 2)))
    taken, left, lacks = divide(update, {})
    assert taken == _update(_section(1, 0, _text(2)))
    assert left == _update(_section(1, 2, _behind(2, 4), _behind(1, 2)))
    assert lacks == ((_2, 5),)


def test_what_follows_a_skip_waits_and_what_is_before_is_taken() -> None:
    update = _update(_section(1, 0, _text(2), "0a 03", _behind(1, 4)))
    taken, left, lacks = divide(update, {})
    assert taken == _update(_section(1, 0, _text(2)))
    assert left == _update(_section(1, 5, _behind(1, 4)))
    assert lacks == ((_1, 5),)
    assert divide(left, {_1: 5}).taken == left


def test_nothing_waits_for_a_skip_at_the_end() -> None:
    update = _update(_section(1, 0, _text(2), "0a 03"))
    assert divide(update, {}) == (_update(_section(1, 0, _text(2))), EMPTY_UPDATE, ())


def test_clients_that_need_each_other_are_taken_together() -> None:
    update = _update(
        _section(1, 0, _text(1), _behind(2, 0)), _section(2, 0, _behind(1, 0), _behind(1, 1), _behind(3, 0))
    )
    taken, left, lacks = divide(update, {})
    assert taken == _update(_section(1, 0, _text(1), _behind(2, 0)), _section(2, 0, _behind(1, 0), _behind(1, 1)))
    assert left == _update(_section(2, 2, _behind(3, 0)))
    assert lacks == ((ClientId(3), 1),)


def test_a_circle_is_never_taken() -> None:
    update = _update(_section(1, 0, _behind(2, 0)), _section(2, 0, _behind(1, 0)))
    assert divide(update, {}).left == update
    own = _update(_section(1, 0, _behind(1, 0)))
    assert not measure_update(own).is_ready({})
    assert divide(own, {}).left == own


def test_what_is_known_already_is_in_neither_part() -> None:
    update = _update(_section(1, 0, _text(2), _behind(1, 1, 3)))
    assert divide(update, {_1: 2}).taken == _update(_section(1, 2, _behind(1, 1, 3)))
    assert divide(update, {_1: 3}).taken == _update(_section(1, 2, _behind(1, 1, 3)))
    assert divide(update, {_1: 5}) == (EMPTY_UPDATE, EMPTY_UPDATE, ())


@pytest.mark.parametrize(
    ("known", "now", "later"), [(0, "00", "01 01 01 02 05"), (4, "01 01 01 02 02", "01 01 01 04 03")]
)
def test_deletions_are_cut_where_what_they_delete_is_missing(known: int, now: str, later: str) -> None:
    update = _update(deletes="01 01 01 02 05")
    taken, left, lacks = divide(update, {_1: known})
    assert (taken, left) == (_update(deletes=now), _update(deletes=later))
    assert lacks == ((_1, max(known, 2) + 1),)


def test_a_division_is_stale_once_anything_it_lacks_has_come() -> None:
    division = divide(_update(_section(1, 3, _behind(1, 2)), _section(2, 7, _behind(2, 6))), {})
    assert not division.is_stale({_1: 2, _2: 6})
    assert division.is_stale({_1: 3})
    assert division.is_stale({_2: 7})


def test_sections_in_the_worst_order_are_divided_in_time_linear_in_their_number() -> None:
    """Each client needs the next one: without care, 20,000 rounds over 20,000 clients."""
    count = 20_000
    sections = [
        varint(1) + varint(client) + b"\x00\x84" + varint(client + 1) + b"\x00\x01b" for client in range(1, count)
    ]
    last = varint(1) + varint(count) + b"\x00" + bytes.fromhex(_text(1))
    update = varint(count) + b"".join(sections) + last + b"\x00"
    assert divide(update, {}).taken == update
