"""Presence on the wire: who is there, as opaque JSON with a clock for each client id.

The rules of a room's presence are in `presence.py`.

Source: y-protocols PROTOCOL.md, "Awareness protocol", and `awareness.js`. The document prints the
frame without the length in front of the awareness update; every implementation writes it.
"""

from collections.abc import Collection
from typing import NamedTuple

from quorate_protocol.errors import LimitExceeded
from quorate_protocol.ids import ClientId
from quorate_protocol.limits import DEFAULT_LIMITS, Limits
from quorate_protocol.varints import (
    read_var_string,
    read_var_uint,
    write_var_string,
    write_var_uint,
)

_REMOVED = "null"


class AwarenessEntry(NamedTuple):
    """What one client says of itself.

    `state` is JSON as the client wrote it, not parsed; None says that the client is gone. `clock`
    grows with each change and each renewal.
    """

    client: ClientId
    clock: int
    state: str | None


def decode_awareness(update: bytes, limits: Limits = DEFAULT_LIMITS) -> list[AwarenessEntry]:
    """Read an awareness update. Sizes of single entries are judged by `Presence.apply`, not here.

    Raises:
        MalformedFrame: it does not follow the grammar.
        LimitExceeded: it holds too many entries.
    """
    count, position = read_var_uint(update, 0)
    if count > limits.awareness_entries_per_update:
        raise LimitExceeded("awareness_entries_per_update", limits.awareness_entries_per_update, count)
    entries: list[AwarenessEntry] = []
    for _ in range(count):
        client, position = read_var_uint(update, position)
        clock, position = read_var_uint(update, position)
        state, position = read_var_string(update, position)
        entries.append(AwarenessEntry(ClientId(client), clock, None if state == _REMOVED else state))
    return entries


def encode_awareness(entries: Collection[AwarenessEntry]) -> bytes:
    """Encode an awareness update, removals included."""
    parts = [write_var_uint(len(entries))]
    for client, clock, state in entries:
        parts += (
            write_var_uint(client),
            write_var_uint(clock),
            write_var_string(_REMOVED if state is None else state),
        )
    return b"".join(parts)
