"""The dialect of `/channel`: commands with replies, and the change feed with resume. See `docs/channel.md`.

The envelopes are in `channel_envelopes.py`, their bytes in `channel_frames.py`; here is what may come when. Nothing
but a hello is read before the client has shown who it is; afterwards commands and subscriptions run beside each other,
as many as the limits allow.
"""

from enum import StrEnum, unique

from quorate_protocol.channel_envelopes import (
    ClientEnvelope,
    CommandRequest,
    Hello,
    Json,
    Reply,
    Subscribe,
    Unsubscribe,
    Welcome,
)
from quorate_protocol.channel_frames import decode_client_envelope, encode_envelope
from quorate_protocol.errors import LimitExceeded, LocalProtocolError, MalformedFrame
from quorate_protocol.limits import DEFAULT_LIMITS, Limits


@unique
class ChannelState(StrEnum):
    """Where a socket of `/channel` is in its life."""

    NEW = "new"
    """Nobody has said who they are."""

    JUDGING = "judging"
    """A token came and is being judged."""

    OPEN = "open"
    """It is known who is there; a fresh token may be judged at any time."""


class ChannelConnection:
    """The server's side of one `/channel` socket, without the socket.

    Bytes go in by `receive_frame`, envelopes come out. It keeps the books of what runs: which commands wait for their
    reply, which subscriptions are open. An instance belongs to one task.
    """

    __slots__ = ("_commands", "_limits", "_subscriptions", "state")

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._commands: set[int] = set()
        self._subscriptions: set[int] = set()
        self.state = ChannelState.NEW

    @property
    def should_pause(self) -> bool:
        """Whether to stop reading: a token is being judged, or as many commands run as may."""
        return self.state is ChannelState.JUDGING or len(self._commands) >= self._limits.channel_commands_in_flight

    def receive_frame(self, data: bytes) -> ClientEnvelope:
        """Read one WebSocket message.

        Raises:
            MalformedFrame: it does not follow the grammar, or comes when it may not; it had no effect.
            LimitExceeded: it passes a bound; it had no effect.
        """
        if self.state is not ChannelState.OPEN and len(data) > self._limits.handshake_bytes:
            raise LimitExceeded("handshake_bytes", self._limits.handshake_bytes, len(data))
        envelope = decode_client_envelope(data, self._limits)
        if self.state is ChannelState.JUDGING:
            raise LimitExceeded("handshake_frames", 1, 2)
        if isinstance(envelope, Hello):
            self._greet(envelope)
        elif self.state is ChannelState.NEW:
            raise MalformedFrame(expected="a hello first", received="another envelope")
        else:
            self._note(envelope)
        return envelope

    def welcome(self, user: str, position: int) -> bytes:
        """Open the socket; returns the frame that says so."""
        self.state = ChannelState.OPEN
        return encode_envelope(Welcome(user=user, position=position))

    def reply(self, number: int, *, answer: Json | None = None, problem: Json | None = None) -> bytes:
        """End a command with its answer or its problem; returns the frame that says so.

        Raises:
            LocalProtocolError: no such command waits.
            ValueError, TypeError: the answer cannot be told; the command still waits.
        """
        if number not in self._commands:
            raise LocalProtocolError(action="reply", state="no such command waits")
        frame = encode_envelope(Reply(id=number, answer=answer, problem=problem))
        self._commands.discard(number)
        return frame

    def open_subscription(self, number: int) -> None:
        """Note that a subscription is open.

        Raises:
            LimitExceeded: there are as many as may be; this one is refused, and nothing else suffers.
        """
        most = self._limits.channel_subscriptions
        if len(self._subscriptions) >= most:
            raise LimitExceeded("channel_subscriptions", most, len(self._subscriptions) + 1)
        self._subscriptions.add(number)

    def end_subscription(self, number: int) -> bool:
        """Note that a subscription sends no more; returns whether it was open."""
        if number not in self._subscriptions:
            return False
        self._subscriptions.discard(number)
        return True

    def _greet(self, hello: Hello) -> None:
        if self.state is ChannelState.NEW:
            if hello.token is None:
                raise MalformedFrame(expected="a token in the hello or in the request", received="none")
            self.state = ChannelState.JUDGING

    def _note(self, envelope: ClientEnvelope) -> None:
        """Keep the books; a number is used once at a time."""
        match envelope:
            case CommandRequest(id=number):
                _check_free(number, self._commands, "command")
                if len(self._commands) >= self._limits.channel_commands_in_flight:
                    raise LimitExceeded(
                        "channel_commands_in_flight", self._limits.channel_commands_in_flight, len(self._commands) + 1
                    )
                self._commands.add(number)
            case Subscribe(id=number):
                _check_free(number, self._subscriptions, "subscription")
            case Unsubscribe() | Hello():
                pass


def _check_free(number: int, used: set[int], what: str) -> None:
    if number in used:
        raise MalformedFrame(expected=f"an `id` that no open {what} has", received="one that is in use")
