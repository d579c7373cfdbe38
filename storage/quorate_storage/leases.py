"""`LeaseKeeper`: holds the right to write for as long as the process lives.

Safety does not rest on this module: every append checks the token of the lease in the database, so
a holder that slept through its own expiry writes nothing once somebody else has taken over. What is
here decides only how soon somebody does. That is why it may take a lease over at once from a
process that is known to be dead, without waiting for the end of the lease: were that knowledge
wrong, the old holder would be fenced off like any other and nothing would be lost.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from quorate_storage.errors import LeaseHeld, LeaseLost, StorageUnavailable
from quorate_storage.stores import Lease, Store

log = logging.getLogger("quorate.storage")

PROC = Path("/proc")
GONE_STATES = {"Z", "X"}
"""Zombie and dead: such a process executes nothing any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSettings:
    """What is leased and for how long.

    A lease is renewed three times in its life. `patience_seconds` is how long starting waits for
    another holder's lease to end before it gives up; None waits for ever.
    """

    scope: str = "all"
    seconds: float = 15.0
    patience_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a lease: a process, named so that others on its machine can tell whether it lives.

    `machine` is one boot of one machine, as seen by the processes that see each other; `started`
    tells a process from a later one with the same number. `key` makes each holder of a process
    another one.
    """

    machine: str
    process: int
    started: str
    key: str

    @classmethod
    def here(cls) -> Self:
        """Return a new holder in this process."""
        own = os.getpid()
        return cls(machine=_machine(), process=own, started=_started(own) or "", key=uuid.uuid4().hex)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read what `str` wrote; None when it is another kind of name."""
        match text.split("/"):
            case [machine, process, started, key] if process.isdecimal():
                return cls(machine=machine, process=int(process), started=started, key=key)
            case _:
                return None

    def __str__(self) -> str:
        return f"{self.machine}/{self.process}/{self.started}/{self.key}"

    def is_certainly_dead(self) -> bool:
        """Tell whether it was a process of this machine that runs no more; False when in doubt."""
        if not self.started or self.machine != _machine():
            return False
        return _started(self.process) != self.started


class LeaseKeeper:
    """Acquires a lease, renews it in the background and gives it up at the end.

    `on_lost` is called once when somebody else has taken the lease over. `clock` gives seconds
    since the epoch, as the database keeps them.
    """

    def __init__(
        self,
        store: Store,
        *,
        settings: LeaseSettings | None = None,
        holder: str | None = None,
        on_lost: Callable[[LeaseLost], None] | None = None,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._settings = settings or LeaseSettings()
        self._holder = holder or str(Holder.here())
        self._on_lost = on_lost
        self._clock = clock
        self._pause = pause
        self._lease: Lease | None = None
        self._error: LeaseLost | None = None
        self._task: asyncio.Task[None] | None = None
        self.lost = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Wait for the lease, take it, and begin to renew it.

        Raises:
            LeaseHeld: somebody else still held it after `patience_seconds`.
            StorageUnavailable: the database failed.
        """
        self._lease = await self._acquire()
        self._task = asyncio.create_task(self._renew(), name="lease")
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop renewing and let the next process have the lease at once."""
        task, lease = self._task, self._lease
        assert task is not None
        assert lease is not None
        task.cancel()
        await asyncio.wait((task,))
        if self._error is None:
            # Unreachable database: the lease ends by itself.
            with suppress(StorageUnavailable):
                await self._store.release_lease(lease)

    def current(self) -> Lease:
        """Return the lease, as it was last renewed.

        It may have run out: then it is still ours for as long as nobody took it, which the store
        knows.

        Raises:
            LeaseLost: somebody else has it.
        """
        if self._error is not None:
            raise self._error
        assert self._lease is not None
        return self._lease

    async def _acquire(self) -> Lease:
        settings = self._settings
        waited = 0.0
        while True:
            try:
                return await self._store.acquire_lease(
                    settings.scope, holder=self._holder, seconds=settings.seconds, at=self._clock()
                )
            except LeaseHeld as error:
                if await self._evict(error.lease):
                    continue
                patience = settings.patience_seconds
                if patience is not None and waited >= patience:
                    raise
                rest = max(error.lease.expires_at - self._clock(), 0.0)
                # The holder may renew or release before the end: look again in between.
                step = min(rest + 0.01, settings.seconds / 10)
                log.warning("lease.waiting", extra={"holder": error.lease.holder, "seconds": rest})
                await self._pause(step)
                waited += step

    async def _evict(self, held: Lease) -> bool:
        """End the lease of a process that is certainly dead."""
        holder = Holder.parse(held.holder)
        if holder is None or not holder.is_certainly_dead():
            return False
        log.warning("lease.evicted", extra={"holder": held.holder, "token": held.token})
        await self._store.release_lease(held)
        return True

    async def _renew(self) -> None:
        settings = self._settings
        while True:
            await self._pause(settings.seconds / 3)
            try:
                self._lease = await self._store.renew_lease(self.current(), seconds=settings.seconds, at=self._clock())
            except LeaseLost as error:
                self._lose(error)
                return
            except StorageUnavailable as error:
                log.warning("lease.not_renewed", extra={"cause": error.detail})

    def _lose(self, error: LeaseLost) -> None:
        self._error = error
        log.error("lease.lost", extra={"scope": error.lease.scope, "newest": error.newest_token})
        self.lost.set()
        if self._on_lost is not None:
            self._on_lost(error)


def _machine() -> str:
    """Name this boot of this machine, and the set of processes that this one can see.

    Two containers of one machine can share a host name and a boot, but never a process namespace.
    Without /proc the parts are missing, and `is_certainly_dead` is never sure.
    """
    boot = namespace = ""
    with suppress(OSError):
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = (PROC / "self/ns/pid").readlink().name.strip("pid:[]")
    return f"{socket.gethostname().replace('/', '-')}:{boot}:{namespace}"


def _started(process: int) -> str | None:
    """Return when a process started, in clock ticks since boot; None when it runs no more."""
    try:
        text = (PROC / str(process) / "stat").read_text()
    except OSError:
        return None
    # proc(5): the second field is the name in parentheses, which can hold anything; the third is
    # the state and the twenty-second the start time.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in GONE_STATES else fields[19]
