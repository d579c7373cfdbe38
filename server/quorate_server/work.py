"""`Work`: one unit of work. What it changes, in documents and beside them, becomes durable together or not at all.

A unit of work is a plain function, `decide(work)`. It cannot await, so nothing can come between what it reads and
what it writes: it sees the live documents as they are, and the order in which units of work run is the order of the
log. All that it did is one transaction of the database: the updates, the audit events, the wake-ups, the effects and
the answer that a repetition of its command gets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from quorate_protocol.ids import DocumentName, UserId
from quorate_server.applied import Staged
from quorate_server.artifacts import Artifact
from quorate_server.batches import Batch
from quorate_server.crdt_types import AnyDoc
from quorate_server.documents import LiveDocument
from quorate_server.errors import Unavailable
from quorate_server.records import is_same, write_member
from quorate_server.room import Room
from quorate_server.rooms import Rooms
from quorate_server.users import User
from quorate_storage.acts import (
    Act,
    AuditEvent,
    Change,
    Effect,
    EngineValue,
    Grant,
    Json,
    Row,
    WakeUp,
)

T = TypeVar("T")
Edit = Callable[[AnyDoc], object]
"""Changes a Yjs document inside the transaction that is open on it."""


class Work:
    """What a unit of work can do. Every method takes effect at once in memory, and is durable when all is.

    `actor` is who does it, `via` by which way they came, `engine` the engine that does it for them or for itself
    (empty for the server's own commands), `now` the time of all of it in seconds since the epoch.
    """

    def __init__(self, actor: User, via: str, *, engine: str = "", now: float | None = None) -> None:
        self.actor = actor
        self.via = via
        self.engine = engine
        self.now = time.time() if now is None else now
        self._rows: list[Row] = []
        self._staged: list[tuple[Room, Staged, UserId]] = []

    # The record and the content

    def set_record(self, artifact: Artifact, key: str, value: object) -> bool:
        """Set a member of the artifact's record to a JSON value, `None` to take it away; False if it was so already.

        Members that are maps are changed member by member, so that readers see only what is new.
        """
        before = artifact.record_member(key)
        if is_same(before, value):
            return False
        self.edit_record(artifact, write_member(key, value, before))
        return True

    def edit_record(self, artifact: Artifact, edit: Edit) -> None:
        """Change the artifact's record.

        Raises:
            Exception: whatever `edit` raised; its change was undone.
        """
        self._stage(artifact.record_room, edit, self.author)

    def edit_content(self, artifact: Artifact, edit: Edit, *, actor: UserId | None = None) -> None:
        """Change the artifact's content as a named actor, by default the one of this unit of work.

        Raises:
            Exception: whatever `edit` raised; its change was undone.
        """
        self._stage(artifact.content_room, edit, actor or self.author)

    def merge(self, artifact: Artifact, fork: LiveDocument, *, actor: UserId | None = None) -> None:
        """Bring the edits of a fork into the artifact's content, as one edit of a named actor."""
        missing = fork.missing_from(artifact.content_room.live.state_vector())
        self._stage(artifact.content_room, lambda doc: doc.apply_update(missing), actor or self.author)

    @property
    def author(self) -> UserId:
        """Whose name the log gives to what is written: the engine's own, or the actor's."""
        return UserId(f"engine:{self.engine}") if self.engine else self.actor.id

    # What is beside it

    def audit(
        self,
        type_: str,
        artifact: Artifact | DocumentName | None = None,
        *,
        facts: Json | None = None,
        texts: Mapping[str, str] | None = None,
    ) -> None:
        """Add an event to the audit chain; personal text goes into `texts`, where it can be erased."""
        self._rows.append(
            AuditEvent(
                type=type_,
                at=self.now,
                actor=self.actor.id,
                via=self.via,
                artifact=_name(artifact),
                facts=facts or {},
                texts=texts or {},
            )
        )

    def publish(self, type_: str, artifact: Artifact | DocumentName, data: Json | None = None) -> None:
        """Tell the change feed of a fact about an artifact."""
        name = _name(artifact)
        assert name is not None, "a change is of an artifact"
        self._rows.append(Change(type=type_, document=name, at=self.now, actor=self.author, data=data or {}))

    def wake(self, artifact: Artifact | DocumentName, at: float | None) -> None:
        """Ask for the engine's `reconcile` of an artifact at a time; `None` asks no more."""
        name = _name(artifact)
        assert name is not None, "a wake-up is of an artifact"
        self._rows.append(WakeUp(engine=self.engine, artifact=name, at=at))

    def effect(
        self, key: str, payload: Json, *, artifact: Artifact | DocumentName | None = None, due_at: float | None = None
    ) -> None:
        """Have the engine's `deliver` bring something about outside, at least once; the same key only once."""
        due = self.now if due_at is None else due_at
        self._rows.append(Effect(engine=self.engine, key=key, payload=payload, due_at=due, artifact=_name(artifact)))

    def put(self, key: str, value: bytes | None) -> None:
        """Keep a value of the engine under a key; `None` takes it away."""
        self._rows.append(EngineValue(engine=self.engine, key=key, value=value))

    def grant(self, scope: str, principal: str, role: str | None) -> None:
        """Give a role in an artifact or (`kind:NAME`) in a kind to `user:ID` or `group:NAME`; `None` takes it."""
        self._rows.append(Grant(scope=scope, principal=principal, role=role, by=self.actor.id, at=self.now))

    def add(self, row: Row) -> None:
        """Add any other row."""
        self._rows.append(row)

    # Inside

    def _stage(self, room: Room, edit: Edit, author: UserId) -> None:
        staged = room.stage(edit)
        if staged.error is not None:
            if staged.update:
                room.keep(staged.update)
            raise staged.error
        if staged.update:
            self._staged.append((room, staged, author))

    def revert(self) -> None:
        """Take back all that was staged; what that leaves behind goes to the log."""
        left: dict[Room, bytes] = {}
        for room, staged, _ in reversed(self._staged):
            left[room] = staged.revert()
        self._staged.clear()
        for room, update in left.items():
            room.keep(update)

    def hand_in(self, rooms: Rooms, done: Callable[[BaseException | None], None]) -> bool:
        """Give all of it to the journal as one transaction; False when there is nothing."""
        updates: dict[Room, list[tuple[bytes, UserId]]] = {}
        for room, staged, author in self._staged:
            staged.close()
            updates.setdefault(room, []).append((staged.update, author))
        batches: list[tuple[Room, Batch]] = []
        for room, written in updates.items():
            for update, author in written:
                batches.append((room, room.enlist([update], author)))
            self._rows += rooms.announcer.tell_of(room.document.id)
        if not batches and not self._rows:
            return False
        rows = tuple(self._rows)

        def committed(error: BaseException | None) -> None:
            for room, batch in batches:
                room.relay.committed(batch, error)
            if error is None:
                rooms.ledger.tell(rows)
            done(error)

        entries = [entry for _, batch in batches for entry in batch.entries]
        rooms.journal.append(entries, committed, Act(rows=rows) if rows else None)
        return True


async def transact(
    rooms: Rooms,
    artifacts: Sequence[Artifact],
    work: Work,
    decide: Callable[[Work], T],
    *,
    finish: Callable[[Work, T], None] | None = None,
) -> T:
    """Run a unit of work on artifacts that are open, and return its answer when all of it is durable.

    `finish` may add rows that depend on the answer.

    Raises:
        Unavailable: a document is being closed or repaired, or the server lost its lease. Nothing was changed, or
            (after the journal lost it) it is not known.
        Exception: whatever `decide` raised; nothing was changed.
    """
    touched = [room for artifact in artifacts for room in (artifact.content_room, artifact.record_room)]
    for room in touched:
        room.hand_over()
        await room.preparation.done()
    for room in touched:
        room.check_writable()
    try:
        answer = decide(work)
        if finish is not None:
            finish(work, answer)
    except BaseException:
        work.revert()
        raise
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def committed(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(Unavailable("the document moved or the database is lost: try again"))

    if work.hand_in(rooms, committed):
        await done
    return answer


def _name(artifact: Artifact | DocumentName | None) -> DocumentName | None:
    return artifact.name if isinstance(artifact, Artifact) else artifact
