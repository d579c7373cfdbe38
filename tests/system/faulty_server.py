"""A server that kills itself at a chosen statement of the database, for `test_fault_points.py`.

    python -m tests.system.faulty_server PORT DATA

While the file `DATA/armed` exists its number counts down, one for each statement and each commit of the writing
connection; at zero the process is gone, as if the power failed. `DATA/delivered` has a line for each effect.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop
from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine as SqlEngine

from quorate_server import running
from quorate_server.app import Quorate
from quorate_server.hooks import (
    Action,
    Answer,
    AnyDoc,
    AnySpec,
    Artifact,
    Call,
    Command,
    CommandSpec,
    Effect,
    Engine,
    Work,
    set_property,
)
from quorate_server.settings import Settings
from tests.system.servers import SECRET


class Submit(Command):
    artifact: str
    title: str


class Submitted(Answer):
    number: int


class Desk(Engine):
    """Takes submissions: a record, a content, an audit event, a change, a wake-up and an effect in one act."""

    name = "desk"

    def __init__(self, delivered: Path) -> None:
        self._delivered = delivered

    def commands(self) -> Sequence[AnySpec]:
        return (
            CommandSpec(
                name="desk.submit", summary="Submit", command=Submit, answer=Submitted, handler=self._submit,
                permission=Action.WRITE, engine=self.name,
            ),
        )  # fmt: skip

    async def _submit(self, call: Call, command: Submit) -> Submitted:
        async with call.artifact(command.artifact) as artifact:

            def decide(work: Work) -> Submitted:
                number = len(artifact.record_section("submissions")) + 1
                submissions = artifact.record_section("submissions") | {str(number): command.title}
                work.set_record(artifact, "submissions", submissions)

                def edit(doc: AnyDoc) -> None:
                    set_property(doc, "submissions", number)

                work.edit_content(artifact, edit, actor=work.actor.id)
                work.audit("desk.submitted", artifact, facts={"number": number}, texts={"title": command.title})
                work.publish("desk.submitted", artifact, {"number": number})
                work.wake(artifact, 4e9 + number)
                work.effect(f"mail-{number}", {"number": number}, artifact=artifact)
                return Submitted(number=number)

            return await call.transact(decide)

    async def deliver(self, effect: Effect) -> None:
        with self._delivered.open("a") as file:
            file.write(f"{effect.key}\n")
            os.fsync(file.fileno())


class Sweep(Command):
    pass


class Swept(Answer):
    artifacts: int


class Sweeper(Engine):
    """Looks at every plan once: a record and an effect for each; counts how often it was asked for each."""

    name = "sweeper"
    version = "1"
    kinds = frozenset({"plan"})
    watches = frozenset({"steps"})

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._asked: dict[str, int] = {}

    async def reconcile(self, artifact: Artifact) -> float | None:
        self._asked[artifact.name] = self._asked.get(artifact.name, 0) + 1

        def decide(work: Work) -> None:
            if work.set_record(artifact, self.name, {"is_done": True}):
                work.effect(f"sweep:{artifact.name}", {}, artifact=artifact)

        await self.server.transact(decide, artifact)
        return None

    async def deliver(self, effect: Effect) -> None:
        with (self._folder / "swept").open("a") as file:
            file.write(f"{effect.key}\n")

    def commands(self) -> Sequence[AnySpec]:
        return (
            CommandSpec(
                name="sweeper.count", summary="Count", command=Sweep, answer=Swept, handler=self._count,
                engine=self.name,
            ),
        )  # fmt: skip

    async def _count(self, _: Call, __: Sweep) -> Swept:
        assert set(self._asked.values()) <= {1}, "each is asked for once"
        return Swept(artifacts=len(self._asked))


class Fuse:
    """Counts down while it is armed, and kills."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left: int | None = None

    def burn(self) -> None:
        if self._left is None:
            if not self._path.exists():
                return
            self._left = int(self._path.read_text())
        self._left -= 1
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def arm_with(self, engine: type[SqlEngine]) -> None:
        def on_statement(_connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
            # Reading changes nothing, so dying there is dying before the statement behind it.
            if not statement.lstrip().upper().startswith(("SELECT", "PRAGMA")):
                self.burn()

        event.listen(engine, "before_cursor_execute", on_statement)
        event.listen(engine, "after_cursor_execute", on_statement)
        event.listen(engine, "commit", lambda _: self.burn())


def main() -> None:
    port, data = int(sys.argv[1]), Path(sys.argv[2])
    Fuse(data / "armed").arm_with(SqlEngine)
    settings = Settings(port=port, data=str(data), secret=SECRET, log_level="error")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        engines: list[Engine] = [Desk(data / "delivered")]
        if (data / "sweep").exists():
            engines.append(Sweeper(data))
        runner.run(running.run(Quorate(settings, engines=engines)))


if __name__ == "__main__":
    main()
