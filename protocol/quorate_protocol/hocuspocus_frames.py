"""The frames that a server sends in the Hocuspocus dialect.

Each function makes the payload of one WebSocket message. `address` is repeated as the peer wrote
it.
"""

from enum import IntEnum, unique
from typing import Final

from quorate_protocol.varints import write_var_bytes, write_var_string

PING: Final = b"\x09"
"""A whole frame, without an address."""

PONG: Final = b"\x0a"
"""A whole frame, without an address."""


@unique
class MessageType(IntEnum):
    """The number behind the address of a frame."""

    SYNC = 0
    AWARENESS = 1
    AUTH = 2
    QUERY_AWARENESS = 3
    SYNC_REPLY = 4
    STATELESS = 5
    BROADCAST_STATELESS = 6
    CLOSE = 7
    SYNC_STATUS = 8
    PING = 9
    PONG = 10


AUTH_TOKEN: Final = 0
"""From a client: its token. From a server, without a body: a request for it."""

AUTH_PERMISSION_DENIED: Final = 1
AUTH_AUTHENTICATED: Final = 2


def encode_step1(address: str, state_vector: bytes) -> bytes:
    """Encode what we have, which asks the peer for the rest."""
    return write_var_string(address) + b"\x00\x00" + write_var_bytes(state_vector)


def encode_step2(address: str, update: bytes) -> bytes:
    """Encode the answer to the peer's step 1; the client then counts as synchronised."""
    return write_var_string(address) + b"\x00\x01" + write_var_bytes(update)


def encode_update(address: str, update: bytes) -> bytes:
    """Encode a change for every peer."""
    return write_var_string(address) + b"\x00\x02" + write_var_bytes(update)


def encode_awareness(address: str, awareness_update: bytes) -> bytes:
    """Encode presence that `awareness.encode_awareness` made."""
    return write_var_string(address) + b"\x01" + write_var_bytes(awareness_update)


def encode_authenticated(address: str, *, read_only: bool) -> bytes:
    """Encode that the document is open, and whether the peer may write."""
    scope = "readonly" if read_only else "read-write"
    return write_var_string(address) + b"\x02\x02" + write_var_string(scope)


def encode_permission_denied(address: str, reason: str) -> bytes:
    """Encode that the document stays shut: the one signal that stops a provider for good."""
    return write_var_string(address) + b"\x02\x01" + write_var_string(reason)


def encode_token_request(address: str) -> bytes:
    """Encode the request for a fresh token, which the provider answers by itself."""
    return write_var_string(address) + b"\x02\x00"


def encode_sync_status(address: str, *, saved: bool) -> bytes:
    """Encode whether one update was kept: exactly one for each SyncUpdate, in their order."""
    return write_var_string(address) + (b"\x08\x01" if saved else b"\x08\x00")


def encode_close(address: str, reason: str) -> bytes:
    """Encode that the document is closed for this peer while the socket stays."""
    return write_var_string(address) + b"\x07" + write_var_string(reason)


def encode_stateless(address: str, payload: str) -> bytes:
    """Encode a signal that is not part of the document."""
    return write_var_string(address) + b"\x05" + write_var_string(payload)
