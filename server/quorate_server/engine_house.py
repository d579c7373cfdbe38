"""`EngineHouse`: the engines that are installed, loaded, and kept at work while the server runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import metadata

from starlette.routing import BaseRoute

from quorate_protocol.ids import DocumentName
from quorate_server.access import Access
from quorate_server.auditing import Auditor
from quorate_server.commands import AnySpec, Commands
from quorate_server.engine_server import EngineServer, engine_settings
from quorate_server.engines import Runtime
from quorate_server.errors import SettingsError, Unavailable
from quorate_server.feed import Feed
from quorate_server.guards import GuardedUpdate
from quorate_server.hooks import Engine
from quorate_server.metrics import Metrics
from quorate_server.outbox import Outbox
from quorate_server.rooms import Rooms
from quorate_server.sealing import Sealer
from quorate_server.settings import Settings
from quorate_storage.acts import Change, Effect, EffectOutcome, Row, WakeUp
from quorate_storage.errors import StorageUnavailable
from quorate_storage.stores import Store

log = logging.getLogger("quorate.plugins")

ENTRY_POINTS = "quorate.plugins"
LONGEST_SLEEP_SECONDS = 30.0


def load_engines(chosen: str = "") -> list[Engine]:
    """Return an instance of every installed engine, or of those named, in that order.

    Raises:
        SettingsError: one that is named is not installed. One that cannot be loaded is logged and left out.
    """
    installed = {point.name: point for point in metadata.entry_points(group=ENTRY_POINTS)}
    names = [name.strip() for name in chosen.split(",") if name.strip()] or sorted(installed)
    engines: list[Engine] = []
    for name in names:
        if name == "none":
            continue
        if name not in installed:
            raise SettingsError(f"there is no engine {name!r}; installed are {', '.join(sorted(installed)) or 'none'}")
        try:
            engine = installed[name].load()()
            _check(engine, name)
        except Exception:  # a broken plugin must not keep the server from starting
            log.exception("engine.not_loaded", extra={"engine": name})
        else:
            engines.append(engine)
    return engines


def _check(engine: object, name: str) -> None:
    if not isinstance(engine, Engine):
        raise TypeError(f"the entry point {name!r} is no quorate_server.hooks.Engine but a {type(engine).__name__}")
    if engine.name != name:
        raise TypeError(f"the entry point {name!r} is an engine that calls itself {engine.name!r}")


_NO_ROOTS: frozenset[str] = frozenset()  # the one that all rooms share: each new one would take 200 bytes


class EngineHouse:
    """The engines of one server. It is a `Guard` of the rooms, and hears of everything that becomes durable."""

    def __init__(self, engines: Sequence[Engine], settings: Settings, metrics: Metrics) -> None:
        self._engines = engines
        self._settings = settings
        self._metrics = metrics
        self._guards: list[Runtime] = []
        self._clock = asyncio.Event()
        self._outbox: Outbox | None = None
        self._store: Store | None = None
        self.runtimes: dict[str, Runtime] = {}
        self.failed: dict[str, str] = {}

    # As a guard

    def guarded_roots(self, name: DocumentName) -> frozenset[str]:
        """Return the roots of a document that some engine must see edits of."""
        return _NO_ROOTS.union(*(runtime.guarded_roots(name) for runtime in self._guards)) or _NO_ROOTS

    def guard(self, update: GuardedUpdate) -> None:
        """Let every engine look at an edit.

        Raises:
            Refused: one of them refused it.
        """
        for runtime in self._guards:
            runtime.guard(update)

    # At work

    @asynccontextmanager
    async def running(
        self, *, rooms: Rooms, access: Access, sealer: Sealer, commands: Commands, feed: Feed
    ) -> AsyncGenerator[None]:
        """Start every engine, keep them at work, and stop them in the end. One that cannot start is left out.

        `feed` must hear of what becomes durable before this house does.
        """
        self._store = store = rooms.store
        auditor = Auditor(store, sealer)

        def server_of(engine: Engine) -> EngineServer:
            own = engine_settings(engine.name, self._settings.engine_settings)
            return EngineServer(engine.name, rooms, store, access, auditor, own)

        async with AsyncExitStack() as stack:
            for engine in self._engines:
                await self._start(engine, stack, server_of(engine), feed, commands)
            self._guards = [one for one in self.runtimes.values() if one.engine.guards]
            self._outbox = Outbox(store=store, ledger=rooms.ledger, engines=self.runtimes, metrics=self._metrics)
            rooms.ledger.listen(self.hear)
            tasks = [asyncio.create_task(runtime.run()) for runtime in self.runtimes.values()]
            tasks += [asyncio.create_task(self._outbox.run()), asyncio.create_task(self._run_clock())]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _start(
        self, engine: Engine, stack: AsyncExitStack, server: EngineServer, feed: Feed, commands: Commands
    ) -> None:
        runtime = Runtime(engine, server, rooms=server.rooms, store=server.store, feed=feed, metrics=self._metrics)
        self._metrics.engine_degraded.labels(engine.name).set(0)
        try:
            await runtime.start(stack)
            for spec in engine.commands():
                commands.register(spec, gate=runtime.why_not_ready)
        except StorageUnavailable:
            raise
        except Exception as error:  # a broken plugin must not keep the server from starting
            log.exception("engine.not_started", extra={"engine": engine.name})
            self.failed[engine.name] = f"{type(error).__name__}: {error}"
        else:
            self.runtimes[engine.name] = runtime

    def hear(self, rows: Sequence[Row]) -> None:
        """Wake whoever waits for what has become durable."""
        kinds = {type(row) for row in rows}
        if Change in kinds:
            for runtime in self.runtimes.values():
                runtime.notice()
        if WakeUp in kinds:
            for row in rows:
                if isinstance(row, WakeUp) and row.engine in self.runtimes:
                    self.runtimes[row.engine].hear(row)
            self._clock.set()
        if self._outbox is not None and kinds & {Effect, EffectOutcome}:
            self._outbox.notice()

    async def _run_clock(self) -> None:
        """Call engines when a time that they asked for comes, until cancelled."""
        while True:
            self._clock.clear()
            pause = 1.0
            try:
                pause = await self._until_next()
                if pause <= 0:
                    await asyncio.gather(*(runtime.wake() for runtime in self.runtimes.values()))
                    pause = 0.25  # what is overdue still waits for its engine
            except (StorageUnavailable, Unavailable):
                pass  # tried again in a moment
            except Exception:
                log.exception("clock.failed")
            try:
                async with asyncio.timeout(max(pause, 0.01)):
                    await self._clock.wait()
            except TimeoutError:
                pass

    async def _until_next(self) -> float:
        assert self._store is not None, "the clock runs while the engines do"
        due = await self._store.next_wake_up()
        # The wall clock may step: look again at least this often.
        return LONGEST_SLEEP_SECONDS if due is None else min(due - time.time(), LONGEST_SLEEP_SECONDS)

    # What is installed

    def routes(self) -> list[tuple[str, Sequence[BaseRoute]]]:
        """Return the routes of each engine that has some."""
        found: list[tuple[str, Sequence[BaseRoute]]] = []
        for engine in self._engines:
            try:
                routes = engine.routes()
            except Exception:  # a broken plugin must not keep the server from starting
                log.exception("engine.no_routes", extra={"engine": engine.name})
            else:
                found += [(engine.name, routes)] if routes else []
        return found

    def describe(self, head: int, commands: Mapping[str, AnySpec]) -> list[dict[str, object]]:
        """Return what is installed, and how it is, for `/api/engines`; `head` is the newest place in the feed."""
        listed: list[dict[str, object]] = []
        for engine in self._engines:
            runtime = self.runtimes.get(engine.name)
            base = Engine
            hooks = [hook for hook in HOOKS if getattr(type(engine), hook) is not getattr(base, hook)]
            listed.append(
                {
                    "name": engine.name,
                    "version": engine.version,
                    "kinds": sorted(engine.kinds),
                    "hooks": hooks,
                    "commands": sorted(name for name, spec in commands.items() if spec.engine == engine.name),
                    "health": "failed" if runtime is None else str(runtime.health),
                    "reason": self.failed.get(engine.name, "") if runtime is None else runtime.breaker.reason,
                    "position": 0 if runtime is None else runtime.position,
                    "lag": 0 if runtime is None else max(0, head - runtime.position),
                }
            )
        return listed


HOOKS = ("lifespan", "before_update", "after_commit", "reconcile", "deliver", "commands", "routes")
