"""What all handlers of commands about requests share: who may see one, where it stands, and what is durable of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from quorate_plugins.approval.commands import RequestInfo
from quorate_plugins.approval.contents import Content, is_guarded
from quorate_plugins.approval.desk import Desk
from quorate_plugins.approval.requests import Change, Edited, Request
from quorate_server.hooks import AccessDenied, Action, Artifact, Call, Conflict, DocumentName, DocumentNotFound, Refused

EVERYTHING = DocumentName("*")


class Handling:
    """The base of handlers. `clock` tells the time in seconds since the epoch."""

    def __init__(self, desk: Desk, clock: Callable[[], float] = time.time) -> None:
        self.desk = desk
        self.clock = clock

    async def settle(self, artifact: Artifact) -> None:
        """Take note of what is durable now."""
        self.desk.remember(artifact)
        request = self.desk.find(artifact)
        if request is not None and self.desk.policies.template(request.type).executor == "publish":
            await self.desk.read_policies()

    def demand(self, artifact: Artifact) -> Request:
        """Return the request of an artifact.

        Raises:
            Conflict: it is a draft.
        """
        request = self.desk.find(artifact)
        if request is None:
            raise Conflict(f"{artifact.name!r} was not submitted")
        return request

    async def know_writers(self, artifact: Artifact) -> None:
        """Find out who wrote what is in the guarded content, once for each run of the server; edits since are noted."""
        if artifact.name in self.desk.attributed:
            return
        wrote = await self.desk.server.contributors(artifact)
        noted = self.desk.writers.setdefault(artifact.name, {})
        noted.update(dict.fromkeys(user for user, parts in wrote.items() if any(is_guarded(part) for part in parts)))
        self.desk.attributed.add(artifact.name)

    def new_writers(self, artifact: Artifact, request: Request) -> set[str]:
        """Return who wrote in the guarded content and is not known as a contributor yet."""
        return set(self.desk.writers.get(artifact.name, {})) - set(request.contributors)

    def edited(self, artifact: Artifact, request: Request, content: Content, change: Change, now: float) -> Edited:
        """Return the event that the guarded content changed, by those who wrote since; `change` is its class."""
        writers = tuple(self.desk.writers.get(artifact.name, {}))
        changed = replace(
            request,
            contributors=tuple(dict.fromkeys((*request.contributors, *writers))),
            beneficiaries=content.beneficiaries,
            subject=content.subject,
            risk=content.risk or self.desk.policies.template(request.type).risk,
            priority=content.priority,
        )
        return Edited(
            at=now,
            by=writers[-1] if writers else "somebody",
            content_hash=content.hash,
            part_hashes=content.part_hashes(),
            contributors=writers,
            beneficiaries=changed.beneficiaries,
            subject=changed.subject,
            risk=changed.risk,
            priority=changed.priority,
            change=change,
            pools=self.desk.pools_now(changed),
        )


class Visible:
    """Keeps an artifact open that the caller may read; to anybody else there is none: `async with` gives it."""

    def __init__(self, call: Call, name: str) -> None:
        self._call = call
        self._name = name
        self._opened = call.artifact(name)

    async def __aenter__(self) -> Artifact:
        try:
            self._call.require(Action.READ, DocumentName(self._name))
        except Refused as error:
            raise DocumentNotFound(f"there is no artifact {self._name!r}") from error
        return await self._opened.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        await self._opened.__aexit__(*error)  # type: ignore[arg-type]


def require_party(call: Call, people: set[str]) -> None:
    """Do nothing if the caller is one of some people, or an administrator.

    Raises:
        AccessDenied: they are not.
    """
    if call.user.id in people:
        return
    try:
        call.require(Action.ADMINISTER, EVERYTHING)
    except AccessDenied as error:
        raise AccessDenied(f"only they may: {', '.join(sorted(people)) or 'nobody'}, and administrators") from error


def info(name: DocumentName, request: Request, *, is_existing: bool = False) -> RequestInfo:
    """Return where a request stands, as commands answer it."""
    return RequestInfo(
        artifact=name,
        state=request.state,
        revision=request.revision,
        content_hash=request.content_hash,
        type=request.type,
        block=request.block,
        deadline_at=request.deadline_at,
        resolved_by=request.resolved_by,
        outcome=request.outcome,
        is_existing=is_existing,
    )
