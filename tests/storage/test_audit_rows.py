"""The audit chain as rows: on SQLite, on PostgreSQL and in memory."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from functools import partial

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from quorate_protocol.ids import DocumentName, UserId
from quorate_storage import audit_rows
from quorate_storage.act_stores import AuditRecord, Checkpoint
from quorate_storage.acts import AuditEvent
from quorate_storage.memory_audit import MemoryAudit
from quorate_storage.sql import SqlStore
from quorate_storage.testing.building import START
from quorate_storage.transparency import (
    FIRST_CHAIN,
    FrontierDamaged,
    chain_hash,
    commitment,
    leaf_hash,
    root_of,
)


def event(
    number: int = 1,
    *,
    artifact: str | None = "approval/one",
    facts: Mapping[str, object] | None = None,
    texts: Mapping[str, str] | None = None,
) -> AuditEvent:
    return AuditEvent(
        type="decision.made",
        at=START + number,
        actor=UserId("anna"),
        via="api",
        artifact=None if artifact is None else DocumentName(artifact),
        facts={"number": number} if facts is None else facts,
        texts={} if texts is None else texts,
    )


async def append(store: SqlStore, *events: AuditEvent) -> None:
    await store._database.write(partial(audit_rows.append_events, events=events))


async def erase(store: SqlStore, places: list[tuple[int, str]]) -> int:
    return await store._database.write(partial(audit_rows.erase_texts, places=places))


async def records(store: SqlStore, *, after: int = 0, artifact: str | None = None) -> list[AuditRecord]:
    name = None if artifact is None else DocumentName(artifact)
    return list(await store.read_audit(after=after, artifact=name))


def chain_of(bodies: list[bytes]) -> list[bytes]:
    chain = FIRST_CHAIN
    hashes: list[bytes] = []
    for body in bodies:
        chain = chain_hash(chain, leaf_hash(body))
        hashes.append(chain)
    return hashes


async def test_the_first_event_is_preceded_by_genesis(url: str) -> None:
    async with SqlStore(url) as store:
        await append(store, event())
        bodies = [json.loads(record.body) for record in await records(store)]
    assert [(body["seq"], body["type"]) for body in bodies] == [(1, "log.opened"), (2, "decision.made")]
    assert bodies[0]["actor"] == {"sub": "server", "via": "server"}
    assert bodies[0]["ts"] == bodies[1]["ts"]


async def test_a_body_has_exactly_the_documented_form(url: str) -> None:
    async with SqlStore(url) as store:
        await append(store, event(texts={"reason": "looks right"}))
        _, record = await records(store)
    salt, reason = record.texts["reason"]
    assert (len(salt), reason) == (16, "looks right")
    assert record.body == (
        b'{"actor":{"sub":"anna","via":"api"},"artifact":"approval/one","facts":{"number":1},"seq":2,'
        b'"texts":{"reason":"' + commitment(salt, "looks right").encode() + b'"},'
        b'"ts":"2025-06-15T15:06:41.123456Z","type":"decision.made","v":1}'
    )


async def test_chain_and_tree_go_on_over_several_transactions(url: str) -> None:
    async with SqlStore(url) as store:
        await append(store, event(1), event(2))
        await append(store, event(3))
        await append(store)
        await append(store, *[event(number) for number in range(4, 20)])
        found = await records(store)
        head = await store.audit_head()
        count = await store._database.read(audit_rows.event_count)
    assert [record.sequence for record in found] == list(range(1, 21))
    assert [record.chain for record in found] == chain_of([record.body for record in found])
    leaves = [leaf_hash(record.body) for record in found]
    assert (head.size, count, head.chain, head.root) == (20, 20, found[-1].chain, root_of(leaves))


async def test_no_events_write_nothing(url: str) -> None:
    async with SqlStore(url) as store:
        await append(store)
        assert await records(store) == []
        assert (await store.audit_head()).size == 0


async def test_a_transaction_that_fails_leaves_no_event(url: str) -> None:
    class Undone(Exception):
        pass

    def work(connection: Connection) -> None:
        audit_rows.append_events(connection, [event(texts={"reason": "x"})])
        raise Undone

    async with SqlStore(url) as store:
        with suppress(Undone):
            await store._database.write(work)
        assert (await store.audit_head()).size == 0
        await append(store, event())
        assert [record.sequence for record in await records(store)] == [1, 2]


async def test_writers_at_once_leave_no_gap(url: str) -> None:
    async with SqlStore(url) as one, SqlStore(url) as two:
        await asyncio.gather(*(append(store, event(n)) for n in range(10) for store in (one, two)))
        found = await records(one)
    assert [record.sequence for record in found] == list(range(1, 22))
    assert [json.loads(record.body)["seq"] for record in found] == list(range(1, 22))
    assert [record.chain for record in found] == chain_of([record.body for record in found])


async def test_events_are_read_by_artifact_and_in_pages(url: str) -> None:
    async with SqlStore(url) as store:
        await append(
            store,
            event(1, artifact="text/a", texts={"reason": "one"}),
            event(2, artifact="text/b", texts={"reason": "two"}),
            event(3, artifact="text/a", texts={"reason": "three"}),
            event(4, artifact=None),
        )
        found = await records(store, artifact="text/a")
        page = await store.read_audit(after=2, limit=2)
        none = await records(store, after=5)
        texts = await store._database.read(partial(audit_rows.read_texts, first=2, last=3))
    assert [(record.sequence, record.texts["reason"][1]) for record in found] == [(2, "one"), (4, "three")]
    assert [record.sequence for record in page] == [3, 4]
    assert none == []
    assert {sequence: fields["reason"][1] for sequence, fields in texts.items()} == {2: "one", 3: "two"}


async def test_erasing_takes_the_text_and_its_salt_and_leaves_the_event(url: str) -> None:
    async with SqlStore(url) as store:
        await append(store, event(texts={"reason": "personal", "name": "Anna"}))
        before = await records(store)
        assert await erase(store, [(2, "reason"), (2, "none"), (9, "reason")]) == 1
        assert await erase(store, [(2, "reason")]) == 0
        after = await records(store)
        left = await store._database.read(
            lambda connection: connection.scalar(text("SELECT count(*) FROM audit_texts"))
        )
    assert [(record.body, record.chain) for record in after] == [(record.body, record.chain) for record in before]
    assert (set(after[1].texts), left) == ({"name"}, 1)


async def test_erased_bytes_are_overwritten_in_the_file(sqlite_url: str) -> None:
    secret = "a very personal sentence " * 3
    async with SqlStore(sqlite_url) as store:
        await append(store, event(texts={"reason": secret}))
    path = sqlite_url.removeprefix("sqlite:///")
    with open(path, "rb") as file:  # noqa: ASYNC230, PTH123
        assert secret.encode() in file.read()
    async with SqlStore(sqlite_url) as store:
        await erase(store, [(2, "reason")])
    with open(path, "rb") as file:  # noqa: ASYNC230, PTH123
        assert b"very personal" not in file.read()


async def test_checkpoints_are_kept_once_and_in_order(url: str) -> None:
    async with SqlStore(url) as store:
        for size, note in ((7, "seven"), (3, "three"), (7, "other")):
            await store.save_checkpoint(Checkpoint(size=size, note=note, at=START))
        found = await store.list_checkpoints()
    assert [(checkpoint.size, checkpoint.note) for checkpoint in found] == [(3, "three"), (7, "seven")]


class Colour(Enum):
    RED = "red"


CYCLE: list[object] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (2**53 - 1, 2**53 - 1),
        (2**53, "9007199254740992"),
        (-(2**60), "-1152921504606846976"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (1.5, 1.5),
        (True, True),
        (None, None),
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude00", "\U0001f600"),
        ("a\0b", "a\ufffdb"),
        (b"\x01\xff", "01ff"),
        ({3, 1, 2}, [1, 2, 3]),
        ((1, [2]), [1, [2]]),
        (Colour.RED, "red"),
        (Decimal("1.10"), "1.10"),
        (datetime(2025, 1, 2, tzinfo=UTC), "2025-01-02 00:00:00+00:00"),
        ({1: "a", None: "b", "\ud800": "c"}, {"1": "a", "None": "b", "\ufffd": "c"}),
        (object(), "<object>"),
        ({"deep": {Colour: 1}}, {"deep": {"<EnumType>": 1}}),
    ],
)
def test_what_canonical_json_refuses_is_converted(value: object, kept: object) -> None:
    assert audit_rows.plain_json(value) == kept
    assert type(audit_rows.plain_json(value)) is type(kept)


def test_a_huge_integer_and_a_cycle_are_facts_too() -> None:
    body = audit_rows.build_body(event(facts={"huge": 10**6000, "cycle": CYCLE}), 2, {})
    facts = json.loads(body)["facts"]
    assert facts["huge"] == hex(10**6000)
    assert "<list>" in json.dumps(facts["cycle"])


@pytest.mark.parametrize("at", [math.nan, math.inf, 1e30, -1e30])
def test_a_time_that_no_calendar_holds_is_the_epoch(at: float) -> None:
    assert audit_rows.format_time(at) == "1970-01-01T00:00:00.000000Z"


facts_of_any_kind = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary() | st.decimals(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()) | st.integers(), inner),
)


@given(st.dictionaries(st.text(st.characters()), facts_of_any_kind), st.floats())
def test_any_facts_become_one_canonical_body(facts: dict[str, object], at: float) -> None:
    made = AuditEvent(type="x", at=at, actor=UserId("a"), via="api", facts=facts)
    body = audit_rows.build_body(made, 2, {})
    assert body == audit_rows.build_body(made, 2, {})
    assert rfc8785.dumps(json.loads(body, parse_int=_number)) == body


def _number(digits: str) -> float:
    # JSON has one kind of number: beyond 2^53 only a float can have been written.
    return int(digits) if abs(int(digits)) <= audit_rows.LARGEST_INTEGER else float(digits)


async def test_events_that_no_database_could_hold_do_not_break_the_transaction(url: str) -> None:
    strange = AuditEvent(
        type="x\0\ud800", at=math.nan, actor=UserId("\ud800"), via="\0", artifact=DocumentName("text/\0\ud800"),
        facts={"n": 2**70, "f": math.nan, "\0\ud800": "\0\ud800"}, texts={"\0\ud800": "\0\ud800 text"},
    )  # fmt: skip
    async with SqlStore(url) as store:
        await append(store, strange)
        _, record = await records(store)
    body = json.loads(record.body)
    salt, kept = record.texts["\ufffd\ufffd"]
    assert kept == "\ufffd\ufffd text"
    assert body["texts"] == {"\ufffd\ufffd": commitment(salt, kept)}
    assert body["artifact"] == "text/\ufffd\ufffd"


async def test_a_damaged_head_is_refused_and_nothing_is_written(url: str) -> None:
    async with SqlStore(url) as store:
        await append(store, event())
        damage = text("UPDATE audit_head SET frontier = :bytes").bindparams(bytes=b"damaged")
        await store._database.write(lambda connection: connection.execute(damage) and None)
        with pytest.raises(FrontierDamaged):
            await append(store, event())
        assert await store._database.read(audit_rows.event_count) == 2


def test_memory_keeps_the_same_chain() -> None:
    kept = MemoryAudit()
    assert (kept.read_head().size, kept.event_count()) == (0, 0)
    kept.append_events([event(1, artifact="text/a", texts={"reason": "x", "name": "y"}), event(2, artifact="text/b")])
    kept.append_events([event(3, artifact="text/a")])
    kept.append_events([])
    found = kept.read_events(0, 10)
    assert [record.sequence for record in found] == [1, 2, 3, 4]
    assert [record.chain for record in found] == chain_of([record.body for record in found])
    head = kept.read_head()
    assert (head.size, head.root) == (4, root_of([leaf_hash(record.body) for record in found]))
    assert [record.sequence for record in kept.read_events(0, 1, DocumentName("text/a"))] == [2]
    assert [record.sequence for record in kept.read_events(2, 10, DocumentName("text/a"))] == [4]
    assert {sequence: set(fields) for sequence, fields in kept.read_texts(1, 4).items()} == {2: {"reason", "name"}}
    assert kept.read_texts(1, 4, DocumentName("text/b")) == {}
    assert kept.erase_texts([(2, "reason"), (2, "reason"), (0, "reason"), (9, "reason")]) == 1
    assert set(kept.read_events(1, 1)[0].texts) == {"name"}


def test_memory_keeps_checkpoints_once_and_in_order() -> None:
    kept = MemoryAudit()
    for size, note in ((7, "seven"), (3, "three"), (7, "other")):
        kept.save_checkpoint(Checkpoint(size=size, note=note, at=START))
    assert [checkpoint.note for checkpoint in kept.list_checkpoints()] == ["three", "seven"]
