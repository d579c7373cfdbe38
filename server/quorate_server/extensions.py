"""What plugins bring besides engines, found by entry points: commands for the command line, and replays.

    [project.entry-points."quorate.commands"]
    approvals = "my_package.command_line:approvals"      a click command or group: `quorate approvals ...`

    [project.entry-points."quorate.replays"]
    approvals = "my_package.replaying:DecisionReplay"    a class that `quorate audit verify` makes one of

Neither is loaded before it is wanted, and one that cannot be loaded is named and harms nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any, BinaryIO, Protocol, cast

import click

from quorate_server.errors import SettingsError
from quorate_storage.audit_export import ExportedEvent, read_export
from quorate_storage.audit_rows import LoggedEvent, parse_body

COMMANDS = "quorate.commands"
REPLAYS = "quorate.replays"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """An event of the audit chain, and its personal texts by field, as far as they are not erased."""

    event: LoggedEvent
    texts: Mapping[str, str]


class AuditReplay(Protocol):
    """Decides again what the events of an audit log say was decided. One is made for each verification."""

    def take(self, event: LoggedEvent) -> None:
        """Take the next event of the log, whatever it is about; the log itself is verified up to it."""

    def problems(self) -> Sequence[str]:
        """Return what came out differently, one sentence each, now that all events were taken."""
        ...


def installed_replays() -> Mapping[str, Callable[[], AuditReplay]]:
    """Return what makes the replays that are installed, by name.

    Raises:
        SettingsError: one cannot be loaded: without it a verification would not say all.
    """
    return {point.name: _replay_of(point) for point in metadata.entry_points(group=REPLAYS)}


def _replay_of(point: metadata.EntryPoint) -> Callable[[], AuditReplay]:
    try:
        return cast("Callable[[], AuditReplay]", point.load())
    except Exception as error:
        raise SettingsError(f"the replay of the plugin {point.name!r} cannot be loaded: {error}") from error


def read_audit_export(file: BinaryIO) -> Iterator[AuditEntry]:
    """Yield the events of an export of the audit log in order, unverified.

    Raises:
        ExportMalformed: it is no export.
        BodyMalformed: an event is none.
    """
    for item in read_export(file):
        if isinstance(item, ExportedEvent):
            yield AuditEntry(
                event=parse_body(item.body), texts={field: text for field, (_, text) in item.texts.items()}
            )


def replay_all(replays: Mapping[str, AuditReplay], events: Iterable[LoggedEvent]) -> list[str]:
    """Return what the replays find, each after its name; the events are read once."""
    for event in events:
        for replay in replays.values():
            replay.take(event)
    return [f"{name}: {problem}" for name, replay in replays.items() for problem in replay.problems()]


def server_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which server is meant, and who asks."""
    url = click.option(
        "--url", default="http://127.0.0.1:8000", envvar="QUORATE_URL", show_default=True, help="The server."
    )
    token = click.option("--token", default="", envvar="QUORATE_TOKEN", help="Who asks; see `quorate token`.")
    return url(token(command))


class ExtensibleGroup(click.Group):
    """A group of commands to which plugins add theirs; its own come first.

    `later` says where those of its own commands are that are loaded when they are asked for, as `module:name`.
    """

    def __init__(self, *, later: Mapping[str, str], **settings: Any) -> None:
        super().__init__(**settings)
        self._later = later

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        own = sorted({*super().list_commands(ctx), *self._later})
        return [*own, *sorted(_points().keys() - set(own))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name; one that cannot be loaded is one that says so."""
        own = self._own_command(ctx, cmd_name)
        point = _points().get(cmd_name)
        if own is not None or point is None:
            return own
        try:
            loaded: object = point.load()
        except Exception as error:  # noqa: BLE001 - whatever a plugin's module raises
            return _unloadable(cmd_name, f"{type(error).__name__}: {error}")
        return loaded if isinstance(loaded, click.Command) else _unloadable(cmd_name, "it is no command of click")

    def _own_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self._later:
            return super().get_command(ctx, name)
        module, _, attribute = self._later[name].partition(":")
        command: object = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


def _points() -> Mapping[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=COMMANDS)}


def _unloadable(name: str, why: str) -> click.Command:
    def refuse(**_: object) -> None:
        raise click.ClickException(f"the plugin's command {name!r} cannot be loaded: {why}")

    return click.Command(
        name,
        callback=refuse,
        help=f"Cannot be loaded: {why}",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
