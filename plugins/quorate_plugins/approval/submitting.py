"""Putting a request up for decision, and minding what is written in it afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from quorate_plugins.approval.calendars import advance
from quorate_plugins.approval.commands import About, RequestInfo, Submit
from quorate_plugins.approval.contents import (
    Content,
    Kept,
    check_content,
    check_principal,
    check_type,
    read_content,
)
from quorate_plugins.approval.directory import Parties
from quorate_plugins.approval.durations import parse_duration
from quorate_plugins.approval.edits import ALWAYS_SCOPE, class_of
from quorate_plugins.approval.evaluator import Pool
from quorate_plugins.approval.executing import execute
from quorate_plugins.approval.handling import EVERYTHING, Handling, info
from quorate_plugins.approval.policies import Ruling
from quorate_plugins.approval.refusals import AlreadyResolved
from quorate_plugins.approval.requests import RESOLVED, Change, Ended, Evaluated, Request, State, Submitted
from quorate_server.hooks import Action, Artifact, Call, Conflict, DocumentName, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What was read, and worked out from it, before the unit of work that submits it."""

    content: Content
    contributors: tuple[str, ...]
    ruling: Ruling
    kept: Kept
    change: Change = "other"


_DECIDED_FOR_GOOD = RESOLVED - {State.APPROVED, State.OVERRIDDEN}
"""States in which an edit changes nothing any more."""


class Submitting(Handling):
    """Handles submission, and edits."""

    # Submitting

    async def submit(self, call: Call, command: Submit) -> RequestInfo:
        """Put a request up for decision; the same one twice is one."""
        async with call.artifact(command.artifact) as artifact:
            if command.supersedes:
                async with call.artifact(command.supersedes) as older:
                    call.require(Action.WRITE, older.name)
                    return await self._submit(call, artifact, older)
            return await self._submit(call, artifact, None)

    async def _submit(self, call: Call, artifact: Artifact, older: Artifact | None) -> RequestInfo:
        while True:
            reading = await self._read(call, artifact)

            def decide(work: Work, reading: _Reading = reading) -> RequestInfo | None:
                if read_content(artifact).hash != reading.content.hash:
                    return None  # it was edited meanwhile: read again
                return self._submit_now(work, artifact, older, reading)

            try:
                answer = await call.transact(lambda work: _must(decide(work)))
            except _Again:
                continue
            await self.settle(artifact)
            if older is not None:
                await self.settle(older)
            self.desk.contents[artifact.name] = reading.content
            return answer

    async def _read(self, call: Call, artifact: Artifact) -> _Reading:
        await artifact.prepare_hash()
        content = read_content(artifact)
        check_type(content)
        check_content(content, self.desk.policies.template(content.type))
        present = self.desk.find(artifact)
        requester = call.user.id if present is None else present.requester
        ruling = await self.desk.rule(content, requester, self.clock())
        await self.know_writers(artifact)
        noted = self.desk.writers.get(artifact.name, {})
        contributors = tuple(sorted(set(noted) | set(present.contributors if present else ())))
        kept = Kept()
        executor = self.desk.policies.template(content.type).executor
        if executor in {"grant", "revoke"}:
            async with call.artifact(content.subject):  # there is such an artifact: not all of a kind, or everything
                check_principal(content)
        elif executor == "publish":
            async with call.artifact(content.subject) as subject:
                call.require(Action.READ, subject.name)
                kept = Kept(settings=subject.root_members("settings"), settings_hash=subject.content_hash())
            if content.subject_version != kept.settings_hash:
                raise Conflict(
                    f"`subject_version` must be the content hash of {content.subject!r} that is to be published,"
                    f" which is {kept.settings_hash}"
                )
        return _Reading(content=content, contributors=contributors, ruling=ruling, kept=kept)

    def _submit_now(self, work: Work, artifact: Artifact, older: Artifact | None, reading: _Reading) -> RequestInfo:
        content, present = reading.content, self.desk.find(artifact)
        existing = self._existing(artifact, present, content)
        if existing is not None:
            return existing
        revision = 1 if present is None else present.revision + 1
        requester = work.actor.id if present is None else present.requester
        self.desk.keep_content(work, artifact.name, revision, content, reading.kept)
        submitted = self._submitted(work, reading, "" if older is None else older.name)
        evaluated = self._evaluated(work.now, reading, requester)
        request = self.desk.record(work, artifact, present, submitted, evaluated)
        if older is not None and request.state is not State.REJECTED:
            self._supersede(work, older, artifact)
        request = execute(self.desk, work, artifact, request, content=content, kept=reading.kept)
        return info(artifact.name, request)

    def _existing(self, artifact: Artifact, present: Request | None, content: Content) -> RequestInfo | None:
        """Return the request that asks for the same already, if there is one.

        Raises:
            AlreadyResolved: this one is decided, or being decided on with another content.
        """
        if present is not None and present.state is not State.CHANGES_REQUESTED:
            if present.state in RESOLVED or present.content_hash != content.hash:
                raise AlreadyResolved(f"it is {present.state} already", outcome=present.state, by=present.resolved_by)
            return info(artifact.name, present, is_existing=True)
        same = self._live_like(content, but=artifact.name)
        return None if same is None else info(DocumentName(same), self.desk.live[same], is_existing=True)

    def _live_like(self, content: Content, *, but: str) -> str | None:
        """Return the name of another request that is not decided and asks for the same."""
        wanted = (content.type, content.subject, content.hash)
        for name, other in self.desk.live.items():
            is_same = (other.type, other.subject, other.content_hash) == wanted
            if is_same and name != but and other.state not in RESOLVED:
                return name
        return None

    def _submitted(self, work: Work, reading: _Reading, supersedes: str) -> Submitted:
        content = reading.content
        template = self.desk.policies.template(content.type)
        return Submitted(
            at=work.now,
            by=work.actor.id,
            type=content.type,
            content_hash=content.hash,
            part_hashes=content.part_hashes(),
            beneficiaries=content.beneficiaries,
            contributors=reading.contributors,
            subject=content.subject,
            risk=content.risk or template.risk,
            priority=content.priority,
            template_version=template.version,
            deadline_at=self._deadline(work.now, template.deadline, reading.ruling),
            valid_until=content.valid_until,
            supersedes=supersedes,
        )

    def _deadline(self, now: float, deadline: str, ruling: Ruling) -> float:
        at = advance(self.desk.policies.calendar(""), now, parse_duration(deadline))
        for extra in ruling.extra:
            at = advance(self.desk.policies.calendar(""), at, parse_duration(extra))
        return at

    def _evaluated(self, now: float, reading: _Reading, requester: str) -> Evaluated:
        parties = Parties(
            requester=requester,
            beneficiaries=reading.content.beneficiaries,
            contributors=reading.contributors,
            owners=self.desk.owners_of(reading.content.subject),
        )
        ruling = reading.ruling
        return Evaluated(
            at=now,
            by=f"policy:{self.desk.policies.version}",
            verdict=ruling.verdict,
            policy_version=self.desk.policies.version,
            explanation=ruling.explanation,
            stages=ruling.stages,
            pools=self.desk.ruled_pools(ruling, parties),
            block=ruling.block,
        )

    def _supersede(self, work: Work, older: Artifact, newer: Artifact) -> None:
        """End an older request, now that the newer one has really been taken."""
        request = self.desk.find(older)
        if request is None or request.state in RESOLVED - {State.APPROVED}:
            return
        ended = Ended(
            at=work.now, by=work.actor.id, state=State.SUPERSEDED, cause="superseded", superseded_by=newer.name
        )
        self.desk.record(work, older, request, ended)

    async def take_edits(self, artifact: Artifact) -> None:
        """Take note of edits of the guarded content: decisions on what was there before fall.

        The policies are asked about the new content, too: an edit must not keep the stages of what it was before.
        """
        await artifact.prepare_hash()
        await self.know_writers(artifact)
        request = self.desk.find(artifact)
        if request is None or request.state in _DECIDED_FOR_GOOD:
            return
        is_same = request.content_hash == artifact.content_hash() and not self.new_writers(artifact, request)
        if is_same and request.state is not State.EVALUATING:
            return
        reading = await self._read_edited(artifact, request)

        def decide(work: Work) -> bool:
            return self._take_now(work, artifact, reading, is_same=is_same)

        if await self.desk.server.transact(decide, artifact):
            self._forget_known(artifact)
            self.desk.contents[artifact.name] = reading.content
            self.desk.remember(artifact)

    def _forget_known(self, artifact: Artifact) -> None:
        """Forget the writers whom the request knows; who wrote meanwhile stays noted."""
        known = self.demand(artifact).contributors
        noted = self.desk.writers.get(artifact.name, {})
        self.desk.writers[artifact.name] = {each: None for each in noted if each not in known}

    def _take_now(self, work: Work, artifact: Artifact, reading: _Reading, *, is_same: bool) -> bool:
        """Whether an edit was taken note of; of one that goes on it is told again."""
        present = self.demand(artifact)
        if present.state in _DECIDED_FOR_GOOD or artifact.content_hash() != reading.content.hash:
            return False
        self.desk.keep_content(work, artifact.name, present.revision + 1, reading.content, reading.kept)
        if not is_same:
            edited = self.edited(artifact, present, reading.content, reading.change, work.now)
            present = self.desk.record(work, artifact, present, edited)
        is_other = present.state is State.PENDING and _says_otherwise(reading.ruling, present)
        if present.state is State.EVALUATING or is_other:
            self.desk.record(work, artifact, present, self._evaluated(work.now, reading, present.requester))
        return True

    async def _read_edited(self, artifact: Artifact, request: Request) -> _Reading:
        """Return what an edited request is now; what it publishes stays, as long as it names the same version of it."""
        content = read_content(artifact)
        before = (await self.desk.kept_contents(artifact.name)).get(request.content_hash, Kept())
        is_same_version = content.subject_version == before.settings_hash and content.subject == request.subject
        noted = self.desk.writers.get(artifact.name, {})
        return _Reading(
            content=content,
            contributors=tuple(dict.fromkeys((*request.contributors, *noted))),
            ruling=await self.desk.rule(replace(content, type=request.type), request.requester, self.clock()),
            kept=before if is_same_version else Kept(),
            change=class_of(before.parts, content.parts, self._scope(request.type)),
        )

    def _scope(self, type_: str) -> frozenset[str]:
        """Return the parts that say how much is asked for."""
        fields = self.desk.policies.template(type_).fields
        return ALWAYS_SCOPE | {f"fields/{key}" for key, rule in fields.items() if rule.is_scope}

    async def repin(self, call: Call, command: About) -> RequestInfo:
        """Ask the policies of now about a request that is pending; decisions that they had no part in fall.

        Only administrators may: a request keeps the policies it was submitted under otherwise.
        """
        call.require(Action.ADMINISTER, EVERYTHING)
        async with call.artifact(command.artifact) as artifact:
            await self.take_edits(artifact)
            reading = await self._read_edited(artifact, self.demand(artifact))

            def decide(work: Work) -> RequestInfo:
                present = self.demand(artifact)
                if present.state is not State.PENDING or present.content_hash != reading.content.hash:
                    raise Conflict(
                        f"it is {present.state}, or was edited just now: only what is pending is asked again"
                    )
                evaluated = self._evaluated(work.now, reading, present.requester)
                texts = {"reason": command.reason} if command.reason else {}
                return info(artifact.name, self.desk.record(work, artifact, present, evaluated, texts=texts))

            answer = await call.transact(decide)
            await self.settle(artifact)
            return answer


def _says_otherwise(ruling: Ruling, request: Request) -> bool:
    """Whether the policies want something else of a request than what it was evaluated to."""
    if ruling.verdict != "require" or ruling.stages != request.stages:
        return True
    pools = {(stage, key): pool for stage, run in request.runs.items() for key, pool in run.pools.items()}
    absent = frozenset(place for place, pool in pools.items() if not pool.applies)
    return absent != ruling.absent or _errors(pools) != dict(ruling.unsettled)


def _errors(pools: Mapping[tuple[str, str], Pool]) -> dict[tuple[str, str], str]:
    return {place: pool.error for place, pool in pools.items() if pool.error}


class _Again(Exception):
    """The content was edited while it was read."""


def _must(answer: RequestInfo | None) -> RequestInfo:
    if answer is None:
        raise _Again
    return answer
