"""What a store must do with versions and with what was set aside."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quorate_protocol.ids import DocumentId
from quorate_storage.errors import DocumentMissing
from quorate_storage.stores import Revocation, Store
from quorate_storage.testing.building import aside, entries, snapshot, version, written


class VersionContract:
    """Named states and refused updates, both apart from the log."""

    async def test_versions_are_numbered_from_one(self, store: Store) -> None:
        """The store numbers the versions of each document and gives their states back."""
        async with written(store, 0) as (lease, document):
            first = await store.save_version(version(document.id, state=b"one" * 99), lease=lease)
            second = await store.save_version(version(document.id, state=b""), lease=lease)

            assert (first.number, second.number) == (1, 2)
            assert await store.read_version(document.id, 1) == first
            assert await store.read_version(document.id, 2) == second

    async def test_a_list_of_versions_has_no_states(self, store: Store) -> None:
        """Versions are listed oldest first, with empty states."""
        async with written(store, 0) as (lease, document):
            kept = [await store.save_version(version(document.id, name=name), lease=lease) for name in ("b", "a")]

            listed = await store.list_versions(document.id)

            assert list(listed) == [replace(one, state=b"") for one in kept]

    async def test_an_unknown_version_is_none(self, store: Store) -> None:
        """A number that was never given leads to nothing."""
        async with written(store, 0) as (_lease, document):
            assert await store.read_version(document.id, 1) is None

    async def test_versions_outlive_the_log(self, store: Store) -> None:
        """A version stays when the log that led to it becomes a snapshot."""
        async with written(store, 3) as (lease, document):
            kept = await store.save_version(version(document.id), lease=lease)
            await store.replace_tail(snapshot(document.id, 3), lease=lease)

            assert await store.read_version(document.id, kept.number) == kept

    async def test_what_was_set_aside_is_listed(self, store: Store) -> None:
        """Set-aside updates are listed oldest first under the ids they were given."""
        async with written(store, 2) as (_lease, document):
            items = [aside(document.id), aside(document.id, cause="poison", update=b"\0\xff")]
            keys = [await store.set_aside(item) for item in items]

            listed = await store.list_set_aside(document.id)

            assert list(listed) == [replace(item, id=key) for item, key in zip(items, keys, strict=True)]
            assert (await store.load(document.id)).tail == tuple(entries(document.id, 1, 2))

    async def test_revocations_are_listed_in_their_order(self, store: Store) -> None:
        """What was revoked stays revoked, the same thing twice included."""
        async with written(store, 0):
            kept = [Revocation(subject="anna", at=1.5), Revocation(token_id="t-1", at=2.5)]  # noqa: S106
            for revocation in (*kept, kept[0]):
                await store.revoke(revocation)

            assert list(await store.list_revocations()) == [*kept, kept[0]]

    async def test_nothing_is_kept_for_what_does_not_exist(self, store: Store) -> None:
        """A version or a set-aside update needs its document."""
        nowhere = DocumentId(999_999)
        async with written(store, 0) as (lease, _document):
            with pytest.raises(DocumentMissing):
                await store.save_version(version(nowhere), lease=lease)
            with pytest.raises(DocumentMissing):
                await store.set_aside(aside(nowhere))
            assert not await store.list_versions(nowhere)
            assert not await store.list_set_aside(nowhere)
