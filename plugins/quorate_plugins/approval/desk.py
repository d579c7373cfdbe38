"""`Desk`: what the approval engine knows beside the artifacts, and the one way in which a request changes.

A request is changed by events inside a unit of work. Each event goes to the audit chain whole, what the request is
after it to the record, and what others may want to know to the change feed, all in one transaction.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import cast

from pydantic import TypeAdapter

from quorate_plugins.approval import clockwork
from quorate_plugins.approval.clock_watch import ClockWatch
from quorate_plugins.approval.clockwork import Surroundings
from quorate_plugins.approval.condition_pool import ConditionPool
from quorate_plugins.approval.conditions import Asked, ConditionError
from quorate_plugins.approval.contents import Content, Kept
from quorate_plugins.approval.deciding import parties_of
from quorate_plugins.approval.delivering import Delivering, Subject
from quorate_plugins.approval.directory import Delegation, Directory, Parties, Person
from quorate_plugins.approval.evaluator import Pool
from quorate_plugins.approval.given import GivenRoles
from quorate_plugins.approval.machine import apply
from quorate_plugins.approval.metrics.recent import Recent
from quorate_plugins.approval.notifying import Telling, tellings
from quorate_plugins.approval.policies import (
    Policy,
    PolicySet,
    Ruling,
    conditions_of,
    read_policy,
    rule_on,
)
from quorate_plugins.approval.requests import (
    FINISHED,
    FROZEN,
    Event,
    Pools,
    Request,
    State,
    event_json,
    read_request,
    request_json,
)
from quorate_plugins.approval.stages import Stage
from quorate_plugins.approval.templates import DEFAULTS
from quorate_server.hooks import Artifact, DocumentName, Server, Work

SECTION = "approval"
MOST_FOUND = 5000
"""Of so many requests what was read last is kept, so that it is not read again."""
AT_ONCE = 50
"""Of so many requests the facts are gathered before others get their turn."""
REASONS = "approval_reasons"
"""What people wrote with their decisions, by decision: personal text, kept apart from what is replayed."""

_PERSON = TypeAdapter(Person)
_DELEGATION = TypeAdapter(Delegation)
_CONTENT = TypeAdapter(Content)
_KEPT = TypeAdapter(Kept)


class Desk:
    """The directory, the published policies and the requests that are not finished."""

    server: Server
    delivering: Delivering
    _conditions: ConditionPool

    def __init__(self) -> None:
        self.directory = Directory()
        self.policies = PolicySet(version=0, policies={}, defaults=DEFAULTS)
        self.live: dict[str, Request] = {}
        self.contents: dict[str, Content] = {}
        self.frozen: set[str] = set()
        self.writers: dict[str, dict[str, None]] = {}
        """Who wrote in guarded parts since the request was last told of it, by artifact."""
        self.attributed: set[str] = set()
        """The artifacts of which all writers are in `writers`, or in the request."""
        self.clock_watch = ClockWatch()
        self.given = GivenRoles()
        self.recent = Recent()
        self._found: dict[str, tuple[Hashable, Request | None]] = {}

    async def open(self, server: Server, conditions: ConditionPool, delivering: Delivering) -> None:
        """Begin to work with a server: read all that was kept."""
        self.server = server
        self.delivering = delivering
        self._conditions = conditions
        await self._read_directory()
        await self.read_policies()
        for key, value in (await self.server.read_values("live/")).items():
            self.live[key.removeprefix("live/")] = read_request(json.loads(value))
        for key, value in (await self.server.read_values("facts/")).items():
            self.contents[key.removeprefix("facts/")] = _CONTENT.validate_json(value)
        await self.given.load(self.server)
        self.frozen = {key.removeprefix("frozen/") for key in await self.server.read_values("frozen/")}

    async def _read_directory(self) -> None:
        for value in (await self.server.read_values("person/")).values():
            person = _PERSON.validate_json(value)
            self.directory.people[person.id] = person
        for value in (await self.server.read_values("delegation/")).values():
            delegation = _DELEGATION.validate_json(value)
            self.directory.delegations[delegation.id] = delegation
        for value in (await self.server.read_values("directory_version")).values():
            self.directory.version = int(value)

    # Requests

    def find(self, artifact: Artifact) -> Request | None:
        """Return the request that an artifact's record holds; `None` while it is a draft."""
        version = artifact.record_version
        known = self._found.get(artifact.name)
        if known is not None and known[0] == version:
            return known[1]
        section = artifact.record_section(SECTION)
        request = read_request(section) if section else None
        self._found[artifact.name] = (version, request)
        if len(self._found) > MOST_FOUND:
            del self._found[next(iter(self._found))]
        return request

    def record(
        self,
        work: Work,
        artifact: Artifact,
        request: Request | None,
        *events: Event,
        texts: Mapping[str, str] | None = None,
    ) -> Request:
        """Apply events to a request and write down all that follows; return the request after them.

        `texts` are personal texts of the events; they are kept where they can be erased.
        """
        before = request
        for event in events:
            earlier = request
            request = self._take(work, artifact, request, event, texts or {})
            scheduled = clockwork.schedule(request, event.at, self.around(request))
            if scheduled is not None:
                request = self._take(work, artifact, request, scheduled, {})
            told = tellings(earlier, request, event, reviewers=self.reviewers_of(request, event))
            self._tell(work, artifact, told, request)
        assert request is not None, "there was an event"
        if work.set_record(artifact, SECTION, request_json(request)):
            self._found[artifact.name] = (artifact.record_version, request)
        self._keep(work, artifact.name, request)
        work.wake(artifact, clockwork.next_at(request))
        if before is None or before.state is not request.state:
            facts = {"state": request.state, "revision": request.revision, "type": request.type, "by": events[-1].by}
            work.publish(f"approval.{request.state}", artifact, facts)
        return request

    def tell_of_delegation(self, work: Work, artifact: Artifact, request: Request, delegation: Delegation) -> None:
        """Have somebody told that a request was handed over to them, in the same transaction."""
        told = Telling(person=delegation.delegate, event="delegated", by=delegation.principal)
        self._tell(work, artifact, [told], request)

    def _tell(self, work: Work, artifact: Artifact, told: Sequence[Telling], request: Request) -> None:
        """Have people told of what happened, in the same transaction."""
        if not told:
            return
        title = str(artifact.root_members("request").get("title") or artifact.name)
        link = self.delivering.link_to(artifact.name)
        about = Subject(request=request, name=artifact.name, title=title, link=link, names=self.directory.names())
        for telling in told:
            recipient = self.directory.people.get(telling.person)
            if recipient is not None:
                self.delivering.enqueue(work, telling, recipient, about)

    def reviewers_of(self, request: Request, event: Event) -> set[str]:
        """Return who must look at an override, if an event is one."""
        if event.kind != "overrode":
            return set()
        parties = self.parties(request)
        selectors = self.policies.template(request.type).reviews_overrides
        return {person for each in selectors for person in self.directory.resolve(each, parties)}

    def _take(
        self, work: Work, artifact: Artifact, request: Request | None, event: Event, texts: Mapping[str, str]
    ) -> Request:
        changed = apply(request, event)
        facts: dict[str, object] = {
            "event": event_json(event),
            "version": changed.version,
            "before": None if request is None else request.state,
            "after": changed.state,
        }
        work.audit(f"approval.{event.kind}", artifact, facts=facts, texts=texts)
        self.recent.note(work, artifact.name, request, event, changed)
        return changed

    def _keep(self, work: Work, name: DocumentName, request: Request) -> None:
        is_over = _is_over(request)
        work.put(f"live/{name}", None if is_over else json.dumps(request_json(request)).encode())
        if is_over:
            work.put(f"facts/{name}", None)
        is_frozen = request.state in FROZEN
        if is_frozen != (name in self.frozen):
            work.put(f"frozen/{name}", b"1" if is_frozen else None)

    def remember(self, artifact: Artifact) -> None:
        """Take note of what is durable now in a request's record."""
        request = self.find(artifact)
        if request is None:
            return
        self.given.remember(artifact)
        if _is_over(request):
            self.live.pop(artifact.name, None)
            self.contents.pop(artifact.name, None)
        else:
            self.live[artifact.name] = request
        (self.frozen.add if request.state in FROZEN else self.frozen.discard)(artifact.name)

    # What a request needs to know of the rest

    def owners_of(self, subject: str) -> tuple[str, ...]:
        """Return the users who own a subject, as far as the server knows them."""
        found = self.server.principals_with("owner", DocumentName(subject)) if subject else ()
        people = [each.removeprefix("user:") for each in found if each.startswith("user:")]
        groups = {each.removeprefix("group:") for each in found if each.startswith("group:")}
        return tuple(dict.fromkeys((*people, *self.directory.members(groups))))

    def parties(self, request: Request) -> Parties:
        """Return who has to do with a request."""
        return parties_of(request, self.owners_of(request.subject))

    def pools(self, stages: Sequence[Stage], parties: Parties, added: Mapping[str, Sequence[str]]) -> Pools:
        """Return the pools of all requirements; `added` are selectors that escalations added, by stage."""
        return {
            stage.id: {
                each.id: self.directory.pool(each, parties, added.get(stage.id, ())) for each in stage.requirements
            }
            for stage in stages
        }

    def pools_now(self, request: Request, *, stage: str = "", added: Sequence[str] = ()) -> Pools:
        """Return the pools of a request by the directory of now; `added` instead of what was added to one stage."""
        extra = {key: run.added for key, run in request.runs.items()}
        if stage:
            extra[stage] = tuple(added)
        fresh = self.pools(request.stages, self.parties(request), extra)
        return {
            key: {each: _as_before(request.runs[key].pools.get(each), pool) for each, pool in pools.items()}
            for key, pools in fresh.items()
        }

    def around(self, request: Request) -> Surroundings:
        """Return what the clockwork needs to know."""
        return Surroundings(
            calendar=self.policies.calendar,
            pools=lambda now, stage, added: self.pools_now(now, stage=stage, added=added),
            may_approve=self.policies.template(request.type).may_time_out_approved,
            is_doubtful=self.clock_watch.is_doubtful,
        )

    # Policies

    async def rule(self, content: Content, requester: str, now: float) -> Ruling:
        """Return what the policies make of a content; a condition that fails is never an approval."""
        return (await self.rule_all({content.hash: (content, requester)}, self.policies, now))[content.hash]

    async def rule_all(
        self, asked: Mapping[str, tuple[Content, str]], policies: PolicySet, now: float
    ) -> dict[str, Ruling]:
        """Return what policies make of many contents, by their keys."""
        questions: list[Asked] = []
        places: list[tuple[str, str]] = []
        for number, (key, (content, requester)) in enumerate(asked.items(), 1):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)  # a thousand of them would keep everybody waiting
            risky = replace(content, risk=content.risk or policies.template(content.type).risk)
            facts = risky.facts(self.directory, requester, self.owners_of(content.subject), now)
            for source in conditions_of(policies, content.type, now):
                places.append((key, source))
                questions.append(Asked(source=source, facts=facts))
        answers = dict(zip(places, await self._conditions.ask(questions), strict=True)) if questions else {}

        def ruling(key: str, content: Content) -> Ruling:
            def holds(source: str) -> bool | ConditionError:
                return answers[key, source]

            return rule_on(policies, content.type, now, holds)

        rulings: dict[str, Ruling] = {}
        for number, (key, (content, _)) in enumerate(asked.items(), 1):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            rulings[key] = ruling(key, content)
        return rulings

    def ruled_pools(self, ruling: Ruling, parties: Parties) -> Pools:
        """Return the pools of a ruling: whether each requirement applies is in them."""
        fresh = self.pools(ruling.stages, parties, {})
        return {
            stage: {
                key: replace(
                    pool,
                    applies=(stage, key) not in ruling.absent,
                    error=ruling.unsettled.get((stage, key), ""),
                )
                for key, pool in pools.items()
            }
            for stage, pools in fresh.items()
        }

    async def read_policies(self) -> None:
        """Read the policies that are published."""
        for key, value in (await self.server.read_values("policy/")).items():
            kept = json.loads(value)
            self.policies = self.with_policy(key.removeprefix("policy/"), int(kept["version"]), kept["settings"])

    def publish(self, work: Work, name: DocumentName, settings: object, content_hash: str) -> PolicySet:
        """Let a policy take effect; return the policies after it.

        Raises:
            ValueError: it is none.
        """
        read_policy(settings)
        version = self.policies.version + 1
        kept = json.dumps({"version": version, "hash": content_hash, "settings": settings}).encode()
        work.put(f"policy/{name}", kept)
        work.put(f"policy_history/{version:08}", zlib.compress(kept))
        facts = {"version": version, "content_hash": content_hash}
        # What it says is evidence of what was decided by it, and of how business time passed.
        work.audit("approval.policy_published", name, facts={**facts, "settings": settings})
        work.publish("approval.policy_published", name, facts)
        return self.with_policy(name, version, settings)

    def with_policy(self, name: str, version: int, settings: object) -> PolicySet:
        """Return the policies with one more, or another instead of it."""
        policies: dict[str, Policy] = {**self.policies.policies, name: read_policy(settings)}
        return PolicySet(version=max(version, self.policies.version), policies=policies, defaults=DEFAULTS)

    # The directory

    def put_people(self, work: Work, people: Sequence[Person], removed: Sequence[str]) -> int:
        """Write down who people are, and who is gone; return the directory's next version."""
        for person in people:
            work.put(f"person/{person.id}", _PERSON.dump_json(person))
        for person_id in removed:
            work.put(f"person/{person_id}", None)
        version = self.directory.version + 1
        work.put("directory_version", str(version).encode())
        work.audit("approval.directory_changed", None, facts={"version": version, "people": len(people) + len(removed)})
        return version

    def put_delegation(self, work: Work, delegation: Delegation) -> None:
        """Write down a delegation."""
        work.put(f"delegation/{delegation.id}", _DELEGATION.dump_json(delegation))
        facts = cast("dict[str, object]", _DELEGATION.dump_python(delegation, mode="json"))
        work.audit("approval.delegation_changed", None, facts=facts)

    # Contents as they were

    def keep_content(self, work: Work, name: DocumentName, revision: int, content: Content, kept: Kept) -> None:
        """Keep a content as it was put up for decision: what people decide on, and what is executed."""
        whole = replace(kept, hash=content.hash, parts=content.parts)
        work.put(f"content/{name}/{revision:08}", zlib.compress(_KEPT.dump_json(whole)))
        work.put(f"facts/{name}", _CONTENT.dump_json(content))

    async def kept_contents(self, name: DocumentName) -> dict[str, Kept]:
        """Return the contents that were put up for decision, by their hash, the oldest first."""
        values = (await self.server.read_values(f"content/{name}/")).values()
        found = [_KEPT.validate_json(zlib.decompress(value)) for value in values]
        return {each.hash: each for each in found}


def _is_over(request: Request) -> bool:
    """Whether nothing will happen to a request any more but that it is revoked."""
    return request.state in FINISHED or (request.state is State.FULFILLED and request.valid_until is None)


def _as_before(before: Pool | None, pool: Pool) -> Pool:
    """Return a pool of now; whether its requirement applies was settled when the request was evaluated."""
    return pool if before is None else replace(pool, applies=before.applies, error=before.error)
