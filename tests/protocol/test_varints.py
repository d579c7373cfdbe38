import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate_protocol.errors import LocalProtocolError, MalformedFrame
from quorate_protocol.varints import (
    MAX_SAFE_INTEGER,
    read_var_bytes,
    read_var_int,
    read_var_string,
    read_var_uint,
    write_var_bytes,
    write_var_int,
    write_var_string,
    write_var_uint,
)

_SAFE = st.integers(min_value=0, max_value=MAX_SAFE_INTEGER)


@given(_SAFE, st.binary(max_size=3), st.binary(max_size=3))
def test_unsigned_numbers_round_trip(value: int, before: bytes, after: bytes) -> None:
    encoded = write_var_uint(value)

    assert read_var_uint(before + encoded + after, len(before)) == (value, len(before + encoded))


@given(st.integers(min_value=-MAX_SAFE_INTEGER, max_value=MAX_SAFE_INTEGER), st.binary(max_size=3))
def test_signed_numbers_round_trip(value: int, after: bytes) -> None:
    encoded = write_var_int(value)

    assert read_var_int(encoded + after, 0) == (value, len(encoded))


@given(st.binary(), st.binary(max_size=3))
def test_bytes_round_trip(content: bytes, after: bytes) -> None:
    encoded = write_var_bytes(content)

    assert read_var_bytes(encoded + after, 0) == (content, len(encoded))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_strings_round_trip(text: str) -> None:
    encoded = write_var_string(text)

    assert read_var_string(encoded, 0) == (text, len(encoded))


def test_string_lengths_count_bytes() -> None:
    assert write_var_string("é€").hex() == "05c3a9e282ac"


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        ("00", 0),
        ("7f", 127),
        ("8001", 128),
        ("ffffffffffffff0f", MAX_SAFE_INTEGER),
        ("80808080808000", 0),  # longer than needed, and read by lib0 too
    ],
)
def test_known_unsigned_numbers(encoded: str, value: int) -> None:
    data = bytes.fromhex(encoded)

    assert read_var_uint(data, 0) == (value, len(data))


@pytest.mark.parametrize(
    ("encoded", "value"),
    [("00", 0), ("40", 0), ("41", -1), ("3f", 63), ("8001", 64), ("c001", -64)],
)
def test_known_signed_numbers(encoded: str, value: int) -> None:
    """`40` is JavaScript's negative zero."""
    data = bytes.fromhex(encoded)

    assert read_var_int(data, 0) == (value, len(data))


@pytest.mark.parametrize(
    "encoded",
    [
        "",
        "80",
        "ffff",
        "ffffff",
        "ffffffff",
        "ffffffffff",
        "ffffffffffffff",
        "808080808080808000",  # nine bytes
        "ff" * 100,
    ],
)
def test_cut_or_oversized_numbers_are_refused(encoded: str) -> None:
    for reader in (read_var_uint, read_var_int):
        with pytest.raises(MalformedFrame):
            reader(bytes.fromhex(encoded), 0)


@pytest.mark.parametrize("value", [-1, MAX_SAFE_INTEGER + 1])
def test_writing_what_the_wire_cannot_say_is_our_own_fault(value: int) -> None:
    with pytest.raises(LocalProtocolError):
        write_var_uint(value)
    with pytest.raises(LocalProtocolError):
        write_var_int((MAX_SAFE_INTEGER + 1) * value)
    with pytest.raises(LocalProtocolError):
        write_var_string("\ud800")


def test_a_length_past_the_end_is_refused() -> None:
    with pytest.raises(MalformedFrame, match="at most 2 bytes at byte 1, received a length of 3"):
        read_var_bytes(b"\x03ab", 0)


@pytest.mark.parametrize("encoded", ["01ff", "02c328", "03eda080", "02c080"])
def test_text_that_is_not_strict_utf8_is_refused(encoded: str) -> None:
    """Among them a surrogate and an overlong NUL."""
    with pytest.raises(MalformedFrame, match="expected UTF-8"):
        read_var_string(bytes.fromhex(encoded), 0)


def test_numbers_past_what_javascript_holds_are_refused() -> None:
    with pytest.raises(MalformedFrame, match="a number up to 2"):
        read_var_uint(bytes.fromhex("8080808080808010"), 0)
    with pytest.raises(MalformedFrame, match="a number up to 2"):
        read_var_int(bytes.fromhex("8080808080808020"), 0)
