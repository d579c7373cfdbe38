"""The Hocuspocus dialect, versions 3 and 4: many documents a socket, tokens in band.

Frame grammar: `docs/protocol.md`, "Hocuspocus". The states of an address are in `transitions.py`,
the bytes of the frames that we send in `hocuspocus_frames.py`.

Theory of operation. Clients do not wait for the answer to their token: they send it and go on with
their first sync and their presence. So everything else for an address is queued, within small
bounds, until the caller has judged the token with `accept` or `deny`; `accept` hands the queued
messages out in their order. Nothing is allocated for a peer beyond those bounds before it has shown
who it is.
"""

from typing import Final

from quorate_protocol.addresses import AddressBook, Slot
from quorate_protocol.bursts import read_updates
from quorate_protocol.errors import LimitExceeded, LocalProtocolError, MalformedFrame, NameRefused
from quorate_protocol.hocuspocus_frames import (
    AUTH_TOKEN,
    PING,
    PONG,
    MessageType,
    encode_authenticated,
    encode_awareness,
    encode_close,
    encode_permission_denied,
    encode_stateless,
    encode_step1,
    encode_step2,
    encode_sync_status,
    encode_token_request,
    encode_update,
)
from quorate_protocol.limits import DEFAULT_LIMITS, Limits
from quorate_protocol.messages import (
    Authenticate,
    AwarenessChange,
    AwarenessQuery,
    CloseDocument,
    Event,
    Ignored,
    Ping,
    Pong,
    Stateless,
)
from quorate_protocol.sync import read_sync
from quorate_protocol.transitions import AddressState, AddressTrigger
from quorate_protocol.varints import read_var_bytes, read_var_string, read_var_uint

__all__ = [
    "PING",
    "PONG",
    "PROVIDER_INITIATED",
    "RESET_CONNECTION",
    "HocuspocusConnection",
    "encode_authenticated",
    "encode_awareness",
    "encode_close",
    "encode_permission_denied",
    "encode_stateless",
    "encode_step1",
    "encode_step2",
    "encode_sync_status",
    "encode_token_request",
    "encode_update",
]

PROVIDER_INITIATED: Final = "provider_initiated"
RESET_CONNECTION: Final = "Reset Connection"

# Looked up for nearly every frame, where a member of an enumeration costs 40 ns more.
_SYNC: Final = int(MessageType.SYNC)
_AWARENESS: Final = int(MessageType.AWARENESS)

_SERVERS_ONLY: Final = frozenset((MessageType.SYNC_REPLY, MessageType.BROADCAST_STATELESS))
_MAX_VERSION_CHARACTERS: Final = 64


class HocuspocusConnection:
    """The server's side of one Hocuspocus connection, without the socket.

    Bytes go in by `receive_frame`, events come out; decisions go in by `accept`, `deny` and
    `close`; after any of these calls, `frames_to_send` holds what the peer must be told. An
    instance belongs to one task.
    """

    __slots__ = ("_book", "_latest", "_limits", "_outgoing")

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._book = AddressBook(limits)
        self._outgoing: list[bytes] = []
        self._latest: Slot | None = None
        """The document of the newest burst: the next is nearly always of the same."""

    # Public: what the caller may ask.

    @property
    def is_authenticated(self) -> bool:
        """Whether any document was accepted on this socket, even if it is closed by now."""
        return self._book.has_established

    @property
    def addresses(self) -> list[str]:
        """The addresses whose documents are open, oldest first."""
        return [slot.address for slot in self._book.in_state(AddressState.ESTABLISHED)]

    @property
    def should_pause(self) -> bool:
        """Whether to stop reading until a token is judged, because the next frame may pass a bound.

        A stock client that opens twenty documents at once, or types while a slow identity provider
        answers, does nothing wrong: pausing lets it pass where reading on would raise. It is false
        while no token is being judged, when waiting would help nobody.
        """
        return self._book.is_near_a_bound()

    def state_of(self, address: str) -> AddressState:
        """Tell where an address is in its life."""
        slot = self._book.get(address.encode())
        return AddressState.UNKNOWN if slot is None else slot.state

    # Public: receiving.

    def receive_frame(self, data: bytes) -> list[Event]:
        """Read one WebSocket message; returns the events to act on, often one and often none.

        A message that only servers may send closes its document: the frame that says so is queued
        for sending, and a `CloseDocument` is returned. A document whose name is refused, or that is
        one too many, is denied here, which leaves the other documents of the socket alone; an
        `Ignored` is returned.

        Raises:
            MalformedFrame: the frame had no effect.
            LimitExceeded: the frame had no effect; the caller closes the socket.
        """
        if len(data) > self._limits.frame_bytes:
            raise LimitExceeded("frame_bytes", self._limits.frame_bytes, len(data))
        if len(data) == 1:
            return self._receive_beat(data)
        key, position = read_var_bytes(data, 0)
        kind, position = read_var_uint(data, position)
        slot = self._book.get(key)
        if slot is not None and slot.state is AddressState.ESTABLISHED:
            return [self._receive_open(slot, kind, data, position)]
        return self._receive_closed(slot, key, kind, data, position)

    def receive_burst(self, messages: list[bytes], start: int) -> tuple[str, list[bytes]]:
        """Read the WebSocket messages from `start` on that hold one edit each of one open document.

        Returns the address and the updates, none when the first message is anything else: that is for
        `receive_frame`. Never raises.
        """
        slot = self._latest
        if slot is None or not messages[start].startswith(slot.edit_prefix):
            slot = self._book.find_edited(messages[start])
            self._latest = slot
        if slot is None or slot.state is not AddressState.ESTABLISHED:
            return "", []
        return slot.address, read_updates(slot.edit_prefix, messages, start, self._limits.frame_bytes)

    def frames_to_send(self) -> list[bytes]:
        """Hand out, once and in order, what the peer must be sent: one WebSocket message each."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    # Public: deciding.

    def accept(self, address: str, *, read_only: bool) -> list[Event]:
        """Open a document whose token was judged good; returns what was queued for it, in order.

        On a document that is open already this answers a refreshed token with the new scope.

        Raises:
            LocalProtocolError: no token of this address is waiting; the peer may have left. Nothing
                was changed.
            MalformedFrame: a queued frame does not follow the grammar; the caller closes the
                socket.
            LimitExceeded: as for `receive_frame`.
        """
        slot = self._book.get(address.encode())
        if slot is None:
            raise LocalProtocolError(action="accept", state="the address is unknown")
        self._book.move(slot, AddressTrigger.ACCEPT)
        self._outgoing.append(encode_authenticated(address, read_only=read_only))
        return [event for frame in slot.take_queue() for event in self.receive_frame(frame)]

    def deny(self, address: str, reason: str) -> None:
        """Refuse a document and tell the peer why; it may show another token on this socket.

        What was queued for the address is dropped. Without effect if the peer has left the address
        already.
        """
        self._end(address, AddressTrigger.DENY, encode_permission_denied(address, reason))

    def close(self, address: str, reason: str) -> None:
        """Close a document and tell the peer why; the socket and its other documents stay.

        Without effect if the address is not open or waiting any more.
        """
        self._end(address, AddressTrigger.CLOSE, encode_close(address, reason))

    # Private: frames of open documents.

    def _receive_open(self, slot: Slot, kind: int, data: bytes, position: int) -> Event:
        """Read what the peer says about a document that is open."""
        address = slot.address
        if kind == _SYNC:
            event: Event = read_sync(address, data, position)[0]
        elif kind == _AWARENESS:
            event = AwarenessChange(address, read_var_bytes(data, position)[0])
        elif kind == MessageType.QUERY_AWARENESS:
            event = AwarenessQuery(address)
        elif kind == MessageType.STATELESS:
            event = self._read_stateless(address, data, position)
        elif kind == MessageType.AUTH:
            event = _read_token(slot, data, position, is_refresh=True)
        elif kind == MessageType.CLOSE:
            event = self._leave(slot)
        elif kind in _SERVERS_ONLY:
            self.close(address, RESET_CONNECTION)
            event = CloseDocument(address, RESET_CONNECTION)
        else:
            event = Ignored(address, "unknown_type")
        return event

    def _read_stateless(self, address: str, data: bytes, position: int) -> Event:
        size, _ = read_var_uint(data, position)
        if size > self._limits.stateless_bytes:
            raise LimitExceeded("stateless_bytes", self._limits.stateless_bytes, size)
        return Stateless(address, read_var_string(data, position)[0])

    def _leave(self, slot: Slot) -> Event:
        self._book.move(slot, AddressTrigger.LEAVE)
        self._outgoing.append(encode_close(slot.address, PROVIDER_INITIATED))
        return CloseDocument(slot.address, PROVIDER_INITIATED)

    # Private: frames of documents that are not open.

    def _receive_closed(self, slot: Slot | None, key: bytes, kind: int, data: bytes, position: int) -> list[Event]:
        """Read a frame whose exact address has no open document."""
        if kind == MessageType.AUTH:
            return [self._receive_token(slot, key, data, position)]
        if slot is None:
            plain = self._book.get(key.partition(b"\0")[0])
            if plain is not None and plain.state is AddressState.ESTABLISHED:
                # The reference looks for the exact address first and then for the plain name.
                return [self._receive_open(plain, kind, data, position)]
            if kind == MessageType.CLOSE:
                return [Ignored("", "not_open")]
            slot = self._book.new(key)
            if slot is None:
                return [Ignored("", "name_refused")]
        if slot.state is AddressState.CLOSED or (slot.state is AddressState.WAITING and kind == MessageType.CLOSE):
            return [self._receive_late(slot, kind)]
        self._book.enqueue(slot, AddressTrigger.FRAME, data)
        return []

    def _receive_late(self, slot: Slot, kind: int) -> Event:
        """Take a frame that comes after its document closed, or a goodbye without a token."""
        if kind == MessageType.CLOSE:
            self._book.move(slot, AddressTrigger.LEAVE)
        return Ignored(slot.address, "not_open")

    def _receive_token(self, slot: Slot | None, key: bytes, data: bytes, position: int) -> Event:
        """Read a token for a document that is not open."""
        size = len(data)
        if size > self._limits.handshake_bytes:
            raise LimitExceeded("handshake_bytes", self._limits.handshake_bytes, size)
        if slot is None:
            slot = self._book.new(key)
            if slot is None:
                return self._refuse_name(key)
        if slot.state is AddressState.AUTHENTICATING:
            self._book.enqueue(slot, AddressTrigger.AUTHENTICATE, data)
            return Ignored(slot.address, "token_queued")
        event = _read_token(slot, data, position, is_refresh=False)
        self._book.check_pending(slot)
        if self._book.is_one_too_many(slot):
            self._book.forget(slot)
            reason = "documents_per_socket"
            self._outgoing.append(encode_permission_denied(slot.address, reason))
            return Ignored(slot.address, reason)
        self._book.move(slot, AddressTrigger.AUTHENTICATE)
        return event

    def _refuse_name(self, key: bytes) -> Event:
        """Deny a document that can have no such name; the peer's others are not affected."""
        self._outgoing.append(encode_permission_denied(key.decode(errors="replace"), NameRefused.reason))
        return Ignored("", NameRefused.reason)

    def _end(self, address: str, trigger: AddressTrigger, frame: bytes) -> None:
        slot = self._book.get(address.encode())
        if slot is None or slot.state is AddressState.CLOSED:
            return
        self._book.move(slot, trigger)
        slot.take_queue()
        self._outgoing.append(frame)

    def _receive_beat(self, data: bytes) -> list[Event]:
        """Read a ping or pong: the only frames without an address, and one byte long."""
        if data == PING:
            self._outgoing.append(PONG)
            return [Ping()]
        if data == PONG:
            return [Pong()]
        raise MalformedFrame(expected="an address", received="a single byte", position=0)


def _read_token(slot: Slot, data: bytes, position: int, *, is_refresh: bool) -> Event:
    kind, position = read_var_uint(data, position)
    if kind != AUTH_TOKEN:
        raise MalformedFrame(expected="a token", received="another kind", position=position)
    token, position = read_var_string(data, position)
    version = None
    if position < len(data):
        version = read_var_string(data, position)[0][:_MAX_VERSION_CHARACTERS]
    return Authenticate(slot.address, slot.document, slot.session, token, version, is_refresh)
