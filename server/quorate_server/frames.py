"""`Frames`: messages encoded once, for any number of peers.

What a room sends is the same for every peer of one dialect. A `Frames` holds the payloads and, made
when first needed, the WebSocket frames around them, so that fan-out is one `write` of the same bytes a peer.
"""

from __future__ import annotations

from collections.abc import Sequence

_BINARY_FINAL = 0x82  # RFC 6455 section 5.2: FIN set, opcode 2 (binary)
_SHORT_PAYLOAD = 126
_MEDIUM_PAYLOAD = 1 << 16


class Frames:
    """One or more binary WebSocket messages, ready to be written in one go."""

    __slots__ = ("_count", "_payloads", "_repeated", "_wire")

    def __init__(self, payloads: Sequence[bytes]) -> None:
        self._payloads = payloads
        self._repeated = b""
        self._count = 0
        self._wire: bytes | None = None

    @classmethod
    def repeated(cls, payload: bytes, count: int) -> Frames:
        """Make the same message several times: the answers to updates that came together."""
        return cls(()).followed_by(payload, count)

    def followed_by(self, payload: bytes, count: int) -> Frames:
        """Return these messages with another one behind them, so many times. Only once."""
        assert not self._count, "nothing comes behind what is repeated"
        frames = Frames(self._payloads)
        frames._repeated, frames._count = payload, count
        frames._wire = self.wire + frame_bytes(payload) * count
        return frames

    @property
    def payloads(self) -> Sequence[bytes]:
        """The messages."""
        return [*self._payloads, *[self._repeated] * self._count]

    @property
    def wire(self) -> bytes:
        """The messages as unmasked, uncompressed frames of a server (RFC 6455 section 5.2)."""
        if self._wire is None:
            self._wire = b"".join(map(frame_bytes, self._payloads))
        return self._wire


def frame_bytes(payload: bytes) -> bytes:
    """Return one binary message as a server's frame."""
    size = len(payload)
    if size < _SHORT_PAYLOAD:
        return bytes((_BINARY_FINAL, size)) + payload
    if size < _MEDIUM_PAYLOAD:
        return bytes((_BINARY_FINAL, 126)) + size.to_bytes(2, "big") + payload
    return bytes((_BINARY_FINAL, 127)) + size.to_bytes(8, "big") + payload
