"""Yjs editors in Python over real sockets, one class a dialect, made of pycrdt and websockets.

They keep what the laws are about: which of their own updates were acknowledged, and what they received.
Stock clients run under Node, see `tests/peers/`; these are for tests that need thousands of edits or kills.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import websockets
from pycrdt import Doc, Text, TransactionEvent
from websockets.asyncio.client import ClientConnection, connect

from quorate_protocol import hocuspocus, y_websocket
from quorate_protocol.awareness import AwarenessEntry, decode_awareness, encode_awareness
from quorate_protocol.messages import AwarenessChange, SyncStep1, SyncUpdate
from quorate_protocol.varints import read_var_string, read_var_uint, write_var_string

PATIENCE_SECONDS = 20.0


async def until(condition: Callable[[], Any], what: str, *, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until `condition` holds; fail saying `what` was expected."""
    async with asyncio.timeout(seconds) as limit:
        try:
            while not condition():
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            if limit.expired():
                raise AssertionError(f"not within {seconds} s: {what}") from None
            raise


class Peer:
    """An editor of one document. Edits are sent at once while connected, and by the next sync if not."""

    def __init__(self, url: str, name: str, token: str, *, client_id: int | None = None) -> None:
        self.url, self.name, self.token = url, name, token
        self.doc: Doc[Any] = Doc(client_id=client_id)
        self.text = self.doc.get("text", type=Text)
        self.socket: ClientConnection | None = None
        self.is_synced = False
        self.close_code: int | None = None
        self.denied: str | None = None
        self.scope: str | None = None
        self.presence: dict[int, AwarenessEntry] = {}
        self.sent: list[bytes] = []
        """Own updates sent on this connection, in order."""
        self.acknowledged = 0
        """How many of `sent` are durable, as far as the server said."""
        self.received: list[bytes] = []
        """Updates of others and of ours, as they came."""
        self.stateless: list[str] = []
        self.refused = 0
        self._is_applying = False
        self._reader: asyncio.Task[None] | None = None
        self._subscription = self.doc.observe(self._on_update)

    # Life

    async def connect(self) -> Peer:
        self.is_synced, self.close_code, self.denied = False, None, None
        self.sent, self.acknowledged = [], 0
        self.socket = await connect(
            self.address, max_size=None, ping_interval=None, compression=None, max_queue=None,
            open_timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read(self.socket))
        self.greet()
        return self

    async def synced(self) -> Peer:
        await self.connect()
        await until(lambda: self.is_synced or self.close_code, f"{self.name} synced")
        assert self.is_synced, (self.close_code, self.denied)
        return self

    async def close(self) -> None:
        if self.socket is not None:
            await self.socket.close()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for frame in socket:
                assert isinstance(frame, bytes)
                self.receive(frame)
        except (websockets.ConnectionClosed, OSError):
            pass
        finally:
            self.close_code = socket.close_code or 1006

    # What a dialect says

    @property
    def address(self) -> str:
        raise NotImplementedError

    def greet(self) -> None:
        raise NotImplementedError

    def receive(self, frame: bytes) -> None:
        raise NotImplementedError

    def encode_update(self, update: bytes) -> bytes:
        raise NotImplementedError

    def encode_presence(self, entries: list[AwarenessEntry]) -> bytes:
        raise NotImplementedError

    # Common to both

    def send(self, frame: bytes) -> None:
        """Send without waiting: the transport buffers."""
        if self.socket is not None and self.close_code is None:
            protocol = self.socket.protocol
            try:
                protocol.send_binary(frame)
            except websockets.InvalidState:
                return
            self.socket.transport.write(b"".join(protocol.data_to_send()))

    def set_presence(self, clock: int, state: str | None) -> None:
        entry = AwarenessEntry(self.doc.client_id, clock, state)  # type: ignore[arg-type]
        self.send(self.encode_presence([entry]))

    def _on_update(self, event: TransactionEvent) -> None:
        if self._is_applying or self.socket is None:
            return
        self.sent.append(event.update)
        self.send(self.encode_update(event.update))

    def _apply(self, update: bytes, *, is_step2: bool) -> None:
        self.received.append(update)
        self._is_applying = True
        try:
            self.doc.apply_update(update)
        finally:
            self._is_applying = False
        if is_step2:
            self.is_synced = True

    def _take_presence(self, update: bytes) -> None:
        for entry in decode_awareness(update):
            self.presence[entry.client] = entry

    def present(self) -> dict[int, str]:
        return {c: e.state for c, e in self.presence.items() if e.state is not None}


class YWebSocketPeer(Peer):
    """Speaks y-websocket. An update is acknowledged by its echo."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._protocol = y_websocket.YWebSocketConnection()

    @property
    def address(self) -> str:
        return f"{self.url}/sync/{self.name}?token={self.token}"

    def greet(self) -> None:
        self._protocol = y_websocket.YWebSocketConnection()
        self.send(y_websocket.encode_step1(self.doc.get_state()))

    def encode_update(self, update: bytes) -> bytes:
        return y_websocket.encode_update(update)

    def encode_presence(self, entries: list[AwarenessEntry]) -> bytes:
        return y_websocket.encode_awareness(encode_awareness(entries))

    def receive(self, frame: bytes) -> None:
        if frame[:2] == b"\x02\x00":
            self.denied = read_var_string(frame, 2)[0]
            return
        for event in self._protocol.receive_frame(frame):
            if isinstance(event, SyncStep1):
                missing = self.doc.get_update(event.state_vector)
                self.send(y_websocket.encode_step2(missing))
            elif isinstance(event, SyncUpdate):
                self._apply(event.update, is_step2=event.is_step2)
            elif isinstance(event, AwarenessChange):
                self._take_presence(event.update)


class HocuspocusPeer(Peer):
    """Speaks Hocuspocus. An update is acknowledged by SyncStatus 1, in order."""

    @property
    def address(self) -> str:
        return f"{self.url}/hocuspocus"

    def greet(self) -> None:
        self._due: list[str] = []
        key = write_var_string(self.name)
        self.send(key + b"\x02\x00" + write_var_string(self.token) + write_var_string("4.8.0"))
        self.send(hocuspocus.encode_step1(self.name, self.doc.get_state()))

    def encode_update(self, update: bytes) -> bytes:
        self._due.append("update")
        return hocuspocus.encode_update(self.name, update)

    def encode_presence(self, entries: list[AwarenessEntry]) -> bytes:
        return hocuspocus.encode_awareness(self.name, encode_awareness(entries))

    def receive(self, frame: bytes) -> None:
        address, position = read_var_string(frame, 0)
        assert address == self.name
        kind, position = read_var_uint(frame, position)
        body = frame[position:]
        if kind == 0:
            self._receive_sync(body)
        elif kind == 1:
            size, at = read_var_uint(body, 0)
            self._take_presence(body[at : at + size])
        elif kind == 2:
            sub, at = read_var_uint(body, 0)
            if sub == 1:
                self.denied = read_var_string(body, at)[0]
            elif sub == 2:
                self.scope = read_var_string(body, at)[0]
        elif kind == 5:
            self.stateless.append(read_var_string(body, 0)[0])
        elif kind == 8:
            what = self._due.pop(0)
            if body != b"\x01":
                self.refused += 1
            elif what == "update":
                self.acknowledged += 1

    def _receive_sync(self, body: bytes) -> None:
        size, at = read_var_uint(body, 1)
        payload = body[at : at + size]
        if body[0] == 0:
            self._due.append("step2")
            missing = self.doc.get_update(payload)
            self.send(hocuspocus.encode_step2(self.name, missing))
        else:
            self._apply(payload, is_step2=body[0] == 1)


DIALECTS: dict[str, type[Peer]] = {"y-websocket": YWebSocketPeer, "hocuspocus": HocuspocusPeer}
