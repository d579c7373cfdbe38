"""Numbers and strings, written by lib0 and read by us, and the other way round."""

import random

from quorate_protocol.errors import RemoteProtocolError
from quorate_protocol.varints import (
    MAX_SAFE_INTEGER,
    read_var_int,
    read_var_string,
    read_var_uint,
    write_var_int,
    write_var_string,
    write_var_uint,
)
from tests.fuzz.mutations import mutate
from tests.peers.node import Oracle


def _numbers(cases: int, rng: random.Random) -> list[int]:
    edges = [0, 1, MAX_SAFE_INTEGER, MAX_SAFE_INTEGER - 1]
    edges += [2**bits + off for bits in range(6, 53) for off in (-1, 0, 1)]
    return edges + [rng.getrandbits(rng.randint(1, 53)) for _ in range(cases)]


def _texts(cases: int, rng: random.Random) -> list[str]:
    alphabet = "a\0é€😀ﷺ\ufeff\u2028"
    return ["".join(rng.choices(alphabet, k=rng.choice((0, 1, 5, 40, 200)))) for _ in range(cases)]


def test_unsigned_numbers(oracle: Oracle, cases: int, rng: random.Random) -> None:
    values = _numbers(cases, rng)
    encoded = [write_var_uint(value) for value in values]

    assert oracle.ask("writeVarUints", values=values) == [each.hex() for each in encoded]
    answers = oracle.ask("readVarUints", data=[each.hex() for each in encoded])
    for value, data, answer in zip(values, encoded, answers, strict=True):
        assert answer["value"] == [value, len(data)]
        assert read_var_uint(data, 0) == (value, len(data))


def test_signed_numbers(oracle: Oracle, cases: int, rng: random.Random) -> None:
    values = [value * sign for value in _numbers(cases, rng) for sign in (1, -1)]
    encoded = [write_var_int(value) for value in values]

    assert oracle.ask("writeVarInts", values=values) == [each.hex() for each in encoded]
    for value, data in zip(values, encoded, strict=True):
        assert read_var_int(data, 0) == (value, len(data))


def test_strings(oracle: Oracle, cases: int, rng: random.Random) -> None:
    values = _texts(cases, rng)
    encoded = [write_var_string(value) for value in values]

    assert oracle.ask("writeVarStrings", values=values) == [each.hex() for each in encoded]
    for value, data in zip(values, encoded, strict=True):
        assert read_var_string(data, 0) == (value, len(data))


def test_damaged_primitives_are_refused_or_read_as_lib0_reads_them(
    oracle: Oracle, cases: int, rng: random.Random
) -> None:
    numbers = [write_var_uint(value) for value in _numbers(cases, rng)]
    texts = [write_var_string(value) for value in _texts(cases, rng)]
    for operation, reader, sound in (
        ("readVarUints", read_var_uint, numbers),
        ("readVarInts", read_var_int, numbers),
        ("readVarStrings", read_var_string, texts),
    ):
        damaged = [mutate(rng.choice(sound), rng, sound) for _ in range(cases)]
        answers = oracle.ask(operation, data=[each.hex() for each in damaged])
        for data, answer in zip(damaged, answers, strict=True):
            try:
                read = list(reader(data, 0))
            except RemoteProtocolError:
                continue
            assert answer.get("value") == read, (operation, data.hex())
