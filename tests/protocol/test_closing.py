import dataclasses

import pytest

from quorate_protocol.closing import CLOSING_RULES, CloseCode, Dialect, close_code
from quorate_protocol.errors import (
    LimitExceeded,
    LocalProtocolError,
    MalformedFrame,
    NameRefused,
    RemoteProtocolError,
)
from quorate_protocol.limits import Limits

_MALFORMED = MalformedFrame(expected="a number", received="the end")


@pytest.mark.parametrize(
    ("error", "dialect", "code"),
    [
        (_MALFORMED, Dialect.Y_WEBSOCKET, 1007),
        (_MALFORMED, Dialect.HOCUSPOCUS, 4401),
        (LimitExceeded("handshake_frames", 10, 11), Dialect.HOCUSPOCUS, 4205),
        (LimitExceeded("handshake_seconds", 5, 5), Dialect.HOCUSPOCUS, 4408),
        (LimitExceeded("handshake_seconds", 5, 5), Dialect.Y_WEBSOCKET, 1013),
        (LimitExceeded("frame_bytes", 1, 2), Dialect.HOCUSPOCUS, 1009),
        (LimitExceeded("frame_bytes", 1, 2), Dialect.Y_WEBSOCKET, 1009),
        (LimitExceeded("send_buffer_bytes", 1, 2), Dialect.Y_WEBSOCKET, 1013),
        (NameRefused("is empty"), Dialect.Y_WEBSOCKET, 4400),
        (RemoteProtocolError(), Dialect.Y_WEBSOCKET, 1007),
        (LocalProtocolError(action="a", state="b"), Dialect.Y_WEBSOCKET, 1011),
        (ValueError(), Dialect.HOCUSPOCUS, 1011),
    ],
)
def test_each_error_has_its_code(error: Exception, dialect: Dialect, code: int) -> None:
    assert close_code(error, dialect) == code


def test_a_new_kind_of_error_takes_the_code_of_its_branch() -> None:
    class Unheard(LimitExceeded):
        pass

    assert close_code(Unheard("x", 1, 2), Dialect.HOCUSPOCUS) == 4205


def test_every_code_has_a_rule() -> None:
    assert set(CLOSING_RULES) == set(CloseCode)


def test_y_websocket_never_stops_for_what_passes() -> None:
    """y-websocket 3.1 stops for good on 4400 to 4499, so only what is permanent may be there."""
    for rule in CLOSING_RULES.values():
        is_sent = rule.y_websocket != "never sent"
        assert not (is_sent and rule.y_websocket.startswith("stops") and not rule.is_permanent)
    assert CLOSING_RULES[CloseCode.TIMED_OUT].y_websocket == "never sent"


@pytest.mark.parametrize("dialect", [Dialect.Y_WEBSOCKET, Dialect.HOCUSPOCUS])
def test_no_error_leads_to_a_code_that_its_dialect_never_sends(dialect: Dialect) -> None:
    errors = [_MALFORMED, RemoteProtocolError(), ValueError()]
    errors += [LimitExceeded(field.name, 1, 2) for field in dataclasses.fields(Limits)]
    attribute = "y_websocket" if dialect is Dialect.Y_WEBSOCKET else "hocuspocus"

    for error in errors:
        rule = CLOSING_RULES[close_code(error, dialect)]
        assert getattr(rule, attribute) != "never sent", error
