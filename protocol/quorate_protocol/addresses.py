"""The addresses of one Hocuspocus socket: their states, and what is queued for them, within bounds.

What the frames mean is in `hocuspocus.py`, which is the only user of this module.
"""

from collections.abc import Iterator
from typing import Final

from quorate_protocol.errors import LimitExceeded, MalformedFrame, NameRefused
from quorate_protocol.ids import DocumentName
from quorate_protocol.limits import Limits
from quorate_protocol.names import parse_document_name, split_address
from quorate_protocol.transitions import AddressState, AddressTrigger, next_state
from quorate_protocol.varints import not_utf8, read_var_bytes, write_var_bytes

_QUEUEING: Final = frozenset((AddressState.WAITING, AddressState.AUTHENTICATING))


class Slot:
    """One address, by the bytes that the peer writes in front of its frames."""

    __slots__ = ("address", "document", "edit_prefix", "key", "queue", "queued_bytes", "session", "state")

    def __init__(self, key: bytes, address: str, document: DocumentName, session: str | None) -> None:
        self.key = key
        self.edit_prefix = write_var_bytes(key) + b"\x00\x02"
        """What an edit begins with; the update follows."""
        self.address = address
        self.document = document
        self.session = session
        self.state = AddressState.UNKNOWN
        self.queue: list[bytes] = []
        self.queued_bytes = 0

    def take_queue(self) -> list[bytes]:
        """Empty the queue and return what was in it, in order."""
        queue, self.queue, self.queued_bytes = self.queue, [], 0
        return queue


class AddressBook:
    """All addresses of a socket that are not unknown."""

    __slots__ = ("_limits", "_pending", "_slots", "has_established")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._slots: dict[bytes, Slot] = {}
        # Those of the slots that queue: asked for after every frame, and nearly always none.
        self._pending: dict[bytes, Slot] = {}
        self.has_established = False
        """Whether any document was ever open: the peer is somebody, and its bounds are wider."""

    def get(self, key: bytes) -> Slot | None:
        """Return the slot of exactly these bytes."""
        return self._slots.get(key)

    def find_edited(self, message: bytes) -> Slot | None:
        """Return the slot of the document that a message may be an edit of."""
        try:
            key, _ = read_var_bytes(message, 0)
        except MalformedFrame:
            return None
        return self._slots.get(key)

    def in_state(self, state: AddressState) -> Iterator[Slot]:
        """Go through the slots in a state, oldest first."""
        return (slot for slot in self._slots.values() if slot.state is state)

    def new(self, key: bytes) -> Slot | None:
        """Make a slot that is not entered yet, or None if no document can be called that.

        Raises:
            MalformedFrame: it is not UTF-8.
        """
        limits = self._limits
        if len(key) > limits.name_bytes + 1 + limits.session_bytes:
            return None
        try:
            address = key.decode()
        except UnicodeDecodeError as error:
            raise not_utf8(error.start) from None
        name, session = split_address(address)
        try:
            document = parse_document_name(name, max_bytes=limits.name_bytes)
        except NameRefused:
            return None
        return Slot(key, address, document, session)

    def move(self, slot: Slot, trigger: AddressTrigger) -> None:
        """Move a slot as the table says; nothing else changes its state.

        Raises:
            LocalProtocolError: the table knows no such move. Nothing was changed.
        """
        slot.state = next_state(slot.state, trigger)
        if slot.state is AddressState.UNKNOWN:
            self.forget(slot)
            return
        self._slots[slot.key] = slot
        if slot.state in _QUEUEING:
            self._pending[slot.key] = slot
        else:
            self._unqueue(slot)
        if slot.state is AddressState.ESTABLISHED:
            self.has_established = True
        elif slot.state is AddressState.CLOSED:
            self._forget_oldest_closed()

    def forget(self, slot: Slot) -> None:
        """Drop a slot and what is queued for it."""
        self._slots.pop(slot.key, None)
        self._unqueue(slot)

    def _unqueue(self, slot: Slot) -> None:
        if self._pending.pop(slot.key, None) is not None and not self._pending:
            self._pending = {}  # one that was emptied keeps its size, for as long as the socket lives

    def enqueue(self, slot: Slot, trigger: AddressTrigger, frame: bytes) -> None:
        """Keep a frame until its token is judged.

        Raises:
            LimitExceeded: a bound is reached; nothing was kept.
        """
        limits = self._limits
        self.check_pending(slot)
        if len(slot.queue) >= limits.handshake_frames:
            raise LimitExceeded("handshake_frames", limits.handshake_frames, len(slot.queue) + 1)
        queued = slot.queued_bytes if self.has_established else self._queued_bytes()
        if queued + len(frame) > limits.handshake_bytes:
            raise LimitExceeded("handshake_bytes", limits.handshake_bytes, queued + len(frame))
        self.move(slot, trigger)
        slot.queue.append(frame)
        slot.queued_bytes += len(frame)

    def check_pending(self, slot: Slot) -> None:
        """Check that one more document may wait, if this one does not already.

        Raises:
            LimitExceeded: too many wait.
        """
        limit = self._limits.pending_documents
        if slot.key not in self._pending and len(self._pending) >= limit:
            raise LimitExceeded("pending_documents", limit, len(self._pending) + 1)

    def is_one_too_many(self, slot: Slot) -> bool:
        """Tell whether the socket has as many other documents as it may."""
        others = sum(1 for each in self._slots.values() if each is not slot and each.state is not AddressState.CLOSED)
        return others >= self._limits.documents_per_socket

    def is_near_a_bound(self) -> bool:
        """Tell whether the next frame may pass a bound that a judgement would move away."""
        pending = self._pending.values()
        judged = [slot for slot in pending if slot.state is AddressState.AUTHENTICATING]
        if not judged:
            return False
        if len(pending) >= self._limits.pending_documents:
            return True
        half = self._limits.handshake_bytes // 2
        if not self.has_established and self._queued_bytes() >= half:
            return True
        frames = self._limits.handshake_frames
        return any(len(slot.queue) >= frames or slot.queued_bytes >= half for slot in judged)

    def _queued_bytes(self) -> int:
        return sum(slot.queued_bytes for slot in self._pending.values())

    def _forget_oldest_closed(self) -> None:
        """Bound the memory of closed addresses: a peer could be denied under a million names."""
        closed = list(self.in_state(AddressState.CLOSED))
        for slot in closed[: max(0, len(closed) - self._limits.documents_per_socket)]:
            self.forget(slot)
