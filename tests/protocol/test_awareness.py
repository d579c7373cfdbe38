import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate_protocol.awareness import AwarenessEntry, decode_awareness, encode_awareness
from quorate_protocol.errors import LimitExceeded, MalformedFrame
from quorate_protocol.ids import ClientId
from quorate_protocol.limits import Limits
from quorate_protocol.varints import MAX_SAFE_INTEGER

_SAFE = st.integers(min_value=0, max_value=MAX_SAFE_INTEGER)
_TEXT = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: text != "null")
_ENTRIES = st.builds(AwarenessEntry, _SAFE.map(ClientId), _SAFE, st.none() | _TEXT)


@given(st.lists(_ENTRIES))
def test_entries_round_trip(entries: list[AwarenessEntry]) -> None:
    assert decode_awareness(encode_awareness(entries)) == entries


@pytest.mark.parametrize(
    ("encoded", "entries"),
    [
        ("00", []),
        ("01 01 00 02 7b 7d", [AwarenessEntry(ClientId(1), 0, "{}")]),
        ("01 01 01 04 6e 75 6c 6c", [AwarenessEntry(ClientId(1), 1, None)]),
    ],
)
def test_known_updates(encoded: str, entries: list[AwarenessEntry]) -> None:
    assert decode_awareness(bytes.fromhex(encoded)) == entries
    assert encode_awareness(entries).hex(" ") == encoded


@pytest.mark.parametrize("data", ["", "01", "0101", "010101", "01010105", "01010101ff"])
def test_malformed_updates(data: str) -> None:
    with pytest.raises(MalformedFrame):
        decode_awareness(bytes.fromhex(data))


def test_the_number_of_entries_is_bounded_before_they_are_read() -> None:
    with pytest.raises(LimitExceeded, match="awareness_entries_per_update is limited to 4"):
        decode_awareness(b"\x05", Limits(awareness_entries_per_update=4))
