"""`Endpoint`: where changes are posted to, which of them, and with which secrets they are signed.

`Endpoints` keeps them: it is the only place that reads or writes what the engine keeps.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from quorate_server.hooks import Change, Conflict, Server, Work

T = TypeVar("T")

SECRET_BYTES = 24
"""Standard Webhooks: between 24 and 64 bytes."""
MAX_ENDPOINTS = 100
KEY_PREFIX = "endpoint/"
TYPE_PREFIX = "quorate."
"""What a CloudEvent's type has before the type of the change; a filter may have it too."""

TypeFilter = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._-]+\*?$|^\*$")]
Types = Annotated[
    tuple[TypeFilter, ...],
    Field(max_length=50, description="Types of changes, such as `content.changed`, or `access.*`; none: all"),
]


class Endpoint(BaseModel):
    """One receiver. `secrets` sign each delivery, the newest first; all but the newest end at `old_secrets_until`.

    `failing_since` is when the deliveries began to fail that have failed ever since; 0 while they succeed.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    url: str
    types: tuple[str, ...] = ()
    prefix: str = ""
    secrets: tuple[str, ...]
    old_secrets_until: float = 0.0
    is_disabled: bool = False
    why_disabled: str = ""
    failing_since: float = 0.0
    created_by: str
    created_at: float
    after: int = 0
    """The newest position of the feed when it was added: it is told of what changes from then on."""

    @property
    def host(self) -> str:
        """The host of its URL: the rest of a URL may be as good as a password."""
        return urlsplit(self.url).hostname or ""

    def wants(self, change: Change) -> bool:
        """Whether a change is to be posted here."""
        if self.is_disabled or not change.document.startswith(self.prefix):
            return False
        return not self.types or any(_matches(wanted, change.type) for wanted in self.types)

    def secrets_at(self, now: float) -> tuple[str, ...]:
        """Return the secrets that sign now."""
        return self.secrets if now < self.old_secrets_until else self.secrets[:1]

    def with_new_secret(self, *, old_until: float) -> Self:
        """Return the endpoint with a new secret; the one before signs too, until a time."""
        return self.model_copy(update={"secrets": (new_secret(), self.secrets[0]), "old_secrets_until": old_until})

    def to_bytes(self) -> bytes:
        """Return the form in which it is kept."""
        return self.model_dump_json().encode()


class Endpoints:
    """The endpoints there are. What changes one reads it anew and lets nobody else in between."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._changing = asyncio.Lock()

    async def list_all(self) -> list[Endpoint]:
        """Return all endpoints, in the order of their ids."""
        kept = await self._server.read_values(KEY_PREFIX)
        return [Endpoint.model_validate_json(value) for _, value in sorted(kept.items())]

    async def find(self, key: str) -> Endpoint | None:
        """Return an endpoint by its id."""
        value = (await self._server.read_values(KEY_PREFIX + key)).get(KEY_PREFIX + key)
        return None if value is None else Endpoint.model_validate_json(value)

    async def demand(self, key: str) -> Endpoint:
        """Return an endpoint by its id.

        Raises:
            Conflict: there is none.
        """
        found = await self.find(key)
        if found is None:
            raise Conflict(f"there is no endpoint {key!r}")
        return found

    async def add(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work`, which adds an endpoint, if there is room for one more.

        Raises:
            Conflict: there is none.
        """
        async with self._changing:
            if len(await self._server.read_values(KEY_PREFIX)) >= MAX_ENDPOINTS:
                raise Conflict(f"there are {MAX_ENDPOINTS} endpoints already")
            return await work()

    async def change(self, key: str, work: Callable[[Endpoint], Awaitable[T]]) -> T:
        """Do `work`, which changes or removes an endpoint, with the endpoint as it is now.

        Raises:
            Conflict: there is none.
        """
        async with self._changing:
            return await work(await self.demand(key))


def keep(work: Work, endpoint: Endpoint, event: str = "") -> None:
    """Keep an endpoint as it is from now on; with an event, account for that."""
    work.put(KEY_PREFIX + endpoint.id, endpoint.to_bytes())
    if event:
        work.audit(event, facts={"endpoint": endpoint.id, "host": endpoint.host})


def remove(work: Work, endpoint: Endpoint) -> None:
    """Keep an endpoint no more."""
    work.put(KEY_PREFIX + endpoint.id, None)
    work.audit("webhook.deleted", facts={"endpoint": endpoint.id, "host": endpoint.host})


def new_secret() -> str:
    """Return a fresh secret in the form of Standard Webhooks."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _matches(wanted: str, type_: str) -> bool:
    wanted = wanted.removeprefix(TYPE_PREFIX)
    return type_.startswith(wanted[:-1]) if wanted.endswith("*") else type_ == wanted
