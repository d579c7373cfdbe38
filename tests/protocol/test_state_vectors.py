import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate_protocol.errors import LimitExceeded, MalformedFrame
from quorate_protocol.ids import ClientId
from quorate_protocol.limits import Limits
from quorate_protocol.state_vectors import decode_state_vector, encode_state_vector
from quorate_protocol.varints import MAX_SAFE_INTEGER

_SAFE = st.integers(min_value=0, max_value=MAX_SAFE_INTEGER)


@given(st.dictionaries(_SAFE.map(ClientId), _SAFE))
def test_state_vectors_round_trip(clocks: dict[ClientId, int]) -> None:
    assert decode_state_vector(encode_state_vector(clocks)) == clocks


def test_the_order_is_that_of_yjs() -> None:
    assert encode_state_vector({ClientId(1): 5, ClientId(3): 7}).hex(" ") == "02 03 07 01 05"


def test_an_empty_state_vector_is_one_byte() -> None:
    assert encode_state_vector({}) == b"\x00"


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01\x01", b"\x02\x01\x01"])
def test_cut_state_vectors_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedFrame):
        decode_state_vector(data)


def test_the_number_of_clients_is_bounded_before_they_are_read() -> None:
    with pytest.raises(LimitExceeded, match="state_vector_clients"):
        decode_state_vector(b"\x05", Limits(state_vector_clients=4))
