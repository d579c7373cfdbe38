"""Getting a notice to somebody by e-mail."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import ClassVar, Literal

import aiosmtplib

from quorate_plugins.approval.directory import Person
from quorate_plugins.approval.notifications.mail import address_of, checked_email, email_digest, email_message
from quorate_plugins.approval.notifications.messages import Notice
from quorate_plugins.approval.notifications.posting import RETRY_SECONDS, TIMEOUT_SECONDS, Clock
from quorate_plugins.approval.notifications.sending import Sent, Unreachable
from quorate_plugins.approval.notifications.texts import Templates
from quorate_server.hooks import GiveUp, TryAgain

_SMTP_PERMANENT = 500

Tls = Literal["none", "starttls", "tls"]


class EmailChannel:
    """Sends e-mails through an SMTP server, each on its own connection.

    A refusal of the recipient or of the message is permanent. That the server does not take the password, or offers no
    TLS, is tried again: it is put right at the server, not by writing to somebody else.
    """

    name: ClassVar[str] = "email"

    def __init__(
        self,
        *,
        host: str,
        port: int,
        sender: str,
        username: str = "",
        password: str = "",
        tls: Tls = "starttls",
        tls_context: ssl.SSLContext | None = None,
        templates: Templates | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        clock: Clock = time.time,
    ) -> None:
        """Take the server's settings.

        Args:
            host: the name of the server.
            port: its port.
            sender: the address e-mails come from, with a name or without.
            username: who signs in; empty if nobody does.
            password: their password; it goes over TLS only.
            tls: `none`, `starttls` (and never without, once asked for) or `tls` from the first byte.
            tls_context: whom to trust, if not whom the machine does.
            templates: checked texts that go before the usual ones.
            timeout_seconds: how long sending takes at most.
            clock: the seconds since the epoch, for the date of e-mails.

        Raises:
            ValueError: the sender is no address, `tls` is none of these, or a password would go over without it.
        """
        if tls not in {"none", "starttls", "tls"}:
            raise ValueError("tls is one of none, starttls and tls")
        if username and tls == "none":
            raise ValueError("a password is sent over TLS only")
        self._envelope_sender = address_of(sender).addr_spec
        self._host, self._port, self._sender = host, port, sender
        self._username, self._password = username, password
        self._tls, self._tls_context = tls, tls_context
        self._templates, self._timeout_seconds, self._clock = templates, timeout_seconds, clock

    async def send(self, notice: Notice, recipient: Person, earlier: str | None) -> Sent:
        """Send an e-mail; one on the same request as an earlier one answers it. See `Channel.send`."""
        self._check_recipient(recipient)
        message = email_message(notice, recipient, self._sender, replaces=earlier, templates=self._templates)
        return await self._deliver(message, recipient)

    async def send_digest(self, notices: Sequence[Notice], recipient: Person) -> Sent:
        """Send several notices as one e-mail.

        Raises:
            Unreachable: the recipient has no address.
            TryAgain: it did not work, and may later.
            GiveUp: it will never work.
            ValueError: there is no notice.
        """
        self._check_recipient(recipient)
        return await self._deliver(email_digest(notices, recipient, self._sender, templates=self._templates), recipient)

    @staticmethod
    def _check_recipient(recipient: Person) -> None:
        try:
            checked_email(recipient.email)
        except ValueError:
            raise Unreachable("email: no address, or none that e-mail can be sent to") from None

    async def _deliver(self, message: EmailMessage, recipient: Person) -> Sent:
        message["Date"] = format_datetime(datetime.fromtimestamp(self._clock(), UTC))
        client = self._client()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await client.connect()
                await client.send_message(
                    message, sender=self._envelope_sender, recipients=[checked_email(recipient.email)]
                )
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            client.close()
            failure = _smtp_failure(error)
        else:
            await self._leave(client)
            return Sent(channel=self.name, message_id=str(message["Message-ID"]))
        # Outside of the handler: what the server said may repeat what it was sent.
        raise failure

    async def _leave(self, client: aiosmtplib.SMTP) -> None:
        """Say goodbye. The e-mail is taken by now, so that this fails must not have it sent again."""
        with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
            async with asyncio.timeout(self._timeout_seconds):
                await client.quit()
        client.close()

    def _client(self) -> aiosmtplib.SMTP:
        return aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            # The library would ask the name service, and wait for it.
            local_hostname=socket.gethostname() or "localhost",
            username=self._username or None,
            password=self._password if self._username else None,
            use_tls=self._tls == "tls",
            start_tls=self._tls == "starttls",
            tls_context=self._tls_context,
            timeout=self._timeout_seconds,
        )


def _smtp_failure(error: Exception) -> TryAgain | GiveUp:
    """Return what an error of sending an e-mail means; only its kind and its code are told."""
    what = type(error).__name__
    code = _smtp_code(error)
    reason = f"email: {what} {code}" if code else f"email: {what}"
    is_about_us = isinstance(
        error, aiosmtplib.SMTPAuthenticationError | aiosmtplib.SMTPHeloError | aiosmtplib.SMTPConnectError
    )
    if code >= _SMTP_PERMANENT and not is_about_us:
        return GiveUp(reason)
    return TryAgain(RETRY_SECONDS, reason)


def _smtp_code(error: Exception) -> int:
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return min((each.code for each in error.recipients), default=0)
    return error.code if isinstance(error, aiosmtplib.SMTPResponseException) else 0
