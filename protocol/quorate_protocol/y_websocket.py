"""The y-websocket dialect: one document a socket, authentication outside.

Frame grammar: `docs/protocol.md`, "y-websocket". One message is written a frame, because stable
clients read no more; several are read, because other clients write them.
"""

from typing import Final

from quorate_protocol.bursts import read_updates
from quorate_protocol.errors import LimitExceeded
from quorate_protocol.limits import DEFAULT_LIMITS, Limits
from quorate_protocol.messages import (
    AwarenessChange,
    AwarenessQuery,
    Event,
    Ignored,
)
from quorate_protocol.sync import read_sync
from quorate_protocol.varints import (
    read_var_bytes,
    read_var_uint,
    write_var_bytes,
    write_var_string,
)

_SYNC: Final = 0
_UPDATE: Final = b"\x00\x02"
_AWARENESS: Final = 1
_AUTH: Final = 2
_QUERY_AWARENESS: Final = 3


def encode_step1(state_vector: bytes) -> bytes:
    """Encode what we have, which asks the peer for the rest."""
    return b"\x00\x00" + write_var_bytes(state_vector)


def encode_step2(update: bytes) -> bytes:
    """Encode the answer to the peer's step 1; the client then counts as synchronised."""
    return b"\x00\x01" + write_var_bytes(update)


def encode_update(update: bytes) -> bytes:
    """Encode a change for every peer, its author included: the echo is its acknowledgement."""
    return b"\x00\x02" + write_var_bytes(update)


def encode_awareness(awareness_update: bytes) -> bytes:
    """Encode presence that `awareness.encode_awareness` made."""
    return b"\x01" + write_var_bytes(awareness_update)


def encode_permission_denied(reason: str) -> bytes:
    """Encode why the peer may not; stock clients write it to their console and go on."""
    return b"\x02\x00" + write_var_string(reason)


class YWebSocketConnection:
    """The server's side of one y-websocket connection, without the socket.

    Bytes go in, events come out; it has no state to speak of, and nothing to send by itself.
    """

    __slots__ = ("_max_frame_bytes", "_max_messages")

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._max_frame_bytes = limits.frame_bytes
        self._max_messages = limits.frame_messages

    def receive_burst(self, messages: list[bytes], start: int) -> list[bytes]:
        """Read the WebSocket messages from `start` on that hold one update each and nothing else; return the updates.

        It ends before the first that is anything else, which is for `receive_frame`, and never raises.
        """
        return read_updates(_UPDATE, messages, start, self._max_frame_bytes)

    def receive_frame(self, data: bytes) -> list[Event]:
        """Read one WebSocket message, which may hold several of ours.

        A message of an unknown kind hides how long it is: it is reported as `Ignored`, with the
        rest of its frame.

        Raises:
            MalformedFrame: none of the frame's messages took effect.
            LimitExceeded: the frame is too large, or holds too many messages.
        """
        size = len(data)
        if size > self._max_frame_bytes:
            raise LimitExceeded("frame_bytes", self._max_frame_bytes, size)
        events: list[Event] = []
        position = 0
        while position < size:
            if len(events) >= self._max_messages:
                raise LimitExceeded("frame_messages", self._max_messages, len(events) + 1)
            kind, position = read_var_uint(data, position)
            if kind == _SYNC:
                event, position = read_sync("", data, position)
                events.append(event)
            elif kind == _AWARENESS:
                update, position = read_var_bytes(data, position)
                events.append(AwarenessChange("", update))
            elif kind == _QUERY_AWARENESS:
                events.append(AwarenessQuery(""))
            else:
                events.append(Ignored("", "auth" if kind == _AUTH else "unknown_type"))
                break
        return events
