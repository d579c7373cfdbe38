"""The command line, as typed: what it prints, what it changes, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.servers import SECRET, ServerProcess, token_for


def quorate(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "quorate_server", *arguments],
        capture_output=True, text=True, timeout=60, env=os.environ | (environment or {}), check=False,
    )  # fmt: skip


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A database that a server has written: one document with text, one deleted."""
    async with ServerProcess(tmp_path) as server:
        async with server.http(token_for("owner", role="owner")) as http:
            await http.post("/api/documents", json={"name": "text/a"})
            await http.post("/api/updates/text/a", content=bytes.fromhex("0101010004010474657874026869" + "00"))
            await http.post("/api/documents", json={"name": "text/gone"})
            await http.delete("/api/documents/text/gone")
        assert await server.stop() == 0
    return tmp_path


def test_serving_without_a_way_to_know_people_is_refused(tmp_path: Path) -> None:
    ended = quorate("serve", "--data", str(tmp_path))
    assert ended.returncode == 2
    assert "--secret" in ended.stderr
    assert "--open" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (("--secret", "short"), {}, "32 are needed"),
        (("--open", "--host", "0.0.0.0"), {}, "loopback only"),
        (("--open", "--secret", SECRET), {}, "only one of"),
        (("--jwks", "keys.json"), {}, "--issuer and --audience"),
        (("--open", "--redis", "redis://localhost"), {}, "several server processes"),
        (("--open",), {"QUORATE_DATABSE": "x"}, "did you mean 'database'?"),
        (("--open",), {"QUORATE_PORT": "eighty"}, "must be a int"),
    ],
)
def test_settings_that_cannot_be_are_named(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str], told: str
) -> None:
    ended = quorate("serve", "--data", str(tmp_path), *arguments, environment=environment)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_token_opens_the_server_it_was_made_for() -> None:
    made = quorate("token", "--secret", SECRET, "--subject", "steward-1", "--group", "stewards", "--expires", "15m")
    assert made.returncode == 0
    assert made.stdout.count(".") == 2
    assert quorate("token", "--secret", SECRET, "--subject", "x", "--expires", "soon").returncode == 2


def test_documents_are_listed_shown_exported_imported_and_deleted(data: Path) -> None:
    where = ("--data", str(data))
    listed = quorate("documents", "list", *where)
    assert "text/a" in listed.stdout
    assert "text/gone" not in listed.stdout
    assert "text/gone" in quorate("documents", "list", "--deleted", *where).stdout

    shown = json.loads(quorate("documents", "show", "text/a", *where).stdout)
    assert shown["content"] == {"text": "hi"}

    file = data / "export.yjs"
    assert quorate("documents", "export", "text/a", str(file), *where).returncode == 0
    assert quorate("documents", "import", "text/copy", str(file), *where).returncode == 0
    copied = json.loads(quorate("documents", "show", "text/copy", *where).stdout)
    assert copied["content"] == {"text": "hi"}
    again = quorate("documents", "import", "text/copy", str(file), *where)
    assert again.returncode == 0

    assert quorate("documents", "delete", "text/copy", "--yes", *where).returncode == 0
    refused = quorate("documents", "import", "text/copy", str(file), *where)
    assert refused.returncode == 2
    assert "restore it first" in refused.stderr
    (data / "bad").write_bytes(b"\xff")
    assert quorate("documents", "import", "text/x", str(data / "bad"), *where).returncode == 2
    assert quorate("documents", "show", "text/none", *where).returncode == 2
    assert quorate("documents", "list", "--data", str(data / "nowhere")).returncode == 2


def test_check_finds_nothing_wrong_with_a_sound_database(data: Path) -> None:
    checked = quorate("check", "--data", str(data))
    assert checked.returncode == 0
    assert "2 documents checked, 0 faults." in checked.stdout


def test_check_names_a_gap_and_a_broken_update(data: Path) -> None:
    import sqlite3  # noqa: PLC0415

    with sqlite3.connect(data / "quorate.db") as database:
        database.execute("UPDATE updates SET sequence = 3, \"update\" = x'ffff'")
    database.close()
    checked = quorate("check", "--data", str(data))
    assert checked.returncode == 1
    assert "text/a: log: expected update 1, found 3" in checked.stdout
    assert "cannot be rebuilt" in checked.stdout


async def test_writing_beside_a_running_server_is_refused(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server:
        async with server.http(token_for("anna")) as http:
            await http.post("/api/documents", json={"name": "text/a"})
        assert "text/a" in quorate("documents", "list", "--data", str(tmp_path)).stdout
        refused = quorate("documents", "delete", "text/a", "--yes", "--data", str(tmp_path))
        assert refused.returncode == 2
        assert "a running server holds the right to write" in refused.stderr


@pytest.mark.parametrize(
    "command", ["", "serve", "demo", "token", "documents", "documents list", "documents import", "check"]
)
def test_help_says_what_a_command_is_for(command: str) -> None:
    shown = quorate(*command.split(), "--help")
    assert shown.returncode == 0
    assert len(shown.stdout.splitlines()) > 5
    assert "Options:" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--database", "mysql://x/y"), "--database"),
        (("--database", "postgresql://127.0.0.1:1/x"), "database is unavailable"),
        (("--data", "/proc/nowhere"), "data folder"),
    ],
)
def test_what_keeps_the_server_from_starting_is_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    where = () if "--data" in arguments else ("--data", str(tmp_path))
    ended = quorate("serve", "--open", "--port", "0", *where, *arguments)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
