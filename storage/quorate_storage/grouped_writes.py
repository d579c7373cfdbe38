"""`GroupedWrites`: pieces of work that are asked for at the same time become durable in one transaction.

What a transaction costs is mostly its commit. An idle group begins at once; what comes meanwhile gathers for the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from sqlalchemy import Connection

from quorate_storage.databases import Database
from quorate_storage.errors import DocumentExists, ValueRefused

T = TypeVar("T")
MOST_TOGETHER = 200
"""More than this is another transaction: it keeps the writer from everybody else."""


@dataclass(slots=True)
class _Asked(Generic[T]):
    work: Callable[[Connection], T]
    done: asyncio.Future[T] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def tell(self, outcome: T | Exception) -> None:
        """Answer whoever asked, if they still wait."""
        if self.done.done():
            return
        if isinstance(outcome, Exception):
            self.done.set_exception(outcome)
        else:
            self.done.set_result(outcome)


class GroupedWrites(Generic[T]):
    """Runs pieces of work together. Each must leave the database as it was when it raises `DocumentExists`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Asked[T]] = []
        self._task: asyncio.Task[None] | None = None

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run work in a transaction, perhaps of several; return when it is durable.

        Raises:
            Exception: what the work raised, or the database: nothing of it was done, or it is not known.
        """
        asked = _Asked(work)
        self._waiting.append(asked)
        if self._task is None:
            self._task = asyncio.create_task(self._work_off())
        return await asked.done

    async def _work_off(self) -> None:
        try:
            while self._waiting:
                group = self._waiting[:MOST_TOGETHER]
                del self._waiting[:MOST_TOGETHER]
                await self._write(group)
        finally:
            self._task = None

    async def _write(self, group: Sequence[_Asked[T]]) -> None:
        works = [asked.work for asked in group]
        try:
            outcomes = await self._database.write(partial(_run_all, works))
        except ValueRefused as error:
            await self._write_apart(group, error)
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            for asked in group:
                asked.tell(error)
        else:
            for asked, outcome in zip(group, outcomes, strict=True):
                asked.tell(outcome)

    async def _write_apart(self, group: Sequence[_Asked[T]], error: ValueRefused) -> None:
        """Find out whose value was refused: the others must not suffer from it."""
        if len(group) == 1:
            group[0].tell(error)
            return
        for asked in group:
            await self._write([asked])


def _run_all(works: Sequence[Callable[[Connection], T]], connection: Connection) -> list[T | Exception]:
    return [_outcome(work, connection) for work in works]


def _outcome(work: Callable[[Connection], T], connection: Connection) -> T | Exception:
    try:
        return work(connection)
    except DocumentExists as error:
        return error
