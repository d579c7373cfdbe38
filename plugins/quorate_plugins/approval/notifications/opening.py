"""Opening the channels that the engine's settings name. It loads all of them, and what they send with."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal, cast

import httpx

from quorate_plugins.approval.notifications.channels import (
    EmailChannel,
    Poster,
    SlackChannel,
    SlackWebhookChannel,
    SmsChannel,
    TeamsChannel,
    WebhookChannel,
)
from quorate_plugins.approval.notifications.sending import Channel
from quorate_server.hooks import Server


@asynccontextmanager
async def open_channels(server: Server) -> AsyncGenerator[dict[str, Channel]]:
    """Keep the channels open that the engine's settings name."""
    async with httpx.AsyncClient(trust_env=False) as client:
        yield _channels(server, Poster(client))


def _channels(server: Server, poster: Poster) -> dict[str, Channel]:
    mail, chat = _mail(server), _chat(server, poster)
    found: list[Channel] = [each for each in (mail, chat) if each is not None]
    return {each.name: each for each in (*found, *_gateways(server, poster))}


def _gateways(server: Server, poster: Poster) -> list[Channel]:
    setting = server.setting
    found: list[Channel] = []
    if setting("teams_webhook"):
        found.append(TeamsChannel(poster, url=setting("teams_webhook")))
    if setting("sms_url"):
        found.append(
            SmsChannel(poster, url=setting("sms_url"), token=setting("sms_token"), sender=setting("sms_sender"))
        )
    if setting("webhook_url"):
        found.append(WebhookChannel(poster, url=setting("webhook_url"), secret=setting("webhook_secret")))
    return found


def _mail(server: Server) -> EmailChannel | None:
    setting = server.setting
    if not setting("smtp_host"):
        return None
    tls = setting("smtp_tls", "starttls")
    if tls not in {"none", "starttls", "tls"}:
        raise ValueError(f"`smtp_tls` is none, starttls or tls, not {tls!r}")
    return EmailChannel(
        host=setting("smtp_host"),
        port=int(setting("smtp_port", "587")),
        sender=setting("smtp_sender"),
        username=setting("smtp_username"),
        password=setting("smtp_password"),
        tls=cast("Literal['none', 'starttls', 'tls']", tls),
    )


def _chat(server: Server, poster: Poster) -> SlackChannel | SlackWebhookChannel | None:
    setting = server.setting
    if setting("slack_token"):
        url = setting("slack_url", "https://slack.com/api")
        return SlackChannel(poster, token=setting("slack_token"), base_url=url)
    return SlackWebhookChannel(poster, url=setting("slack_webhook")) if setting("slack_webhook") else None
