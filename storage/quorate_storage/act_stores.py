"""`ActStore`: the part of a store's contract that is about acts: what is written beside updates, and read back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from quorate_protocol.ids import ClientId, DocumentId, DocumentName, Sequence, UserId
from quorate_storage.acts import Act, Change, Effect, Grant, Reply, WakeUp

if TYPE_CHECKING:
    from quorate_storage.stores import Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Who wrote the updates from `first` to `last`, without their content; packed by whoever knows updates."""

    document: DocumentId
    first: Sequence
    last: Sequence
    packed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Unannounced:
    """A document with updates beyond `told`, up to `newest`, that the change feed has not told of."""

    name: DocumentName
    document: DocumentId
    told: Sequence
    newest: Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditHead:
    """Where the audit chain ends: how many events, the chain's hash, and the root of the RFC 6962 tree over them."""

    size: int
    chain: bytes
    root: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One event of the chain as it is stored. `texts` are (salt, text) by field, of those not erased."""

    sequence: int
    body: bytes
    chain: bytes
    texts: Mapping[str, tuple[bytes, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A signed note that says what the first `size` events of the chain are."""

    size: int
    note: str
    at: float


class ActStore(Protocol):
    """What a store does beside documents. As in `Store`, each method is one transaction."""

    async def commit(self, act: Act, *, at: float, lease: Lease) -> None:
        """Write an act that comes with no update. Committing it again changes nothing."""
        ...

    async def forget_acts(self, *, before: float) -> None:
        """Forget the ids of acts and the replies to commands that are older than a time."""
        ...

    # Attribution

    async def read_writers(self, document: DocumentId) -> Mapping[ClientId, UserId]:
        """Return whose each client id is that has written in a document."""
        ...

    async def read_attributions(
        self, document: DocumentId, *, after: Sequence, until: Sequence
    ) -> SequenceOf[Attribution]:
        """Return what is kept of folded updates beyond `after` and up to `until`, oldest first."""
        ...

    # The change feed

    async def read_changes(self, *, after: int, limit: int = 1000) -> SequenceOf[Change]:
        """Return changes beyond a position, in order.

        Whoever read up to a position has missed nothing before it: positions become visible in their order.
        """
        ...

    async def feed_head(self) -> int:
        """Return the newest position of the feed, 0 before the first."""
        ...

    async def read_cursor(self, reader: str) -> int | None:
        """Return how far a reader of the feed said that it has read."""
        ...

    async def list_unannounced(self) -> SequenceOf[Unannounced]:
        """Return the documents whose newest updates the feed has not told of."""
        ...

    # What engines and commands keep

    async def due_wake_ups(self, engine: str, *, at: float, limit: int = 1000) -> SequenceOf[WakeUp]:
        """Return the wake-ups of an engine that are due, the longest overdue first."""
        ...

    async def next_wake_up(self) -> float | None:
        """Return when the next wake-up is due, `None` when there is none."""
        ...

    async def due_effects(self, engine: str, *, at: float, limit: int = 100) -> SequenceOf[Effect]:
        """Return the pending effects of an engine that are due, in the order in which they fell due."""
        ...

    async def next_effect(self, engine: str) -> float | None:
        """Return when the next pending effect of an engine is due, `None` when there is none."""
        ...

    async def list_effects(self, engine: str, *, state: str = "", limit: int = 100) -> SequenceOf[Effect]:
        """Return effects of an engine, in one state or in any, the newest first."""
        ...

    async def read_values(self, engine: str, *, prefix: str = "") -> Mapping[str, bytes]:
        """Return what an engine keeps under keys that start with a prefix, by key."""
        ...

    async def find_reply(self, actor: UserId, key: str) -> Reply | None:
        """Return the answer that a command of this actor and key got."""
        ...

    async def list_grants(self, scopes: Collection[str] | None = None) -> SequenceOf[Grant]:
        """Return every role that was granted, or those in some scopes, by scope and principal."""
        ...

    # The audit chain

    async def audit_head(self) -> AuditHead:
        """Return where the audit chain ends."""
        ...

    async def read_audit(
        self, *, after: int, limit: int = 1000, artifact: DocumentName | None = None
    ) -> SequenceOf[AuditRecord]:
        """Return events beyond a sequence, in order, of one artifact or of all."""
        ...

    async def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint; one of the same size that is there stays."""
        ...

    async def list_checkpoints(self) -> SequenceOf[Checkpoint]:
        """Return all checkpoints, the smallest first."""
        ...
