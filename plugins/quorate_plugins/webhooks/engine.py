"""`Webhooks`: posts changes of the feed to the endpoints that asked for them.

Each change becomes one effect for each endpoint that wants it. Told of the same change twice, after a crash, the
engine asks for the same effect, which is kept once. The `webhook-id` is the same at each repetition, so receivers can
tell. What fails is tried again for about a day, later and later; what then still failed is a dead letter, which stays
and can be sent again. An endpoint that took nothing for a day is disabled, and one that answers 410 is at once.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from quorate_plugins.webhooks.commands import (
    AskDeliveries,
    Create,
    DeliveryList,
    EndpointInfo,
    EndpointList,
    Listing,
    Name,
    Replay,
    Replayed,
    Secret,
    Sent,
    Update,
    delivery_info,
    endpoint_info,
)
from quorate_plugins.webhooks.endpoints import Endpoint, Endpoints, keep, new_secret, remove
from quorate_plugins.webhooks.lanes import Lane
from quorate_plugins.webhooks.messages import (
    encode,
    event_of,
    headers_of,
    message_id,
    requested_seconds,
    retry_after,
    test_event,
)
from quorate_plugins.webhooks.posting import AddressRefused, NoAnswer, Poster
from quorate_server.hooks import (
    Action,
    Answer,
    AnySpec,
    Call,
    Change,
    Command,
    CommandSpec,
    Conflict,
    DocumentName,
    Effect,
    Engine,
    GiveUp,
    Server,
    TryAgain,
    Work,
)

C = TypeVar("C", bound=Command)
A = TypeVar("A", bound=Answer)

OLD_SECRET_SECONDS = 86400.0
DISABLE_SECONDS = 86400.0
"""How long an endpoint may take nothing before it is disabled."""
MAX_REPLAYED = 1000
SUCCESS = range(200, 300)
GONE = 410


class Webhooks(Engine):
    """Posts changes to endpoints."""

    name = "webhooks"
    version = "1"

    clock: Callable[[], float] = staticmethod(time.time)

    _poster: Poster
    _endpoints: Endpoints
    _lanes: dict[str, Lane]

    @asynccontextmanager
    async def lifespan(self, server: Server) -> AsyncGenerator[None]:
        """Keep connections to receivers while the server runs."""
        self.server = server
        self._endpoints = Endpoints(server)
        self._lanes = {}
        allow_private = server.setting("allow_private").lower() in {"1", "true", "yes"}
        async with Poster(allow_private=allow_private) as self._poster:
            yield

    async def after_commit(self, changes: Sequence[Change]) -> None:
        """Make each change an effect for each endpoint that wants it."""
        endpoints = await self._endpoints.list_all()
        wanted = [
            (endpoint, change)
            for change in changes
            for endpoint in endpoints
            if change.position > endpoint.after and endpoint.wants(change)
        ]

        def decide(work: Work) -> None:
            for endpoint, change in wanted:
                _ask(work, endpoint, change)

        if wanted:
            await self.server.transact(decide)

    # Delivering

    async def deliver(self, effect: Effect) -> None:
        """Post one message to one endpoint."""
        endpoint = await self._endpoints.find(str(effect.payload["endpoint"]))
        if endpoint is None:
            raise GiveUp("the endpoint was removed")
        if endpoint.is_disabled:
            raise GiveUp(f"the endpoint is disabled: {endpoint.why_disabled}")
        lane = self._lanes.setdefault(endpoint.id, Lane())
        now = self.clock()
        wait = lane.wait_at(now)
        if wait > 0:
            raise TryAgain(wait, effect.error or "the receiver is slow or fails", is_attempt=False)
        with lane.taken(now):
            failure = await self._post(endpoint, effect, lane)
        if failure is None:
            await self._note_success(endpoint, lane)
        else:
            await self._endpoints.change(endpoint.id, self._set_failing)
            raise failure

    async def _post(self, endpoint: Endpoint, effect: Effect, lane: Lane) -> TryAgain | GiveUp | None:
        """Make one attempt; return why it failed."""
        now = self.clock()
        body = encode(effect.payload["event"])
        headers = headers_of(str(effect.payload["message"]), body, endpoint.secrets_at(now), now)
        requested = None
        try:
            answer = await self._poster.post(endpoint.url, body, headers)
        except AddressRefused as refusal:
            return GiveUp(str(refusal))
        except NoAnswer as error:
            reason = f"no answer: {error}"
        else:
            if answer.status in SUCCESS:
                return None
            reason = f"the receiver answered {answer.status}"
            if answer.status == GONE:
                gone = f"{reason} Gone"
                await self._endpoints.change(endpoint.id, lambda fresh: self._disable(fresh, gone))
                return GiveUp(gone)
            requested = requested_seconds(answer.headers, now)
        lane.fail(self.clock(), requested)
        after = retry_after(effect.attempts, requested)
        return GiveUp(reason) if after is None else TryAgain(after, reason)

    async def _note_success(self, endpoint: Endpoint, lane: Lane) -> None:
        lane.succeed()
        if endpoint.failing_since:
            await self._endpoints.change(endpoint.id, self._set_working)

    async def _set_working(self, endpoint: Endpoint) -> None:
        working = endpoint.model_copy(update={"failing_since": 0.0})
        await self.server.transact(lambda work: keep(work, working))

    async def _set_failing(self, endpoint: Endpoint) -> None:
        """Note since when it fails; disable it if that is too long ago."""
        now = self.clock()
        if not endpoint.failing_since:
            failing = endpoint.model_copy(update={"failing_since": now})
            await self.server.transact(lambda work: keep(work, failing))
        elif now - endpoint.failing_since >= DISABLE_SECONDS:
            await self._disable(endpoint, "it took nothing for a day")

    async def _disable(self, endpoint: Endpoint, why: str) -> None:
        if not endpoint.is_disabled:
            disabled = endpoint.model_copy(update={"is_disabled": True, "why_disabled": why})
            await self.server.transact(lambda work: keep(work, disabled, "webhook.disabled"))

    # Commands

    def commands(self) -> Sequence[AnySpec]:
        """Return the commands about endpoints; all are for administrators."""

        def spec(
            name: str, summary: str, command: type[C], answer: type[A], handler: Callable[[Call, C], Awaitable[A]]
        ) -> AnySpec:
            return CommandSpec(
                name=f"webhooks.{name}",
                summary=summary,
                command=command,
                answer=answer,
                handler=handler,
                permission=Action.ADMINISTER,
                engine=self.name,
            )

        return (
            spec("create", "Post changes to a URL", Create, Secret, self._create),
            spec("update", "Change where an endpoint is, or what is posted to it", Update, EndpointInfo, self._update),
            spec("delete", "Post no more to an endpoint", Name, EndpointInfo, self._delete),
            spec("list", "Show all endpoints", Listing, EndpointList, self._list),
            spec("rotate", "Sign with a new secret", Name, Secret, self._rotate),
            spec("enable", "Post again to an endpoint that was disabled", Name, EndpointInfo, self._enable),
            spec("test", "Post a message that tells of nothing", Name, Sent, self._test),
            spec("deliveries", "Show what became of deliveries", AskDeliveries, DeliveryList, self._deliveries),
            spec("replay", "Post dead letters or earlier changes again", Replay, Replayed, self._replay),
        )

    async def _create(self, call: Call, command: Create) -> Secret:
        await self._check(command.url)
        newest = await self.server.newest_position()

        def decide(work: Work) -> Secret:
            endpoint = Endpoint(
                id=f"wh_{secrets.token_hex(8)}",
                url=command.url,
                types=command.types,
                prefix=command.prefix,
                secrets=(new_secret(),),
                created_by=work.actor.id,
                created_at=work.now,
                after=newest,
            )
            keep(work, endpoint, "webhook.created")
            return Secret(id=endpoint.id, secret=endpoint.secrets[0])

        return await self._endpoints.add(lambda: call.transact(decide))

    async def _update(self, call: Call, command: Update) -> EndpointInfo:
        given = command.model_dump(exclude={"id"}, exclude_none=True)
        if command.url is not None:
            await self._check(command.url)
            given["failing_since"] = 0.0
        return await self._change(call, command.id, given, "webhook.updated")

    async def _enable(self, call: Call, command: Name) -> EndpointInfo:
        self._lanes.pop(command.id, None)
        given: dict[str, object] = {"is_disabled": False, "why_disabled": "", "failing_since": 0.0}
        return await self._change(call, command.id, given, "webhook.enabled")

    async def _change(self, call: Call, key: str, given: dict[str, object], event: str) -> EndpointInfo:
        async def change(endpoint: Endpoint) -> EndpointInfo:
            changed = endpoint.model_copy(update=given)

            def decide(work: Work) -> EndpointInfo:
                keep(work, changed, event)
                return endpoint_info(changed)

            return await call.transact(decide)

        return await self._endpoints.change(key, change)

    async def _delete(self, call: Call, command: Name) -> EndpointInfo:
        async def change(endpoint: Endpoint) -> EndpointInfo:
            def decide(work: Work) -> EndpointInfo:
                remove(work, endpoint)
                return endpoint_info(endpoint)

            return await call.transact(decide)

        self._lanes.pop(command.id, None)
        return await self._endpoints.change(command.id, change)

    async def _rotate(self, call: Call, command: Name) -> Secret:
        async def change(endpoint: Endpoint) -> Secret:
            def decide(work: Work) -> Secret:
                renewed = endpoint.with_new_secret(old_until=self.clock() + OLD_SECRET_SECONDS)
                keep(work, renewed, "webhook.rotated")
                return Secret(id=renewed.id, secret=renewed.secrets[0])

            return await call.transact(decide)

        return await self._endpoints.change(command.id, change)

    async def _list(self, _: Call, __: Listing) -> EndpointList:
        return EndpointList(endpoints=tuple(endpoint_info(one) for one in await self._endpoints.list_all()))

    async def _test(self, call: Call, command: Name) -> Sent:
        endpoint = await self._endpoints.demand(command.id)

        def decide(work: Work) -> Sent:
            message = f"msg_{endpoint.id}_test_{secrets.token_hex(4)}"
            payload = {"endpoint": endpoint.id, "message": message, "event": test_event(endpoint.id, work.now)}
            work.effect(message, payload)
            return Sent(message=message)

        return await call.transact(decide)

    async def _deliveries(self, _: Call, command: AskDeliveries) -> DeliveryList:
        endpoint = await self._endpoints.demand(command.id)
        ours = await self._effects(endpoint, command.state)
        return DeliveryList(deliveries=tuple(delivery_info(effect) for effect in ours[: command.limit]))

    async def _replay(self, call: Call, command: Replay) -> Replayed:
        endpoint = await self._endpoints.demand(command.id)
        if endpoint.is_disabled:
            raise Conflict(f"the endpoint is disabled ({endpoint.why_disabled}): enable it first")
        self._lanes.pop(endpoint.id, None)
        if command.after is not None:
            return await self._replay_feed(call, endpoint, command.after)
        dead = await self._effects(endpoint, "dead")
        await asyncio.gather(*(self.server.retry_effect(effect) for effect in dead))
        return await call.transact(lambda _: Replayed(deliveries=len(dead)))

    async def _replay_feed(self, call: Call, endpoint: Endpoint, after: int) -> Replayed:
        read = await self.server.read_changes(after=after, limit=MAX_REPLAYED)
        changes = [change for change in read if endpoint.wants(change)]
        mark = secrets.token_hex(4)

        def decide(work: Work) -> Replayed:
            for change in changes:
                _ask(work, endpoint, change, mark=mark)
            return Replayed(deliveries=len(changes), next=read[-1].position if read else after)

        return await call.transact(decide)

    async def _effects(self, endpoint: Endpoint, state: str) -> list[Effect]:
        found = await self.server.list_effects(state=state, limit=10 * MAX_REPLAYED)
        return [effect for effect in found if effect.payload.get("endpoint") == endpoint.id]

    async def _check(self, url: str) -> None:
        try:
            await self._poster.check(url)
        except ValueError as error:
            raise Conflict(str(error)) from error


def _ask(work: Work, endpoint: Endpoint, change: Change, *, mark: str = "") -> None:
    """Have a change posted to an endpoint: once, unless a replay marks it."""
    message = message_id(endpoint.id, change)
    payload = {"endpoint": endpoint.id, "message": message, "event": event_of(change)}
    work.effect(f"{message}_{mark}" if mark else message, payload, artifact=DocumentName(change.document))
