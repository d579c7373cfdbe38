"""How requests end otherwise than by decisions: withdrawn, revoked, overridden, executed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from quorate_plugins.approval.commands import About, Report, RequestInfo, RevokeDecision
from quorate_plugins.approval.contents import Kept, read_content
from quorate_plugins.approval.executing import execute, take_back
from quorate_plugins.approval.handling import Handling, Visible, info, require_party
from quorate_plugins.approval.refusals import AlreadyResolved, ReasonRequired, StepUpRequired
from quorate_plugins.approval.requests import (
    DecisionRevoked,
    Ended,
    Event,
    ExecutionEnded,
    Overrode,
    Request,
    Revoked,
    State,
    Status,
)
from quorate_plugins.approval.tracing import events_of, facets_now
from quorate_server.hooks import AccessDenied, Action, Artifact, Call, Conflict, DocumentName, LoggedEvent, Work

OVERRIDE_ROLE = "override"
"""The role in the directory whose holders may decide against the rules in an emergency."""
FRESH_SECONDS = 300.0
"""How recently somebody must have signed in to override."""
REVIEW = "approval_review"
"""The section of the record that says whether an override was reviewed."""


class Ending(Handling):
    """Handles what ends a request, and what is done with it."""

    # Ending

    async def withdraw(self, call: Call, command: About) -> RequestInfo:
        """Take a request back: its requester may, and administrators."""

        def event(work: Work, request: Request) -> Event:
            require_party(call, {request.requester})
            return Ended(at=work.now, by=work.actor.id, state=State.CANCELLED, cause="withdrawn")

        return await self._change(call, command, event)

    async def revoke_decision(self, call: Call, command: RevokeDecision) -> RequestInfo:
        """Take one's own decision back, while nothing is decided."""

        def event(work: Work, request: Request) -> Event:
            decision = request.decisions.get(command.decision)
            if decision is None or decision.status is not Status.COUNTED or decision.actor != call.user.id:
                raise Conflict(f"{command.decision!r} is no decision of yours that counts")
            return DecisionRevoked(at=work.now, by=work.actor.id, decision=decision.id)

        return await self._change(call, About(artifact=command.artifact), event)

    async def revoke(self, call: Call, command: About) -> RequestInfo:
        """Let what was approved hold no more: who may decide it may, and administrators."""

        def event(work: Work, request: Request) -> Event:
            pools = [pool for run in request.runs.values() for pool in run.pools.values()]
            require_party(call, {person for pool in pools for person in pool.eligible})
            return Revoked(at=work.now, by=work.actor.id)

        return await self._change(call, command, event)

    async def override(self, call: Call, command: About) -> RequestInfo:
        """Decide against the rules in an emergency; it is recorded as such, and reviewed afterwards."""
        if not self.desk.directory.has_role(call.user.id, OVERRIDE_ROLE):
            raise AccessDenied(f"only holders of the role {OVERRIDE_ROLE!r} in the directory may override")
        if not command.reason.strip():
            raise ReasonRequired("an override says why")
        signed_in = call.user.claims.get("auth_time")
        if not isinstance(signed_in, (int, float)) or self.clock() - signed_in > FRESH_SECONDS:
            raise StepUpRequired("sign in again to override", acr=[], max_age_seconds=FRESH_SECONDS)

        def event(work: Work, request: Request) -> Event:
            del request
            return Overrode(at=work.now, by=work.actor.id)

        return await self._change(call, command, event)

    def _open_review(self, work: Work, artifact: Artifact, request: Request) -> None:
        reviewers = self.desk.policies.template(request.type).reviews_overrides
        review = {"state": "open", "by": work.actor.id, "at": work.now, "reviewers": list(reviewers)}
        work.set_record(artifact, REVIEW, review)

    async def review_override(self, call: Call, command: About) -> RequestInfo:
        """Close the review that an override opened: by one of its reviewers, who did not override."""
        async with Visible(call, command.artifact) as artifact:

            def decide(work: Work) -> RequestInfo:
                request = self.demand(artifact)
                review = artifact.record_section(REVIEW)
                if review.get("state") != "open":
                    raise Conflict("there is no override to review")
                if not command.reason.strip():
                    raise ReasonRequired("a review says what it found")
                parties = self.desk.parties(request)
                may = {
                    each for selector in _selectors(review) for each in self.desk.directory.resolve(selector, parties)
                }
                if call.user.id not in may or call.user.id in {review.get("by"), request.requester}:
                    raise AccessDenied(f"{call.user.id} may not review this override")
                closed = {**review, "state": "closed", "reviewed_by": call.user.id, "reviewed_at": work.now}
                work.set_record(artifact, REVIEW, closed)
                work.audit("approval.override_reviewed", artifact, texts={"reason": command.reason})
                return info(artifact.name, request)

            return await call.transact(decide)

    async def execute(self, call: Call, command: About) -> RequestInfo:
        """Begin to do what was approved, as it was stored."""
        async with Visible(call, command.artifact) as artifact:
            call.require(Action.WRITE, artifact.name)
            kept = await self.desk.kept_contents(artifact.name)
            events = await self._events(artifact)

            def facets(request: Request) -> dict[str, object]:
                return facets_now(self.desk, artifact.name, request, events)

            def decide(work: Work) -> RequestInfo:
                request = self.demand(artifact)
                content = read_content(artifact)
                if content.hash != request.content_hash:
                    raise Conflict("the content was edited after it was approved")
                stored = kept.get(request.content_hash, Kept())
                done = execute(
                    self.desk, work, artifact, request, content=content, kept=stored, is_asked=True, facets=facets
                )
                return info(artifact.name, done)

            answer = await call.transact(decide)
            await self.settle(artifact)
            return answer

    async def _events(self, artifact: Artifact) -> list[LoggedEvent]:
        """Return the events of the chain about a request; none when one is damaged, which keeps nobody from working."""
        try:
            return await events_of(self.desk.server, artifact.name)
        except Conflict:
            return []

    async def report(self, call: Call, command: Report) -> RequestInfo:
        """Say whether what was approved is done."""
        call.require(Action.WRITE, DocumentName(command.artifact))

        def event(work: Work, _: Request) -> Event:
            return ExecutionEnded(at=work.now, by=work.actor.id, is_done=command.is_done)

        return await self._change(call, About(artifact=command.artifact, reason=command.reason), event)

    def _texts(self, event: Event, reason: str) -> dict[str, str]:
        """Return the personal texts of an event: why, and the name that an override is signed with."""
        texts = {"reason": reason} if reason else {}
        return {**texts, "name": self.desk.directory.printed_name(event.by)} if event.kind == "overrode" else texts

    async def _change(
        self,
        call: Call,
        command: About,
        event: Callable[[Work, Request], Event],
    ) -> RequestInfo:
        """Apply one event to a request, if it may be where the request stands."""
        async with Visible(call, command.artifact) as artifact:

            def decide(work: Work) -> RequestInfo:
                request = self.demand(artifact)
                before, made = request, event(work, request)
                try:
                    request = self.desk.record(work, artifact, request, made, texts=self._texts(made, command.reason))
                except ValueError as error:
                    raise AlreadyResolved(str(error), outcome=before.state, by=before.resolved_by) from error
                take_back(self.desk, work, artifact, before, request)
                if request.state is State.OVERRIDDEN:
                    self._open_review(work, artifact, request)
                return info(artifact.name, request)

            answer = await call.transact(decide)
            self.desk.remember(artifact)
            return answer


def _selectors(review: Mapping[str, object]) -> Sequence[str]:
    """Return who may close a review, as it was said when it was opened."""
    return [str(each) for each in cast("Sequence[object]", review.get("reviewers", ()))]
