"""The lease keeper: who may start when, and what happens when the lease is lost."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from quorate_storage.errors import LeaseHeld, LeaseLost, StorageUnavailable
from quorate_storage.leases import Holder, LeaseKeeper, LeaseSettings
from quorate_storage.memory import MemoryStore
from quorate_storage.stores import Lease
from quorate_storage.testing.building import START, new_lease

SHORT = LeaseSettings(seconds=9, patience_seconds=30)


class Clock:
    """A time that only pauses move on."""

    def __init__(self) -> None:
        self.now = START
        self.held = asyncio.Event()
        self.held.set()
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)
        await self.held.wait()
        self.now += seconds


def keeper(store: MemoryStore, clock: Clock, holder: str | None = "two", **options: object) -> LeaseKeeper:
    return LeaseKeeper(
        store,
        settings=SHORT,
        holder=holder,
        clock=clock,
        pause=clock.pause,
        **options,  # type: ignore[arg-type]  # on_lost only
    )


async def test_a_free_lease_is_taken() -> None:
    """The keeper holds the lease while it is entered, and frees it at the end."""
    store, clock = MemoryStore(), Clock()
    clock.held.clear()
    async with keeper(store, clock) as kept:
        assert kept.current() == Lease(scope="all", holder="two", token=1, expires_at=START + 9)
        with pytest.raises(LeaseHeld):
            await store.acquire_lease("all", holder="three", seconds=1, at=START)

    await store.acquire_lease("all", holder="three", seconds=1, at=START)


async def test_it_is_renewed_at_a_third_of_its_time() -> None:
    """The lease never runs out while the process lives."""
    store, clock = MemoryStore(), Clock()
    async with keeper(store, clock) as kept:
        while clock.now < START + 60:
            await asyncio.sleep(0)
            assert kept.current().expires_at > clock.now

    assert set(clock.pauses) == {3}


async def test_a_held_lease_is_waited_for() -> None:
    """A lease of an unknown holder is taken when it ends, not before."""
    store, clock = MemoryStore(), Clock()
    held = await new_lease(store)
    async with keeper(store, clock) as kept:
        assert kept.current().token == 2
        assert clock.now >= held.expires_at


async def test_patience_ends() -> None:
    """A lease that is renewed for ever by somebody else is refused in the end."""
    store, clock = MemoryStore(), Clock()
    await store.acquire_lease("all", holder="one", seconds=1000, at=START)

    with pytest.raises(LeaseHeld):
        async with keeper(store, clock):
            pass

    assert START + 30 <= clock.now < START + 40


async def test_losing_is_told() -> None:
    """When somebody else has taken the lease the keeper says so, once and for good."""
    store, clock = MemoryStore(), Clock()
    told: list[LeaseLost] = []
    clock.held.clear()
    async with keeper(store, clock, on_lost=told.append) as kept:
        await store.acquire_lease("all", holder="three", seconds=1, at=START + 1000)
        clock.held.set()
        await kept.lost.wait()

        with pytest.raises(LeaseLost):
            kept.current()

    assert [error.newest_token for error in told] == [2]


async def test_an_unavailable_database_does_not_lose_the_lease() -> None:
    """Renewal goes on when the database is back."""

    class Failing(MemoryStore):
        fails = 5

        async def renew_lease(self, lease: Lease, *, seconds: float, at: float) -> Lease:
            if self.fails:
                self.fails -= 1
                raise StorageUnavailable("as planned")
            return await super().renew_lease(lease, seconds=seconds, at=at)

    store, clock = Failing(), Clock()
    async with keeper(store, clock) as kept:
        while kept.current().expires_at < START + 20:  # no event tells of it
            await asyncio.sleep(0)

        assert store.fails == 0


async def test_an_unreachable_database_does_not_stop_the_end() -> None:
    """A lease that cannot be released ends by itself."""

    class Failing(MemoryStore):
        async def release_lease(self, lease: Lease) -> None:
            raise StorageUnavailable("as planned")

    clock = Clock()
    clock.held.clear()
    async with keeper(Failing(), clock):
        pass


# Predecessors that are certainly dead


def holder_of_a_dead_process(*, reaped: bool) -> Holder:
    """Return the holder that a process was before it was killed."""
    program = "import sys; from quorate_storage.leases import Holder;print(Holder.here(), flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    holder = Holder.parse(process.stdout.readline().strip())
    assert holder is not None
    assert not holder.is_certainly_dead()
    process.kill()
    process.stdout.read()
    if reaped:
        process.communicate()
    else:
        zombies.append(process)
        while not holder.is_certainly_dead():
            pass
    return holder


zombies: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _reap() -> Iterator[None]:
    yield
    while zombies:
        zombies.pop().communicate()


@pytest.mark.parametrize("reaped", [True, False])
async def test_a_dead_predecessor_delays_nobody(reaped: bool) -> None:  # noqa: FBT001
    """The lease of a process of this machine that was killed is taken over at once."""
    store, clock = MemoryStore(), Clock()
    clock.held.clear()
    holder = holder_of_a_dead_process(reaped=reaped)
    dead = await store.acquire_lease("all", holder=str(holder), seconds=1000, at=START)

    async with keeper(store, clock, holder=None) as kept:
        assert kept.current().token == dead.token + 1

    assert clock.pauses in ([], [3])


def test_this_process_is_not_dead() -> None:
    """A holder of a running process is not taken for dead."""
    assert not Holder.here().is_certainly_dead()


def test_a_reused_process_number_is_dead() -> None:
    """A process with the number of the holder but another start is another one."""
    assert replace(Holder.here(), started="1").is_certainly_dead()


@pytest.mark.parametrize("change", [{"machine": "elsewhere:boot:1"}, {"started": ""}])
def test_doubt_is_not_death(change: dict[str, str]) -> None:
    """A process of another machine, or one that did not say when it started, may be alive."""
    assert not replace(Holder.here(), process=2**22 + 1, **change).is_certainly_dead()


def test_a_holder_is_read_as_it_was_written() -> None:
    """A holder survives being text in the database."""
    holder = Holder.here()

    assert Holder.parse(str(holder)) == holder


@pytest.mark.parametrize("text", ["", "one", "a/b/c/d", "a/1/c", "a/1/c/d/e"])
def test_other_names_are_no_processes(text: str) -> None:
    """A holder of another kind is left alone."""
    assert Holder.parse(text) is None
