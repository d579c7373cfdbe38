"""Tokens: how the server knows who is on the other side.

A token is a JWT (RFC 7519), signed with our HMAC secret or by an OpenID Connect issuer whose public keys
come from a JSON Web Key Set. The list of algorithms is fixed by the way that was configured, never taken
from the token; `exp` is required, `iss` and `aud` are required where they are configured.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OctKey

from quorate_protocol.ids import UserId
from quorate_server.authenticators import ROLES
from quorate_server.errors import NotAuthenticated, Unavailable
from quorate_server.settings import Settings
from quorate_server.users import User

log = logging.getLogger("quorate.server")

HMAC_ALGORITHMS = ("HS256", "HS384", "HS512")
PUBLIC_KEY_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
MAX_TOKEN_BYTES = 16 * 1024
"""Larger than any real token; refused before any parsing."""


class SecretAuthenticator:
    """Tokens that were signed with a shared secret, such as by `quorate token`."""

    def __init__(self, secret: str, checks: ClaimChecks) -> None:
        self._key = OctKey.import_key(secret)
        self._checks = checks

    async def authenticate(self, token: str) -> User:
        """Return who the token proves."""
        return self._checks.user(_verified(token, self._key, HMAC_ALGORITHMS))


class JwksAuthenticator:
    """Tokens of an OpenID Connect issuer, verified with its published keys.

    Keys are kept for `lifetime_seconds`. A token with an unknown key has them fetched again, at most once in
    `refetch_seconds`, so that a flood of made-up key ids is no flood on the issuer.
    """

    def __init__(
        self,
        source: str,
        checks: ClaimChecks,
        *,
        lifetime_seconds: float = 3600.0,
        refetch_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._checks = checks
        self._lifetime = lifetime_seconds
        self._refetch = refetch_seconds
        self._clock = clock
        self._keys: KeySet | None = None
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def authenticate(self, token: str) -> User:
        """Return who the token proves."""
        keys = await self._current_keys(max_age=self._lifetime)
        try:
            return self._checks.user(_verified(token, keys, PUBLIC_KEY_ALGORITHMS))
        except UnknownKey:
            keys = await self._current_keys(max_age=self._refetch)
            return self._checks.user(_verified(token, keys, PUBLIC_KEY_ALGORITHMS))

    async def _current_keys(self, *, max_age: float) -> KeySet:
        """Return keys no older than `max_age`, or the newest there are when none were to be had lately."""
        if self._keys is not None and self._is_settled(max_age):
            return self._keys
        async with self._fetching:
            if self._keys is None or not self._is_settled(max_age):
                self._tried_at = self._clock()
                try:
                    self._keys = KeySet.import_key_set(await self._fetch())
                    self._fetched_at = self._clock()
                except (OSError, ValueError, JoseError) as error:
                    log.warning("jwks.unavailable", extra={"error": str(error)})
            if self._keys is None:
                raise Unavailable("the token issuer's keys cannot be had")
            return self._keys

    def _is_settled(self, max_age: float) -> bool:
        """Whether the keys are young enough, or were asked for in vain a moment ago."""
        now = self._clock()
        return now - self._fetched_at <= max_age or now - self._tried_at <= self._refetch

    async def _fetch(self) -> Any:
        if "://" not in self._source:
            return json.loads(await asyncio.to_thread(Path(self._source).read_text, "utf-8"))
        import httpx  # noqa: PLC0415 - only a server with an issuer pays the memory that it takes

        try:
            async with httpx.AsyncClient(timeout=5.0) as client:
                answer = await client.get(self._source)
                answer.raise_for_status()
                return answer.json()
        except httpx.HTTPError as error:
            raise OSError(str(error)) from error


class UnknownKey(NotAuthenticated):
    """The token names a key that the issuer has not published, as far as we know."""


class ClaimChecks:
    """What a token must claim, and how its claims become a `User`."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        required: dict[str, Any] = {"sub": {"essential": True}, "exp": {"essential": True}}
        if settings.issuer:
            required["iss"] = {"essential": True, "value": settings.issuer}
        if settings.audience:
            required["aud"] = {"essential": True, "value": settings.audience}
        self._registry = jwt.JWTClaimsRegistry(
            now=lambda: int(clock()), leeway=int(settings.clock_leeway_seconds), **required
        )

    def user(self, claims: Mapping[str, Any]) -> User:
        """Return the user that verified claims speak of.

        Raises:
            NotAuthenticated: a claim is missing, expired, foreign, or of the wrong type.
        """
        try:
            self._registry.validate(dict(claims))
        except JoseError as error:
            raise NotAuthenticated(f"the token is not for us or not valid now: {error}") from error
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject.encode()) <= MAX_SUBJECT_BYTES:
            raise NotAuthenticated(f"`sub` must be a text of 1 to {MAX_SUBJECT_BYTES} bytes")
        role = claims.get("role", "editor")
        if not isinstance(role, str) or role not in ROLES:
            raise NotAuthenticated(f"`role` must be one of {', '.join(ROLES)}, not {role!r}")
        issued_at = claims.get("iat")
        return User(
            id=UserId(subject),
            name=str(claims.get("name") or "")[:128],
            groups=_groups(claims.get("groups")),
            role=role,
            token_id=str(claims["jti"]) if "jti" in claims else None,
            issued_at=float(issued_at) if isinstance(issued_at, (int, float)) else None,
            expires_at=float(claims["exp"]),
            claims=claims,
        )


MAX_SUBJECT_BYTES = 256


def sign_token(
    secret: str,
    *,
    subject: str,
    name: str = "",
    groups: Sequence[str] = (),
    role: str = "",
    expires_seconds: float,
    issuer: str = "",
    audience: str = "",
    signed_in_at: float | None = None,
    now: float,
) -> str:
    """Return a token signed with the HMAC secret, valid from `now` for `expires_seconds`.

    `signed_in_at` says when its subject proved who they are (`auth_time`), which signatures and overrides ask for.
    """
    claims: dict[str, object] = {"sub": subject, "iat": int(now), "exp": int(now + expires_seconds)}
    optional = {"name": name, "groups": list(groups), "role": role, "iss": issuer, "aud": audience}
    claims |= {claim: value for claim, value in optional.items() if value}
    if signed_in_at is not None:
        claims["auth_time"] = int(signed_in_at)
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(secret))


def _verified(token: str, key: OctKey | KeySet, algorithms: Sequence[str]) -> Mapping[str, object]:
    if not token:
        raise NotAuthenticated("a token is needed")
    if len(token) > MAX_TOKEN_BYTES:
        raise NotAuthenticated(f"a token has at most {MAX_TOKEN_BYTES} bytes, this one {len(token)}")
    try:
        return jwt.decode(token, key, algorithms=list(algorithms)).claims
    except JoseError as error:
        if isinstance(key, KeySet) and "key" in str(error).lower():
            raise UnknownKey("the token's key is not one of the issuer's") from error
        raise NotAuthenticated(f"the token cannot be verified: {error}") from error
    except (ValueError, TypeError) as error:
        raise NotAuthenticated("the token cannot be read") from error


def _groups(claim: Any) -> frozenset[str]:
    names = [claim] if isinstance(claim, str) else claim or []
    if isinstance(names, list) and all(isinstance(name, str) for name in cast("list[object]", names)):
        return frozenset(cast("list[str]", names))
    raise NotAuthenticated(f"`groups` must be a text or a list of texts, not {claim!r}")
