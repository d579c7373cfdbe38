"""Notices for chats: blocks for Slack, and cards for Microsoft Teams."""

from __future__ import annotations

import re
from collections.abc import Sequence

from quorate_plugins.approval.notifications.cleaning import clean, shortened
from quorate_plugins.approval.notifications.encoding import fitting
from quorate_plugins.approval.notifications.messages import Notice, facts_of, wording
from quorate_plugins.approval.notifications.texts import Templates

SLACK_BLOCKS = 50
SLACK_TEXT_LENGTH = 3000
SLACK_FIELD_LENGTH = 2000
SLACK_FIELDS = 10
"""How many fields a section holds."""
TEAMS_BYTES = 28_000

_MARKDOWN = re.compile(r"([\\`*_\[\]()#!|~])")


def slack_blocks(notice: Notice, *, zone: str = "UTC", templates: Templates | None = None) -> dict[str, object]:
    """Return a notice as a message for Slack: a text for where blocks are not shown, and the blocks.

    It has at most 50 blocks, and no text beyond Slack's limits. Nothing in it mentions anybody or becomes a link.
    """
    words = wording(notice, zone=zone, templates=templates)
    blocks: list[dict[str, object]] = [_section(f"*{_mrkdwn(words.subject)}*"), _section(_mrkdwn(words.body))]
    if notice.reason.strip():
        blocks.append(_section(_mrkdwn(f"Reason: {clean(notice.reason)}")))
    fields = [
        _mrkdwn_object(_shortened_entities(f"*{_mrkdwn(label)}*\n{_mrkdwn(value)}", SLACK_FIELD_LENGTH))
        for label, value in facts_of(notice, zone=zone)
    ]
    rows = (fields[start : start + SLACK_FIELDS] for start in range(0, len(fields), SLACK_FIELDS))
    blocks.extend({"type": "section", "fields": row} for row in rows)
    button: dict[str, object] = {
        "type": "button",
        "text": {"type": "plain_text", "text": "Open in Quorate"},
        "url": notice.link,
    }
    del blocks[SLACK_BLOCKS - 1 :]
    blocks.append({"type": "actions", "elements": [button]})
    text = _shortened_entities(f"{_mrkdwn(words.subject)}: {notice.link.replace('&', '&amp;')}", SLACK_TEXT_LENGTH)
    return {"text": text, "blocks": blocks}


def teams_card(notice: Notice, *, zone: str = "UTC", templates: Templates | None = None) -> dict[str, object]:
    """Return a notice as what a workflow of Microsoft Teams takes: a card with facts and a button that opens the link.

    It is at most 28 kB as `encode` writes it: long texts are shortened, and facts left out, until it is.
    """
    words = wording(notice, zone=zone, templates=templates)
    facts = facts_of(notice, zone=zone)
    reason = clean(notice.reason)

    def build(length: int, count: int) -> dict[str, object]:
        texts = [words.body, f"Reason: {reason}"] if reason else [words.body]
        body: list[dict[str, object]] = [
            {"type": "TextBlock", "text": _markdown(words.subject, length), "weight": "Bolder", "wrap": True},
            *({"type": "TextBlock", "text": _markdown(text, length), "wrap": True} for text in texts),
            {
                "type": "FactSet",
                "facts": [
                    {"title": _markdown(label, length), "value": _markdown(value, length)}
                    for label, value in facts[:count]
                ],
            },
        ]
        return {
            "type": "message",
            "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "content": _card(body, notice)}],
        }

    return fitting(build, TEAMS_BYTES)


def _card(body: Sequence[dict[str, object]], notice: Notice) -> dict[str, object]:
    return {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": list(body),
        "actions": [{"type": "Action.OpenUrl", "title": "Open in Quorate", "url": notice.link}],
    }


def _section(text: str) -> dict[str, object]:
    return {"type": "section", "text": _mrkdwn_object(_shortened_entities(text, SLACK_TEXT_LENGTH))}


def _mrkdwn_object(text: str) -> dict[str, object]:
    # `verbatim` keeps Slack from making links and mentions of what looks like one.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _mrkdwn(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _shortened_entities(text: str, length: int) -> str:
    """Return an escaped text, shortened between characters: never within what stands for one."""
    if len(text) <= length:
        return text
    return re.sub(r"&[a-z]*\Z", "", text[: length - 1]) + "…"


def _markdown(text: str, length: int) -> str:
    return _MARKDOWN.sub(r"\\\1", shortened(text, length))
