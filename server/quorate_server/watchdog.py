"""`interrupting`: ends Python code that keeps the event loop for too long.

Nothing else can: the loop runs one thing at a time, and a hook that loops for ever would stop every document. The
interval timer of the process raises `OverBudget` inside the code that overstays. It works in the main thread only,
where signal handlers run; elsewhere (a server mounted in another program's thread) code is measured, not ended.
"""

from __future__ import annotations

import functools
import signal
import threading
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class OverBudget(BaseException):
    """Code kept the event loop for longer than it may. Not an `Exception`, which a hook may catch by habit."""


def can_interrupt() -> bool:
    """Whether code can be ended here."""
    return threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")


def interrupting(work: Callable[[], T], seconds: float) -> T:
    """Run `work`, and end it after some seconds.

    Raises:
        OverBudget: it took longer; it may have been ended anywhere.
    """
    if not can_interrupt():
        return work()
    if signal.getsignal(signal.SIGALRM) is not _on_alarm:
        signal.signal(signal.SIGALRM, _on_alarm)
    _Fuse.is_lit = True
    # Again and again: an exception inside of a destructor is swallowed by the interpreter.
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_SECONDS)
    try:
        return work()
    finally:
        _Fuse.is_lit = False
        signal.setitimer(signal.ITIMER_REAL, 0)


class _Fuse:
    """Whether an alarm means anything: one that was on its way when the work ended must not hit what comes after."""

    is_lit = False


_AGAIN_SECONDS = 0.01


class Interrupting(Awaitable[T]):
    """A coroutine each of whose steps on the event loop is ended after some seconds."""

    def __init__(self, work: Coroutine[Any, Any, T], seconds: float) -> None:
        self._work = work
        self._seconds = seconds

    def __await__(self) -> Generator[Any, Any, T]:
        """Drive the coroutine, step by step."""
        step: Callable[[], Any] = functools.partial(self._work.send, None)
        while True:
            try:
                awaited = interrupting(step, self._seconds)
            except StopIteration as end:
                result: T = end.value
                return result
            try:
                value = yield awaited
            except GeneratorExit:
                self._work.close()
                raise
            except BaseException as error:  # noqa: BLE001 - a cancellation, say: it is the coroutine's to handle
                step = functools.partial(self._work.throw, error)
            else:
                step = functools.partial(self._work.send, value)


def _on_alarm(_number: int, _frame: types.FrameType | None) -> None:
    if _Fuse.is_lit:
        raise OverBudget("kept the event loop for too long")
