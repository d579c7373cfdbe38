"""`quorate audit ...`: export the audit log, and verify, prove and explain from an export without a server.

What `verify` ends with: 0 verified, 1 tampered, 2 incomplete, 3 bad input. The other commands use the same numbers:
1 for a proof that does not hold, 2 for an event that cannot be proved yet, 3 for input that cannot be read.
"""

from __future__ import annotations

import asyncio
import base64
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import BinaryIO

import click

from quorate_protocol.errors import QuorateError
from quorate_server.auditing import export_audit
from quorate_server.documents_cli import database_options
from quorate_server.errors import DocumentNotFound
from quorate_server.extensions import installed_replays, replay_all
from quorate_server.settings import Settings
from quorate_storage.audit_export import ProofBundle, ProofImpossible, ProofInvalid
from quorate_storage.audit_verification import (
    EXIT_CODES,
    Verdict,
    Verification,
    explain,
    prove,
    verify_export,
    verify_proof,
)
from quorate_storage.checkpoints import SignatureInvalid, VerifierKey, read_checkpoint
from quorate_storage.sql import SqlStore

ORIGIN = "quorate"
"""The origin in an export of a log that has no checkpoint to take it from."""

_TAMPERED = (ProofInvalid, SignatureInvalid)


class _BadOptions(click.UsageError):
    exit_code = EXIT_CODES[Verdict.BAD_INPUT]


class _Command(click.Command):
    """A command whose options, where they are wrong, are bad input and not an incomplete log."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            raise _BadOptions(error.format_message(), ctx) from error


_log = click.option("--log", "log", required=True, metavar="FILE", help="An export of the audit log.")
_keys = click.option("--key", "keys", required=True, multiple=True, metavar="VKEY", help="Verifier key; several times.")
_notes = click.option(
    "--checkpoint", "notes", multiple=True, metavar="FILE", help="A signed checkpoint; several times."
)


@click.group("audit")
def audit_group() -> None:
    """Export, verify, prove and explain the audit log."""


@audit_group.command("verify", cls=_Command)
@_log
@_keys
@_notes
def verify_command(*, log: str, keys: tuple[str, ...], notes: tuple[str, ...]) -> None:
    """Verify an export of the audit log, without a server.

    What plugins decided is decided again from the events, and must come out the same. Give checkpoints that you
    got by another way than the export: whoever can change the log can leave out those inside. Ends with
    0 verified, 1 tampered, 2 incomplete, 3 bad input.

    \b
    quorate audit verify --log export.jsonl --key "$VKEY" --checkpoint cp1.txt --checkpoint cp2.txt
    """  # noqa: D301 - click reads the character
    with _ends(), Path(log).open("rb") as file:
        replays = {name: make() for name, make in installed_replays().items()}
        found = verify_export(
            file,
            _read_keys(keys),
            checkpoints=_read_texts(notes),
            now=time.time(),
            replay=partial(replay_all, replays),
        )
        _tell(found)
        sys.exit(found.exit_code)


@audit_group.command("prove", cls=_Command)
@_log
@_notes
@click.option("--sequence", type=click.IntRange(min=1), required=True, help="Which event.")
@click.option("--out", metavar="FILE", help="Where the proof goes.  [default: standard output]")
def prove_command(*, log: str, notes: tuple[str, ...], sequence: int, out: str | None) -> None:
    """Write a proof that one event is in the log; `verify-proof` needs nothing else."""
    with _ends(), Path(log).open("rb") as file:
        text = prove(file, sequence, checkpoints=_read_texts(notes)).encode()
        if out is None:
            click.echo(text, nl=False)
        else:
            Path(out).write_text(text, "utf-8")


@audit_group.command("verify-proof", cls=_Command)
@click.option("--proof", required=True, metavar="FILE", help="What `prove` wrote.")
@_keys
def verify_proof_command(*, proof: str, keys: tuple[str, ...]) -> None:
    """Verify the proof of one event, without the log, and print the event.

    Ends with 0 when the proof holds, 1 when it does not, 3 when it cannot be read.
    """
    with _ends():
        bundle = ProofBundle.parse(_read_text(proof))
        event = verify_proof(bundle, _read_keys(keys))
        head = read_checkpoint(bundle.note)
        click.echo(f"Event {event.sequence} is in the log {head.origin!r}, which had {head.size} events.")
        click.echo(bundle.body)


@audit_group.command("explain", cls=_Command)
@_log
@click.option("--artifact", required=True, help="The artifact's name.")
def explain_command(*, log: str, artifact: str) -> None:
    """Print what happened to an artifact, one line an event. Verify the export before you believe it."""
    with _ends(), Path(log).open("rb") as file:
        for line in explain(file, artifact) or ["No events."]:
            click.echo(line)


@audit_group.command("export", cls=_Command)
@database_options
@click.option("--origin", default="", help="Name of the log.  [default: that of the newest checkpoint]")
@click.option("--out", required=True, metavar="FILE", help="Where the export goes.")
def export_command(*, data: str, database: str, origin: str, out: str) -> None:
    """Write the audit log with its checkpoints and the texts that are not erased to FILE.

    Works beside a running server; what is written while the export runs is not in it. FILE is there only when it
    is whole, and only its owner can read it: it holds what people wrote.
    """
    with _ends():
        if not database and not (Path(data) / "quorate.db").exists():
            raise DocumentNotFound(f"there is no database in {data!r}: give --data or --database")
        path = Path(out)
        part = path.with_name(f"{path.name}.part")
        part.unlink(missing_ok=True)
        part.touch(0o600)
        try:
            with part.open("wb") as file:
                url = Settings(data=data, database=database).database_url
                size = asyncio.run(_export(url, origin, file))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        click.echo(f"Exported {size} events to {out}.")


async def _export(url: str, origin: str, file: BinaryIO) -> int:
    async with SqlStore(url) as store:
        head = await store.audit_head()
        if not origin:
            checkpoints = await store.list_checkpoints()
            origin = read_checkpoint(checkpoints[-1].note).origin if checkpoints else ORIGIN
        await export_audit(store, origin, file, head)
        return head.size


def _tell(found: Verification) -> None:
    """Print a verification, its verdict first."""
    click.echo(f"{found.verdict}: {found.problem}" if found.problem else f"{found.verdict}: {found.size} events")
    for fault in found.faults:
        where = "" if fault.sequence is None else f" at event {fault.sequence}"
        click.echo(f"  {fault.kind}{where}: {fault.problem}")
    for missing in found.missing:
        click.echo(f"  {missing}")
    for sequence in found.gaps:
        click.echo(f"  event {sequence} says that the log was switched off before it")
    if found.verdict in {Verdict.TAMPERED, Verdict.BAD_INPUT}:
        return
    click.echo(f"  root: {base64.b64encode(found.root).decode()}")
    click.echo(f"  sealed by a checkpoint: {found.sealed} events")
    age = "" if found.unsealed_seconds is None else f", the oldest {timedelta(seconds=int(found.unsealed_seconds))} old"
    click.echo(f"  unsealed tail: {found.unsealed} events{age}; a change there would not show")
    click.echo(f"  erased texts: {found.erased_texts}")


@contextmanager
def _ends() -> Generator[None]:
    """End with the code that an error stands for, after one sentence."""
    try:
        yield
    except (QuorateError, OSError) as error:
        verdict = Verdict.TAMPERED if isinstance(error, _TAMPERED) else Verdict.BAD_INPUT
        verdict = Verdict.INCOMPLETE if isinstance(error, ProofImpossible) else verdict
        click.echo(f"quorate: {error}", err=True)
        sys.exit(EXIT_CODES[verdict])


def _read_keys(texts: tuple[str, ...]) -> list[VerifierKey]:
    return [VerifierKey.parse(text) for text in texts]


def _read_texts(paths: tuple[str, ...]) -> list[str]:
    return [_read_text(path) for path in paths]


def _read_text(path: str) -> str:
    return Path(path).read_bytes().decode("utf-8", "replace")
