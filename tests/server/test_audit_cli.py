"""`quorate audit ...` as typed: what it prints, what it writes, how it ends."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from quorate_protocol.ids import DocumentName, UserId
from quorate_server.audit_cli import audit_group
from quorate_storage.act_stores import Checkpoint
from quorate_storage.acts import AuditEvent
from quorate_storage.audit_rows import append_events
from quorate_storage.checkpoints import SigningKey, TreeHead
from quorate_storage.sql import SqlStore
from quorate_storage.testing.building import START

KEY = SigningKey("quorate.example/audit", bytes(32))
VKEY = str(KEY.verifier_key)
EVENTS = 2100
"""More than two pages of the database."""


def audit(*arguments: object) -> Result:
    return CliRunner().invoke(audit_group, [str(argument) for argument in arguments])


async def fill(data: Path) -> None:
    made = [
        AuditEvent(
            type="decision.made",
            at=START + number,
            actor=UserId("anna"),
            via="api",
            artifact=DocumentName("approval/odd" if number % 2 else "approval/even"),
            texts={"reason": f"reason {number}"},
        )
        for number in range(2, EVENTS + 1)
    ]
    async with SqlStore(f"sqlite:///{data / 'quorate.db'}") as store:
        for part in (made[:99], made[99:2000], made[2000:]):
            await store._database.write(partial(append_events, events=part))
            head = await store.audit_head()
            note = KEY.sign_checkpoint(TreeHead(origin=KEY.name, size=head.size, root=head.root))
            (data / f"checkpoint-{head.size}.txt").write_text(note, "utf-8")
            if head.size < EVENTS:
                await store.save_checkpoint(Checkpoint(size=head.size, note=note, at=START))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A database with `EVENTS` events, and its checkpoints as files; the last is not in the database."""
    asyncio.run(fill(tmp_path))
    return tmp_path


@pytest.fixture
def log(data: Path) -> Path:
    """An export of the database."""
    path = data / "export.jsonl"
    ended = audit("export", "--data", data, "--out", path)
    assert (ended.exit_code, ended.stdout) == (0, f"Exported {EVENTS} events to {path}.\n")
    return path


def test_an_export_is_whole_and_only_its_owner_can_read_it(log: Path) -> None:
    lines = log.read_text("utf-8").splitlines()
    assert lines[0] == '{"format":"quorate-audit/1","origin":"quorate.example/audit"}'
    assert len(lines) == 1 + EVENTS + 2 + 1
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert not list(log.parent.glob("*.part"))


def test_an_export_by_url_names_the_origin_that_was_given(data: Path) -> None:
    out = data / "other.jsonl"
    url = f"sqlite:///{data / 'quorate.db'}"
    assert audit("export", "--database", url, "--origin", "mine", "--out", out).exit_code == 0
    assert out.read_text("utf-8").startswith('{"format":"quorate-audit/1","origin":"mine"}\n')


def test_an_export_that_fails_leaves_no_file(tmp_path: Path) -> None:
    ended = audit("export", "--data", tmp_path / "none", "--out", tmp_path / "out")
    assert (ended.exit_code, list(tmp_path.iterdir())) == (3, [])
    assert "there is no database" in ended.stderr


def test_a_damaged_database_leaves_no_export(data: Path) -> None:
    with closing(sqlite3.connect(data / "quorate.db")) as database, database:
        database.execute("UPDATE audit_head SET frontier = x'00'")
    ended = audit("export", "--data", data, "--out", data / "out")
    assert ended.exit_code == 3
    assert not list(data.glob("out*"))


def test_an_honest_log_is_verified(log: Path) -> None:
    ended = audit("verify", "--log", log, "--key", VKEY, "--checkpoint", log.with_name("checkpoint-100.txt"))
    assert ended.exit_code == 0
    assert ended.stdout.startswith(f"verified: {EVENTS} events\n  root: ")
    assert "  sealed by a checkpoint: 2001 events\n" in ended.stdout
    assert "  unsealed tail: 99 events, the oldest " in ended.stdout


def test_a_rewritten_row_is_told_with_its_place(data: Path, log: Path) -> None:
    with closing(sqlite3.connect(data / "quorate.db")) as database, database:
        database.execute("UPDATE audit SET body = replace(body, 'anna', 'evil') WHERE sequence = 1500")
    assert audit("export", "--data", data, "--out", log).exit_code == 0
    ended = audit("verify", "--log", log, "--key", VKEY)
    assert ended.exit_code == 1
    assert ended.stdout.startswith("tampered: ")
    assert "at event 1500" in ended.stdout
    assert "unsealed" not in ended.stdout


def test_a_cut_log_is_incomplete(log: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-1]))
    ended = audit("verify", "--log", log, "--key", VKEY)
    assert ended.exit_code == 2
    assert "the export has no end" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--log", "none", "--key", VKEY), "No such file"),
        (("--log", "{log}", "--key", "no key"), "the key is malformed"),
        (("--log", "{log}", "--key", VKEY, "--checkpoint", "{log}"), "the note is malformed"),
        (("--log", "{log}"), "Missing option '--key'"),
        (("--log", "{log}", "--key", VKEY, "--checkpoint", "none"), "No such file"),
        (("--log", "{database}", "--key", VKEY), "line 1 of the export"),
    ],
)
def test_bad_input_is_one_sentence_and_code_3(log: Path, arguments: tuple[str, ...], told: str) -> None:
    places = {"{log}": str(log), "{database}": str(log.with_name("quorate.db"))}
    ended = audit("verify", *(places.get(argument, argument) for argument in arguments))
    assert ended.exit_code == 3
    assert told in ended.output
    assert "Traceback" not in ended.output


def test_an_event_is_proved_and_the_proof_verified_without_the_log(log: Path) -> None:
    proof = log.with_name("proof.json")
    assert audit("prove", "--log", log, "--sequence", 1234, "--out", proof).exit_code == 0
    log.unlink()
    ended = audit("verify-proof", "--proof", proof, "--key", VKEY)
    assert ended.exit_code == 0
    assert ended.stdout.startswith("Event 1234 is in the log 'quorate.example/audit', which had 2001 events.\n{")


def test_a_proof_goes_to_standard_output_and_a_forged_one_does_not_hold(log: Path) -> None:
    made = audit("prove", "--log", log, "--sequence", 5)
    forged = log.with_name("forged.json")
    forged.write_text(made.stdout.replace("anna", "eve"), "utf-8")
    ended = audit("verify-proof", "--proof", forged, "--key", VKEY)
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert "the proof does not hold" in ended.stderr
    forged.write_text("{}", "utf-8")
    assert audit("verify-proof", "--proof", forged, "--key", VKEY).exit_code == 3


def test_an_event_beyond_the_checkpoints_needs_one_more(log: Path) -> None:
    ended = audit("prove", "--log", log, "--sequence", EVENTS)
    assert ended.exit_code == 2
    assert "no checkpoint covers it yet" in ended.stderr
    newest = log.with_name(f"checkpoint-{EVENTS}.txt")
    assert audit("prove", "--log", log, "--sequence", EVENTS, "--checkpoint", newest).exit_code == 0


def test_an_artifact_is_explained_line_by_line(log: Path) -> None:
    ended = audit("explain", "--log", log, "--artifact", "approval/odd")
    lines = ended.stdout.splitlines()
    assert (ended.exit_code, len(lines)) == (0, EVENTS // 2 - 1)
    assert lines[0] == '     3  2025-06-15T15:06:43.123456Z  decision.made  by anna via api  reason: "reason 3"'
    assert audit("explain", "--log", log, "--artifact", "none").stdout == "No events.\n"
