"""The server's own commands: who may do what with an artifact, and what is kept of people."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal
from weakref import WeakValueDictionary

from pydantic import Field

from quorate_protocol.ids import DocumentName
from quorate_server.access import EVERYTHING, Access, Action
from quorate_server.commands import Answer, AnySpec, ArtifactName, Call, Command, CommandSpec, Done
from quorate_server.errors import Conflict
from quorate_server.kinds import KINDS
from quorate_server.work import Work
from quorate_storage.acts import Erasure

Role = Literal["owner", "editor", "reviewer", "commenter", "viewer", "guest"]
Principal = Annotated[
    str, Field(pattern=r"^(user|group):[^\x00-\x1f\x7f]{1,256}$", description="`user:ID` or `group:NAME`")
]


class Share(Command):
    """Give somebody a role in an artifact."""

    artifact: ArtifactName
    principal: Principal
    role: Role


class Revoke(Command):
    """Take away the role that somebody was granted in an artifact."""

    artifact: ArtifactName
    principal: Principal


class Transfer(Command):
    """Make somebody else the owner of an artifact; the one who gives it keeps the role named, or none."""

    artifact: ArtifactName
    to: Principal
    keep: Role | None = None


class ShareKind(Command):
    """Give somebody a role in every artifact of a kind, or (without a role) take it away."""

    kind: str
    principal: Principal
    role: Role | None = None


class EraseTexts(Command):
    """Erase personal texts from the audit chain, by the events that hold them; every proof stays valid."""

    sequences: Annotated[list[Annotated[int, Field(ge=1, le=2**53 - 1)]], Field(min_length=1, max_length=1000)]


class Erased(Answer):
    """How many texts were erased."""

    texts: int


class AccessCommands:
    """Who may do what with an artifact."""

    def __init__(self, access: Access) -> None:
        self._access = access
        # Roles in memory follow what is durable: one change of a scope at a time.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def share(self, call: Call, command: Share) -> Done:
        """Give a role in an artifact; that of an owner only by somebody who may hand it over."""
        if command.role == "owner":
            call.require(Action.TRANSFER, DocumentName(command.artifact))
        async with self._turn(command.artifact), call.artifact(command.artifact):
            return await call.transact(lambda work: _grant(work, command.artifact, command.principal, command.role))

    async def revoke(self, call: Call, command: Revoke) -> Done:
        """Take a role away; nobody can take away the last owner."""

        def decide(work: Work) -> Done:
            role = self._granted(command.artifact, command.principal)
            if role is None:
                return Done(changed=False)
            if role == "owner":
                call.require(Action.TRANSFER, DocumentName(command.artifact))
                self._keep_an_owner(command.artifact, command.principal)
            return _grant(work, command.artifact, command.principal, None)

        async with self._turn(command.artifact), call.artifact(command.artifact):
            return await call.transact(decide)

    async def transfer(self, call: Call, command: Transfer) -> Done:
        """Make somebody else the owner."""
        giver = f"user:{call.user.id}"

        def decide(work: Work) -> Done:
            if command.to == giver:
                return Done(changed=False)
            _grant(work, command.artifact, command.to, "owner")
            return _grant(work, command.artifact, giver, command.keep)

        async with self._turn(command.artifact), call.artifact(command.artifact):
            return await call.transact(decide)

    async def share_kind(self, call: Call, command: ShareKind) -> Done:
        """Give or take a role in every artifact of a kind."""
        call.require(Action.ADMINISTER, EVERYTHING)
        if command.kind not in KINDS:
            raise Conflict(f"there is no kind {command.kind!r}; there are {', '.join(KINDS)}")
        scope = f"kind:{command.kind}"
        async with self._turn(scope):
            return await call.transact(lambda work: _grant(work, scope, command.principal, command.role))

    def _turn(self, scope: str) -> asyncio.Lock:
        return self._turns.setdefault(scope, asyncio.Lock())

    def _granted(self, scope: str, principal: str) -> str | None:
        found = next((one for one in self._access.granted_in(scope) if one.principal == principal), None)
        return None if found is None else found.role

    def _keep_an_owner(self, artifact: str, leaving: str) -> None:
        owners = {one.principal for one in self._access.granted_in(artifact) if one.role == "owner"}
        if owners == {leaving}:
            raise Conflict(f"{leaving} is the last owner of {artifact!r}: transfer it instead")


async def erase_texts(call: Call, command: EraseTexts) -> Erased:
    """Erase every personal text of some events; that it was done is an event of its own."""
    call.require(Action.ADMINISTER, EVERYTHING)
    places: list[tuple[int, str]] = []
    for sequence in command.sequences:
        for record in await call.rooms.store.read_audit(after=sequence - 1, limit=1):
            places += [(record.sequence, name) for name in record.texts if record.sequence == sequence]

    def decide(work: Work) -> Erased:
        for sequence, name in places:
            work.add(Erasure(sequence=sequence, field=name))
        work.audit("audit.erased", facts={"texts": [list(place) for place in places]})
        return Erased(texts=len(places))

    return await call.transact(decide)


def core_commands(access: Access) -> tuple[AnySpec, ...]:
    """Return the server's own commands."""
    roles = AccessCommands(access)
    return (
        CommandSpec(
            name="access.share",
            summary="Give a user or a group a role in an artifact",
            command=Share,
            answer=Done,
            handler=roles.share,
            permission=Action.SHARE,
        ),
        CommandSpec(
            name="access.revoke",
            summary="Take away a role that was granted in an artifact",
            command=Revoke,
            answer=Done,
            handler=roles.revoke,
            permission=Action.SHARE,
        ),
        CommandSpec(
            name="access.transfer",
            summary="Hand an artifact over to a new owner",
            command=Transfer,
            answer=Done,
            handler=roles.transfer,
            permission=Action.TRANSFER,
        ),
        CommandSpec(
            name="access.share_kind",
            summary="Give or take a role in every artifact of a kind",
            command=ShareKind,
            answer=Done,
            handler=roles.share_kind,
        ),
        CommandSpec(
            name="audit.erase_texts",
            summary="Erase personal texts from the audit chain",
            command=EraseTexts,
            answer=Erased,
            handler=erase_texts,
        ),
    )


def _grant(work: Work, scope: str, principal: str, role: str | None) -> Done:
    work.grant(scope, principal, role)
    facts = {"scope": scope, "principal": principal, "role": role}
    artifact = None if scope.startswith("kind:") else DocumentName(scope)
    work.audit("access.granted" if role else "access.revoked", artifact, facts=facts)
    if artifact is not None:
        work.publish("access.changed", artifact, facts)
    return Done()
