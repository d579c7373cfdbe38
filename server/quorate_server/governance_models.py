"""The shapes of the HTTP interface of governance; OpenAPI is generated from them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from quorate_server.http_models import Model


class ChangeInfo(Model):
    """One change of the feed, as a CloudEvent (JSON format, version 1.0)."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str = "application/json"
    data: dict[str, object]


class ChangePage(Model):
    """Changes in order. `next` is where to go on reading, whether or not there was anything."""

    changes: list[ChangeInfo]
    next: int


class HeldRoleInfo(Model):
    """A role that somebody holds, and who gave it; without `scope` it is the token's."""

    role: str
    scope: str | None = None
    principal: str | None = None
    by: str | None = None
    at: float | None = None


class AccessInfo(Model):
    """Whether somebody may do something with a document, and why."""

    name: str
    action: str
    subject: str
    allowed: bool
    roles: list[HeldRoleInfo]
    policies: Annotated[list[str], Field(description="Ids of the policies that decided; none: nothing permits it")]


class GrantInfo(Model):
    """A role granted in an artifact or in its kind."""

    scope: str
    principal: str
    role: str
    by: str
    at: float


class GrantList(Model):
    """The roles granted in an artifact and in its kind."""

    grants: list[GrantInfo]


class ContributionInfo(Model):
    """What one update changed: who wrote it, and in which parts."""

    sequence: int
    author: str
    at: float
    inserted: dict[str, int]
    deleted: dict[str, int]


class ContributionList(Model):
    """Who changed which part between two sequences, in order."""

    name: str
    after: int
    until: int
    contributions: list[ContributionInfo]


class ProposalInfo(Model):
    """An edit that was refused, kept as its author's proposal. `update` is Yjs v1 in base64."""

    id: int
    author: str
    at: float
    reason: str
    update: str


class ProposalList(Model):
    """The edits that were refused in a document, the oldest first."""

    proposals: list[ProposalInfo]


class AuditEventInfo(Model):
    """One event of the audit chain: its canonical body, and the personal texts that were not erased."""

    sequence: int
    body: dict[str, object]
    texts: dict[str, str]


class AuditPage(Model):
    """Events in order, and how long the chain is."""

    events: list[AuditEventInfo]
    size: int


class RootInfo(Model):
    """One root type of a kind's content."""

    name: str
    summary: str
    guarded: Annotated[bool, Field(description="Whether decisions bind to it")]
    discussion: Annotated[bool, Field(description="Whether commenters may write in it")]


class KindInfo(Model):
    """A kind of artifacts. `json_schema` describes the JSON view of its content."""

    name: str
    title: str
    summary: str
    roots: list[RootInfo]
    json_schema: dict[str, object]


class KindList(Model):
    """The kinds there are."""

    kinds: list[KindInfo]


class EngineInfo(Model):
    """An engine that is installed, and how it is: `starting`, `working`, `degraded` or `failed`."""

    name: str
    version: str
    kinds: list[str]
    hooks: list[str]
    commands: list[str]
    health: str
    reason: str
    position: Annotated[int, Field(description="How far it has read the change feed")]
    lag: Annotated[int, Field(description="How many changes it has not read")]


class EngineList(Model):
    """The engines that are installed, and the newest position of the change feed."""

    engines: list[EngineInfo]
    head: int
