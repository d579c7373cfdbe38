from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from quorate_plugins.approval.notifications.cards import slack_blocks
from quorate_plugins.approval.notifications.mail import email_message
from quorate_plugins.approval.notifications.messages import EVENTS, wording
from quorate_plugins.approval.notifications.texts import check_templates

from .message_cases import ADA, DECIDED, NOTICE, SENDER, parts_of


def test_the_requester_is_told_who_decided_and_in_whose_place() -> None:
    assert "Cleo on behalf of Dan" in parts_of(DECIDED)[0]
    assert wording(replace(DECIDED, by="", on_behalf_of="")).body.endswith("is approved, by the policy.")


def test_each_event_has_a_subject_and_a_sentence_that_name_the_title() -> None:
    for event in EVENTS:
        words = wording(replace(DECIDED, event=event))
        assert NOTICE.title in words.subject
        assert NOTICE.title in words.body
        assert "$" not in words.subject + words.body


def test_templates_replace_the_texts_they_name_only() -> None:
    templates = check_templates({"reminder": {"subject": "$$5 for $title (${priority})"}})
    reminder = replace(NOTICE, event="reminder")
    assert wording(reminder, templates=templates).subject == "$5 for Orders: new column (normal)"
    assert wording(reminder, templates=templates).body == wording(reminder).body
    assert wording(NOTICE, templates=templates) == wording(NOTICE)
    assert email_message(reminder, ADA, SENDER, templates=templates)["Subject"].startswith("$5 for")


def test_what_people_write_is_not_taken_for_a_template() -> None:
    assert "$reason" in wording(replace(NOTICE, title="$reason $")).body


@pytest.mark.parametrize(
    "templates",
    [
        [],
        {"unheard_of": {}},
        {"decided": "text"},
        {"decided": {"footer": "x"}},
        {"decided": {"subject": 5}},
        {"decided": {"subject": ""}},
        {"decided": {"body": "x" * 4001}},
        {"decided": {"body": "$password"}},
        {"decided": {"body": "costs $5"}},
        {"decided": {"body": "${title.__class__}"}},
    ],
)
def test_templates_that_cannot_be_used_are_refused(templates: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_templates(templates)


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": ""},
        {"key": "a b"},
        {"key": "a\r\nb"},
        {"key": "é"},
        {"event": "unheard_of"},
        {"request": ""},
        {"due_at": float("nan")},
        {"due_at": -1.0},
        {"due_at": 1e300},
        {"link": ""},
        {"link": "javascript:alert(1)"},
        {"link": "http://quorate.example/"},
        {"link": "https://"},
        {"link": 'https://x.example/"><script>'},
        {"link": "https://x.example/a b"},
        {"link": "https://x.example/\n"},
        {"link": "https://[x"},
        {"link": "https://x.example/" + "a" * 1100},
    ],
)
def test_a_notice_that_cannot_be_told_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"notice|request|due"):
        replace(NOTICE, **wrong)


def test_a_link_of_this_machine_needs_no_encryption() -> None:
    assert replace(NOTICE, link="http://localhost:8000/a").link == "http://localhost:8000/a"


def test_an_unknown_zone_is_shown_as_utc() -> None:
    assert "2026-03-04 16:00 UTC" in str(slack_blocks(NOTICE, zone="Mars/Olympus"))
    assert "2026-03-04 16:00 UTC" in str(slack_blocks(NOTICE, zone="../../etc/passwd"))
