"""What can go wrong with storage.

    QuorateError                      (quorate_protocol.errors)
    └── StorageError
        ├── StorageUnavailable        the database failed or cannot be reached; trying again is safe
        ├── ValueRefused              the database can never hold this value
        ├── SchemaTooNew              written by a newer release
        ├── DocumentExists            the name is taken
        ├── DocumentMissing           no such document
        ├── SequenceConflict          a place in the log is taken, or would leave a gap
        ├── LeaseHeld                 another process owns these documents
        ├── LeaseLost                 this process owns them no more
        └── CompactionRefused         a snapshot did not prove equal to the log it stands for

The fabric between processes has a branch of its own in `fabric`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorate_protocol.errors import QuorateError
from quorate_protocol.ids import DocumentId, Sequence

if TYPE_CHECKING:
    from quorate_storage.stores import Document, Lease


class StorageError(QuorateError):
    """The root of everything that storage raises."""


class StorageUnavailable(StorageError):
    """The database failed, answered too late or cannot be reached.

    What was asked may or may not have happened; the method's docstring says whether asking again is
    safe. `detail` names the cause without its parameters, which can hold what people wrote.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return f"the database is unavailable: {self.detail}"


class ValueRefused(StorageError):
    """A value that this database can never hold, such as a text with a NUL. Nothing was written."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return f"the database cannot hold a value: {self.detail}"


class SchemaTooNew(StorageError):
    """The database was written by a newer release; nothing was read or changed."""

    def __init__(self, found: str, newest_known: str) -> None:
        super().__init__(found, newest_known)
        self.found = found
        self.newest_known = newest_known

    def __str__(self) -> str:
        return (
            f"the database has schema {self.found!r}, which this release does not know "
            f"(its newest is {self.newest_known!r}); start the newer release instead"
        )


class DocumentExists(StorageError):
    """The name is taken, by a document or by a tombstone. Nothing was written."""

    def __init__(self, document: Document) -> None:
        super().__init__(document)
        self.document = document

    def __str__(self) -> str:
        state = "exists" if self.document.deleted_at is None else "was deleted"
        return f"document {self.document.name!r} {state}"


class DocumentMissing(StorageError):
    """There is no such document, or only its tombstone. Nothing was written."""

    def __init__(self, document: DocumentId) -> None:
        super().__init__(document)
        self.document = document

    def __str__(self) -> str:
        return f"there is no living document {self.document}"


class SequenceConflict(StorageError):
    """A place in the log is taken by another update, or would leave a gap. Nothing was written."""

    def __init__(self, document: DocumentId, sequence: Sequence, last: Sequence) -> None:
        super().__init__(document, sequence, last)
        self.document = document
        self.sequence = sequence
        self.last = last

    def __str__(self) -> str:
        return (
            f"update {self.sequence} of document {self.document} does not continue its log, which ends at {self.last}"
        )


class LeaseHeld(StorageError):
    """Somebody else holds the lease. `lease` is theirs."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(lease)
        self.lease = lease

    def __str__(self) -> str:
        return f"lease {self.lease.scope!r} is held by {self.lease.holder!r} until {self.lease.expires_at:.3f}"


class LeaseLost(StorageError):
    """A newer token exists, so this holder must not write any more. Nothing was written."""

    def __init__(self, lease: Lease, newest_token: int | None) -> None:
        super().__init__(lease, newest_token)
        self.lease = lease
        self.newest_token = newest_token

    def __str__(self) -> str:
        return (
            f"lease {self.lease.scope!r} with token {self.lease.token} is lost: the newest token is {self.newest_token}"
        )


class CompactionRefused(StorageError):
    """A snapshot did not prove equal to the log it would replace. The log was left as it is."""

    def __init__(self, document: DocumentId, through: Sequence) -> None:
        super().__init__(document, through)
        self.document = document
        self.through = through

    def __str__(self) -> str:
        return (
            f"the snapshot of document {self.document} through update {self.through} "
            "does not equal its log; the log was kept"
        )
