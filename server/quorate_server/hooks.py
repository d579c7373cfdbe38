"""The whole contract of an engine: a plugin that reacts to artifacts inside the server.

An engine is a class derived from `Engine`, found by the entry-point group `quorate.plugins`:

    [project.entry-points."quorate.plugins"]
    reminders = "my_package:Reminders"

It overrides the hooks that it needs. All hooks of all engines run on the server's event loop, in the order in which
the setting `engines` names the engines (by name, where it names none). What they may not do is block: each has a time
budget, and an engine that overstays or raises is passed over for a while (see `Health`), without harm to anybody
else. An engine compares what an artifact says with what is done, and does the difference: it may be asked again at
any time, after a crash, or twice, and the end must be the same.

Two more groups let a package add to the command line (`quorate.commands`) and to the verification of the audit log
(`quorate.replays`): see `quorate_server.extensions`.

What an engine imports of Quorate, it imports from here.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.routing import BaseRoute

from quorate_protocol.ids import DocumentName, UserId
from quorate_server.access import Action
from quorate_server.artifacts import Artifact
from quorate_server.cloudevents import cloud_event
from quorate_server.commands import Answer, AnySpec, ArtifactName, Call, Command, CommandSpec, Done
from quorate_server.crdt_types import AnyDoc
from quorate_server.documents import LiveDocument
from quorate_server.errors import AccessDenied, Conflict, DocumentNotFound, NotAuthenticated, Refused, Unavailable
from quorate_server.extensions import AuditEntry, AuditReplay, read_audit_export, server_options
from quorate_server.kinds import KINDS
from quorate_server.records import set_property
from quorate_server.users import User
from quorate_server.work import Edit, Work
from quorate_storage.acts import Change, Effect
from quorate_storage.audit_rows import LoggedEvent
from quorate_storage.audit_verification import Verification

__all__ = [
    "KIND_NAMES",
    "AccessDenied",
    "Action",
    "Answer",
    "AnyDoc",
    "AnySpec",
    "Artifact",
    "ArtifactInfo",
    "ArtifactName",
    "AuditAttestation",
    "AuditEntry",
    "AuditReplay",
    "AuditStatus",
    "BaseModel",
    "Call",
    "Change",
    "Command",
    "CommandSpec",
    "Conflict",
    "DocumentName",
    "DocumentNotFound",
    "Done",
    "Edit",
    "Effect",
    "Engine",
    "Field",
    "GiveUp",
    "Health",
    "LiveDocument",
    "LoggedEvent",
    "NotAuthenticated",
    "ProposedUpdate",
    "Refused",
    "Seal",
    "Server",
    "TryAgain",
    "Unavailable",
    "User",
    "UserId",
    "Verification",
    "Work",
    "cloud_event",
    "read_audit_export",
    "server_options",
    "set_property",
]

T = TypeVar("T")

KIND_NAMES: tuple[str, ...] = tuple(KINDS)
"""The kinds of artifacts there are."""


class Health(enum.StrEnum):
    """How an engine is: `working`; `degraded` after failures in a row, and then passed over for a growing while."""

    STARTING = "starting"
    WORKING = "working"
    DEGRADED = "degraded"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactInfo:
    """An artifact by its row in the catalogue: it exists, and is not deleted."""

    name: DocumentName
    kind: str
    created_at: float
    created_by: UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedUpdate:
    """An edit that `before_update` looks at: `content_json()` shows the artifact as it would be with it.

    `roots` are those parts of the content, out of the engine's `guards`, that the edit touches.
    """

    artifact: DocumentName
    kind: str
    user: User
    roots: frozenset[str]
    content_json: Callable[[], dict[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """A signed checkpoint: that the first `size` events of the audit chain are those under `root`.

    `note` is the C2SP signed note that says so, for whoever has the verifier's key; `root` is 32 bytes.
    """

    size: int
    root: bytes
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditStatus:
    """How many events the audit chain has, how many of them are sealed, and when that was.

    `sealed_at` is in seconds since the epoch, `None` before the first checkpoint.
    """

    size: int
    sealed_size: int
    sealed_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditAttestation:
    """What a verification of the audit chain up to a checkpoint found.

    `checkpoints` are those of that part, the smallest first, whether or not they are believed; `sinks` say where they
    are published beside the database.
    """

    verification: Verification
    checkpoints: Sequence[Seal]
    verifier_key: str
    sinks: Sequence[str]
    seal: Seal


class TryAgain(Exception):
    """Raised by `deliver`: the effect did not come about; try again after some seconds. `reason` is kept with it.

    Not `is_attempt` is what was only put off: it does not count among the effect's attempts.
    """

    def __init__(self, after_seconds: float, reason: str, *, is_attempt: bool = True) -> None:
        super().__init__(reason)
        self.after_seconds = after_seconds
        self.reason = reason
        self.is_attempt = is_attempt


class GiveUp(Exception):
    """Raised by `deliver`: the effect will never come about. It is kept as dead, with the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Server(Protocol):
    """What the server gives an engine. Handed to `lifespan`, and valid until that ends."""

    def artifact(self, name: str) -> AbstractAsyncContextManager[Artifact]:
        """Keep an artifact open.

        Raises:
            DocumentNotFound: there is none.
            Unavailable: try again later.
        """
        ...

    async def list_artifacts(self, kind: str, *, after: str = "", limit: int = 100) -> Sequence[ArtifactInfo]:
        """Return artifacts of a kind by name, those after `after`."""
        ...

    async def create_artifact(self, name: str) -> bool:
        """Create an artifact of the engine's own; False if there is one of the name. It is nobody's to begin with.

        Raises:
            Conflict: a deleted one stands there.
            Unavailable: try again later; it may or may not have been created.
        """
        ...

    async def transact(self, decide: Callable[[Work], T], *artifacts: Artifact, actor: User | None = None) -> T:
        """Run a unit of work on artifacts that are open, in the engine's name or in that of a user.

        `decide` is a plain function; what it does becomes durable together, and this returns when it is.

        Raises:
            Unavailable: nothing was changed, or (the server lost its database) it is not known.
            Exception: whatever `decide` raised; nothing was changed.
        """
        ...

    async def read_changes(self, *, after: int, limit: int = 1000) -> Sequence[Change]:
        """Return changes of the feed beyond a position, in order."""
        ...

    async def newest_position(self) -> int:
        """Return the position of the newest change of the feed; 0 while there is none."""
        ...

    async def read_audit(self, *, after: int, limit: int = 1000, artifact: str = "") -> Sequence[AuditEntry]:
        """Return events of the audit chain beyond a sequence, in order: of one artifact, or of all.

        They are as they are stored; only `attest_audit` says whether they are as they were written.

        Raises:
            Conflict: an event cannot be read: somebody has changed it.
            Unavailable: try again later.
        """
        ...

    async def seal_audit(self) -> Seal:
        """Return the newest checkpoint of the audit chain, which covers every event that is durable by now.

        Raises:
            Unavailable: try again later.
        """
        ...

    async def audit_status(self) -> AuditStatus:
        """Return how long the audit chain is, and how much of it is sealed.

        Raises:
            Unavailable: try again later.
        """
        ...

    async def attest_audit(self) -> AuditAttestation:
        """Seal the audit chain and verify all of it, which takes seconds for a million events; nothing waits for it.

        Raises:
            Unavailable: try again later.
        """
        ...

    async def read_values(self, prefix: str = "") -> Mapping[str, bytes]:
        """Return what the engine keeps (`Work.put`) under keys that start with a prefix."""
        ...

    async def list_effects(self, *, state: str = "", limit: int = 100) -> Sequence[Effect]:
        """Return the engine's effects, in a state (`pending`, `done`, `dead`, `cancelled`) or in any, newest first."""
        ...

    async def retry_effect(self, effect: Effect) -> None:
        """Make an effect due again, whatever became of it."""
        ...

    async def contributors(self, artifact: Artifact) -> Mapping[UserId, frozenset[str]]:
        """Return who wrote what is in the content now, and in which of its parts (`request/title`).

        By authenticated users, over all of the log. What is deleted has no part any more.

        Raises:
            Unavailable: try again later.
        """
        ...

    def principals_with(self, role: str, name: DocumentName) -> Sequence[str]:
        """Return who was granted a role in an artifact or its kind, as `user:ID` and `group:NAME`."""
        ...

    async def user_of(self, request: Request) -> User:
        """Return who a request to one of the engine's own routes comes from.

        Raises:
            NotAuthenticated: the bearer token is missing or proves nothing; left to itself, it is answered with 401.
        """
        ...

    def require(self, user: User, action: Action, name: DocumentName) -> None:
        """Do nothing if the policies let a user do this; `name` is an artifact, or `*` for the server as a whole.

        Raises:
            AccessDenied: they do not; left to itself, it is answered with 403.
        """
        ...

    def setting(self, key: str, default: str = "") -> str:
        """Return the engine's setting: the variable `QUORATE_ENGINE_<NAME>_<KEY>`, or that key of the file."""
        ...


class Engine:
    """The base of all engines. A class attribute each says what it is; every hook does nothing unless overridden.

    `name` is what it is called in records, metrics, commands and the audit chain; `kinds` are the kinds of artifacts
    that it reconciles (all, when empty), and `watches` the roots of their content after whose changes it does (all,
    when empty). `guards` names, for each kind, the roots that `before_update` must see; no other edit is shown to it.
    An engine that `fails_closed` has edits to its guarded roots refused while it is degraded; otherwise they pass.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "0"
    kinds: ClassVar[frozenset[str]] = frozenset()
    watches: ClassVar[frozenset[str]] = frozenset()
    guards: ClassVar[Mapping[str, frozenset[str]]] = {}
    fails_closed: ClassVar[bool] = False

    @asynccontextmanager
    async def lifespan(self, server: Server) -> AsyncGenerator[None]:
        """Run around everything else. Entered before the server is ready, left when it stops.

        Raising keeps the engine from starting; the server starts without it and says so. Budget: 30 s.
        """
        self.server = server
        yield

    def before_update(self, proposed: ProposedUpdate) -> None:
        """Look at a person's edit of a guarded root before anybody else sees it.

        Raise `Refused` to have it undone: its author is told the reason, and it is kept as their proposal. It may
        change nothing. Any other exception lets the edit pass (unless the engine `fails_closed`) and counts as a
        failure. It is called for edits that came over sockets and HTTP, not for those of commands and engines.
        Budget: 50 ms, after which it is interrupted.
        """

    async def after_commit(self, changes: Sequence[Change]) -> None:
        """Hear of committed changes, all kinds of artifacts included, in the order of the feed.

        Each is told at least once: after a crash or an exception the same changes come again. It may change
        anything through `transact`. Budget: 30 s.
        """

    async def reconcile(self, artifact: Artifact) -> float | None:
        """Compare an artifact of the engine's kinds with what is done, and do the difference.

        Called after changes of its content or record by anybody else, when a time that was asked for comes, and for
        every artifact when the engine is new here or has another `version`. Never twice at once for one artifact.
        Returns the time (seconds since the epoch) at which it wants to be called again, `None` for no such time; this
        replaces what was asked for before, but nothing earlier that is asked for while it runs. An exception has it
        called again, later and later. Budget: 30 s.
        """
        del artifact
        return None

    async def deliver(self, effect: Effect) -> None:
        """Bring about an effect of the outbox, outside the server. Returning means that it came about.

        Raise `TryAgain` or `GiveUp` when it did not; any other exception is tried again, later and later. It may be
        asked again for what has come about, after a crash: pass `effect.key` on. Budget: 30 s.
        """
        raise GiveUp(f"the engine {self.name!r} delivers nothing: {effect.key}")

    def commands(self) -> Sequence[AnySpec]:
        """Return the commands that the engine handles; they are reached as all others. Called once."""
        return ()

    def routes(self) -> Sequence[BaseRoute]:
        """Return HTTP routes of the engine's own, mounted under `/api/engines/<name>/`. Called once, before `lifespan`.

        Anybody can ask for them: `server.user_of(request)` says who does. When it raises, the engine runs without.
        """
        return ()
