"""Getting a notice to somebody by text message, or to a receiver of webhooks."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import ClassVar

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from quorate_plugins.approval.directory import Person
from quorate_plugins.approval.notifications.encoding import encode
from quorate_plugins.approval.notifications.gateway_messages import sms_text, webhook_event
from quorate_plugins.approval.notifications.messages import Notice
from quorate_plugins.approval.notifications.posting import (
    JSON_TYPE,
    PROVIDER_ID,
    Poster,
    check_answer,
    checked_secret,
    checked_url,
    is_gone,
    is_refusal,
)
from quorate_plugins.approval.notifications.sending import Sent, Unreachable

_PHONE = re.compile(r"\+[1-9][0-9]{5,14}", re.ASCII)
_PHONE_PUNCTUATION = str.maketrans("", "", " ()./-")


class SmsChannel:
    """Sends text messages by a gateway that takes JSON: `to`, `from`, `text` and `reference`, the key of the notice.

    The gateway may answer with the `id` of the message. What it does with a `reference` it knows is its matter.
    """

    name: ClassVar[str] = "sms"

    def __init__(self, poster: Poster, *, url: str, token: str, sender: str) -> None:
        """Take the gateway's URL and token, and who messages come from.

        Raises:
            ValueError: the URL is none, or the token cannot be sent.
        """
        self._poster = poster
        self._url = checked_url(url)
        self._token = checked_secret("a gateway's token", token)
        self._sender = sender

    async def send(self, notice: Notice, recipient: Person, earlier: str | None) -> Sent:  # noqa: ARG002 - see below
        """Send a text message; one that was sent cannot be changed. See `Channel.send`."""
        to = recipient.phone.translate(_PHONE_PUNCTUATION)
        if not _PHONE.fullmatch(to):
            raise Unreachable("sms: no telephone number with a country code, such as +49 30 123456")
        body = encode({"to": to, "from": self._sender, "text": sms_text(notice), "reference": notice.key})
        headers = {"authorization": f"Bearer {self._token}", "content-type": JSON_TYPE}
        answer = await self._poster.post(self.name, self._url, body, headers)
        check_answer(self.name, answer, self._poster.now(), gives_up_at=is_refusal)
        given = answer.text("id")
        return Sent(channel=self.name, message_id=given if PROVIDER_ID.fullmatch(given) else "")


class WebhookChannel:
    """Posts CloudEvents to a receiver, signed as Standard Webhooks. Only 410, the receiver is gone, is permanent."""

    name: ClassVar[str] = "webhook"

    def __init__(self, poster: Poster, *, url: str, secret: str) -> None:
        """Take the receiver.

        Args:
            poster: what posts.
            url: where the receiver is.
            secret: `whsec_` and base64; several, with spaces between, while one takes the place of another.

        Raises:
            ValueError: the URL is none, or the secret is none.
        """
        self._poster = poster
        self._url = checked_url(url)
        self._signers = _signers(secret)

    async def send(self, notice: Notice, recipient: Person, earlier: str | None) -> Sent:  # noqa: ARG002 - see below
        """Post an event; its `webhook-id` is the key of the notice, whenever it is posted. See `Channel.send`."""
        body = encode(webhook_event(notice, recipient=recipient.id))
        at = datetime.fromtimestamp(int(self._poster.now()), UTC)
        headers = {
            "content-type": "application/cloudevents+json",
            "webhook-id": notice.key,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(each.sign(notice.key, at, body.decode()) for each in self._signers),
        }
        answer = await self._poster.post(self.name, self._url, body, headers)
        check_answer(self.name, answer, self._poster.now(), gives_up_at=is_gone)
        return Sent(channel=self.name, message_id=notice.key)


def _signers(secret: str) -> list[Webhook]:
    try:
        signers = [Webhook(each) for each in secret.split()]
    except (ValueError, RuntimeError, EmptyWebhookSecretError):
        signers = []
    if not signers:
        # Not what the library says: that may hold the secret.
        raise ValueError("a webhook's secret is `whsec_` and base64")
    return signers
