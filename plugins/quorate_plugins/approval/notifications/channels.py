"""Getting a notice to somebody: by e-mail, Slack, Teams, text message, or to a receiver of webhooks.

A channel sends once. What may work later raises `TryAgain`, what never will raises `GiveUp`, and `Unreachable` means
that this person has no address there, so that the next channel is to be tried. The same notice may be sent twice when
an answer gets lost; it carries the same id then, for the channels that have one. Tokens, passwords and the addresses
of webhooks (which are secrets too) are in no error, and in no log.
"""

from __future__ import annotations

from quorate_plugins.approval.notifications.chat_channels import SlackChannel, SlackWebhookChannel, TeamsChannel
from quorate_plugins.approval.notifications.gateway_channels import SmsChannel, WebhookChannel
from quorate_plugins.approval.notifications.mail_channel import EmailChannel
from quorate_plugins.approval.notifications.posting import Poster
from quorate_plugins.approval.notifications.sending import Channel, Sent, Unreachable

__all__ = [
    "Channel",
    "EmailChannel",
    "Poster",
    "Sent",
    "SlackChannel",
    "SlackWebhookChannel",
    "SmsChannel",
    "TeamsChannel",
    "Unreachable",
    "WebhookChannel",
]
