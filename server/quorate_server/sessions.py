"""`Session`: one document open on one connection, as its room sees it. And how each dialect says things."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from quorate_protocol import hocuspocus, y_websocket
from quorate_protocol.errors import QuorateError
from quorate_server.channels import Channel
from quorate_server.frames import Frames
from quorate_server.users import User


class Encoder(Protocol):
    """How a room's messages look on the wire of one dialect and address.

    Equal encoders give equal bytes: a room encodes once for all sessions whose encoders are equal.
    """

    asks_when_answering: ClassVar[bool]
    """Whether our own step 1 goes before each answer to a client's, rather than once at the start."""

    def step1(self, state_vector: bytes) -> bytes:
        """Ask for what is missing from `state_vector`."""
        ...

    def step2(self, update: bytes) -> bytes:
        """Answer a step 1."""
        ...

    def update(self, update: bytes) -> bytes:
        """Relay an update."""
        ...

    def awareness(self, update: bytes) -> bytes:
        """Relay presence."""
        ...

    def saved(self, *, saved: bool) -> bytes | None:
        """Answer one update or step 2: durable, or refused. `None` where the echo itself says so."""
        ...

    def notice(self, reason: str) -> bytes:
        """Tell a person why an edit was refused, and go on."""
        ...


@dataclass(frozen=True, slots=True)
class YWebSocketEncoder:
    """The y-websocket dialect: one document a socket, so no address."""

    asks_when_answering: ClassVar[bool] = False

    def step1(self, state_vector: bytes) -> bytes:
        """Ask for what is missing from `state_vector`."""
        return y_websocket.encode_step1(state_vector)

    def step2(self, update: bytes) -> bytes:
        """Answer a step 1."""
        return y_websocket.encode_step2(update)

    def update(self, update: bytes) -> bytes:
        """Relay an update."""
        return y_websocket.encode_update(update)

    def awareness(self, update: bytes) -> bytes:
        """Relay presence."""
        return y_websocket.encode_awareness(update)

    def saved(self, *, saved: bool) -> bytes | None:  # noqa: ARG002 - the dialect has no such message
        """Answer nothing: the echo of an update is its acknowledgement."""
        return None

    def notice(self, reason: str) -> bytes:
        """Tell the reason by the dialect's only message with words; clients print it."""
        return y_websocket.encode_permission_denied(reason)


@dataclass(frozen=True, slots=True)
class HocuspocusEncoder:
    """The Hocuspocus dialect: every message carries the document's address."""

    # A provider counts itself unsynced from each of its own step 1 until its answer to ours is saved.
    asks_when_answering: ClassVar[bool] = True

    address: str

    def step1(self, state_vector: bytes) -> bytes:
        """Ask for what is missing from `state_vector`."""
        return hocuspocus.encode_step1(self.address, state_vector)

    def step2(self, update: bytes) -> bytes:
        """Answer a step 1."""
        return hocuspocus.encode_step2(self.address, update)

    def update(self, update: bytes) -> bytes:
        """Relay an update."""
        return hocuspocus.encode_update(self.address, update)

    def awareness(self, update: bytes) -> bytes:
        """Relay presence."""
        return hocuspocus.encode_awareness(self.address, update)

    def saved(self, *, saved: bool) -> bytes | None:
        """Answer one update or step 2 with its SyncStatus."""
        return hocuspocus.encode_sync_status(self.address, saved=saved)

    def notice(self, reason: str) -> bytes:
        """Tell the reason as a stateless message: PermissionDenied would end the document."""
        return hocuspocus.encode_stateless(self.address, reason)


@dataclass(slots=True)
class RefusalBudget:
    """How often a session may be refused and go on: each refusal leaves a little behind in the document."""

    since: float = 0.0
    count: int = 0

    def take(self, now: float) -> bool:
        """Count one refusal; False when there were too many within a minute."""
        if now - self.since >= REFUSAL_SECONDS:
            self.since, self.count = now, 0
        self.count += 1
        return self.count <= REFUSALS


REFUSAL_SECONDS = 60.0
REFUSALS = 60
"""A person corrects what was refused; only a program goes on."""


NEVER = float("-inf")
REPLY_SECONDS = 0.003
"""So soon after they were told, programs write that wait for it; people who type need ten times as long."""


class Session:
    """One document open on one connection.

    `may_write` and `may_comment` can change while the session lives; the room reads them at each update.
    A commenter writes in the discussion of an artifact and nowhere else.
    `end` closes this document on its connection for the given cause and takes the session out of its room.
    `announces_again` is whether its client, told that it is gone, answers that it is not.
    """

    __slots__ = (
        "_forgeries",
        "_refusals",
        "_replies",
        "announces_again",
        "channel",
        "encoder",
        "end",
        "is_told_of_refusal",
        "may_comment",
        "may_write",
        "told_at",
        "user",
    )

    def __init__(
        self,
        *,
        channel: Channel,
        encoder: Encoder,
        user: User,
        may_write: bool,
        may_comment: bool = False,
        end: Callable[[QuorateError], None],
        announces_again: bool = True,
    ) -> None:
        self.channel = channel
        self.encoder = encoder
        self.user = user
        self.may_write = may_write
        self.may_comment = may_comment
        self._refusals: RefusalBudget | None = None
        self._forgeries: RefusalBudget | None = None
        self.end = end
        self.announces_again = announces_again
        self.is_told_of_refusal = False
        self.told_at = NEVER
        """When it was told that edits of its own are durable, if it wrote nothing since; by the event loop's clock."""
        self._replies = 0

    @property
    def refusals(self) -> RefusalBudget:
        """How often its edits were refused."""
        self._refusals = self._refusals or RefusalBudget()
        return self._refusals

    @property
    def forgeries(self) -> RefusalBudget:
        """How often it spoke for somebody else."""
        self._forgeries = self._forgeries or RefusalBudget()
        return self._forgeries

    def replies(self, now: float) -> bool:
        """Note that an edit has come; return whether its client writes the next when it is told of the one before."""
        self._replies = self._replies + 1 if now - self.told_at < REPLY_SECONDS else 0
        self.told_at = NEVER
        return self._replies > 1  # once is chance

    def send(self, *payloads: bytes) -> None:
        """Send messages to this session alone."""
        self.channel.write(Frames(payloads))
