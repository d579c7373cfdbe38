"""What `bursts.py` offers, in Python: the reference of what is compiled, and what is used where nothing is."""

from collections import ChainMap
from collections.abc import Mapping
from itertools import islice, pairwise, starmap
from typing import Final, NamedTuple

from quorate_protocol.errors import MalformedFrame
from quorate_protocol.ids import ClientId
from quorate_protocol.updates import measure_update
from quorate_protocol.varints import read_var_uint, write_var_uint

_MORE: Final = 0x80
PLAIN: Final = 0x82  # FIN set, opcode 2 (binary)
_MASKED: Final = 0x80
_KEY_BYTES: Final = 4
_SHORT_HEAD: Final = 2 + _KEY_BYTES
LONG_HEAD: Final = 4 + _KEY_BYTES
_TWO_BYTES_MORE: Final = _MASKED | 126


def read_plain_frames(data: bytes, max_bytes: int) -> tuple[list[bytes], int]:
    """Return the messages of the plain frames of at most `max_bytes` that `data` begins with, and where they end."""
    messages: list[bytes] = []
    start, size = 0, len(data)
    while size - start >= _SHORT_HEAD and data[start] == PLAIN:
        length, begin = plain_head(data, start)
        end = begin + length
        if not 0 <= length <= max_bytes or end > size:
            break
        messages.append(_unmasked(data[begin:end], data[begin - _KEY_BYTES : begin]))
        start = end
    return messages, start


def plain_head(data: bytes, start: int) -> tuple[int, int]:
    """Return the length of the frame that begins at `start`, negative when it is not plain, and where its data do."""
    length = data[start + 1]
    if length == _TWO_BYTES_MORE:
        return int.from_bytes(data[start + 2 : start + 4], "big"), start + LONG_HEAD
    return (-1 if length > _TWO_BYTES_MORE else length - _MASKED), start + _SHORT_HEAD


def _unmasked(data: bytes, key: bytes) -> bytes:
    size = len(data)
    mask = (key * (size // _KEY_BYTES + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(mask, "little")).to_bytes(size, "little")


def read_updates(prefix: bytes, messages: list[bytes], start: int, max_bytes: int) -> list[bytes]:
    """Read the messages from `start` on that are `prefix`, the bytes of one update, and nothing else.

    It ends before the first that is longer than `max_bytes` or anything else, and never raises.
    """
    updates: list[bytes] = []
    at = len(prefix)
    for message in islice(messages, start, None):
        size = len(message)
        if size <= at or size > max_bytes or not message.startswith(prefix):
            break
        length, begin = message[at], at + 1
        if length >= _MORE:
            try:
                length, begin = read_var_uint(message, at)
            except MalformedFrame:
                break
        if begin + length != size:
            break
        updates.append(message[begin:])
    return updates


def measure_burst(updates: list[bytes], state_vector: dict[ClientId, int]) -> dict[ClientId, int] | None:
    """Tell how far updates reach that can be applied one after the other; None when each has to be looked at."""
    ends: dict[ClientId, int] = {}
    known: Mapping[ClientId, int] = ChainMap(ends, state_vector)
    for update in updates:
        try:
            extent = measure_update(update)
        except MalformedFrame:
            return None
        if extent.types or not extent.is_ready(known):
            return None
        grown = {client: end for client, end in extent.ends.items() if end > known.get(client, 0)}
        ends.update(grown)
    return ends


class _Typed(NamedTuple):
    """An update that inserts one text: who, from which clock, how many UTF-16 code units, behind and before what."""

    client: int
    clock: int
    units: int
    info: int
    origin: tuple[int, ...]
    right: bytes
    head: bytes
    text: bytes


def join_typing(updates: list[bytes]) -> tuple[ClientId, int, bytes] | None:
    """Join updates that are text, each going on where the one before ended; None when there is anything else."""
    try:
        read = [_read_typed(update) for update in updates]
    except MalformedFrame:
        return None
    if not read or not all(starmap(_goes_on, pairwise(read))):
        return None
    joined = updates[0] if len(read) == 1 else _joined(read)
    return ClientId(read[0].client), read[0].clock, joined


def _joined(read: list[_Typed]) -> bytes:
    text = b"".join(typed.text for typed in read)
    return read[0].head + write_var_uint(len(text)) + text + _NO_DELETES


def _read_typed(update: bytes) -> _Typed:
    """Read an update that inserts one text.

    Raises:
        MalformedFrame: it is anything else.
    """
    (clients, structs, client, clock), at = _read_numbers(update, 0, 4)
    info = update[at] if at < len(update) else 0
    if (clients, structs) != (1, 1) or info not in _TYPED:
        raise _anything_else()
    origin, begin = _read_numbers(update, at + 1, 2 if info & _HAS_ORIGIN else 0)
    _, at = _read_numbers(update, begin, 2 if info & _HAS_RIGHT_ORIGIN else 0)
    text = _read_text(update, at)
    units = len(text.decode().encode("utf-16-le")) // 2
    if clock + units > _MAX_CLOCK:
        raise _anything_else()
    return _Typed(client, clock, units, info, origin, update[begin:at], update[:at], text)


def _read_numbers(update: bytes, at: int, count: int) -> tuple[tuple[int, ...], int]:
    numbers: list[int] = []
    for _ in range(count):
        number, at = read_var_uint(update, at)
        numbers.append(number)
    return tuple(numbers), at


def _read_text(update: bytes, at: int) -> bytes:
    """Read a text behind which nothing is but that nothing is deleted."""
    size, begin = read_var_uint(update, at)
    text = update[begin : begin + size]
    try:
        text.decode()
    except UnicodeDecodeError:
        raise _anything_else() from None
    if not text or update[begin + size :] != _NO_DELETES:
        raise _anything_else()
    return text


def _anything_else() -> MalformedFrame:
    return MalformedFrame(expected="one insertion of text", received="anything else")


def _goes_on(before: _Typed, typed: _Typed) -> bool:
    follows = (typed.client, typed.clock) == (before.client, before.clock + before.units)
    is_behind = (typed.info, typed.origin) == (before.info | _HAS_ORIGIN, (typed.client, typed.clock - 1))
    return follows and is_behind and typed.right == before.right


_STRING: Final = 4
_HAS_ORIGIN: Final = 0x80
_HAS_RIGHT_ORIGIN: Final = 0x40
_TYPED: Final = {_STRING | _HAS_ORIGIN, _STRING | _HAS_RIGHT_ORIGIN, _STRING | _HAS_ORIGIN | _HAS_RIGHT_ORIGIN}
_NO_DELETES: Final = b"\x00"
_MAX_CLOCK: Final = 0xFFFFFFFF
