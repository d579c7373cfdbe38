"""How many cases a fuzz test runs, its random numbers, and the oracle it compares with."""

import os
import random
from collections.abc import Iterator

import pytest

from tests.peers.node import Oracle, require_node

_SHORT_FORM_CASES = 3000


@pytest.fixture(scope="session")
def oracle() -> Iterator[Oracle]:
    with Oracle(require_node()) as process:
        yield process


@pytest.fixture(scope="session")
def cases() -> int:
    """The size of every fuzz test here; `QUORATE_FUZZ_CASES` sets it for a longer run."""
    return int(os.environ.get("QUORATE_FUZZ_CASES", _SHORT_FORM_CASES))


@pytest.fixture
def seed() -> int:
    """Where the random numbers begin. `QUORATE_FUZZ_SEED` moves a long run to new ground."""
    return int(os.environ.get("QUORATE_FUZZ_SEED", "1"))


@pytest.fixture
def rng(seed: int) -> random.Random:
    return random.Random(seed)
