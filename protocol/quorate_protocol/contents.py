"""What an item of a Yjs update can hold: how long it is, and where its bytes end.

Nothing is kept or interpreted, so reading costs no memory beyond the longest text. What the engines
read by recursion is bounded in depth here: an update of 200 kB of nested arrays overflows the stack
of yrs and ends the whole process, and every browser that gets it. So each update must pass through
`updates.py` before an engine sees it.

Source: yjs `structs/Content*.js`, lib0 `decoding.js` (`readAny`); yrs `types/mod.rs` for weak
links.
"""

from collections.abc import Callable
from typing import Final

from quorate_protocol.errors import MalformedFrame
from quorate_protocol.varints import not_utf8, read_var_int, read_var_uint

MAX_DEPTH: Final = 100
"""How deeply a value may nest. serde refuses JSON beyond 128, yrs overflows its stack beyond about
40,000.
"""

DELETED: Final = 1
JSON: Final = 2
BINARY: Final = 3
STRING: Final = 4
EMBED: Final = 5
FORMAT: Final = 6
TYPE: Final = 7
ANY: Final = 8
DOC: Final = 9

CONTENT_NAMES: Final = {
    DELETED: "deleted",
    JSON: "json",
    BINARY: "binary",
    STRING: "string",
    EMBED: "embed",
    FORMAT: "format",
    TYPE: "type",
    ANY: "any",
    DOC: "doc",
}
"""What `Struct.content` says, by the low bits of an item's first byte; a type's name is added to
`type`.
"""

XML_ELEMENT: Final = 3
XML_HOOK: Final = 5
WEAK_LINK: Final = 7

TYPE_NAMES: Final = {
    0: "type:array",
    1: "type:map",
    2: "type:text",
    XML_ELEMENT: "type:xml-element",
    4: "type:xml-fragment",
    XML_HOOK: "type:xml-hook",
    6: "type:xml-text",
    WEAK_LINK: "type:weak-link",
    9: "type:doc",
    15: "type:undefined",
}
"""The shared types by their number; the last three are known to yrs only."""

# yrs `types/mod.rs`, WEAK_REF_FLAGS_*.
_LINK_IS_QUOTE: Final = 0x01
_LINK_START_IS_UNBOUNDED: Final = 0x08
_LINK_END_IS_UNBOUNDED: Final = 0x10
_LINK_PARENT_IS_ROOT: Final = 0x20

# lib0 `encoding.js`, `writeAny`.
_ANY_INTEGER: Final = 125
_ANY_STRING: Final = 119
_ANY_OBJECT: Final = 118
_ANY_ARRAY: Final = 117
_ANY_BYTES: Final = 116


def skip_content(kind: int, data: bytes, position: int) -> tuple[int, int]:
    """Read the content of an item; returns its length in clock ticks and the position behind it.

    Args:
        kind: the low five bits of the item's first byte.
        data: the update.
        position: where the content begins.

    Raises:
        MalformedFrame: it does not follow the grammar, or nests too deeply.
    """
    if kind == STRING:
        length, start = read_var_uint(data, position)
        end = start + length
        # Yjs counts UTF-16 code units; whatever is no single byte in UTF-8 has to be counted.
        text = data[start:end]
        if len(text) == length and text.isascii():
            return length, end
        return _utf16_length(data, start, end), end
    if kind == DELETED:
        return read_var_uint(data, position)
    reader = _READERS.get(kind)
    if reader is None:
        raise MalformedFrame(expected="content of kind 1 to 9", received="another kind", position=position)
    return reader(data, position)


def skip_string(data: bytes, position: int) -> int:
    """Read a string and return the position behind it.

    Raises:
        MalformedFrame: it is longer than what is left, or not UTF-8.
    """
    length, start = read_var_uint(data, position)
    end = start + length
    text = data[start:end]
    if len(text) != length or not text.isascii():
        _utf16_length(data, start, end)
    return end


def skip_any(data: bytes, position: int, depth: int = 0) -> int:
    """Read a lib0 `any` value and return the position behind it.

    Raises:
        MalformedFrame: it does not follow the grammar, or nests deeper than `MAX_DEPTH`.
    """
    tag, position = _read_byte(data, position)
    if tag == _ANY_STRING:
        return skip_string(data, position)
    size = _ANY_FIXED_BYTES.get(tag)
    if size is not None:
        return _advance(data, position, size)
    if tag == _ANY_INTEGER:
        return read_var_int(data, position)[1]
    if tag == _ANY_BYTES:
        return _skip_bytes(data, position)
    if tag not in (_ANY_ARRAY, _ANY_OBJECT):
        raise MalformedFrame(expected="an any value", received="another tag", position=position)
    if depth >= MAX_DEPTH:
        raise MalformedFrame(expected=f"values nested up to {MAX_DEPTH} deep", received="deeper", position=position)
    count, position = read_var_uint(data, position)
    # Each member takes at least a byte, so the end of the data bounds this loop.
    for _ in range(count):
        if tag == _ANY_OBJECT:
            position = skip_string(data, position)
        position = skip_any(data, position, depth + 1)
    return position


def read_type(data: bytes, position: int) -> tuple[int, int]:
    """Read which shared type an item begins; returns its number and the position behind it all.

    Raises:
        MalformedFrame: there is no such type, or its name or link is malformed.
    """
    number, position = read_var_uint(data, position)
    if number not in TYPE_NAMES:
        raise MalformedFrame(expected="a shared type", received="another number", position=position)
    if number in (XML_ELEMENT, XML_HOOK):
        position = skip_string(data, position)
    elif number == WEAK_LINK:
        position = _skip_weak_link(data, position)
    return number, position


def _skip_weak_link(data: bytes, position: int) -> int:
    flags, position = _read_byte(data, position)
    starts_unbounded = bool(flags & _LINK_START_IS_UNBOUNDED)
    ends_unbounded = bool(flags & _LINK_END_IS_UNBOUNDED)
    in_root = bool(flags & _LINK_PARENT_IS_ROOT)
    position = _skip_boundary(data, position, is_name=starts_unbounded and in_root)
    # A link to a single element ends where it starts, and says so once.
    if flags & _LINK_IS_QUOTE or ends_unbounded:
        position = _skip_boundary(data, position, is_name=ends_unbounded and in_root)
    return position


def _skip_boundary(data: bytes, position: int, *, is_name: bool) -> int:
    if is_name:
        return skip_string(data, position)
    position = read_var_uint(data, position)[1]
    return read_var_uint(data, position)[1]


def _skip_json(data: bytes, position: int) -> tuple[int, int]:
    count, position = read_var_uint(data, position)
    for _ in range(count):
        position = skip_string(data, position)
    return count, position


def _skip_anys(data: bytes, position: int) -> tuple[int, int]:
    count, position = read_var_uint(data, position)
    for _ in range(count):
        position = skip_any(data, position)
    return count, position


def _skip_binary(data: bytes, position: int) -> tuple[int, int]:
    return 1, _skip_bytes(data, position)


def _skip_embed(data: bytes, position: int) -> tuple[int, int]:
    return 1, skip_string(data, position)


def _skip_format(data: bytes, position: int) -> tuple[int, int]:
    return 1, skip_string(data, skip_string(data, position))


def _skip_type(data: bytes, position: int) -> tuple[int, int]:
    return 1, read_type(data, position)[1]


def _skip_doc(data: bytes, position: int) -> tuple[int, int]:
    return 1, skip_any(data, skip_string(data, position))


def _skip_bytes(data: bytes, position: int) -> int:
    length, start = read_var_uint(data, position)
    return _advance(data, start, length)


def _advance(data: bytes, position: int, size: int) -> int:
    end = position + size
    if end > len(data):
        raise MalformedFrame(
            expected=f"at most {len(data) - position} bytes",
            received=f"a length of {size}",
            position=position,
        )
    return end


def _read_byte(data: bytes, position: int) -> tuple[int, int]:
    if position >= len(data):
        raise MalformedFrame(expected="a byte", received="the end", position=position)
    return data[position], position + 1


def _utf16_length(data: bytes, start: int, end: int) -> int:
    _advance(data, start, end - start)
    try:
        text = data[start:end].decode()
    except UnicodeDecodeError as error:
        raise not_utf8(start + error.start) from None
    return len(text.encode("utf-16-le")) // 2


_READERS: Final[dict[int, Callable[[bytes, int], tuple[int, int]]]] = {
    JSON: _skip_json,
    BINARY: _skip_binary,
    EMBED: _skip_embed,
    FORMAT: _skip_format,
    TYPE: _skip_type,
    ANY: _skip_anys,
    DOC: _skip_doc,
}

_ANY_FIXED_BYTES: Final = {
    127: 0,  # undefined
    126: 0,  # null
    124: 4,  # float32
    123: 8,  # float64
    122: 8,  # bigint
    121: 0,  # false
    120: 0,  # true
}
