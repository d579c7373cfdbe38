from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate_protocol.channel import ChannelConnection, ChannelState
from quorate_protocol.channel_envelopes import (
    ClientEnvelope,
    CommandRequest,
    FeedEvent,
    Goodbye,
    Hello,
    Progress,
    Reply,
    ServerEnvelope,
    Subscribe,
    SubscriptionClosed,
    Unsubscribe,
    Welcome,
)
from quorate_protocol.channel_frames import decode_client_envelope, decode_server_envelope, encode_envelope
from quorate_protocol.errors import LimitExceeded, LocalProtocolError, MalformedFrame, RemoteProtocolError
from quorate_protocol.limits import DEFAULT_LIMITS

_IDS = st.integers(0, 2**32 - 1)
_POSITIONS = st.integers(0, 2**53 - 1)
_NAMES = st.text(min_size=1, max_size=30)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
_OBJECTS = st.dictionaries(st.text(max_size=10), _JSON, max_size=5)
_TYPES = st.from_regex(r"[a-z]{1,10}(\.[a-z]{1,10}|\.\*)?|\*", fullmatch=True)

_CLIENT: st.SearchStrategy[ClientEnvelope] = st.one_of(
    st.builds(Hello, token=st.none() | st.text(max_size=50)),
    st.builds(CommandRequest, id=_IDS, name=_NAMES, values=_OBJECTS, key=st.text(max_size=30)),
    st.builds(
        Subscribe, id=_IDS, after=st.none() | _POSITIONS, types=st.lists(_TYPES, max_size=5).map(tuple),
        prefix=st.text(max_size=30), kinds=st.lists(_NAMES, max_size=5).map(tuple),
    ),
    st.builds(Unsubscribe, id=_IDS),
)  # fmt: skip
_SERVER: st.SearchStrategy[ServerEnvelope] = st.one_of(
    st.builds(Welcome, user=_NAMES, position=_POSITIONS, version=_IDS),
    st.builds(Reply, id=_IDS, answer=_OBJECTS),
    st.builds(Reply, id=_IDS, problem=_OBJECTS),
    st.builds(FeedEvent, subscription=_IDS, position=_POSITIONS, event=_OBJECTS),
    st.builds(Progress, subscription=_IDS, position=_POSITIONS),
    st.builds(SubscriptionClosed, subscription=_IDS, problem=st.none() | _OBJECTS),
    st.builds(Goodbye, problem=_OBJECTS),
)


def pack(members: object) -> bytes:
    packed: bytes = msgpack.packb(members)
    return packed


def opened(**changes: int) -> ChannelConnection:
    connection = ChannelConnection(replace(DEFAULT_LIMITS, **changes))
    connection.welcome("anna", 7)
    return connection


@given(_CLIENT)
def test_what_a_client_says_is_read_as_it_was_said(envelope: ClientEnvelope) -> None:
    assert decode_client_envelope(encode_envelope(envelope)) == envelope


@given(_SERVER)
def test_what_a_server_says_is_read_as_it_was_said(envelope: ServerEnvelope) -> None:
    assert decode_server_envelope(encode_envelope(envelope)) == envelope


@given(st.binary(max_size=200) | _JSON.map(pack) | _OBJECTS.map(lambda o: pack({"type": "command", **o})))
def test_random_bytes_raise_nothing_but_the_errors_of_the_protocol(data: bytes) -> None:
    for read in (decode_client_envelope, decode_server_envelope, opened().receive_frame):
        with suppress(RemoteProtocolError):
            read(data)


@given(_CLIENT, st.data())
def test_a_damaged_envelope_is_refused_or_read_as_another(envelope: ClientEnvelope, data: st.DataObject) -> None:
    frame = bytearray(encode_envelope(envelope))
    place = data.draw(st.integers(0, len(frame) - 1))
    frame[place] = data.draw(st.integers(0, 255))
    with suppress(RemoteProtocolError):
        found = decode_client_envelope(bytes(frame))
        assert decode_client_envelope(encode_envelope(found)) == found


_COMMAND: Mapping[str, object] = {"type": "command", "id": 1, "name": "a.b", "values": {}}


@pytest.mark.parametrize(
    ("members", "expected", "received"),
    [
        ([], "a msgpack map", "a list"),
        ({}, "`type` to be one of hello, command, subscribe, unsubscribe", "nothing"),
        ({"type": "welcome"}, "`type` to be one of hello, command, subscribe, unsubscribe", "another text"),
        ({**_COMMAND, "id": -1}, "`id` of 'command' to be a number from 0 to 4294967295", "-1"),
        ({**_COMMAND, "id": True}, "`id` of 'command' to be a number from 0 to 4294967295", "True"),
        ({**_COMMAND, "id": "1"}, "`id` of 'command' to be a number from 0 to 4294967295", "another text"),
        ({**_COMMAND, "values": []}, "`values` of 'command' to be a map", "a list"),
        ({**_COMMAND, "name": ""}, "`name` of 'command' to be 1 to 128 bytes of text", "0"),
        ({**_COMMAND, "name": "x" * 129}, "`name` of 'command' to be 1 to 128 bytes of text", "129"),
        ({**_COMMAND, "key": None}, "`key` of 'command' to be a text", "nothing"),
        ({**_COMMAND, "more": 1, "most": 2}, "no further member in 'command'", "2 that it does not have"),
        ({**_COMMAND, "values": {"a": math.inf}}, "values that JSON has", "inf"),
        ({**_COMMAND, "values": {"a": b""}}, "values that JSON has", "bytes"),
        ({"type": "subscribe", "id": 1, "types": "a"}, "`types` of 'subscribe' to be a list of texts", "another text"),
        ({"type": "subscribe", "id": 1, "types": ["a*"]}, "`name.of.type`, `name.*` or `*`", "another form"),
        ({"type": "subscribe", "id": 1, "kinds": [1]}, "texts of 1 to 128 characters", "1"),
        ({"type": "subscribe", "id": 1, "after": 2**53}, "a number from 0 to 9007199254740991", str(2**53)),
    ],
)
def test_an_error_says_what_was_expected_and_what_came(members: object, expected: str, received: str) -> None:
    with pytest.raises(MalformedFrame) as raised:
        decode_client_envelope(pack(members))
    assert expected in raised.value.expected
    assert raised.value.received == received


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x81",
        pack(_COMMAND) + b"\xc0",
        b"\x81\xa4type\xa5\xff\xfe\xfd\xfc\xfb",  # no UTF-8
        b"\x81\x01\x02",  # a number as a name
        b"\x82\xa4type\xa5hello\xa4type\xa5hello",  # a member twice
        b"\x81\xc4\x04type\xa5hello",  # bytes as a name
        b"\x81\xa4type\xc7\x00\x05",  # an extension
        b"\x81\xa4type\xd6\xff\x00\x00\x00\x00",  # a time stamp
        b"\xdf\xff\xff\xff\xff",  # four thousand million members
        b"\x91" * 2000,
    ],
)
def test_what_is_not_one_plain_map_is_refused(frame: bytes) -> None:
    with pytest.raises((MalformedFrame, LimitExceeded)):
        decode_client_envelope(frame)


def test_a_frame_beyond_its_limit_is_refused_unread() -> None:
    with pytest.raises(LimitExceeded, match="channel_frame_bytes is limited to 10, received 11"):
        decode_client_envelope(bytes(11), replace(DEFAULT_LIMITS, channel_frame_bytes=10))


@pytest.mark.parametrize("value", [[{}] * 60_000, {"a": [[]] * 30_000}, [0] * 50_001])
def test_more_values_than_allowed_are_refused_while_they_are_read(value: object) -> None:
    with pytest.raises((LimitExceeded, MalformedFrame), match=r"channel_values|exceeds max_array_len"):
        decode_client_envelope(pack({**_COMMAND, "values": {"a": value}}))


def test_values_may_nest_to_the_limit_and_no_deeper() -> None:
    def nested(levels: int) -> bytes:
        value: object = 1
        for _ in range(levels - 1):
            value = [value]
        return pack({**_COMMAND, "values": {"a": value}})

    limits = replace(DEFAULT_LIMITS, channel_nesting_levels=5)
    assert decode_client_envelope(nested(5), limits)
    with pytest.raises(LimitExceeded, match="channel_nesting_levels"):
        decode_client_envelope(nested(6), limits)


def test_a_number_that_msgpack_cannot_hold_is_told_as_near_as_can_be() -> None:
    frame = encode_envelope(Reply(id=1, answer={"many": 2**70}))
    assert decode_server_envelope(frame) == Reply(id=1, answer={"many": float(2**70)})


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(Hello(token="secret"))


# The order of things


def test_nothing_but_a_hello_is_read_first() -> None:
    with pytest.raises(MalformedFrame, match="expected a hello first"):
        ChannelConnection().receive_frame(pack(_COMMAND))
    with pytest.raises(MalformedFrame, match="expected a token"):
        ChannelConnection().receive_frame(encode_envelope(Hello()))


def test_a_large_first_frame_is_refused_unread() -> None:
    limit = DEFAULT_LIMITS.handshake_bytes
    with pytest.raises(LimitExceeded, match="handshake_bytes"):
        ChannelConnection().receive_frame(bytes(limit + 1))


def test_reading_pauses_while_a_token_is_judged() -> None:
    connection = ChannelConnection()
    connection.receive_frame(encode_envelope(Hello(token="t")))
    assert (connection.state, connection.should_pause) == (ChannelState.JUDGING, True)
    with pytest.raises(LimitExceeded, match="handshake_frames"):
        connection.receive_frame(encode_envelope(Hello(token="t")))
    frame = connection.welcome("anna", 7)
    assert decode_server_envelope(frame) == Welcome(user="anna", position=7)
    assert not connection.should_pause


def test_a_fresh_token_may_be_shown_while_commands_run() -> None:
    connection = opened()
    connection.receive_frame(pack(_COMMAND))
    assert connection.receive_frame(encode_envelope(Hello(token="t"))) == Hello(token="t")
    assert not connection.should_pause


def test_reading_pauses_at_the_bound_of_commands() -> None:
    connection = opened(channel_commands_in_flight=2)
    for number in (1, 2):
        connection.receive_frame(pack({**_COMMAND, "id": number}))
    assert connection.should_pause
    with pytest.raises(LimitExceeded, match="channel_commands_in_flight"):
        connection.receive_frame(pack({**_COMMAND, "id": 3}))
    connection.reply(1, answer={})
    assert not connection.should_pause


def test_the_number_of_a_command_is_free_again_after_its_reply() -> None:
    connection = opened()
    connection.receive_frame(pack(_COMMAND))
    with pytest.raises(MalformedFrame, match="an `id` that no open command has"):
        connection.receive_frame(pack(_COMMAND))
    assert decode_server_envelope(connection.reply(1, problem={"status": 409})) == Reply(id=1, problem={"status": 409})
    connection.receive_frame(pack(_COMMAND))
    with pytest.raises(LocalProtocolError):
        connection.reply(2, answer={})


def test_an_answer_that_cannot_be_told_leaves_its_command_waiting() -> None:
    connection = opened()
    connection.receive_frame(pack(_COMMAND))
    with pytest.raises(ValueError, match="surrogates"):
        connection.reply(1, answer={"a": "\ud800"})
    assert connection.reply(1, problem={})


def test_a_subscription_too_many_is_refused_alone() -> None:
    connection = opened(channel_subscriptions=1)
    connection.open_subscription(1)
    with pytest.raises(MalformedFrame, match="an `id` that no open subscription has"):
        connection.receive_frame(encode_envelope(Subscribe(id=1)))
    assert connection.receive_frame(encode_envelope(Subscribe(id=2))) == Subscribe(id=2)
    with pytest.raises(LimitExceeded, match="channel_subscriptions is limited to 1, received 2"):
        connection.open_subscription(2)
    assert connection.end_subscription(1)
    assert not connection.end_subscription(1)
    connection.open_subscription(2)


def test_the_example_of_the_page_is_what_travels() -> None:
    page = (Path(__file__).parents[2] / "docs" / "channel.md").read_text(encoding="utf-8")
    lines = re.findall(r"^([CS]): (\w+) +((?:[0-9a-f]{2} ?)+)$", page, re.MULTILINE)
    found = [
        (decode_client_envelope if side == "C" else decode_server_envelope)(bytes.fromhex(text))
        for side, _, text in lines
    ]
    values = {"artifact": "text/a", "principal": "user:ben", "role": "viewer"}
    assert found == [
        Hello(token="abc"),
        Welcome(user="anna", position=40),
        Subscribe(id=1, types=("access.*",)),
        Progress(subscription=1, position=40),
        CommandRequest(id=7, name="access.share", values=values, key="k1"),
        Reply(id=7, answer={"changed": True}),
    ]
    assert [encode_envelope(envelope).hex(" ") for envelope in found] == [text for _, _, text in lines]
