"""The part of the SQL store that is about acts; the neighbour `sql` keeps documents."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from collections.abc import Sequence as SequenceOf
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from quorate_protocol.ids import ClientId, DocumentId, DocumentName, Sequence, UserId
from quorate_storage import act_rows, audit_rows, engine_rows
from quorate_storage.act_stores import (
    ActStore,
    Attribution,
    AuditHead,
    AuditRecord,
    Checkpoint,
    Unannounced,
)
from quorate_storage.acts import Act, Change, Effect, Grant, Reply, WakeUp
from quorate_storage.databases import Database
from quorate_storage.stores import Lease

Result = TypeVar("Result")


def with_act(work: Callable[[Connection], Result], act: Act | None, at: float) -> Callable[[Connection], Result]:
    """Return work that writes an act after it, in the same transaction."""
    if act is None:
        return work

    def both(connection: Connection) -> Result:
        result = work(connection)
        act_rows.write_acts(connection, (act,), at)
        return result

    return both


class SqlActs(ActStore):
    """Acts on a database."""

    _database: Database

    async def commit(self, act: Act, *, at: float, lease: Lease) -> None:
        """See `ActStore.commit`."""
        await self._database.write(partial(act_rows.commit, act=act, at=at, lease=lease))

    async def forget_acts(self, *, before: float) -> None:
        """See `ActStore.forget_acts`."""
        await self._database.write(partial(act_rows.forget_acts, before=before))

    async def read_writers(self, document: DocumentId) -> Mapping[ClientId, UserId]:
        """See `ActStore.read_writers`."""
        return await self._database.read(partial(engine_rows.read_writers, document=document))

    async def read_attributions(
        self, document: DocumentId, *, after: Sequence, until: Sequence
    ) -> SequenceOf[Attribution]:
        """See `ActStore.read_attributions`."""
        work = partial(engine_rows.read_attributions, document=document, after=after, until=until)
        return await self._database.read(work)

    async def read_changes(self, *, after: int, limit: int = 1000) -> SequenceOf[Change]:
        """See `ActStore.read_changes`."""
        return await self._database.read(partial(engine_rows.read_changes, after=after, limit=limit))

    async def feed_head(self) -> int:
        """See `ActStore.feed_head`."""
        return await self._database.read(engine_rows.feed_head)

    async def read_cursor(self, reader: str) -> int | None:
        """See `ActStore.read_cursor`."""
        return await self._database.read(partial(engine_rows.read_cursor, reader=reader))

    async def list_unannounced(self) -> SequenceOf[Unannounced]:
        """See `ActStore.list_unannounced`."""
        return await self._database.read(engine_rows.list_unannounced)

    async def due_wake_ups(self, engine: str, *, at: float, limit: int = 1000) -> SequenceOf[WakeUp]:
        """See `ActStore.due_wake_ups`."""
        return await self._database.read(partial(engine_rows.due_wake_ups, engine=engine, at=at, limit=limit))

    async def next_wake_up(self) -> float | None:
        """See `ActStore.next_wake_up`."""
        return await self._database.read(engine_rows.next_wake_up)

    async def due_effects(self, engine: str, *, at: float, limit: int = 100) -> SequenceOf[Effect]:
        """See `ActStore.due_effects`."""
        return await self._database.read(partial(engine_rows.due_effects, engine=engine, at=at, limit=limit))

    async def next_effect(self, engine: str) -> float | None:
        """See `ActStore.next_effect`."""
        return await self._database.read(partial(engine_rows.next_effect, engine=engine))

    async def list_effects(self, engine: str, *, state: str = "", limit: int = 100) -> SequenceOf[Effect]:
        """See `ActStore.list_effects`."""
        return await self._database.read(partial(engine_rows.list_effects, engine=engine, state=state, limit=limit))

    async def read_values(self, engine: str, *, prefix: str = "") -> Mapping[str, bytes]:
        """See `ActStore.read_values`."""
        return await self._database.read(partial(engine_rows.read_values, engine=engine, prefix=prefix))

    async def find_reply(self, actor: UserId, key: str) -> Reply | None:
        """See `ActStore.find_reply`."""
        return await self._database.read(partial(engine_rows.find_reply, actor=actor, key=key))

    async def list_grants(self, scopes: Collection[str] | None = None) -> SequenceOf[Grant]:
        """See `ActStore.list_grants`."""
        return await self._database.read(partial(engine_rows.list_grants, scopes=scopes))

    async def audit_head(self) -> AuditHead:
        """See `ActStore.audit_head`."""
        return await self._database.read(audit_rows.read_head)

    async def read_audit(
        self, *, after: int, limit: int = 1000, artifact: DocumentName | None = None
    ) -> SequenceOf[AuditRecord]:
        """See `ActStore.read_audit`."""
        work = partial(audit_rows.read_events, after=after, limit=limit, artifact=artifact)
        return await self._database.read(work)

    async def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """See `ActStore.save_checkpoint`."""
        await self._database.write(partial(audit_rows.save_checkpoint, checkpoint=checkpoint))

    async def list_checkpoints(self) -> SequenceOf[Checkpoint]:
        """See `ActStore.list_checkpoints`."""
        return await self._database.read(audit_rows.list_checkpoints)
