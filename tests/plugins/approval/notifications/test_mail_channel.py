from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quorate_plugins.approval.notifications.channels import Sent, Unreachable
from quorate_server.hooks import GiveUp, TryAgain

from .channel_cases import ADA, DECIDED, NOTICE, SHORT, failure, mail_channel
from .local_servers import MailServer, mail_server, scripted_mail_server, tls_contexts


async def test_an_email_arrives_as_it_was_written() -> None:
    async with mail_server() as server:
        sent = await mail_channel(server.port).send(NOTICE, ADA, None)
        (message,) = server.messages
    assert sent == Sent(channel="email", message_id=message["Message-ID"])
    assert server.envelopes[0].rcpt_tos == ["ada@example.org"]
    assert server.envelopes[0].mail_from == "approvals@example.org"
    assert message["Subject"] == "Your decision is wanted: Orders: <script> & more"
    assert message["Date"].datetime.tzinfo is not None
    page = message.get_body(("html",))
    assert page is not None
    assert "&lt;script&gt;" in page.get_content()
    assert "<script" not in page.get_content()


async def test_a_later_email_answers_the_earlier_one() -> None:
    async with mail_server() as server:
        channel = mail_channel(server.port)
        first = await channel.send(NOTICE, ADA, None)
        second = await channel.send(DECIDED, ADA, first.message_id)
        assert server.messages[1]["In-Reply-To"] == first.message_id
        assert second.state == "sent"


async def test_a_digest_is_one_email() -> None:
    async with mail_server() as server:
        sent = await mail_channel(server.port).send_digest([NOTICE, DECIDED], ADA)
        (message,) = server.messages
    assert (message["Message-ID"], message["Subject"]) == (sent.message_id, "Approvals: 2 messages")


async def test_a_header_that_somebody_slips_into_a_title_does_not_arrive() -> None:
    async with mail_server() as server:
        hostile = replace(NOTICE, title="=?utf-8?q?x=0D=0ABcc:_eve=40example.org?=\r\nBcc: eve@example.org")
        await mail_channel(server.port).send(hostile, replace(ADA, name="Ada\r\nBcc: eve@example.org"), None)
        assert server.messages[0]["Bcc"] is None
        assert server.envelopes[0].rcpt_tos == ["ada@example.org"]


@pytest.mark.parametrize(
    ("answers", "error", "reason"),
    [
        ({"to_recipient": "550 no such user"}, GiveUp, "email: SMTPRecipientsRefused 550"),
        ({"to_recipient": "451 come back"}, TryAgain, "email: SMTPRecipientsRefused 451"),
        ({"to_message": "554 spam"}, GiveUp, "email: SMTPDataError 554"),
        ({"to_message": "452 no room"}, TryAgain, "email: SMTPDataError 452"),
    ],
)
async def test_a_refused_email_is_tried_again_if_the_server_says_so(
    answers: dict[str, Any], error: type[Exception], reason: str
) -> None:
    async with mail_server(MailServer(**answers)) as server:
        failed = await failure(mail_channel(server.port))
    assert isinstance(failed, error)
    assert failed.reason == reason


@pytest.mark.parametrize("at_line", [b"", b"EHLO", b"MAIL", b"RCPT", b"DATA"])
@pytest.mark.parametrize("fault", ["stall", "close", "554 go away"])
async def test_a_mail_server_that_fails_at_any_point_is_an_attempt(at_line: bytes, fault: Any) -> None:
    def script(line: bytes) -> Any:
        if line.startswith(at_line) and (at_line or not line):
            return fault
        return "220 mail.test" if not line else "250 OK"

    async with scripted_mail_server(script) as port:
        failed = await failure(mail_channel(port, timeout_seconds=SHORT if fault == "stall" else 15.0))
    is_permanent = fault == "554 go away" and at_line in {b"MAIL", b"RCPT", b"DATA"}
    assert isinstance(failed, GiveUp if is_permanent else TryAgain)


@pytest.mark.parametrize("fault", ["stall", "close", "500 what?"])
async def test_an_email_that_was_taken_is_sent_however_the_server_says_goodbye(fault: Any) -> None:
    answers = {b"": "220 mail.test", b"DATA": "354 go on", b".": "250 OK", b"QUIT": fault}

    def script(line: bytes) -> Any:
        return answers.get(line, "250 OK" if line[:4] in {b"EHLO", b"MAIL", b"RCPT"} else "")

    async with scripted_mail_server(script) as port:
        sent = await mail_channel(port, timeout_seconds=SHORT if fault == "stall" else 15.0).send(NOTICE, ADA, None)
    assert sent.state == "sent"


async def test_nobody_at_the_port_is_an_attempt() -> None:
    async with mail_server() as server:
        pass
    assert isinstance(await failure(mail_channel(server.port)), TryAgain)


@pytest.mark.parametrize("is_tls", [False, True])
async def test_a_password_goes_over_tls(tmp_path: Path, is_tls: bool) -> None:  # noqa: FBT001
    serving, trusting = tls_contexts(tmp_path)
    options = {"tls": "tls" if is_tls else "starttls", "tls_context": trusting}
    # The server of the tests lets nobody sign in over TLS from the first byte: it knows its own STARTTLS only.
    password = "" if is_tls else "very-secret"
    async with mail_server(MailServer(password=password), tls_context=serving, is_tls=is_tls) as server:
        signing_in = {"username": "quorate", "password": password} if password else {}
        await mail_channel(server.port, **options, **signing_in).send(NOTICE, ADA, None)
        assert server.was_encrypted == [not is_tls]
        assert len(server.envelopes) == 1


async def test_a_wrong_password_is_tried_again_and_not_told(tmp_path: Path) -> None:
    serving, trusting = tls_contexts(tmp_path)
    async with mail_server(MailServer(password="right"), tls_context=serving) as server:
        channel = mail_channel(
            server.port, tls="starttls", tls_context=trusting, username="quorate", password="very-secret"
        )
        failed = await failure(channel)
    assert isinstance(failed, TryAgain)
    assert failed.reason == "email: SMTPAuthenticationError 535"
    assert failed.__context__ is None


async def test_without_starttls_nothing_is_sent_in_the_clear() -> None:
    async with mail_server() as server:
        assert isinstance(await failure(mail_channel(server.port, tls="starttls")), TryAgain)
        assert server.envelopes == []


async def test_a_server_that_nobody_vouches_for_gets_nothing(tmp_path: Path) -> None:
    serving, _ = tls_contexts(tmp_path)
    async with mail_server(tls_context=serving) as server:
        strict = ssl.create_default_context()
        assert isinstance(await failure(mail_channel(server.port, tls="starttls", tls_context=strict)), TryAgain)
        assert server.envelopes == []


@pytest.mark.parametrize(
    "wrong", [{"tls": "maybe"}, {"username": "quorate"}, {"sender": "nobody"}, {"sender": "a@b.org\r\nBcc: c@d.org"}]
)
def test_settings_for_email_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        mail_channel(25, **wrong)


@pytest.mark.parametrize("email", ["", "ada", "ada@example.org\r\nBcc: eve@example.org", "ädä@example.org"])
async def test_who_has_no_email_address_is_told_otherwise(email: str) -> None:
    with pytest.raises(Unreachable, match="email"):
        await mail_channel(1).send(NOTICE, replace(ADA, email=email), None)
    with pytest.raises(Unreachable, match="email"):
        await mail_channel(1).send_digest([NOTICE], replace(ADA, email=email))
