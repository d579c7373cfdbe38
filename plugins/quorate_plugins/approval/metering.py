"""`Metering`: the metrics of approvals, kept in the record of an artifact that a dashboard opens.

They are counted from the audit chain, behind the decisions and never in their way: some seconds after something
happened the chain is read on from where it was read to. How far that is, and what was counted, is kept once a minute;
after a restart the rest is read again, so that nothing is counted twice and nothing is missed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import zlib
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from quorate_plugins.approval.calendars import Calendar
from quorate_plugins.approval.desk import Desk
from quorate_plugins.approval.metrics import gauges
from quorate_plugins.approval.metrics.tallies import Tally
from quorate_plugins.approval.reports.chronicle import Chronicle
from quorate_plugins.approval.requests import FINISHED, Request, State
from quorate_server.hooks import Artifact, AuditEntry, Conflict, DocumentName, DocumentNotFound, Unavailable, Work

log = logging.getLogger("quorate.plugins.approvals")

METRICS: Final = DocumentName("text/approvals-metrics")
"""The artifact in whose record the metrics are; whoever may read it sees them live, and nobody can write them."""
SECTION = "approval_metrics"
KEPT = "metrics"
PAGE = 50
MOST_AT_ONCE = 2000
"""So many events are counted in one go; a rebuild takes several, and others have their turn in between."""
MOST_RESTORED_AT_ONCE = 100
KEEP_SECONDS = 60.0
IDLE_SECONDS = 300.0
"""How often ages are looked at when nothing happens."""
MOST_EFFECTS = 1000
"""More effects than this are not counted: then there are at least so many."""


class Metering:
    """Reads the chain on, and writes the metrics down. One at a time: it is the reconciliation of one artifact."""

    def __init__(self, desk: Desk, clock: Callable[[], float]) -> None:
        self._desk = desk
        self._clock = clock
        self._counting = Counting(desk)
        self._kept_at = 0.0
        self._kept_sequence = 0
        self.every_seconds = 5.0
        self.is_begun = False

    async def open(self) -> None:
        """Begin, if there is anything to tell of. The setting `metrics_seconds` 0 keeps it from ever beginning."""
        self.every_seconds = float(self._desk.server.setting("metrics_seconds", "5"))
        if self._desk.live or await self._is_there():
            await self.begin()

    async def _is_there(self) -> bool:
        try:
            async with self._desk.server.artifact(METRICS):
                return True
        except DocumentNotFound:
            return False

    async def begin(self) -> None:
        """Have the artifact made, and looked at from now on; a server without requests has no metrics of them."""
        if self.is_begun or self.every_seconds <= 0:
            return
        self.is_begun = True
        server = self._desk.server
        try:
            await server.create_artifact(METRICS)
            await server.transact(lambda work: work.wake(METRICS, time.time() + 1))
        except Conflict as error:  # somebody deleted it
            log.warning("metrics.off", extra={"reason": str(error)})
            return
        except Unavailable:
            self.is_begun = False  # begun when the next request is looked at
            return
        self._desk.recent.watcher = METRICS
        self._desk.recent.pause_seconds = self.every_seconds

    async def refresh(self, artifact: Artifact) -> float | None:
        """Count what happened since, write the metrics down, and return when to look again."""
        if self.every_seconds <= 0:
            return None
        self._desk.recent.asleep = False
        problem = ""
        try:
            is_behind = await self._counting.follow()
        except Conflict as error:  # a damaged chain must not stop approvals, nor hide what is so now
            problem, is_behind = str(error), False
        if is_behind:
            return time.time()
        is_news = await self._write(artifact, await self._shown(problem))
        self._desk.recent.asleep = not is_news
        return time.time() + (self.every_seconds if is_news else IDLE_SECONDS)

    async def _write(self, artifact: Artifact, shown: dict[str, object]) -> bool:
        """Write the metrics into the record; whether anything is different."""
        now, sequence = time.time(), self._counting.sequence
        is_time_to_keep = sequence > self._kept_sequence and now - self._kept_at >= KEEP_SECONDS

        def decide(work: Work) -> bool:
            if is_time_to_keep:
                work.put(KEPT, self._counting.dump())
            before = artifact.record_section(SECTION)
            is_news = {**before, "at": 0} != {**shown, "at": 0}
            if is_news:
                work.set_record(artifact, SECTION, {**shown, "at": self._clock()})
            return is_news

        is_news = await self._desk.server.transact(decide, artifact)
        if is_time_to_keep:
            self._kept_at, self._kept_sequence = now, sequence
        return is_news

    async def _shown(self, problem: str) -> dict[str, object]:
        server, meter = self._desk.server, self._desk.delivering.meter
        status = await server.audit_status()
        shown: dict[str, object] = {
            "counted_to": self._counting.sequence,
            "pending": gauges.pending(self._desk.live.values(), self._clock()),
            **self._counting.tally.shown(),
            "notifications": {"since": meter.since, "channels": meter.shown()},
            "outbox": {state: await self._depth(state) for state in ("pending", "dead")},
            "audit": {
                "sealed_at": status.sealed_at,
                "sealed_size": status.sealed_size,
                "unsealed_events": status.size - status.sealed_size,
            },
            "problem": problem,
        }
        return _without_nothing(shown)

    async def _depth(self, state: str) -> int:
        return len(await self._desk.server.list_effects(state=state, limit=MOST_EFFECTS))


class Counting:
    """The tally, and how far in the chain it is. What it does between two awaits takes less than a millisecond."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._chronicle = Chronicle(desk.recent.take)
        self._kept: _Kept | None = None
        self._is_restored = False
        self.tally = Tally(self._calendar)
        self.sequence = 0

    async def follow(self) -> bool:
        """Count what is new in the chain, at most so much at once; whether more is left.

        Raises:
            Conflict: an event cannot be read. All before it are counted.
            Unavailable: try again later. Some may be counted.
        """
        if not self._is_restored and await self._restore():
            return True
        last = self.sequence + MOST_AT_ONCE
        async for entry in self._entries(self.sequence):
            self._count(entry)
            if self.sequence >= last:
                return True
        return False

    def _count(self, entry: AuditEntry) -> None:
        step = self._chronicle.take(entry)
        self.tally.take(step)
        self.sequence = step.sequence
        if step.after is not None and _is_over(step.after):
            del self._chronicle.requests[step.artifact]

    async def _entries(self, after: int, *, artifact: str = "") -> AsyncGenerator[AuditEntry]:
        """Yield events beyond a sequence; between any two of them others have their turn."""
        while page := await self._desk.server.read_audit(after=after, limit=PAGE, artifact=artifact):
            for entry in page:
                yield entry
                after = entry.event.sequence
                await asyncio.sleep(0)

    def _calendar(self, name: str) -> Calendar | None:
        try:
            return self._desk.policies.calendar(name)
        except ValueError:
            return None

    # Keeping

    def dump(self) -> bytes:
        """Return what `_restore` reads: the tally, and which requests it follows."""
        kept = {"sequence": self.sequence, "followed": [*self._chronicle.requests], "tally": self.tally.dump()}
        return zlib.compress(json.dumps(kept).encode())

    async def _restore(self) -> bool:
        """Go on from what was kept, with the requests that were followed then; whether more of them are left."""
        if self._kept is None:
            self._kept = await self._read()
        last = len(self._kept.followed) - MOST_RESTORED_AT_ONCE
        while self._kept.followed and len(self._kept.followed) > last:
            await self._replay(self._kept.followed[-1], self._kept.sequence)
            self._kept.followed.pop()
        self._is_restored = not self._kept.followed
        self.tally, self.sequence = self._kept.tally, self._kept.sequence
        return not self._is_restored

    async def _read(self) -> _Kept:
        """Return what was kept; when nothing was, or by another version, everything is counted from the beginning."""
        nothing = _Kept(sequence=0, followed=[], tally=Tally(self._calendar))
        kept = (await self._desk.server.read_values(KEPT)).get(KEPT)
        if kept is None:
            return nothing
        members: Mapping[str, object] = json.loads(zlib.decompress(kept))
        tally = Tally.load(members["tally"], self._calendar)
        if tally is None:
            return nothing
        followed = cast("list[str]", members["followed"])
        return _Kept(sequence=cast("int", members["sequence"]), followed=followed, tally=tally)

    async def _replay(self, name: str, until: int) -> None:
        self._chronicle.requests.pop(name, None)
        async for entry in self._entries(0, artifact=name):
            if entry.event.sequence > until:
                return
            self._chronicle.take(entry)


@dataclass(slots=True, kw_only=True)
class _Kept:
    """What was kept: the tally up to a sequence, and the requests that are still to be replayed up to there."""

    sequence: int
    followed: list[str]
    tally: Tally


def _is_over(request: Request) -> bool:
    """Whether nothing that is counted happens to a request any more, but that it may be revoked."""
    return request.state in FINISHED or (request.state is State.FULFILLED and request.valid_until is None)


def _without_nothing(value: dict[str, object]) -> dict[str, object]:
    """Return the members that say something: a record has no member that is nothing."""
    found: dict[str, object] = {}
    for key, member in value.items():
        if isinstance(member, dict):
            found[key] = _without_nothing(cast("dict[str, object]", member))
        elif member is not None:
            found[key] = member
    return found
