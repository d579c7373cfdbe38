"""Errors over HTTP: one shape, RFC 9457 problem details, and one place where errors become them."""

from __future__ import annotations

import logging

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from quorate_protocol.errors import LimitExceeded, NameRefused
from quorate_server.errors import MalformedUpdate, NotAuthenticated, Refused, Unavailable

log = logging.getLogger("quorate.server")

PROBLEM_PREFIX = "urn:quorate:problem:"


def _members(status: int, code: str, title: str, detail: str) -> dict[str, object]:
    return {"type": PROBLEM_PREFIX + code, "title": title, "status": status, "detail": detail}


async def on_error(_: Request, error: Exception) -> Response:
    """Turn an error into its problem; what is not ours is hidden behind a plain 500 and logged."""
    body, headers = problem_of(error)
    status = body["status"]
    assert isinstance(status, int), "a problem has a status"
    return JSONResponse(body, status_code=status, headers=headers, media_type="application/problem+json")


def problem_of(error: Exception) -> tuple[dict[str, object], dict[str, str]]:
    """Return the members of an error's problem, and the headers that go with it; what is not ours is logged."""
    known = _known_problem(error)
    if known is not None:
        return known
    log.error("request.failed", exc_info=error)
    return _members(500, "internal", "Internal error", "the fault is ours; it was logged"), {}


HANDLED: tuple[type[Exception], ...] = (
    Refused,
    Unavailable,
    MalformedUpdate,
    NameRefused,
    LimitExceeded,
    ValidationError,
    HTTPException,
    Exception,
)
"""The error classes that `on_error` is registered for."""


def _known_problem(error: Exception) -> tuple[dict[str, object], dict[str, str]] | None:
    """Return the problem of an error that is somebody's mistake or passes by itself."""
    headers: dict[str, str] = {}
    match error:
        case Refused():
            if isinstance(error, NotAuthenticated):
                headers["WWW-Authenticate"] = "Bearer"
            return _members(error.status, error.code, "Refused", error.reason) | error.details, headers
        case Unavailable():
            headers["Retry-After"] = "2"
            found = (503, error.code, "Try again later", str(error))
        case MalformedUpdate() | NameRefused():
            found = (400, "malformed", "Malformed", str(error))
        case LimitExceeded():
            found = (413, "too-large", "Too large", str(error))
        case ValidationError():
            errors = error.errors(include_url=False, include_input=False, include_context=False)
            detail = "the request does not fit its schema"
            return _members(422, "invalid", "Invalid", detail) | {"errors": errors}, headers
        case HTTPException():
            found = (error.status_code, "http", str(error.detail), str(error.detail))
        case _:
            return None
    return _members(*found), headers
