"""Verifying an export: each way to tamper with a real database, what is found, and what cannot be."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from quorate_protocol.ids import DocumentName, UserId
from quorate_storage import audit_rows
from quorate_storage.act_stores import Checkpoint
from quorate_storage.acts import AuditEvent
from quorate_storage.audit_export import (
    ExportMalformed,
    ExportWriter,
    ProofBundle,
    ProofImpossible,
    ProofInvalid,
    ProofMalformed,
    read_export,
    write_export,
)
from quorate_storage.audit_rows import BodyMalformed, LoggedEvent, parse_body
from quorate_storage.audit_verification import (
    Verdict,
    Verification,
    explain,
    prove,
    verify_export,
    verify_proof,
)
from quorate_storage.checkpoints import SignatureInvalid, SignerUnknown, SigningKey, TreeHead
from quorate_storage.memory_audit import MemoryAudit
from quorate_storage.sql import SqlStore
from quorate_storage.testing.building import START
from quorate_storage.transparency import FIRST_CHAIN, Frontier, chain_hash, leaf_hash, root_of

ORIGIN = "quorate.example/audit"
KEY = SigningKey(ORIGIN, bytes(32))
OTHER_KEY = SigningKey(ORIGIN, bytes([1]) * 32)
EVENTS = 12
"""How many events `Log` holds, the first one included."""


def event(number: int, **given: object) -> AuditEvent:
    values: dict[str, object] = {
        "type": "decision.made",
        "at": START + number,
        "actor": UserId("anna"),
        "via": "api",
        "artifact": DocumentName("approval/odd" if number % 2 else "approval/even"),
        "facts": {"number": number, "causes": [number - 1]},
        "texts": {"reason": f"reason {number}"},
    }
    return AuditEvent(**(values | given))  # type: ignore[arg-type]  # the names are those of the class


def sign(size: int, root: bytes, key: SigningKey = KEY, origin: str = ORIGIN) -> str:
    return key.sign_checkpoint(TreeHead(origin=origin, size=size, root=root))


class Log:
    """An audit log of `EVENTS` events in a SQLite file, and the notes that were signed at each size meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: dict[int, str] = {}

    async def fill(self) -> None:
        async with SqlStore(f"sqlite:///{self.path}") as store:
            for number in range(2, EVENTS + 1):
                await store._database.write(partial(audit_rows.append_events, events=[event(number)]))
                head = await store.audit_head()
                self.notes[head.size] = sign(head.size, head.root)

    def sql(self, statement: str, *values: object) -> list[tuple[bytes, ...]]:
        with closing(sqlite3.connect(self.path)) as database, database:
            return list(database.execute(statement, values))

    def rewrite(self) -> None:
        """Do what an administrator who knows everything but the signing key would do: make the rest fit the bodies."""
        chain, frontier = FIRST_CHAIN, Frontier()
        for sequence, body in self.sql("SELECT sequence, body FROM audit ORDER BY sequence"):
            leaf = leaf_hash(body)
            chain = chain_hash(chain, leaf)
            frontier.append(leaf)
            self.sql("UPDATE audit SET chain = ? WHERE sequence = ?", chain, sequence)
        size, packed = frontier.size, frontier.pack()
        self.sql("UPDATE audit_head SET size = ?, chain = ?, frontier = ?", size, chain, packed)

    def edit(self, sequence: int) -> None:
        ((body,),) = self.sql("SELECT body FROM audit WHERE sequence = ?", sequence)
        value = json.loads(body)
        value["actor"]["sub"] = "somebody else"
        self.sql("UPDATE audit SET body = ? WHERE sequence = ?", rfc8785.dumps(value), sequence)

    async def export(self) -> bytes:
        file = io.BytesIO()
        async with SqlStore(f"sqlite:///{self.path}") as store:
            records = await store.read_audit(after=0)
            checkpoints = await store.list_checkpoints()
            write_export(file, ORIGIN, records, checkpoints=checkpoints, head=await store.audit_head())
        return file.getvalue()

    async def verify(self, *sizes: int) -> Verification:
        return verify(await self.export(), *(self.notes[size] for size in sizes))


def verify(export: bytes, *notes: str, now: float | None = None) -> Verification:
    return verify_export(io.BytesIO(export), [KEY.verifier_key], checkpoints=notes, now=now)


def faults(found: Verification) -> list[tuple[str, int | None]]:
    return [(fault.kind, fault.sequence) for fault in found.faults]


@pytest.fixture
async def log(tmp_path: Path) -> Log:
    made = Log(tmp_path / "quorate.db")
    await made.fill()
    return made


def in_memory(events: Iterable[AuditEvent], *, notes: Sequence[int] = (), key: SigningKey = KEY) -> bytes:
    """Return the export of a log in memory, with checkpoints inside at the given sizes."""
    kept = MemoryAudit()
    for one in events:
        kept.append_events([one])
        head = kept.read_head()
        if head.size in notes:
            note = sign(head.size, head.root, key)
            kept.save_checkpoint(Checkpoint(size=head.size, note=note, at=START))
    file = io.BytesIO()
    records = kept.read_events(0, 10_000)
    write_export(file, ORIGIN, records, checkpoints=kept.list_checkpoints(), head=kept.read_head())
    return file.getvalue()


# An honest log


async def test_an_honest_log_is_verified(log: Log) -> None:
    found = await log.verify(5, 8, EVENTS)
    assert (found.verdict, found.exit_code, found.faults) == (Verdict.VERIFIED, 0, ())
    assert (found.size, found.sealed, found.unsealed, found.unsealed_seconds) == (EVENTS, EVENTS, 0, None)
    async with SqlStore(f"sqlite:///{log.path}") as store:
        assert found.root == (await store.audit_head()).root


async def test_the_unsealed_tail_is_told_with_its_age(log: Log) -> None:
    found = verify(await log.export(), log.notes[9], now=START + 100)
    assert found.verdict is Verdict.VERIFIED
    assert (found.sealed, found.unsealed) == (9, 3)
    assert found.unsealed_seconds == pytest.approx(90, abs=1e-5)


async def test_checkpoints_in_the_database_are_exported_and_verified(log: Log) -> None:
    async with SqlStore(f"sqlite:///{log.path}") as store:
        await store.save_checkpoint(Checkpoint(size=7, note=log.notes[7], at=START))
    found = await log.verify()
    assert (found.verdict, found.sealed) == (Verdict.VERIFIED, 7)


async def test_without_any_checkpoint_the_log_is_incomplete(log: Log) -> None:
    found = await log.verify()
    assert (found.verdict, found.exit_code, found.faults) == (Verdict.INCOMPLETE, 2, ())
    assert "no checkpoint" in found.missing[0]


# The table of tampering: chain alone, then chain and a checkpoint that lies elsewhere


async def test_edit_a_row_is_detected_by_the_chain_alone(log: Log) -> None:
    log.edit(5)
    found = await log.verify()
    assert (found.verdict, found.exit_code, faults(found)) == (Verdict.TAMPERED, 1, [("chain", 5)])


async def test_edit_a_row_is_detected_with_a_checkpoint(log: Log) -> None:
    log.edit(5)
    found = await log.verify(8)
    assert (found.verdict, faults(found)) == (Verdict.TAMPERED, [("chain", 5)])


async def test_a_row_that_is_no_longer_bytes_is_exported_and_detected(log: Log) -> None:
    log.sql("UPDATE audit SET body = replace(body, 'anna', 'evil'), chain = 7 WHERE sequence = 5")
    log.sql("UPDATE audit_texts SET salt = 'text', text = x'41' WHERE sequence = 4")
    assert faults(await log.verify(8)) == [("text", 4)]
    log.sql("DELETE FROM audit_texts")
    assert faults(await log.verify(8)) == [("chain", 5)]


@pytest.mark.parametrize("sizes", [(), (8,)])
async def test_delete_a_middle_row_is_detected(log: Log, sizes: tuple[int, ...]) -> None:
    log.sql("DELETE FROM audit WHERE sequence = 6")
    found = await log.verify(*sizes)
    assert (found.verdict, faults(found)) == (Verdict.TAMPERED, [("sequence", 6)])


@pytest.mark.parametrize("sizes", [(), (8,)])
async def test_reorder_is_detected(log: Log, sizes: tuple[int, ...]) -> None:
    log.sql("UPDATE audit SET sequence = -4 WHERE sequence = 4")
    log.sql("UPDATE audit SET sequence = 4 WHERE sequence = 7")
    log.sql("UPDATE audit SET sequence = 7 WHERE sequence = -4")
    found = await log.verify(*sizes)
    assert (found.verdict, faults(found)) == (Verdict.TAMPERED, [("sequence", 4)])


@pytest.mark.parametrize("sizes", [(), (8,)])
async def test_reorder_of_whole_rows_but_their_sequence_is_detected(log: Log, sizes: tuple[int, ...]) -> None:
    rows = log.sql("SELECT sequence, body, chain FROM audit WHERE sequence IN (4, 7) ORDER BY sequence")
    for (sequence, *_), (_, body, chain) in zip(rows, rows[::-1], strict=True):
        log.sql("UPDATE audit SET body = ?, chain = ? WHERE sequence = ?", body, chain, sequence)
    found = await log.verify(*sizes)
    assert (found.verdict, faults(found)) == (Verdict.TAMPERED, [("sequence", 4)])


async def test_truncate_the_tail_below_the_checkpoint_is_not_detected_by_the_chain_alone(log: Log) -> None:
    log.sql("DELETE FROM audit WHERE sequence > 6")
    log.rewrite()
    found = await log.verify()
    assert (found.verdict, found.faults, found.size) == (Verdict.INCOMPLETE, (), 6)
    assert "no checkpoint" in found.missing[0]


async def test_truncate_the_tail_below_the_checkpoint_is_detected_with_the_checkpoint(log: Log) -> None:
    log.sql("DELETE FROM audit WHERE sequence > 6")
    log.rewrite()
    found = await log.verify(8)
    assert (found.verdict, found.exit_code, faults(found)) == (Verdict.TAMPERED, 1, [("truncated", 7)])


async def test_administrator_rewrites_an_old_row_and_the_whole_chain_is_not_detected_by_the_chain_alone(
    log: Log,
) -> None:
    log.edit(5)
    log.rewrite()
    found = await log.verify()
    assert (found.verdict, found.faults, found.size) == (Verdict.INCOMPLETE, (), EVENTS)
    assert "no checkpoint" in found.missing[0]


async def test_administrator_rewrites_an_old_row_and_the_whole_chain_is_detected_with_the_checkpoint(
    log: Log,
) -> None:
    log.edit(5)
    log.rewrite()
    found = await log.verify(8)
    assert (found.verdict, faults(found)) == (Verdict.TAMPERED, [("checkpoint", 1)])


async def test_a_rewrite_is_placed_between_the_checkpoints_that_agree_and_the_one_that_does_not(log: Log) -> None:
    log.edit(7)
    log.rewrite()
    found = await log.verify(3, 6, 8, 10)
    assert (found.verdict, faults(found)) == (Verdict.TAMPERED, [("checkpoint", 7)])


async def test_truncation_after_the_last_checkpoint_is_not_detected(log: Log) -> None:
    log.sql("DELETE FROM audit WHERE sequence > 10")
    log.rewrite()
    found = await log.verify(5, 8)
    assert (found.verdict, found.faults) == (Verdict.VERIFIED, ())
    assert (found.size, found.sealed, found.unsealed) == (10, 8, 2)


async def test_rewrite_after_the_last_checkpoint_is_not_detected(log: Log) -> None:
    log.edit(11)
    log.rewrite()
    found = verify(await log.export(), log.notes[8], now=START + 20)
    assert (found.verdict, found.faults) == (Verdict.VERIFIED, ())
    assert (found.sealed, found.unsealed) == (8, 4)
    assert found.unsealed_seconds == pytest.approx(11, abs=1e-5)


# Further ways to tamper


async def test_truncation_without_the_head_is_detected_by_the_chain_alone(log: Log) -> None:
    log.sql("DELETE FROM audit WHERE sequence > 6")
    found = await log.verify()
    assert (found.verdict, faults(found)) == (Verdict.TAMPERED, [("truncated", 7)])


async def test_a_rewrite_of_the_last_row_without_the_head_is_detected_by_the_chain_alone(log: Log) -> None:
    head = log.sql("SELECT size, chain, frontier FROM audit_head")[0]
    log.edit(EVENTS)
    log.rewrite()
    log.sql("UPDATE audit_head SET size = ?, chain = ?, frontier = ?", *head)
    found = await log.verify()
    assert (found.verdict, faults(found)) == (Verdict.TAMPERED, [("root", 1)])


async def test_a_log_without_its_beginning_is_detected(log: Log) -> None:
    rows = log.sql("SELECT sequence, body FROM audit WHERE sequence > 1 ORDER BY sequence")
    log.sql("DELETE FROM audit WHERE sequence = ?", EVENTS)
    for sequence, (_, body) in enumerate(rows, 1):
        value = json.loads(body) | {"seq": sequence}
        log.sql("UPDATE audit SET body = ? WHERE sequence = ?", rfc8785.dumps(value), sequence)
    log.rewrite()
    assert faults(await log.verify()) == [("genesis", 1)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_texts SET text = 'approved by mistake' WHERE sequence = 5",
        "UPDATE audit_texts SET salt = x'00' WHERE sequence = 5",
        "UPDATE audit_texts SET field = 'other' WHERE sequence = 5",
        "INSERT INTO audit_texts (sequence, field, salt, text) VALUES (5, 'invented', x'00', 'x')",
    ],
)
async def test_a_changed_personal_text_is_detected(log: Log, statement: str) -> None:
    log.sql(statement)
    assert faults(await log.verify(8)) == [("text", 5)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no JSON",
        b"[]",
        b'{"v": 1}',
        b"\xff",
        b"[" * 100_000,
        b'{"actor":{"sub":"a","via":"b"},"facts":{"n":1.0},"seq":5,"texts":{},"ts":"2025-06-15T15:06:40.123456Z","type":"x","v":1}',
        b'{"actor":{"sub":"a","via":"b"},"facts":{},"seq":5,"texts":{},"ts":"2025-06-15T15:06:40.123456Z","type":"x","v":2}',
        b'{"actor":{"sub":"a","via":"b"},"facts":{},"seq":5,"texts":{},"ts":"yesterday","type":"x","v":1}',
        b'{"actor":{"sub":"a"},"facts":{},"seq":5,"texts":{},"ts":"2025-06-15T15:06:40.123456Z","type":"x","v":1}',
    ],
)
async def test_a_body_that_is_no_canonical_event_is_detected(log: Log, body: bytes) -> None:
    log.sql("UPDATE audit SET body = ? WHERE sequence = 5", body)
    log.rewrite()
    assert faults(await log.verify()) == [("form", 5)]


async def test_a_forged_checkpoint_is_detected(log: Log) -> None:
    log.edit(5)
    log.rewrite()
    async with SqlStore(f"sqlite:///{log.path}") as store:
        root = (await store.audit_head()).root
        genuine = log.notes[EVENTS].split("\n\n")[1]
        forged = f"{TreeHead(origin=ORIGIN, size=EVENTS, root=root)}\n{genuine}"
        await store.save_checkpoint(Checkpoint(size=EVENTS, note=forged, at=START))
    assert faults(await log.verify()) == [("signature", None)]


async def test_history_that_the_signer_rewrote_is_detected(log: Log) -> None:
    log.edit(5)
    log.rewrite()
    async with SqlStore(f"sqlite:///{log.path}") as store:
        head = await store.audit_head()
    found = verify(await log.export(), log.notes[4], log.notes[8], sign(head.size, head.root))
    assert (found.verdict, faults(found)) == (Verdict.TAMPERED, [("consistency", 5)])


async def test_two_checkpoints_of_one_size_that_differ_are_detected(log: Log) -> None:
    other = sign(8, root_of([leaf_hash(b"other")] * 8))
    for notes in ((log.notes[8], other), (other, log.notes[8])):
        found = verify(await log.export(), *notes)
        assert [kind for kind, _ in faults(found)] == ["consistency"]


async def test_a_checkpoint_of_another_log_is_detected(log: Log) -> None:
    async with SqlStore(f"sqlite:///{log.path}") as store:
        head = await store.audit_head()
    found = verify(await log.export(), log.notes[8], sign(head.size, head.root, origin="another.example"))
    assert faults(found) == [("origin", None)]


def test_every_single_bit_of_every_event_counts() -> None:
    lines = in_memory([event(2), event(3)], notes=[3]).splitlines(keepends=True)
    assert verify(b"".join(lines)).verdict is Verdict.VERIFIED
    for number, line in enumerate(lines[1:4], 1):
        for at in range(len(line) - 1):
            changed = bytes([line[at] ^ 1])
            export = b"".join([*lines[:number], line[:at] + changed + line[at + 1 :], *lines[number + 1 :]])
            assert verify(export).verdict in {Verdict.TAMPERED, Verdict.BAD_INPUT}, (number, at)


# Erasure


async def test_an_erased_text_leaves_log_and_proofs_valid(log: Log) -> None:
    proof = prove(io.BytesIO(await log.export()), 5, checkpoints=[log.notes[8]])
    async with SqlStore(f"sqlite:///{log.path}") as store:
        places = [(5, "reason"), (6, "reason")]
        assert await store._database.write(partial(audit_rows.erase_texts, places=places)) == 2
    export = await log.export()
    found = verify(export, log.notes[8], log.notes[EVENTS])
    assert (found.verdict, found.erased_texts) == (Verdict.VERIFIED, 2)
    assert b"reason 5" not in export
    again = prove(io.BytesIO(export), 5, checkpoints=[log.notes[8]])
    assert (again.body, again.proof, again.texts) == (proof.body, proof.proof, {})
    assert verify_proof(again, [KEY.verifier_key]).sequence == 5


# Gaps, causes, replay


def test_a_gap_makes_the_log_incomplete() -> None:
    found = verify(in_memory([event(2), event(3, type="audit.gap"), event(4)], notes=[4]))
    assert (found.verdict, found.exit_code, found.gaps) == (Verdict.INCOMPLETE, 2, (3,))


@pytest.mark.parametrize("causes", [[], [1, 2], [3], [4], [0], ["1"], [True], 2, None])
def test_a_state_change_without_exactly_one_earlier_cause_is_told(causes: object) -> None:
    found = verify(in_memory([event(2), event(3, facts={"causes": causes}), event(4)], notes=[4]))
    assert (found.verdict, faults(found), found.sealed) == (Verdict.TAMPERED, [("cause", 3)], 4)


def test_an_event_without_causes_needs_none() -> None:
    assert verify(in_memory([event(2, facts={})], notes=[2])).verdict is Verdict.VERIFIED


def test_what_a_replay_decides_differently_is_told() -> None:
    def replay(events: Iterable[LoggedEvent]) -> list[str]:
        return [f"event {one.sequence} was decided by {one.actor}" for one in events if one.actor == "eve"]

    export = in_memory([event(2), event(3, actor=UserId("eve"))], notes=[3])
    found = verify_export(io.BytesIO(export), [KEY.verifier_key], replay=replay)
    assert (found.verdict, faults(found)) == (Verdict.TAMPERED, [("replay", None)])
    assert found.faults[0].problem == "event 3 was decided by eve"


def test_a_replay_that_stops_reading_does_not_stop_the_verification() -> None:
    export = in_memory([event(number) for number in range(2, 9)], notes=[8])
    found = verify_export(io.BytesIO(export), [KEY.verifier_key], replay=lambda events: [str(next(iter(events)))][:0])
    assert (found.verdict, found.size) == (Verdict.VERIFIED, 8)


# Input that is bad, or not all there


def test_an_export_that_was_cut_between_lines_is_incomplete() -> None:
    lines = in_memory([event(2), event(3)], notes=[2]).splitlines(keepends=True)
    found = verify(b"".join(lines[:-1]))
    assert (found.verdict, found.missing) == (Verdict.INCOMPLETE, ("the export has no end: it was cut off",))


def test_a_checkpoint_inside_of_an_unknown_key_makes_the_log_incomplete() -> None:
    found = verify(in_memory([event(2)], notes=[2], key=OTHER_KEY))
    assert found.verdict is Verdict.INCOMPLETE
    assert "cannot be checked" in found.missing[0]


def test_a_key_that_was_replaced_still_verifies_what_it_signed() -> None:
    kept = MemoryAudit()
    kept.append_events([event(2)])
    first = sign(2, kept.read_head().root, OTHER_KEY)
    kept.append_events([event(3)])
    second = sign(3, kept.read_head().root)
    file = io.BytesIO()
    write_export(file, ORIGIN, kept.read_events(0, 10), head=kept.read_head())
    keys = [KEY.verifier_key, OTHER_KEY.verifier_key]
    found = verify_export(io.BytesIO(file.getvalue()), keys, checkpoints=[first, second])
    assert (found.verdict, found.sealed) == (Verdict.VERIFIED, 3)


@pytest.mark.parametrize("note", ["no note", sign(2, bytes(32), OTHER_KEY), KEY.sign_note("no checkpoint\n")])
def test_a_given_checkpoint_that_cannot_be_checked_is_bad_input(note: str) -> None:
    found = verify(in_memory([event(2)]), note)
    assert (found.verdict, found.exit_code) == (Verdict.BAD_INPUT, 3)
    assert "note" in found.problem


HEADER = b'{"format":"quorate-audit/1","origin":"x"}\n'


@pytest.mark.parametrize(
    ("export", "told"),
    [
        (b"", "line 1 of the export is missing"),
        (b"{}\n", "line 1 of the export is none that"),
        (b'{"format":"other","origin":"x"}\n', "line 1 of the export is not of the format"),
        (b'{"checkpoint":"x"}\n', "line 1 of the export must be the header"),
        (HEADER + HEADER, "line 2 of the export is a second header"),
        (HEADER + b'{"body":"', "line 2 of the export ends in its middle"),
        (HEADER + b"\xff\n", "line 2 of the export is no JSON"),
        (HEADER + b"[" * 100_000 + b"\n", "line 2 of the export is no JSON"),
        (HEADER + b'{"body":1,"chain":"","texts":{}}\n', "line 2 of the export has something else where a text"),
        (HEADER + b'{"body":"","chain":"x","texts":{}}\n', "where hexadecimal belongs"),
        (HEADER + b'{"body":"","chain":"' + b"00" * 33 + b'","texts":{}}\n', "more than 32 bytes"),
        (HEADER + b'{"body":"","chain":"","texts":{"a":1}}\n', "has a text that is none"),
        (HEADER + b'{"end":{"size":-1,"root":""}}\n', "has no size"),
        (HEADER + b'{"end":{"size":0,"root":""}}\n{"checkpoint":"x"}\n', "line 3 of the export comes after the end"),
    ],
)
def test_a_file_that_is_no_export_is_bad_input_and_told_by_line(export: bytes, told: str) -> None:
    found = verify(export)
    assert (found.verdict, found.exit_code) == (Verdict.BAD_INPUT, 3)
    assert told in found.problem


def test_a_line_that_is_too_long_is_not_read() -> None:
    file = io.BytesIO(HEADER + b"x" * 1000 + b"\n")
    with pytest.raises(ExportMalformed, match="line 2 of the export is longer than 100 bytes"):
        list(read_export(file, max_line_bytes=100))
    assert file.tell() == len(HEADER) + 101


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_be_refused(data: bytes) -> None:
    assert verify(data).verdict is Verdict.BAD_INPUT
    assert verify(HEADER + data).verdict in {Verdict.BAD_INPUT, Verdict.INCOMPLETE}


@given(st.binary(max_size=100) | st.text().map(str.encode))
def test_no_body_does_anything_but_be_refused(body: bytes) -> None:
    with pytest.raises(BodyMalformed):
        parse_body(body)


def body_with(facts: str) -> bytes:
    return (
        f'{{"actor":{{"sub":"a","via":"b"}},"facts":{facts},"seq":5,"texts":{{}},'
        '"ts":"2025-06-15T15:06:40.123456Z","type":"x","v":1}'
    ).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    "facts", ["{}", '{"n":[1,-1,1.5,1e+21,1e-7,10000000000000000]}', '{"n":9007199254740991}', '{"😀":1,"\uffff":2}']
)
def test_canonical_facts_are_read(facts: str) -> None:
    assert parse_body(body_with(facts)).sequence == 5


@pytest.mark.parametrize(
    "facts",
    [
        '{"n":1.0}', '{"n":1e5}', '{"n":-0}', '{"n":01}', '{"n":9007199254740993}', '{"n":NaN}', '{"n":[Infinity]}',
        '{"n":1.50}', '{"a":1,"a":1}', '{"b":1,"a":1}', '{"n": 1}', r'{"n":"\u0041"}', r'{"n":"\ud800"}', r'{"n":"\/"}',
        '{"n":"\ud800"}', '{"\uffff":2,"😀":1}', '{"n":' + "9" * 5000 + "}", '{"n":' + "[" * 900 + "]" * 900 + "x}",
    ],
)  # fmt: skip
def test_facts_that_are_not_canonical_are_refused(facts: str) -> None:
    with pytest.raises(BodyMalformed):
        parse_body(body_with(facts))


any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(), any_json))
def test_exactly_the_canonical_form_is_accepted(facts: dict[str, object]) -> None:
    canonical = rfc8785.dumps(facts).decode()  # type: ignore[arg-type]  # JSON
    assert parse_body(body_with(canonical)).sequence == 5
    similar = json.dumps(facts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    if similar != canonical:
        with pytest.raises(BodyMalformed):
            parse_body(body_with(similar))


# Proofs of one event


@pytest.mark.parametrize("sequence", range(1, 9))
async def test_every_sealed_event_can_be_proved(log: Log, sequence: int) -> None:
    bundle = prove(io.BytesIO(await log.export()), sequence, checkpoints=[log.notes[EVENTS], log.notes[8]])
    again = ProofBundle.parse(bundle.encode())
    assert again == bundle
    assert bundle.note == log.notes[8]
    assert verify_proof(again, [KEY.verifier_key]).sequence == sequence


def test_a_proof_carries_the_text_and_the_text_is_verified() -> None:
    bundle = prove(io.BytesIO(in_memory([event(2)], notes=[2])), 2)
    assert bundle.texts["reason"][1] == "reason 2"
    forged = ProofBundle.parse(bundle.encode().replace("reason 2", "reason 3"))
    with pytest.raises(ProofInvalid, match="text"):
        verify_proof(forged, [KEY.verifier_key])


def test_a_proof_of_another_event_place_or_key_does_not_hold() -> None:
    export = in_memory([event(number) for number in range(2, 9)], notes=[8])
    text = prove(io.BytesIO(export), 5).encode()
    for changed in (text.replace("anna", "eve"), text.replace('"sequence": 5', '"sequence": 6')):
        assert changed != text
        with pytest.raises(ProofInvalid):
            verify_proof(ProofBundle.parse(changed), [KEY.verifier_key])
    with pytest.raises(SignerUnknown):
        verify_proof(ProofBundle.parse(text), [OTHER_KEY.verifier_key])
    with pytest.raises(SignatureInvalid):
        verify_proof(ProofBundle.parse(text.replace("\\n8\\n", "\\n9\\n")), [KEY.verifier_key])


def test_an_event_that_no_checkpoint_covers_cannot_be_proved_yet() -> None:
    export = in_memory([event(2), event(3)], notes=[2])
    with pytest.raises(ProofImpossible, match="no checkpoint covers"):
        prove(io.BytesIO(export), 3)
    with pytest.raises(ProofImpossible, match="ends at event 3"):
        prove(io.BytesIO(export), 4)


async def test_an_event_of_a_rewritten_log_cannot_be_proved(log: Log) -> None:
    log.edit(5)
    log.rewrite()
    with pytest.raises(ProofImpossible, match="not the one that the checkpoint was signed for"):
        prove(io.BytesIO(await log.export()), 5, checkpoints=[log.notes[8]])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format":"quorate-audit-proof/1"}', "[" * 100_000])
def test_a_text_that_is_no_proof_is_refused(text: str) -> None:
    with pytest.raises(ProofMalformed):
        ProofBundle.parse(text)


# Explaining an artifact


def test_the_events_of_an_artifact_are_explained_in_order() -> None:
    kept = MemoryAudit()
    kept.append_events([event(2), event(3), event(4, texts={"reason": "\n"})])
    kept.erase_texts([(2, "reason")])
    file = io.BytesIO()
    write_export(file, ORIGIN, kept.read_events(0, 10), head=kept.read_head())
    assert explain(io.BytesIO(file.getvalue()), "approval/even") == [
        "     2  2025-06-15T15:06:42.123456Z  decision.made  by anna via api  causes=[1]  number=2  reason: [erased]",
        '     4  2025-06-15T15:06:44.123456Z  decision.made  by anna via api  causes=[3]  number=4  reason: "\\n"',
    ]


# The writer


def test_parts_of_a_log_can_be_written_one_after_the_other() -> None:
    kept = MemoryAudit()
    kept.append_events([event(number) for number in range(2, 6)])
    whole, parts = io.BytesIO(), io.BytesIO()
    write_export(whole, ORIGIN, kept.read_events(0, 10), head=kept.read_head())
    writer = ExportWriter(parts, ORIGIN)
    writer.write_events(kept.read_events(0, 2))
    writer.write_events(kept.read_events(2, 10))
    writer.finish(kept.read_head())
    assert parts.getvalue() == whole.getvalue()


@given(st.dictionaries(st.text(st.characters()), st.text(st.characters()), max_size=3), st.text(st.characters()))
def test_any_event_is_exported_and_verified(texts: dict[str, str], fact: str) -> None:
    export = in_memory([event(2, facts={fact: [fact, 1.5, 2**70, -0.0]}, texts=texts)], notes=[2])
    assert verify(export).verdict is Verdict.VERIFIED
