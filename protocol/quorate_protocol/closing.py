"""Why a socket is closed, and what each kind of client makes of the code.

One table for the codes, one for which error becomes which code. The bands are those of y-websocket
3.1: it stops for good on 4400 to 4499 and reconnects on everything else. Hocuspocus providers
ignore the codes and always reconnect: only PermissionDenied for each document stops them.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum, unique
from types import MappingProxyType
from typing import Final

from quorate_protocol.errors import (
    LimitExceeded,
    MalformedFrame,
    NameRefused,
    RemoteProtocolError,
)


@unique
class Dialect(StrEnum):
    """What is spoken on a socket."""

    Y_WEBSOCKET = "y-websocket"
    HOCUSPOCUS = "hocuspocus"
    CHANNEL = "channel"


@unique
class CloseCode(IntEnum):
    """Every code that this server closes a WebSocket with."""

    NORMAL = 1000
    GOING_AWAY = 1001
    UNSUPPORTED_DATA = 1003
    INVALID_DATA = 1007
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    RESTARTING = 1012
    TRY_LATER = 1013
    RESET_CONNECTION = 4205
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    GONE = 4404
    TIMED_OUT = 4408


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosingRule:
    """What one close code says.

    `is_permanent` is what the server means: coming back with the same request is pointless.
    The two texts are what the stock clients do about it, as shown in `docs/protocol.md`.
    """

    code: CloseCode
    is_permanent: bool
    meaning: str
    y_websocket: str
    hocuspocus: str


_PERMANENT_BAND: Final = range(4400, 4500)
"""The codes on which y-websocket 3.1 stops for good."""

_STOPS: Final = "stops (3.1); reconnects (before)"
_RECONNECTS: Final = "reconnects within 2.5 s"
_RECONNECTS_WITH_JITTER: Final = "reconnects within 1 to 30 s"
_NEVER_SENT: Final = "never sent"


def _rule(
    code: CloseCode,
    meaning: str,
    *,
    y_websocket: str | None = None,
    hocuspocus: str = _RECONNECTS_WITH_JITTER,
    is_permanent: bool | None = None,
) -> ClosingRule:
    in_permanent_band = code in _PERMANENT_BAND
    by_band = _STOPS if in_permanent_band else _RECONNECTS
    return ClosingRule(
        code=code,
        is_permanent=in_permanent_band if is_permanent is None else is_permanent,
        meaning=meaning,
        y_websocket=by_band if y_websocket is None else y_websocket,
        hocuspocus=hocuspocus,
    )


CLOSING_RULES: Final = MappingProxyType(
    {
        rule.code: rule
        for rule in (
            _rule(CloseCode.NORMAL, "done"),
            _rule(CloseCode.GOING_AWAY, "the peer or this server leaves"),
            _rule(CloseCode.UNSUPPORTED_DATA, "a text message where only binary ones are spoken"),
            _rule(CloseCode.INVALID_DATA, "an undecodable frame", hocuspocus=_NEVER_SENT),
            _rule(CloseCode.TOO_BIG, "a frame over the limit"),
            _rule(CloseCode.INTERNAL_ERROR, "a fault of this server"),
            _rule(CloseCode.RESTARTING, "this server restarts"),
            _rule(CloseCode.TRY_LATER, "overloaded, or the peer reads too slowly"),
            _rule(CloseCode.RESET_CONNECTION, "a limit of the connection", y_websocket=_NEVER_SENT),
            _rule(CloseCode.BAD_REQUEST, "no document can have this name", hocuspocus=_NEVER_SENT),
            _rule(CloseCode.UNAUTHORIZED, "no valid token; on Hocuspocus also an undecodable frame"),
            _rule(CloseCode.FORBIDDEN, "no access to this document"),
            _rule(CloseCode.GONE, "the document was deleted"),
            # A timeout is nothing permanent, and y-websocket 3.1 would stop for ever.
            _rule(
                CloseCode.TIMED_OUT,
                "no message, or no authentication, in time",
                y_websocket=_NEVER_SENT,
                is_permanent=False,
            ),
        )
    }
)
"""What each close code says, and to whom."""

# A proxy can mangle a frame, so an undecodable one is transient on y-websocket;
# the test suite of Hocuspocus demands 4401 for the same fault.
_BY_ERROR: Final[dict[type[RemoteProtocolError], dict[Dialect, CloseCode]]] = {
    MalformedFrame: {
        Dialect.Y_WEBSOCKET: CloseCode.INVALID_DATA,
        Dialect.HOCUSPOCUS: CloseCode.UNAUTHORIZED,
        Dialect.CHANNEL: CloseCode.INVALID_DATA,
    },
    LimitExceeded: {
        Dialect.Y_WEBSOCKET: CloseCode.TOO_BIG,
        Dialect.HOCUSPOCUS: CloseCode.RESET_CONNECTION,
        Dialect.CHANNEL: CloseCode.TOO_BIG,
    },
    NameRefused: {
        Dialect.Y_WEBSOCKET: CloseCode.BAD_REQUEST,
        Dialect.HOCUSPOCUS: CloseCode.RESET_CONNECTION,
        Dialect.CHANNEL: CloseCode.BAD_REQUEST,
    },
    RemoteProtocolError: {
        Dialect.Y_WEBSOCKET: CloseCode.INVALID_DATA,
        Dialect.HOCUSPOCUS: CloseCode.RESET_CONNECTION,
        Dialect.CHANNEL: CloseCode.INVALID_DATA,
    },
}

_TIMED_OUT: Final = {
    Dialect.Y_WEBSOCKET: CloseCode.TRY_LATER,
    Dialect.HOCUSPOCUS: CloseCode.TIMED_OUT,
    Dialect.CHANNEL: CloseCode.TRY_LATER,
}

# Limits whose fault has a code of its own, whatever the others become.
_BY_LIMIT: Final[dict[str, dict[Dialect, CloseCode]]] = {
    "frame_bytes": dict.fromkeys(Dialect, CloseCode.TOO_BIG),
    "document_bytes": dict.fromkeys(Dialect, CloseCode.TOO_BIG),
    "send_buffer_bytes": dict.fromkeys(Dialect, CloseCode.TRY_LATER),
    "handshake_seconds": _TIMED_OUT,
}


def close_code(error: BaseException, dialect: Dialect) -> CloseCode:
    """Tell which code a socket of this dialect is closed with because of an error.

    Anything but a fault of the peer is a fault of ours and closes with 1011, which tells nothing.
    """
    if not isinstance(error, RemoteProtocolError):
        return CloseCode.INTERNAL_ERROR
    if isinstance(error, LimitExceeded) and error.limit_name in _BY_LIMIT:
        return _BY_LIMIT[error.limit_name][dialect]
    for kind in type(error).__mro__:
        if kind in _BY_ERROR:
            return _BY_ERROR[kind][dialect]
    return CloseCode.INTERNAL_ERROR
