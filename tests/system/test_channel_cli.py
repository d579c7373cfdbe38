"""The commands that ask a running server, through its socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from quorate_client import Disconnected, ProblemError
from quorate_server.channel_cli import access_group, changes_command, command_command
from quorate_server.errors import SettingsError
from tests.system.servers import ServerProcess, token_for

OWNER = token_for("owner", role="owner")
SHARE = {"artifact": "text/a", "principal": "user:ben", "role": "viewer"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    running = ServerProcess(tmp_path_factory.mktemp("cli")).start_now()
    asyncio.run(_create(running))
    yield running
    running.kill_now()


async def _create(server: ServerProcess) -> None:
    async with server.http(OWNER) as http:
        assert (await http.post("/api/documents", json={"name": "text/a"})).status_code == 201


def run(server: ServerProcess, command: click.Command, *arguments: str, token: str = OWNER, stdin: str = "") -> Result:
    environment = {"QUORATE_URL": server.url, "QUORATE_TOKEN": token}
    return CliRunner(env=environment).invoke(command, list(arguments), input=stdin)


def test_a_command_prints_its_answer_and_is_done_once_a_key(server: ServerProcess) -> None:
    for values, stdin in ((json.dumps(SHARE), ""), ("-", json.dumps(SHARE))):
        done = run(server, command_command, "access.share", values, "--key", "once", stdin=stdin)
        assert (done.exit_code, json.loads(done.output)) == (0, {"changed": True})
    changes = run(server, changes_command, "--type", "access.*", "--prefix", "text/a")
    [event] = [json.loads(line) for line in changes.output.splitlines()]
    assert event["data"]["principal"] == "user:ben"
    assert run(server, changes_command, "--after", event["id"]).output == ""


def test_changes_beyond_what_there_is_end_at_once(server: ServerProcess) -> None:
    ended = run(server, changes_command, "--kind", "plan")
    assert (ended.exit_code, ended.output) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "token", "error"),
    [
        (["no.such"], OWNER, ProblemError),
        (["access.share", "[]"], OWNER, SettingsError),
        (["access.share", "{"], OWNER, SettingsError),
        (["access.share", "{}"], "nobody", ProblemError),
        (["access.share", "{}", "--url", "http://127.0.0.1:9"], OWNER, Disconnected),
    ],
)
def test_a_mistake_is_one_clear_error(
    server: ServerProcess, arguments: list[str], token: str, error: type[Exception]
) -> None:
    failed = run(server, command_command, *arguments, token=token)
    assert isinstance(failed.exception, error)
    assert str(failed.exception)


def test_why_says_who_may_do_what_by_which_policy(server: ServerProcess) -> None:
    own = run(server, access_group, "why", "text/a", "--action", "share")
    assert own.output.splitlines() == [
        "owner may share text/a",
        "  role owner, by the token",
        "  role owner, granted to user:owner in text/a by owner",
        "  decided by own",
    ]
    other = run(server, access_group, "why", "text/a", "--action", "write", "--subject", "gast")
    assert other.output.splitlines() == [
        "gast may not write text/a",
        "  role guest, by the token",
        "  no policy permits it",
    ]
    denied = run(server, access_group, "why", "text/a", "--subject", "x", token=token_for("eve", role="editor"))
    assert isinstance(denied.exception, ProblemError)
    assert denied.exception.code == "permission-denied"


def test_a_server_starts_with_the_variables_of_its_callers(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, environment={"QUORATE_URL": "http://127.0.0.1:1", "QUORATE_TOKEN": "t"})
    server.start_now()
    server.kill_now()
