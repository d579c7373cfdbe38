"""After the clock has stopped: does everybody have everything, and how long did it take?

Each client's state is decoded from the bytes that it was sent. Clients that were sent the same bytes have the same
state, so equal streams are decoded once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.clients import Client
from benchmarks.dialects import Kind
from benchmarks.material import text_of
from benchmarks.stage import Typist
from quorate_protocol.awareness import decode_awareness
from quorate_protocol.updates import update_ends

Times = NDArray[np.float64]


class Diverged(Exception):
    """A client does not have what was written: a fast server that loses letters has no time."""

    def __init__(self, document: str, expected: int, received: int) -> None:
        super().__init__(document, expected, received)
        self.document, self.expected, self.received = document, expected, received

    def __str__(self) -> str:
        return f"a client of {self.document} holds {self.received} letters that differ from the {self.expected} written"


def text_after(client: Client, *before: bytes) -> str:
    """Return what a client sees: all that it was sent, applied in that order."""
    heard = (message for _, message in client.heard())
    return text_of(*before, *(each.payload for each in heard if each.kind in {Kind.STEP2, Kind.UPDATE}))


def check_convergence(clients: Iterable[Client], expected: str) -> None:
    """Decode every client's final state.

    Raises:
        Diverged: one of them sees another text than the expected one.
    """
    for client in distinct(clients):
        found = text_after(client)
        if found != expected:
            raise Diverged(client.document, len(expected), len(found))


def distinct(clients: Iterable[Client]) -> list[Client]:
    """Return one client for each stream of bytes that differs behind the handshake."""
    streams: dict[bytes, Client] = {}
    for client in clients:
        data = b"".join(chunk for _, chunk in client.chunks)
        head = data.find(b"\r\n\r\n") + 4
        streams[hashlib.blake2b(data[head:], digest_size=16).digest()] = client
    return list(streams.values())


def latencies(readers: Sequence[Client], typists: Sequence[Typist], *, since: float = 0.0) -> Times:
    """Return the seconds from sending to receiving, for each letter that was sent since a time, at each reader."""
    sent = {typist.author: np.asarray(typist.sent_at) for typist in typists}
    known: dict[bytes, Mapping[int, int]] = {}
    parts = [part for reader in readers for part in _arrivals(reader, sent, known, since)]
    return np.concatenate(parts or [np.zeros(0)])


def _arrivals(
    reader: Client, sent: Mapping[int, Times], known: dict[bytes, Mapping[int, int]], since: float
) -> list[Times]:
    have = dict.fromkeys(sent, 0)
    parts = list[Times]()
    for at, heard in reader.heard():
        if heard.kind not in {Kind.UPDATE, Kind.STEP2}:
            continue
        ends = known.get(heard.payload)
        if ends is None:
            ends = known[heard.payload] = {int(client): end for client, end in update_ends(heard.payload).items()}
        for author, end in ends.items():
            if author in sent and end > have[author]:
                moments = sent[author][have[author] : end]
                parts.append(at - moments[moments >= since])
                have[author] = end
    return parts


def cursor_latencies(client: Client, sent: Mapping[tuple[int, int], float]) -> dict[tuple[int, int], float]:
    """Return how old each cursor was when a client was first shown it, by who and clock."""
    ages: dict[tuple[int, int], float] = {}
    for at, heard in client.heard():
        if heard.kind is Kind.AWARENESS:
            for entry in _entries(heard.payload):
                if entry in sent and entry not in ages:
                    ages[entry] = at - sent[entry]
    return ages


@lru_cache(maxsize=100_000)
def _entries(update: bytes) -> tuple[tuple[int, int], ...]:
    return tuple((int(entry.client), entry.clock) for entry in decode_awareness(update))


def milliseconds(times: Times, share: float) -> float:
    """Return a quantile in milliseconds."""
    return 1000 * float(np.quantile(times, share)) if len(times) else float("nan")
