"""Servers of this machine that channels talk to: one for HTTP, and some for e-mail. They keep what came."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Fault = Literal["stall", "close"]


@dataclass(frozen=True)
class Got:
    """One request over HTTP."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.body)
        return value

    @property
    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.body.decode())


@dataclass(frozen=True)
class Reply:
    """What is answered. `length` may claim more content than there is."""

    status: int = 200
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None


def reply(fields: object, status: int = 200, **headers: str) -> Reply:
    """An answer of JSON; an underscore in the name of a header is a hyphen."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(fields).encode(), named)


@dataclass
class Connections:
    """What a server is busy with. `released` lets those go that stall."""

    released: asyncio.Event = field(default_factory=asyncio.Event)
    open: dict[asyncio.Task[Any], asyncio.StreamWriter] = field(default_factory=dict)

    @contextmanager
    def known(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self.open[task] = writer
        try:
            yield
        finally:
            writer.close()

    async def end(self) -> None:
        """Close all, and wait for it: what is still open when the loop ends is a warning."""
        self.released.set()
        for writer in self.open.values():
            writer.close()
        await asyncio.gather(*self.open, return_exceptions=True)
        await asyncio.gather(*(each.wait_closed() for each in self.open.values()), return_exceptions=True)


@dataclass
class HttpServer:
    """Answers each request as `plan` says; what stalls does so until the server goes."""

    plan: Callable[[Got], Reply | Fault]
    got: list[Got] = field(default_factory=list)
    port: int = 0
    connections: Connections = field(default_factory=Connections)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        return [each.path for each in self.got]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self.connections.known(writer), suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._exchange(reader, writer):
                pass

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.rstrip().split("\r\n")
        pairs = [line.partition(":") for line in lines]
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.got.append(Got(first.split(" ")[1], headers, body))
        planned = self.plan(self.got[-1])
        if planned == "stall":
            await self.connections.released.wait()
        if not isinstance(planned, Reply):
            return False
        length = len(planned.content) if planned.length is None else planned.length
        shown = [f"{name}: {value}" for name, value in planned.headers.items()]
        writer.write(
            "\r\n".join([f"HTTP/1.1 {planned.status} X", f"Content-Length: {length}", *shown, "", ""]).encode()
        )
        writer.write(planned.content)
        await writer.drain()
        return True


@asynccontextmanager
async def http_server(plan: Callable[[Got], Reply | Fault] = lambda _: Reply()) -> AsyncIterator[HttpServer]:
    """An HTTP server on a free port of this machine."""
    serving = HttpServer(plan)
    server = await asyncio.start_server(serving.serve, "127.0.0.1", 0)
    serving.port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            yield serving
        finally:
            server.close()
            await serving.connections.end()


@dataclass
class MailServer:
    """Takes e-mails, or answers the recipient or the message as it is told."""

    to_recipient: str = "250 OK"
    to_message: str = "250 OK"
    password: str = ""
    port: int = 0
    envelopes: list[Envelope] = field(default_factory=list)
    was_encrypted: list[bool] = field(default_factory=list)

    @property
    def messages(self) -> list[EmailMessage]:
        return [parsed(each.content or b"") for each in self.envelopes]

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.to_recipient.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.to_recipient

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.to_message.startswith("250"):
            self.envelopes.append(envelope)
            self.was_encrypted.append(session.ssl is not None)
        return self.to_message

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any
    ) -> AuthResult:
        return AuthResult(success=given.password == self.password.encode(), handled=False)


def parsed(content: bytes | str) -> EmailMessage:
    """An e-mail as a mail program reads it."""
    raw = content if isinstance(content, bytes) else content.encode()
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


@asynccontextmanager
async def mail_server(
    mail: MailServer | None = None, *, tls_context: ssl.SSLContext | None = None, is_tls: bool = False
) -> AsyncIterator[MailServer]:
    """A mail server on a free port; with a TLS context it wants STARTTLS, or speaks TLS from the first byte."""
    mail = mail or MailServer()
    build = partial(
        SMTP,
        mail,
        hostname="mail.test",
        tls_context=None if is_tls else tls_context,
        require_starttls=tls_context is not None and not is_tls,
        authenticator=mail.authenticate if mail.password else None,
        auth_required=bool(mail.password),
    )
    protocols: list[SMTP] = []

    def connected() -> SMTP:
        protocols.append(build(loop=loop))
        return protocols[-1]

    loop = asyncio.get_running_loop()
    server = await loop.create_server(connected, "127.0.0.1", 0, ssl=tls_context if is_tls else None)
    mail.port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            yield mail
        finally:
            server.close()
            await _end(protocols)


async def _end(protocols: list[SMTP]) -> None:
    """Close all connections of a mail server, and wait for what still handles them."""
    for each in protocols:
        if each.transport is not None:
            each.transport.close()
    handlers = [each._handler_coroutine for each in protocols if each._handler_coroutine is not None]
    for handler in handlers:
        handler.cancel()
    await asyncio.gather(*handlers, return_exceptions=True)


@asynccontextmanager
async def scripted_mail_server(script: Callable[[bytes], str | Fault]) -> AsyncIterator[int]:
    """The port of a mail server that answers each line (the greeting: an empty one) as a script says."""
    connections = Connections()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = b""
        with connections.known(writer), suppress(ConnectionError):
            while (said := script(line)) not in {"stall", "close"}:
                writer.write(f"{said}\r\n".encode() if said else b"")
                line = await reader.readline()
                if not line:
                    return
                line = line.strip() or b" "
            if said == "stall":
                await connections.released.wait()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            await connections.end()


def tls_contexts(directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for 127.0.0.1, and that of a client who trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = directory / "mail.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=str(file))
