"""What a store must do with acts: what is written beside updates, and read back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from quorate_protocol.ids import ClientId, DocumentName, Sequence, UserId
from quorate_storage.act_stores import Attribution, Checkpoint
from quorate_storage.acts import (
    Act,
    Announced,
    AuditEvent,
    Change,
    Cursor,
    Effect,
    EffectOutcome,
    EngineValue,
    Erasure,
    Grant,
    Reply,
    Row,
    WakeUp,
    Writer,
)
from quorate_storage.errors import DocumentExists, LeaseLost
from quorate_storage.stores import Lease, Revocation, Store
from quorate_storage.testing.building import EDITOR, START, aside, entries, new_document, new_lease, snapshot, written

ARTIFACT = DocumentName("approval/one")


def change(type_: str = "content.changed", document: str = ARTIFACT) -> Change:
    """Return a change that has no position yet."""
    return Change(type=type_, document=DocumentName(document), at=START, actor=EDITOR, data={"first": 1, "é": [None]})


def event(type_: str = "request.submitted", **texts: str) -> AuditEvent:
    """Return an audit event with one fact and personal texts by field."""
    return AuditEvent(
        type=type_, at=START, actor=EDITOR, via="api", artifact=ARTIFACT, facts={"state": "open"}, texts=texts
    )


def effect(key: str = "mail-1", **changes: object) -> Effect:
    """Return an effect that is due at `START`."""
    made = Effect(engine="mail", key=key, payload={"to": "anna"}, due_at=START, artifact=ARTIFACT)
    return replace(made, **changes)  # type: ignore[arg-type]  # a test says which


async def committed(store: Store, *rows: Row) -> Lease:
    """Write rows as one act under a fresh lease."""
    lease = await new_lease(store)
    await store.commit(Act(rows=rows), at=START, lease=lease)
    return lease


class ActContract:
    """Acts, and everything that they can write."""

    async def test_an_act_is_written_once(self, store: Store) -> None:
        """Committing the same act again changes nothing, whatever is in it."""
        lease = await new_lease(store)
        act = Act(rows=(change(), event(), effect()))
        for _ in range(3):
            await store.commit(act, at=START, lease=lease)

        assert [one.position for one in await store.read_changes(after=0)] == [1]
        assert len(await store.list_effects("mail")) == 1
        assert (await store.audit_head()).size == len(["log.opened", "request.submitted"])

    async def test_an_act_under_a_lost_lease_is_not_written(self, store: Store) -> None:
        """Somebody who was replaced writes nothing beside updates either."""
        lost = await new_lease(store)
        await store.release_lease(lost)
        await new_lease(store, holder="two")
        with pytest.raises(LeaseLost):
            await store.commit(Act(rows=(change(),)), at=START, lease=lost)

        assert await store.feed_head() == 0

    async def test_a_new_document_comes_with_its_act_or_not_at_all(self, store: Store) -> None:
        """The act of a creation that fails is not written; the others are."""
        lease = await new_lease(store)
        for told in ("first", "second"):
            act = Act(rows=(change(told),))
            try:
                await store.create(ARTIFACT, kind="approval", by=EDITOR, at=START, lease=lease, act=act)
            except DocumentExists:
                continue

        assert [one.type for one in await store.read_changes(after=0)] == ["first"]

    async def test_deleting_restoring_and_revoking_come_with_their_acts(self, store: Store) -> None:
        """Each is told in its own transaction."""
        lease = await new_lease(store)
        document = await new_document(store, lease)
        await store.delete(document.id, by=EDITOR, at=START, lease=lease, act=Act(rows=(change("deleted"),)))
        await store.restore(document.id, at=START, lease=lease, act=Act(rows=(change("restored"),)))
        await store.revoke(Revocation(subject="anna", at=START), act=Act(rows=(change("revoked"),)))

        assert [one.type for one in await store.read_changes(after=0)] == ["deleted", "restored", "revoked"]

    async def test_old_acts_and_replies_are_forgotten(self, store: Store) -> None:
        """After that, what they did stays."""
        reply = Reply(actor=EDITOR, key="k", fingerprint=b"f", status=200, answer={}, at=START)
        await committed(store, reply, change())
        await store.forget_acts(before=START + 1)

        assert await store.find_reply(EDITOR, "k") is None
        assert await store.feed_head() == 1

    # Attribution

    async def test_whose_a_client_id_is(self, store: Store) -> None:
        """It is known with the document, and by itself."""
        async with written(store, 1) as (lease, document):
            most = ClientId(2**53 - 1)
            act = Act(rows=(Writer(document=document.id, client=most, user=UserId("é anna")),))
            await store.commit(act, at=START, lease=lease)

            assert await store.read_writers(document.id) == {most: "é anna"}
            assert (await store.load(document.id)).writers == {most: "é anna"}

    async def test_who_wrote_what_outlives_the_log(self, store: Store) -> None:
        """Folding drops updates and keeps whose they were; those of other places are not returned."""
        async with written(store, 9) as (lease, document):
            for first, last in ((1, 4), (5, 8)):
                kept = Attribution(
                    document=document.id, first=Sequence(first), last=Sequence(last), packed=b"%d" % last
                )
                await store.replace_tail(snapshot(document.id, last), lease=lease, attributions=[kept])

            async def firsts(after: int, until: int) -> list[int]:
                found = await store.read_attributions(document.id, after=Sequence(after), until=Sequence(until))
                return [one.first for one in found]

            assert await firsts(0, 9) == [1, 5]
            assert await firsts(4, 9) == [5]
            assert await firsts(3, 4) == [1]
            assert (await store.load(document.id)).tail == tuple(entries(document.id, 9, 9))

    # The change feed

    async def test_changes_come_back_in_their_order(self, store: Store) -> None:
        """Each has the next position, and reading goes on from any."""
        await committed(store, change("a"), event(), change("b"))
        await committed(store, change("c", "text/é"))

        found = await store.read_changes(after=1)
        assert [(one.position, one.type) for one in found] == [(2, "b"), (3, "c")]
        assert replace(found[1], position=0) == change("c", "text/é")
        assert await store.feed_head() == found[-1].position
        assert [one.type for one in await store.read_changes(after=0, limit=1)] == ["a"]

    async def test_a_reader_is_remembered(self, store: Store) -> None:
        """The newest position that it said counts."""
        newest = Cursor(reader="one", position=7)
        await committed(store, Cursor(reader="one", position=4))
        await committed(store, newest)

        assert await store.read_cursor("one") == newest.position
        assert await store.read_cursor("two") is None

    async def test_what_the_feed_has_not_told_is_found(self, store: Store) -> None:
        """A document counts until it was told of up to its newest update."""
        async with written(store, 3) as (lease, document):
            [found] = await store.list_unannounced()
            assert (found.document, found.name, found.told, found.newest) == (document.id, document.name, 0, 3)
            for sequence, left in ((2, [2]), (3, [])):
                act = Act(rows=(Announced(document=document.id, sequence=sequence),))
                await store.commit(act, at=START, lease=lease)
                assert [one.told for one in await store.list_unannounced()] == left

    # What engines and commands keep

    async def test_wake_ups_fall_due(self, store: Store) -> None:
        """An engine has one for each artifact, and can take it back."""
        two = DocumentName("approval/two")
        await committed(
            store,
            WakeUp(engine="a", artifact=ARTIFACT, at=START + 9),
            WakeUp(engine="a", artifact=ARTIFACT, at=START + 2),
            WakeUp(engine="b", artifact=ARTIFACT, at=START + 1),
            WakeUp(engine="a", artifact=two, at=START + 3),
        )

        assert await store.next_wake_up() == START + 1
        due = [*await store.due_wake_ups("a", at=START + 2), *await store.due_wake_ups("b", at=START + 2)]
        assert [(one.engine, one.artifact) for one in due] == [("a", ARTIFACT), ("b", ARTIFACT)]
        await committed(store, *(replace(one, at=None) for one in due))
        assert await store.next_wake_up() == START + 3
        assert [one.artifact for one in await store.due_wake_ups("a", at=START + 3)] == [two]

    async def test_an_effect_is_kept_until_it_is_done(self, store: Store) -> None:
        """It falls due again as its outcome says, and not after it is done."""
        await committed(store, effect(), effect("mail-2", due_at=START + 5))
        [first] = await store.due_effects("mail", at=START)
        assert replace(first, id=None) == effect()
        assert first.id is not None
        later = EffectOutcome(id=first.id, attempts=1, state="pending", due_at=START + 9, error="503")
        await committed(store, later)

        assert await store.due_effects("other", at=START + 9) == []
        assert await store.next_effect("mail") == START + 5
        both = await store.due_effects("mail", at=START + 9)
        assert [(one.key, one.attempts, one.error) for one in both] == [("mail-2", 0, ""), ("mail-1", 1, "503")]
        await committed(store, replace(later, state="done"))
        assert [one.key for one in await store.due_effects("mail", at=START + 9)] == ["mail-2"]

    async def test_effects_are_listed_by_their_state(self, store: Store) -> None:
        """Those that are done are kept, too; the newest come first."""
        await committed(store, effect(), effect("mail-2"))
        [first, _] = await store.due_effects("mail", at=START)
        await committed(store, EffectOutcome(id=first.id or 0, attempts=1, state="done", due_at=START))

        assert [one.key for one in await store.list_effects("mail", state="done")] == ["mail-1"]
        assert [one.key for one in await store.list_effects("mail")] == ["mail-2", "mail-1"]

    async def test_an_effect_of_a_known_key_is_ignored(self, store: Store) -> None:
        """However often it is asked for, it happens as it was asked for first."""
        await committed(store, effect(), effect(payload={"to": "bob"}))
        await committed(store, effect(payload={"to": "bob"}))

        [only] = await store.list_effects("mail")
        assert only.payload == effect().payload

    async def test_values_of_an_engine(self, store: Store) -> None:
        """They are its own, found by the beginning of their keys, and can be taken away."""
        await committed(
            store,
            EngineValue(engine="a", key="x/2", value=b"\0"),
            EngineValue(engine="a", key="x/1", value=b"one"),
            EngineValue(engine="a", key="y", value=b""),
            EngineValue(engine="b", key="x/1", value=b"other"),
        )
        assert await store.read_values("a", prefix="x/") == {"x/1": b"one", "x/2": b"\0"}
        await committed(store, EngineValue(engine="a", key="x/1", value=None))
        assert list(await store.read_values("a")) == ["x/2", "y"]

    async def test_a_reply_is_of_one_actor_and_key(self, store: Store) -> None:
        """It comes back as it was given."""
        reply = Reply(actor=EDITOR, key="k", fingerprint=b"\0f", status=201, answer={"state": ["é"]}, at=START)
        await committed(store, reply)

        assert await store.find_reply(EDITOR, "k") == reply
        assert await store.find_reply(UserId("bob"), "k") is None

    async def test_grants(self, store: Store) -> None:
        """A later one of the same scope and principal replaces it, and one without a role takes it away."""
        first = Grant(scope=ARTIFACT, principal="user:anna", role="viewer", by=EDITOR, at=START)
        more = replace(first, role="owner", at=START + 1)
        other = replace(first, scope="kind:text", principal="group:stewards")
        await committed(store, first, other)
        await committed(store, more)
        assert await store.list_grants() == [more, other]
        assert await store.list_grants(["kind:text", "text/none"]) == [other]
        await committed(store, replace(more, role=None))
        assert await store.list_grants() == [other]

    async def test_what_is_set_aside_in_an_act(self, store: Store) -> None:
        """It is found with the document."""
        async with written(store, 0) as (lease, document):
            await store.commit(Act(rows=(aside(document.id),)), at=START, lease=lease)

            [kept] = await store.list_set_aside(document.id)
            assert replace(kept, id=None) == aside(document.id)

    # The audit chain

    async def test_audit_events_are_chained(self, store: Store) -> None:
        """They come back in order with the first event of every log before them."""
        await committed(store, event("one"), event("two"))
        await committed(store, event("three"))

        found = await store.read_audit(after=0)
        bodies = [json.loads(one.body) for one in found]
        assert [one["type"] for one in bodies] == ["log.opened", "one", "two", "three"]
        assert [one["seq"] for one in bodies] == [one.sequence for one in found] == [1, 2, 3, 4]
        chain = b""
        for one in found:
            leaf = hashlib.sha256(b"\0" + one.body).digest()
            chain = hashlib.sha256(chain + leaf).digest()
            assert one.chain == chain
        head = await store.audit_head()
        assert (head.size, head.chain) == (len(found), chain)
        assert [one.sequence for one in await store.read_audit(after=1, artifact=ARTIFACT, limit=2)] == [2, 3]

    async def test_personal_text_can_be_erased(self, store: Store) -> None:
        """The chain holds a salted commitment; erasing the text changes neither body nor chain."""
        await committed(store, event("decided", reason="she is ill", name="Anna"))
        before = (await store.read_audit(after=1))[0]
        salt, text = before.texts["reason"]
        said = json.loads(before.body)["texts"]["reason"]
        assert text == "she is ill"
        assert said == hashlib.sha256(salt + text.encode()).hexdigest()

        await committed(store, Erasure(sequence=before.sequence, field="reason"), Erasure(sequence=99, field="reason"))
        after = (await store.read_audit(after=1))[0]
        assert set(after.texts) == {"name"}
        assert (after.body, after.chain) == (before.body, before.chain)

    async def test_checkpoints(self, store: Store) -> None:
        """The first of a size stays."""
        for size, note in ((4, "four"), (2, "two"), (4, "other")):
            await store.save_checkpoint(Checkpoint(size=size, note=note, at=START))

        assert [one.note for one in await store.list_checkpoints()] == ["two", "four"]
