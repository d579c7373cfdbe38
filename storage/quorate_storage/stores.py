"""`Store`: what a database must do for Quorate, method by method.

Each method is one transaction of the database. A store holds no policy: batching, retrying and
waiting live in `journal`, the rule for when a log becomes a snapshot in `compaction`.
Times are seconds since the epoch (UTC) and come in as arguments.

A third party's store is right when it passes `quorate_storage.testing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Protocol, Self, runtime_checkable

from quorate_protocol.ids import ClientId, DocumentId, DocumentName, Sequence, UserId
from quorate_storage.act_stores import ActStore, Attribution
from quorate_storage.acts import Act, SetAside


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One row of the catalogue: a document that exists or existed.

    `epoch` starts at 1 and grows by one with each deletion and each restoration.
    A document whose `deleted_at` is set is a tombstone: its name stays taken.
    `last_sequence` is the newest update in its log, 0 before the first.
    """

    id: DocumentId
    name: DocumentName
    kind: str
    epoch: int
    created_at: float
    created_by: UserId
    last_sequence: Sequence
    deleted_at: float | None = None
    deleted_by: UserId | None = None


class LogEntry(NamedTuple):
    """One committed or to-be-committed update: its place, its bytes, its author and its time."""

    document: DocumentId
    sequence: Sequence
    update: bytes
    author: UserId
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A document's whole state after the update `through`, as one encoded state.

    `waiting` holds updates up to `through` that still wait for what they depend on; they are not
    part of `state` and must be applied after it.
    """

    document: DocumentId
    through: Sequence
    state: bytes
    waiting: tuple[bytes, ...] = ()
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLog:
    """What a document's content is rebuilt from: apply `snapshot`, then `tail` in order."""

    snapshot: Snapshot | None
    tail: tuple[LogEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredState(StoredLog):
    """All that is needed to rebuild a document. `writers` says whose each client id is that has written in it."""

    document: Document
    writers: Mapping[ClientId, UserId] = field(default_factory=dict[ClientId, UserId])


LogReader = Callable[[DocumentId], StoredLog]
"""Reads what a document is rebuilt from, in whatever process: it can be pickled. Raises `StorageUnavailable`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A named full state, uncompressed, that somebody chose to keep apart from the log."""

    document: DocumentId
    number: int
    name: str
    state: bytes
    through: Sequence
    created_at: float
    created_by: UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """Proof that counts no more: all of a user issued up to `at`, or one token by its id. The other is empty."""

    subject: str = ""
    token_id: str = ""
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to write: of the holder of `scope` with the newest `token` until `expires_at`.

    The token grows by one whenever the lease changes hands; every append checks it, so that a
    process that slept through its own expiry cannot write over its successor.
    """

    scope: str
    holder: str
    token: int
    expires_at: float


class LogSize(NamedTuple):
    """How much log a document has beyond its snapshot."""

    document: DocumentId
    entries: int
    bytes: int
    snapshot_bytes: int = 0
    newest_at: float = 0.0


class Store(ActStore, Protocol):
    """A durable store of documents. Whatever a method returned from is on disk.

    Every method raises `StorageUnavailable` when the database cannot be reached or fails; unless
    the method says otherwise, calling it again is then safe. Methods that take a `lease` raise
    `LeaseLost`, with nothing written, when its token is not the newest of its scope. An `act` is
    written in the same transaction, and not at all when nothing else was.
    """

    async def __aenter__(self) -> Self:
        """Connect and bring the schema up to date.

        Raises:
            SchemaTooNew: the database was written by a newer release; nothing was changed.
        """
        ...

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect. Nothing is written that was not committed before."""
        ...

    # The catalogue

    async def create(
        self,
        name: DocumentName,
        *,
        kind: str,
        by: UserId,
        at: float,
        lease: Lease,
        seed: bytes = b"",
        act: Act | None = None,
    ) -> Document:
        """Add a document, together with its seed as update 1 when `seed` is not empty.

        Raises:
            DocumentExists: the name is taken; the error carries the existing `Document`, which may
                be a tombstone. Nothing was written. After `StorageUnavailable` it can be the
                document that the first attempt created.
        """
        ...

    async def find(self, name: DocumentName) -> Document | None:
        """Return the document or tombstone of that name, `None` if the name was never used."""
        ...

    async def list_documents(
        self,
        *,
        prefix: str = "",
        after: str = "",
        limit: int = 100,
        include_deleted: bool = False,
    ) -> SequenceOf[Document]:
        """Return up to `limit` documents by name (ordered by code point), those after `after`."""
        ...

    async def delete(
        self, document: DocumentId, *, by: UserId, at: float, lease: Lease, act: Act | None = None
    ) -> Document:
        """Turn a document into a tombstone of the next epoch; log and snapshot stay for `restore`.

        Deleting a tombstone changes nothing and returns it.

        Raises:
            DocumentMissing: no such document.
        """
        ...

    async def restore(self, document: DocumentId, *, at: float, lease: Lease, act: Act | None = None) -> Document:
        """Turn a tombstone back into a document with the next epoch; the living is returned as is.

        Raises:
            DocumentMissing: no such document.
        """
        ...

    # The log

    async def append(self, entries: SequenceOf[LogEntry], *, lease: Lease, acts: SequenceOf[Act] = ()) -> None:
        """Write updates of any number of documents and the acts that belong to them, all or none.

        Appending again what is there already, byte for byte, is a success, and an act is written once:
        after `StorageUnavailable` the same entries and acts are simply appended again.

        Raises:
            SequenceConflict: an entry's place is taken by another update, or leaves a gap; names
            the
                document. Nothing was written.
            DocumentMissing: an entry's document does not exist or is a tombstone. Nothing was
            written.
        """
        ...

    async def load(self, document: DocumentId) -> StoredState:
        """Return the newest snapshot and every update after it, as of one moment.

        Raises:
            DocumentMissing: no such document. A tombstone can be loaded.
        """
        ...

    def log_reader(self) -> LogReader | None:
        """Return how another process reads what documents are rebuilt from, None when this one has to."""
        return None

    async def read_log(self, document: DocumentId, *, after: Sequence, limit: int = 1000) -> SequenceOf[LogEntry]:
        """Return updates still in the log with a sequence beyond `after`, oldest first."""
        ...

    async def log_size(self, document: DocumentId) -> LogSize:
        """Return how much tail a document has beyond its snapshot."""
        ...

    async def replace_tail(
        self, snapshot: Snapshot, *, lease: Lease, attributions: SequenceOf[Attribution] = ()
    ) -> int:
        """Write a snapshot and drop the updates it covers and older snapshots, in one transaction.

        `attributions` say who wrote the updates that are dropped, and are kept.

        Returns:
            How many updates were dropped. 0, and nothing is written, when a snapshot that reaches
            as far is there already.

        Raises:
            DocumentMissing: no such document. Nothing was written.
            SequenceConflict: the snapshot reaches beyond the log. Nothing was written.
        """
        ...

    # Versions

    async def save_version(self, version: Version, *, lease: Lease) -> Version:
        """Keep a named full state; the store ignores its `number` and gives one, from 1.

        Called again after `StorageUnavailable`, it may keep the state twice.

        Raises:
            DocumentMissing: no such document. A tombstone can have versions.
        """
        ...

    async def list_versions(self, document: DocumentId) -> SequenceOf[Version]:
        """Return the versions of a document, oldest first, with empty `state`."""
        ...

    async def read_version(self, document: DocumentId, number: int) -> Version | None:
        """Return one version with its state."""
        ...

    # What is not in the log

    async def set_aside(self, item: SetAside) -> int:
        """Keep an update that did not become part of the document; return its id.

        Called again after `StorageUnavailable`, it may keep the update twice.

        Raises:
            DocumentMissing: no such document.
        """
        ...

    async def list_set_aside(self, document: DocumentId) -> SequenceOf[SetAside]:
        """Return what was set aside for a document, oldest first."""
        ...

    # Revocations

    async def revoke(self, revocation: Revocation, *, act: Act | None = None) -> None:
        """Keep a revocation for good. Revoking again adds another row, which changes nothing."""
        ...

    async def list_revocations(self) -> SequenceOf[Revocation]:
        """Return every revocation, oldest first."""
        ...

    # Leases

    async def acquire_lease(self, scope: str, *, holder: str, seconds: float, at: float) -> Lease:
        """Take a free or expired lease with the next token; its present holder gets it renewed.

        Raises:
            LeaseHeld: somebody else holds it; the error carries that `Lease`.
        """
        ...

    async def renew_lease(self, lease: Lease, *, seconds: float, at: float) -> Lease:
        """Extend a lease that is still the newest of its scope, expired or not.

        Raises:
            LeaseLost: a newer token exists.
        """
        ...

    async def release_lease(self, lease: Lease) -> None:
        """Give a lease up at once; a lost lease is left alone."""
        ...


@runtime_checkable
class PromptStore(Protocol):
    """What a `Store` may offer beside its methods: appends without acts that need no task to wait for them.

    The journal then uses both, so a class that changes `append` of such a store has to change this as well.
    """

    def start_append(
        self, entries: SequenceOf[LogEntry], *, lease: Lease, answer: Callable[[bool | Exception], None]
    ) -> bool:
        """Begin to append and return at once.

        Args:
            entries: at least one.
            lease: as for `Store.append`.
            answer: called once, on the event loop and not before this method has returned: with True when all
                entries are durable; with False when nothing was written and `Store.append` has to find out why;
                with an error that `Store.append` would raise. Appending again is then as harmless as there.

        Returns:
            False when nothing was begun and nobody will be told: `Store.append` has to be used.

        Raises:
            SequenceConflict: the entries of a document do not follow each other. Nothing was begun.
        """
        ...
