"""The part of the reference store that is about acts, as plain as can be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import replace
from functools import singledispatchmethod

from quorate_protocol.ids import ClientId, DocumentId, DocumentName, Sequence, UserId
from quorate_storage.act_stores import (
    ActStore,
    Attribution,
    AuditHead,
    AuditRecord,
    Checkpoint,
    Unannounced,
)
from quorate_storage.acts import (
    Act,
    Announced,
    AuditEvent,
    Change,
    Cursor,
    Effect,
    EffectOutcome,
    EngineValue,
    Erasure,
    Grant,
    Reply,
    Row,
    SetAside,
    WakeUp,
    Writer,
)
from quorate_storage.memory_audit import MemoryAudit
from quorate_storage.stores import Document, Lease


class MemoryActs(ActStore):
    """Acts in memory. `MemoryStore` adds documents."""

    def __init__(self) -> None:
        self._acts: dict[str, float] = {}
        self._aside: list[SetAside] = []
        self._writers: dict[DocumentId, dict[ClientId, UserId]] = {}
        self._attributions: list[Attribution] = []
        self._audit = MemoryAudit()
        self._changes: list[Change] = []
        self._announced: dict[DocumentId, int] = {}
        self._wake_ups: dict[tuple[str, DocumentName], WakeUp] = {}
        self._effects: list[Effect] = []
        self._replies: dict[tuple[UserId, str], Reply] = {}
        self._grants: dict[tuple[str, str], Grant] = {}
        self._values: dict[tuple[str, str], bytes] = {}
        self._cursors: dict[str, int] = {}

    def _check(self, lease: Lease) -> None:
        raise NotImplementedError

    def _documents(self) -> SequenceOf[Document]:
        raise NotImplementedError

    def _write_acts(self, acts: SequenceOf[Act | None], at: float) -> None:
        for act in acts:
            if act is not None and act.id not in self._acts:
                self._acts[act.id] = at
                for row in act.rows:
                    self._write(row)

    @singledispatchmethod
    def _write(self, row: Row) -> None:
        raise NotImplementedError(row)

    @_write.register
    def _(self, row: SetAside) -> None:
        self._aside.append(replace(row, id=len(self._aside) + 1))

    @_write.register
    def _(self, row: Writer) -> None:
        self._writers.setdefault(row.document, {})[row.client] = row.user

    @_write.register
    def _(self, row: AuditEvent) -> None:
        self._audit.append_events([row])

    @_write.register
    def _(self, row: Change) -> None:
        self._changes.append(replace(row, position=len(self._changes) + 1))

    @_write.register
    def _(self, row: Announced) -> None:
        self._announced[row.document] = row.sequence

    @_write.register
    def _(self, row: WakeUp) -> None:
        if row.at is None:
            self._wake_ups.pop((row.engine, row.artifact), None)
        else:
            self._wake_ups[row.engine, row.artifact] = row

    @_write.register
    def _(self, row: Effect) -> None:
        if not any((one.engine, one.key) == (row.engine, row.key) for one in self._effects):
            self._effects.append(replace(row, id=len(self._effects) + 1))

    @_write.register
    def _(self, row: EffectOutcome) -> None:
        for index, one in enumerate(self._effects):
            if one.id == row.id:
                self._effects[index] = replace(
                    one, attempts=row.attempts, state=row.state, due_at=row.due_at, error=row.error
                )

    @_write.register
    def _(self, row: Reply) -> None:
        self._replies[row.actor, row.key] = row

    @_write.register
    def _(self, row: Grant) -> None:
        if row.role is None:
            self._grants.pop((row.scope, row.principal), None)
        else:
            self._grants[row.scope, row.principal] = row

    @_write.register
    def _(self, row: EngineValue) -> None:
        if row.value is None:
            self._values.pop((row.engine, row.key), None)
        else:
            self._values[row.engine, row.key] = row.value

    @_write.register
    def _(self, row: Cursor) -> None:
        self._cursors[row.reader] = row.position

    @_write.register
    def _(self, row: Erasure) -> None:
        self._audit.erase_texts([(row.sequence, row.field)])

    async def commit(self, act: Act, *, at: float, lease: Lease) -> None:
        """See `ActStore.commit`."""
        self._check(lease)
        self._write_acts((act,), at)

    async def forget_acts(self, *, before: float) -> None:
        """See `ActStore.forget_acts`."""
        self._acts = {act: at for act, at in self._acts.items() if at >= before}
        self._replies = {key: reply for key, reply in self._replies.items() if reply.at >= before}

    async def read_writers(self, document: DocumentId) -> Mapping[ClientId, UserId]:
        """See `ActStore.read_writers`."""
        return dict(self._writers.get(document, {}))

    async def read_attributions(
        self, document: DocumentId, *, after: Sequence, until: Sequence
    ) -> SequenceOf[Attribution]:
        """See `ActStore.read_attributions`."""
        return [a for a in self._attributions if a.document == document and a.last > after and a.first <= until]

    async def read_changes(self, *, after: int, limit: int = 1000) -> SequenceOf[Change]:
        """See `ActStore.read_changes`."""
        return self._changes[after : after + limit]

    async def feed_head(self) -> int:
        """See `ActStore.feed_head`."""
        return len(self._changes)

    async def read_cursor(self, reader: str) -> int | None:
        """See `ActStore.read_cursor`."""
        return self._cursors.get(reader)

    async def list_unannounced(self) -> SequenceOf[Unannounced]:
        """See `ActStore.list_unannounced`."""
        return [
            Unannounced(
                name=document.name,
                document=document.id,
                told=Sequence(self._announced.get(document.id, 0)),
                newest=document.last_sequence,
            )
            for document in self._documents()
            if document.last_sequence > self._announced.get(document.id, 0)
        ]

    async def due_wake_ups(self, engine: str, *, at: float, limit: int = 1000) -> SequenceOf[WakeUp]:
        """See `ActStore.due_wake_ups`."""
        ours = [one for one in self._wake_ups.values() if one.engine == engine]
        due = [one for one in ours if one.at is not None and one.at <= at]
        return sorted(due, key=lambda one: (one.at or 0.0, one.artifact))[:limit]

    async def next_wake_up(self) -> float | None:
        """See `ActStore.next_wake_up`."""
        return min((one.at for one in self._wake_ups.values() if one.at is not None), default=None)

    async def due_effects(self, engine: str, *, at: float, limit: int = 100) -> SequenceOf[Effect]:
        """See `ActStore.due_effects`."""
        ours = [one for one in self._effects if one.engine == engine]
        due = [one for one in ours if one.state == "pending" and one.due_at <= at]
        return sorted(due, key=lambda one: (one.due_at, one.id))[:limit]

    async def next_effect(self, engine: str) -> float | None:
        """See `ActStore.next_effect`."""
        return min(
            (one.due_at for one in self._effects if one.engine == engine and one.state == "pending"), default=None
        )

    async def list_effects(self, engine: str, *, state: str = "", limit: int = 100) -> SequenceOf[Effect]:
        """See `ActStore.list_effects`."""
        chosen = [one for one in self._effects if one.engine == engine and state in {"", one.state}]
        return chosen[::-1][:limit]

    async def read_values(self, engine: str, *, prefix: str = "") -> Mapping[str, bytes]:
        """See `ActStore.read_values`."""
        return {
            key: value
            for (owner, key), value in sorted(self._values.items())
            if owner == engine and key.startswith(prefix)
        }

    async def find_reply(self, actor: UserId, key: str) -> Reply | None:
        """See `ActStore.find_reply`."""
        return self._replies.get((actor, key))

    async def list_grants(self, scopes: Collection[str] | None = None) -> SequenceOf[Grant]:
        """See `ActStore.list_grants`."""
        return [grant for (scope, _), grant in sorted(self._grants.items()) if scopes is None or scope in scopes]

    async def audit_head(self) -> AuditHead:
        """See `ActStore.audit_head`."""
        return self._audit.read_head()

    async def read_audit(
        self, *, after: int, limit: int = 1000, artifact: DocumentName | None = None
    ) -> SequenceOf[AuditRecord]:
        """See `ActStore.read_audit`."""
        return self._audit.read_events(after, limit, artifact)

    async def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """See `ActStore.save_checkpoint`."""
        self._audit.save_checkpoint(checkpoint)

    async def list_checkpoints(self) -> SequenceOf[Checkpoint]:
        """See `ActStore.list_checkpoints`."""
        return self._audit.list_checkpoints()
