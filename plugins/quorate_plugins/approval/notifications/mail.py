"""Notices as e-mails, and the addresses they come from and go to."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Sequence
from email import policy
from email.headerregistry import Address, AddressHeader
from email.message import EmailMessage
from typing import cast

from quorate_plugins.approval.directory import Person
from quorate_plugins.approval.notifications.cleaning import MAX_TEXT_LENGTH, SHOWN_LENGTH, clean, one_line, shortened
from quorate_plugins.approval.notifications.messages import MAX_SUBJECT_LENGTH, Fact, Notice, Wording, facts_of, wording
from quorate_plugins.approval.notifications.texts import Templates

MAX_DIGEST_LENGTH = 100
"""How many notices an e-mail spells out."""

_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{3,62}>")
"""One that fits on a line of a header: a longer one would be encoded, and threads would break."""
_LONGEST_ID_DOMAIN = 36
_ID_DIGITS = 24


def email_message(
    notice: Notice, recipient: Person, sender: str, *, replaces: str | None = None, templates: Templates | None = None
) -> EmailMessage:
    """Return a notice as an e-mail of plain text and HTML, without a date.

    All e-mails about a request name the same message as their root, one that is never sent: so mail programs show them
    as one thread, even if somebody got only some of them.

    Args:
        notice: what is told.
        recipient: who is told; times are in their zone.
        sender: the address it comes from, with a name or without.
        replaces: the `Message-ID` of an earlier e-mail on the same request; anything else is left out.
        templates: checked texts that go before `TEXTS`.

    Raises:
        ValueError: the recipient or the sender has no address that e-mail can be sent to, or from.
    """
    words = wording(notice, zone=recipient.zone, templates=templates)
    facts = facts_of(notice, zone=recipient.zone)
    message = _email(words.subject, notice.key, recipient, sender)
    root = message_id(f"request:{notice.request}", sender)
    if replaces is not None and _MESSAGE_ID.fullmatch(replaces):
        message["In-Reply-To"] = replaces
        message["References"] = f"{root} {replaces}"
    else:
        message["References"] = root
    reason = shortened(clean(notice.reason), MAX_TEXT_LENGTH)
    _fill(message, _plain(words, reason, facts, notice.link), _html(words, reason, facts, notice.link))
    return message


def email_digest(
    notices: Sequence[Notice], recipient: Person, sender: str, *, templates: Templates | None = None
) -> EmailMessage:
    """Return several notices as one e-mail, in their order, without a date; those beyond 100 are only counted.

    Raises:
        ValueError: there is no notice, or an address cannot be used.
    """
    if not notices:
        raise ValueError("a digest has at least one notice")
    told = [(wording(each, zone=recipient.zone, templates=templates), each.link) for each in notices]
    shown, count = told[:MAX_DIGEST_LENGTH], len(notices)
    subject = f"Approvals: {count} messages" if count > 1 else f"Approvals: {shown[0][0].subject}"
    key = "digest:" + " ".join(each.key for each in notices)
    more = f"And {count - len(shown)} more." if count > len(shown) else ""
    plain, items = _plain_items(shown), _html_items(shown)
    message = _email(shortened(subject, MAX_SUBJECT_LENGTH), key, recipient, sender)
    _fill(message, "\n\n".join([*plain, more]).strip() + "\n", _page(f"<ol>{items}</ol><p>{more}</p>"))
    return message


def message_id(key: str, sender: str) -> str:
    """Return the `Message-ID` of an e-mail with a key: always the same.

    Raises:
        ValueError: the sender is no address.
    """
    domain = address_of(sender).domain
    digits = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:_ID_DIGITS]
    return f"<{digits}@{domain if len(domain) <= _LONGEST_ID_DOMAIN else 'quorate.invalid'}>"


def address_of(sender: str) -> Address:
    """Return the one address of a `From`, such as `Approvals <approvals@example.org>`.

    Raises:
        ValueError: it is none, or more than one.
    """
    # Python decodes encoded words when a header is set, and what they hide may be the end of a line.
    if sender != _header_text(sender):
        raise ValueError("a sender is an e-mail address on one line")
    header = cast("AddressHeader", policy.SMTP.header_factory("From", sender))
    if len(header.addresses) != 1:
        raise ValueError("a sender is one e-mail address")
    found = header.addresses[0]
    return Address(display_name=_header_text(found.display_name), addr_spec=checked_email(found.addr_spec))


def checked_email(email: str) -> str:
    """Return an e-mail address as it goes over the wire: in ASCII, an international domain encoded.

    Raises:
        ValueError: it is none. An address is never repaired, and its local part is of ASCII characters.
    """
    local, at, domain = email.rpartition("@")
    try:
        encoded = f"{local}{at}{domain.encode('idna').decode()}"
    except UnicodeError:
        encoded = ""
    if "=?" in encoded or not _EMAIL.fullmatch(encoded):
        raise ValueError("an e-mail address is of the form name@example.org, in ASCII before the @")
    return Address(addr_spec=encoded).addr_spec


def _email(subject: str, key: str, recipient: Person, sender: str) -> EmailMessage:
    message = EmailMessage(policy=policy.SMTP)
    message["Subject"] = _header_text(subject)
    message["From"] = address_of(sender)
    name = shortened(_header_text(recipient.name), SHOWN_LENGTH)
    message["To"] = Address(display_name=name, addr_spec=checked_email(recipient.email))
    message["Message-ID"] = message_id(f"{key} {recipient.id}", sender)
    # RFC 3834: so that out-of-office programs do not answer.
    message["Auto-Submitted"] = "auto-generated"
    return message


def _fill(message: EmailMessage, plain: str, page: str) -> None:
    # Quoted-printable goes through servers that take seven bits and short lines only.
    message.set_content(plain, cte="quoted-printable")
    message.add_alternative(page, subtype="html", cte="quoted-printable")


def _plain(words: Wording, reason: str, facts: Sequence[Fact], link: str) -> str:
    rows = "\n".join(f"{label}: {value}" for label, value in facts)
    parts = [words.body, f"Reason: {reason}" if reason else "", rows, link]
    return "\n\n".join(part for part in parts if part) + "\n"


def _html(words: Wording, reason: str, facts: Sequence[Fact], link: str) -> str:
    rows = "".join(
        f'<tr><th align="left">{_escaped(label)}</th><td>{_escaped(value)}</td></tr>' for label, value in facts
    )
    said = f"<blockquote>{_escaped(reason)}</blockquote>" if reason else ""
    return _page(f"<p>{_escaped(words.body)}</p>{said}<table>{rows}</table><p>{_anchor(link)}</p>")


def _plain_items(shown: Sequence[tuple[Wording, str]]) -> list[str]:
    return [f"{number}. {words.subject}\n{words.body}\n{link}" for number, (words, link) in enumerate(shown, 1)]


def _html_items(shown: Sequence[tuple[Wording, str]]) -> str:
    return "".join(
        f"<li><p><strong>{_escaped(words.subject)}</strong><br>{_escaped(words.body)}<br>{_anchor(link)}</p></li>"
        for words, link in shown
    )


def _page(content: str) -> str:
    return f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"></head><body>{content}</body></html>\n'


def _anchor(link: str) -> str:
    return f'<a href="{html.escape(link)}">Open in Quorate</a>'


def _escaped(text: str) -> str:
    return html.escape(text).replace("\n", "<br>\n")


def _header_text(text: str) -> str:
    """Return a text for a header: one line in which nothing is taken for an encoded word."""
    return one_line(text).replace("=?", "= ?")
