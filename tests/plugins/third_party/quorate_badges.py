"""Badges: a plan earns one for how much it says, and people can award others. Imports Quorate's hooks and no more."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from quorate_server.hooks import (
    Action,
    Answer,
    AnySpec,
    Artifact,
    ArtifactName,
    Call,
    Change,
    Command,
    CommandSpec,
    Conflict,
    DocumentName,
    Effect,
    Engine,
    ProposedUpdate,
    Refused,
    Server,
    TryAgain,
    Work,
)

LEVELS = ("none", "bronze", "silver", "gold")


class Award(Command):
    """Award a badge to an artifact."""

    artifact: ArtifactName
    badge: str


class Awarded(Answer):
    """Who awarded what."""

    badge: str
    by: str


class Badges(Engine):
    """Keeps the badges of plans in their records, and a line for each new level in a file."""

    name = "badges"
    version = "1.0"
    kinds = frozenset({"plan"})
    watches = frozenset({"plan"})
    guards = {"plan": frozenset({"plan"})}  # noqa: RUF012 - the base class declares it

    file: Path

    @asynccontextmanager
    async def lifespan(self, server: Server) -> AsyncGenerator[None]:
        """Find the file that the settings name."""
        self.server = server
        self.file = Path(server.setting("file", "badges.txt"))
        yield

    def before_update(self, proposed: ProposedUpdate) -> None:
        """Nobody certifies their own plan."""
        plan = proposed.content_json().get("plan")
        if isinstance(plan, Mapping) and "certified" in str(plan.get("title", "")).lower():
            raise Refused("a plan does not call itself certified: ask for a badge")

    async def after_commit(self, changes: Sequence[Change]) -> None:
        """Remember which plans were ever created."""
        born = [change for change in changes if change.type == "document.created"]

        def decide(work: Work) -> None:
            for change in born:
                work.put(f"born/{change.position}", change.document.encode())

        if born:
            await self.server.transact(decide)

    async def reconcile(self, artifact: Artifact) -> float | None:
        """Compare the level that the plan has earned with the one in its record."""

        def decide(work: Work) -> None:
            level = LEVELS[min(len(artifact.root_members("plan")), len(LEVELS) - 1)]
            section = artifact.record_section(self.name)
            if section.get("level", "none") == level:
                return
            work.set_record(artifact, self.name, section | {"level": level})
            work.effect(f"{artifact.name} {level}", {"line": f"{artifact.name} {level}"}, artifact=artifact)

        await self.server.transact(decide, artifact)
        return None

    async def deliver(self, effect: Effect) -> None:
        """Add a line to the file, once the folder is there; not twice, should it be asked twice."""
        if not self.file.parent.is_dir():
            raise TryAgain(0.1, "the folder is not there")
        line = f"{effect.payload['line']}\n"
        if not self.file.exists() or line not in self.file.read_text("utf-8"):
            with self.file.open("a", encoding="utf-8") as file:
                file.write(line)

    def commands(self) -> Sequence[AnySpec]:
        """Return the one command."""
        return (
            CommandSpec(
                name="badges.award",
                summary="Award a badge",
                command=Award,
                answer=Awarded,
                handler=self._award,
                permission=Action.WRITE,
                engine=self.name,
            ),
        )

    async def _award(self, call: Call, command: Award) -> Awarded:
        async with call.artifact(command.artifact) as artifact:

            def decide(work: Work) -> Awarded:
                section = artifact.record_section(self.name)
                if command.badge in section:
                    raise Conflict(f"{artifact.name!r} has the badge {command.badge!r} already")
                work.set_record(artifact, self.name, section | {command.badge: work.actor.id})
                work.publish("badge.awarded", artifact, {"badge": command.badge})
                return Awarded(badge=command.badge, by=work.actor.id)

            return await call.transact(decide)

    def routes(self) -> Sequence[BaseRoute]:
        """Return the board of all plans."""
        return (Route("/board", self._board),)

    async def _board(self, request: Request) -> Response:
        user = await self.server.user_of(request)
        self.server.require(user, Action.READ, DocumentName("plan/board"))
        born = await self.server.read_values("born/")
        return JSONResponse({"plans": sorted({name.decode() for name in born.values()}), "for": user.id})
