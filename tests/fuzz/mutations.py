"""Damages bytes the way networks, old clients and attackers do."""

import random
from collections.abc import Callable, Sequence

_HUGE_NUMBERS = (
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x00",
)


def _flip(data: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _replace(data: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _truncate(data: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    del data[rng.randrange(len(data)) :]


def _enlarge(data: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    at = rng.randrange(len(data))
    data[at : at + 1] = rng.choice(_HUGE_NUMBERS)


def _splice(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    other = rng.choice(others)
    data[rng.randrange(len(data)) :] = other[rng.randrange(len(other) + 1) :]


def _repeat(data: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    start = rng.randrange(len(data))
    data[start:start] = data[start : start + rng.randrange(1, 9)] * rng.randrange(1, 4)


_MUTATIONS: tuple[Callable[[bytearray, random.Random, Sequence[bytes]], None], ...] = (
    _flip,
    _replace,
    _truncate,
    _enlarge,
    _splice,
    _repeat,
)


def mutate(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Damage one input one to four times; `others` are what parts are spliced in from."""
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if damaged:
            rng.choice(_MUTATIONS)(damaged, rng, others)
    return bytes(damaged)
