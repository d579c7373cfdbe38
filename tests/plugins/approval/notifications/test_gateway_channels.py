from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from quorate_plugins.approval.notifications.channels import Sent, Unreachable, WebhookChannel

from .channel_cases import ADA, NOTICE, SECRET, TOKEN, over_http, posting
from .local_servers import Reply, http_server, reply


async def test_a_text_message_goes_to_the_number_and_carries_no_content() -> None:
    async with http_server(lambda _: reply({"id": "sm_5"}, 201)) as server, posting() as poster:
        sent = await over_http("sms", poster, server.url).send(NOTICE, ADA, "sm_4")
    assert sent == Sent(channel="sms", message_id="sm_5")
    body = server.got[0].json
    assert body.keys() == {"to", "from", "text", "reference"}
    assert (body["to"], body["from"], body["reference"]) == ("+4930123456", "Quorate", NOTICE.key)
    assert server.got[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert body["text"].endswith(NOTICE.link)
    assert "Orders" not in body["text"]
    assert "Finance" not in body["text"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", ""), (b"queued", ""), (b'{"id": 7}', "7"), (b'{"id": "a\\nb"}', ""), (b'{"id": null}', "")],
)
async def test_a_gateway_may_keep_its_id(content: bytes, expected: str) -> None:
    async with http_server(lambda _: Reply(200, content)) as server, posting() as poster:
        assert (await over_http("sms", poster, server.url).send(NOTICE, ADA, None)).message_id == expected


@pytest.mark.parametrize("phone", ["", "030 123456", "+49", "+49 30 123456\r\nx", "ada", "+0 123456789"])
async def test_who_has_no_telephone_number_is_told_otherwise(phone: str) -> None:
    async with http_server() as server, posting() as poster:
        with pytest.raises(Unreachable, match="telephone"):
            await over_http("sms", poster, server.url).send(NOTICE, replace(ADA, phone=phone), None)
    assert server.got == []


async def test_a_webhook_is_signed_and_has_the_same_id_each_time() -> None:
    async with http_server(lambda _: Reply(204)) as server, posting() as poster:
        channel = over_http("webhook", poster, server.url)
        sent = [await channel.send(NOTICE, ADA, None) for _ in range(2)]
    assert {each.message_id for each in sent} == {each.headers["webhook-id"] for each in server.got} == {NOTICE.key}
    for got in server.got:
        event: Any = Webhook(SECRET).verify(got.body, got.headers)
        assert event["type"] == "gov.approval.decision_wanted"
        assert event["data"]["recipient"] == "ada"
        assert got.headers["content-type"] == "application/cloudevents+json"


async def test_a_webhook_is_signed_with_both_secrets_while_one_replaces_the_other() -> None:
    second = "whsec_c2Vjb25kIHNlY29uZCBzZWNvbmQgc2Vjb25k"
    async with http_server(lambda _: Reply(204)) as server, posting() as poster:
        await WebhookChannel(poster, url=server.url, secret=f"{SECRET} {second}").send(NOTICE, ADA, None)
    for secret in (SECRET, second):
        Webhook(secret).verify(server.got[0].body, server.got[0].headers)
