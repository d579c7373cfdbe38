"""Several byte strings in one column."""

from __future__ import annotations

import struct
from collections.abc import Iterable

_LENGTH = struct.Struct(">I")


def pack(parts: Iterable[bytes]) -> bytes:
    """Write byte strings one after the other, each after its length."""
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def unpack(packed: bytes) -> tuple[bytes, ...]:
    """Read what `pack` wrote."""
    parts: list[bytes] = []
    place = 0
    while place < len(packed):
        (length,) = _LENGTH.unpack_from(packed, place)
        place += _LENGTH.size
        parts.append(packed[place : place + length])
        place += length
    return tuple(parts)
