"""The commands about endpoints, and what they answer."""

from __future__ import annotations

from typing import Annotated, cast

from pydantic import Field

from quorate_plugins.webhooks.endpoints import Endpoint, Types
from quorate_server.hooks import Answer, Command, Effect

Url = Annotated[str, Field(max_length=2000, description="Where to post, as an `https://` URL")]
Prefix = Annotated[str, Field(max_length=256, description="With what the names of the documents begin; empty: any")]
EndpointId = Annotated[str, Field(min_length=1, max_length=64, description="The endpoint's id")]


class Create(Command):
    """Add an endpoint: changes of some types, in documents whose names begin with a prefix, are posted to a URL."""

    url: Url
    types: Types = ()
    prefix: Prefix = ""


class Update(Command):
    """Change an endpoint: what is given replaces what was, the rest and the secret stay."""

    id: EndpointId
    url: Url | None = None
    types: Types | None = None
    prefix: Prefix | None = None


class Name(Command):
    """Name an endpoint."""

    id: EndpointId


class Replay(Command):
    """Post again: the dead letters of an endpoint, or the changes among the thousand beyond a position of the feed."""

    id: EndpointId
    after: Annotated[int | None, Field(ge=0, le=2**53 - 1)] = None


class AskDeliveries(Command):
    """Ask for an endpoint's deliveries, the newest first, in a state or in any."""

    id: EndpointId
    state: Annotated[str, Field(pattern="^(pending|done|dead|cancelled)?$")] = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class Listing(Command):
    """Ask for all endpoints."""


class EndpointInfo(Answer):
    """An endpoint, without its secret."""

    id: str
    url: str
    types: tuple[str, ...]
    prefix: str
    is_disabled: bool
    why_disabled: str
    failing_since: float
    created_by: str
    created_at: float


class EndpointList(Answer):
    """All endpoints."""

    endpoints: tuple[EndpointInfo, ...]


class Secret(Answer):
    """An endpoint's id and the secret that signs its deliveries: it is shown this once."""

    id: str
    secret: str


class Replayed(Answer):
    """How many deliveries are due again; for changes of the feed, the position to go on from."""

    deliveries: int
    next: int | None = None


class Sent(Answer):
    """The `webhook-id` of a delivery that is on its way."""

    message: str


class DeliveryInfo(Answer):
    """One delivery: of which message, how far it is, and why the last attempt failed."""

    message: str
    type: str
    subject: str
    state: str
    attempts: int
    due_at: float
    error: str


class DeliveryList(Answer):
    """Deliveries of an endpoint, the newest first."""

    deliveries: tuple[DeliveryInfo, ...]


def endpoint_info(endpoint: Endpoint) -> EndpointInfo:
    """Return what may be shown of an endpoint."""
    return EndpointInfo(**endpoint.model_dump(exclude={"secrets", "old_secrets_until", "after"}))


def delivery_info(effect: Effect) -> DeliveryInfo:
    """Return a delivery as it is shown."""
    told = cast("dict[str, object]", effect.payload["event"])
    return DeliveryInfo(
        message=str(effect.payload["message"]),
        type=str(told.get("type", "")),
        subject=str(told.get("subject", "")),
        state=effect.state,
        attempts=effect.attempts,
        due_at=effect.due_at,
        error=effect.error,
    )
