"""What a WebSocket request says of its sender, before it is accepted."""

from __future__ import annotations

from urllib.parse import parse_qs

from starlette.types import Scope

TOKEN_SUBPROTOCOL = "quorate.token."  # noqa: S105 - the name of a way, not a secret
"""A browser cannot set headers on a WebSocket: it may offer `quorate.token.<token>` as a subprotocol."""

_BEARER = "bearer "


def find_token(scope: Scope) -> tuple[str, str | None]:
    """Return the token and the subprotocol to answer, from the query, a header or an offered subprotocol."""
    for subprotocol in scope.get("subprotocols", ()):
        if subprotocol.startswith(TOKEN_SUBPROTOCOL):
            return subprotocol.removeprefix(TOKEN_SUBPROTOCOL), subprotocol
    for header, value in scope["headers"]:
        if header == b"authorization":
            text = value.decode("latin-1")
            if text.lower().startswith(_BEARER):
                return text[len(_BEARER) :].strip(), None
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    return query.get("token", [""])[0], None
