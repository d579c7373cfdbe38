"""`ConditionPool`: conditions evaluated in a process that is killed when one takes too long.

`conditions.py` says what a condition is; what is bounded there keeps an evaluation short as a rule, and what is bounded
here does so whatever the condition.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from quorate_plugins.approval.conditions import (
    Answered,
    Asked,
    ConditionError,
    ConditionRefused,
    check_facts,
    check_length,
)

FRAME_QUESTIONS = 200
MOST_REFUSED = 20
"""After so many that cannot be asked others get their turn: facts are refused only when all of them were looked at."""
FRAME_BYTES = 64 * 1024
"""A frame that has so many bytes takes no further question: what is encoded at once is small."""
QUESTION_SECONDS = 0.25
"""For one question, in a batch that had to be stopped before."""
BUDGET_SECONDS = 5.0
"""For all questions that are asked together, from the moment a process is ready for them."""
START_SECONDS = 5.0
"""For a process to become ready."""

TIMEOUT = "timeout"
LATE = "not evaluated in time"
ENDED = "the evaluating process ended while it was at this condition"
NO_WORKER = "no process could be started to evaluate conditions"
CLOSED = "conditions are no longer evaluated: the pool was closed"

WORKER_COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("condition_worker.py")))
"""`-P`: otherwise the modules beside the file would hide those of the standard library that have the same name."""
LENGTH = struct.Struct(">I")
"""What is written before each message, as in the worker, which is not imported: it loads what evaluates."""


def _encoded_facts(facts: Mapping[str, object]) -> bytes:
    """Return facts as JSON.

    Raises:
        ConditionRefused: they are none, or too many.
    """
    check_facts(facts)
    try:
        return json.dumps(facts, ensure_ascii=False, default=_plain).encode()
    except UnicodeEncodeError as error:
        raise ConditionRefused("texts of facts are text, and one of these has half a character") from error


def _plain(value: Mapping[str, object]) -> dict[str, object]:
    """Return a map that is none of those the encoder knows as one; nothing else comes through the check."""
    return dict(value)


class _Frame:
    """Questions that go to the evaluating process together; those with the same source or facts share them."""

    def __init__(self) -> None:
        self.places: list[int] = []
        """Where the questions are among all that are asked."""
        self._sources: dict[str, int] = {}
        self._facts: dict[int, int] = {}
        self._encoded: list[bytes] = []
        self._asks: list[tuple[int, int]] = []
        self._size = 0

    @property
    def is_full(self) -> bool:
        return self._size >= FRAME_BYTES

    def add(self, place: int, asked: Asked) -> None:
        """Add a question.

        Raises:
            ConditionRefused: it cannot be asked; nothing was added.
        """
        check_length(asked.source)
        facts = self._facts.get(id(asked.facts))
        if facts is None:
            encoded = _encoded_facts(asked.facts)
            facts = self._facts[id(asked.facts)] = len(self._encoded)
            self._encoded.append(encoded)
            self._size += len(encoded)
        source = self._sources.setdefault(asked.source, len(self._sources))
        self._asks.append((source, facts))
        self.places.append(place)

    def message(self) -> bytes:
        """Return the frame as it is sent."""
        sources = json.dumps(list(self._sources)).encode()
        asks = json.dumps(self._asks).encode()
        facts = b",".join(self._encoded)
        content = b'{"sources":%b,"asks":%b,"facts":[%b]}' % (sources, asks, facts)
        return LENGTH.pack(len(content)) + content


class _Round:
    """The questions of one call, their answers, and which still wait."""

    def __init__(self, questions: Sequence[Asked]) -> None:
        self._questions = tuple(questions)  # keeps the facts alive: they are told apart by their identity
        self._answers: list[Answered] = [ConditionError(reason=LATE)] * len(self._questions)
        self._waiting = deque(range(len(self._questions)))

    @property
    def is_done(self) -> bool:
        return not self._waiting

    def next_frame(self) -> _Frame:
        """Take the next questions, at most 200. Those that cannot be asked are answered here; perhaps all of them."""
        frame, refused = _Frame(), 0
        for _ in range(min(FRAME_QUESTIONS, len(self._waiting))):
            if frame.is_full or refused == MOST_REFUSED:
                break
            place = self._waiting.popleft()
            try:
                frame.add(place, self._questions[place])
            except ConditionRefused as refusal:
                self.fail(place, str(refusal))
                refused += 1
        return frame

    def answer(self, place: int, answered: object) -> None:
        """Write down what the evaluating process says: all that is not a bool is the reason of an error."""
        self._answers[place] = answered if isinstance(answered, bool) else ConditionError(reason=str(answered))

    def fail(self, place: int, reason: str) -> None:
        self._answers[place] = ConditionError(reason=reason)

    def put_back(self, places: Sequence[int]) -> None:
        """Let questions that were taken wait again, before all others."""
        self._waiting.extendleft(reversed(places))

    def fail_waiting(self, reason: str) -> None:
        while self._waiting:
            self.fail(self._waiting.popleft(), reason)

    def answers(self) -> list[Answered]:
        return self._answers


class _NoWorker(Exception):
    """No evaluating process could be started, for the reason given."""


class ConditionPool:
    """Asks conditions, in a process that is started when it is first needed and replaced when it dies or is killed.

    An async context manager: leaving ends the process. It belongs to the event loop in which it is used. Calls wait
    for each other.
    """

    def __init__(self, *, command: Sequence[str] = WORKER_COMMAND) -> None:
        self._command = tuple(command)
        self._lock = asyncio.Lock()
        self._worker: Process | None = None
        self._ended: list[Process] = []
        """Killed, but perhaps not gone yet."""
        self._is_closed = False

    async def __aenter__(self) -> Self:
        """Do nothing yet: the process is started when the first question is asked."""
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process and wait until it is gone."""
        await self.close()

    @property
    def process_id(self) -> int | None:
        """The id of the evaluating process; `None` while there is none."""
        return None if self._worker is None else self._worker.pid

    async def ask(self, questions: Sequence[Asked], *, timeout_seconds: float = 1.0) -> list[Answered]:
        """Return what conditions say of facts, in the order of the questions.

        Nothing is raised for a condition or facts that are wrong: those questions are answered by an error, and the
        others are not affected. Questions go to the process in batches of up to 200. A batch that takes too long is
        stopped by killing the process; what it had answered counts, and each other question then has 0.25 seconds, so
        only those that take longer get the error `timeout`. A process that dies is dealt with in the same way.

        It takes at most 5 seconds, and 5 more if the process has yet to be started, after the calls before it are
        through: what was not answered by then gets the error `not evaluated in time`. The event loop is not held up.

        Args:
            questions: the same source or the same facts (the same object) in many of them cost little more than once.
            timeout_seconds: for one batch, until it is stopped; what is over 5 seconds does not matter.
        """
        asked = _Round(questions)
        async with self._lock:
            try:
                await self._work_off(asked, timeout_seconds)
            except BaseException:
                # What comes next in the pipe may belong to the call that was interrupted.
                self._discard()
                raise
        return asked.answers()

    async def close(self) -> None:
        """End the process and wait until it is gone. What is being asked, or is asked later, gets errors."""
        self._is_closed = True
        self._discard()
        async with self._lock:
            await self._reap()

    async def _work_off(self, asked: _Round, timeout_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        is_careful = False
        while not asked.is_done:
            frame = asked.next_frame()
            if not frame.places:
                await asyncio.sleep(0)  # all were refused, which took time too
                continue
            try:
                deadline = await self._ready_until(deadline)
            except _NoWorker as error:
                asked.put_back(frame.places)
                asked.fail_waiting(str(error))
                return
            if is_careful:
                await self._ask_one_by_one(frame, asked, deadline)
            else:
                stop_at = min(deadline, loop.time() + timeout_seconds)
                is_careful = not await self._ask_together(frame, asked, stop_at)
            if loop.time() >= deadline:
                asked.fail_waiting(LATE)

    async def _ready_until(self, deadline: float | None) -> float:
        """Wait until a process is ready, and return the deadline of all questions; unless given, it counts from then.

        Raises:
            _NoWorker: there is none, for the reason given.
        """
        loop = asyncio.get_running_loop()
        if deadline is None:
            await self._ensure_worker(loop.time() + START_SECONDS)
            return loop.time() + BUDGET_SECONDS
        try:
            await self._ensure_worker(deadline)
        except _NoWorker as error:
            if loop.time() >= deadline:
                raise _NoWorker(LATE) from error
            raise
        return deadline

    async def _ask_together(self, frame: _Frame, asked: _Round, stop_at: float) -> bool:
        """Ask a frame with one limit for all of it; what is not answered waits again. Whether all was answered."""
        left, _ = await self._exchange(frame, asked, stop_at, None)
        asked.put_back(left)
        return not left

    async def _ask_one_by_one(self, frame: _Frame, asked: _Round, deadline: float) -> None:
        """Ask a frame with a limit for each question; one that takes too long, or ends the process, gets an error."""
        left, reason = await self._exchange(frame, asked, deadline, QUESTION_SECONDS)
        if left and asyncio.get_running_loop().time() < deadline:
            asked.fail(left.pop(0), reason)
        asked.put_back(left)

    async def _exchange(
        self, frame: _Frame, asked: _Round, stop_at: float, question_seconds: float | None
    ) -> tuple[list[int], str]:
        """Send a frame and write down the answers, until all are there or the process has to be killed.

        Returns:
            The places of the questions that were not answered, of which the first was in work; and why.
        """
        answered = 0
        try:
            async with asyncio.timeout_at(stop_at):
                worker = self._running()
                await _send(worker, frame.message())
                for place in frame.places:
                    async with asyncio.timeout(question_seconds):
                        asked.answer(place, await _receive(worker))
                    answered += 1
        except TimeoutError:
            reason = TIMEOUT
        except (OSError, EOFError, ValueError):
            reason = ENDED
        else:
            return [], ""
        self._discard()
        return frame.places[answered:], reason

    def _running(self) -> Process:
        """Return the process.

        Raises:
            EOFError: there is none any more.
        """
        if self._worker is None:
            raise EOFError(CLOSED)
        return self._worker

    async def _ensure_worker(self, stop_at: float) -> None:
        """Start a process unless there is one, and wait until it is ready.

        Raises:
            _NoWorker: it could not be started, or was not ready in time.
        """
        self._discard_ended()
        if self._worker is not None:
            return
        if self._is_closed:
            raise _NoWorker(CLOSED)
        try:
            async with asyncio.timeout_at(stop_at):
                await self._reap()
                await self._start()
        except (OSError, EOFError, ValueError) as error:  # a time limit that passed is an `OSError`
            self._discard()
            raise _NoWorker(CLOSED if self._is_closed else NO_WORKER) from error

    async def _start(self) -> None:
        self._worker = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,  # what went wrong is in the answers
            start_new_session=True,  # an interrupt from the keyboard is for the server, which then ends this one
        )
        if self._is_closed:
            raise EOFError(CLOSED)
        await _receive(self._worker)

    def _discard_ended(self) -> None:
        if self._worker is not None and self._worker.returncode is not None:
            self._discard()

    def _discard(self) -> None:
        """Kill the process, if there is one."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        with suppress(ProcessLookupError):
            worker.kill()
        if worker.stdin is not None:
            worker.stdin.close()
        self._ended.append(worker)

    async def _reap(self) -> None:
        """Wait until the processes that were killed are gone."""
        while self._ended:
            await self._ended[-1].wait()
            self._ended.pop()


async def _send(worker: Process, message: bytes) -> None:
    assert worker.stdin is not None
    worker.stdin.write(message)
    await worker.stdin.drain()


async def _receive(worker: Process) -> object:
    """Wait for a message and return it.

    Raises:
        EOFError: the process ended.
        ValueError: it is no JSON.
    """
    assert worker.stdout is not None
    head = await worker.stdout.readexactly(LENGTH.size)
    return cast("object", json.loads(await worker.stdout.readexactly(LENGTH.unpack(head)[0])))
