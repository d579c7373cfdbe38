"""Which web pages may open a socket.

A browser lets any page open a WebSocket to any server, and says from where in the `Origin` header. Tokens are not
sent by themselves, as cookies are, so any page may try by default. With `--open` there are no tokens: then only
pages of this machine may, or every site that somebody visits could edit their documents.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.types import Scope

from quorate_server.settings import LOOPBACK_HOSTS, Settings


def is_origin_allowed(scope: Scope, settings: Settings) -> bool:
    """Whether the page that opens this socket may. A program that is no browser sends no origin, and may."""
    origin = next((value.decode("latin-1") for key, value in scope["headers"] if key == b"origin"), None)
    if origin is None:
        return True
    allowed = {entry.strip().rstrip("/") for entry in settings.allowed_origins.split(",") if entry.strip()}
    if allowed:
        return origin in allowed
    return not settings.open or _host_of(origin) in LOOPBACK_HOSTS


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).hostname
    except ValueError:
        return None
