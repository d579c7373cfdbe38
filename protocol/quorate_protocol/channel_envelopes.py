"""What is said on `/channel`: one class a kind of envelope, and what each member means.

Their bytes are in `channel_frames.py`, the order in which they may come in `channel.py`. `id` and `subscription` are
numbers that the client chooses: each is free again once its reply, or its `closed`, has come.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = [
    "CHANNEL_VERSION",
    "ClientEnvelope",
    "CommandRequest",
    "FeedEvent",
    "Goodbye",
    "Hello",
    "Json",
    "Progress",
    "Reply",
    "ServerEnvelope",
    "Subscribe",
    "SubscriptionClosed",
    "Unsubscribe",
    "Welcome",
]

CHANNEL_VERSION: Final = 1
"""The version of the dialect; a server that says another one speaks differently."""

Json = Mapping[str, object]
"""A JSON object: text, numbers, booleans, None, and lists and objects of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The client says who it is, at the start or with a fresh token. The answer is `Welcome` or `Goodbye`.

    No token: the one that came with the HTTP request holds.
    """

    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRequest:
    """The client gives a command. One with a key is done once, however often it is sent."""

    id: int
    name: str
    values: Json
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """The client wants the changes beyond a position that fit.

    `after` is `None` for those from now on. `types` are names such as `access.changed`, or `access.*`, or `*`;
    `prefix` is what names of documents begin with; `kinds` are kinds of artifacts. Empty filters let everything pass.
    """

    id: int
    after: int | None = None
    types: tuple[str, ...] = ()
    prefix: str = ""
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """The client wants no more of a subscription. The answer is `SubscriptionClosed`."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The server knows who the client is. `position` is the newest of the change feed."""

    user: str
    position: int
    version: int = CHANNEL_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The server has done a command and tells its answer, or has not and tells the problem (RFC 9457)."""

    id: int
    answer: Json | None = None
    problem: Json | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedEvent:
    """The server tells of a change, as a CloudEvent, and of its position in the feed."""

    subscription: int
    position: int
    event: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The server says that a subscription has had everything up to a position: go on from there."""

    subscription: int
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionClosed:
    """The server sends no more of a subscription; no problem means that the client asked for it."""

    subscription: int
    problem: Json | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodbye:
    """The server closes the socket, and why; a close frame follows."""

    problem: Json


ClientEnvelope = Hello | CommandRequest | Subscribe | Unsubscribe
"""Anything that a client says."""

ServerEnvelope = Welcome | Reply | FeedEvent | Progress | SubscriptionClosed | Goodbye
"""Anything that a server says."""
