"""State vectors: for each client, how many of its operations somebody has.

Source: y-protocols PROTOCOL.md, "Sync protocol (v1 encoding)"; yjs `encodeStateVector`.
"""

from collections.abc import Mapping

from quorate_protocol.errors import LimitExceeded
from quorate_protocol.ids import ClientId
from quorate_protocol.limits import DEFAULT_LIMITS, Limits
from quorate_protocol.varints import read_var_uint, write_var_uint


def decode_state_vector(data: bytes, limits: Limits = DEFAULT_LIMITS) -> dict[ClientId, int]:
    """Read a state vector. Of a client that is named twice, the last clock counts.

    Raises:
        MalformedFrame: it does not follow the grammar. Bytes behind it are ignored, as in yjs.
        LimitExceeded: it names too many clients.
    """
    count, position = read_var_uint(data, 0)
    if count > limits.state_vector_clients:
        raise LimitExceeded("state_vector_clients", limits.state_vector_clients, count)
    clocks: dict[ClientId, int] = {}
    for _ in range(count):
        client, position = read_var_uint(data, position)
        clocks[ClientId(client)], position = read_var_uint(data, position)
    return clocks


def encode_state_vector(clocks: Mapping[ClientId, int]) -> bytes:
    """Encode a state vector, highest client first as yjs does: equal ones have equal bytes."""
    parts = [write_var_uint(len(clocks))]
    for client in sorted(clocks, reverse=True):
        parts += (write_var_uint(client), write_var_uint(clocks[client]))
    return b"".join(parts)
