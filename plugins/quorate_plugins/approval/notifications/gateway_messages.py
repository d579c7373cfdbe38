"""Notices for telephones and machines: text messages, and events for webhooks."""

from __future__ import annotations

from quorate_plugins.approval.notifications.cleaning import SHOWN_LENGTH, clean, shortened
from quorate_plugins.approval.notifications.encoding import fitting
from quorate_plugins.approval.notifications.messages import Notice, facts_of_one_line

WEBHOOK_BYTES = 20_000
"""Standard Webhooks: payloads should stay below 20 kB."""
SMS_SEPTETS = 160


def sms_text(notice: Notice) -> str:
    """Return a notice as a text message: that there is something, and the link; nothing of the request itself.

    It is one message of 160 characters of the GSM alphabet; only a link that is longer makes it longer.
    """
    for text in (f"Quorate has news about an approval: {notice.link}", f"Quorate: {notice.link}"):
        if _septets(text) <= SMS_SEPTETS:
            return text
    return notice.link


def webhook_event(notice: Notice, *, recipient: str = "") -> dict[str, object]:
    """Return a notice as a CloudEvent of less than 20 kB as `encode` writes it; `recipient` is the id of who is told.

    Texts are not escaped: a receiver escapes them for what it puts them into.
    """
    told = ("title", "type", "risk", "priority", "requester", "by", "on_behalf_of", "state", "reason")
    cleaned = {name: clean(str(getattr(notice, name))) for name in told}
    own_facts = facts_of_one_line(notice.facts)

    def build(length: int, count: int) -> dict[str, object]:
        texts = {name: shortened(text, length) for name, text in cleaned.items()}
        facts = [[shortened(label, length), shortened(value, length)] for label, value in own_facts[:count]]
        return {
            "specversion": "1.0",
            "id": notice.key,
            "source": "urn:quorate",
            "type": f"gov.approval.{notice.event}",
            "subject": notice.request,
            "datacontenttype": "application/json",
            "data": {
                "request": notice.request,
                "revision": notice.revision,
                **texts,
                "due_at": notice.due_at,
                "link": notice.link,
                "recipient": shortened(recipient, SHOWN_LENGTH),
                "facts": facts,
            },
        }

    return fitting(build, WEBHOOK_BYTES - 1)


def _septets(text: str) -> int:
    """Return how much room an ASCII text takes in a text message: brackets and tildes take two places."""
    return len(text) + sum(text.count(each) for each in "[]~")
