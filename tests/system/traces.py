"""Keystroke histories of real people as Yjs updates, made by the engine before a test replays them.

The recordings lie beside the checkout (`../shared/data/editing-traces`, or where `QUORATE_TRACES` says).
A clone without them makes its own input with a seeded model of people typing, and says so.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycrdt import Doc, Text, TransactionEvent

FOLDER = Path(os.environ.get("QUORATE_TRACES", Path(__file__).parents[3] / "shared" / "data" / "editing-traces"))


@dataclass(frozen=True)
class Step:
    """One transaction: whose it is, its update, and how many of each agent's steps its author had seen."""

    agent: int
    update: bytes
    needs: tuple[int, ...]


@dataclass(frozen=True)
class Trace:
    name: str
    agents: int
    steps: list[Step]
    end: str


def load_trace(name: str, *, limit: int | None = None) -> Trace:
    """Return a recording as updates. With `limit`, only its first transactions and the text after them."""
    path = FOLDER / f"{name}.json.gz"
    if path.exists():
        with gzip.open(path) as file:
            raw = json.load(file)
    else:
        warnings.warn(f"{path.name} is not here: a seeded model types instead", stacklevel=2)
        raw = made_up(name)
    transactions = raw["txns"][:limit]
    trace = _made(name, transactions, raw.get("numAgents", 1))
    if limit is None:
        assert trace.end == raw["endContent"], "the engine replays the recording to the letter"
    return trace


def _made(name: str, transactions: list[dict[str, Any]], agents: int) -> Trace:
    writers = [_Writer(agent) for agent in range(agents)]
    steps: list[Step] = []
    seen: list[list[int]] = []
    for index, transaction in enumerate(transactions):
        writer = writers[transaction.get("agent", 0)]
        needs = [0] * agents
        for parent in transaction.get("parents", [index - 1] if index else []):
            needs = [max(a, b) for a, b in zip(needs, seen[parent], strict=True)]
        for other in writers:
            writer.catch_up(other, needs[other.agent])
        update = writer.type(transaction["patches"])
        steps.append(Step(writer.agent, update, tuple(needs)))
        needs[writer.agent] = len(writer.updates)
        seen.append(needs)
    first = writers[0]
    for other in writers:
        first.catch_up(other, len(other.updates))
    return Trace(name, agents, steps, str(first.text))


class _Writer:
    def __init__(self, agent: int) -> None:
        self.agent = agent
        # The recordings break ties between people by their order, as Yjs does by client id.
        self.doc: Doc[Any] = Doc(client_id=agent + 1)
        self.text = self.doc.get("text", type=Text)
        self.updates: list[bytes] = []
        self._known: dict[int, int] = {}
        self._new: list[bytes] = []
        self._subscription = self.doc.observe(self._on_update)

    def _on_update(self, event: TransactionEvent) -> None:
        self._new.append(event.update)

    def catch_up(self, other: _Writer, count: int) -> None:
        if other is self:
            return
        for update in other.updates[self._known.get(other.agent, 0) : count]:
            self.doc.apply_update(update)
        self._known[other.agent] = max(count, self._known.get(other.agent, 0))

    def type(self, patches: list[list[Any]]) -> bytes:
        self._new.clear()
        with self.doc.transaction():
            for position, deleted, inserted in patches:
                if deleted:
                    del self.text[position : position + deleted]
                if inserted:
                    self.text.insert(position, inserted)
        self.updates.append(self._new[0] if self._new else b"\x00\x00")
        return self.updates[-1]


def made_up(name: str) -> dict[str, Any]:
    """Make a recording of people typing, deleting and jumping about, in the shape of the real ones."""
    agents = 2 if name == "friendsforever" else 1
    source = random.Random(name)
    texts = [_Writer(agent) for agent in range(agents)]
    transactions: list[dict[str, Any]] = []
    last: dict[int, int] = {}
    cursor = [0] * agents
    for index in range(8000):
        agent = source.randrange(agents)
        parents = [last[agent]] if agent in last else []
        other = 1 - agent
        if agents > 1 and other in last and source.random() < 0.7:
            parents.append(last[other])
            texts[agent].catch_up(texts[other], len(texts[other].updates))
        length = len(texts[agent].text)
        if source.random() < 0.03:
            cursor[agent] = source.randint(0, length)
        cursor[agent] = min(cursor[agent], length)
        if length > 5 and cursor[agent] > 0 and source.random() < 0.1:
            cursor[agent] -= 1
            patch: list[Any] = [cursor[agent], 1, ""]
        else:
            patch = [cursor[agent], 0, source.choice("etaoin shrdlu ")]
            cursor[agent] += 1
        texts[agent].type([patch])
        last[agent] = index
        transactions.append({"parents": parents, "agent": agent, "patches": [patch]})
    for text in texts:
        texts[0].catch_up(text, len(text.updates))
    return {"txns": transactions, "numAgents": agents, "endContent": str(texts[0].text)}
