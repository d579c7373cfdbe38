"""`Runtime`: one engine at work. It reads the change feed, reconciles artifacts, and is passed over when it fails.

The feed is the only thing that drives an engine, and its place in it is kept: after a crash it goes on where it was,
and may hear again what it heard. A wake-up is a row that stays until the reconciliation that it asked for is done.
So nothing is missed, and what happens twice must come to the same: engines are reconcilers.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from quorate_protocol.ids import DocumentName, UserId
from quorate_server.artifacts import Artifact, open_artifact
from quorate_server.engine_server import EngineServer
from quorate_server.errors import DocumentDeleted, DocumentNotFound, Refused, Unavailable
from quorate_server.feed import PAGE, Feed
from quorate_server.guards import GuardedUpdate
from quorate_server.hooks import Engine, Health, ProposedUpdate
from quorate_server.kinds import KINDS, artifact_of, find_kind, is_record, kind_of
from quorate_server.metrics import Metrics
from quorate_server.rooms import Rooms
from quorate_server.tracing import trace
from quorate_server.users import User
from quorate_server.watchdog import Interrupting, OverBudget, interrupting
from quorate_server.work import Work, transact
from quorate_storage.acts import Change, Cursor, EngineValue, WakeUp
from quorate_storage.errors import StorageUnavailable
from quorate_storage.stores import Store

log = logging.getLogger("quorate.plugins")

T = TypeVar("T")

HOOK_SECONDS = 30.0
STEP_SECONDS = 1.0
"""How long a coroutine of an engine may keep the loop between two awaits."""
GUARD_SECONDS = 0.05
FAILURES_TO_DEGRADE = 5
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 600.0
WAKE_UPS_AT_ONCE = 500
ARTIFACTS_IN_A_PAGE = 500
ARTIFACTS_AT_ONCE = 8
NOTE_SECONDS = 5.0
"""How often the place in the feed is kept. After a crash an engine hears again what it heard since."""
FOLLOW_SECONDS = 0.05
"""How often the feed is read at most: what changes one after the other is heard of together.

By profile, three engines that read it after each of 300 creations asked the database for more than all else did.
"""
MOST_WAKE_UPS = 10**9
"""All there are."""


@dataclass(slots=True)
class Breaker:
    """Counts failures in a row, and says until when an engine is passed over."""

    failures: int = 0
    open_until: float = 0.0
    reason: str = ""

    def is_open(self, now: float) -> bool:
        """Whether the engine is passed over now."""
        return now < self.open_until

    def succeed(self) -> bool:
        """Note a success; True when it ends a degradation."""
        was_degraded = self.failures >= FAILURES_TO_DEGRADE
        self.failures, self.open_until, self.reason = 0, 0.0, ""
        return was_degraded

    def fail(self, reason: str, now: float) -> bool:
        """Note a failure; True when the engine is degraded from now on."""
        self.failures += 1
        self.reason = reason
        beyond = self.failures - FAILURES_TO_DEGRADE
        if beyond >= 0:
            self.open_until = now + min(FIRST_PAUSE_SECONDS * 2 ** min(beyond, 20), LONGEST_PAUSE_SECONDS)
        return beyond == 0


@dataclass(slots=True)
class _Turn:
    """Whose turn it is to reconcile an artifact; kept while somebody wants it.

    `asked` are the wake-ups asked for while it is reconciled, `noted` is the one that came of the reconciliation.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wanted: int = 0
    asked: list[float] = field(default_factory=list[float])
    noted: WakeUp | None = None


class Runtime:
    """One engine in one server."""

    def __init__(
        self, engine: Engine, server: EngineServer, *, rooms: Rooms, store: Store, feed: Feed, metrics: Metrics
    ) -> None:
        self.engine = engine
        self.name = engine.name
        self.breaker = Breaker()
        self.position = 0
        self._noted = 0
        self._noted_at = 0.0
        self.is_ready = False
        """Whether what was due when the server started is done: no command of the engine is taken before."""
        self._server = server
        self._rooms = rooms
        self._store = store
        self._feed = feed
        self._metrics = metrics
        self._author = UserId(f"engine:{engine.name}")
        self._user = User(id=self._author, name=engine.name, role="owner")
        self._news = asyncio.Event()
        self._awaited: set[DocumentName] = set()
        self._busy: dict[DocumentName, _Turn] = {}
        self._turns = asyncio.Semaphore(ARTIFACTS_AT_ONCE)

    @property
    def health(self) -> Health:
        """How the engine is."""
        if self.breaker.failures >= FAILURES_TO_DEGRADE:
            return Health.DEGRADED
        return Health.WORKING if self.is_ready else Health.STARTING

    def why_not_ready(self) -> str | None:
        """Return why commands of the engine cannot be taken now, `None` when they can."""
        return None if self.is_ready else f"the engine {self.name!r} is catching up: try again"

    async def start(self, stack: AsyncExitStack) -> None:
        """Enter the engine's lifespan.

        Raises:
            Exception: whatever it raised; the engine does not run.
        """
        context = self.engine.lifespan(self._server)
        async with asyncio.timeout(HOOK_SECONDS):
            await context.__aenter__()
        stack.push_async_callback(self._leave, context)
        self.position = self._noted = await self._store.read_cursor(self._reader) or 0
        for asked in await self._store.due_wake_ups(self.name, at=math.inf, limit=MOST_WAKE_UPS):
            self.hear(asked)

    async def _leave(self, context: AbstractAsyncContextManager[None]) -> None:
        """Leave the engine's lifespan; whatever it does, the server stops in order."""
        try:
            async with asyncio.timeout(HOOK_SECONDS):
                await context.__aexit__(None, None, None)
        except Exception:
            log.exception("engine.not_stopped", extra={"engine": self.name})

    @property
    def _reader(self) -> str:
        return f"engine:{self.name}"

    def notice(self) -> None:
        """Tell it that the feed or its wake-ups have moved."""
        self._news.set()

    def hear(self, asked: WakeUp) -> None:
        """Take note of a wake-up that is durable, while the artifact may be under way."""
        (self._awaited.discard if asked.at is None else self._awaited.add)(asked.artifact)
        turn = self._busy.get(asked.artifact)
        if turn is not None and asked is not turn.noted and asked.at is not None:
            turn.asked.append(asked.at)

    async def run(self) -> None:
        """Do what is overdue, look at every artifact once, then follow the feed, until cancelled."""
        await self._until_done(self._wake_all)
        self.is_ready = True
        sweep = asyncio.create_task(self._until_done(self._sweep))
        try:
            while True:
                self._news.clear()
                followed_at = time.monotonic()
                await self._until_done(self._follow)
                await self._wait_for_news()
                await asyncio.sleep(followed_at + FOLLOW_SECONDS - time.monotonic())
        finally:
            sweep.cancel()
            await asyncio.gather(sweep, return_exceptions=True)

    async def _wait_for_news(self) -> None:
        """Wait until the feed has moved; a place that is not noted yet is noted when it stays quiet."""
        if self.position != self._noted:
            with suppress(TimeoutError):
                async with asyncio.timeout(NOTE_SECONDS):
                    await self._news.wait()
            if not self._news.is_set():
                await self._until_done(self._note)
        await self._news.wait()

    async def _note(self) -> None:
        """Keep the place in the feed: what came before it will not be heard again."""
        position = self.position
        await self._rooms.ledger.commit(Cursor(reader=self._reader, position=position))
        self._noted, self._noted_at = position, time.monotonic()

    async def _until_done(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` to its end, however often the database or the engine fails on the way."""
        pause = 0.1
        while True:
            now = time.time()
            if self.breaker.is_open(now):
                await asyncio.sleep(self.breaker.open_until - now)
            try:
                await work()
            except (Unavailable, StorageUnavailable, _Failed):
                await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311 - spreads, hides nothing
                pause = min(2 * pause, 5.0)
            except Exception:
                log.exception("engine.runtime_failed", extra={"engine": self.name})
                await asyncio.sleep(pause)
                pause = min(2 * pause, 5.0)
            else:
                return

    # Changes and wake-ups

    async def _follow(self) -> None:
        """Tell the engine of every change that it has not heard of, and reconcile what changed."""
        while changes := await self._feed.read(self.position):
            others = [change for change in changes if self._is_by_others(change)]
            if others and self._overrides("after_commit"):
                await self._call("after_commit", self.engine.after_commit(others))
            if self._overrides("reconcile"):
                await self._reconcile_all(self._ours(others))
            self.position = changes[-1].position
            if time.monotonic() - self._noted_at >= NOTE_SECONDS:
                await self._note()
            if len(changes) < PAGE:
                return  # whatever comes now is news

    def _is_by_others(self, change: Change) -> bool:
        """Whether somebody else had a part in a change: edits of one moment are told of as one change."""
        authors = change.data.get("authors")
        found = cast("list[object]", authors) if isinstance(authors, list) else []
        return any(author != self._author for author in (change.actor, *found))

    async def _wake_all(self) -> None:
        """Reconcile everything that is overdue."""
        while names := await self._overdue():
            await self._reconcile_all(names)

    async def wake(self) -> None:
        """Reconcile what has become due, as far as nothing fails; what fails is asked for again later."""
        if self.is_ready and not self.breaker.is_open(time.time()):
            await self._reconcile_all(await self._overdue())

    async def _overdue(self) -> list[DocumentName]:
        due = await self._store.due_wake_ups(self.name, at=time.time(), limit=WAKE_UPS_AT_ONCE)
        return [one.artifact for one in due]

    async def _sweep(self) -> None:
        """Reconcile every artifact of the engine's kinds, once for each of its versions."""
        version = self.engine.version.encode()
        if not self._overrides("reconcile"):
            return
        if (await self._store.read_values(self._reader, prefix=SWEPT)).get(SWEPT) == version:
            return
        for kind in sorted(self.engine.kinds or KINDS):
            after = ""
            while page := await self._server.list_artifacts(kind, after=after, limit=ARTIFACTS_IN_A_PAGE):
                await self._reconcile_all([info.name for info in page])
                after = page[-1].name
        await self._rooms.ledger.commit(EngineValue(engine=self._reader, key=SWEPT, value=version))

    def _ours(self, changes: Iterable[Change]) -> list[DocumentName]:
        """Return the artifacts, once each, that the engine reconciles after some changes."""
        kinds, watches = self.engine.kinds, self.engine.watches
        names: dict[DocumentName, None] = {}
        for change in changes:
            name = artifact_of(change.document)
            roots = change.data.get("roots")
            is_seen = not watches or not isinstance(roots, list) or not watches.isdisjoint(cast("list[str]", roots))
            if is_seen and find_kind(name) is not None and (not kinds or kind_of(name) in kinds):
                names[name] = None
        return list(names)

    async def _reconcile_all(self, names: Sequence[DocumentName]) -> None:
        """Reconcile artifacts, several at once; one that fails is asked for again and keeps nobody back."""

        async def one(name: DocumentName) -> None:
            async with self._turns:
                await self._reconcile(name)

        await asyncio.gather(*(one(name) for name in names))

    async def _reconcile(self, name: DocumentName) -> None:
        turn = self._busy.setdefault(name, _Turn())
        turn.wanted += 1
        try:
            async with turn.lock:
                turn.asked.clear()
                turn.noted = WakeUp(engine=self.name, artifact=name, at=await self._reconcile_now(name))
                if turn.noted.at is not None or name in self._awaited:
                    await self._rooms.ledger.commit(turn.noted)
                earliest = min(turn.asked, default=math.inf)
                if earliest < (math.inf if turn.noted.at is None else turn.noted.at):
                    # Asked for meanwhile, by a command of the engine say, and replaced by what we noted.
                    await self._rooms.ledger.commit(WakeUp(engine=self.name, artifact=name, at=earliest))
        finally:
            turn.wanted -= 1
            if not turn.wanted:
                del self._busy[name]

    async def _reconcile_now(self, name: DocumentName) -> float | None:
        """Reconcile an artifact, and return when that is wanted again."""
        try:
            async with open_artifact(self._rooms, name) as artifact:
                try:
                    wake_at = await self._call("reconcile", self.engine.reconcile(artifact))
                    await self._clear_banner(artifact)
                except _Failed as failure:
                    wake_at = time.time() + min(2.0 ** min(self.breaker.failures, 9), 300.0)
                    await self._show_banner(artifact, str(failure))
                return wake_at
        except (DocumentNotFound, DocumentDeleted):
            return None  # what is gone, or never was, needs nothing

    # The record says how the engine is

    async def _show_banner(self, artifact: Artifact, reason: str) -> None:
        if self.health is Health.DEGRADED:
            state: dict[str, object] = {"state": str(Health.DEGRADED), "reason": reason}
            await self._set_banner(artifact, state)

    async def _clear_banner(self, artifact: Artifact) -> None:
        if self.name in artifact.record_section(BANNER):
            await self._set_banner(artifact, None)

    async def _set_banner(self, artifact: Artifact, state: dict[str, object] | None) -> None:
        def decide(work: Work) -> None:
            banner = artifact.record_section(BANNER)
            banner.pop(self.name, None)
            if state is not None:
                banner[self.name] = state
            work.set_record(artifact, BANNER, banner or None)

        work = Work(self._user, self._reader, engine=self.name)
        await transact(self._rooms, [artifact], work, decide)

    # Calling the engine

    def _overrides(self, hook: str) -> bool:
        return getattr(type(self.engine), hook) is not getattr(Engine, hook)

    async def _call(self, hook: str, work: Coroutine[Any, Any, T]) -> T:
        """Run a hook under its budget.

        Raises:
            _Failed: it raised or overstayed; that is counted and logged.
        """
        try:
            with trace(self.name, hook):
                async with asyncio.timeout(HOOK_SECONDS):
                    answer = await Interrupting(work, STEP_SECONDS)
        except (Unavailable, StorageUnavailable):
            raise  # the database's fault, not the engine's
        except (Exception, OverBudget) as error:
            self._fail(hook, error)
            raise _Failed(f"{hook}: {type(error).__name__}") from error
        self._succeed()
        return answer

    def _succeed(self) -> None:
        if self.breaker.succeed():
            log.warning("engine.recovered", extra={"engine": self.name})
        self._metrics.engine_degraded.labels(self.name).set(0)

    def _fail(self, hook: str, error: BaseException) -> None:
        log.error("engine.failed", extra={"engine": self.name, "hook": hook}, exc_info=error)
        self._metrics.engine_failures.labels(self.name, hook).inc()
        reason = f"{hook}: {type(error).__name__}"
        if self.breaker.fail(reason, time.time()):
            log.error("engine.degraded", extra={"engine": self.name, "reason": reason})
        self._metrics.engine_degraded.labels(self.name).set(self.health is Health.DEGRADED)

    # Guards

    def guarded_roots(self, name: DocumentName) -> frozenset[str]:
        """Return the roots of a document that the engine must see edits of."""
        if is_record(name) or not self._overrides("before_update"):
            return frozenset()
        return self.engine.guards.get(kind_of(name), frozenset())

    def guard(self, update: GuardedUpdate) -> None:
        """Let the engine look at an edit.

        Raises:
            Refused: it is to be undone.
        """
        roots = update.roots & self.guarded_roots(update.name)
        if not roots:
            return
        if self.breaker.is_open(time.time()):
            self._fail_closed()
            return
        proposed = ProposedUpdate(
            artifact=update.name,
            kind=kind_of(update.name),
            user=update.user,
            roots=roots,
            content_json=update.content_json,
        )
        try:
            with trace(self.name, "before_update"):
                interrupting(lambda: self.engine.before_update(proposed), GUARD_SECONDS)
        except Refused:
            self._succeed()
            raise
        except (Exception, OverBudget) as error:  # noqa: BLE001 - a plugin's fault must not take the room down
            self._fail("before_update", error)
            self._fail_closed()
        else:
            self._succeed()

    def _fail_closed(self) -> None:
        if self.engine.fails_closed:
            raise Refused(f"the engine {self.name!r}, which must see this edit, does not answer: try again later")


SWEPT = "swept"
"""The key under which the runtime keeps the engine's version that has looked at every artifact."""

BANNER = "engines"
"""The member of a record that says which engines do not work on it."""


class _Failed(Exception):
    """A hook failed; it is counted and logged already."""
