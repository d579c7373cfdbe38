"""The contract suites on everything that is shipped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count

import pytest

from quorate_storage.fabric import Fabric, MemoryFabric, MemoryNetwork
from quorate_storage.memory import MemoryStore
from quorate_storage.redis_fabric import RedisFabric
from quorate_storage.sql import SqlStore
from quorate_storage.testing import Connect, FabricContract, StoreContract
from quorate_storage.testing.fabric_contract import INBOX_FRAMES

numbers = count(1)


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


class TestSqliteStore(StoreContract):
    @pytest.fixture
    async def store(self, sqlite_url: str) -> AsyncIterator[SqlStore]:
        async with SqlStore(sqlite_url) as store:
            yield store


class TestPostgresStore(StoreContract):
    @pytest.fixture
    async def store(self, postgres_url: str) -> AsyncIterator[SqlStore]:
        async with SqlStore(postgres_url) as store:
            yield store


class TestMemoryFabric(FabricContract):
    @pytest.fixture
    def connect(self) -> Connect:
        network = MemoryNetwork(inbox_frames=INBOX_FRAMES)

        def connect(address: str) -> Fabric:
            return MemoryFabric(network, address)

        return connect


class TestRedisFabric(FabricContract):
    @pytest.fixture
    def connect(self, redis_url: str) -> Connect:
        prefix = f"test-{next(numbers)}:"

        def connect(address: str) -> Fabric:
            return RedisFabric(redis_url, address, prefix=prefix, inbox_frames=INBOX_FRAMES)

        return connect
