"""Says what a connection did in the words of the protocol."""

from collections.abc import Sequence

from quorate_protocol.hocuspocus import HocuspocusConnection
from quorate_protocol.limits import DEFAULT_LIMITS, Limits
from quorate_protocol.messages import Event

TOKEN = bytes.fromhex("016402000272770534 2e382e30".replace(" ", ""))
"""The token "rw" of provider 4.8.0 for the document "d"."""


def assert_events(actual: Sequence[Event], *expected: Event) -> None:
    """Compare events with their classes, since tuples of different classes can be equal."""
    assert [(type(event), event) for event in actual] == [(type(event), event) for event in expected]


def assert_sent(connection: HocuspocusConnection, *expected: str) -> None:
    """Compare what the connection wants to send with frames in hex, spaces allowed."""
    assert [frame.hex(" ") for frame in connection.frames_to_send()] == list(expected)


def token_for(name: str, token: str = "t") -> bytes:
    """Encode the first frame of a client for a document."""
    raw = name.encode()
    return bytes((len(raw),)) + raw + b"\x02\x00" + bytes((len(token),)) + token.encode()


def established(name: str = "d", limits: Limits = DEFAULT_LIMITS) -> HocuspocusConnection:
    """Build a connection with one open document and nothing to send."""
    connection = HocuspocusConnection(limits)
    connection.receive_frame(token_for(name))
    connection.accept(name, read_only=False)
    connection.frames_to_send()
    return connection
