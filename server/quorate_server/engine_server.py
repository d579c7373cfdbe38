"""`EngineServer`: what the server gives one engine; `hooks.Server` says what it promises."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request

from quorate_protocol.ids import DocumentName, UserId
from quorate_protocol.ids import Sequence as LogPlace
from quorate_protocol.names import parse_document_name
from quorate_server.access import Access, Action
from quorate_server.artifacts import Artifact, open_artifact
from quorate_server.attribution import REMOVED
from quorate_server.auditing import Auditor
from quorate_server.contributions import contributions
from quorate_server.errors import Unavailable
from quorate_server.hooks import ArtifactInfo, AuditAttestation, AuditEntry, AuditStatus, Seal
from quorate_server.kinds import find_kind, kind_of
from quorate_server.rooms import Rooms
from quorate_server.users import User
from quorate_server.work import Work, transact
from quorate_storage.acts import Change, Effect, EffectOutcome
from quorate_storage.errors import StorageUnavailable
from quorate_storage.stores import Store

T = TypeVar("T")


@dataclass(slots=True)
class EngineServer:
    """The server as one engine sees it. `settings` are the engine's own, by key."""

    engine: str
    rooms: Rooms
    store: Store
    access: Access
    auditor: Auditor
    settings: Mapping[str, str]

    def artifact(self, name: str) -> AbstractAsyncContextManager[Artifact]:
        """Keep an artifact open."""
        return open_artifact(self.rooms, parse_document_name(name, max_bytes=self.rooms.limits.name_bytes))

    async def list_artifacts(self, kind: str, *, after: str = "", limit: int = 100) -> Sequence[ArtifactInfo]:
        """Return artifacts of a kind by name, those after `after`."""
        prefix = f"{kind}/"
        found: list[ArtifactInfo] = []
        while len(found) < limit:
            try:
                page = await self.store.list_documents(prefix=prefix, after=after, limit=limit)
            except StorageUnavailable as error:
                raise Unavailable("the database cannot be reached: try again") from error
            found += [
                ArtifactInfo(
                    name=one.name, kind=kind_of(one.name), created_at=one.created_at, created_by=one.created_by
                )
                for one in page
                if find_kind(one.name) is not None  # not the records
            ]
            if len(page) < limit:
                break
            after = page[-1].name
        return found[:limit]

    async def create_artifact(self, name: str) -> bool:
        """Create an artifact of the engine's own; False if there is one of the name."""
        checked = parse_document_name(name, max_bytes=self.rooms.limits.name_bytes)
        try:
            found = await self.store.find(checked)
        except StorageUnavailable as error:
            raise Unavailable("the database cannot be reached: try again") from error
        if found is not None and found.deleted_at is None:
            return False
        user = User(id=UserId(f"engine:{self.engine}"), name=self.engine, role="owner", is_proven=False)
        await self.rooms.create(checked, user)
        return True

    async def read_audit(self, *, after: int, limit: int = 1000, artifact: str = "") -> Sequence[AuditEntry]:
        """Return events of the audit chain beyond a sequence, of one artifact or of all."""
        return await self.auditor.read(after=after, limit=limit, artifact=artifact)

    async def seal_audit(self) -> Seal:
        """Return the newest checkpoint, which covers every event that is durable by now."""
        return await self.auditor.seal()

    async def audit_status(self) -> AuditStatus:
        """Return how long the audit chain is, and how much of it is sealed."""
        return await self.auditor.status()

    async def attest_audit(self) -> AuditAttestation:
        """Seal the audit chain and verify all of it."""
        return await self.auditor.attest()

    async def transact(self, decide: Callable[[Work], T], *artifacts: Artifact, actor: User | None = None) -> T:
        """Run a unit of work on artifacts that are open, in the engine's name or in that of a user."""
        name = f"engine:{self.engine}"
        who = actor or User(id=UserId(name), name=self.engine, role="owner")
        work = Work(who, name, engine=self.engine)
        return await transact(self.rooms, artifacts, work, decide)

    async def read_changes(self, *, after: int, limit: int = 1000) -> Sequence[Change]:
        """Return changes of the feed beyond a position, in order."""
        return await self.store.read_changes(after=after, limit=limit)

    async def newest_position(self) -> int:
        """Return the position of the newest change of the feed."""
        return await self.store.feed_head()

    async def read_values(self, prefix: str = "") -> Mapping[str, bytes]:
        """Return what the engine keeps under keys that start with a prefix."""
        return await self.store.read_values(self.engine, prefix=prefix)

    async def list_effects(self, *, state: str = "", limit: int = 100) -> Sequence[Effect]:
        """Return the engine's effects, in a state or in any, the newest first."""
        return await self.store.list_effects(self.engine, state=state, limit=limit)

    async def retry_effect(self, effect: Effect) -> None:
        """Make an effect due again, whatever became of it."""
        assert effect.id is not None, "an effect that was listed has an id"
        outcome = EffectOutcome(id=effect.id, attempts=0, state="pending", due_at=time.time())
        await self.rooms.ledger.commit(outcome)

    async def contributors(self, artifact: Artifact) -> Mapping[UserId, frozenset[str]]:
        """Return who wrote what is in the content now, and in which of its parts."""
        found: dict[UserId, frozenset[str]] = {}
        until = artifact.content_room.newest_place
        after = LogPlace(0)
        try:
            while wrote := await contributions(self.rooms, artifact.content_room.document, after, until):
                for each in wrote:
                    parts = (each.inserted.keys() | each.deleted.keys()) - {REMOVED}
                    found[each.author] = found.get(each.author, frozenset()) | parts
                after = wrote[-1].sequence
        except StorageUnavailable as error:
            raise Unavailable("the database cannot be reached: try again") from error
        return found

    def principals_with(self, role: str, name: DocumentName) -> Sequence[str]:
        """Return who was granted a role in an artifact or its kind."""
        scopes = (name, f"kind:{kind_of(name)}")
        found = [grant.principal for scope in scopes for grant in self.access.granted_in(scope) if grant.role == role]
        return list(dict.fromkeys(found))

    async def user_of(self, request: Request) -> User:
        """Return who a request to one of the engine's own routes comes from."""
        from quorate_server.requests import user_of  # noqa: PLC0415 - it knows the house, which knows us

        return await user_of(request)

    def require(self, user: User, action: Action, name: DocumentName) -> None:
        """Do nothing if the policies let a user do this."""
        self.access.require(user, action, name)

    def setting(self, key: str, default: str = "") -> str:
        """Return the engine's setting."""
        return self.settings.get(key, default)


def engine_settings(engine: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of one engine, of those of all: `webhooks_allow_private` is its `allow_private`."""
    prefix = f"{engine}_"
    return {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}
