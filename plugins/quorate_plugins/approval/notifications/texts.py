"""What each event is told with: the table of texts, and the check of those that replace them."""

from __future__ import annotations

from collections.abc import Mapping
from string import Template
from typing import cast

from quorate_plugins.approval.notifications.cleaning import SHOWN_LENGTH

TEMPLATE_VERSION = 1
"""The version of `TEXTS`: one greater whenever a text changes."""

Templates = Mapping[str, Mapping[str, str]]
"""The texts by event: `subject`, one line, and `body`, a sentence or more, with placeholders such as `$title`."""

TEXTS: Templates = {
    "decision_wanted": {
        "subject": "Your decision is wanted: $title",
        "body": "$requester asks for your decision on “$title”.",
    },
    "reminder": {
        "subject": "Reminder: $title waits for your decision",
        "body": "The request “$title” of $requester still waits for your decision.",
    },
    "escalated": {
        "subject": "Escalated to you: $title",
        "body": "The request “$title” of $requester was not decided in time and is now up to you as well.",
    },
    "decided": {
        "subject": "Your request is $state: $title",
        "body": "Your request “$title” is $state, by $decider.",
    },
    "changes_requested": {
        "subject": "Changes are wanted: $title",
        "body": "Before a decision on “$title”, changes are wanted by $decider.",
    },
    "dismissed": {
        "subject": "Your approval is void: $title",
        "body": "The content of “$title” changed after you approved it, so your approval does not count any more.",
    },
    "withdrawn": {
        "subject": "Withdrawn: $title",
        "body": "The request “$title” of $requester was withdrawn. There is nothing left to decide.",
    },
    "not_needed": {
        "subject": "No longer needed: $title",
        "body": "Your decision on “$title” is not needed any more. It is $state, by $decider.",
    },
    "expired": {
        "subject": "Expired: $title",
        "body": "The request “$title” of $requester was not decided in time and has expired.",
    },
    "delegated": {
        "subject": "Handed over to you: $title",
        "body": "The decision on “$title” of $requester was handed over to you, by $decider.",
    },
    "blocked": {
        "subject": "Nobody can decide: $title",
        "body": "The request “$title” of $requester is stuck: nobody is left who may decide on it.",
    },
    "override_review": {
        "subject": "Please review an override: $title",
        "body": "The rules for “$title” of $requester were overridden, by $decider. Please review that.",
    },
}
"""What is said if nobody says it otherwise."""

EVENTS = tuple(TEXTS)
"""What can be told."""

PLACEHOLDERS = (
    *("request", "revision", "title", "type", "risk", "priority", "requester", "by", "on_behalf_of", "decider"),
    *("state", "reason", "due", "link"),
)
"""What a text may name. `$decider` is `$by` together with `$on_behalf_of`; `$due` is empty without a due date."""

MAX_TEMPLATE_LENGTH = 4000


def check_templates(value: object) -> Templates:
    """Return a mapping of events to texts that replace those of `TEXTS`; each may have one text, or both.

    Raises:
        ValueError: it is no such mapping, an event or a placeholder is not known, or a text is too long.
    """
    if not isinstance(value, Mapping):
        raise ValueError("templates are a mapping of events to texts")  # noqa: TRY004 - it is data
    checked: dict[str, dict[str, str]] = {}
    for event, texts in cast("Mapping[object, object]", value).items():
        if event not in EVENTS:
            raise ValueError(f"templates are for {', '.join(EVENTS)}, not for {str(event)[:SHOWN_LENGTH]!r}")
        if not isinstance(texts, Mapping):
            raise ValueError(f"{event}: a mapping with `subject` and `body`")  # noqa: TRY004 - it is data
        checked[str(event)] = {
            str(part): _check_template(f"{event}/{part}", part, text)
            for part, text in cast("Mapping[object, object]", texts).items()
        }
    return checked


def _check_template(where: str, part: object, text: object) -> str:
    shown = where[:SHOWN_LENGTH]
    if part not in {"subject", "body"}:
        raise ValueError(f"a template has `subject` and `body`, and no {shown}")
    if not isinstance(text, str) or not 0 < len(text) <= MAX_TEMPLATE_LENGTH:
        raise ValueError(f"the template {shown} is a text of 1 to {MAX_TEMPLATE_LENGTH} characters")
    template = Template(text)
    if not template.is_valid():
        raise ValueError(f"the template {shown} has a `$` that names nothing; a dollar sign is `$$`")
    unknown = sorted(set(template.get_identifiers()) - set(PLACEHOLDERS))
    if unknown:
        raise ValueError(f"the template {shown} names {', '.join(unknown)[:SHOWN_LENGTH]}, which nothing has")
    return text
