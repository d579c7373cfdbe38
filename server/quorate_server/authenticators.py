"""How a server learns who somebody is: an `Authenticator`, chosen by the settings. Those of tokens are in `tokens`."""

from __future__ import annotations

import itertools
from typing import Protocol

from quorate_protocol.ids import UserId
from quorate_server.settings import Settings
from quorate_server.users import User

ROLES = ("owner", "editor", "reviewer", "commenter", "viewer", "guest")
"""What a token may say that somebody is everywhere."""


class Authenticator(Protocol):
    """Turns a token into a `User`."""

    async def authenticate(self, token: str) -> User:
        """Return who the token proves.

        Raises:
            NotAuthenticated: it proves nothing; the reason names what was expected.
            Unavailable: the issuer's keys cannot be had now.
        """
        ...


class OpenAuthenticator:
    """Development: everybody is an editor. The token, if any, is taken as the person's name."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    async def authenticate(self, token: str) -> User:
        """Return a new guest; nothing is proved."""
        name = token[:64] if token.isprintable() else ""
        return User(id=UserId(f"guest-{next(self._numbers)}"), name=name, is_proven=False)


def make_authenticator(settings: Settings) -> Authenticator:
    """Return the authenticator that the settings ask for."""
    if settings.open:
        return OpenAuthenticator()
    # Only here: what reads tokens takes 3 MiB.
    from quorate_server.tokens import ClaimChecks, JwksAuthenticator, SecretAuthenticator  # noqa: PLC0415

    checks = ClaimChecks(settings)
    if settings.secret:
        return SecretAuthenticator(settings.secret, checks)
    return JwksAuthenticator(settings.jwks, checks)
