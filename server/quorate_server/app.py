"""`Quorate`: the server as one object. Its ASGI application, its lifespan, and how it is mounted elsewhere.

    collaboration = Quorate(settings)
    app = FastAPI(lifespan=collaboration.lifespan)
    app.mount("/collaboration", collaboration.app)

Starlette runs the lifespan of the outermost application only: a host enters ours, as above.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from quorate_protocol.closing import CloseCode
from quorate_server.access import Access
from quorate_server.authenticators import Authenticator, make_authenticator
from quorate_server.channel_endpoint import serve_channel
from quorate_server.commands import Commands
from quorate_server.connections import Connection, House
from quorate_server.core_commands import core_commands
from quorate_server.engine_house import EngineHouse, load_engines
from quorate_server.errors import SettingsError, Unavailable
from quorate_server.feed import Feed
from quorate_server.folding import warm_up
from quorate_server.guards import Guard
from quorate_server.hocuspocus_endpoint import serve_hocuspocus
from quorate_server.hooks import Engine
from quorate_server.http_api import api_routes, health_routes
from quorate_server.metrics import Metrics
from quorate_server.origins import is_origin_allowed
from quorate_server.pages import page_routes
from quorate_server.problems import HANDLED, on_error
from quorate_server.rooms import Rooms, Seeder
from quorate_server.sealing import Sealer
from quorate_server.seeding import seeder_from
from quorate_server.settings import Settings
from quorate_server.tracing import trace_hooks
from quorate_server.users import SERVER
from quorate_server.y_websocket_endpoint import serve_y_websocket
from quorate_storage.acts import AuditEvent
from quorate_storage.errors import LeaseLost, StorageUnavailable
from quorate_storage.journal import Journal
from quorate_storage.leases import LeaseKeeper, LeaseSettings
from quorate_storage.sql import SqlStore
from quorate_storage.stores import Store

log = logging.getLogger("quorate.server")

PRESENCE_SWEEP_SECONDS = 3.0
"""A tenth of the time after which presence is outdated, as in y-protocols."""


class Quorate:
    """The collaboration server. `app` answers while `lifespan` is entered."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store | None = None,
        authenticator: Authenticator | None = None,
        seeder: Seeder | None = None,
        guards: Sequence[Guard] = (),
        engines: Sequence[Engine] | None = None,
        routes: Sequence[BaseRoute] = (),
    ) -> None:
        self.settings = settings
        trace_hooks(is_on=settings.trace_hooks)
        self.metrics = Metrics()
        self.connections: set[Connection] = set()
        self._store = store
        self._authenticator = authenticator or make_authenticator(settings)
        seeds = Path(settings.seeds) if settings.seeds else None
        self._seeder = seeder or seeder_from(seeds)
        self.engines = EngineHouse(
            load_engines(settings.engines) if engines is None else engines, settings, self.metrics
        )
        self._guards = (*guards, self.engines)
        self._house: House | None = None
        self._journal: Journal | None = None
        self._is_draining = False
        self._was_sent_away = False
        self._is_lease_lost = False
        self.sockets: Mapping[str, ASGIApp] = {
            "/sync/{name:path}": _Socket(self, serve_y_websocket),
            "/hocuspocus": _Socket(self, serve_hocuspocus),
            "/hocuspocus/": _Socket(self, serve_hocuspocus),
            "/channel": _Socket(self, serve_channel),
        }
        """The WebSocket endpoints, by their routes."""
        self.app = Starlette(
            routes=[
                *routes,
                *api_routes(),
                *(Mount(f"/api/engines/{name}", routes=list(own)) for name, own in self.engines.routes()),
                *health_routes(),
                *(WebSocketRoute(path, app) for path, app in self.sockets.items()),
                *page_routes(),
            ],
            exception_handlers=dict.fromkeys(HANDLED, on_error),
            lifespan=self.lifespan,
        )
        self.app.state.quorate = self

    @property
    def house(self) -> House:
        """What connections work with. Only while the lifespan is entered."""
        assert self._house is not None, "the lifespan of Quorate was not entered"
        return self._house

    @asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncGenerator[None]:
        """Open the store, take the lease, run; at the end commit everything and give all back."""
        settings = self.settings
        async with AsyncExitStack() as stack:
            store = self._store
            if store is None:
                store = await stack.enter_async_context(self._open_store())
            leases = await stack.enter_async_context(
                LeaseKeeper(
                    store,
                    settings=LeaseSettings(seconds=settings.lease_seconds),
                    on_lost=self._on_lease_lost,
                )
            )
            journal = await stack.enter_async_context(
                Journal(store, leases.current, observer=_CommitWatch(self.metrics))
            )
            self._journal = journal
            rooms = Rooms(
                store=store,
                journal=journal,
                leases=leases,
                limits=settings.limits,
                metrics=self.metrics,
                seeder=self._seeder,
                guards=self._guards,
            )
            stack.push_async_callback(rooms.close)
            self._house = house = self._open_house(rooms)
            house.access.revoke(await store.list_revocations())
            house.access.follow(await store.list_grants())
            for listener in (house.access.follow, house.sealer.hear):
                rooms.ledger.listen(listener)
            await rooms.announcer.recover(store)
            for spec in core_commands(house.access):
                house.commands.register(spec)
            await stack.enter_async_context(
                self.engines.running(
                    rooms=rooms, access=house.access, sealer=house.sealer, commands=house.commands, feed=house.feed
                )
            )
            self.app.state.house = house
            for work in (
                self._keep_house(),
                self.metrics.watch_loop(),
                rooms.announcer.run(),
                house.sealer.run(),
                _forget_acts(store),
            ):
                stack.push_async_callback(_cancel, asyncio.create_task(work))
            warm_up()
            await rooms.ledger.commit(_event("server.started"))
            log.info("server.started", extra={"database": settings.database_url.partition("@")[2] or "sqlite"})
            yield
            await self.drain()
            await self._account_for_the_end(house)
        log.info("server.stopped")

    async def _account_for_the_end(self, house: House) -> None:
        """Tell the feed and the audit chain what there is left to tell, if the database still takes it."""
        assert self._journal is not None
        if self._journal.is_failing or self._is_lease_lost:
            return
        with suppress(TimeoutError, Unavailable):
            async with asyncio.timeout(self.settings.drain_seconds):
                house.rooms.announcer.flush()
                await house.rooms.ledger.commit(_event("server.stopped"))
                await house.sealer.seal()

    def not_ready_because(self) -> str | None:
        """Return why documents cannot be opened and written now, `None` when they can."""
        if self._house is None or self._journal is None:
            return "starting"
        if self._is_draining:
            return "stopping"
        if self._is_lease_lost:
            return "another server took over"
        is_stalled = self._journal.is_failing or self._house.rooms.is_store_stalled
        return "the database is failing" if is_stalled else None

    def render_metrics(self) -> bytes:
        """Return all metrics, those that are read off the state included."""
        journal, metrics = self._journal, self.metrics
        if journal is not None:
            metrics.journal_entries.set(journal.pending_entries)
            metrics.journal_bytes.set(journal.pending_bytes)
            metrics.store_failing.set(journal.is_failing)
        buffered = sum(connection.channel.buffered_bytes for connection in self.connections)
        metrics.send_buffer_bytes.set(buffered)
        if self._house is not None:
            half = self.settings.limits.document_bytes // 2
            rooms = self._house.rooms.open_rooms
            metrics.unsealed_events.set(self._house.sealer.unsealed)
            metrics.large_documents.set(sum(room.meter.size_bytes > half for room in rooms))
        return metrics.render()

    async def drain(self) -> None:
        """Let nobody in, commit what came, and send everybody away over a while: their return is a load."""
        if self._is_draining or self._house is None:
            return
        self._is_draining = True
        self._house.rooms.close_doors()
        await self._flush()
        leaving = list(self.connections)
        random.shuffle(leaving)
        spread = min(self.settings.drain_seconds, len(leaving) / SENT_AWAY_PER_SECOND)
        for connection in leaving:
            connection.close(CloseCode.RESTARTING, "the server restarts: reconnect")
            await asyncio.sleep(spread / len(leaving))
        await self._flush()

    async def _flush(self) -> None:
        """Have all that came made durable, within bounds: a database that hangs must not keep us from ending."""
        assert self._journal is not None
        self.house.rooms.hand_over()
        if not self._journal.is_failing:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.drain_seconds):
                    await self._journal.flush()

    def _open_store(self) -> SqlStore:
        try:
            if not self.settings.database:
                Path(self.settings.data).mkdir(parents=True, exist_ok=True)
            return SqlStore(self.settings.database_url)
        except OSError as error:
            raise SettingsError(f"the data folder {self.settings.data!r} cannot be used: {error}") from error
        except ValueError as error:
            raise SettingsError(f"--database: {error}") from error

    def _open_house(self, rooms: Rooms) -> House:
        folder = self.settings.policies
        access = Access(Path(folder) if folder else None)
        feed = Feed(rooms.store)
        rooms.ledger.listen(feed.hear)
        return House(
            rooms=rooms,
            access=access,
            commands=Commands(store=rooms.store, rooms=rooms, access=access, metrics=self.metrics),
            engines=self.engines,
            sealer=Sealer(rooms.store, self.settings),
            feed=feed,
            authenticator=self._authenticator,
            limits=self.settings.limits,
            metrics=self.metrics,
            connections=self.connections,
        )

    # Housekeeping

    async def _keep_house(self) -> None:
        """Follow changed rights, let go of stale presence, and send people away from a failing store."""
        loop = asyncio.get_running_loop()
        swept_at = loop.time()
        while True:
            await asyncio.sleep(self.settings.recheck_seconds)
            try:
                await self._recheck()
                self._watch_store()
                if loop.time() - swept_at >= PRESENCE_SWEEP_SECONDS:
                    swept_at = loop.time()
                    self.house.rooms.expire_presence()
            except Exception:
                log.exception("housekeeping.failed")

    async def _recheck(self) -> None:
        access = self.house.access
        files = await asyncio.to_thread(access.read_if_changed)
        if files is not None:
            access.adopt(files)
        now = time.time()
        for number, connection in enumerate(tuple(self.connections)):
            try:
                await connection.recheck(now)
            except Exception:  # one connection must not leave the others unchecked
                log.exception("connection.recheck_failed")
            if number % 100 == 0:
                await asyncio.sleep(0)

    def _watch_store(self) -> None:
        """Send everybody away once the store has failed for too long; what they wrote stays in memory."""
        assert self._journal is not None
        since = self._journal.stalled_since
        seconds = 0.0 if since is None else time.monotonic() - since
        rooms = self.house.rooms
        rooms.is_store_stalled = seconds >= self.settings.store_failure_seconds
        if rooms.is_store_stalled and not self._was_sent_away:
            log.error("store.stalled", extra={"seconds": round(seconds, 1)})
            rooms.send_away(Unavailable("the database is failing: try again later"))
        self._was_sent_away = rooms.is_store_stalled

    def _on_lease_lost(self, error: LeaseLost) -> None:
        log.error("lease.documents_lost", extra={"error": str(error)})
        self._is_lease_lost = True
        self.house.rooms.close_doors()
        for room in self.house.rooms.open_rooms:
            room.end(Unavailable("another server took over: reconnect"))


REPLIES_SECONDS = 86400.0
"""How long a command can be repeated with its key."""

FORGET_EVERY_SECONDS = 3600.0

SENT_AWAY_PER_SECOND = 500
"""How many connections are closed a second when the server stops: each comes back within seconds."""


class _Socket:
    """An ASGI endpoint of one WebSocket dialect."""

    def __init__(self, quorate: Quorate, serve: Callable[[House, Scope, Receive, Send], Awaitable[None]]) -> None:
        self._quorate = quorate
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket, unless a web page opens it that may not."""
        if not is_origin_allowed(scope, self._quorate.settings):
            self._quorate.metrics.refused("origin")
            await receive()  # websocket.connect
            await send({"type": "websocket.close", "code": 1008})  # answered as HTTP 403
            return
        await self._serve(self._quorate.house, scope, receive, send)


class _CommitWatch:
    """Turns what the journal tells into metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def committed(self, entries: int, size_bytes: int, seconds: float) -> None:  # noqa: ARG002
        """Note a commit."""
        self._metrics.observe_commit(entries=entries, seconds=seconds)

    def failed(self, error: StorageUnavailable) -> None:  # noqa: ARG002 - the journal logs it
        """Note a commit that will be tried again."""
        self._metrics.observe_failure()

    def recovered(self, seconds: float) -> None:
        """Note that commits succeed again."""


async def _forget_acts(store: Store) -> None:
    """Forget the ids of acts and the replies to commands that nobody repeats any more, once an hour."""
    while True:
        try:
            await store.forget_acts(before=time.time() - REPLIES_SECONDS)
        except StorageUnavailable:
            log.warning("acts.not_forgotten")
        await asyncio.sleep(FORGET_EVERY_SECONDS)


def _event(type_: str) -> AuditEvent:
    return AuditEvent(type=type_, at=time.time(), actor=SERVER.id, via="server")


async def _cancel(task: asyncio.Task[None] | Coroutine[object, object, None]) -> None:
    assert isinstance(task, asyncio.Task)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
