"""The services that tests of several layers share, each started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.storage.servers import PostgresServer, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole session."""
    with postgres_server() as server:
        yield server
