"""The life of one address on a Hocuspocus socket, as a table.

Everything that moves an address from one state to another is here, and nothing else is: what is
sent and queued on the way is in `hocuspocus.py`. The diagram in `docs/protocol.md` is drawn from
this table.
"""

from enum import StrEnum, unique
from typing import Final

from quorate_protocol.errors import LocalProtocolError


@unique
class AddressState(StrEnum):
    """Where an address is between its first frame and its last."""

    UNKNOWN = "unknown"
    """Never heard of, or left by the client."""

    WAITING = "waiting"
    """Frames came before a token did; they are queued."""

    AUTHENTICATING = "authenticating"
    """A token came and is being judged; frames are queued."""

    ESTABLISHED = "established"
    """The document is open."""

    CLOSED = "closed"
    """Denied, or closed by the server. Frames that were under way are ignored until the client
    shows a token again.
    """


@unique
class AddressTrigger(StrEnum):
    """What moves an address: three things a client sends, three that the server decides."""

    FRAME = "frame"
    AUTHENTICATE = "authenticate"
    LEAVE = "leave"
    ACCEPT = "accept"
    DENY = "deny"
    CLOSE = "close"


_S = AddressState
_T = AddressTrigger

TRANSITIONS: Final[dict[AddressState, dict[AddressTrigger, AddressState]]] = {
    _S.UNKNOWN: {
        _T.FRAME: _S.WAITING,
        _T.AUTHENTICATE: _S.AUTHENTICATING,
        _T.LEAVE: _S.UNKNOWN,
    },
    _S.WAITING: {
        _T.FRAME: _S.WAITING,
        _T.AUTHENTICATE: _S.AUTHENTICATING,
        _T.LEAVE: _S.UNKNOWN,
        _T.DENY: _S.CLOSED,
        _T.CLOSE: _S.CLOSED,
    },
    # What a client sends while its token is judged takes effect after the judgement, in order:
    # somebody who edits and leaves at once has still edited.
    _S.AUTHENTICATING: {
        _T.FRAME: _S.AUTHENTICATING,
        _T.AUTHENTICATE: _S.AUTHENTICATING,
        _T.LEAVE: _S.AUTHENTICATING,
        _T.ACCEPT: _S.ESTABLISHED,
        _T.DENY: _S.CLOSED,
        _T.CLOSE: _S.CLOSED,
    },
    # Accepting again answers a refreshed token; denying is how a failed load is told.
    _S.ESTABLISHED: {
        _T.FRAME: _S.ESTABLISHED,
        _T.AUTHENTICATE: _S.ESTABLISHED,
        _T.LEAVE: _S.UNKNOWN,
        _T.ACCEPT: _S.ESTABLISHED,
        _T.DENY: _S.CLOSED,
        _T.CLOSE: _S.CLOSED,
    },
    _S.CLOSED: {
        _T.FRAME: _S.CLOSED,
        _T.AUTHENTICATE: _S.AUTHENTICATING,
        _T.LEAVE: _S.UNKNOWN,
    },
}
"""The next state, by state and trigger. A pair that is missing is a mistake of our own side."""


def next_state(state: AddressState, trigger: AddressTrigger) -> AddressState:
    """Look up where a trigger leads.

    Raises:
        LocalProtocolError: the table has no such pair; only decisions of the server can be missing.
    """
    try:
        return TRANSITIONS[state][trigger]
    except KeyError:
        raise LocalProtocolError(action=trigger, state=f"the address is {state}") from None
