"""`Approvals`: the engine that keeps the record of approval requests.

People write a request together; what it takes, who decided, and where it stands is in its record, which only this
engine writes. Commands change it in units of work. Everything else (edits, time, other people in the directory) is
found by `reconcile`, which compares what the record says with what is so, and may be asked at any time.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import ClassVar, TypeVar, cast

from starlette.routing import BaseRoute

from quorate_plugins.approval import clockwork
from quorate_plugins.approval.administering import Administering
from quorate_plugins.approval.commands import (
    About,
    Ask,
    ComplianceReport,
    Decide,
    DecisionInfo,
    Delegate,
    DelegationInfo,
    EndDelegation,
    Explanation,
    Inbox,
    Lineage,
    MakeReport,
    NoticeList,
    PeopleInfo,
    PolicyInfo,
    Prefer,
    PublishPolicy,
    PutPeople,
    Report,
    RequestInfo,
    RevokeDecision,
    Submit,
    TemplateList,
    WhatIf,
    WhatIfAnswer,
)
from quorate_plugins.approval.condition_pool import ConditionPool
from quorate_plugins.approval.contents import ROOTS
from quorate_plugins.approval.delivering import Delivering
from quorate_plugins.approval.desk import Desk
from quorate_plugins.approval.ending import Ending
from quorate_plugins.approval.executing import take_back
from quorate_plugins.approval.metering import METRICS, Metering
from quorate_plugins.approval.notifications.sending import Channel
from quorate_plugins.approval.reporting import Reporting
from quorate_plugins.approval.requests import Event, Request
from quorate_plugins.approval.submitting import Submitting
from quorate_plugins.approval.tracing import Tracing
from quorate_plugins.approval.voting import Deciding
from quorate_server.hooks import (
    Action,
    Answer,
    AnySpec,
    Artifact,
    Call,
    Command,
    CommandSpec,
    Done,
    Effect,
    Engine,
    ProposedUpdate,
    Refused,
    Server,
    Work,
)

C = TypeVar("C", bound=Command)
A = TypeVar("A", bound=Answer)


class Approvals(Engine):
    """Keeps approval requests."""

    name = "approvals"
    version = "1"
    kinds = frozenset({"approval"})
    watches = frozenset(ROOTS)
    guards: ClassVar = {"approval": frozenset(ROOTS)}
    fails_closed = True

    clock: Callable[[], float] = staticmethod(time.time)

    _delivering: Delivering

    def __init__(self) -> None:
        def now() -> float:
            return self.clock()

        self._desk = Desk()
        self._submitting = Submitting(self._desk, now)
        self._voting = Deciding(self._submitting)
        self._ending = Ending(self._desk, now)
        self._administering = Administering(self._desk, now)
        self._reporting = Reporting(self._desk, now)
        self._metering = Metering(self._desk, now)
        self._tracing = Tracing(self._desk, now)

    @asynccontextmanager
    async def lifespan(self, server: Server) -> AsyncGenerator[None]:
        """Read what was kept, and have conditions evaluated elsewhere while the server runs."""
        self.server = server
        async with ConditionPool() as conditions, _channels(server) as channels:
            self._delivering = Delivering(server, channels)
            await self._delivering.load()
            await self._desk.open(server, conditions, self._delivering)
            await self._metering.open()
            yield

    def before_update(self, proposed: ProposedUpdate) -> None:
        """Refuse edits of what is being done or done; note who writes in what is decided on."""
        if proposed.artifact in self._desk.frozen:
            raise Refused("this request is closed: make a new one that supersedes it")
        request = self._desk.live.get(proposed.artifact)
        if request is not None and "request" in proposed.roots:
            said = proposed.content_json().get("request")
            members: Mapping[str, object] = cast("Mapping[str, object]", said) if isinstance(said, Mapping) else {}
            if members.get("type") != request.type:
                raise Refused("the type of a request that was submitted stays: make a new one that supersedes it")
        self._desk.writers.setdefault(proposed.artifact, {})[proposed.user.id] = None

    async def reconcile(self, artifact: Artifact) -> float | None:
        """Do what edits, other people and the time make of a request; return when time does something next."""
        if artifact.name == METRICS:
            return await self._metering.refresh(artifact)
        await self._metering.begin()
        if self._desk.find(artifact) is None:
            return None
        await self._heed_clock()
        await self._submitting.take_edits(artifact)
        await self._administering.take_people(artifact)

        def decide(work: Work) -> float | None:
            def do(event: Event) -> Request:
                before = self._desk.find(artifact)
                after = self._desk.record(work, artifact, before, event)
                if before is not None:
                    take_back(self._desk, work, artifact, before, after)
                return after

            request = self._desk.find(artifact)
            if request is None:
                return None
            request = clockwork.run_out(request, work.now, self._desk.around(request), do)
            return self._desk.clock_watch.not_before(clockwork.next_at(request), work.now)

        wake_at = await self.server.transact(decide, artifact)
        self._desk.remember(artifact)
        return wake_at

    async def _heed_clock(self) -> None:
        """Write down that the wall clock was moved; for a while after it nothing ends because of the time."""
        seconds = self._desk.clock_watch.look()
        if seconds:
            facts = {"seconds": seconds}
            await self.server.transact(lambda work: work.audit("approval.clock_stepped", facts=facts))

    async def deliver(self, effect: Effect) -> None:
        """Tell somebody of something, or of several things together, by the channels that they prefer."""
        recipient = self._desk.directory.people.get(str(effect.payload["person"]))
        if "digest" in effect.payload:
            await self._delivering.deliver_digest(effect, recipient, self._desk.live)
            return
        await self._delivering.deliver(effect, recipient, self._desk.live.get(effect.artifact or ""))

    def routes(self) -> Sequence[BaseRoute]:
        """Return the route of the schema that the run facets of lineage follow."""
        return self._tracing.routes()

    def commands(self) -> Sequence[AnySpec]:
        """Return the commands about approvals."""
        end, rest, reports = self._ending, self._administering, self._reporting
        admin, write, read = Action.ADMINISTER, Action.WRITE, Action.READ
        specs = (
            _spec("submit", "Put a request up for decision", Submit, RequestInfo, self._submitting.submit),
            _spec("decide", "Decide on a request", Decide, DecisionInfo, self._voting.decide),
            _spec("withdraw", "Take a request back", About, RequestInfo, end.withdraw),
            _spec("revoke_decision", "Take one's own decision back", RevokeDecision, RequestInfo, end.revoke_decision),
            _spec("revoke", "Let what was approved hold no more", About, RequestInfo, end.revoke),
            _spec("override", "Decide against the rules in an emergency", About, RequestInfo, end.override),
            _spec("review_override", "Close the review of an override", About, RequestInfo, end.review_override),
            _spec(
                "repin", "Ask the policies of now about a pending request", About, RequestInfo, self._submitting.repin
            ),
            _spec("execute", "Begin to do what was approved", About, RequestInfo, end.execute),
            _spec("report", "Say whether what was approved is done", Report, RequestInfo, end.report),
            _spec("explain", "Say where a request stands, and why", About, Explanation, rest.explain),
            _spec("inbox", "Show what waits for one's decision", Ask, Inbox, rest.inbox),
            _spec("notices", "Show what one was told, the newest first", Ask, NoticeList, rest.notices),
            _spec("prefer", "Say by which channels, and when, one wants to be told", Prefer, Done, rest.prefer),
            _spec("delegate", "Have somebody else decide for a while", Delegate, DelegationInfo, rest.delegate),
            _spec("end_delegation", "End a delegation", EndDelegation, DelegationInfo, rest.end_delegation),
            _spec("put_people", "Change the directory", PutPeople, PeopleInfo, rest.put_people),
            _spec("publish_policy", "Let the first policy take effect", PublishPolicy, PolicyInfo, rest.publish_policy),
            _spec("templates", "Say what each type of request asks for", Ask, TemplateList, rest.templates),
            _spec("what_if", "Ask what a draft of a policy would change", WhatIf, WhatIfAnswer, rest.what_if),
            _spec("lineage", "Say to a pipeline by which approval it runs", About, Lineage, self._tracing.lineage),
            _spec("make_report", "Make a compliance report", MakeReport, ComplianceReport, reports.make_report),
        )
        permissions = {"submit": write, "explain": read, "put_people": admin}
        return [replace(each, permission=permissions.get(each.name.partition(".")[2])) for each in specs]


CHANNEL_SETTINGS = ("smtp_host", "slack_token", "slack_webhook", "teams_webhook", "sms_url", "webhook_url")
"""Each names a channel that there is to be. Without any, what they send with is not even loaded: 10 MiB."""


@asynccontextmanager
async def _channels(server: Server) -> AsyncGenerator[Mapping[str, Channel]]:
    """Keep the channels open that the engine's settings name."""
    if not any(server.setting(name) for name in CHANNEL_SETTINGS):
        yield {}
        return
    from quorate_plugins.approval.notifications.opening import open_channels  # noqa: PLC0415

    async with open_channels(server) as channels:
        yield channels


def _spec(
    name: str, summary: str, command: type[C], answer: type[A], handler: Callable[[Call, C], Awaitable[A]]
) -> AnySpec:
    return CommandSpec(
        name=f"approvals.{name}",
        summary=summary,
        command=command,
        answer=answer,
        handler=handler,
        engine=Approvals.name,
    )
