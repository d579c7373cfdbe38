"""The HTTP interface of governance: commands, kinds, engines, the change feed, access, attribution, and audit.

The neighbour `http_api` serves documents. Each endpoint is one row of `GOVERNANCE_ENDPOINTS`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response

from quorate_protocol.ids import DocumentName
from quorate_protocol.ids import Sequence as LogPlace
from quorate_server.access import EVERYTHING, ROLES, Action, Verdict
from quorate_server.attribution import Contribution
from quorate_server.cloudevents import cloud_event
from quorate_server.contributions import LONGEST_PAGE, contributions
from quorate_server.errors import MalformedUpdate
from quorate_server.governance_models import (
    AccessInfo,
    AuditEventInfo,
    AuditPage,
    ChangeInfo,
    ChangePage,
    ContributionInfo,
    ContributionList,
    EngineInfo,
    EngineList,
    GrantInfo,
    GrantList,
    HeldRoleInfo,
    KindInfo,
    KindList,
    ProposalInfo,
    ProposalList,
    RootInfo,
)
from quorate_server.kinds import KINDS, artifact_of
from quorate_server.openapi import PAGE_SIZE, POSITION, TEXT, Endpoint, one_of
from quorate_server.requests import body_of, document_of, house_of, model_response, name_of, number_of, stored
from quorate_server.users import User
from quorate_storage.acts import Grant, SetAside


async def run_command(request: Request, user: User) -> Response:
    """Do a command; with an `Idempotency-Key` header it is done once, however often it is sent."""
    house = house_of(request)
    name = request.path_params["command"]
    key = request.headers.get("idempotency-key", "")
    answer = await house.commands.run(name, await body_of(request), user=user, via="api", key=key)
    return model_response(answer)


async def list_changes(request: Request, user: User) -> Response:
    """Return changes of the feed beyond `after` that the caller may read, at most `limit`."""
    house = house_of(request)
    after, limit = number_of(request, "after", 0), number_of(request, "limit", 100, least=1, most=LONGEST_PAGE)
    found = await stored(house.rooms.store.read_changes(after=after, limit=limit))
    readable = [change for change in found if house.access.may(user, Action.READ, change.document)]
    page = ChangePage(
        changes=[ChangeInfo.model_validate(cloud_event(change)) for change in readable],
        next=found[-1].position if found else after,
    )
    return model_response(page)


async def explain_access(request: Request, user: User) -> Response:
    """Say whether the caller may do `action` with a document, and why; owners may ask for another `subject`."""
    house, name = house_of(request), name_of(request)
    text = request.query_params.get("action", "read")
    if text not in set(Action):
        raise MalformedUpdate(f"`action` must be one of {', '.join(Action)}, not {text[:40]!r}")
    subject = request.query_params.get("subject", "")
    asked = user
    if subject and subject != user.id:
        house.access.require(user, Action.SHARE, name)
        groups = frozenset(request.query_params.getlist("group"))
        asked = User(id=type(user.id)(subject), name="", groups=groups, role=request.query_params.get("role", "guest"))
    verdict = house.access.explain(asked, Action(text), name)
    scopes = {held.scope for held in verdict.roles if held.granted}
    grants = await stored(house.rooms.store.list_grants(scopes)) if scopes else ()
    return model_response(_access_info(name, text, asked, verdict, grants))


def _access_info(name: DocumentName, action: str, user: User, verdict: Verdict, grants: Iterable[Grant]) -> AccessInfo:
    times = {(one.scope, one.principal): one.at for one in grants}
    roles = [
        HeldRoleInfo(role=held.role)
        if held.granted is None
        else HeldRoleInfo(
            role=held.role,
            scope=held.scope,
            principal=held.granted.principal,
            by=held.granted.by,
            at=times.get((held.scope, held.granted.principal)),
        )
        for held in verdict.roles
    ]
    return AccessInfo(
        name=name,
        action=action,
        subject=user.id,
        allowed=verdict.is_allowed,
        roles=roles,
        policies=list(verdict.policies),
    )


async def list_grants(request: Request, user: User) -> Response:
    """Return the roles granted in an artifact and in its kind."""
    house, name = house_of(request), name_of(request)
    house.access.require(user, Action.READ, name)
    document = await document_of(house, name)
    found = await stored(house.rooms.store.list_grants([name, f"kind:{document.kind}"]))
    grants = [
        GrantInfo(scope=one.scope, principal=one.principal, role=one.role or "", by=one.by, at=one.at) for one in found
    ]
    return model_response(GrantList(grants=grants))


async def list_attributions(request: Request, user: User) -> Response:
    """Say who changed which part of a document by the updates beyond `after` and up to `until`."""
    house, name = house_of(request), name_of(request)
    house.access.require(user, Action.READ, name)
    document = await document_of(house, name)
    after = number_of(request, "after", 0)
    until = number_of(request, "until", document.last_sequence)
    found = await stored(contributions(house.rooms, document, LogPlace(after), LogPlace(until)))
    return model_response(
        ContributionList(
            name=name, after=after, until=until, contributions=[_contribution_info(each) for each in found]
        )
    )


def _contribution_info(found: Contribution) -> ContributionInfo:
    return ContributionInfo(
        sequence=found.sequence,
        author=found.author,
        at=found.at,
        inserted=dict(found.inserted),
        deleted=dict(found.deleted),
    )


async def list_proposals(request: Request, user: User) -> Response:
    """Return the refused edits of a document: all of them to its writers, to others their own."""
    house, name = house_of(request), name_of(request)
    house.access.require(user, Action.READ, name)
    document = await document_of(house, name)
    is_all = house.access.may(user, Action.WRITE, artifact_of(name))
    found = await stored(house.rooms.store.list_set_aside(document.id))
    shown = [one for one in found if one.cause == "refused" and (is_all or one.author == user.id)]
    return model_response(ProposalList(proposals=[_proposal_info(one) for one in shown[-LONGEST_PAGE:]]))


def _proposal_info(item: SetAside) -> ProposalInfo:
    update = base64.b64encode(item.update).decode()
    return ProposalInfo(id=item.id or 0, author=item.author, at=item.at, reason=item.reason, update=update)


async def list_audit(request: Request, user: User) -> Response:
    """Return events of the audit chain beyond `after`: of one `artifact` to its owners, all to administrators."""
    house = house_of(request)
    artifact = request.query_params.get("artifact", "")
    house.access.require(user, Action.ADMINISTER, artifact_of(DocumentName(artifact)) if artifact else EVERYTHING)
    after, limit = number_of(request, "after", 0), number_of(request, "limit", 100, least=1, most=LONGEST_PAGE)
    only = DocumentName(artifact) if artifact else None
    found = await stored(house.rooms.store.read_audit(after=after, limit=limit, artifact=only))
    events = [
        AuditEventInfo(
            sequence=record.sequence,
            body=json.loads(record.body),
            texts={name: text for name, (_, text) in record.texts.items()},
        )
        for record in found
    ]
    head = await stored(house.rooms.store.audit_head())
    return model_response(AuditPage(events=events, size=head.size))


async def read_checkpoint(request: Request, _: User) -> Response:
    """Return the newest signed checkpoint of the audit chain (C2SP signed note), newly signed if there is news."""
    house = house_of(request)
    return Response(await house.sealer.seal(), media_type="text/plain; charset=utf-8")


async def list_kinds(_: Request, __: User) -> Response:
    """Return the kinds of artifacts with the JSON Schema of their content, and which parts decisions bind to."""
    kinds = [
        KindInfo(
            name=kind.name,
            title=kind.title,
            summary=kind.summary,
            roots=[
                RootInfo(name=root.name, summary=root.summary, guarded=root.guarded, discussion=root.is_discussion)
                for root in kind.roots
            ],
            json_schema=kind.json_schema(),
        )
        for kind in KINDS.values()
    ]
    return model_response(KindList(kinds=kinds))


async def list_engines(request: Request, _: User) -> Response:
    """Return the engines that are installed: version, hooks, commands, health, and lag behind the change feed."""
    house = house_of(request)
    head = await stored(house.rooms.store.feed_head())
    engines = [EngineInfo.model_validate(one) for one in house.engines.describe(head, house.commands.specs)]
    return model_response(EngineList(engines=engines, head=head))


GOVERNANCE_ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/api/kinds", list_kinds, answer=KindList),
    Endpoint("GET", "/api/engines", list_engines, answer=EngineList),
    Endpoint("GET", "/api/changes", list_changes, answer=ChangePage, query={"after": POSITION, "limit": PAGE_SIZE}),
    Endpoint("GET", "/api/access/{name:path}", explain_access, answer=AccessInfo,
             query={"action": one_of(Action), "subject": TEXT, "role": one_of(ROLES), "group": TEXT}),
    Endpoint("GET", "/api/grants/{name:path}", list_grants, answer=GrantList),
    Endpoint("GET", "/api/attributions/{name:path}", list_attributions, answer=ContributionList,
             query={"after": POSITION, "until": POSITION}),
    Endpoint("GET", "/api/proposals/{name:path}", list_proposals, answer=ProposalList),
    Endpoint("GET", "/api/audit", list_audit, answer=AuditPage,
             query={"after": POSITION, "limit": PAGE_SIZE, "artifact": TEXT}),
    Endpoint("GET", "/api/audit/checkpoint", read_checkpoint, media_type="text/plain"),
)  # fmt: skip
