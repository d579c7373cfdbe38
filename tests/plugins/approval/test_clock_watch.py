"""The wall clock is moved under a running server."""

from __future__ import annotations

from quorate_plugins.approval.clock_watch import HOLD_SECONDS, ClockWatch
from quorate_plugins.approval.engine import Approvals
from tests.plugins.approval.approval_houses import REQUEST, Clock, clock, open_approvals, reconciled, request_of, submit
from tests.server.houses import audit_of

__all__ = ["clock"]


class Clocks:
    """A wall clock that can be moved, and one that cannot."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000.0
        self.monotonic = 1000.0

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    def watch(self) -> ClockWatch:
        return ClockWatch(wall=lambda: self.wall, monotonic=lambda: self.monotonic)


def test_time_that_passes_is_no_step() -> None:
    clocks = Clocks()
    watch = clocks.watch()
    for seconds in (0.0, 10.0, 86400.0):
        clocks.pass_(seconds)
        clocks.wall += 100  # it is being corrected
        assert watch.look() == 0
        assert not watch.is_doubtful
        assert watch.not_before(5.0, clocks.wall) == 5.0


def test_after_a_step_the_clock_is_doubtful_for_a_while() -> None:
    for moved in (7200.0, -7200.0):
        clocks = Clocks()
        watch = clocks.watch()
        clocks.wall += moved
        assert watch.look() == moved
        assert watch.look() == 0
        assert watch.is_doubtful
        assert watch.not_before(clocks.wall - 1, clocks.wall) == clocks.wall + HOLD_SECONDS
        assert watch.not_before(clocks.wall + 1, clocks.wall) == clocks.wall + 1
        assert watch.not_before(None, clocks.wall) is None
        clocks.pass_(HOLD_SECONDS)
        assert not watch.is_doubtful


async def test_nothing_ends_by_a_clock_that_was_set_wrong(clock: Clock) -> None:
    """Set a month ahead it lets nothing expire until it has been so for five minutes; set right again, nothing did."""
    clocks = Clocks()
    async with open_approvals(clock=clock) as house:
        engine = house.engines.runtimes["approvals"].engine
        assert isinstance(engine, Approvals)
        engine._desk.clock_watch = clocks.watch()
        await submit(house)
        for is_set_right in (True, False):
            clock.now += 30 * 86400
            clocks.wall += 30 * 86400
            await reconciled(house)
            assert (await request_of(house, REQUEST)).state == "pending"
            if is_set_right:
                clock.now -= 30 * 86400
                clocks.wall -= 30 * 86400
                clocks.pass_(HOLD_SECONDS + 1)
                await reconciled(house)
                clocks.pass_(HOLD_SECONDS + 1)
                await reconciled(house)
                assert (await request_of(house, REQUEST)).state == "pending"
        for _ in range(10):  # every level of the ladder has its time
            clocks.pass_(HOLD_SECONDS * 4)
            clock.now += HOLD_SECONDS * 4
            await reconciled(house)
        assert (await request_of(house, REQUEST)).state == "expired"
        steps = [event["facts"]["seconds"] for event in await audit_of(house.rooms, "approval.clock_stepped")]
        assert steps == [30 * 86400, -30 * 86400, 30 * 86400]
