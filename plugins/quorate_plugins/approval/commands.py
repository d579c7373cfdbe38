"""The commands about approvals, and what they answer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from quorate_plugins.approval.directory import Person
from quorate_plugins.approval.reports.catalogue import ReportName
from quorate_plugins.approval.reports.rendering import Format
from quorate_server.hooks import Answer, ArtifactName, Command

Reason = Annotated[str, Field(max_length=4000, description="Why, for people; it can be erased")]
Id = Annotated[str, Field(min_length=1, max_length=256)]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="The content hash of what was looked at")]
Time = Annotated[float, Field(ge=0, le=2**53, description="In seconds since the epoch")]


class Submit(Command):
    """Put a request up for decision, for the first time or again."""

    artifact: ArtifactName
    supersedes: Annotated[str, Field(max_length=256, description="The request that this one replaces")] = ""


class Decide(Command):
    """Decide on a request, as it was seen."""

    artifact: ArtifactName
    verdict: Literal["approve", "reject", "request_changes", "abstain"]
    content_hash: Hash
    stage: Annotated[str, Field(max_length=64)] = ""
    requirements: Annotated[tuple[str, ...], Field(max_length=30)] = ()
    on_behalf_of: Annotated[str, Field(max_length=256)] = ""
    reason: Reason = ""


class About(Command):
    """Name a request, and say why."""

    artifact: ArtifactName
    reason: Reason = ""


class RevokeDecision(Command):
    """Take a decision of one's own back."""

    artifact: ArtifactName
    decision: Id


class Report(Command):
    """Say whether what was approved is done."""

    artifact: ArtifactName
    is_done: bool
    reason: Reason = ""


class MakeReport(Command):
    """Have a compliance report made of the events of a period; without an end, up to the newest checkpoint."""

    report: ReportName
    format: Format = "json"
    since: Time | None = None
    until: Time | None = None
    as_of: Annotated[Time | None, Field(description="When what is open is measured; now, unless it is said")] = None
    person: Annotated[str, Field(max_length=256, description="Whom `data_subject` is about, by user id")] = ""


class PutPeople(Command):
    """Put people into the directory, or take them out."""

    people: Annotated[tuple[Person, ...], Field(max_length=1000)] = ()
    removed: Annotated[tuple[str, ...], Field(max_length=1000)] = ()


class Delegate(Command):
    """Have somebody else decide for a while, or on one request; an administrator may say so for others."""

    delegate: Id
    artifact: Annotated[str, Field(max_length=256, description="The only request that it is for")] = ""
    valid_to: Time | None = None
    valid_from: Time | None = None
    principal: Annotated[str, Field(max_length=256)] = ""
    types: Annotated[tuple[str, ...], Field(max_length=12)] = ()
    prefix: Annotated[str, Field(max_length=256)] = ""
    most_risk: Literal["", "low", "medium", "high", "critical"] = ""
    is_out_of_office: bool = False


class EndDelegation(Command):
    """End a delegation."""

    id: Id


class PublishPolicy(Command):
    """Let the first policies take effect; later ones change by an approved request of type `policy_change`."""

    artifact: ArtifactName


class WhatIf(Command):
    """Ask what a policy, as it is drafted now, would make of all requests that are open."""

    artifact: ArtifactName


class Ask(Command):
    """Ask for a list about oneself."""


class ComplianceReport(Answer):
    """A report as text, and what seals it: JSON, to be kept beside it."""

    report: str
    format: str
    media_type: str
    document: str
    rows: int
    seal: str


class Lineage(Answer):
    """What belongs into `run.facets` of an OpenLineage event of a run that the request authorises."""

    run_facets: dict[str, object]


class RequestInfo(Answer):
    """Where a request stands."""

    artifact: str
    state: str
    revision: int
    content_hash: str
    type: str = ""
    block: str | None = None
    deadline_at: float | None = None
    resolved_by: str = ""
    outcome: str = ""
    is_existing: bool = False


class DecisionInfo(Answer):
    """What was decided, and where the request stands after it."""

    decision: str
    status: str
    request: RequestInfo


class RequirementInfo(Answer):
    """What a requirement has come to."""

    id: str
    result: str
    approved_by: tuple[str, ...]
    rejected_by: tuple[str, ...]
    abstained_by: tuple[str, ...]
    may_decide: tuple[str, ...]
    got: float
    needed: float
    reason: str


class StageInfo(Answer):
    """What a stage has come to."""

    id: str
    title: str
    state: str
    due_at: float | None
    level: int
    requirements: tuple[RequirementInfo, ...]


class Explanation(Answer):
    """Why a request stands where it stands."""

    request: RequestInfo
    policy_version: int
    rules: tuple[str, ...]
    stages: tuple[StageInfo, ...]


class InboxItem(Answer):
    """A request that waits for somebody."""

    artifact: str
    type: str
    stage: str
    risk: str
    priority: str
    requester: str
    due_at: float | None
    content_hash: str
    on_behalf_of: str = ""


class Inbox(Answer):
    """What waits for somebody, the most urgent first."""

    items: tuple[InboxItem, ...]


class Prefer(Command):
    """Say by which channels one wants to be told, in which order, and when not."""

    channels: Annotated[tuple[str, ...], Field(max_length=6)] = ("in_app", "email")
    quiet: Annotated[tuple[dict[str, str], ...], Field(max_length=20)] = ()
    digest: Literal["", "hourly", "daily"] = ""
    digests_outcomes: bool = False
    mutes: Annotated[tuple[str, ...], Field(max_length=20)] = ()


class NoticeInfo(Answer):
    """What somebody was told. `at` is in seconds since the epoch."""

    at: float
    event: str
    request: str
    title: str
    state: str
    by: str


class NoticeList(Answer):
    """What somebody was told, the newest first."""

    notices: tuple[NoticeInfo, ...]


class PeopleInfo(Answer):
    """The directory's version, and how many people are in it."""

    version: int
    people: int


class DelegationInfo(Answer):
    """A delegation."""

    id: str
    principal: str
    delegate: str
    valid_from: float
    valid_to: float


class PolicyInfo(Answer):
    """Which version of the policies holds."""

    artifact: str
    version: int


class Difference(Answer):
    """What a draft of a policy would make of one open request."""

    artifact: str
    now: str
    then: str
    stages: tuple[str, ...]
    explanation: tuple[str, ...]


class FieldInfo(Answer):
    """A field that a type of request asks for. `type` is a JSON type."""

    name: str
    type: str
    is_required: bool
    options: tuple[str, ...]
    summary: str


class TemplateInfo(Answer):
    """What a type of request asks for, and who decides if no rule says otherwise: the titles of its stages."""

    type: str
    title: str
    fields: tuple[FieldInfo, ...]
    stages: tuple[str, ...]
    deadline: str
    risk: str
    executor: str


class TemplateList(Answer):
    """The types of requests there are, with the templates of now."""

    templates: tuple[TemplateInfo, ...]


class WhatIfAnswer(Answer):
    """What a draft would change: only the requests for which it would."""

    asked: int
    differences: tuple[Difference, ...]
