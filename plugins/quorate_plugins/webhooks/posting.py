"""Posting to a receiver that somebody named, without letting them reach what is inside.

Whoever may add an endpoint chooses where the server connects to. So the name is resolved here, each address is
checked, and the connection goes to an address that was checked: a name that resolves otherwise a moment later gains
nothing. Redirects are not followed, and no proxy of the environment is used.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import SplitResult, urlsplit

import httpcore

TIMEOUT_SECONDS = 15.0
"""Standard Webhooks asks for 15 to 30 seconds."""
PORTS = {"http": 80, "https": 443}
MAX_ANSWER_BYTES = 64 * 1024
ANSWER_SECONDS = 1.0
"""What an answer says beyond its head is read, and dropped, up to here: so that the connection can be used again."""


class AddressRefused(Exception):
    """The receiver's name leads to an address that is not on the public internet."""


class NoAnswer(Exception):
    """Nobody answered, for the reason given."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answered: its status, and its headers by name in lower case."""

    status: int
    headers: dict[str, str]


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to public addresses only, unless private ones are allowed."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._backend = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface of the library
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve, check, and connect to the first of what was checked that can be reached."""
        addresses = await self.checked_addresses(host, port)
        for address in addresses[:-1]:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._backend.connect_tcp(
                    address, port, timeout=timeout, local_address=local_address, socket_options=socket_options
                )
        return await self._backend.connect_tcp(
            addresses[-1], port, timeout=timeout, local_address=local_address, socket_options=socket_options
        )

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._backend.sleep(seconds)

    async def checked_addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host.

        Raises:
            AddressRefused: one of them is not on the public internet.
            OSError: it has none.
        """
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not self._allow_private:
            for address in addresses:
                if not is_public(address):
                    raise AddressRefused(f"{host} leads to {address}, which is not on the public internet")
        return addresses


class Poster:
    """Posts bodies to receivers. An async context manager: leaving closes its connections."""

    def __init__(self, *, allow_private: bool) -> None:
        self.allow_private = allow_private
        self._backend = CheckedBackend(allow_private=allow_private)
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=50,
            keepalive_expiry=30.0,
            network_backend=self._backend,
        )

    async def __aenter__(self) -> Self:
        """Do nothing yet: connections are made as they are needed."""
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all connections."""
        await self._pool.__aexit__(error_type, error, traceback)

    async def check(self, url: str) -> None:
        """Check where a receiver's URL leads to; a name that cannot be resolved now passes, and is checked later.

        Raises:
            ValueError: it is no URL to post to, or leads to an address that is not on the public internet.
        """
        host, port = check_url(url, allow_private=self.allow_private)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._backend.checked_addresses(host, port)
        except AddressRefused as refusal:
            raise ValueError(str(refusal)) from refusal
        except (OSError, TimeoutError):
            pass

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        """Post a body and return the answer.

        Raises:
            AddressRefused: the receiver is not on the public internet.
            NoAnswer: there was none in time.
        """
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_SECONDS)
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self._pool.stream(
                    "POST", url, headers=list(headers.items()), content=body, extensions={"timeout": timeouts}
                ) as response,
            ):
                answer = Answer(response.status, _by_name(response.headers))
                await _drop_content(response)
                return answer
        except (OSError, TimeoutError, UnicodeError, *_LIBRARY_ERRORS) as error:
            raise NoAnswer(type(error).__name__) from error


_LIBRARY_ERRORS = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
)


def check_url(url: str, *, allow_private: bool) -> tuple[str, int]:
    """Check a receiver's URL as far as that is possible without resolving it, and return its host and port.

    Raises:
        ValueError: it is no absolute http(s) URL, carries a password, or names an address that is not public.
    """
    if not _is_visible_ascii(url):
        raise ValueError("a receiver's address is a URL of ASCII characters")
    parts = urlsplit(url)
    if parts.scheme not in (PORTS if allow_private else {"https"}):
        raise ValueError("a receiver has an `https://` address")
    host = _checked_host(parts, allow_private=allow_private)
    return host, parts.port or PORTS[parts.scheme]


def _is_visible_ascii(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _checked_host(parts: SplitResult, *, allow_private: bool) -> str:
    host = parts.hostname
    if not host or "@" in parts.netloc:
        raise ValueError("a receiver's address names a host, and no user")
    if not allow_private and not _may_be_public(host):
        raise ValueError(f"{host} is not on the public internet")
    return host


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet, seen through IPv4 inside IPv6."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv4Address):
        return parsed.is_global and not parsed.is_multicast
    inside = _ipv4_inside(parsed)
    if inside is not None:
        return is_public(str(inside))
    return parsed in _UNICAST and parsed.is_global and parsed.teredo is None


def _ipv4_inside(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


_UNICAST = ipaddress.IPv6Network("2000::/3")
"""RFC 4291 section 2.4: all that is assigned as global unicast."""
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: IPv4 behind a translator."""


def _may_be_public(host: str) -> bool:
    try:
        return is_public(host)
    except ValueError:
        name = host.rstrip(".")
        return name != "localhost" and not name.endswith((".localhost", ".local", ".internal"))


def _by_name(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in headers}


async def _drop_content(response: httpcore.Response) -> None:
    """Read an answer's content, within bounds; whatever happens, the answer was given."""
    size = 0
    with suppress(TimeoutError, *_LIBRARY_ERRORS):
        async with asyncio.timeout(ANSWER_SECONDS):
            async for chunk in response.aiter_stream():
                size += len(chunk)
                if size > MAX_ANSWER_BYTES:
                    return
