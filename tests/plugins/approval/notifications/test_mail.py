from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from quorate_plugins.approval.notifications.mail import (
    address_of,
    checked_email,
    email_digest,
    email_message,
    message_id,
)
from quorate_plugins.approval.notifications.messages import Notice

from .local_servers import parsed
from .message_cases import ADA, DECIDED, NOTICE, SENDER, parts_of, wild


def test_an_email_says_what_is_wanted_until_when_and_where() -> None:
    plain, page = parts_of(NOTICE)
    for text in ("Orders: new column", "Ben", "Finance needs it.", "Rows", "2026-03-04 17:00 Europe/Berlin"):
        assert text in plain
        assert text in page
    assert NOTICE.link in plain
    assert 'href="https://quorate.example/approvals/orders?tab=decide&amp;x=1"' in page


def test_an_email_is_addressed_and_marked_as_automatic() -> None:
    message = parsed(email_message(NOTICE, ADA, SENDER).as_bytes())
    assert message["To"] == "Ada Lovelace <ada@example.org>"
    assert message["From"] == SENDER
    assert message["Auto-Submitted"] == "auto-generated"


def test_the_same_notice_has_the_same_message_id_and_another_key_or_person_has_another() -> None:
    first = email_message(NOTICE, ADA, SENDER)["Message-ID"]
    assert first == email_message(NOTICE, ADA, SENDER)["Message-ID"]
    assert first != email_message(replace(NOTICE, key="evt_18_ada"), ADA, SENDER)["Message-ID"]
    assert first != email_message(NOTICE, replace(ADA, id="ben"), SENDER)["Message-ID"]


def test_emails_on_a_request_are_one_thread_whether_or_not_the_earlier_one_is_known() -> None:
    first = parsed(email_message(NOTICE, ADA, SENDER).as_bytes())
    later = parsed(email_message(DECIDED, ADA, SENDER, replaces=first["Message-ID"]).as_bytes())
    assert later["In-Reply-To"] == first["Message-ID"]
    assert later["References"].split() == [first["References"], first["Message-ID"]]
    assert parsed(email_message(DECIDED, ADA, SENDER).as_bytes())["References"] == first["References"]
    assert first["In-Reply-To"] is None


@pytest.mark.parametrize("replaces", ["", "D1:17.2", "<a@b>\r\nBcc: eve@example.org", f"<{'a' * 90}@b>"])
def test_what_is_no_message_id_is_not_answered(replaces: str) -> None:
    message = parsed(email_message(NOTICE, ADA, SENDER, replaces=replaces).as_bytes())
    assert message["In-Reply-To"] is None
    assert message["Bcc"] is None


@pytest.mark.parametrize("domain", ["example.org", "x" * 40 + ".example.org", "bücher.example"])
def test_message_ids_are_not_folded_whatever_the_domain_of_the_sender(domain: str) -> None:
    sender = f"approvals@{domain}"
    later = email_message(NOTICE, ADA, sender, replaces=message_id("first", sender)).as_bytes()
    assert parsed(later)["In-Reply-To"] == message_id("first", sender)
    assert b"=?" not in later.split(b"\r\n\r\n")[0]


INJECTIONS = [
    "x\r\nBcc: eve@example.org",
    "x\nBcc: eve@example.org",
    "=?utf-8?q?x=0D=0ABcc:_eve=40example.org?=",
    "=?utf-8?b?eA0KQmNjOiBldmVAZXhhbXBsZS5vcmc=?=",
    "x\x85Bcc: eve@example.org\u2028Bcc: eve@example.org\x00\x0b\x0c",
    '"x" <eve@example.org>, ',
]


@pytest.mark.parametrize("attempt", INJECTIONS)
def test_nobody_adds_a_header_by_a_title_or_a_name(attempt: str) -> None:
    raw = email_message(replace(NOTICE, title=attempt), replace(ADA, name=attempt), SENDER).as_bytes()
    message = parsed(raw)
    usual = parsed(email_message(NOTICE, ADA, SENDER).as_bytes())
    assert message.keys() == usual.keys()
    assert [each.addr_spec for each in message["To"].addresses] == ["ada@example.org"]
    assert b"\nBcc" not in raw.split(b"\r\n\r\n")[0]


@pytest.mark.parametrize(
    "email",
    [
        *("", "ada", "@example.org", "ada@", "a@b@c", "ada@example.org, eve@example.org", "a..b@example.org"),
        *("ada@example.org\r\nBcc: e@f.org", "=?utf-8?q?x?=@example.org", "ada <ada@example.org>", "ädä@example.org"),
        "a@b..c",
    ],
)
def test_what_is_no_address_is_refused_and_never_repaired(email: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        email_message(NOTICE, replace(ADA, email=email), SENDER)


def test_an_international_domain_is_encoded() -> None:
    assert checked_email("ada@bücher.example") == "ada@xn--bcher-kva.example"


@pytest.mark.parametrize(
    "sender", ["", "nobody", "a@b.org, c@d.org", "a@b.org\r\nBcc: c@d.org", "=?utf-8?q?x?= <a@b.org>"]
)
def test_a_sender_is_one_address(sender: str) -> None:
    with pytest.raises(ValueError, match="address"):
        address_of(sender)


def test_a_long_title_of_many_scripts_is_a_subject_that_can_be_read() -> None:
    title = "Größe 変更 🚀 " * 200
    message = parsed(email_message(replace(NOTICE, title=title), ADA, SENDER).as_bytes())
    assert message["Subject"].startswith("Your decision is wanted: Größe 変更 🚀 Größe")
    assert len(message["Subject"]) <= 200


def test_markup_of_people_is_shown_and_not_obeyed() -> None:
    attack = '<script>alert("1")</script><a href="https://evil.example">x</a>'
    notice = replace(NOTICE, title=attack, reason=attack, requester=attack, facts=((attack, attack),))
    for page in (parts_of(notice)[1], str(email_digest([notice], ADA, SENDER).get_body(("html",)))):
        assert "<script" not in page
        assert '<a href=3D"https://evil' not in page
    assert "&lt;script&gt;" in parts_of(notice)[1]
    assert attack in parts_of(notice)[0]


@settings(deadline=None)
@given(wild)
def test_whatever_people_write_is_an_email_with_the_usual_headers(notice: Notice) -> None:
    message = parsed(email_message(notice, replace(ADA, name=notice.title), SENDER).as_bytes())
    assert message.keys() == parsed(email_message(NOTICE, ADA, SENDER).as_bytes()).keys()
    assert not message.defects
    assert len(message["To"].addresses) == 1


def test_a_digest_has_every_notice_in_order_and_counts_those_beyond_a_hundred() -> None:
    notices = [replace(NOTICE, key=f"k{number}", title=f"Title {number}!") for number in range(130)]
    message = parsed(email_digest(notices, ADA, SENDER).as_bytes())
    body = message.get_body(("plain",))
    assert body is not None
    text = body.get_content().replace("\r\n", "\n")
    assert message["Subject"] == "Approvals: 130 messages"
    assert [f"Title {number}!" in text for number in (0, 99, 100)] == [True, True, False]
    assert text.endswith("And 30 more.\n")
    assert message["Message-ID"] != email_digest(notices[1:], ADA, SENDER)["Message-ID"]


def test_a_digest_of_one_says_what_it_is_and_of_none_there_is_none() -> None:
    assert "Orders: new column" in email_digest([NOTICE], ADA, SENDER)["Subject"]
    with pytest.raises(ValueError, match="at least one"):
        email_digest([], ADA, SENDER)
