"""What the author of an engine writes, checked by mypy as it stands: every name and shape of the contract in use.

Nothing here runs. Where a type would be wrong for an author, this file does not check.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, assert_type

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from quorate_server.hooks import (
    KIND_NAMES,
    AccessDenied,
    Action,
    Answer,
    AnyDoc,
    AnySpec,
    Artifact,
    ArtifactInfo,
    ArtifactName,
    BaseModel,
    Call,
    Change,
    Command,
    CommandSpec,
    Conflict,
    DocumentName,
    DocumentNotFound,
    Done,
    Edit,
    Effect,
    Engine,
    Field,
    GiveUp,
    Health,
    LiveDocument,
    NotAuthenticated,
    ProposedUpdate,
    Refused,
    Server,
    TryAgain,
    Unavailable,
    User,
    UserId,
    Work,
    cloud_event,
    set_property,
)


class Payload(BaseModel):
    """A model of the author's own."""

    count: Annotated[int, Field(ge=0)] = 0


class Touch(Command):
    artifact: ArtifactName
    times: Annotated[int, Field(ge=1, le=9)] = 1


class Touched(Answer):
    total: int


class Toucher(Engine):
    name = "toucher"
    version = "3"
    kinds = frozenset(KIND_NAMES)
    watches = frozenset({"properties"})
    guards = dict.fromkeys(KIND_NAMES, frozenset({"properties"}))
    fails_closed = True

    @asynccontextmanager
    async def lifespan(self, server: Server) -> AsyncGenerator[None]:
        self.server = server
        assert_type(server.setting("color"), str)
        yield

    def before_update(self, proposed: ProposedUpdate) -> None:
        assert_type(proposed.artifact, DocumentName)
        assert_type(proposed.user, User)
        assert_type(proposed.content_json(), dict[str, object])
        if "properties" in proposed.roots and proposed.kind == "plan":
            raise Refused("not now")

    async def after_commit(self, changes: Sequence[Change]) -> None:
        for change in changes:
            assert_type(cloud_event(change), dict[str, object])
        await self.server.transact(lambda work: work.put("seen", b"1"))

    async def reconcile(self, artifact: Artifact) -> float | None:
        assert_type(artifact.root_members("plan"), dict[str, object])
        assert_type(artifact.content_hash(), str)
        fork: LiveDocument = artifact.fork()
        try:
            fork.change(lambda doc: set_property(doc, "labels", ["x"]))
        finally:
            fork.close()

        def edit(doc: AnyDoc) -> None:
            set_property(doc, "labels", None)

        kept: Edit = edit

        def decide(work: Work) -> int:
            work.edit_content(artifact, kept, actor=UserId("somebody"))
            work.wake(artifact, work.now + 60)
            work.audit("toucher.touched", artifact, facts={"n": 1}, texts={"why": "because"})
            return len(artifact.record_json())

        assert_type(await self.server.transact(decide, artifact), int)
        return None

    async def deliver(self, effect: Effect) -> None:
        if effect.attempts > 3:
            raise GiveUp("it never answers")
        raise TryAgain(5.0, "busy", is_attempt=False)

    def commands(self) -> Sequence[AnySpec]:
        spec = CommandSpec(
            name="toucher.touch", summary="Touch", command=Touch, answer=Touched, handler=self._touch,
            permission=Action.WRITE, engine=self.name,
        )  # fmt: skip
        assert_type(spec, CommandSpec[Touch, Touched])
        return (spec, CommandSpec(name="toucher.rest", summary="Rest", command=Command, answer=Done, handler=rest))

    async def _touch(self, call: Call, command: Touch) -> Touched:
        call.require(Action.READ, DocumentName(command.artifact))
        async with call.artifact(command.artifact) as artifact:
            assert_type(artifact, Artifact)
            return await call.transact(lambda _: Touched(total=command.times))

    def routes(self) -> Sequence[BaseRoute]:
        return [Route("/", self._home)]

    async def _home(self, request: Request) -> Response:
        try:
            user = await self.server.user_of(request)
            self.server.require(user, Action.ADMINISTER, DocumentName("*"))
        except (NotAuthenticated, AccessDenied) as refusal:
            assert_type(refusal.reason, str)
            return PlainTextResponse("no", status_code=refusal.status)
        return PlainTextResponse(user.name)


async def rest(call: Call, _: Command) -> Done:
    return await call.transact(lambda _work: Done(changed=False))


async def use(server: Server) -> None:
    try:
        async with server.artifact("plan/one") as artifact:
            assert_type(artifact, Artifact)
    except (DocumentNotFound, Unavailable, Conflict):
        pass
    infos = await server.list_artifacts("plan", after="", limit=10)
    assert_type(infos, Sequence[ArtifactInfo])
    assert_type(await server.read_values("x"), Mapping[str, bytes])
    for effect in await server.list_effects(state="dead"):
        await server.retry_effect(dataclasses.replace(effect, attempts=0))
    assert_type(await server.read_changes(after=0), Sequence[Change])
    assert_type(server.principals_with("owner", infos[0].name), Sequence[str])
    assert_type(Health("working"), Health)
