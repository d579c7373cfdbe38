"""Reminders: due dates read, told of once each, and put off; with a clock that the test moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from pycrdt import Map
from pydantic import ValidationError

from quorate_plugins.reminders import Reminders
from quorate_plugins.reminders.engine import DAY_SECONDS, OVERDUE, REMINDED, WAITING, Plan, read_plan
from quorate_protocol.ids import DocumentName, UserId
from quorate_server.artifacts import open_artifact
from quorate_server.connections import House
from quorate_server.errors import AccessDenied, Conflict, DocumentNotFound
from quorate_storage.acts import Grant, WakeUp
from quorate_storage.memory import MemoryStore
from tests.server.houses import Guest, audit_of, changes_of, open_house, open_room, person, until

ARTIFACT = DocumentName("plan/one")
DUE = "2026-12-24T17:00:00+01:00"
DUE_AT = 1798128000.0  # 16:00 UTC


# Reading a due date


@pytest.mark.parametrize(
    ("properties", "due_at", "remind_at"),
    [
        ({"due_at": DUE}, DUE_AT, DUE_AT - DAY_SECONDS),
        ({"due_at": "2026-12-24T16:00:00Z"}, DUE_AT, DUE_AT - DAY_SECONDS),
        ({"due_at": DUE, "remind_before": 0}, DUE_AT, DUE_AT),
        ({"due_at": DUE, "remind_before": 90.5}, DUE_AT, DUE_AT - 90.5),
        ({"due_at": "0001-01-01T00:00:00+14:00"}, -62135647200.0, -62135733600.0),
    ],
)
def test_a_due_date_is_read(properties: Mapping[str, object], due_at: float, remind_at: float) -> None:
    plan = read_plan(properties)
    assert plan is not None
    assert (plan.due_text, plan.due_at, plan.remind_at) == (properties["due_at"], due_at, remind_at)


@pytest.mark.parametrize("properties", [{}, {"due_at": ""}, {"due_at": None}, {"remind_before": 5}])
def test_most_artifacts_are_never_due(properties: Mapping[str, object]) -> None:
    assert read_plan(properties) is None


@pytest.mark.parametrize(
    "properties",
    [
        {"due_at": "tomorrow"},
        {"due_at": "2026-12-24"},
        {"due_at": "2026-12-24T17:00:00"},  # of which place?
        {"due_at": 1798128000},
        {"due_at": ["2026-12-24T17:00:00Z"]},
        {"due_at": DUE, "remind_before": -1},
        {"due_at": DUE, "remind_before": "1 day"},
        {"due_at": DUE, "remind_before": True},
        {"due_at": DUE, "remind_before": float("nan")},
        {"due_at": DUE, "remind_before": 400 * DAY_SECONDS},
    ],
)
def test_what_is_no_due_date_is_not_read(properties: Mapping[str, object]) -> None:
    with pytest.raises(ValueError, match=r"`due_at` must be|`remind_before` must be"):
        read_plan(properties)


@pytest.mark.parametrize(
    ("now", "state", "following"), [(0, WAITING, 10), (9.9, WAITING, 10), (10, REMINDED, 20), (20, OVERDUE, None)]
)
def test_a_plan_says_how_far_it_is_and_what_comes_next(now: float, state: str, following: float | None) -> None:
    plan = Plan(due_text="x", due_at=20, remind_at=10)
    assert (plan.state_at(now), plan.next_after(now)) == (state, following)


# At work


class Clock:
    """A clock that the test sets."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def open_reminders(clock: Clock, store: MemoryStore | None = None) -> AsyncIterator[House]:
    engine = Reminders()
    engine.clock = clock
    async with open_house(engine, store=store) as house:
        await until(lambda: house.engines.runtimes["reminders"].is_ready, "ready")
        yield house


class Desk:
    """Anna at an artifact."""

    def __init__(self, house: House, guest: Guest) -> None:
        self.house, self.guest = house, guest

    @classmethod
    async def sit_down(cls, house: House, **properties: object) -> Desk:
        desk = cls(house, Guest(await open_room(house.rooms, ARTIFACT), "anna"))
        await open_room(house.rooms, f"{ARTIFACT}/record")
        desk.guest.ask()
        await until(lambda: desk.guest.channel.frames, "answered")
        desk.guest.take()
        if properties:
            desk.set(**properties)
        return desk

    def set(self, **properties: object) -> None:
        self.guest.made.clear()
        root = self.guest.doc.get("properties", type=Map)
        for key, value in properties.items():
            root[key] = value
        self._send()

    def clear(self, key: str) -> None:
        self.guest.made.clear()
        del self.guest.doc.get("properties", type=Map)[key]
        self._send()

    def _send(self) -> None:
        for made in self.guest.made:
            self.guest.send(made)

    @property
    def said(self) -> dict[str, Any] | None:
        """What the record says of reminders."""
        room = self.house.rooms.find(DocumentName(f"{ARTIFACT}/record"))
        record = None if room is None else room.live.look(lambda doc: doc.get("record", type=Map).to_py())
        return (record or {}).get("reminders")

    async def says(self, state: str, due: str = DUE) -> None:
        await until(lambda: self.said and (self.said["state"], self.said.get("due_at")) == (state, due), state)

    async def wake(self) -> None:
        """Let the time come that the engine asked for, and wait until it has looked."""
        store, runtime = self.house.rooms.store, self.house.engines.runtimes["reminders"]
        await until(lambda: not runtime._busy, "it looks at nothing")
        await self.house.rooms.ledger.commit(WakeUp(engine="reminders", artifact=ARTIFACT, at=1.0))
        async with asyncio.timeout(10):
            while await store.next_wake_up() == 1.0 or runtime._busy:
                await asyncio.sleep(0)

    async def told(self) -> list[str]:
        await self.house.rooms.journal.flush()
        return [change.type for change in await changes_of(self.house.rooms, "reminder.due", "reminder.overdue")]


async def test_owners_are_reminded_once_and_told_once_that_it_is_overdue() -> None:
    clock = Clock(DUE_AT - 2 * DAY_SECONDS)
    async with open_reminders(clock) as house:
        desk = await Desk.sit_down(house, due_at=DUE)
        for principal in ("user:ben", "group:stewards"):
            grant = Grant(scope=ARTIFACT, principal=principal, role="owner", by=UserId("anna"), at=1.0)
            await house.rooms.ledger.commit(grant)
        await desk.says(WAITING)
        for now, state, told in [
            (DUE_AT - DAY_SECONDS - 1, WAITING, []),
            (DUE_AT - DAY_SECONDS, REMINDED, ["reminder.due"]),
            (DUE_AT - 1, REMINDED, ["reminder.due"]),
            (DUE_AT, OVERDUE, ["reminder.due", "reminder.overdue"]),
            (DUE_AT + 9 * DAY_SECONDS, OVERDUE, ["reminder.due", "reminder.overdue"]),
        ]:
            clock.now = now
            await desk.wake()
            await desk.says(state)
            assert await desk.told() == told
        due, overdue = await changes_of(house.rooms, "reminder.due", "reminder.overdue")
        assert due.data == overdue.data == {"due_at": DUE, "owners": ["group:stewards", "user:anna", "user:ben"]}
        assert (due.document, due.actor) == (ARTIFACT, "engine:reminders")
        assert [event["type"] for event in await audit_of(house.rooms, "reminder.due", "reminder.overdue")] == [
            "reminder.due",
            "reminder.overdue",
        ]


async def test_it_asks_to_be_woken_when_something_changes() -> None:
    now = time.time()
    due = datetime.fromtimestamp(now + 2 * DAY_SECONDS, UTC).isoformat()
    async with open_reminders(Clock(now)) as house:
        desk = await Desk.sit_down(house, due_at=due)
        await desk.says(WAITING, due)
        await until(lambda: not house.engines.runtimes["reminders"]._busy, "it has looked")
        assert await house.rooms.store.next_wake_up() == pytest.approx(now + DAY_SECONDS, abs=0.01)


async def test_it_is_woken_by_the_time_itself() -> None:
    engine = Reminders()
    due = datetime.fromtimestamp(time.time() + 0.4, UTC).isoformat()
    async with open_house(engine) as house:
        desk = await Desk.sit_down(house, due_at=due, remind_before=0)
        await desk.says(OVERDUE, due)
        assert await desk.told() == ["reminder.overdue"]


async def test_another_date_starts_anew_and_none_clears_the_record() -> None:
    clock = Clock(DUE_AT + 1)
    async with open_reminders(clock) as house:
        desk = await Desk.sit_down(house, due_at=DUE)
        await desk.says(OVERDUE)
        later = "2027-01-10T12:00:00Z"
        desk.set(due_at=later)
        await desk.says(WAITING, later)
        clock.now = DUE_AT + 40 * DAY_SECONDS
        await desk.wake()
        await desk.says(OVERDUE, later)
        assert await desk.told() == ["reminder.overdue"] * 2
        desk.clear("due_at")
        await until(lambda: desk.said is None, "nothing is said")
        await until(lambda: not house.engines.runtimes["reminders"]._busy, "it has looked")
        assert await house.rooms.store.next_wake_up() is None


async def test_another_notice_tells_only_what_is_news() -> None:
    clock = Clock(DUE_AT - 3600)
    async with open_reminders(clock) as house:
        desk = await Desk.sit_down(house, due_at=DUE)
        await desk.says(REMINDED)
        desk.set(remind_before=7200)
        await until(lambda: desk.said and desk.said["remind_at"] == DUE_AT - 7200, "noted")
        assert desk.said is not None
        assert desk.said["told_at"] == DUE_AT - 3600
        assert await desk.told() == ["reminder.due"]
        desk.set(remind_before=60)
        await desk.says(WAITING)
        clock.now = DUE_AT - 30
        await desk.wake()
        await desk.says(REMINDED)
        assert await desk.told() == ["reminder.due"] * 2


async def test_a_clock_that_is_set_back_tells_nothing_again() -> None:
    clock = Clock(DUE_AT)
    async with open_reminders(clock) as house:
        desk = await Desk.sit_down(house, due_at=DUE)
        await desk.says(OVERDUE)
        for now in (DUE_AT - 1, DUE_AT - 2 * DAY_SECONDS, DUE_AT + 5):
            clock.now = now
            await desk.wake()
        await desk.says(OVERDUE)
        assert await desk.told() == ["reminder.overdue"]


async def test_a_restart_tells_nothing_again_and_what_it_missed_once() -> None:
    store, clock = MemoryStore(), Clock(DUE_AT - DAY_SECONDS)
    async with open_reminders(clock, store) as house:
        desk = await Desk.sit_down(house, due_at=DUE)
        await desk.says(REMINDED)
    async with open_reminders(Clock(DUE_AT - 2 * DAY_SECONDS), store) as house:  # its clock is slow
        desk = await Desk.sit_down(house)
        await desk.wake()
        assert await desk.told() == ["reminder.due"]
    clock.now = DUE_AT + 5
    for _ in range(2):
        async with open_reminders(clock, store) as house:
            desk = await Desk.sit_down(house)
            await desk.wake()
            await desk.says(OVERDUE)
            assert await desk.told() == ["reminder.due", "reminder.overdue"]


async def test_a_bad_due_date_is_refused_and_its_author_is_told() -> None:
    async with open_reminders(Clock(DUE_AT - 2 * DAY_SECONDS)) as house:
        room = await open_room(house.rooms, ARTIFACT)
        anna, ben = await Desk.sit_down(house, due_at=DUE), Guest(room, "ben")
        await anna.says(WAITING)
        anna.set(due_at="next week")
        await until(lambda: room.is_durable, "answered")
        anna.guest.take()
        ben.take()
        assert anna.guest.doc.get("properties", type=Map).to_py() == {"due_at": DUE}
        assert ben.doc.get("properties", type=Map).to_py() == {"due_at": DUE}
        [kept] = await house.rooms.store.list_set_aside(room.document.id)
        assert kept.author == "anna"
        assert "`due_at` must be a time such as" in kept.reason


async def test_a_bad_due_date_that_was_there_before_is_said_to_be_unreadable() -> None:
    """Written while the engine was not installed."""
    store = MemoryStore()
    async with open_house(store=store) as house:
        desk = await Desk.sit_down(house, due_at="next week")
        await until(lambda: desk.guest.room.is_durable, "durable")
    async with open_reminders(Clock(DUE_AT), store) as house:
        desk = await Desk.sit_down(house)
        await until(lambda: desk.said and desk.said["state"] == "unreadable", "unreadable")
        assert desk.said is not None
        assert "next week" in desk.said["reason"]
        desk.set(due_at=DUE)
        await desk.says(OVERDUE)


# Putting off


async def snooze(
    house: House, by: str = "ben", *, role: str = "editor", name: str = ARTIFACT, seconds: int = 600
) -> None:
    values = {"artifact": name, "seconds": seconds}
    await house.commands.run("reminders.snooze", values, user=person(by, role=role), via="api")


async def test_a_due_date_is_put_off_in_the_name_of_whoever_asks() -> None:
    clock = Clock(DUE_AT)
    async with open_reminders(clock) as house:
        desk = await Desk.sit_down(house, due_at=DUE)
        await desk.says(OVERDUE)
        await snooze(house)
        await desk.says(REMINDED, "2026-12-24T16:10:00+00:00")
        async with open_artifact(house.rooms, ARTIFACT) as artifact:
            assert artifact.root_members("properties")["due_at"] == "2026-12-24T16:10:00+00:00"
        stored = await house.rooms.store.load(desk.guest.room.document.id)
        assert [entry.author for entry in stored.tail] == ["anna", "ben"]
        [event] = await audit_of(house.rooms, "command.reminders.snooze")
        assert event["actor"] == {"sub": "ben", "via": "api"}
        assert await desk.told() == ["reminder.overdue", "reminder.due"]


async def test_only_what_is_due_can_be_put_off_and_only_by_those_who_may_write() -> None:
    async with open_reminders(Clock(DUE_AT)) as house:
        await Desk.sit_down(house)
        with pytest.raises(Conflict, match="no due date"):
            await snooze(house)
        with pytest.raises(AccessDenied):
            await snooze(house, role="reviewer")
        with pytest.raises(DocumentNotFound):
            await snooze(house, name="plan/none")
        with pytest.raises(ValidationError):
            await snooze(house, seconds=1)
