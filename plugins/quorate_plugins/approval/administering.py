"""What is not about one request: the directory, delegations, policies, and what waits for whom."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote

from quorate_plugins.approval.commands import (
    About,
    Ask,
    Delegate,
    DelegationInfo,
    Difference,
    EndDelegation,
    Explanation,
    FieldInfo,
    Inbox,
    InboxItem,
    NoticeInfo,
    NoticeList,
    PeopleInfo,
    PolicyInfo,
    Prefer,
    PublishPolicy,
    PutPeople,
    RequirementInfo,
    StageInfo,
    TemplateInfo,
    TemplateList,
    WhatIf,
    WhatIfAnswer,
)
from quorate_plugins.approval.contents import Content
from quorate_plugins.approval.directory import Delegation, finds_circle
from quorate_plugins.approval.evaluator import RequirementResult
from quorate_plugins.approval.handling import EVERYTHING, Handling, Visible, info
from quorate_plugins.approval.notifications.preferences import read_preferences
from quorate_plugins.approval.policies import PRIORITIES, TYPES, Ruling, Template
from quorate_plugins.approval.requests import (
    Block,
    Blocked,
    Ended,
    Event,
    PoolsChanged,
    Reassigned,
    Request,
    StageRun,
    State,
)
from quorate_plugins.approval.stages import Stage
from quorate_server.hooks import (
    AccessDenied,
    Action,
    Artifact,
    Call,
    Conflict,
    DocumentName,
    DocumentNotFound,
    Done,
    Work,
)

LONGEST_DELEGATION = 366 * 86400.0


class Administering(Handling):
    """The handlers of commands about the rest."""

    # People

    async def put_people(self, call: Call, command: PutPeople) -> PeopleInfo:
        """Change the directory; requests that wait for those people are looked at again."""

        def decide(work: Work) -> PeopleInfo:
            version = self.desk.put_people(work, command.people, command.removed)
            stayed = self.desk.directory.people.keys() - set(command.removed)
            people = len(stayed | {each.id for each in command.people})
            for name, request in self.desk.live.items():
                if request.state in _ASKED:
                    work.wake(DocumentName(name), work.now)
            return PeopleInfo(version=version, people=people)

        answer = await call.transact(decide)
        for person in command.people:
            self.desk.directory.people[person.id] = person
        for gone in command.removed:
            self.desk.directory.people.pop(gone, None)
        self.desk.directory.version = max(answer.version, self.desk.directory.version)
        return answer

    async def take_people(self, artifact: Artifact) -> None:
        """Take note of other people in the pools of a request, and of a requester who is gone, or back."""
        request = self.desk.find(artifact)
        if request is None or request.state not in _ASKED:
            return

        def decide(work: Work) -> None:
            present = self._requester_taken(work, artifact)
            if present is None or present.state is not State.PENDING:
                return
            pools = self.desk.pools_now(present)
            if any(run.pools != pools[key] for key, run in present.runs.items()):
                self.desk.record(work, artifact, present, PoolsChanged(at=work.now, by="directory", pools=pools))

        await self.desk.server.transact(decide, artifact)
        self.desk.remember(artifact)

    def _requester_taken(self, work: Work, artifact: Artifact) -> Request | None:
        """Return a request after what follows from its requester being active, or not."""
        present = self.desk.find(artifact)
        if present is None or present.state not in _ASKED:
            return present
        person = self.desk.directory.people.get(present.requester)
        is_gone = person is not None and not person.is_active
        if is_gone == (present.held is Block.REQUESTER_DISABLED):
            return present
        event = self._without_requester(present, work.now) if is_gone else Blocked(at=work.now, by="directory")
        return self.desk.record(work, artifact, present, event)

    def _without_requester(self, request: Request, now: float) -> Event:
        """Return what becomes of a request whose requester is not active any more, as its template says."""
        what = self.desk.policies.template(request.type).on_requester_disabled
        if what == "cancel":
            return Ended(at=now, by="directory", state=State.CANCELLED, cause="requester_disabled")
        manager = self.desk.directory.people[request.requester].manager
        if what == "reassign" and self.desk.directory.is_active(manager):
            pools = self.desk.pools_now(replace(request, requester=manager, contributors=_with(request)))
            return Reassigned(at=now, by="directory", requester=manager, pools=pools)
        return Blocked(at=now, by="directory", block=Block.REQUESTER_DISABLED)

    # Delegations

    async def delegate(self, call: Call, command: Delegate) -> DelegationInfo:
        """Have somebody decide for somebody else for a while, or on one request."""
        if command.artifact:
            async with Visible(call, command.artifact) as artifact:
                return await self._delegate(call, command, artifact)
        return await self._delegate(call, command, None)

    async def _delegate(self, call: Call, command: Delegate, artifact: Artifact | None) -> DelegationInfo:
        principal = command.principal or call.user.id
        if principal != call.user.id:
            call.require(Action.ADMINISTER, EVERYTHING)

        def decide(work: Work) -> DelegationInfo:
            request = None if artifact is None else self._handed_over(artifact, principal)
            start = work.now if command.valid_from is None else command.valid_from
            end = _end_of(command, request, start)
            if not start < end <= start + LONGEST_DELEGATION or end <= work.now:
                raise Conflict("a delegation ends after it begins, in the future, and within a year")
            delegation = Delegation(
                id=f"dg{secrets.token_hex(8)}",
                principal=principal,
                delegate=command.delegate,
                valid_from=start,
                valid_to=end,
                created_by=call.user.id,
                types=frozenset(command.types),
                prefix=command.prefix,
                most_risk=command.most_risk,
                request=command.artifact,
                is_out_of_office=command.is_out_of_office,
            )
            self._check(delegation)
            self.desk.put_delegation(work, delegation)
            made.append(delegation)
            if artifact is not None and request is not None:
                self.desk.tell_of_delegation(work, artifact, request, delegation)
            return _delegation_info(delegation)

        made: list[Delegation] = []
        answer = await call.transact(decide)
        self.desk.directory.delegations |= {each.id: each for each in made}
        return answer

    def _handed_over(self, artifact: Artifact, principal: str) -> Request:
        """Return the request that somebody hands over.

        Raises:
            Conflict: they are not asked to decide on it now.
        """
        request = self.desk.find(artifact)
        if request is None or not self._waiting(artifact.name, request, principal, ""):
            raise Conflict(f"{artifact.name!r} does not wait for a decision of {principal}")
        return request

    def _check(self, delegation: Delegation) -> None:
        directory = self.desk.directory
        for person in (delegation.principal, delegation.delegate):
            if not directory.is_active(person):
                raise Conflict(f"{person!r} is not in the directory, or not active")
        if delegation.principal == delegation.delegate:
            raise Conflict("nobody stands in for themselves")
        if finds_circle(directory.delegations.values(), delegation):
            raise Conflict(f"{delegation.delegate} already hands decisions on to {delegation.principal}, in a circle")

    async def end_delegation(self, call: Call, command: EndDelegation) -> DelegationInfo:
        """End a delegation: either of the two may, and administrators."""
        found = self.desk.directory.delegations.get(command.id)
        if found is None:
            raise DocumentNotFound(f"there is no delegation {command.id!r}")
        if call.user.id not in {found.principal, found.delegate}:
            call.require(Action.ADMINISTER, EVERYTHING)

        def decide(work: Work) -> DelegationInfo:
            ended = replace(found, revoked_at=found.revoked_at or work.now)
            self.desk.put_delegation(work, ended)
            return _delegation_info(ended)

        answer = await call.transact(decide)
        self.desk.directory.delegations[found.id] = replace(found, revoked_at=found.revoked_at or self.clock())
        return answer

    # Policies

    async def publish_policy(self, call: Call, command: PublishPolicy) -> PolicyInfo:
        """Let the first policy take effect."""
        call.require(Action.ADMINISTER, EVERYTHING)
        if self.desk.policies.policies:
            raise Conflict("policies are in force: change them by an approval request of type `policy_change`")
        async with call.artifact(command.artifact) as artifact:

            def decide(work: Work) -> PolicyInfo:
                try:
                    settings = artifact.root_members("settings")
                    after = self.desk.publish(work, artifact.name, settings, artifact.content_hash())
                except ValueError as error:
                    raise Conflict(f"{artifact.name!r} is no policy: {error}") from error
                return PolicyInfo(artifact=artifact.name, version=after.version)

            answer = await call.transact(decide)
            await self.desk.read_policies()
            return answer

    async def templates(self, call: Call, command: Ask) -> TemplateList:
        """Say what each type of request asks for; everybody may know."""
        del call, command
        return TemplateList(templates=tuple(_template_info(each, self.desk.policies.template(each)) for each in TYPES))

    async def what_if(self, call: Call, command: WhatIf) -> WhatIfAnswer:
        """Say what the draft of a policy would make of all requests that are open."""
        async with call.artifact(command.artifact) as artifact:
            call.require(Action.READ, artifact.name)
            settings = artifact.root_members("settings")
        try:
            draft = self.desk.with_policy(command.artifact, self.desk.policies.version + 1, settings)
        except ValueError as error:
            raise Conflict(f"{command.artifact!r} is no policy: {error}") from error
        asked = self._open_contents(call)
        now = self.clock()
        before = await self.desk.rule_all(asked, self.desk.policies, now)
        after = await self.desk.rule_all(asked, draft, now)
        different = tuple(
            Difference(
                artifact=name,
                now=before[name].verdict,
                then=after[name].verdict,
                stages=tuple(stage.id for stage in after[name].stages),
                explanation=after[name].explanation,
            )
            for name in asked
            if _is_different(before[name], after[name])
        )
        return WhatIfAnswer(asked=len(asked), differences=different)

    def _open_contents(self, call: Call) -> dict[str, tuple[Content, str]]:
        """Return the contents of requests that are open and that the caller may read, each with its requester."""
        return {
            name: (self.desk.contents[name], request.requester)
            for name, request in self.desk.live.items()
            if request.state in _OPEN and name in self.desk.contents and self._may_read(call, name)
        }

    def _may_read(self, call: Call, name: str) -> bool:
        try:
            call.require(Action.READ, DocumentName(name))
        except AccessDenied:
            return False
        return True

    # What waits, and why

    async def inbox(self, call: Call, _: Ask) -> Inbox:
        """Return what waits for whoever asks, in their own name or as somebody's delegate; the most urgent first."""
        now = self.clock()
        items: list[InboxItem] = []
        for name, request in self.desk.live.items():
            if request.state is State.PENDING:
                items += self._waiting(name, request, call.user.id, "")
                for each in self.desk.directory.delegations_to(call.user.id):
                    if not self._why_not(each, name, request, now):
                        items += self._waiting(name, request, call.user.id, each.principal)
        items.sort(key=lambda each: (-_rank(PRIORITIES, each.priority), each.due_at or now * 2, each.artifact))
        return Inbox(items=tuple(items))

    @staticmethod
    def _why_not(delegation: Delegation, name: str, request: Request, now: float) -> str:
        """Return why a delegation is of no use for a request; empty when it is."""
        return delegation.why_not(at=now, request=name, type_=request.type, subject=request.subject, risk=request.risk)

    def _waiting(self, name: str, request: Request, actor: str, on_behalf_of: str) -> list[InboxItem]:
        principal = on_behalf_of or actor
        voted = {each.stage for each in request.counted() if each.principal == principal}
        return [
            _item(name, request, stage, on_behalf_of)
            for stage in request.active()
            if stage.id not in voted and _may_decide(request.runs[stage.id], principal, actor)
        ]

    async def notices(self, call: Call, _: Ask) -> NoticeList:
        """Return the newest hundred of what somebody was told."""
        found = await self.desk.server.read_values(f"notice/{quote(call.user.id, safe='')}/")
        newest = sorted(found.items(), reverse=True)[:MOST_NOTICES]
        return NoticeList(notices=tuple(_notice_info(key, value) for key, value in newest))

    async def prefer(self, call: Call, command: Prefer) -> Done:
        """Keep how somebody wants to be told."""
        wanted = command.model_dump(mode="json")
        try:
            preferences = read_preferences(wanted)
        except ValueError as error:
            raise Conflict(str(error)) from error

        def decide(work: Work) -> Done:
            work.put(f"prefer/{call.user.id}", json.dumps(wanted).encode())
            return Done()

        answer = await call.transact(decide)
        self.desk.delivering.preferences[call.user.id] = preferences
        return answer

    async def explain(self, call: Call, command: About) -> Explanation:
        """Say requirement by requirement where a request stands, and which rules led there."""
        async with call.artifact(command.artifact) as artifact:
            request = self.desk.find(artifact)
            if request is None:
                raise Conflict(f"{artifact.name!r} was not submitted")
            return Explanation(
                request=info(artifact.name, request),
                policy_version=request.policy_version,
                rules=request.explanation,
                stages=tuple(_stage_info(stage, request.runs[stage.id]) for stage in request.stages),
            )


MOST_NOTICES = 100
_OPEN = frozenset({State.PENDING, State.EVALUATING})
_ASKED = frozenset({State.PENDING, State.CHANGES_REQUESTED})


def _with(request: Request) -> tuple[str, ...]:
    """Return who wrote in a request, and who asked for it so far."""
    return (*request.contributors, request.requester)


def _end_of(command: Delegate, request: Request | None, start: float) -> float:
    """Return when a delegation ends: for one request, when that does, if nothing else is said.

    Raises:
        Conflict: it is for more than one request, and nobody said when it ends.
    """
    if command.valid_to is not None:
        return command.valid_to
    if request is None:
        raise Conflict("a delegation that is not for one request says when it ends (`valid_to`)")
    return start + LONGEST_DELEGATION if request.deadline_at is None else request.deadline_at


def _may_decide(run: StageRun, principal: str, actor: str) -> bool:
    pools = [pool for pool in run.pools.values() if pool.applies]
    return any(principal in pool.eligible and actor not in pool.excluded for pool in pools)


def _item(name: str, request: Request, stage: Stage, on_behalf_of: str) -> InboxItem:
    return InboxItem(
        artifact=name,
        type=request.type,
        stage=stage.id,
        risk=request.risk,
        priority=request.priority,
        requester=request.requester,
        due_at=request.runs[stage.id].due_at,
        content_hash=request.content_hash,
        on_behalf_of=on_behalf_of,
    )


def _notice_info(key: str, value: bytes) -> NoticeInfo:
    told = json.loads(value)
    return NoticeInfo(
        at=int(key.split("/")[2]) / 1000,
        event=told["event"],
        request=told["request"],
        title=told["title"],
        state=told["state"],
        by=told["by"],
    )


def _rank(levels: tuple[str, ...], level: str) -> int:
    return levels.index(level) if level in levels else len(levels)


def _is_different(one: Ruling, other: Ruling) -> bool:
    return (one.verdict, one.stages, one.absent, one.unsettled) != (
        other.verdict,
        other.stages,
        other.absent,
        other.unsettled,
    )


def _template_info(type_: str, template: Template) -> TemplateInfo:
    return TemplateInfo(
        type=type_,
        title=template.title,
        fields=tuple(
            FieldInfo(
                name=name,
                type=rule.type,
                is_required=rule.is_required,
                options=rule.options,
                summary=rule.summary,
            )
            for name, rule in template.fields.items()
        ),
        stages=tuple(stage.title or stage.id for stage in template.stages),
        deadline=template.deadline,
        risk=template.risk,
        executor=template.executor,
    )


def _delegation_info(delegation: Delegation) -> DelegationInfo:
    return DelegationInfo(
        id=delegation.id,
        principal=delegation.principal,
        delegate=delegation.delegate,
        valid_from=delegation.valid_from,
        valid_to=delegation.valid_to,
    )


def _stage_info(stage: Stage, run: StageRun) -> StageInfo:
    results: Mapping[str, RequirementResult] = {} if run.result is None else run.result.requirements
    return StageInfo(
        id=stage.id,
        title=stage.title,
        state=run.state,
        due_at=run.due_at,
        level=0 if run.climb is None else run.climb.level,
        requirements=tuple(
            RequirementInfo(
                id=key,
                result=found.result,
                approved_by=found.approved_by,
                rejected_by=found.rejected_by,
                abstained_by=found.abstained_by,
                may_decide=tuple(sorted(run.pools[key].eligible)) if key in run.pools else (),
                got=found.got,
                needed=found.needed,
                reason=found.reason,
            )
            for key, found in results.items()
        ),
    )
