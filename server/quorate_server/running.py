"""Running the server with uvicorn: our WebSocket protocol, one ready line, and an orderly end."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from quorate_server.app import Quorate
from quorate_server.direct_sockets import PING_SECONDS, DirectHttpProtocol, Doors, keepalive

Prepare = Callable[[], Awaitable[None]]


class Server(uvicorn.Server):
    """A uvicorn server that says when it is ready and sends its clients away in good order."""

    def __init__(self, quorate: Quorate, *, notice: str = "") -> None:
        settings = quorate.settings
        config = uvicorn.Config(
            quorate.app,
            host=settings.host,
            port=settings.port,
            ws="websockets-sansio",
            ws_max_size=settings.limits.frame_bytes,
            # The same bytes go to every peer: compressing would be done once for each of them.
            ws_per_message_deflate=False,
            ws_ping_interval=PING_SECONDS,
            ws_ping_timeout=PING_SECONDS,
            access_log=False,
            log_config=None,
            lifespan="off",  # `run` enters it, so that what keeps us from starting is ours to tell
            timeout_graceful_shutdown=int(settings.drain_seconds),
            server_header=False,
        )
        protocol = partial(
            DirectHttpProtocol,
            doors=_doors_of(quorate, config.forwarded_allow_ips),
            keepalive=keepalive(),
            request_seconds=settings.limits.handshake_seconds,
            message_bytes=settings.limits.frame_bytes,
        )
        config.http = cast("type[asyncio.Protocol]", protocol)  # it is only ever called
        super().__init__(config)
        self._quorate = quorate
        self._notice = notice

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Take SIGINT and SIGTERM as the wish to stop. An orderly end is a success: code 0."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then print the one line that says so."""
        await super().startup(sockets)
        if self.should_exit:
            return
        port = self.servers[0].sockets[0].getsockname()[1]
        address = f"http://{self._quorate.settings.host}:{port}"
        sys.stdout.write(f"Quorate is ready on {address}\n{self._notice.format(address=address)}")
        sys.stdout.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, commit, send everybody away (1012) over a while, then stop."""
        for server in self.servers:
            server.close()
        draining = asyncio.create_task(self._quorate.drain())
        while not draining.done() and not self.force_exit:  # a second signal: now
            await asyncio.wait({draining}, timeout=0.1)
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)
        await super().shutdown(sockets)


def _doors_of(quorate: Quorate, trusted_proxies: list[str] | str) -> Doors:
    """Return the endpoints, which hear of a client behind a proxy what those hear that uvicorn calls."""
    apps = {path: _behind(trusted_proxies, app) for path, app in quorate.sockets.items()}
    prefixed = {path.partition("{")[0]: app for path, app in apps.items() if "{" in path}
    return Doors({path: app for path, app in apps.items() if "{" not in path}, prefixed)


def _behind(trusted_proxies: list[str] | str, app: ASGIApp) -> ASGIApp:
    return cast("ASGIApp", ProxyHeadersMiddleware(cast("Any", app), trusted_proxies))


async def run(quorate: Quorate, *, notice: str = "", prepare: Prepare | None = None) -> bool:
    """Run a server until it is told to stop; return whether it came to listen at all.

    `prepare` runs before it listens.

    Raises:
        QuorateError: it cannot start; nothing is listening.
    """
    server = Server(quorate, notice=notice)
    async with quorate.lifespan():
        if prepare is not None:
            await prepare()
        _set_apart_what_stays()
        await server.serve()
    return server.started


YOUNG_OBJECTS = 20_000
"""So many objects are made before the garbage collector looks at them: of what an edit makes nearly nothing is left."""


SWITCH_SECONDS = 0.0005
"""How long a thread holds the interpreter while another waits for it: the one that commits, for example.

By measurement Python's 5 ms were most of what the slowest of a hundred edits waited for while a log was folded.
"""


def _set_apart_what_stays() -> None:
    """Take all that was loaded so far out of the garbage collector's sight: it lives as long as the process.

    By measurement a full collection looked at it for 100 ms, in the middle of a hundred handshakes.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(YOUNG_OBJECTS)
