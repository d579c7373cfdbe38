"""Commands: what people, programs and engines ask the server to do, beyond editing together.

A command is a frozen, validated value. One registry holds what each is called, who may give it and who handles it;
the HTTP interface, `/channel` and the engines all come here, and OpenAPI is generated from it. A command that has an
idempotency key is done once: repeated with the same key it gets the same answer, and the answer is written in the
same transaction as what the command did.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from quorate_protocol.ids import DocumentName
from quorate_protocol.names import parse_document_name
from quorate_server.access import EVERYTHING, Access, Action
from quorate_server.artifacts import Artifact, open_artifact
from quorate_server.errors import CommandUnknown, Conflict, KeyReused, MalformedUpdate, Refused, Unavailable
from quorate_server.metrics import Metrics
from quorate_server.rooms import Rooms
from quorate_server.users import User
from quorate_server.work import Work, transact
from quorate_storage.acts import AuditEvent, Reply
from quorate_storage.errors import StorageUnavailable, ValueRefused
from quorate_storage.stores import Store

log = logging.getLogger("quorate.server")

ArtifactName = Annotated[str, Field(min_length=1, max_length=256, description="The artifact, as `kind/slug`")]


class Command(BaseModel):
    """The base of all commands: unknown members are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """The base of what commands answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Done(Answer):
    """The answer of a command that has nothing to say: whether anything changed."""

    changed: bool = True


C = TypeVar("C", bound=Command)
A = TypeVar("A", bound=Answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec(Generic[C, A]):
    """One command: its name (`group.verb`), its values, who may give it, and who handles it.

    `permission` is what the policies must permit in the artifact that the command names; a command without one is
    checked by its handler. The handler runs on the event loop and may be given the same command twice at once.
    """

    name: str
    summary: str
    command: type[C]
    answer: type[A]
    handler: Callable[[Call, C], Awaitable[A]]
    permission: Action | None = None
    engine: str = ""


AnySpec = CommandSpec[Any, Any]

COMMAND_NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
MAX_KEY_CHARACTERS = 128


@dataclass(slots=True)
class Call:
    """One command being handled: who gave it and how, and the way to what it may change."""

    user: User
    via: str
    rooms: Rooms
    access: Access
    spec: AnySpec
    key: str = ""
    fingerprint: bytes = b""
    about: DocumentName | None = None
    _open: list[Artifact] = field(default_factory=list[Artifact])

    def require(self, action: Action, name: DocumentName) -> None:
        """Do nothing if the policies let the user do this.

        Raises:
            AccessDenied: they do not.
        """
        self.access.require(self.user, action, name)

    @asynccontextmanager
    async def artifact(self, name: str) -> AsyncGenerator[Artifact]:
        """Keep an artifact open; units of work inside may change it.

        Raises:
            DocumentNotFound: there is none, or a tombstone stands there.
            Unavailable: try again later.
        """
        checked = parse_document_name(name, max_bytes=self.rooms.limits.name_bytes)
        async with open_artifact(self.rooms, checked, self.user) as artifact:
            self._open.append(artifact)
            try:
                yield artifact
            finally:
                self._open.remove(artifact)

    async def transact(self, decide: Callable[[Work], A]) -> A:
        """Run a unit of work on the artifacts that are open; its answer must be the answer of the command.

        Raises:
            Unavailable: nothing was changed, or it is not known.
            Exception: whatever `decide` raised; nothing was changed.
        """

        def finish(work: Work, answer: A) -> None:
            work.audit(f"command.{self.spec.name}", self.about, facts={"key": self.key} if self.key else {})
            if self.key:
                content = answer.model_dump(mode="json")
                work.add(
                    Reply(
                        actor=self.user.id,
                        key=self.key,
                        fingerprint=self.fingerprint,
                        status=200,
                        answer=content,
                        at=work.now,
                    )
                )

        work = Work(self.user, self.via, engine=self.spec.engine)
        return await transact(self.rooms, tuple(self._open), work, decide, finish=finish)


class Commands:
    """The registry, and the one way in."""

    def __init__(self, *, store: Store, rooms: Rooms, access: Access, metrics: Metrics) -> None:
        self._store = store
        self._rooms = rooms
        self._access = access
        self._metrics = metrics
        self._specs: dict[str, AnySpec] = {}
        self._gates: dict[str, Callable[[], str | None]] = {}
        self._running: dict[tuple[str, str], asyncio.Future[None]] = {}

    @property
    def specs(self) -> Mapping[str, AnySpec]:
        """All commands by name."""
        return self._specs

    def register(self, spec: AnySpec, gate: Callable[[], str | None] | None = None) -> None:
        """Add a command. While `gate` returns a reason, it is answered with `Unavailable`.

        Raises:
            ValueError: its name is not `group.verb`, or taken.
        """
        if not COMMAND_NAME.fullmatch(spec.name):
            raise ValueError(f"a command is called `group.verb`, not {spec.name!r}")
        if spec.name in self._specs:
            raise ValueError(f"there is a command {spec.name!r} already")
        self._specs[spec.name] = spec
        if gate is not None:
            self._gates[spec.name] = gate

    async def run(
        self, name: str, values: Mapping[str, object] | bytes, *, user: User, via: str, key: str = ""
    ) -> Answer:
        """Do a command and return its answer once it is durable.

        Raises:
            CommandUnknown: there is none of that name.
            pydantic.ValidationError: the values do not fit; nothing was changed.
            KeyReused: the key belongs to another command; nothing was changed.
            Refused: a rule says no; nothing was changed.
            Unavailable: nothing was changed, or it is not known: repeat it with the same key.
        """
        spec = self._specs.get(name)
        if spec is None:
            raise CommandUnknown(f"there is no command {name!r}; there are {', '.join(sorted(self._specs))}")
        if len(key) > MAX_KEY_CHARACTERS or not key.isprintable():
            raise Conflict(f"an idempotency key has up to {MAX_KEY_CHARACTERS} printable characters")
        if isinstance(values, bytes):
            command = spec.command.model_validate_json(values)
        else:
            command = spec.command.model_validate(values)
        call = Call(user=user, via=via, rooms=self._rooms, access=self._access, spec=spec, key=key)
        call.fingerprint = _fingerprint(name, command)
        call.about = _artifact_of(command)
        try:
            return await self._once(call, command)
        except Refused as refusal:
            self._audit_refusal(call, refusal)
            raise
        except StorageUnavailable as error:
            raise Unavailable("the database cannot be reached: try again") from error
        except ValueRefused as error:
            raise MalformedUpdate(str(error)) from error

    async def _once(self, call: Call, command: Command) -> Answer:
        """Handle a command whose key was not used before; otherwise return what it was answered."""
        if not call.key:
            return await self._handle(call, command)
        place = (str(call.user.id), call.key)
        while (earlier := self._running.get(place)) is not None:
            await asyncio.wait({earlier})
        ours = self._running[place] = asyncio.get_running_loop().create_future()
        try:
            reply = await self._store.find_reply(call.user.id, call.key)
            if reply is None:
                return await self._handle(call, command)
            if reply.fingerprint != call.fingerprint:
                raise KeyReused(f"the idempotency key {call.key!r} was used for another command")
            self._metrics.commands.labels(call.spec.name, "replayed").inc()
            answer: Answer = call.spec.answer.model_validate(reply.answer)
            return answer
        finally:
            del self._running[place]
            ours.set_result(None)

    async def _handle(self, call: Call, command: Command) -> Answer:
        spec = call.spec
        gate = self._gates.get(spec.name)
        reason = gate() if gate is not None else None
        if reason is not None:
            raise Unavailable(reason)
        if spec.permission is not None:
            call.require(spec.permission, call.about or EVERYTHING)
        answer: Answer = await spec.handler(call, command)
        self._metrics.commands.labels(spec.name, "done").inc()
        return answer

    def _audit_refusal(self, call: Call, refusal: Refused) -> None:
        """Account for a command that was refused; nobody waits for that."""
        self._metrics.commands.labels(call.spec.name, "refused").inc()
        facts = {"command": call.spec.name, "code": refusal.code, "key": call.key}
        event = AuditEvent(
            type="command.refused",
            at=time.time(),
            actor=call.user.id,
            via=call.via,
            artifact=call.about,
            facts=facts,
            texts={"reason": refusal.reason},
        )
        self._rooms.ledger.post([event])


def _artifact_of(command: Command) -> DocumentName | None:
    """Return the artifact that a command names, if it names one."""
    named: object = getattr(command, "artifact", None)
    return DocumentName(named) if isinstance(named, str) else None


def _fingerprint(name: str, command: Command) -> bytes:
    return hashlib.sha256(f"{name}\n{command.model_dump_json()}".encode()).digest()
