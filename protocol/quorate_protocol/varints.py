"""The variable-length numbers, bytes and strings of lib0, bounded.

Readers take the bytes and a position and give the value and the next position: no cursor object,
because a frame is read in well under a microsecond and an object would cost as much again. A number
is at most 2**53 - 1 in at most 8 bytes, which is what JavaScript can hold; a length is checked
against what is left before anything is sliced.

Source: y-protocols PROTOCOL.md, "Base types"; lib0 `encoding.js` and `decoding.js`.
"""

from typing import Final

from quorate_protocol.errors import LocalProtocolError, MalformedFrame

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""The largest number on the wire: JavaScript's `Number.MAX_SAFE_INTEGER`."""

_MAX_VARINT_BYTES: Final = 8
_MORE: Final = 0x80
_TWO_BYTES: Final = 1 << 14
_SIGN: Final = 0x40
_SEVEN_BITS: Final = 0x7F
_SIX_BITS: Final = 0x3F


def read_var_uint(data: bytes, position: int) -> tuple[int, int]:
    """Read an unsigned number; returns it and the position behind it.

    Raises:
        MalformedFrame: the data ends first, or the number is longer than 8 bytes or over 2**53 - 1.
    """
    # Unrolled up to the 5 bytes that a client id takes: this is a third of the cost of reading an
    # update, and the loop takes four times as long. Each byte but the last carries a surplus bit,
    # which is subtracted at the end.
    try:
        value = data[position]
        if value < _MORE:
            return value, position + 1
        byte = data[position + 1]
        value += byte << 7
        if byte < _MORE:
            return value - 0x80, position + 2
        byte = data[position + 2]
        value += byte << 14
        if byte < _MORE:
            return value - 0x4080, position + 3
        byte = data[position + 3]
        value += byte << 21
        if byte < _MORE:
            return value - 0x204080, position + 4
        byte = data[position + 4]
        value += byte << 28
        if byte < _MORE:
            return value - 0x10204080, position + 5
    except IndexError:
        raise _cut_short("a number", len(data)) from None
    return _read_rest(data, position, position, 0, 0)


def write_var_uint(value: int) -> bytes:
    """Encode an unsigned number.

    Raises:
        LocalProtocolError: it is negative or over 2**53 - 1.
    """
    if 0 <= value < _MORE:
        return _ONE_BYTE[value]
    if _MORE <= value < _TWO_BYTES:
        return bytes((value & _SEVEN_BITS | _MORE, value >> 7))
    if not 0 <= value <= MAX_SAFE_INTEGER:
        raise LocalProtocolError(action="encoding a number", state="it is outside 0 to 2**53 - 1")
    encoded = bytearray()
    while value >= _MORE:
        encoded.append(value & _SEVEN_BITS | _MORE)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def read_var_int(data: bytes, position: int) -> tuple[int, int]:
    """Read a signed number; returns it and the position behind it.

    The sign is a bit of its own, so the wire knows a negative zero (`40`); it is read as 0.

    Raises:
        MalformedFrame: as for `read_var_uint`.
    """
    try:
        byte = data[position]
    except IndexError:
        raise _cut_short("a number", len(data)) from None
    value = byte & _SIX_BITS
    end = position + 1
    if byte & _MORE:
        value, end = _read_rest(data, position, end, value, 6)
    return (-value if byte & _SIGN else value), end


def write_var_int(value: int) -> bytes:
    """Encode a signed number.

    Raises:
        LocalProtocolError: its magnitude is over 2**53 - 1.
    """
    magnitude = abs(value)
    if magnitude > MAX_SAFE_INTEGER:
        raise LocalProtocolError(action="encoding a number", state="it is outside 53 bits")
    first = magnitude & _SIX_BITS | (_SIGN if value < 0 else 0)
    rest = magnitude >> 6
    if not rest:
        return _ONE_BYTE[first]
    return _ONE_BYTE[first | _MORE] + write_var_uint(rest)


def read_var_bytes(data: bytes, position: int) -> tuple[bytes, int]:
    """Read length-prefixed bytes; returns them and the position behind them.

    Raises:
        MalformedFrame: the length is malformed or larger than what is left.
    """
    length, start = read_var_uint(data, position)
    end = start + length
    if end > len(data):
        raise _too_long(length, len(data) - start, start)
    return data[start:end], end


def write_var_bytes(content: bytes) -> bytes:
    """Encode bytes with their length in front."""
    return write_var_uint(len(content)) + content


def read_var_string(data: bytes, position: int) -> tuple[str, int]:
    """Read a string, whose length counts bytes of UTF-8; returns it and the position behind it.

    Raises:
        MalformedFrame: as for `read_var_bytes`, or it is not strict UTF-8 (surrogates are refused).
    """
    content, end = read_var_bytes(data, position)
    try:
        return content.decode(), end
    except UnicodeDecodeError as error:
        raise not_utf8(end - len(content) + error.start) from None


def write_var_string(text: str) -> bytes:
    """Encode a string with its length in bytes of UTF-8 in front.

    Raises:
        LocalProtocolError: it holds a lone surrogate, which UTF-8 cannot say.
    """
    try:
        return write_var_bytes(text.encode())
    except UnicodeEncodeError:
        raise LocalProtocolError(action="encoding a string", state="it holds a lone surrogate") from None


def not_utf8(position: int) -> MalformedFrame:
    """Make the error for text that is not strict UTF-8."""
    return MalformedFrame(expected="UTF-8", received="other bytes", position=position)


def _read_rest(data: bytes, first: int, position: int, value: int, shift: int) -> tuple[int, int]:
    """Read groups of 7 bits on top of `value`, for a number that began at `first`."""
    limit = first + _MAX_VARINT_BYTES
    for byte in data[position:limit]:
        position += 1
        value |= (byte & _SEVEN_BITS) << shift
        if byte < _MORE:
            if value > MAX_SAFE_INTEGER:
                break
            return value, position
        shift += 7
    else:
        if position < limit:
            raise _cut_short("a number", len(data))
    raise MalformedFrame(expected="a number up to 2**53 - 1", received="a larger one", position=first)


def _cut_short(expected: str, position: int) -> MalformedFrame:
    return MalformedFrame(expected=expected, received="the end", position=position)


def _too_long(length: int, left: int, position: int) -> MalformedFrame:
    return MalformedFrame(expected=f"at most {left} bytes", received=f"a length of {length}", position=position)


_ONE_BYTE: Final = tuple(bytes((value,)) for value in range(256))
