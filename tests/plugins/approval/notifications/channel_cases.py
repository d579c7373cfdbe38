"""Channels to test, who and what goes through them, and how they fail."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from quorate_plugins.approval.directory import Person
from quorate_plugins.approval.notifications.channels import (
    Channel,
    EmailChannel,
    Poster,
    SlackChannel,
    SlackWebhookChannel,
    SmsChannel,
    TeamsChannel,
    WebhookChannel,
)
from quorate_plugins.approval.notifications.messages import Notice
from quorate_server.hooks import GiveUp, TryAgain

from .local_servers import Got, Reply, http_server, reply

SENDER = "Quorate <approvals@example.org>"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOKEN = "xoxb-very-secret"
SHORT = 0.2
TRUSTING = ssl.create_default_context()
"""One for all clients: to make one takes longer than most tests."""
NOTICE = Notice(
    key="evt_17_ada",
    event="decision_wanted",
    request="approvals/orders",
    title="Orders: <script> & more",
    requester="Ben",
    reason="Finance",
    link="https://quorate.example/approvals/orders",
)
DECIDED = replace(NOTICE, key="evt_18_ada", event="not_needed", state="approved", by="Cleo")
ADA = Person(id="ada", name="Ada", email="ada@example.org", phone="+49 (30) 123-456", zone="Europe/Berlin")
NOBODY = Person(id="nobody")


def mail_channel(port: int, **options: Any) -> EmailChannel:
    return EmailChannel(**{"host": "127.0.0.1", "port": port, "sender": SENDER, "tls": "none", **options})


@asynccontextmanager
async def posting(timeout_seconds: float = 15.0) -> AsyncIterator[Poster]:
    async with httpx.AsyncClient(trust_env=False, verify=TRUSTING) as client:
        yield Poster(client, timeout_seconds=timeout_seconds)


def over_http(name: str, poster: Poster, url: str) -> Channel:
    made: dict[str, Channel] = {
        "slack": SlackChannel(poster, token=TOKEN, base_url=url),
        "slack webhook": SlackWebhookChannel(poster, url=f"{url}/services/very-secret"),
        "teams": TeamsChannel(poster, url=f"{url}/workflows/very-secret"),
        "sms": SmsChannel(poster, url=url, token=TOKEN, sender="Quorate"),
        "webhook": WebhookChannel(poster, url=f"{url}/very-secret", secret=SECRET),
    }
    return made[name]


OVER_HTTP = ("slack", "slack webhook", "teams", "sms", "webhook")


def slack(request: Got) -> Reply:
    """A Slack in which all is well."""
    if request.path == "/users.lookupByEmail":
        return reply({"ok": True, "user": {"id": "U1"}})
    if request.path == "/chat.postMessage":
        return reply({"ok": True, "channel": "D1", "ts": "1700000000.000100"})
    return reply({"ok": True, "channel": "D1", "ts": request.json["ts"]})


def refusing(method: str, **answer: Any) -> Any:
    return lambda got: reply({"ok": False, **answer}) if got.path == f"/{method}" else slack(got)


async def failure(channel: Channel, earlier: str | None = None) -> TryAgain | GiveUp:
    with pytest.raises((TryAgain, GiveUp)) as caught:
        await channel.send(NOTICE, ADA, earlier)
    assert isinstance(caught.value, TryAgain | GiveUp)
    return caught.value


async def failure_over_http(name: str, answer: Any, timeout_seconds: float = 15.0) -> TryAgain | GiveUp:
    async with http_server(lambda _: answer) as server, posting(timeout_seconds) as poster:
        return await failure(over_http(name, poster, server.url))
