"""`Grouped`: what is asked of the database at the same time is one transaction.

What a small transaction costs is mostly its way to the database and back, and its commit if it writes. An idle group
begins on the next turn of the event loop; what comes meanwhile gathers for the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sqlalchemy import Connection

from quorate_storage.errors import ValueRefused

Question = TypeVar("Question")
Answer = TypeVar("Answer")
Outcomes = Sequence[Answer | Exception]

MOST_TOGETHER = 200
"""More than this is another transaction: it keeps the connection from everybody else."""


@dataclass(slots=True)
class _Asked(Generic[Question, Answer]):
    question: Question
    done: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def tell(self, outcome: Answer | Exception) -> None:
        """Answer whoever asked, if they still wait."""
        if self.done.done():
            return
        if isinstance(outcome, Exception):
            self.done.set_exception(outcome)
        else:
            self.done.set_result(outcome)


class Grouped(Generic[Question, Answer]):
    """Answers questions together.

    Args:
        transact: runs work in one transaction, as `Database.read` and `Database.write` do.
        answer_all: answers each question, in their order, with an exception if it must be told of one; what it raises
            is told to all of them.
    """

    def __init__(
        self,
        transact: Callable[[Callable[[Connection], Outcomes[Answer]]], Awaitable[Outcomes[Answer]]],
        answer_all: Callable[[Connection, Sequence[Question]], Outcomes[Answer]],
    ) -> None:
        self._transact = transact
        self._answer_all = answer_all
        self._waiting: list[_Asked[Question, Answer]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, question: Question) -> Answer:
        """Return the answer, once the transaction that it is of has ended.

        Raises:
            Exception: what the question was answered with, or the database: nothing was done, or it is not known.
        """
        asked = _Asked[Question, Answer](question)
        self._waiting.append(asked)
        if self._task is None:
            self._task = asyncio.create_task(self._work_off())
        return await asked.done

    async def _work_off(self) -> None:
        try:
            while self._waiting:
                group = self._waiting[:MOST_TOGETHER]
                del self._waiting[:MOST_TOGETHER]
                await self._answer(group)
        finally:
            self._task = None

    async def _answer(self, group: Sequence[_Asked[Question, Answer]]) -> None:
        questions = [asked.question for asked in group]
        try:
            outcomes = await self._transact(lambda connection: self._answer_all(connection, questions))
        except ValueRefused as error:
            await self._answer_apart(group, error)
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            for asked in group:
                asked.tell(error)
        else:
            for asked, outcome in zip(group, outcomes, strict=True):
                asked.tell(outcome)

    async def _answer_apart(self, group: Sequence[_Asked[Question, Answer]], error: ValueRefused) -> None:
        """Find out whose value was refused: the others must not suffer from it."""
        if len(group) == 1:
            group[0].tell(error)
            return
        for asked in group:
            await self._answer([asked])
