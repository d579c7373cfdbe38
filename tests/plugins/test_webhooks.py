"""Webhooks against receivers that take, refuse, stall and vanish; over real sockets, in one process."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from quorate_plugins.webhooks import Webhooks
from quorate_plugins.webhooks import messages as webhooks_messages
from quorate_plugins.webhooks import posting as webhooks_posting
from quorate_server.errors import Conflict
from quorate_storage.acts import Cursor
from quorate_storage.memory import MemoryStore
from tests.plugins.posting_houses import (
    ARTIFACT,
    ask,
    open_webhooks,
    publish,
    settled,
    states,
    write,
)
from tests.plugins.receivers import CLOSE, STALL, Plan, receiving
from tests.server.houses import audit_of, changes_of, until


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repetitions come at once, and receivers in trouble are left alone for an instant only."""
    monkeypatch.setattr(webhooks_messages, "RETRY_SECONDS", (0.01,) * 3)
    monkeypatch.setattr("quorate_plugins.webhooks.lanes.FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("quorate_plugins.webhooks.lanes.UNWELL_WAIT_SECONDS", 0.01)


# Delivering


async def test_each_change_reaches_each_endpoint_signed(tmp_path: object) -> None:
    async with open_webhooks(tmp_path) as house, receiving() as one, receiving() as two:
        secrets = {receiver.port: (await ask(house, "create", url=receiver.url))["secret"] for receiver in (one, two)}
        await write(house, title="a")
        expected = [f"quorate.{change.type}" for change in await changes_of(house.rooms)]
        assert "quorate.content.changed" in expected
        for receiver in (one, two):
            await until(lambda r=receiver: sorted(r.types) == sorted(expected), "all came")  # type: ignore[misc]
            for request in receiver.got:
                request.verify(secrets[receiver.port])
                assert request.headers["content-type"] == "application/cloudevents+json"
                assert request.event["subject"] == ARTIFACT
        with pytest.raises(WebhookVerificationError):
            one.got[0].verify(secrets[two.port])


async def test_connections_to_a_receiver_are_used_again(tmp_path: object) -> None:
    async with open_webhooks(tmp_path) as house, receiving() as receiver:
        await ask(house, "create", url=receiver.url)
        for number in range(5):
            await publish(house, "thing.done", number=number)
            await until(lambda n=number: len(receiver.got) == n + 1, "came")  # type: ignore[misc]
            await settled(house, *[("done", 1, "")] * (number + 1))
        assert receiver.connections == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("trouble", [500, 404, CLOSE, (307, {"location": "http://127.0.0.1:1/"}), (500, {"x": "y"})])
async def test_what_fails_is_posted_again_with_the_same_id(tmp_path: object, trouble: Any) -> None:
    async with open_webhooks(tmp_path) as house, receiving(lambda n: trouble if n < 2 else 200) as receiver:
        secret = (await ask(house, "create", url=receiver.url, types=["thing.done"]))["secret"]
        await publish(house, "thing.done")
        await settled(house, ("done", 3, ""))
        assert len(receiver.got) == 3
        assert len(set(receiver.ids)) == 1
        assert len({request.body for request in receiver.got}) == 1
        for request in receiver.got:
            request.verify(secret)


@pytest.mark.usefixtures("quick")
async def test_redirects_are_not_followed(tmp_path: object) -> None:
    async with open_webhooks(tmp_path) as house, receiving() as elsewhere:
        async with receiving(lambda _: (302, {"location": elsewhere.url})) as receiver:
            await ask(house, "create", url=receiver.url, types=["thing.done"])
            await publish(house, "thing.done")
            await settled(house, ("dead", 4, "the receiver answered 302"))
            assert elsewhere.got == []


@pytest.mark.usefixtures("quick")
async def test_a_receiver_that_stalls_is_given_up_for_now(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks_posting, "TIMEOUT_SECONDS", 0.05)
    async with open_webhooks(tmp_path) as house, receiving(lambda n: STALL if n == 0 else 200) as receiver:
        await ask(house, "create", url=receiver.url, types=["thing.done"])
        await publish(house, "thing.done")
        await settled(house, ("done", 2, ""))


async def test_an_answer_counts_although_its_content_never_ends(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks_posting, "ANSWER_SECONDS", 0.02)
    plan: Plan = lambda _: (200, {"transfer-encoding": "chunked"})  # noqa: E731 - and then no chunk
    async with open_webhooks(tmp_path) as house, receiving(plan) as receiver:
        await ask(house, "create", url=receiver.url, types=["thing.done"])
        await publish(house, "thing.done")
        await settled(house, ("done", 1, ""))


async def test_a_receiver_that_stalls_keeps_no_other_waiting(tmp_path: object) -> None:
    """Law 7: one receiver harms nobody else, however much is due to it."""
    async with open_webhooks(tmp_path) as house, receiving(lambda _: STALL) as stalled, receiving() as well:
        await ask(house, "create", url=stalled.url)
        await ask(house, "create", url=well.url)
        for number in range(60):
            await publish(house, "thing.done", number=number)
        started = time.monotonic()
        await until(lambda: len(well.got) == 60, "the other got all")
        assert time.monotonic() - started < webhooks_posting.TIMEOUT_SECONDS / 2
        assert 1 <= len(stalled.got) <= 8


async def test_what_was_only_put_off_is_no_attempt(tmp_path: object) -> None:
    async with open_webhooks(tmp_path) as house, receiving(lambda n: (503, {"retry-after": "3600"})) as receiver:
        await ask(house, "create", url=receiver.url)
        await publish(house, "thing.done")
        await settled(house, ("pending", 1, "the receiver answered 503"))
        await publish(house, "thing.done")
        await settled(
            house, ("pending", 0, "the receiver is slow or fails"), ("pending", 1, "the receiver answered 503")
        )
        assert len(receiver.got) == 1
        effects = await house.rooms.store.list_effects("webhooks")
        assert all(3500 < effect.due_at - time.time() < 3700 for effect in effects)


async def test_told_twice_it_asks_once(tmp_path: object) -> None:
    """A crash between the effects and the note of how far the feed was read."""
    store = MemoryStore()
    async with receiving() as receiver:
        async with open_webhooks(tmp_path, store=store) as house:
            await ask(house, "create", url=receiver.url)
            await publish(house, "thing.done")
            await settled(house, ("done", 1, ""))
            await house.rooms.ledger.commit(Cursor(reader="engine:webhooks", position=0))
        async with open_webhooks(tmp_path, store=store) as house:
            runtime = house.engines.runtimes["webhooks"]
            [change] = await changes_of(house.rooms, "thing.done")
            await until(lambda: runtime.position >= change.position, "told again")
            await settled(house, ("done", 1, ""))
        assert len(receiver.got) == 1


async def test_what_was_not_noted_is_posted_again_with_the_same_id(tmp_path: object) -> None:
    """A crash after the receiver got it and before that was noted: at least once, and the receiver can tell."""
    store = MemoryStore()
    async with receiving(lambda n: STALL if n == 0 else 200) as receiver:
        async with open_webhooks(tmp_path, store=store) as house:
            await ask(house, "create", url=receiver.url)
            await publish(house, "thing.done")
            await until(lambda: receiver.got, "it came")
        async with open_webhooks(tmp_path, store=store) as house:
            await settled(house, ("done", 1, ""))
        first, second = receiver.got
        assert (first.id, first.body) == (second.id, second.body)


async def test_filters_choose_types_and_documents(tmp_path: object) -> None:
    async with open_webhooks(tmp_path) as house, receiving() as exact, receiving() as many, receiving() as some:
        await ask(house, "create", url=exact.url, types=["thing.done"])
        await ask(house, "create", url=many.url, types=["quorate.thing.*"])
        await ask(house, "create", url=some.url, types=["thing.*"], prefix="text/")
        for type_ in ("thing.done", "thing.begun", "other.done"):
            for name in ("plan/one", "text/two"):
                await publish(house, type_, name)
        await until(lambda: (len(exact.got), len(many.got), len(some.got)) == (2, 4, 2), "all came")
        await settled(house, *[("done", 1, "")] * 8)
        assert set(exact.types) == {"quorate.thing.done"}
        assert set(many.types) == {"quorate.thing.done", "quorate.thing.begun"}
        assert {request.event["subject"] for request in some.got} == {"text/two"}


async def test_large_data_is_left_out(tmp_path: object) -> None:
    async with open_webhooks(tmp_path) as house, receiving() as receiver:
        await ask(house, "create", url=receiver.url)
        await publish(house, "thing.done", text="é" * 20_000)
        await publish(house, "thing.done", text="é" * 1_000)
        await until(lambda: len(receiver.got) == 2, "both came")
        assert all(len(request.body) < 20_000 for request in receiver.got)
        data = sorted((request.event["data"] for request in receiver.got), key=lambda each: "text" in each)
        assert data == [{"actor": "anna", "truncated": True}, {"actor": "anna", "text": "é" * 1_000}]


# Failing for long


def test_repetitions_span_about_a_day() -> None:
    waits = [webhooks_messages.retry_after(attempts, spread=0.0) for attempts in range(10)]
    total = sum(wait for wait in waits if wait is not None)
    assert 20 * 3600 <= total <= 26 * 3600
    assert waits == sorted(waits, key=lambda wait: wait or 0)
    assert webhooks_messages.retry_after(10) is None


@pytest.mark.parametrize("attempts", range(10))
def test_repetitions_are_spread(attempts: int) -> None:
    planned = webhooks_messages.RETRY_SECONDS[attempts]
    drawn = [webhooks_messages.retry_after(attempts) or 0.0 for _ in range(300)]
    assert planned * 0.8 <= min(drawn) < planned * 0.9
    assert planned * 1.1 < max(drawn) <= planned * 1.2


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [("120", 120.0), ("0", 0.0), ("Tue, 24 Nov 2026 12:01:00 GMT", 60.0), ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
     ("soon", None), ("-5", None), ("", None)],
)  # fmt: skip
def test_retry_after_is_read(asked: str, seconds: float | None) -> None:
    noon = 1795521600.0  # 24 November 2026, 12:00 UTC
    assert webhooks_messages.requested_seconds({"retry-after": asked}, noon) == seconds


def test_retry_after_is_honoured_up_to_a_day() -> None:
    assert webhooks_messages.retry_after(0, 100.0, spread=0.0) == 100.0
    assert webhooks_messages.retry_after(0, 1.0, spread=0.0) == 5.0
    assert webhooks_messages.retry_after(0, 1e9, spread=0.0) == 86400.0


async def test_gone_disables_until_enabled(tmp_path: object) -> None:
    async with open_webhooks(tmp_path) as house, receiving(lambda n: 410 if n == 0 else 200) as receiver:
        key = (await ask(house, "create", url=receiver.url))["id"]
        await publish(house, "thing.done")
        await settled(house, ("dead", 1, "the receiver answered 410 Gone"))
        [shown] = (await ask(house, "list"))["endpoints"]
        assert (shown["is_disabled"], shown["why_disabled"]) == (True, "the receiver answered 410 Gone")
        assert len(await audit_of(house.rooms, "webhook.disabled")) == 1

        await publish(house, "thing.ignored")
        with pytest.raises(Conflict, match="enable it first"):
            await ask(house, "replay", id=key)
        await ask(house, "enable", id=key)
        assert await ask(house, "replay", id=key) == {"deliveries": 1, "next": None}
        await settled(house, ("done", 1, ""))
        assert receiver.types == ["quorate.thing.done"] * 2


async def test_an_endpoint_that_took_nothing_for_a_day_is_disabled(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks_messages, "RETRY_SECONDS", (3600,))
    now = time.time()
    monkeypatch.setattr(Webhooks, "clock", staticmethod(lambda: now))
    async with open_webhooks(tmp_path) as house, receiving(lambda n: 200 if n == 2 else 500) as receiver:
        await ask(house, "create", url=receiver.url)
        for later, is_failing, is_disabled in [
            (0, True, False), (80_000, True, False), (90_000, False, False),
            (100_000, True, False), (180_000, True, False), (190_000, True, True),
        ]:  # fmt: skip
            monkeypatch.setattr(Webhooks, "clock", staticmethod(lambda at=now + later: at))
            expected = len(receiver.got) + 1
            await publish(house, "thing.done")
            async with asyncio.timeout(10):
                while sum(attempts for _, attempts, _ in await states(house)) != expected:
                    await asyncio.sleep(0)
            [shown] = (await ask(house, "list"))["endpoints"]
            assert (bool(shown["failing_since"]), shown["is_disabled"]) == (is_failing, is_disabled), later
        assert shown["why_disabled"] == "it took nothing for a day"


@pytest.mark.usefixtures("quick")
async def test_dead_letters_are_kept_shown_and_posted_again(tmp_path: object) -> None:
    async with open_webhooks(tmp_path) as house, receiving(lambda n: 500 if n < 4 else 200) as receiver:
        key = (await ask(house, "create", url=receiver.url))["id"]
        await publish(house, "thing.done")
        await settled(house, ("dead", 4, "the receiver answered 500"))
        [shown] = (await ask(house, "deliveries", id=key, state="dead"))["deliveries"]
        assert (shown["type"], shown["subject"], shown["attempts"]) == ("quorate.thing.done", ARTIFACT, 4)

        assert await ask(house, "replay", id=key, key="once") == {"deliveries": 1, "next": None}
        await settled(house, ("done", 1, ""))
        assert set(receiver.ids) == {shown["message"]}
        assert await ask(house, "replay", id=key, key="once") == {"deliveries": 1, "next": None}
        assert len(await audit_of(house.rooms, "command.webhooks.replay")) == 1
        assert len(receiver.got) == 5


async def test_changes_of_the_feed_are_posted_again_under_their_ids(tmp_path: object) -> None:
    async with open_webhooks(tmp_path) as house, receiving() as receiver:
        for number in range(3):
            await publish(house, "thing.done", number=number)
        key = (await ask(house, "create", url=receiver.url, types=["thing.*"]))["id"]
        await publish(house, "thing.done", number=3)
        await until(lambda: len(receiver.got) == 1, "the one after it was added")
        changes = await changes_of(house.rooms, "thing.done")

        answer = await ask(house, "replay", id=key, after=changes[0].position)
        assert (answer["deliveries"], answer["next"]) == (3, (await changes_of(house.rooms))[-1].position)
        await until(lambda: len(receiver.got) == 4, "all came")
        numbers = sorted(request.event["data"]["number"] for request in receiver.got)
        assert numbers == [1, 2, 3, 3]
        assert len(set(receiver.ids)) == 3
