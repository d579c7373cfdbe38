"""What most channels have in common: posting over HTTP and reading the answer."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import cast
from urllib.parse import urlsplit

import httpx

from quorate_server.hooks import GiveUp, TryAgain

TIMEOUT_SECONDS = 15.0
"""How long one exchange takes at most, from the connection to the end of the answer."""
MAX_ANSWER_BYTES = 64 * 1024
"""How much of an answer is read."""
RETRY_SECONDS = 60.0
"""When to try again if nobody says."""
LEAST_RETRY_SECONDS, MOST_RETRY_SECONDS = 1.0, 3600.0
"""The bounds of what a `Retry-After` may ask for."""
JSON_TYPE = "application/json"
PROVIDER_ID = re.compile(r"[!-~]{1,200}")
"""An id that a provider gives."""

_OK, _GONE, _TOO_MANY = 200, 410, 429
_REDIRECT, _SERVER_ERROR = 300, 500
_TEMPORARY_STATUSES = frozenset({408, 425, _TOO_MANY})

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: its status, its headers by name in lower case, and the start of its content."""

    status: int
    headers: dict[str, str]
    content: bytes

    def fields(self) -> dict[str, object]:
        """Return the JSON object of the content; an empty one if it is none."""
        try:
            # Numbers of thousands of digits are refused as wrong values are.
            value: object = json.loads(self.content)
        except (ValueError, RecursionError):
            return {}
        return cast("dict[str, object]", value) if isinstance(value, dict) else {}

    def text(self, name: str) -> str:
        """Return a text of the JSON object, or a number as text; empty if there is none."""
        value = self.fields().get(name)
        return str(value) if isinstance(value, str | int) else ""


_is_posting: ContextVar[bool] = ContextVar("_is_posting", default=False)


class _Discretion(logging.Filter):
    """Drops what the HTTP library logs of our requests: it would log whole addresses, and some are secrets."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - what it says does not matter
        return not _is_posting.get()


_DISCRETION = _Discretion()


class Poster:
    """Posts over a shared HTTP client, with a limit on time and size, and without following redirects.

    The client stays its owner's, who closes it. Which addresses it may reach is the client's matter too.
    """

    def __init__(
        self, client: httpx.AsyncClient, *, timeout_seconds: float = TIMEOUT_SECONDS, clock: Clock = time.time
    ) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self.now = clock
        logging.getLogger("httpx").addFilter(_DISCRETION)

    async def post(self, channel: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post a body and return the answer, whatever its status.

        Raises:
            TryAgain: there was none in time.
        """
        before = _is_posting.set(True)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._exchange(url, body, headers)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, TimeoutError) as error:
            reason = f"{channel}: no answer ({type(error).__name__})"
        finally:
            _is_posting.reset(before)
        # Outside of the handler, so that it does not carry along an error that names the address.
        raise TryAgain(RETRY_SECONDS, reason)

    async def _exchange(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        # Raw and not compressed: a small answer must not unfold into a large one.
        sent = {"user-agent": "Quorate-Notifications/1", "accept-encoding": "identity", **headers}
        request = self._client.stream(
            "POST", url, content=body, headers=sent, follow_redirects=False, timeout=self._timeout_seconds
        )
        async with request as response:
            content = bytearray()
            async for chunk in response.aiter_raw():
                content += chunk[: MAX_ANSWER_BYTES - len(content)]
                if len(content) >= MAX_ANSWER_BYTES:
                    break
            return Answer(response.status_code, dict(response.headers), bytes(content))


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds of a `Retry-After`, which may be a date, from 1 to 3600; `None` if it cannot be read.

    Args:
        headers: the headers of an answer, by name in lower case.
        now: seconds since the epoch.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        seconds = float(text[:9])
    else:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        # A date without a zone is one of UTC.
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now
    return min(max(seconds, LEAST_RETRY_SECONDS), MOST_RETRY_SECONDS)


def check_answer(channel: str, answer: Answer, now: float, *, gives_up_at: Callable[[int], bool]) -> None:
    """Check that an answer says that a message was taken.

    Raises:
        TryAgain: it says that it may be later; being asked to wait is no attempt.
        GiveUp: it says that it never will.
    """
    status = answer.status
    if _OK <= status < _REDIRECT:
        return
    reason = f"{channel}: answered {status}"
    asked = retry_after(answer.headers, now)
    if status == _TOO_MANY:
        raise TryAgain(asked or RETRY_SECONDS, reason, is_attempt=False)
    if gives_up_at(status):
        raise GiveUp(reason)
    raise TryAgain(asked or RETRY_SECONDS, reason)


def is_refusal(status: int) -> bool:
    """Whether a status means that the same message will not be taken later either; a redirect is one."""
    return status < _SERVER_ERROR and status not in _TEMPORARY_STATUSES


def is_gone(status: int) -> bool:
    """Whether a status means that there is no receiver any more."""
    return status == _GONE


def checked_secret(what: str, secret: str) -> str:
    """Return a token that a header can hold. What is wrong with it is not told: it is a secret."""
    if not PROVIDER_ID.fullmatch(secret[:1]) or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ValueError(f"{what} is of visible ASCII characters")
    return secret


def checked_url(url: str) -> str:
    """Return a URL to post to. What is wrong with it is not told: it may be a secret."""
    if not _names_host_only(url) or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("an address to post to is an http(s) URL of ASCII characters, and names no user")
    return url


def _names_host_only(url: str) -> bool:
    """Whether a URL of HTTP names a host, and no user."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return False
