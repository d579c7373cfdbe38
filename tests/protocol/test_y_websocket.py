import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate_protocol import y_websocket
from quorate_protocol.errors import LimitExceeded, MalformedFrame
from quorate_protocol.limits import Limits
from quorate_protocol.messages import (
    AwarenessChange,
    AwarenessQuery,
    Ignored,
    SyncStep1,
    SyncUpdate,
)
from quorate_protocol.y_websocket import YWebSocketConnection
from tests.protocol.events import assert_events


@given(st.binary())
def test_what_is_encoded_is_read_back(payload: bytes) -> None:
    connection = YWebSocketConnection()

    assert_events(connection.receive_frame(y_websocket.encode_step1(payload)), SyncStep1("", payload))
    assert_events(
        connection.receive_frame(y_websocket.encode_step2(payload)),
        SyncUpdate("", payload, is_step2=True),
    )
    assert_events(
        connection.receive_frame(y_websocket.encode_update(payload)),
        SyncUpdate("", payload, is_step2=False),
    )
    assert_events(
        connection.receive_frame(y_websocket.encode_awareness(payload)),
        AwarenessChange("", payload),
    )


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (y_websocket.encode_step1(b"\x00"), "00 00 01 00"),
        (y_websocket.encode_step2(b"\x00\x00"), "00 01 02 00 00"),
        (y_websocket.encode_update(b"\x00\x00"), "00 02 02 00 00"),
        (y_websocket.encode_awareness(b"\x00"), "01 01 00"),
        (y_websocket.encode_permission_denied("é"), "02 00 02 c3 a9"),
    ],
)
def test_golden_frames(frame: bytes, expected: str) -> None:
    assert frame.hex(" ") == expected


def test_several_messages_in_one_frame() -> None:
    frame = y_websocket.encode_step1(b"\x00") + b"\x03" + y_websocket.encode_update(b"\x00\x00")

    assert_events(
        YWebSocketConnection().receive_frame(frame),
        SyncStep1("", b"\x00"),
        AwarenessQuery(""),
        SyncUpdate("", b"\x00\x00", is_step2=False),
    )


def test_an_empty_frame_says_nothing() -> None:
    assert_events(YWebSocketConnection().receive_frame(b""))


@pytest.mark.parametrize(("rest", "kind"), [(b"\x02\x00\x01x", "auth"), (b"\x66\x01\x00", "unknown_type")])
def test_an_unknown_message_hides_the_rest_of_its_frame(rest: bytes, kind: str) -> None:
    frame = y_websocket.encode_step1(b"\x00") + rest

    assert_events(YWebSocketConnection().receive_frame(frame), SyncStep1("", b"\x00"), Ignored("", kind))


@pytest.mark.parametrize("frame", ["00", "0000", "000005aa", "000300", "0105aa", "ff", "80"])
def test_malformed_frames(frame: str) -> None:
    with pytest.raises(MalformedFrame):
        YWebSocketConnection().receive_frame(bytes.fromhex(frame))


def test_a_frame_over_the_limit_is_refused_unread() -> None:
    connection = YWebSocketConnection(Limits(frame_bytes=10))

    with pytest.raises(LimitExceeded, match="frame_bytes is limited to 10, received 11"):
        connection.receive_frame(b"\xff" * 11)
