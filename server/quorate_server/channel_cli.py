"""`quorate changes`, `quorate command` and `quorate access why`: work with a running server, from anywhere."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from contextlib import aclosing
from typing import TextIO, cast
from urllib.parse import quote

import click
import httpx

from quorate_client import Client, Disconnected, ProblemError
from quorate_server.access import Action
from quorate_server.errors import SettingsError
from quorate_server.extensions import server_options


@click.command("changes")
@server_options
@click.option("--after", type=click.IntRange(min=0), help="Only changes beyond this position.  [default: 0]")
@click.option("--type", "types", multiple=True, help="Such as access.changed or access.*; may be given several times.")
@click.option("--prefix", default="", help="Only documents whose names begin so.")
@click.option("--kind", "kinds", multiple=True, help="Only artifacts of this kind; may be given several times.")
@click.option("--follow", is_flag=True, help="Go on with what happens from now on, until interrupted.")
def changes_command(*, url: str, token: str, after: int | None, follow: bool, **wanted: object) -> None:
    """Print the changes that you may read, one CloudEvent a line.

    The `id` of the last line is what to give as --after to go on from there. With --follow and without --after,
    it begins now; a lost connection is opened again, and nothing is missed.

    \b
    quorate changes --type 'access.*' --prefix approval/ --follow
    """  # noqa: D301 - click reads the character
    filters = cast("Mapping[str, tuple[str, ...]]", {name: wanted[name] for name in ("types", "kinds")})
    prefix = str(wanted["prefix"])

    async def work() -> None:
        async with Client(url, token=token) as client:
            until = None if follow else client.position
            start = after if follow else after or 0
            if until is not None and start is not None and start >= until:
                return
            found = client.changes(after=start, until=until, prefix=prefix, **filters)
            async with aclosing(found):
                async for change in found:
                    click.echo(json.dumps(change.event, ensure_ascii=False))

    asyncio.run(work())


@click.command("command")
@server_options
@click.argument("name")
@click.argument("values", default="{}")
@click.option("--key", help="Idempotency key: with the same one it is done once.  [default: a new one]")
def command_command(*, url: str, token: str, name: str, values: str, key: str | None) -> None:
    """Do the command NAME with VALUES, a JSON object or `-` to read one, and print its answer as JSON.

    Ends with code 2 and the problem if the server refuses it.

    \b
    quorate command access.share '{"artifact": "text/a", "principal": "user:ben", "role": "viewer"}'
    """  # noqa: D301 - click reads the character
    read = _object(sys.stdin if values == "-" else values)

    async def work() -> Mapping[str, object]:
        async with Client(url, token=token) as client:
            return await client.command(name, read, key=key)

    click.echo(json.dumps(asyncio.run(work()), ensure_ascii=False))


@click.group("access")
def access_group() -> None:
    """Ask a running server who may do what."""


@access_group.command("why")
@server_options
@click.argument("name")
@click.option("--action", type=click.Choice([str(action) for action in Action]), default="read", show_default=True)
@click.option("--subject", default="", help="Whom it is about; others than yourself only if you own the document.")
@click.option("--group", "groups", multiple=True, help="A group of that subject; may be given several times.")
@click.option("--role", default="", help="The role that the subject's token gives.  [default: guest]")
def why_command(*, url: str, token: str, name: str, **asked: object) -> None:
    """Say whether somebody may do something with the document NAME, and by which roles and policies."""
    given = {"action": asked["action"], "subject": asked["subject"], "role": asked["role"], "group": asked["groups"]}
    query = cast("Mapping[str, str]", {key: value for key, value in given.items() if value})
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    address = f"{url.rstrip('/')}/api/access/{quote(name)}"
    try:
        answer = httpx.get(address, params=query, headers=headers, timeout=30.0)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Disconnected(f"{url} cannot be reached: {error}") from error
    body = _object(answer.text)
    if answer.is_error:
        raise ProblemError(body)
    for line in _verdict(body):
        click.echo(line)


def _verdict(answer: Mapping[str, object]) -> list[str]:
    """Say an answer of `/api/access` in words."""
    may = "may" if answer["allowed"] else "may not"
    roles = cast("list[Mapping[str, object]]", answer["roles"])
    policies = cast("list[str]", answer["policies"])
    lines = [f"{answer['subject']} {may} {answer['action']} {answer['name']}"]
    for held in roles:
        why = "by the token"
        if held.get("scope"):
            why = f"granted to {held['principal']} in {held['scope']} by {held['by']}"
        lines.append(f"  role {held['role']}, {why}")
    lines.append(f"  decided by {', '.join(policies)}" if policies else "  no policy permits it")
    return lines


def _object(source: TextIO | str) -> Mapping[str, object]:
    """Read a JSON object.

    Raises:
        SettingsError: it is none.
    """
    text = source if isinstance(source, str) else source.read()
    try:
        found: object = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"expected a JSON object: {error}") from error
    if not isinstance(found, dict):
        raise SettingsError(f"expected a JSON object, not {text[:40]!r}")
    return cast("Mapping[str, object]", found)
