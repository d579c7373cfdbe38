"""What is asked of the database at the same time shares a transaction, and nothing else."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from quorate_protocol.ids import DocumentName, UserId
from quorate_storage.errors import DocumentExists, StorageUnavailable, ValueRefused
from quorate_storage.sql import SqlStore
from quorate_storage.stores import Document, Lease
from quorate_storage.testing.building import written

pytestmark = pytest.mark.asyncio


async def create(store: SqlStore, lease: Lease, name: str) -> Document | Exception:
    try:
        return await store.create(DocumentName(name), kind="text", by=UserId("anna"), at=1.0, lease=lease, seed=b"\0\0")
    except (DocumentExists, ValueRefused, StorageUnavailable) as error:
        return error


async def test_many_at_once_are_few_transactions(url: str) -> None:
    async with SqlStore(url) as store, written(store, 1) as (lease, _):
        transactions = count_transactions(store)
        found = await asyncio.gather(*(create(store, lease, f"d{number}") for number in range(300)))
        assert len({one.id for one in found if isinstance(one, Document)}) == 300
        assert 1 <= transactions["_write"] <= 3
        assert {(await store.load(one.id)).document.name for one in found[::50] if isinstance(one, Document)} == {
            f"d{number}" for number in range(0, 300, 50)
        }


async def test_of_one_name_the_first_is_created_and_the_others_learn_of_it(url: str) -> None:
    async with SqlStore(url) as store, written(store, 1) as (lease, _):
        found = await asyncio.gather(*(create(store, lease, f"d{number % 4}") for number in range(40)))
        assert Counter(type(one) for one in found) == {Document: 4, DocumentExists: 36}


async def test_what_cannot_be_created_fails_alone(url: str) -> None:
    async with SqlStore(url) as store, written(store, 1) as (lease, _):
        names = ["a", "\ud800", "b", "c"]
        found = await asyncio.gather(*(create(store, lease, name) for name in names))
        assert [type(one) for one in found] == [Document, ValueRefused, Document, Document]


async def test_whoever_gives_up_takes_nobody_along(url: str) -> None:
    async with SqlStore(url) as store, written(store, 1) as (lease, _):
        tasks = [asyncio.create_task(create(store, lease, f"d{number}")) for number in range(5)]
        await asyncio.sleep(0)
        tasks[2].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in found if not isinstance(one, asyncio.CancelledError)] == [Document] * 4
        assert isinstance(await create(store, lease, "later"), Document)


async def test_many_who_look_for_documents_at_once_read_once(url: str) -> None:
    async with SqlStore(url) as store, written(store, 1) as (lease, _):
        for name in ("a", "b"):
            await create(store, lease, name)
        transactions = count_transactions(store)
        found = await asyncio.gather(*(store.find(DocumentName(name)) for name in ("b", "a", "nobody's", "b")))
        assert [one and one.name for one in found] == ["b", "a", None, "b"]
        assert transactions["_read"] == 1


async def test_whoever_looks_for_what_no_name_can_be_is_told_alone(url: str) -> None:
    async with SqlStore(url) as store, written(store, 1) as (lease, _):
        await create(store, lease, "a")
        found = await asyncio.gather(
            *(store.find(DocumentName(name)) for name in ("a", "\ud800", "b")), return_exceptions=True
        )
        assert [type(one) for one in found] == [Document, ValueRefused, type(None)]


def count_transactions(store: SqlStore) -> Counter[str]:
    """Count the transactions that read and those that write."""
    counted: Counter[str] = Counter()
    database: Any = store._database

    def count(method: str) -> None:
        transact = getattr(database, method)

        async def counting(work: object) -> object:
            counted[method] += 1
            return await transact(work)

        setattr(database, method, counting)

    count("_read")
    count("_write")
    return counted
