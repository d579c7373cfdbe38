"""What plugins add to the command line and to verification, installed as a package is."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata

import click
import pytest
from click.testing import CliRunner

from quorate_server import extensions
from quorate_server.cli import quorate
from quorate_server.errors import SettingsError
from quorate_server.hooks import LoggedEvent


@click.command("greet")
@click.argument("name")
def greet(name: str) -> None:
    """Greet NAME."""
    click.echo(f"Hello {name}")


class Counting:
    """A replay that finds every event wrong."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def take(self, event: LoggedEvent) -> None:
        self.taken.append(event.type)

    def problems(self) -> Sequence[str]:
        return self.taken


not_a_command = 7


def install(monkeypatch: pytest.MonkeyPatch, group: str, **objects: str) -> None:
    """Let a package be installed that has these entry points in this module, or elsewhere."""
    points = metadata.EntryPoints(
        metadata.EntryPoint(name=name, value=value if ":" in value else f"{__name__}:{value}", group=group)
        for name, value in objects.items()
    )
    monkeypatch.setattr("quorate_server.extensions.metadata.entry_points", lambda *, group: points.select(group=group))


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(quorate, list(arguments))
    return result.exit_code, result.output


def test_a_plugins_command_is_one_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, extensions.COMMANDS, greet="greet")
    assert run("greet", "Ann") == (0, "Hello Ann\n")
    code, listed = run("--help")
    assert code == 0
    assert "Greet NAME." in listed


def test_no_plugin_takes_a_command_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, extensions.COMMANDS, token="greet")
    code, told = run("token", "--help")
    assert code == 0
    assert "lets somebody in" in told


@pytest.mark.parametrize("value", ["no_such_module:command", f"{__name__}:nothing", "not_a_command"])
def test_a_command_that_cannot_be_loaded_says_so_and_harms_no_other(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    install(monkeypatch, extensions.COMMANDS, broken=value, greet="greet")
    code, told = run("broken", "--whatever", "x")
    assert code == 1
    assert "the plugin's command 'broken' cannot be loaded" in told
    code, listed = run("--help")
    assert code == 0
    assert "Cannot be loaded" in listed
    assert run("greet", "Ann") == (0, "Hello Ann\n")


def test_a_replay_that_cannot_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, extensions.REPLAYS, broken="no_such_module:Replay")
    with pytest.raises(SettingsError, match="the replay of the plugin 'broken' cannot be loaded"):
        extensions.installed_replays()


def test_replays_read_the_events_once_and_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, extensions.REPLAYS, one="Counting", two="Counting")
    replays = {name: make() for name, make in extensions.installed_replays().items()}
    event = LoggedEvent(
        sequence=1, time="", at=0.0, type="a", actor="x", via="api", artifact=None, facts={}, commitments={}
    )
    assert extensions.replay_all(replays, iter([event])) == ["one: a", "two: a"]
