"""Doing what was approved, exactly as it was stored, and taking it back.

The server itself gives and takes roles and publishes policies, in the same transaction that says that it is done.
Everything else is done by others, who hear of it from the change feed and say by command how it went.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from quorate_plugins.approval.contents import Content, Kept, is_artifact, principal_of
from quorate_plugins.approval.desk import Desk
from quorate_plugins.approval.given import GIVEN, ROLES
from quorate_plugins.approval.requests import ExecutionEnded, ExecutionStarted, Request, State
from quorate_server.hooks import Artifact, Conflict, DocumentName, Work

_READY = frozenset({State.APPROVED, State.OVERRIDDEN, State.FULFILMENT_FAILED})


def execute(
    desk: Desk,
    work: Work,
    artifact: Artifact,
    request: Request,
    *,
    content: Content,
    kept: Kept,
    is_asked: bool = False,
    facets: Callable[[Request], Mapping[str, object]] | None = None,
) -> Request:
    """Do what was approved; return the request after it.

    What others must do begins only when somebody asks for it. They are told by which approval (`facets`), so that
    their runs can say so.

    Raises:
        Conflict: it is not approved, or no more valid; only when it was asked for.
    """
    why_not = _why_not(request, work.now)
    if why_not and is_asked:
        raise Conflict(why_not)
    executor = desk.policies.template(request.type).executor
    is_external = executor == "external"
    if why_not or (is_external and not is_asked):
        return request
    request = desk.record(work, artifact, request, ExecutionStarted(at=work.now, by=work.actor.id))
    if is_external:
        _authorise(work, artifact, request, facets)
        return request
    is_done = _perform(desk, work, artifact, executor, content=content, kept=kept)
    return desk.record(work, artifact, request, ExecutionEnded(at=work.now, by="server", is_done=is_done))


def _authorise(
    work: Work, artifact: Artifact, request: Request, facets: Callable[[Request], Mapping[str, object]] | None
) -> None:
    """Tell whoever does it by which approval they do."""
    if facets is not None:
        facts = {"type": request.type, "revision": request.revision, "run_facets": facets(request)}
        work.publish("approval.execution_authorised", artifact, facts)


def _why_not(request: Request, now: float) -> str:
    if request.state not in _READY:
        return f"it is {request.state}: only what is approved can be executed"
    return "its validity has ended" if request.valid_until is not None and request.valid_until <= now else ""


def _perform(desk: Desk, work: Work, artifact: Artifact, executor: str, *, content: Content, kept: Kept) -> bool:
    if executor == "publish":
        return _publish(desk, work, content, kept)
    return _give(desk, work, artifact, content, role=str(content.fields.get("role", "")) if executor == "grant" else "")


def _publish(desk: Desk, work: Work, content: Content, kept: Kept) -> bool:
    """Let the policy take effect that was submitted, not what its artifact says now."""
    if not kept.settings_hash or kept.settings_hash != content.subject_version:
        return False  # it was edited to name another version, which nobody has read
    try:
        desk.publish(work, DocumentName(content.subject), kept.settings, kept.settings_hash)
    except ValueError:
        return False
    return True


def _give(desk: Desk, work: Work, artifact: Artifact, content: Content, *, role: str) -> bool:
    """Give somebody a role in the subject; without a role, take theirs."""
    principal = principal_of(content)
    if not principal or not is_artifact(content.subject) or role not in ("", *ROLES):
        return False  # it was edited into something that nobody gives
    work.grant(content.subject, principal, role or None)
    what = {"scope": content.subject, "principal": principal, "role": role, "until": content.valid_until or 0}
    work.set_record(artifact, GIVEN, what)
    desk.given.put(work, artifact.name, what)
    work.audit("access.granted" if role else "access.revoked", DocumentName(content.subject), facts=what)
    return True


def take_back(desk: Desk, work: Work, artifact: Artifact, before: Request, after: Request) -> None:
    """Take a role back whose request was revoked or has lapsed; what another request gave them stays."""
    is_over = after.state in {State.REVOKED, State.LAPSED}
    given = artifact.record_section(GIVEN)
    if not is_over or before.state is not State.FULFILLED or not given.get("role"):
        return
    scope, principal = str(given["scope"]), str(given["principal"])
    left = desk.given.role_without(artifact.name, scope, principal)
    work.grant(scope, principal, left or None)
    work.set_record(artifact, GIVEN, {**given, "role": "", "taken_at": work.now})
    desk.given.put(work, artifact.name, {})
    facts = {"scope": scope, "principal": principal, "role": left}
    work.audit("access.revoked", DocumentName(scope), facts=facts)
