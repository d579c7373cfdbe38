"""Artifacts: the record that nobody writes but the server, whose an edit is, and what a content may hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text

from quorate_protocol.awareness import AwarenessEntry, encode_awareness
from quorate_protocol.ids import ClientId, DocumentName, UserId
from quorate_server.artifacts import Artifact, open_artifact
from quorate_server.documents import SERVER_CLIENT_ID
from quorate_server.errors import AccessDenied, DocumentNotFound, Unavailable
from quorate_server.folding import load
from quorate_server.kinds import find_kind, view
from quorate_server.plain_views import render_json
from quorate_server.room import Room
from quorate_server.rooms import Rooms
from quorate_server.screening import MAX_REFUSED_BYTES
from quorate_server.sessions import REFUSALS, Encoder, HocuspocusEncoder, YWebSocketEncoder
from quorate_server.work import Work, transact
from tests.server.houses import (
    Guest,
    audit_of,
    changes_of,
    open_room,
    open_rooms,
    person,
    until,
)
from tests.server.stores import HeldStore

ARTIFACT = DocumentName("approval/one")
RECORD = DocumentName("approval/one/record")

ENCODERS = pytest.mark.parametrize("encoder", [YWebSocketEncoder(), HocuspocusEncoder(RECORD)], ids=["y", "hocuspocus"])


async def write_record(rooms: Rooms, name: DocumentName = ARTIFACT, **members: object) -> None:
    """Write the record as a command of the server does."""
    async with open_artifact(rooms, name) as artifact:

        def decide(work: Work) -> None:
            for key, value in members.items():
                work.set_record(artifact, key, value)

        await transact(rooms, [artifact], Work(person("clerk"), "test"), decide)


async def open_record(rooms: Rooms, *, by: str = "anna") -> Room:
    await open_room(rooms, ARTIFACT)
    return await rooms.open(RECORD, person(by), may_create=False)


def set_new(doc: Doc[Any]) -> None:
    doc.get("record", type=Map)["forged"] = "yes"


def overwrite(doc: Doc[Any]) -> None:
    doc.get("record", type=Map)["state"] = "APPROVED"


def delete(doc: Doc[Any]) -> None:
    del doc.get("record", type=Map)["state"]


def overwrite_nested(doc: Doc[Any]) -> None:
    doc.get("record", type=Map)["decisions"]["anna"] = "approve"


def stray_root(doc: Doc[Any]) -> None:
    doc.get("elsewhere", type=Text).insert(0, "hello")


def append(doc: Doc[Any]) -> None:
    doc.get("record", type=Array).append("in a row")


ATTEMPTS = [set_new, overwrite, delete, overwrite_nested, stray_root, append]


@ENCODERS
@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda each: each.__name__)
async def test_law_content_and_record_no_client_writes_the_record(
    attempt: Callable[[Doc[Any]], None], encoder: Encoder
) -> None:
    """Whatever a client does to a record is refused, told, kept and accounted for, and the client converges."""
    async with open_rooms() as rooms:
        record = await open_record(rooms)
        await write_record(rooms, state="PENDING", decisions={"ben": "reject"})
        before = render_json(await record.read())["record"]
        mallory = Guest(record, "mallory", may_write=False, encoder=encoder)
        watcher = Guest(record, "watcher", may_write=False)
        mallory.doc.apply_update(await record.read())
        mallory.made.clear()

        attempt(mallory.doc)
        sent = mallory.made[-1]
        mallory.send(sent)
        await until(lambda: record.is_durable and b"written by the server" in b"".join(mallory.channel.frames), "told")

        assert render_json(await record.read())["record"] == before
        mallory.doc.apply_update(await record.read())
        watcher.doc.apply_update(await record.read())
        assert mallory.doc.get("record", type=Map).to_py() == before == watcher.doc.get("record", type=Map).to_py()
        [kept] = await rooms.store.list_set_aside(record.document.id)
        assert (kept.author, kept.update) == ("mallory", sent)
        [event] = await audit_of(rooms, "edit.refused")
        assert (event["actor"], event["artifact"], event["facts"]["rule"]) == (
            {"sub": "mallory", "via": "sync"}, RECORD, "record",
        )  # fmt: skip
        assert rooms.metrics.render().count(b'quorate_refused_total{reason="record"} 1.0') == 1
        await write_record(rooms, state="APPROVED")
        mallory.doc.apply_update(await record.read())
        assert mallory.doc.get("record", type=Map)["state"] == "APPROVED"


async def test_a_record_that_is_only_read_refuses_nothing() -> None:
    async with open_rooms() as rooms:
        record = await open_record(rooms)
        await write_record(rooms, state="PENDING")
        anna = Guest(record, "anna", may_write=False)
        anna.ask()
        await until(lambda: len(anna.channel.frames) > 1, "synchronised")
        anna.take()
        record.receive(anna.session, anna.doc.get_update(), is_step2=True)
        await write_record(rooms, state="APPROVED")
        await until(lambda: any(anna.take()), "the relay")

        assert anna.doc.get("record", type=Map).to_py() == {"state": "APPROVED"}
        assert await audit_of(rooms, "edit.refused") == []


async def test_who_goes_on_writing_the_record_is_sent_away() -> None:
    async with open_rooms() as rooms:
        record = await open_record(rooms)
        mallory = Guest(record, "mallory", may_write=False)
        for number in range(REFUSALS + 1):
            mallory.made.clear()
            mallory.doc.get("record", type=Map)["n"] = number
            mallory.send(mallory.made[-1])
            await until(lambda: record.is_durable, "answered")

        assert isinstance(mallory.ended, AccessDenied)
        assert len(await audit_of(rooms, "edit.refused")) == REFUSALS + 1


async def test_a_record_exists_as_soon_as_its_artifact_does_and_no_sooner() -> None:
    async with open_rooms() as rooms:
        with pytest.raises(DocumentNotFound):
            await rooms.open(RECORD, person("anna"), may_create=True)
        await open_room(rooms, ARTIFACT)
        assert (await rooms.open(RECORD, person("anna"), may_create=False)).name == RECORD


async def test_deleting_an_artifact_ends_its_record() -> None:
    async with open_rooms() as rooms:
        record = await open_record(rooms)
        reader = Guest(record, "reader", may_write=False)
        await rooms.delete(ARTIFACT, by=UserId("anna"))
        assert reader.ended is not None


# Whose an edit is


@pytest.mark.parametrize("name", [ARTIFACT, "any room"])
async def test_law_nobody_writes_as_the_server(name: str) -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms, name)
        mallory = Guest(room, "mallory")
        forged: Doc[Any] = Doc(client_id=SERVER_CLIENT_ID)
        forged.get("request", type=Map)["title"] = "forged"
        mallory.send(forged.get_update())
        await until(lambda: mallory.ended, "ended")

        assert isinstance(mallory.ended, AccessDenied)
        assert room.live.state_vector() == b"\0"
        await until(lambda: room.is_durable, "accounted for")
        [event] = await audit_of(rooms, "edit.refused")
        assert event["facts"]["rule"] == "client_id"


async def test_law_nobody_writes_as_somebody_else() -> None:
    """A client id is its first user's for good: over a reload, and for whatever comes later."""
    async with open_rooms(idle_room_seconds=0.05) as rooms:
        room = await open_room(rooms, ARTIFACT)
        anna = Guest(room, "anna")
        anna.doc.get("request", type=Map)["title"] = "mine"
        anna.send(anna.made[-1])
        await until(lambda: len(anna.channel.frames) > 1, "the echo")
        anna.take()
        room.leave(anna.session)
        await until(lambda: rooms.find(ARTIFACT) is None, "unloaded")

        room = await open_room(rooms, ARTIFACT)
        mallory, again = Guest(room, "mallory"), Guest(room, "anna")
        anna.made.clear()
        anna.doc.get("request", type=Map)["title"] = "forged"
        mallory.send(anna.made[-1])
        await until(lambda: mallory.ended, "ended")
        assert render_json(await room.read())["request"] == {"title": "mine"}
        again.send(anna.made[-1])  # the same bytes, by the one whose id it is
        await until(lambda: len(again.channel.frames) > 1, "the echo")
        assert render_json(await room.read())["request"] == {"title": "forged"}


async def test_law_what_is_turned_away_takes_no_id() -> None:
    """Who writes with somebody's id something that is not applied has not made the id theirs."""
    async with open_rooms() as rooms:
        room = await open_room(rooms, ARTIFACT)
        anna, early, large = Guest(room, "anna"), Guest(room, "early"), Guest(room, "large")
        forged: Doc[Any] = Doc(client_id=anna.doc.client_id)
        request = forged.get("request", type=Map)
        request["title"] = "forged"
        whole = forged.get_state()
        request["title"] = "forged again"
        early.send(forged.get_update(whole))  # without what it builds on
        stray: Doc[Any] = Doc(client_id=anna.doc.client_id)
        stray.get("elsewhere", type=Text).insert(0, "x" * (MAX_REFUSED_BYTES + 1))
        large.send(stray.get_update())
        await until(lambda: large.ended, "ended")

        anna.doc.get("request", type=Map)["title"] = "mine"
        anna.send(anna.made[-1])
        await until(lambda: b"mine" in b"".join(anna.channel.frames), "the echo")
        assert anna.ended is None
        assert render_json(await room.read())["request"] == {"title": "mine"}


async def test_law_nobody_takes_the_id_of_somebody_who_is_present() -> None:
    """Everybody sees the ids of who is there: one is its owner's before they have written anything."""
    async with open_rooms() as rooms:
        room = await open_room(rooms, ARTIFACT)
        anna, mallory = Guest(room, "anna"), Guest(room, "mallory")
        here = AwarenessEntry(ClientId(anna.doc.client_id), 1, '{"user":{"name":"Anna"}}')
        room.presence.receive(anna.session, encode_awareness([here]))
        forged: Doc[Any] = Doc(client_id=anna.doc.client_id)
        forged.get("request", type=Map)["title"] = "forged"
        mallory.send(forged.get_update())
        await until(lambda: mallory.ended, "ended")

        anna.doc.get("request", type=Map)["title"] = "mine"
        anna.send(anna.made[-1])
        await until(lambda: b"mine" in b"".join(anna.channel.frames), "the echo")
        assert render_json(await room.read())["request"] == {"title": "mine"}


async def test_what_the_server_has_may_come_from_anybody() -> None:
    """A client that synchronises sends what it has, other people's edits included."""
    async with open_rooms() as rooms:
        room = await open_room(rooms, ARTIFACT)
        anna, ben = Guest(room, "anna"), Guest(room, "ben")
        anna.doc.get("request", type=Map)["title"] = "mine"
        anna.send(anna.made[-1])
        await until(lambda: len(ben.channel.frames) > 1, "the relay")
        ben.take()
        ben.doc.get("request", type=Map)["priority"] = "high"
        room.receive(ben.session, ben.doc.get_update(), is_step2=True)
        await until(lambda: len(ben.channel.frames) > 0, "the echo")

        assert ben.ended is None
        assert render_json(await room.read())["request"] == {"title": "mine", "priority": "high"}


async def test_where_nobody_proves_who_they_are_an_id_is_nobodys() -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms, ARTIFACT)
        doc: Doc[Any] = Doc(client_id=ClientId(7))
        for number in range(2):
            guest = Guest(room, f"guest-{number}")
            guest.session.user = person(f"guest-{number}").__class__(
                id=UserId(f"guest-{number}"), name="", is_proven=False
            )
            doc.get("request", type=Map)["n"] = number
            guest.channel.frames.clear()
            guest.send(doc.get_update())
            await until(partial(len, guest.channel.frames), "the echo")
            assert guest.ended is None


async def test_law_nobody_speaks_for_somebody_elses_presence() -> None:
    """It is not relayed, and accounted for: once, however often it is tried. What clients repeat is no forgery."""
    async with open_rooms() as rooms:
        room = await open_room(rooms, ARTIFACT)
        anna, mallory, ben = Guest(room, "anna"), Guest(room, "mallory"), Guest(room, "ben")

        def speak(guest: Guest, clock: int, state: str) -> None:
            entry = AwarenessEntry(ClientId(anna.doc.client_id), clock, state)
            room.presence.receive(guest.session, encode_awareness([entry]))

        speak(anna, 1, '{"user":{"name":"Anna"}}')
        speak(ben, 1, '{"user":{"name":"Anna"}}')
        for clock in range(2, 6):
            speak(mallory, clock, '{"user":{"name":"Forged"}}')
        await until(room.presence.everybody, "present")
        assert b"Forged" not in (room.presence.everybody() or b"")
        await rooms.journal.flush()
        assert [event["actor"]["sub"] for event in await audit_of(rooms, "presence.forged")] == ["mallory"]


# What a content may hold


def list_on_map(doc: Doc[Any]) -> None:
    doc.get("request", type=Array).append("in a row")


def text_on_map(doc: Doc[Any]) -> None:
    doc.get("request", type=Text).insert(0, "text")


def map_on_list(doc: Doc[Any]) -> None:
    doc.get("attachments", type=Map)["key"] = "value"


def stray(doc: Doc[Any]) -> None:
    doc.get("smuggled", type=Map)["key"] = "value"


@pytest.mark.parametrize("attempt", [list_on_map, text_on_map, map_on_list, stray], ids=lambda each: each.__name__)
async def test_a_content_keeps_the_shape_of_its_kind(attempt: Callable[[Doc[Any]], None]) -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms, ARTIFACT)
        anna, mallory = Guest(room, "anna"), Guest(room, "mallory")
        anna.doc.get("request", type=Map)["title"] = "a title"
        anna.send(anna.made[-1])
        await until(lambda: len(mallory.channel.frames) > 1, "the relay")
        mallory.take()
        mallory.made.clear()
        attempt(mallory.doc)
        mallory.send(mallory.made[-1])
        await until(lambda: room.is_durable and any(f[:2] == b"\x02\x00" for f in mallory.channel.frames), "told why")

        async with open_artifact(rooms, ARTIFACT) as artifact:
            assert artifact.content_json()["request"] == {"title": "a title"}
        kind = find_kind(ARTIFACT)
        assert kind is not None
        stored = await rooms.store.load(room.document.id)
        assert view(kind, load(stored).encode())["request"] == {"title": "a title"}
        [event] = await audit_of(rooms, "edit.refused")
        assert event["facts"]["rule"] == "shape"
        mallory.made.clear()
        mallory.doc.get("request", type=Map)["priority"] = "high"  # whoever was refused goes on
        mallory.send(mallory.made[-1])
        await until(lambda: room.is_durable, "durable")
        async with open_artifact(rooms, ARTIFACT) as artifact:
            assert artifact.content_json()["request"] == {"title": "a title", "priority": "high"}


async def test_a_commenter_comments_and_changes_nothing_else() -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms, ARTIFACT)
        carla = Guest(room, "carla", may_write=False)
        carla.session.may_comment = True
        carla.doc.get("comments", type=Map)["c1"] = Map({"body": Text("why?"), "author": "carla"})
        carla.send(carla.made[-1])
        await until(lambda: room.is_durable and len(carla.channel.frames) > 1, "the echo")
        carla.made.clear()
        carla.doc.get("request", type=Map)["title"] = "changed"
        carla.send(carla.made[-1])
        await until(lambda: any(f[:2] == b"\x02\x00" for f in carla.channel.frames), "told why")

        async with open_artifact(rooms, ARTIFACT) as artifact:
            content = artifact.content_json()
        assert content["request"] == {}
        assert content["comments"] == {"c1": {"author": "carla", "body": "why?"}}


async def test_what_comes_early_is_asked_for_again_whole() -> None:
    """An artifact's edits are judged whole: nothing of one that builds on what has not come is kept or acknowledged."""
    async with open_rooms() as rooms:
        room = await open_room(rooms, "text/a")
        anna = Guest(room, "anna", encoder=HocuspocusEncoder("text/a"))
        anna.text += "one "
        anna.made.clear()
        anna.text += "two"
        anna.send(anna.made[-1])
        await until(lambda: room.is_durable, "answered")
        assert render_json(await room.read()) == {}
        anna.channel.frames.clear()
        room.receive(anna.session, anna.doc.get_update(), is_step2=True)
        await until(lambda: room.is_durable and anna.channel.frames, "the echo")

        assert render_json(await room.read()) == {"text": "one two"}
        saved = HocuspocusEncoder("text/a").saved(saved=True) or b""
        assert anna.channel.frames.count(saved) == 2  # the step 2, and the update that came too early


# Units of work


async def test_law_every_act_is_accounted_for() -> None:
    """The record, the audit event, the change, the wake-up and the effect become durable together or not at all."""
    async with open_rooms() as rooms:
        await open_room(rooms, ARTIFACT)
        async with open_artifact(rooms, ARTIFACT) as artifact:

            def decide(work: Work) -> str:
                work.set_record(artifact, "state", "PENDING")
                work.edit_content(artifact, lambda doc: doc.get("request", type=Map).update({"title": "by a clerk"}))
                work.audit("request.submitted", artifact, facts={"state": "PENDING"}, texts={"reason": "because"})
                work.publish("request.submitted", artifact)
                work.wake(artifact, 5.0)
                work.effect("mail-1", {"to": "anna"}, artifact=artifact)
                return "done"

            work = Work(person("clerk"), "test", engine="clerks")
            assert await transact(rooms, [artifact], work, decide) == "done"

            def fail(work: Work) -> None:
                decide(work)
                work.set_record(artifact, "state", "APPROVED")
                work.wake(artifact, 6.0)
                raise ValueError("no")

            with pytest.raises(ValueError, match="no"):
                await transact(rooms, [artifact], Work(person("clerk"), "test", engine="clerks"), fail)
            assert artifact.record_json() == {"state": "PENDING"}
            assert artifact.content_json()["request"] == {"title": "by a clerk"}
        store = rooms.store
        assert [one.at for one in await store.due_wake_ups("clerks", at=9.0)] == [5.0]
        assert len(await store.list_effects("clerks")) == 1
        assert len(await audit_of(rooms, "request.submitted")) == 1
        told = [one.type for one in await changes_of(rooms)]
        assert told == ["document.created", "request.submitted", "record.changed", "content.changed"]
        for name, content in (
            (ARTIFACT, {"request": {"title": "by a clerk"}}),
            (RECORD, {"record": {"state": "PENDING"}}),
        ):
            document = await store.find(name)
            assert document is not None
            await rooms.journal.flush()
            stored = await store.load(document.id)
            fresh: Doc[Any] = Doc()
            for entry in stored.tail:
                fresh.apply_update(entry.update)
            assert render_json(fresh.get_update()) == content


async def test_members_of_a_record_change_one_by_one() -> None:
    """What stays the same is not written again, so that readers see only what is new."""
    async with open_rooms() as rooms:
        record = await open_record(rooms)
        await write_record(rooms, section={"a": 1, "b": [1, 2], "c": {"d": True}})
        size = len(await record.read())
        await write_record(rooms, section={"a": 1, "b": [1, 2], "c": {"d": True}})
        assert len(await record.read()) == size
        await write_record(rooms, section={"a": 1, "c": {"d": False}, "e": None})
        async with open_artifact(rooms, ARTIFACT) as artifact:
            assert json.loads(json.dumps(artifact.record_json())) == {"section": {"a": 1, "c": {"d": False}}}


async def test_a_unit_of_work_on_a_document_that_ended_changes_nothing() -> None:
    async with open_rooms() as rooms:
        await open_room(rooms, ARTIFACT)
        async with open_artifact(rooms, ARTIFACT) as artifact:
            await rooms.delete(ARTIFACT, by=UserId("anna"))
            with pytest.raises(Unavailable):
                await transact(rooms, [artifact], Work(person("c"), "test"), lambda work: work.audit("x"))
        assert await audit_of(rooms, "x") == []


async def test_a_unit_of_work_is_lost_with_either_of_its_documents_and_order_is_kept() -> None:
    """The content is deleted under a unit of work that waits for its commit: what the record had before is safe."""
    store = HeldStore()
    async with open_rooms(store) as rooms:
        room = await open_room(rooms, ARTIFACT)
        async with open_artifact(rooms, ARTIFACT) as artifact:
            record = artifact.record_room
            store.hold()
            works = [
                asyncio.create_task(
                    transact(rooms, [artifact], Work(person("clerk"), "test"), partial(_set, artifact, number, root))
                )
                for number, root in enumerate(("", "request"))
            ]
            await until(lambda: store.is_waiting, "the first is on its way")
            await store.delete(room.document.id, by=UserId("x"), at=1.0, lease=rooms._leases.current())
            store.release()
            first, second = await asyncio.gather(*works, return_exceptions=True)
            assert first is None
            assert isinstance(second, Unavailable)
            assert room.is_ended
            assert record.is_ended
        stored = await store.load(record.document.id)
        doc: Doc[Any] = Doc()
        for entry in stored.tail:
            doc.apply_update(entry.update)
        assert doc.get("record", type=Map).to_py() == {"n": 0}


def _set(artifact: Artifact, number: int, root: str, work: Work) -> None:
    work.set_record(artifact, "n", number)
    if root:
        work.edit_content(artifact, lambda doc: doc.get(root, type=Map).update({"title": "x"}))


async def test_the_content_hash_binds_what_is_guarded_and_nothing_else() -> None:
    async with open_rooms() as rooms:
        room = await open_room(rooms, ARTIFACT)
        anna = Guest(room, "anna")
        async with open_artifact(rooms, ARTIFACT) as artifact:

            async def hash_after(edit: Callable[[Doc[Any]], object]) -> str:
                anna.made.clear()
                edit(anna.doc)
                for made in anna.made:
                    anna.send(made)
                await until(lambda: room.is_durable, "durable")
                room.hand_over()
                return artifact.content_hash()

            first = await hash_after(lambda doc: doc.get("request", type=Map).update({"subject": "table/x"}))
            commented = await hash_after(
                lambda doc: doc.get("comments", type=Map).update({"c": Map({"author": "anna"})})
            )
            changed = await hash_after(lambda doc: doc.get("request", type=Map).update({"subject": "table/y"}))
            back = await hash_after(lambda doc: doc.get("request", type=Map).update({"subject": "table/x"}))
        assert first == commented == back != changed


async def test_a_large_artifact_is_judged_without_making_the_others_wait() -> None:
    """What is needed to judge it is made elsewhere; its edits and commands wait for that, in their order."""
    async with open_rooms() as rooms:
        room = await open_room(rooms, ARTIFACT)
        anna = Guest(room, "anna")
        for number in range(40):
            anna.made.clear()
            anna.doc.get("fields", type=Map)[f"field {number}"] = "x" * 5000
            anna.send(anna.made[-1])
        await until(lambda: room.is_durable, "durable")
        room.end(Unavailable("reload"))
        await until(lambda: rooms.find(ARTIFACT) is None, "gone")

        room = await open_room(rooms, ARTIFACT)
        again, mallory = Guest(room, "anna"), Guest(room, "mallory")
        for guest, made in ((again, "request"), (mallory, "stray")):
            guest.doc.get(made, type=Map)["title"] = "a title"
            guest.send(guest.made[-1])
        async with open_artifact(rooms, ARTIFACT) as artifact:
            assert room.screening.lacks_outline
            await transact(
                rooms, [artifact], Work(person("clerk"), "test"), lambda work: work.set_record(artifact, "state", "x")
            )
            assert not room.screening.lacks_outline
            await until(lambda: room.is_durable, "durable")
            assert artifact.root_members("request") == {"title": "a title"}
        assert b"one of the root types" in b"".join(mallory.channel.frames)
