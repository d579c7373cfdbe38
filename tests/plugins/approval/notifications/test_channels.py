from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx
import pytest

from quorate_plugins.approval.notifications.channels import Channel, Poster, SlackChannel, TeamsChannel, WebhookChannel
from quorate_plugins.approval.notifications.posting import RETRY_SECONDS, retry_after
from quorate_server.hooks import GiveUp, TryAgain

from .channel_cases import (
    ADA,
    NOTICE,
    OVER_HTTP,
    SECRET,
    SHORT,
    TRUSTING,
    failure,
    failure_over_http,
    mail_channel,
    over_http,
    posting,
)
from .local_servers import Reply, http_server


@pytest.mark.parametrize("name", OVER_HTTP)
async def test_being_asked_to_wait_is_no_attempt(name: str) -> None:
    failed = await failure_over_http(name, Reply(429, headers={"Retry-After": "120"}))
    assert isinstance(failed, TryAgain)
    assert (failed.after_seconds, failed.is_attempt) == (120.0, False)


@pytest.mark.parametrize("name", OVER_HTTP)
@pytest.mark.parametrize("answer", [Reply(500), Reply(503), Reply(408), Reply(502, b"<html>very"), "close"])
async def test_a_server_in_trouble_is_tried_again(name: str, answer: Any) -> None:
    failed = await failure_over_http(name, answer)
    assert isinstance(failed, TryAgain)
    assert (failed.after_seconds, failed.is_attempt) == (RETRY_SECONDS, True)


@pytest.mark.parametrize("name", OVER_HTTP)
@pytest.mark.parametrize("answer", ["stall", Reply(200, b'{"ok"', length=9999)])
async def test_a_server_that_does_not_answer_in_time_is_tried_again(name: str, answer: Any) -> None:
    failed = await failure_over_http(name, answer, SHORT)
    assert isinstance(failed, TryAgain)
    assert "no answer" in failed.reason


@pytest.mark.parametrize("name", OVER_HTTP)
async def test_a_server_that_is_gone_is_given_up(name: str) -> None:
    assert isinstance(await failure_over_http(name, Reply(410)), GiveUp)


@pytest.mark.parametrize("status", [302, 307, 400, 401, 403, 404])
async def test_a_refusal_is_final_but_for_webhooks_which_may_be_put_right(status: int) -> None:
    for name in OVER_HTTP:
        failed = await failure_over_http(name, Reply(status, headers={"Location": "/elsewhere"}))
        assert isinstance(failed, TryAgain if name == "webhook" else GiveUp)
        assert str(status) in failed.reason


async def test_redirects_are_not_followed_even_by_a_client_that_would() -> None:
    async with http_server(lambda _: Reply(307, headers={"Location": "/elsewhere"})) as server:
        async with httpx.AsyncClient(trust_env=False, verify=TRUSTING, follow_redirects=True) as client:
            await failure(over_http("teams", Poster(client), server.url))
    assert len(server.got) == 1


@pytest.mark.parametrize("name", OVER_HTTP)
async def test_no_secret_is_in_an_error_or_a_log(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    failures = [
        await failure_over_http(name, Reply(500, b"very-secret")),
        await failure_over_http(name, Reply(410, b"very-secret")),
        await failure_over_http(name, "close"),
    ]
    for failed in failures:
        assert "very-secret" not in f"{failed!r} {failed.__cause__!r} {failed.__context__!r}"
    assert "very-secret" not in caplog.text
    assert SECRET not in caplog.text


async def test_the_log_of_the_http_library_is_as_usual_for_others(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="httpx")
    async with http_server() as server, httpx.AsyncClient(trust_env=False, verify=TRUSTING) as client:
        await asyncio.gather(over_http("teams", Poster(client), server.url).send(NOTICE, ADA, None))
        await client.get(f"{server.url}/other")
    assert "/other" in caplog.text
    assert "very-secret" not in caplog.text


@pytest.mark.parametrize("url", ["", "ftp://x.example", "https://", "https://very-secret@x.example", "https://x y"])
async def test_an_address_that_cannot_be_posted_to_is_refused_and_not_told(url: str) -> None:
    async with posting() as poster:
        with pytest.raises(ValueError, match="URL") as caught:
            TeamsChannel(poster, url=url)
    assert "very-secret" not in str(caught.value)


async def test_secrets_that_cannot_be_used_are_refused_and_not_told() -> None:
    async with posting() as poster:
        for secret in ("", "whsec_", "whsec_very-secret!\u00e9"):
            with pytest.raises(ValueError, match="secret is `whsec_`") as caught:
                WebhookChannel(poster, url="https://x.example", secret=secret)
            assert "very" not in str(caught.value)
        for token in ("", "very secret", "very\r\nsecret", "véry"):
            with pytest.raises(ValueError, match="visible ASCII") as caught:
                SlackChannel(poster, token=token)
            assert "very" not in str(caught.value)


NOW = 1772640000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("17", 17.0),
        ("0", 1.0),
        ("999999999999999999999", 3600.0),
        ("Wed, 04 Mar 2026 16:00:30 GMT", 30.0),
        ("Wed, 04 Mar 2026 16:00:30 -0000", 30.0),
        ("Wed, 04 Mar 2020 16:00:30 GMT", 1.0),
        ("Wed, 04 Mar 2099 16:00:30 GMT", 3600.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
    ],
)
def test_a_wish_to_be_left_alone_is_heard_within_bounds(text: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": text}, NOW) == seconds


def test_without_a_wish_there_is_none() -> None:
    assert retry_after({}, NOW) is None


async def test_every_channel_is_one() -> None:
    async with posting() as poster:
        channels: list[Channel] = [over_http(name, poster, "https://x.example") for name in OVER_HTTP]
    channels.append(mail_channel(25))
    assert [each.name for each in channels] == ["slack", "slack", "teams", "sms", "webhook", "email"]
