from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from quorate_plugins.approval.notifications.cards import (
    SLACK_BLOCKS,
    SLACK_FIELD_LENGTH,
    SLACK_FIELDS,
    SLACK_TEXT_LENGTH,
    TEAMS_BYTES,
    slack_blocks,
    teams_card,
)
from quorate_plugins.approval.notifications.encoding import encode
from quorate_plugins.approval.notifications.gateway_messages import SMS_SEPTETS, WEBHOOK_BYTES, sms_text, webhook_event
from quorate_plugins.approval.notifications.messages import EVENTS, MAX_FACTS, Notice

from .message_cases import DECIDED, NOTICE, huge, wild


def test_slack_gets_a_text_and_blocks_that_mention_nobody() -> None:
    message = slack_blocks(replace(NOTICE, title="<!channel> & <https://evil.example|x>", reason="<@U1>"))
    written = json.dumps(message)
    assert "&lt;!channel&gt; &amp; &lt;https://evil.example|x&gt;" in written
    assert "<" not in written
    blocks: Any = message["blocks"]
    assert blocks[-1]["elements"][0]["url"] == NOTICE.link
    assert NOTICE.link.replace("&", "&amp;") in str(message["text"])


def texts_of_slack(message: dict[str, Any]) -> tuple[list[str], list[str]]:
    sections = [block["text"]["text"] for block in message["blocks"] if "text" in block]
    return sections, [one["text"] for block in message["blocks"] for one in block.get("fields", [])]


@pytest.mark.parametrize("character", ["x", "&", "<", "😀"])
def test_slack_messages_stay_below_its_limits_and_cut_no_entity(character: str) -> None:
    message: dict[str, Any] = slack_blocks(huge(character))
    sections, fields = texts_of_slack(message)
    assert len(message["blocks"]) <= SLACK_BLOCKS
    assert all(len(block.get("fields", [])) <= SLACK_FIELDS for block in message["blocks"])
    assert max(map(len, [*sections, message["text"]])) <= SLACK_TEXT_LENGTH
    assert max(map(len, fields)) <= SLACK_FIELD_LENGTH
    assert len(fields) == MAX_FACTS
    for text in [*sections, *fields]:
        rest = text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
        assert "&" not in rest


@pytest.mark.parametrize("character", ["x", "*", "é", "😀", '"'])
def test_a_card_for_teams_is_below_28_kb_however_long_the_texts(character: str) -> None:
    assert len(encode(teams_card(huge(character)))) <= TEAMS_BYTES


def test_a_card_for_teams_has_text_facts_and_a_button() -> None:
    card: dict[str, Any] = teams_card(NOTICE, zone="Europe/Berlin")
    (attachment,) = card["attachments"]
    content = attachment["content"]
    assert card["type"] == "message"
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert (content["type"], content["version"]) == ("AdaptiveCard", "1.4")
    assert content["actions"] == [{"type": "Action.OpenUrl", "title": "Open in Quorate", "url": NOTICE.link}]
    facts = {each["title"]: each["value"] for each in content["body"][-1]["facts"]}
    assert facts["Due"] == "2026-03-04 17:00 Europe/Berlin"
    assert facts["Type"] == r"schema\_change"


def test_a_title_makes_no_link_in_a_card_for_teams() -> None:
    written = json.dumps(teams_card(replace(NOTICE, title="[x](https://evil.example)")))
    assert "[x](" not in written
    assert json.loads(written)["attachments"][0]["content"]["body"][0]["text"].endswith(
        r"\[x\]\(https://evil.example\)"
    )


@pytest.mark.parametrize("event", EVENTS)
def test_a_text_message_is_a_link_and_no_content(event: str) -> None:
    text = sms_text(replace(DECIDED, event=event))
    assert text.endswith(NOTICE.link)
    assert len(text) <= SMS_SEPTETS
    for content in (DECIDED.title, DECIDED.reason, DECIDED.by, DECIDED.requester, DECIDED.state, DECIDED.risk):
        assert content not in text.removesuffix(NOTICE.link)


@pytest.mark.parametrize(("length", "longest"), [(100, 160), (130, 160), (150, 160), (155, 160), (300, 300)])
def test_a_text_message_is_one_if_the_link_lets_it(length: int, longest: int) -> None:
    link = "https://quorate.example/" + "a" * (length - 24)
    text = sms_text(replace(NOTICE, link=link))
    assert text.endswith(link)
    assert len(text) <= longest


def test_tildes_and_brackets_take_two_places_of_a_text_message() -> None:
    link = "https://quorate.example/" + "~" * 60
    assert sms_text(replace(NOTICE, link=link)) == f"Quorate: {link}"


def test_an_event_for_a_webhook_is_a_cloudevent() -> None:
    event: dict[str, Any] = webhook_event(DECIDED, recipient="ada")
    assert event["specversion"] == "1.0"
    assert event["type"] == "gov.approval.decided"
    assert (event["id"], event["source"], event["subject"]) == ("evt_17_ada", "urn:quorate", "approvals/orders")
    data = event["data"]
    assert (data["by"], data["on_behalf_of"], data["state"], data["recipient"]) == ("Cleo", "Dan", "approved", "ada")
    assert (data["due_at"], data["revision"], data["facts"]) == (1772640000.0, 3, [["Rows", "12"]])


@pytest.mark.parametrize("character", ["x", "é", "😀"])
def test_an_event_for_a_webhook_is_below_20_kb(character: str) -> None:
    notice = replace(huge(character), request=character * 512, link="https://q.example/" + "a" * 1000)
    assert len(encode(webhook_event(notice, recipient=character * 999))) < WEBHOOK_BYTES
    assert len(encode(teams_card(notice))) <= TEAMS_BYTES


@settings(deadline=None)
@given(wild)
def test_whatever_people_write_can_be_sent_to_every_channel(notice: Notice) -> None:
    for message in (slack_blocks(notice), teams_card(notice), webhook_event(notice)):
        assert json.loads(encode(message)) == message
        written = json.dumps(message, ensure_ascii=False)
        written.encode()
        assert "\u202e" not in written
