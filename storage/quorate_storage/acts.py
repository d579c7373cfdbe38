"""`Act`: what one database transaction writes beside updates, so that nothing of a state change is left behind.

An act is a list of rows: the audit event, the entry of the change feed, the time at which an engine wants to be
woken, the effect that must leave the server, the reply that a repeated command gets again, and so on. Each kind of
row is a frozen value here and knows nothing of tables; `act_rows` writes them. An act has an id: handing the same
act in again, after an answer was lost, changes nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from quorate_protocol.ids import ClientId, DocumentId, DocumentName, UserId

Json = Mapping[str, object]
"""A JSON object: text, numbers, booleans, None, and lists and objects of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """An update that is not in the log: refused by a rule, or poison for the engine.

    `cause` is `"refused"` (a proposal of its author) or `"poison"` (it broke the engine).
    """

    document: DocumentId
    cause: str
    update: bytes
    author: UserId
    reason: str
    at: float
    id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Whose a CRDT client id is in one document: of the first user who wrote with it, from then on."""

    document: DocumentId
    client: ClientId
    user: UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One entry of the audit chain, before it has its place there.

    `via` says by which way the actor came (`sync`, `api`, `channel`, `engine:NAME`, `server`, `cli`).
    `facts` become members of the event's body and stay for ever: no personal text belongs there. `texts` are personal
    texts by field; the chain holds a salted commitment to each, and the text itself can be erased.
    """

    type: str
    at: float
    actor: UserId
    via: str
    artifact: DocumentName | None = None
    facts: Json = field(default_factory=dict[str, object])
    texts: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A committed fact of the change feed. `position` is its place there, given by the store, growing with time.

    `document` is the document that changed: an artifact's content, or its record. Changes of one document are in
    the order in which they happened.
    """

    type: str
    document: DocumentName
    at: float
    actor: UserId
    data: Json = field(default_factory=dict[str, object])
    position: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """That the feed has told of a document's updates up to `sequence`."""

    document: DocumentId
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeUp:
    """When an engine wants to look at an artifact again; a later one replaces it, `None` takes it away."""

    engine: str
    artifact: DocumentName
    at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Something that must happen outside the server, at least once: a row of the outbox.

    `key` makes it one effect however often it is asked for: a second one of the same engine and key is ignored, and
    receivers can tell repetitions by it. `state` is `pending`, `done`, `dead` (given up) or `cancelled`.
    """

    engine: str
    key: str
    payload: Json
    due_at: float
    artifact: DocumentName | None = None
    attempts: int = 0
    state: str = "pending"
    error: str = ""
    id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectOutcome:
    """What became of an attempt at an effect: its new state, and when to try again while it is `pending`."""

    id: int
    attempts: int
    state: str
    due_at: float
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to a command, kept for its repetition.

    `fingerprint` is a hash of the command: the same key with another command is a mistake of the caller.
    """

    actor: UserId
    key: str
    fingerprint: bytes
    status: int
    answer: Json
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A role that somebody has in an artifact or in every artifact of a kind; no role takes it away.

    `scope` is an artifact's name or `kind:NAME`; `principal` is `user:ID` or `group:NAME`.
    """

    scope: str
    principal: str
    role: str | None
    by: UserId
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineValue:
    """What an engine keeps for itself under a key; `None` takes it away."""

    engine: str
    key: str
    value: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far a reader has read the change feed."""

    reader: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """That a personal text of an audit event is erased, with its salt. Every proof stays valid."""

    sequence: int
    field: str


Row = (
    SetAside
    | Writer
    | AuditEvent
    | Change
    | Announced
    | WakeUp
    | Effect
    | EffectOutcome
    | Reply
    | Grant
    | EngineValue
    | Cursor
    | Erasure
)


def new_act_id() -> str:
    """Return an id that no other act has."""
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Rows that become durable together, and with the updates they are handed in with: all or none, once."""

    rows: tuple[Row, ...]
    id: str = field(default_factory=new_act_id)
