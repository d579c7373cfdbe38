"""What engines are given of the audit chain: its events, its checkpoints, and what verifying it found."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from quorate_protocol.ids import DocumentName, UserId
from quorate_server.artifacts import open_artifact
from quorate_server.connections import House
from quorate_server.errors import Conflict
from quorate_server.hooks import Engine, Server
from quorate_storage.acts import AuditEvent
from quorate_storage.audit_verification import Verdict
from quorate_storage.checkpoints import TreeHead, VerifierKey, verify_checkpoint
from quorate_storage.memory import MemoryStore
from tests.server.houses import audit_of, open_house, open_room


class Keeper(Engine):
    """An engine that does nothing but hold what the server gives it."""

    name = "keeper"


def server_of(house: House) -> Server:
    return house.engines.runtimes["keeper"].engine.server


async def tell(house: House, *texts: str, artifact: str | None = None) -> None:
    for text in texts:
        event = AuditEvent(
            type="test.said",
            at=1.0,
            actor=UserId("anna"),
            via="api",
            artifact=None if artifact is None else DocumentName(artifact),
            facts={"said": len(text)},
            texts={"text": text},
        )
        await house.rooms.ledger.commit(event)


async def test_events_are_read_in_order_with_what_is_not_erased() -> None:
    async with open_house(Keeper()) as house:
        await tell(house, "one", "two")
        await tell(house, "three", artifact="text/a")
        found = await server_of(house).read_audit(after=1)
        assert [entry.texts for entry in found] == [{"text": "one"}, {"text": "two"}, {"text": "three"}]
        assert [entry.event.sequence for entry in found] == [2, 3, 4]
        [only] = await server_of(house).read_audit(after=0, artifact="text/a")
        assert only.event.artifact == "text/a"
        assert [one.event.sequence for one in await server_of(house).read_audit(after=2, limit=1)] == [3]


async def test_an_event_that_was_changed_is_not_read() -> None:
    async with open_house(Keeper()) as house:
        await tell(house, "one")
        records: list[Any] = house.rooms.store._audit._records  # type: ignore[attr-defined]
        record, artifact = records[1]
        object.__setattr__(record, "body", record.body[:-1])
        records[1] = (record, artifact)
        with pytest.raises(Conflict, match="event 2 of the audit chain is damaged"):
            await server_of(house).read_audit(after=0)


async def test_a_seal_covers_what_is_durable_and_verifies() -> None:
    async with open_house(Keeper()) as house:
        await tell(house, "one")
        seal = await server_of(house).seal_audit()
        head = verify_checkpoint(seal.note, [VerifierKey.parse(house.sealer.verifier_key)])
        assert head == TreeHead(origin=head.origin, size=seal.size, root=seal.root)
        assert seal.size == len(await audit_of(house.rooms))
        assert await server_of(house).seal_audit() == seal


async def test_the_status_says_how_much_is_sealed_also_after_a_restart() -> None:
    store = MemoryStore()
    async with open_house(Keeper(), store=store) as house:
        assert (await server_of(house).audit_status()).sealed_at is None
        await tell(house, "one")
        await server_of(house).seal_audit()
        await tell(house, "two")
        status = await server_of(house).audit_status()
        assert (status.size, status.sealed_size) == (3, 2)
        assert status.sealed_at is not None
    async with open_house(Keeper(), store=store) as house:
        status = await server_of(house).audit_status()
        assert (status.size, status.sealed_size) == (3, 2)


async def test_an_attestation_is_what_anybody_finds_in_an_export() -> None:
    async with open_house(Keeper()) as house:
        await tell(house, "one")
        first = await server_of(house).seal_audit()
        await tell(house, "two")
        found = await server_of(house).attest_audit()
        assert found.verification.verdict is Verdict.VERIFIED
        assert (found.verification.size, found.verification.unsealed) == (3, 0)
        assert list(found.checkpoints) == [first, found.seal]
        assert (found.verifier_key, found.sinks) == (house.sealer.verifier_key, ())


async def test_an_attestation_tells_of_tampering() -> None:
    async with open_house(Keeper()) as house:
        await tell(house, "one", "two")
        await server_of(house).seal_audit()
        records: list[Any] = house.rooms.store._audit._records  # type: ignore[attr-defined]
        del records[1]
        assert (await server_of(house).attest_audit()).verification.verdict is Verdict.TAMPERED


async def test_an_engine_creates_an_artifact_of_its_own_once() -> None:
    async with open_house(Keeper()) as house:
        server = server_of(house)
        assert await server.create_artifact("text/kept")
        assert not await server.create_artifact("text/kept")
        async with open_artifact(house.rooms, DocumentName("text/kept")):
            pass
        assert not house.access.granted_in("text/kept")
        [created] = await audit_of(house.rooms, "document.created")
        assert created["actor"]["sub"] == "engine:keeper"


async def test_what_was_deleted_is_not_created_again() -> None:
    async with open_house(Keeper()) as house:
        room = await open_room(house.rooms, "text/kept")
        await asyncio.sleep(0)
        assert room.name == "text/kept"
        await house.rooms.delete(DocumentName("text/kept"), by=UserId("anna"))
        with pytest.raises(Conflict):
            await server_of(house).create_artifact("text/kept")
