"""What a store must do with documents and tombstones."""

from __future__ import annotations

import pytest

from quorate_protocol.ids import DocumentId, DocumentName
from quorate_storage.errors import DocumentExists, DocumentMissing
from quorate_storage.stores import Lease, Store
from quorate_storage.testing.building import EDITOR, START, entries, entry, new_document, new_lease

NOWHERE = DocumentId(999_999)

BY_CODE_POINT = ("a/B", "a/a", "a/é", "a/\uffee", "a/\U0001d11e")


class CatalogueContract:
    """Documents by name, tombstones and epochs."""

    async def test_a_new_document_is_empty(self, store: Store) -> None:
        """A new document has epoch 1 and an empty log, and is found by its name."""
        document = await new_document(store, await new_lease(store))

        assert (document.epoch, document.last_sequence, document.deleted_at) == (1, 0, None)
        assert (document.created_by, document.created_at, document.kind) == (EDITOR, START, "text")
        assert await store.find(document.name) == document

    async def test_a_seed_is_the_first_update(self, store: Store) -> None:
        """The seed is in the log as update 1 by whoever created the document."""
        document = await new_document(store, await new_lease(store), seed=b"seed")

        assert document.last_sequence == 1
        (first,) = (await store.load(document.id)).tail
        assert (first.sequence, first.update, first.author) == (1, b"seed", EDITOR)

    async def test_an_unused_name_is_not_found(self, store: Store) -> None:
        """Nothing is found under a name that was never used."""
        assert await store.find(DocumentName("text/never")) is None

    async def test_a_name_is_taken_once(self, store: Store) -> None:
        """Creating a name again is refused with the document that has it, seed or not."""
        lease = await new_lease(store)
        document = await new_document(store, lease)

        with pytest.raises(DocumentExists) as caught:
            await new_document(store, lease, seed=b"another")

        assert caught.value.document == document
        assert (await store.load(document.id)).tail == ()

    async def test_a_tombstone_keeps_its_name(self, store: Store) -> None:
        """The name of a deleted document cannot be created again."""
        lease = await new_lease(store)
        document = await new_document(store, lease)
        tombstone = await store.delete(document.id, by=EDITOR, at=START, lease=lease)

        with pytest.raises(DocumentExists) as caught:
            await new_document(store, lease)

        assert caught.value.document == tombstone

    async def test_documents_are_listed_by_code_point(self, store: Store) -> None:
        """Names are ordered by code point, on every database and in every locale."""
        await _create(store, *reversed(BY_CODE_POINT))

        assert await _names(store) == BY_CODE_POINT

    async def test_a_list_continues_after_a_name(self, store: Store) -> None:
        """A page has up to `limit` documents, and the next one starts after its last name."""
        await _create(store, *BY_CODE_POINT)

        assert await _names(store, limit=2) == BY_CODE_POINT[:2]
        assert await _names(store, after=BY_CODE_POINT[1], limit=2) == BY_CODE_POINT[2:4]

    @pytest.mark.parametrize("prefix", ["a%", "a_", "A", "a", "a\U0010ffff", "a\ud7ff", ""])
    async def test_a_prefix_is_taken_literally(self, store: Store, prefix: str) -> None:
        """A prefix has no wildcards, heeds case, and may end with any character."""
        names = ("A1", "a", "a%b", "a_b", "axb", "a\ud7ff1", "a\ue000", "a\U0010ffffz", "b")
        await _create(store, *names)

        assert await _names(store, prefix=prefix) == tuple(sorted(name for name in names if name.startswith(prefix)))

    async def test_tombstones_are_listed_on_request(self, store: Store) -> None:
        """A deleted document is listed only when tombstones are asked for."""
        lease = await _create(store, "a", "b")
        found = await store.find(DocumentName("a"))
        assert found is not None
        await store.delete(found.id, by=EDITOR, at=START, lease=lease)

        assert await _names(store) == ("b",)
        assert await _names(store, include_deleted=True) == ("a", "b")

    async def test_deleting_leaves_a_tombstone(self, store: Store) -> None:
        """A deleted document says who deleted it and when, and has the next epoch."""
        lease = await new_lease(store)
        document = await new_document(store, lease)

        tombstone = await store.delete(document.id, by=EDITOR, at=START + 5, lease=lease)

        assert (tombstone.epoch, tombstone.deleted_at, tombstone.deleted_by) == (
            2,
            START + 5,
            EDITOR,
        )
        assert await store.find(document.name) == tombstone

    async def test_deleting_twice_is_deleting_once(self, store: Store) -> None:
        """Deleting a tombstone changes nothing."""
        lease = await new_lease(store)
        document = await new_document(store, lease)
        tombstone = await store.delete(document.id, by=EDITOR, at=START, lease=lease)

        assert await store.delete(document.id, by=EDITOR, at=START + 9, lease=lease) == tombstone

    async def test_a_tombstone_takes_no_updates(self, store: Store) -> None:
        """Appending to a tombstone is refused, and its log stays for a restoration."""
        lease = await new_lease(store)
        document = await new_document(store, lease)
        await store.append(entries(document.id, 1, 2), lease=lease)
        await store.delete(document.id, by=EDITOR, at=START, lease=lease)

        with pytest.raises(DocumentMissing) as caught:
            await store.append([entry(document.id, 3)], lease=lease)

        assert caught.value.document == document.id
        assert (await store.load(document.id)).tail == tuple(entries(document.id, 1, 2))

    async def test_restoring_begins_another_epoch(self, store: Store) -> None:
        """A restored document is alive in the next epoch, and its log goes on."""
        lease = await new_lease(store)
        document = await new_document(store, lease, seed=b"seed")
        await store.delete(document.id, by=EDITOR, at=START, lease=lease)

        restored = await store.restore(document.id, at=START, lease=lease)
        await store.append([entry(document.id, 2)], lease=lease)

        assert (restored.epoch, restored.deleted_at, restored.deleted_by) == (3, None, None)
        assert restored.last_sequence == 1

    async def test_restoring_the_living_changes_nothing(self, store: Store) -> None:
        """A document that was not deleted is returned as it is."""
        lease = await new_lease(store)
        document = await new_document(store, lease)

        assert await store.restore(document.id, at=START, lease=lease) == document

    async def test_what_never_existed_is_missing(self, store: Store) -> None:
        """Deleting, restoring and loading need a document that exists or existed."""
        lease = await new_lease(store)

        with pytest.raises(DocumentMissing):
            await store.delete(NOWHERE, by=EDITOR, at=START, lease=lease)
        with pytest.raises(DocumentMissing):
            await store.restore(NOWHERE, at=START, lease=lease)
        with pytest.raises(DocumentMissing):
            await store.load(NOWHERE)


async def _create(store: Store, *names: str) -> Lease:
    lease = await new_lease(store)
    for name in names:
        await new_document(store, lease, name)
    return lease


async def _names(
    store: Store,
    *,
    prefix: str = "",
    after: str = "",
    limit: int = 100,
    include_deleted: bool = False,
) -> tuple[str, ...]:
    found = await store.list_documents(prefix=prefix, after=after, limit=limit, include_deleted=include_deleted)
    return tuple(document.name for document in found)
