"""What `bursts.py` offers, in Python: the reference of what is compiled, and what is used where nothing is."""

from collections import ChainMap
from collections.abc import Mapping
from itertools import islice
from typing import Final

from quorate_protocol.errors import MalformedFrame
from quorate_protocol.ids import ClientId
from quorate_protocol.updates import measure_update
from quorate_protocol.varints import read_var_uint

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
