"""The sync messages, which are the same inside both dialects.

Source: y-protocols PROTOCOL.md, "Sync protocol (v1 encoding)".
"""

from typing import Final

from quorate_protocol.errors import MalformedFrame
from quorate_protocol.messages import SyncStep1, SyncUpdate
from quorate_protocol.varints import read_var_bytes, read_var_uint

STEP1: Final = 0
STEP2: Final = 1
UPDATE: Final = 2


def read_sync(address: str, data: bytes, position: int) -> tuple[SyncStep1 | SyncUpdate, int]:
    """Read the body of a sync message; returns its event and the position behind it.

    Raises:
        MalformedFrame: it does not follow the grammar, or is of an unknown kind.
    """
    kind, position = read_var_uint(data, position)
    payload, end = read_var_bytes(data, position)
    if kind == STEP1:
        return SyncStep1(address, payload), end
    if kind in (UPDATE, STEP2):
        # Positional: naming the arguments costs half as much again as the whole tuple.
        return SyncUpdate(address, payload, kind == STEP2), end
    raise MalformedFrame(expected="a sync message of kind 0, 1 or 2", received="another kind", position=position)
