"""Metrics: counted from the chain exactly once, whatever is restarted, and shown in a record that nobody can write."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate_plugins.approval import metering
from quorate_plugins.approval.calendars import OFFICE_HOURS
from quorate_plugins.approval.metering import METRICS, SECTION
from quorate_plugins.approval.metrics.deliveries import DeliveryMeter
from quorate_plugins.approval.metrics.gauges import age_of
from quorate_plugins.approval.metrics.histograms import BOUNDS, Histogram, percentile
from quorate_plugins.approval.metrics.recent import Recent
from quorate_plugins.approval.metrics.tallies import Tally
from quorate_plugins.approval.reports.chronicle import Chronicle
from quorate_plugins.approval.requests import StageRun
from quorate_server.artifacts import open_artifact
from quorate_server.connections import House
from quorate_server.errors import Refused
from quorate_server.hooks import AuditEntry
from quorate_server.work import Work
from quorate_storage.memory import MemoryStore
from tests.plugins.approval.approval_houses import (
    ADMIN,
    Clock,
    ask,
    clock,
    decide,
    open_approvals,
    publish,
    reconciled,
    signed_in,
    submit,
    write,
)
from tests.plugins.approval.test_report_properties import chain_of
from tests.plugins.approval.test_reports import live_through
from tests.server.houses import audit_of, open_room, until

__all__ = ["clock"]

HOUR = 3600.0
DAY = 24 * HOUR


async def metrics_of(house: House) -> dict[str, Any]:
    """What the metrics say once all that happened is counted."""
    engine: Any = house.engines.runtimes["approvals"].engine
    await until(lambda: engine._desk.recent.watcher, "begun")
    async with open_artifact(house.rooms, METRICS) as artifact:
        for _ in range(1000):
            wake_at = await engine.reconcile(artifact)
            if wake_at is None or wake_at > time.time():
                break
        return artifact.record_section(SECTION)


def tally_of(entries: list[AuditEntry]) -> Tally:
    chronicle, tally = Chronicle(), Tally(lambda _: OFFICE_HOURS)
    for entry in entries:
        tally.take(chronicle.take(entry))
    return tally


# Counting


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**64), st.floats(0, 1))
def test_law_a_tally_that_was_kept_goes_on_as_if_it_had_never_stopped(seed: int, share: float) -> None:
    entries = chain_of(seed)
    whole = tally_of(entries)
    middle = int(share * len(entries))
    chronicle, first = Chronicle(), Tally(lambda _: OFFICE_HOURS)
    for entry in entries[:middle]:
        first.take(chronicle.take(entry))
    second = Tally.load(json.loads(json.dumps(first.dump())), lambda _: OFFICE_HOURS)
    assert second is not None
    for entry in entries[middle:]:
        second.take(chronicle.take(entry))
    assert second.shown() == whole.shown()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**64), st.randoms(use_true_random=False))
def test_law_what_the_server_knows_already_counts_as_what_is_replayed(seed: int, random: Any) -> None:
    """Some events are known, some are not, and of some another one is known whose transaction failed."""
    entries = chain_of(seed)
    recent, plain = Recent(), Chronicle()
    recent.watcher = METRICS
    work = Work(ADMIN, "test")
    for entry in entries:
        step = plain.take(entry)
        if step.event is None or step.after is None or random.random() < 0.3:
            continue
        if random.random() < 0.2:
            recent.note(work, METRICS, step.before, step.event, step.after)
        name: Any = step.artifact
        recent.note(work, name, step.before, step.event, step.after)
    followed, tally = Chronicle(recent.take), Tally(lambda _: OFFICE_HOURS)
    for entry in entries:
        tally.take(followed.take(entry))
    assert tally.shown() == tally_of(entries).shown()
    assert followed.requests == plain.requests


def test_a_tally_of_another_version_is_not_believed() -> None:
    assert Tally.load({"version": 0}, lambda _: None) is None


def test_a_histogram_counts_what_took_at_most_so_long() -> None:
    histogram = Histogram()
    for seconds in (0.0, 60.0, 61.0, BOUNDS[-1] + 1):
        histogram.add(seconds)
    shown: Any = Histogram.load(json.loads(json.dumps(histogram.dump()))).shown()
    assert (shown["count"], shown["le"]["60"], shown["le"]["300"]) == (4, 2, 3)
    assert shown["le"][f"{BOUNDS[-1]:.0f}"] == 3


@given(st.lists(st.floats(0, 1e9), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_a_value_that_so_many_are_not_above(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert found is not None
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


def test_percentiles_of_nothing_are_nothing() -> None:
    assert percentile((), 0.5) is None


@pytest.mark.parametrize(
    ("age", "bucket"), [(0, "under_1h"), (HOUR, "under_4h"), (DAY, "under_3d"), (8 * DAY, "7d_or_more")]
)
def test_what_waits_is_told_by_how_long_it_does(age: float, bucket: str) -> None:
    assert age_of(StageRun(activated_at=1000.0), 1000.0 + age) == bucket


def test_notifications_are_counted_by_channel() -> None:
    meter = DeliveryMeter(since=1.0)
    for seconds in (1.0, 3.0, 2.0):
        meter.note("email", "sent", seconds)
    meter.note("email", "put_off")
    meter.note("email", "failed")
    meter.note("sms", "put_off")
    assert meter.shown() == {
        "email": {
            "sent": 3,
            "failed": 1,
            "put_off": 1,
            "success_ratio": 0.75,
            "latency_seconds": {"p50": 2.0, "p99": 3.0},
        },
        "sms": {"put_off": 1, "success_ratio": None, "latency_seconds": {"p50": None, "p99": None}},
    }


# In the record


async def test_the_record_says_what_happened_and_what_waits() -> None:
    async with open_approvals() as house:
        await live_through(house)
        await submit(house, "approval/three", change="ALTER TABLE three")
        await ask(house, "override", user=signed_in("ann"), artifact="approval/three", reason="emergency")
        await submit(house, "approval/four", change="ALTER TABLE four")
        shown = await metrics_of(house)
        assert shown["decisions"] == {"approve": 3, "reject": 1}
        assert shown["outcomes"] == {"approved": 1, "rejected": 1, "overridden": 1}
        assert shown["automatic"] == {"automatic": 0, "by_people": 2, "ratio": 0}
        assert (shown["stale_dismissals"], shown["late_attempts"], shown["overrides"]) == (1, 1, 1)
        assert shown["separation_of_duties_refusals"] == 1
        assert shown["refusals"]["not-eligible"] == 1
        assert shown["pending"]["stages"] == {"schema_change": {"steward": {"under_1h": 1}}}
        assert (shown["pending"]["requests"], shown["pending"]["overdue_stages"]) == (1, 0)
        assert shown["decision_seconds"]["wall"]["count"] == 4
        assert shown["counted_to"] == len(await audit_of(house.rooms))
        assert shown["outbox"] == {"pending": 0, "dead": 0}


async def test_time_is_told_of_too(clock: Clock) -> None:
    clock.now = 1_799_056_800.0  # a Monday, ten o'clock in UTC
    rules = {"low": {"effect": "auto_approve", "types": ["custom"], "when": "request.risk == 'low'"}}
    async with open_approvals(clock=clock) as house:
        await publish(house, {"rules": rules})
        await write(house, "approval/low", type="custom", title="x", justification="y", risk_level="low")
        await ask(house, "submit", user="rita", artifact="approval/low")
        await submit(house)
        clock.now += 2 * HOUR
        await decide(house, "sam")
        clock.now += 2 * DAY
        for _ in range(3):
            await reconciled(house)
        shown = await metrics_of(house)
        assert shown["automatic"]["ratio"] == 1
        assert shown["decision_seconds"]["business"]["sum_seconds"] == 2 * HOUR
        assert shown["escalations_by_level"] == {"1": 1}
        assert shown["timer_lag_seconds"]["p99"] > 0
        assert shown["pending"]["stages"] == {"schema_change": {"security": {"under_3d": 1}}}


async def test_what_is_sealed_is_told() -> None:
    async with open_approvals() as house:
        await submit(house)
        before = (await metrics_of(house))["audit"]
        assert before == {"sealed_size": 0, "unsealed_events": len(await audit_of(house.rooms))}
        await house.sealer.seal()
        after = (await metrics_of(house))["audit"]
        assert after["unsealed_events"] == 0
        assert after["sealed_at"] == pytest.approx(time.time(), abs=60)


async def test_law_a_restart_counts_nothing_twice_and_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(metering, "MOST_RESTORED_AT_ONCE", 1)
    monkeypatch.setattr(metering, "MOST_AT_ONCE", 7)
    store = MemoryStore()
    async with open_approvals(store=store) as house:
        await live_through(house)
        await submit(house, "approval/three", change="ALTER TABLE three")
        await submit(house, "approval/four", change="ALTER TABLE four")
        before = await metrics_of(house)
        await decide(house, "sam", name="approval/three")  # which nobody counted before the server ended
    async with open_approvals(store=store, people=False) as house:
        after = await metrics_of(house)
        assert after["decisions"]["approve"] == before["decisions"]["approve"] + 1
        assert after["decision_seconds"]["wall"]["count"] == before["decision_seconds"]["wall"]["count"] + 1
        await house.rooms.store.commit(_forgotten(), at=0.0, lease=house.rooms._leases.current())
    async with open_approvals(store=store, people=False) as house:
        anew = await metrics_of(house)
        told = {"outcomes", "decisions", "refusals", "stale_dismissals", "late_attempts", "decision_seconds", "pending"}
        assert {key: anew[key] for key in told} == {key: after[key] for key in told}


def _forgotten() -> Any:
    from quorate_storage.acts import Act, EngineValue  # noqa: PLC0415

    return Act(rows=(EngineValue(engine="approvals", key="metrics", value=None),))


async def test_nothing_is_written_when_nothing_happened() -> None:
    async with open_approvals() as house:
        await submit(house)
        await metrics_of(house)
        async with open_artifact(house.rooms, METRICS) as artifact:
            version = artifact.record_version
            engine = house.engines.runtimes["approvals"].engine
            wake_at = await engine.reconcile(artifact)
            assert artifact.record_version == version
            assert wake_at is not None
            assert wake_at > time.time() + 60


async def test_what_happens_to_requests_wakes_the_metrics_within_seconds() -> None:
    async with open_approvals(metrics_seconds="0.05") as house:
        await submit(house)
        await metrics_of(house)
        async with open_artifact(house.rooms, METRICS) as artifact, asyncio.timeout(10):
            while artifact.record_section(SECTION).get("pending", {}).get("requests") != 1:  # type: ignore[attr-defined]
                await asyncio.sleep(0.01)
            while not house.engines.runtimes["approvals"].engine._desk.recent.asleep:  # type: ignore[attr-defined]
                await asyncio.sleep(0.01)
            await decide(house, "sam")
            while artifact.record_section(SECTION).get("decisions") != {"approve": 1}:
                await asyncio.sleep(0.01)


async def test_a_server_without_requests_has_no_metrics_of_them() -> None:
    async with open_approvals() as house:
        await open_room(house.rooms, "text/a")
        assert await house.rooms.store.find(METRICS) is None


async def test_the_metrics_can_be_turned_off() -> None:
    async with open_approvals(metrics_seconds="0") as house:
        await submit(house)
        await reconciled(house)
        assert await house.rooms.store.find(METRICS) is None


async def test_nobody_can_write_the_metrics() -> None:
    async with open_approvals() as house:
        await submit(house)
        await metrics_of(house)
        for action in ("write", "share", "delete"):
            with pytest.raises(Refused):
                house.access.require(ADMIN, action, "text/approvals-metrics/record")  # type: ignore[arg-type]
        house.access.require(ADMIN, "read", "text/approvals-metrics/record")  # type: ignore[arg-type]


async def test_a_damaged_chain_stops_the_counting_and_nothing_else() -> None:
    async with open_approvals() as house:
        await submit(house)
        records: list[Any] = house.rooms.store._audit._records  # type: ignore[attr-defined]
        place = len(records)
        record, artifact = records[-1]
        object.__setattr__(record, "body", b"no JSON")
        shown = await metrics_of(house)
        assert shown["problem"].startswith(f"event {place} of the audit chain is damaged")
        assert shown["pending"]["requests"] == 1
        assert (await decide(house, "sam"))["status"] == "counted"
        assert artifact is None or artifact.startswith("approval/")
