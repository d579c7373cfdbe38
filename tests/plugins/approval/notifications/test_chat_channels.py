from __future__ import annotations

import json
from dataclasses import replace

import pytest

from quorate_plugins.approval.notifications.cards import TEAMS_BYTES
from quorate_plugins.approval.notifications.channels import (
    Sent,
    SlackChannel,
    SlackWebhookChannel,
    TeamsChannel,
    Unreachable,
)
from quorate_plugins.approval.notifications.posting import MAX_ANSWER_BYTES
from quorate_server.hooks import GiveUp, TryAgain

from .channel_cases import ADA, DECIDED, NOBODY, NOTICE, TOKEN, failure, failure_over_http, posting, refusing, slack
from .local_servers import Reply, http_server, reply


async def test_slack_finds_people_by_their_address_and_remembers_them() -> None:
    async with http_server(slack) as server, posting() as poster:
        channel = SlackChannel(poster, token=TOKEN, base_url=server.url)
        sent = [await channel.send(NOTICE, ADA, None) for _ in range(2)]
    assert sent == [Sent(channel="slack", message_id="D1:1700000000.000100")] * 2
    assert server.paths == ["/users.lookupByEmail", "/chat.postMessage", "/chat.postMessage"]
    assert server.got[0].form == {"email": ["ada@example.org"]}
    assert {each.headers["authorization"] for each in server.got} == {f"Bearer {TOKEN}"}
    assert server.got[1].json["channel"] == "U1"
    assert "&lt;script&gt;" in server.got[1].json["text"]


async def test_slack_changes_an_earlier_message_in_place() -> None:
    async with http_server(slack) as server, posting() as poster:
        channel = SlackChannel(poster, token=TOKEN, base_url=server.url)
        sent = await channel.send(DECIDED, ADA, "D1:1700000000.000100")
    assert sent == Sent(channel="slack", message_id="D1:1700000000.000100", state="updated")
    assert server.paths == ["/chat.update"]
    assert (server.got[0].json["channel"], server.got[0].json["ts"]) == ("D1", "1700000000.000100")
    assert "Cleo" in json.dumps(server.got[0].json["blocks"])


@pytest.mark.parametrize("error", ["message_not_found", "cant_update_message", "edit_window_closed"])
async def test_slack_writes_anew_when_the_earlier_message_cannot_be_changed(error: str) -> None:
    async with http_server(refusing("chat.update", error=error)) as server, posting() as poster:
        channel = SlackChannel(poster, token=TOKEN, base_url=server.url)
        assert (await channel.send(DECIDED, ADA, "D1:1700000000.000100")).state == "sent"
    assert server.paths == ["/chat.update", "/users.lookupByEmail", "/chat.postMessage"]


async def test_what_is_no_message_of_slack_is_not_changed() -> None:
    async with http_server(slack) as server, posting() as poster:
        await SlackChannel(poster, token=TOKEN, base_url=server.url).send(DECIDED, ADA, "<a@b>")
    assert "/chat.update" not in server.paths


@pytest.mark.parametrize("method", ["users.lookupByEmail", "chat.postMessage"])
@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        ({"error": "invalid_auth"}, GiveUp, "slack: invalid_auth"),
        ({"error": "Very Secret!"}, GiveUp, "slack: unknown_error"),
        ({}, GiveUp, "slack: unknown_error"),
        ({"error": "internal_error"}, TryAgain, "slack: internal_error"),
        ({"error": "ratelimited"}, TryAgain, "slack: ratelimited"),
    ],
)
async def test_slack_refuses_with_a_status_of_200(
    method: str, answer: dict[str, str], error: type[Exception], reason: str
) -> None:
    async with http_server(refusing(method, **answer)) as server, posting() as poster:
        failed = await failure(SlackChannel(poster, token=TOKEN, base_url=server.url))
    assert isinstance(failed, error)
    assert failed.reason == reason


async def test_slack_that_limits_says_how_long_and_it_is_no_attempt() -> None:
    failed = await failure_over_http("slack", reply({"ok": False, "error": "ratelimited"}, Retry_After="33"))
    assert isinstance(failed, TryAgain)
    assert (failed.after_seconds, failed.is_attempt) == (33.0, False)


async def test_who_is_not_in_slack_is_told_otherwise() -> None:
    async with http_server(refusing("users.lookupByEmail", error="users_not_found")) as server, posting() as poster:
        channel = SlackChannel(poster, token=TOKEN, base_url=server.url)
        with pytest.raises(Unreachable, match="users_not_found"):
            await channel.send(NOTICE, ADA, None)
        with pytest.raises(Unreachable, match="address"):
            await channel.send(NOTICE, NOBODY, None)


async def test_who_left_slack_is_looked_up_again() -> None:
    async with http_server(refusing("chat.postMessage", error="channel_not_found")) as server, posting() as poster:
        channel = SlackChannel(poster, token=TOKEN, base_url=server.url)
        for _ in range(2):
            with pytest.raises(Unreachable, match="channel_not_found"):
                await channel.send(NOTICE, ADA, None)
    assert server.paths.count("/users.lookupByEmail") == 2


@pytest.mark.parametrize(
    "answer",
    [
        Reply(content=b"<html>"),
        Reply(content=b"[]"),
        Reply(content=b"[" * 60_000),
        Reply(content=b'{"ok": true, "x": ' + b"9" * 9000 + b"}"),
        Reply(content=b'{"ok": true, "x": "' + b"x" * (2 * MAX_ANSWER_BYTES) + b'"}'),
        reply({"ok": True}),
        reply({"ok": True, "user": {"id": 5}}),
    ],
)
async def test_an_answer_of_slack_that_cannot_be_read_is_an_attempt(answer: Reply) -> None:
    failed = await failure_over_http("slack", answer)
    assert isinstance(failed, TryAgain)
    assert failed.is_attempt


async def test_teams_gets_a_card_below_28_kb() -> None:
    async with http_server(lambda _: Reply(202)) as server, posting() as poster:
        huge = replace(NOTICE, title="Ü" * 50_000, reason="😀" * 50_000)
        sent = await TeamsChannel(poster, url=server.url).send(huge, NOBODY, "earlier")
    assert sent == Sent(channel="teams", message_id="")
    assert len(server.got[0].body) <= TEAMS_BYTES
    assert server.got[0].json["attachments"][0]["content"]["type"] == "AdaptiveCard"
    assert server.got[0].headers["content-type"] == "application/json"


async def test_an_incoming_webhook_of_slack_gets_blocks() -> None:
    async with http_server(lambda _: Reply(200, b"ok")) as server, posting() as poster:
        sent = await SlackWebhookChannel(poster, url=server.url).send(NOTICE, NOBODY, "D1:1.2")
    assert sent == Sent(channel="slack", message_id="")
    assert server.got[0].json["blocks"]
