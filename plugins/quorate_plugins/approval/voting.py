"""Deciding on a request."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import replace

from quorate_plugins.approval import clockwork
from quorate_plugins.approval.commands import Decide, DecisionInfo
from quorate_plugins.approval.contents import Kept, differences, read_content
from quorate_plugins.approval.deciding import Attempt, Present, check, too_late
from quorate_plugins.approval.desk import REASONS
from quorate_plugins.approval.executing import execute
from quorate_plugins.approval.handling import Handling, Visible, info
from quorate_plugins.approval.refusals import AlreadyResolved, DeadlinePassed
from quorate_plugins.approval.requests import Decided, Event, Request, State, Status
from quorate_plugins.approval.submitting import Submitting
from quorate_server.hooks import Artifact, Call, Conflict, User, Work


class Deciding(Handling):
    """Handles decisions; edits are taken note of first, as `submitting` does."""

    def __init__(self, submitting: Submitting) -> None:
        super().__init__(submitting.desk, submitting.clock)
        self.submitting = submitting

    # Deciding

    async def decide(self, call: Call, command: Decide) -> DecisionInfo:
        """Count a decision, or say why not."""
        async with Visible(call, command.artifact) as artifact:
            await self.submitting.take_edits(artifact)
            kept = await self.desk.kept_contents(artifact.name)
            attempt = self._attempt(call, command)

            def decide(work: Work) -> DecisionInfo:
                return self._decide_now(work, artifact, replace(attempt, at=work.now), command.reason, kept)

            try:
                answer = await call.transact(decide)
            except (AlreadyResolved, DeadlinePassed):
                await self._keep_late(call.user, artifact, attempt)
                raise
            finally:
                await self.settle(artifact)
            return answer

    def _attempt(self, call: Call, command: Decide) -> Attempt:
        signed_in = call.user.claims.get("auth_time")
        seed = call.key or secrets.token_hex(8)
        return Attempt(
            id="d" + hashlib.sha256(f"{command.artifact}\n{call.user.id}\n{seed}".encode()).hexdigest()[:16],
            actor=call.user.id,
            verdict=command.verdict,
            content_hash=command.content_hash,
            has_reason=bool(command.reason.strip()),
            at=0.0,
            via=call.via,
            artifact=command.artifact,
            on_behalf_of=command.on_behalf_of,
            stage=command.stage,
            requirements=command.requirements,
            acr=str(call.user.claims.get("acr", "")),
            auth_time=float(signed_in) if isinstance(signed_in, (int, float)) else None,
        )

    def _decide_now(
        self, work: Work, artifact: Artifact, attempt: Attempt, reason: str, kept: Mapping[str, Kept]
    ) -> DecisionInfo:
        request = self.demand(artifact)
        if request.state is State.EVALUATING:
            raise Conflict("the request is being evaluated: try again")

        def do(event: Event) -> Request:
            return self.desk.record(work, artifact, self.demand(artifact), event)

        request = clockwork.caught_up(request, work.now, self.desk.around(request), do)
        content = read_content(artifact)
        diff = differences(kept.get(attempt.content_hash, Kept()).parts, content.parts)
        present = Present(content_hash=content.hash, diff=diff)
        decision = check(request, attempt, self.desk.directory, present)
        if request.content_hash != content.hash or self.new_writers(artifact, request):
            raise Conflict("somebody is editing it at this moment: look at it again")
        texts = {"reason": reason} if reason else {}
        if request.stage(decision.stage).wants_signature(decision.requirements):
            texts["name"] = self.desk.directory.printed_name(decision.actor)
        decided = Decided(at=work.now, by=work.actor.id, decision=decision)
        request = self.desk.record(work, artifact, request, decided, texts=texts)
        if reason:
            work.set_record(artifact, REASONS, {**artifact.record_section(REASONS), decision.id: reason})
        stored = kept.get(request.content_hash, Kept())
        request = execute(self.desk, work, artifact, request, content=content, kept=stored)
        return DecisionInfo(decision=decision.id, status=Status.COUNTED, request=info(artifact.name, request))

    async def _keep_late(self, user: User, artifact: Artifact, attempt: Attempt) -> None:
        """Keep a row of what came too late."""

        def decide(work: Work) -> None:
            request = self.demand(artifact)
            if attempt.id not in request.decisions:
                decision = too_late(request, replace(attempt, at=work.now))
                self.desk.record(work, artifact, request, Decided(at=work.now, by=user.id, decision=decision))

        await self.desk.server.transact(decide, artifact, actor=user)
