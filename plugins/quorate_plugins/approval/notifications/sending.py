"""What a channel is, and what becomes of a notice that is sent by one. The channels themselves are in `channels`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

from quorate_plugins.approval.directory import Person
from quorate_plugins.approval.notifications.messages import Notice

State = Literal["sent", "updated"]


class Unreachable(Exception):
    """Somebody has no address on a channel, for the reason given: the next channel is to be tried."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of a notice: the provider's id of the message, and whether it is new or replaced an earlier one.

    Attributes:
        channel: the name of the channel.
        message_id: what `earlier` may be for a later notice on the same request; empty if the provider gives none.
        state: `updated` if the earlier message was changed in place.
    """

    channel: str
    message_id: str
    state: State = "sent"


class Channel(Protocol):
    """A way to tell somebody something. `name` is what preferences call it."""

    name: ClassVar[str]

    async def send(self, notice: Notice, recipient: Person, earlier: str | None) -> Sent:
        """Tell somebody something.

        Args:
            notice: what is told.
            recipient: who is told.
            earlier: the provider's id of an earlier message to them on the same request; it is changed in place where
                the channel can, and followed up where it cannot.

        Raises:
            Unreachable: they have no address there.
            TryAgain: it did not work, and may later.
            GiveUp: it will never work.
        """
        ...


@runtime_checkable
class GatheringChannel(Channel, Protocol):
    """A channel that can tell somebody several things as one message."""

    async def send_digest(self, notices: Sequence[Notice], recipient: Person) -> Sent:
        """Tell somebody several things; errors are as those of `send`."""
        ...
