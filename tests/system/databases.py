"""Which databases the system tests run on, and how a server is told to use them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

DATABASES = ("sqlite",)


@asynccontextmanager
async def database_options(database: str) -> AsyncIterator[tuple[str, ...]]:
    """Give the options that make `quorate serve` use a fresh database of that kind."""
    assert database == "sqlite"
    yield ()
