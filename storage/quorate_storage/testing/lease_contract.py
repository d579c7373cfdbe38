"""What a store must do with leases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from quorate_storage.errors import LeaseHeld, LeaseLost
from quorate_storage.stores import Document, Lease, Store
from quorate_storage.testing.building import (
    EDITOR,
    LIFE_SECONDS,
    START,
    entry,
    new_document,
    new_lease,
    snapshot,
    version,
    written,
)

AFTER = START + LIFE_SECONDS + 1

Write = Callable[[Store, Document, Lease], Awaitable[object]]

WRITES: dict[str, Write] = {
    "create": lambda store, _document, lease: new_document(store, lease, "text/other"),
    "delete": lambda store, document, lease: store.delete(document.id, by=EDITOR, at=START, lease=lease),
    "restore": lambda store, document, lease: store.restore(document.id, at=START, lease=lease),
    "append": lambda store, document, lease: store.append([entry(document.id, 3)], lease=lease),
    "append again": lambda store, document, lease: store.append([entry(document.id, 2)], lease=lease),
    "replace_tail": lambda store, document, lease: store.replace_tail(snapshot(document.id, 1), lease=lease),
    "save_version": lambda store, document, lease: store.save_version(version(document.id), lease=lease),
    "renew_lease": lambda store, _document, lease: store.renew_lease(lease, seconds=LIFE_SECONDS, at=START),
}


class LeaseContract:
    """One holder at a time, and no write by a former one."""

    async def test_the_first_lease_has_token_one(self, store: Store) -> None:
        """A free lease is given with token 1 for the time asked."""
        lease = await new_lease(store, holder="one")

        assert lease == Lease(scope="all", holder="one", token=1, expires_at=START + LIFE_SECONDS)

    async def test_a_held_lease_is_refused(self, store: Store) -> None:
        """Nobody else gets a lease before it ends, and is told who has it."""
        lease = await new_lease(store, holder="one")

        with pytest.raises(LeaseHeld) as caught:
            await store.acquire_lease("all", holder="two", seconds=5, at=START + 1)

        assert caught.value.lease == lease

    async def test_the_holder_may_acquire_again(self, store: Store) -> None:
        """Acquiring one's own lease renews it under the same token."""
        await new_lease(store)

        again = await store.acquire_lease("all", holder="one", seconds=50, at=START + 1)

        assert (again.token, again.expires_at) == (1, START + 51)

    async def test_an_expired_lease_goes_to_the_next(self, store: Store) -> None:
        """After its end a lease is given to another holder with the next token."""
        await new_lease(store, holder="one")

        taken = await store.acquire_lease("all", holder="two", seconds=5, at=AFTER)

        assert (taken.holder, taken.token) == ("two", 2)

    async def test_renewing_extends(self, store: Store) -> None:
        """A renewed lease keeps others out for longer, even when it had run out."""
        lease = await new_lease(store)

        renewed = await store.renew_lease(lease, seconds=10, at=AFTER)

        assert (renewed.token, renewed.expires_at) == (lease.token, AFTER + 10)
        with pytest.raises(LeaseHeld):
            await store.acquire_lease("all", holder="two", seconds=5, at=AFTER + 9)

    async def test_a_released_lease_is_free(self, store: Store) -> None:
        """A released lease is given at once, with a greater token."""
        await store.release_lease(await new_lease(store, holder="one"))

        taken = await store.acquire_lease("all", holder="two", seconds=5, at=START)

        assert taken.token > 1

    async def test_a_lost_lease_cannot_be_released(self, store: Store) -> None:
        """Releasing a lease that somebody else took leaves theirs alone."""
        lost, taken = await _overtaken(store)

        await store.release_lease(lost)

        with pytest.raises(LeaseHeld) as caught:
            await store.acquire_lease("all", holder="three", seconds=5, at=AFTER)
        assert caught.value.lease == taken

    async def test_scopes_do_not_know_each_other(self, store: Store) -> None:
        """Each scope has a lease of its own."""
        one = await new_lease(store, scope="one", holder="one")
        two = await new_lease(store, scope="two", holder="two")

        assert (one.token, two.token) == (1, 1)

    async def test_of_many_at_once_one_gets_it(self, store: Store) -> None:
        """Of many that ask for a free lease at the same time, one gets it."""
        results = await asyncio.gather(
            *(store.acquire_lease("all", holder=f"{number}", seconds=5, at=START) for number in range(8)),
            return_exceptions=True,
        )

        assert sorted(type(result).__name__ for result in results) == ["Lease"] + ["LeaseHeld"] * 7

    @pytest.mark.parametrize("name", WRITES)
    async def test_a_stale_token_writes_nothing(self, store: Store, name: str) -> None:
        """Whoever lost the lease is refused by every method that takes one."""
        async with written(store, 2) as (lease, document):
            taken = await store.acquire_lease("all", holder="two", seconds=5, at=AFTER)
            before = await store.load(document.id)

            with pytest.raises(LeaseLost) as caught:
                await WRITES[name](store, document, lease)

            assert (caught.value.lease, caught.value.newest_token) == (lease, taken.token)
            assert await store.load(document.id) == before

    @pytest.mark.parametrize("name", WRITES)
    async def test_a_lease_never_given_writes_nothing(self, store: Store, name: str) -> None:
        """A token that no store gave is worth nothing."""
        async with written(store, 2) as (_lease, document):
            invented = Lease(scope="other", holder="one", token=1, expires_at=AFTER)

            with pytest.raises(LeaseLost):
                await WRITES[name](store, document, invented)

    async def test_an_expired_lease_still_writes(self, store: Store) -> None:
        """As long as nobody took it over, an expired lease is as good as before."""
        async with written(store, 0) as (lease, document):
            await store.append([entry(document.id, 1)], lease=lease)

            assert lease.expires_at < AFTER


async def _overtaken(store: Store) -> tuple[Lease, Lease]:
    lost = await new_lease(store, holder="one")
    return lost, await store.acquire_lease("all", holder="two", seconds=5, at=AFTER)
