"""`Outbox`: brings about outside the server what units of work asked for, at least once each.

An effect is a row that stays `pending` until an attempt succeeded, was given up or was cancelled; so a crash between
the attempt and the note of it repeats the attempt, and the effect's key lets the receiver see that. Effects of one
engine start in the order in which they fell due, several at a time.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import time
from collections import Counter
from collections.abc import Mapping

from quorate_server.engines import STEP_SECONDS, Runtime
from quorate_server.errors import Unavailable
from quorate_server.hooks import GiveUp, TryAgain
from quorate_server.ledger import Ledger
from quorate_server.metrics import Metrics
from quorate_server.tracing import trace
from quorate_server.watchdog import Interrupting, OverBudget
from quorate_storage.acts import Effect, EffectOutcome
from quorate_storage.errors import StorageUnavailable
from quorate_storage.stores import Store

log = logging.getLogger("quorate.server")

EFFECTS_AT_ONCE = 32
EFFECTS_OF_ONE_ENGINE = 16
"""An engine whose effects take long leaves turns to the others."""
DELIVER_SECONDS = 30.0
LONGEST_SLEEP_SECONDS = 30.0
MAX_REASON_CHARACTERS = 500


class Outbox:
    """The one process that delivers effects."""

    def __init__(self, *, store: Store, ledger: Ledger, engines: Mapping[str, Runtime], metrics: Metrics) -> None:
        self._store = store
        self._ledger = ledger
        self._engines = engines
        self._metrics = metrics
        self._news = asyncio.Event()
        self._running: dict[int, asyncio.Task[None]] = {}
        self._turns: Counter[str] = Counter()
        self._ended: set[int] = set()

    def notice(self) -> None:
        """Tell it that there are new effects."""
        self._news.set()

    async def run(self) -> None:
        """Deliver what is due, until cancelled; what is under way is then cancelled too, and due again later."""
        try:
            while True:
                self._news.clear()
                pause = 1.0
                try:
                    pause = await self._start_due()
                except (StorageUnavailable, Unavailable):
                    pass  # tried again in a moment
                except Exception:
                    log.exception("outbox.failed")
                try:
                    async with asyncio.timeout(pause):
                        await self._news.wait()
                except TimeoutError:
                    pass
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _start_due(self) -> float:
        """Start what is due as far as there is room; return how long to sleep.

        Each engine is looked at by itself, so that one with much that is due does not hide the others' effects. What
        an engine asked for that is not installed any more waits until it is.
        """
        soonest = LONGEST_SLEEP_SECONDS
        for name in self._engines:
            wanted = EFFECTS_OF_ONE_ENGINE + self._turns[name]  # those under way are still due by their rows
            self._ended.clear()
            for effect in await self._store.due_effects(name, at=time.time(), limit=wanted):
                assert effect.id is not None, "a stored effect has an id"
                has_turn = self._turns[name] < EFFECTS_OF_ONE_ENGINE and len(self._running) < EFFECTS_AT_ONCE
                # One that ended while the store was read is due in what was read, and not any more.
                if effect.id not in self._running and effect.id not in self._ended and has_turn:
                    self._start(effect.id, effect)
            next_due = await self._store.next_effect(name)
            if next_due is not None:
                # Whoever ends wakes us, so look for others at ease.
                soonest = min(soonest, max(next_due - time.time(), 1.0 if self._turns[name] else 0.05))
        return LONGEST_SLEEP_SECONDS if len(self._running) >= EFFECTS_AT_ONCE else soonest

    def _start(self, key: int, effect: Effect) -> None:
        task = asyncio.create_task(self._deliver(key, effect))
        self._running[key] = task
        self._turns[effect.engine] += 1
        task.add_done_callback(functools.partial(self._end, key, effect.engine))

    def _end(self, key: int, engine: str, task: asyncio.Task[None]) -> None:
        del self._running[key]
        self._ended.add(key)
        self._turns[engine] -= 1
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("effect.not_noted", extra={"engine": engine, "error": str(error)})  # it is due again
        self._news.set()

    async def _deliver(self, key: int, effect: Effect) -> None:
        """Make one attempt, and note what became of it."""
        attempts = effect.attempts + 1
        outcome = EffectOutcome(id=key, attempts=attempts, state="done", due_at=effect.due_at)
        try:
            async with asyncio.timeout(DELIVER_SECONDS):
                await self._attempt(effect)
        except GiveUp as answer:
            outcome = self._outcome(key, attempts, "dead", answer.reason)
        except TryAgain as answer:
            made = attempts if answer.is_attempt else effect.attempts
            outcome = self._outcome(key, made, "pending", answer.reason, answer.after_seconds)
        except (Exception, OverBudget) as error:
            log.warning("effect.failed", extra={"engine": effect.engine, "key": effect.key}, exc_info=error)
            wait = min(5.0 * 2.0 ** min(attempts, 12), 6 * 3600.0) * (0.5 + random.random())  # noqa: S311
            outcome = self._outcome(key, attempts, "pending", type(error).__name__, wait)
        self._metrics.effects.labels(effect.engine, outcome.state).inc()
        await self._ledger.commit(outcome)

    async def _attempt(self, effect: Effect) -> None:
        runtime = self._engines[effect.engine]
        with trace(effect.engine, "deliver"):
            await Interrupting(runtime.engine.deliver(effect), STEP_SECONDS)

    @staticmethod
    def _outcome(key: int, attempts: int, state: str, reason: str, after_seconds: float = 0.0) -> EffectOutcome:
        return EffectOutcome(
            id=key,
            attempts=attempts,
            state=state,
            due_at=time.time() + after_seconds,
            error=reason[:MAX_REASON_CHARACTERS],
        )
