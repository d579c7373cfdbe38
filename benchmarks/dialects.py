"""The two dialects from a client's side: how a load says things, and what it hears.

`read` is for what was kept, and is looked at after the clock has stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from quorate_protocol import hocuspocus, y_websocket
from quorate_protocol.varints import read_var_bytes, read_var_string, read_var_uint, write_var_string

EMPTY_STATE_VECTOR = b"\x00"


class Kind(Enum):
    """What a server says."""

    STEP1 = "step 1"
    STEP2 = "step 2"
    UPDATE = "update"
    AWARENESS = "awareness"
    OTHER = "other"


_SYNC_KINDS = (Kind.STEP1, Kind.STEP2, Kind.UPDATE)


class Heard(NamedTuple):
    """One message, and the Yjs bytes in it."""

    kind: Kind
    payload: bytes


class Dialect(Protocol):
    """How a client of one document says things. Each method returns one WebSocket message or a list of them."""

    @property
    def name(self) -> str:
        """What the dialect is called."""
        ...

    def greeting(self, document: str, state_vector: bytes = EMPTY_STATE_VECTOR) -> list[bytes]:
        """Come in, and ask for what is missing."""
        ...

    def update(self, document: str, update: bytes) -> bytes:
        """Write."""
        ...

    def awareness(self, document: str, update: bytes) -> bytes:
        """Show a cursor."""
        ...

    def read(self, message: bytes) -> Heard:
        """Tell what a message of the server is."""
        ...


@dataclass(frozen=True, slots=True)
class YWebSocket:
    """y-websocket: a document a socket. A writer knows by the echo that an update has gone round."""

    name: str = "y-websocket"

    def greeting(self, document: str, state_vector: bytes = EMPTY_STATE_VECTOR) -> list[bytes]:  # noqa: ARG002
        return [y_websocket.encode_step1(state_vector)]

    def update(self, document: str, update: bytes) -> bytes:  # noqa: ARG002 - the socket says which document
        return y_websocket.encode_update(update)

    def awareness(self, document: str, update: bytes) -> bytes:  # noqa: ARG002
        return y_websocket.encode_awareness(update)

    def read(self, message: bytes) -> Heard:
        return _read(message, 0)


@dataclass(frozen=True, slots=True)
class Hocuspocus:
    """Hocuspocus 4: each message begins with its document, and a SyncStatus answers each update."""

    name: str = "hocuspocus"

    def greeting(self, document: str, state_vector: bytes = EMPTY_STATE_VECTOR) -> list[bytes]:
        token = write_var_string(document) + b"\x02\x00" + write_var_string("benchmark") + write_var_string("4.7.0")
        return [token, hocuspocus.encode_step1(document, state_vector)]

    def update(self, document: str, update: bytes) -> bytes:
        return hocuspocus.encode_update(document, update)

    def awareness(self, document: str, update: bytes) -> bytes:
        return hocuspocus.encode_awareness(document, update)

    def read(self, message: bytes) -> Heard:
        return _read(message, _after_address(message)) if len(message) > 1 else Heard(Kind.OTHER, message)


def _after_address(message: bytes) -> int:
    return read_var_string(message, 0)[1]


def _read(message: bytes, at: int) -> Heard:
    kind, at = read_var_uint(message, at)
    if kind in {0, 4}:  # Sync; Hocuspocus has a second number for the answers to a step 1
        step, at = read_var_uint(message, at)
        return Heard(_SYNC_KINDS[step], read_var_bytes(message, at)[0])
    if kind == 1:
        return Heard(Kind.AWARENESS, read_var_bytes(message, at)[0])
    return Heard(Kind.OTHER, message[at:])


def messages_of(data: bytes | bytearray) -> Iterator[tuple[int, bytes]]:
    """Yield each binary message of a server's frames that is whole, with where its frame ends."""
    start, size = 0, len(data)
    while size - start >= 2:
        length, at = data[start + 1] & 0x7F, start + 2
        if length == 126:
            length, at = int.from_bytes(data[at : at + 2], "big"), at + 2
        elif length == 127:
            length, at = int.from_bytes(data[at : at + 8], "big"), at + 8
        if size < at + length:
            return
        if data[start] & 0x0F in {1, 2}:
            yield at + length, bytes(data[at : at + length])
        start = at + length
