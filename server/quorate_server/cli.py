"""The command line: `quorate serve`, `demo`, `token`, `documents`, `check`, `access`, `audit`, `changes`, `command`."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import uvloop

from quorate_protocol.errors import QuorateError
from quorate_server import running
from quorate_server.app import Quorate
from quorate_server.authenticators import ROLES
from quorate_server.errors import SettingsError
from quorate_server.extensions import ExtensibleGroup
from quorate_server.logs import configure_logs
from quorate_server.seeding import seeds_folder
from quorate_server.settings import Settings, load_settings

CONTEXT: dict[str, object] = {
    "help_option_names": ["-h", "--help"],
    "auto_envvar_prefix": None,
    "max_content_width": 100,
}

LATER = {
    "access": "quorate_server.channel_cli:access_group",
    "audit": "quorate_server.audit_cli:audit_group",
    "changes": "quorate_server.channel_cli:changes_command",
    "check": "quorate_server.documents_cli:check_command",
    "command": "quorate_server.channel_cli:command_command",
    "documents": "quorate_server.documents_cli:documents_group",
}
"""Commands beside the server, which does without what they load."""

Command = Callable[..., None]


def main() -> None:
    """Run the command line; a mistake ends with one clear sentence and code 2, never with a traceback."""
    try:
        quorate(prog_name="quorate", standalone_mode=True)
    except QuorateError as error:
        click.echo(f"quorate: {error}", err=True)
        sys.exit(2)


@click.group(cls=ExtensibleGroup, context_settings=CONTEXT, later=LATER)
@click.version_option(package_name="quorate")
def quorate() -> None:
    """Real-time collaboration for data governance.

    \b
    Try it:        quorate demo
    Run it:        quorate serve --secret "$(openssl rand -hex 32)"
    Let people in: quorate token --secret ... --subject steward-1 --name "Data Steward"

    Every option of `serve` is also a QUORATE_... variable and a key of quorate.toml. Plugins add commands of their own.
    """  # noqa: D301 - click reads the character


def serving_options(command: Command) -> Command:
    """Add the options that `serve` and others share."""
    for option in (
        click.option("--database", help="Database URL.  [default: SQLite in the data folder]"),
        click.option("--data", help="Folder of the SQLite database.  [default: ./data]"),
        click.option("--port", type=int, help="Port; 0 takes a free one.  [default: 8000]"),
        click.option("--host", help="Address to listen on.  [default: 127.0.0.1]"),
    ):
        command = option(command)
    return command


@quorate.command()
@serving_options
@click.option("--redis", help="Redis URL, for several server processes.")
@click.option("--secret", help="HMAC secret that signs tokens, 32 characters or more.")
@click.option("--jwks", help="URL or file of an OpenID Connect issuer's key set.")
@click.option("--issuer", help="The `iss` every token must carry.")
@click.option("--audience", help="The `aud` every token must carry.")
@click.option("--open", "open_", is_flag=True, default=None, help="Everybody edits; loopback only.")
@click.option("--policies", help="Folder of further Cedar policies; re-read when it changes.")
@click.option("--seeds", help="Folder of texts that fill new documents of the same name.")
@click.option("--allowed-origins", help="Web origins that may connect, comma-separated.  [default: any]")
@click.option("--engines", help="Engines to run, comma-separated; `none` for none.  [default: all that are installed]")
@click.option("--audit-origin", help="Name of the audit log in its checkpoints.  [default: quorate]")
@click.option("--audit-key", help="File of the key that signs checkpoints.  [default: audit.key in the data folder]")
@click.option("--audit-checkpoints", help="Folder outside the database to publish checkpoints in.")
@click.option("--log-level", help="debug, info, warning or error.  [default: info]")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="[default: text]")
def serve(*, open_: bool | None, **given: object) -> None:
    """Run the server until it is told to stop.

    It says on one line when it is ready, and /readyz answers 200 from then on. On SIGTERM it accepts nobody
    any more, commits what came, sends its clients away to reconnect, and ends.
    """
    settings = load_settings(environment=os.environ, file=Path("quorate.toml"), given={**given, "open": open_})
    notice = ""
    if settings.open:
        notice = "  --open: EVERYBODY who reaches this address may edit everything. For development only.\n"
    run(Quorate(settings), notice=notice)


@quorate.command()
@click.option("--port", type=int, default=8000, show_default=True, help="Port to listen on.")
@click.option("--data", default="./data", show_default=True, help="Folder of the database.")
def demo(port: int, data: str) -> None:
    """Start a server with a sample workspace and a web page, for one machine.

    Open the address it prints in two windows, sign in as two people, and write together.
    """
    from quorate_server.demo import PEOPLE, demo_routes, describe_people, set_up  # noqa: PLC0415 - as `LATER`

    folder = seeds_folder()
    settings = Settings(
        port=port,
        data=data,
        secret=_demo_secret(Path(data)),
        seeds=str(folder or ""),
        log_level="warning",
    )
    routes = demo_routes(settings, names_from=folder)
    quorate = Quorate(settings, routes=routes)
    run(quorate, notice=describe_people(PEOPLE), prepare=partial(set_up, quorate, folder))


@quorate.command()
@click.option("--secret", envvar="QUORATE_SECRET", required=True, help="The server's HMAC secret.")
@click.option("--subject", required=True, help="Who the token is for: a stable id.")
@click.option("--name", default="", help="The name other people see.")
@click.option("--group", "groups", multiple=True, help="A group; may be given several times.")
@click.option("--role", type=click.Choice(ROLES), default="editor", show_default=True)
@click.option("--expires", default="8h", show_default=True, help="Life: 90s, 15m, 8h or 30d.")
@click.option("--issuer", default="", help="The `iss` claim.")
@click.option("--audience", default="", help="The `aud` claim.")
@click.option(
    "--signed-in", is_flag=True, help="Say that they signed in just now; signatures and overrides ask for it."
)
def token(expires: str, groups: tuple[str, ...], *, signed_in: bool, **claims: str) -> None:
    """Print a token that lets somebody in.

    \b
    quorate token --secret "$SECRET" --subject steward-1 --name "Data Steward" --group stewards
    """  # noqa: D301 - click reads the character
    from quorate_server.tokens import sign_token  # noqa: PLC0415 - as `LATER`

    now = time.time()
    click.echo(
        sign_token(
            **claims,
            groups=groups,
            expires_seconds=parse_duration(expires),
            signed_in_at=now if signed_in else None,
            now=now,
        )
    )


def run(quorate: Quorate, *, notice: str = "", prepare: running.Prepare | None = None) -> None:
    """Run a server until it is told to stop."""
    configure_logs(level=quorate.settings.log_level, form=quorate.settings.log_format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        has_started = runner.run(running.run(quorate, notice=notice, prepare=prepare))
    if not has_started:
        sys.exit(3)


def parse_duration(text: str) -> float:
    """Return the seconds of `90s`, `15m`, `8h` or `30d`.

    Raises:
        SettingsError: it is none of these.
    """
    match = re.fullmatch(r"(\d+)([smhd])", text.strip())
    if match is None:
        raise SettingsError(f"a duration looks like 90s, 15m, 8h or 30d, not {text!r}")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


def _demo_secret(data: Path) -> str:
    """Return the secret of this demo, made at its first start, so that people stay signed in."""
    data.mkdir(parents=True, exist_ok=True)
    path = data / "demo-secret"
    if not path.exists():
        path.write_text(secrets.token_hex(32), "utf-8")
        path.chmod(0o600)
    return path.read_text("utf-8").strip()
