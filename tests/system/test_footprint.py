"""What a server that has just started has loaded: all that the first edit needs, and nothing that few ever use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SERVE = """
import json, socket, sys
from quorate_server import running
from quorate_server.cli import main

startup = running.Server.startup

async def started(self: running.Server, sockets: list[socket.socket] | None = None) -> None:
    await startup(self, sockets)
    print(json.dumps(sorted(sys.modules)))
    self.should_exit = True

running.Server.startup = started
main()
"""
"""`quorate serve`, which says what is loaded when it is ready, and ends."""

LOADED_LATER = (
    "aiosmtplib",
    "alembic",
    "asyncpg",
    "cel",
    "holidays",
    "httpx",
    "joserfc",
    "mako",
    "prompt_toolkit",
    "pygments",
    "quorate_client",
    "quorate_plugins.approval.notifications.channels",
    "quorate_server.audit_cli",
    "quorate_server.channel_cli",
    "quorate_server.documents_cli",
    "redis",
    "rich",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.orm",
    "typer",
)
NEEDED_AT_ONCE = (
    "cedarpy",
    "cryptography",
    "msgpack",
    "pycrdt",
    "quorate_plugins.approval",
    "sqlalchemy",
    "websockets",
)
"""For a connection, an edit, or the signature that comes within the first minute: nobody waits for an import."""


def loaded_by(data: Path, *options: str) -> set[str]:
    """Return the modules of a server that has just become ready."""
    ended = subprocess.run(
        [sys.executable, "-c", SERVE, "serve", "--port", "0", "--data", str(data), *options],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return set(json.loads(ended.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What is loaded on a new database."""
    return loaded_by(tmp_path_factory.mktemp("data"), "--open")


@pytest.mark.parametrize("module", LOADED_LATER)
def test_a_started_server_has_not_loaded_what_few_use(loaded: set[str], module: str) -> None:
    assert module not in loaded


@pytest.mark.parametrize("module", NEEDED_AT_ONCE)
def test_a_started_server_has_loaded_what_everybody_uses(loaded: set[str], module: str) -> None:
    assert module in loaded


def test_a_server_with_tokens_can_read_them_when_it_is_ready(tmp_path: Path) -> None:
    assert "joserfc" in loaded_by(tmp_path, "--secret", "x" * 32)
