"""Who is told what, when, and by which channel, with real servers for mail and HTTP."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from quorate_plugins.approval.delivering import Delivering
from quorate_server.connections import House
from quorate_server.errors import Conflict
from tests.plugins.approval.approval_houses import (
    PEOPLE,
    REQUEST,
    ask,
    decide,
    open_approvals,
    publish,
    reconciled,
    submit,
    write,
)
from tests.plugins.approval.notifications.local_servers import MailServer, Reply, http_server, mail_server

MAILS = [{**each, "email": f"{each['id']}@example.org"} for each in PEOPLE]


def smtp(mail: MailServer) -> dict[str, Any]:
    return {
        "smtp_host": "127.0.0.1", "smtp_port": str(mail.port), "smtp_tls": "none", "smtp_sender": "q@example.org",
        "link": "https://quorate.example",
    }  # fmt: skip


async def told(house: House, who: str) -> list[tuple[str, str]]:
    answer = await ask(house, "notices", user=who)
    return [(each["event"], each["state"]) for each in answer["notices"]]


async def effects(house: House) -> dict[str, list[str]]:
    """The outbox once nothing is pending: what was told, by state."""
    async with asyncio.timeout(10):
        while True:
            found = await house.rooms.store.list_effects("approvals", limit=1000)
            if not any(each.state == "pending" for each in found):
                break
            await asyncio.sleep(0.01)
    by_state: dict[str, list[str]] = {}
    for each in found:
        by_state.setdefault(each.state, []).append(f"{each.payload['notice']['event']} {each.payload['person']}")  # type: ignore[index]
    return {state: sorted(names) for state, names in by_state.items()}


def recipients(mail: MailServer) -> list[str]:
    return sorted(address.partition("@")[0] for each in mail.envelopes for address in each.rcpt_tos)


async def test_those_who_may_decide_are_asked_and_the_requester_learns_the_outcome_and_by_whom() -> None:
    async with mail_server() as mail, open_approvals(**smtp(mail)) as house:
        await ask(house, "put_people", people=MAILS)
        await submit(house)
        assert await told(house, "sam") == [("decision_wanted", "pending")]
        assert await told(house, "sec") == []
        await effects(house)
        assert recipients(mail) == ["sam", "sue"]
        await decide(house, "sam")
        assert await told(house, "sue") == [("decision_wanted", "pending")]
        assert await told(house, "sec") == [("decision_wanted", "pending")]
        await decide(house, "sec", "reject", reason="no")
        assert await told(house, "rita") == [("decided", "rejected")]
        await effects(house)
        outcome = mail.messages[-1]
        assert outcome["To"].endswith("rita@example.org>")
        text = outcome.get_body(("plain",)).get_content()  # type: ignore[union-attr]
        assert "sec" in text
        assert "https://quorate.example/#approval/one" in text  # where the page shows it


async def test_who_was_asked_learns_that_it_is_not_needed_and_whose_approval_fell_is_told() -> None:
    async with open_approvals() as house:
        await submit(house)
        await decide(house, "sam")
        await write(house, change="DROP TABLE")
        await reconciled(house)
        assert (await told(house, "sam"))[0] == ("dismissed", "pending")
        await ask(house, "withdraw", user="rita", artifact=REQUEST)
        assert (await told(house, "sue"))[0] == ("not_needed", "cancelled")


async def test_a_channel_that_refuses_is_followed_by_the_next() -> None:
    async with mail_server(MailServer(to_recipient="550 no such user")) as mail, http_server() as chat:
        settings: dict[str, Any] = {**smtp(mail), "teams_webhook": f"{chat.url}/teams"}
        async with open_approvals(**settings) as house:
            await ask(house, "put_people", people=MAILS)
            await ask(house, "prefer", user="sam", channels=["email", "teams"])
            await submit(house)
            assert await effects(house) == {"dead": ["decision_wanted sue"], "done": ["decision_wanted sam"]}
            assert chat.paths == ["/teams"]


async def test_what_fails_for_now_is_tried_again() -> None:
    answers = iter([Reply(503), Reply(200)])
    async with http_server(lambda _: next(answers)) as chat:
        async with open_approvals(teams_webhook=chat.url) as house:
            await ask(house, "prefer", user="sam", channels=["teams"])
            await submit(house)
            async with asyncio.timeout(10):
                while not chat.got:
                    await asyncio.sleep(0.01)
            [effect] = await pending(house)
            assert (effect.attempts, "503" in effect.error) == (1, True)


async def pending(house: House) -> list[Any]:
    async with asyncio.timeout(10):
        while True:
            found = await house.rooms.store.list_effects("approvals", limit=100)
            if any(each.attempts for each in found):
                return list(found)
            await asyncio.sleep(0.01)


async def test_nothing_waits_in_the_outbox_where_no_channel_is_set_up() -> None:
    async with open_approvals() as house:
        await submit(house)
        assert await effects(house) == {}


async def test_people_are_told_whatever_stages_and_people_are_called() -> None:
    stage = {"id": "Prüfung / erste", "requirements": [{"id": "r", "pool": ["role:prüfer"]}]}
    async with open_approvals() as house:
        await ask(house, "put_people", people=[{"id": "jürgen/öst", "roles": ["prüfer"]}])
        await publish(house, {"rules": {"all": {"effect": "require", "stages": [stage]}}})
        await submit(house)
        assert await told(house, "jürgen/öst") == [("decision_wanted", "pending")]


def test_an_address_that_may_not_stand_in_a_message_is_refused_at_the_start() -> None:
    server: Any = SimpleNamespace(setting=lambda _, __="": "http://quorate.internal")
    with pytest.raises(ValueError, match="https"):
        Delivering(server, {})


async def test_preferences_are_checked() -> None:
    async with open_approvals() as house:
        with pytest.raises(Conflict):
            await ask(house, "prefer", user="sam", channels=["pigeon"])
