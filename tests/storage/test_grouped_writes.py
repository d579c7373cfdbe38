"""Documents that are created at the same time share a transaction, and nothing else."""

from __future__ import annotations

import asyncio
from collections import Counter

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
        transactions = count_writes(store)
        found = await asyncio.gather(*(create(store, lease, f"d{number}") for number in range(300)))
        assert len({one.id for one in found if isinstance(one, Document)}) == 300
        assert transactions["write"] <= 3
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


def count_writes(store: SqlStore) -> Counter[str]:
    counted: Counter[str] = Counter()
    database = store._database
    write = database.write

    async def counting(work: object) -> object:
        counted["write"] += 1
        return await write(work)  # type: ignore[arg-type]

    database.write = counting  # type: ignore[method-assign,assignment]
    return counted
