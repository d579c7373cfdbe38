"""What can go wrong in the server, and the one table of what a client is told.

QuorateError                      (quorate_protocol.errors)
└── ServerError
    ├── SettingsError             the server was told something it cannot do
    ├── EngineError
    │   ├── MalformedUpdate       bytes that are no Yjs update; the document is as before
    │   └── EnginePanic           the engine gave up; the document must be rebuilt from the log
    ├── Refused                   a rule says no; nothing was changed
    │   ├── NotAuthenticated      no token, or a token that proves nothing
    │   ├── AccessDenied          a known person who may not do this
    │   ├── DocumentDeleted       a tombstone stands there
    │   ├── DocumentNotFound      no such document
    │   ├── DocumentTooLarge      the document would pass its limit
    │   ├── CommandUnknown        no command of that name
    │   └── Conflict              the state of things forbids it now
    │       └── KeyReused         an idempotency key that belongs to another command
    └── Unavailable               try again later; nothing was changed
"""

from __future__ import annotations

from typing import ClassVar

from quorate_protocol.errors import QuorateError


class ServerError(QuorateError):
    """Root of the server's branch."""


class SettingsError(ServerError):
    """The server was told something it cannot do; it did not start."""


class EngineError(ServerError):
    """The CRDT engine did not take some bytes."""


class MalformedUpdate(EngineError):
    """These bytes are no Yjs v1 update or state vector. The document is as it was before."""


class EnginePanic(EngineError):
    """The engine broke while it applied an update: the document in memory can no longer be trusted.

    `suspects` are the updates of which one or more broke it.
    """

    def __init__(self, suspects: tuple[bytes, ...], detail: str) -> None:
        super().__init__(suspects, detail)  # both, so that it survives the way from a child process
        self.suspects = suspects
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class Refused(ServerError):
    """A rule says no, and nothing was changed. `reason` is for the person, `code` for programs.

    `status` is the HTTP status and `close_code` the WebSocket close code that tell a client so; `details` are further
    members of the problem, in JSON, for programs that want to do something about it.
    """

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 403
    close_code: ClassVar[int] = 4403

    def __init__(self, reason: str, **details: object) -> None:
        super().__init__(reason)
        self.reason = reason
        self.details = details


class NotAuthenticated(Refused):
    """No token, or one that proves nothing."""

    code: ClassVar[str] = "not-authenticated"
    status: ClassVar[int] = 401
    close_code: ClassVar[int] = 4401


class AccessDenied(Refused):
    """A known person who may not do this here."""

    code: ClassVar[str] = "permission-denied"


class DocumentDeleted(Refused):
    """The document was deleted; its name stays taken until somebody restores it."""

    code: ClassVar[str] = "deleted"
    status: ClassVar[int] = 410
    close_code: ClassVar[int] = 4404


class DocumentNotFound(Refused):
    """No document of that name exists."""

    code: ClassVar[str] = "not-found"
    status: ClassVar[int] = 404
    close_code: ClassVar[int] = 4404


class DocumentTooLarge(Refused):
    """The document has reached its limit and takes no more."""

    code: ClassVar[str] = "document-too-large"
    status: ClassVar[int] = 413


class Conflict(Refused):
    """The present state of things forbids it."""

    code: ClassVar[str] = "conflict"
    status: ClassVar[int] = 409


class KeyReused(Conflict):
    """An idempotency key belongs to one command; it came again with another."""

    code: ClassVar[str] = "key-reused"
    status: ClassVar[int] = 422


class CommandUnknown(Refused):
    """There is no command of that name."""

    code: ClassVar[str] = "command-unknown"
    status: ClassVar[int] = 404


class Unavailable(ServerError):
    """Try again later: the database fails, or the server is stopping. Nothing was changed."""

    code: ClassVar[str] = "try-again"
    status: ClassVar[int] = 503
    close_code: ClassVar[int] = 1013
