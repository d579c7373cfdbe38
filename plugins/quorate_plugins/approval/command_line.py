"""`quorate approvals ...`: work with the requests of a running server, and replay them from an export without one."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import click

from quorate_client import Client
from quorate_plugins.approval.evaluator import RequirementResult
from quorate_plugins.approval.replaying import DecisionReplay, is_of_a_request
from quorate_plugins.approval.reports.building import build
from quorate_plugins.approval.reports.catalogue import REPORTS
from quorate_plugins.approval.reports.queries import Query
from quorate_plugins.approval.reports.rendering import MEDIA_TYPES, Format, render, seal_json
from quorate_plugins.approval.requests import Request
from quorate_server.hooks import Conflict, LoggedEvent, read_audit_export, server_options

Json = Mapping[str, object]
Show = Callable[[Json], Iterable[str]]

SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}


@click.group("approvals")
def approvals() -> None:
    """Ask for approval, decide, and look after people and policies.

    \b
    quorate approvals inbox
    quorate approvals show approval/7
    quorate approvals decide approval/7 approve --hash 5f1c... --reason "Checked with finance."
    """  # noqa: D301 - click reads the character


def _asking(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every command that asks a server."""
    as_json = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
    return server_options(as_json(command))


def _ask(given: Mapping[str, object], name: str, values: Json, show: Show) -> None:
    """Give a command to the server, and print its answer."""
    answer = asyncio.run(_command(str(given["url"]), str(given["token"]), name, values))
    for line in [json.dumps(answer, ensure_ascii=False)] if given["as_json"] else show(answer):
        click.echo(line)


async def _command(url: str, token: str, name: str, values: Json) -> Json:
    async with Client(url, token=token) as client:
        return await client.command(f"approvals.{name}", values)


# Requests


def _about(name: str, help_: str) -> None:
    """Add a command that takes a request, and a reason for it."""

    @approvals.command(name.replace("_", "-"), help=help_)
    @click.argument("artifact")
    @click.option("--reason", default="", help="Why, for people; it can be erased.")
    @_asking
    def command(*, artifact: str, reason: str, **given: object) -> None:
        _ask(given, name, {"artifact": artifact, "reason": reason}, _show_request)


for _name, _help in {
    "withdraw": "Take the request ARTIFACT back.",
    "revoke": "Let what was approved hold no more.",
    "override": "Decide against the rules in an emergency; it is reviewed afterwards.",
    "review_override": "Close the review of an override.",
    "execute": "Begin to do what was approved.",
    "repin": "Ask the policies of now about a pending request; for administrators.",
}.items():
    _about(_name, _help)


@approvals.command("submit")
@click.argument("artifact")
@click.option("--supersedes", default="", help="The request that this one replaces.")
@_asking
def submit_command(*, artifact: str, supersedes: str, **given: object) -> None:
    """Put the request ARTIFACT up for decision, for the first time or again."""
    _ask(given, "submit", {"artifact": artifact, "supersedes": supersedes}, _show_request)


@approvals.command("decide")
@click.argument("artifact")
@click.argument("verdict", type=click.Choice(["approve", "reject", "request-changes", "abstain"]))
@click.option("--hash", "content_hash", required=True, help="The hash of what you looked at; `show` prints it.")
@click.option("--reason", default="", help="Why, for people; it can be erased.")
@click.option("--stage", default="", help="The stage that is meant.  [default: the first that is yours]")
@click.option("--for", "on_behalf_of", default="", help="Whom you stand in for.")
@_asking
def decide_command(
    *, artifact: str, verdict: str, content_hash: str, reason: str, stage: str, on_behalf_of: str, **given: object
) -> None:
    """Decide on the request ARTIFACT. A decision on a content that has changed since is refused."""
    values = {
        "artifact": artifact,
        "verdict": verdict.replace("-", "_"),
        "content_hash": content_hash,
        "reason": reason,
        "stage": stage,
        "on_behalf_of": on_behalf_of,
    }
    _ask(given, "decide", values, lambda answer: _show_request(_object(answer["request"])))


@approvals.command("revoke-decision")
@click.argument("artifact")
@click.argument("decision")
@_asking
def revoke_decision_command(*, artifact: str, decision: str, **given: object) -> None:
    """Take your own DECISION on the request ARTIFACT back."""
    _ask(given, "revoke_decision", {"artifact": artifact, "decision": decision}, _show_request)


@approvals.command("executed")
@click.argument("artifact")
@click.option("--failed", is_flag=True, help="It did not work.")
@click.option("--reason", default="", help="Why, for people; it can be erased.")
@_asking
def executed_command(*, artifact: str, failed: bool, reason: str, **given: object) -> None:
    """Say that what was approved is done, or has failed."""
    _ask(given, "report", {"artifact": artifact, "is_done": not failed, "reason": reason}, _show_request)


@approvals.command("show")
@click.argument("artifact")
@_asking
def show_command(*, artifact: str, **given: object) -> None:
    """Say where the request ARTIFACT stands, and why; its hash is what a decision names."""
    _ask(given, "explain", {"artifact": artifact}, _show_explanation)


@approvals.command("inbox")
@_asking
def inbox_command(**given: object) -> None:
    """Show what waits for your decision, the most urgent first."""
    _ask(given, "inbox", {}, lambda answer: _rows(answer["items"], INBOX) or ["Nothing waits for you."])


@approvals.command("notices")
@_asking
def notices_command(**given: object) -> None:
    """Show what you were told, the newest first."""
    _ask(given, "notices", {}, lambda answer: _rows(answer["notices"], NOTICES) or ["No notices."])


# People and policies


@approvals.command("delegate")
@click.argument("delegate")
@click.option("--until", help="The end: 2026-12-24T18:00+01:00, or 8h, 14d, 2w from now; that of --request without it.")
@click.option("--request", "artifact", default="", help="Only decisions on this request.")
@click.option("--for", "principal", default="", help="Whose decisions, if not yours; for administrators.")
@click.option("--prefix", default="", help="Only about subjects whose names begin so.")
@click.option("--type", "types", multiple=True, help="Only requests of this type; may be given several times.")
@click.option("--most-risk", default="", help="Only up to this risk.")
@_asking
def delegate_command(
    *,
    delegate: str,
    until: str | None,
    artifact: str,
    principal: str,
    prefix: str,
    types: tuple[str, ...],
    most_risk: str,
    **given: object,
) -> None:
    """Have DELEGATE decide in your stead until a time, or on one request."""
    values = {
        "delegate": delegate,
        "artifact": artifact,
        "valid_to": None if until is None else parse_time(until, time.time()),
        "principal": principal,
        "prefix": prefix,
        "types": list(types),
        "most_risk": most_risk,
    }
    _ask(given, "delegate", values, lambda answer: [f"{answer['id']}: until {_time(answer['valid_to'])}"])


@approvals.command("end-delegation")
@click.argument("id_", metavar="ID")
@_asking
def end_delegation_command(*, id_: str, **given: object) -> None:
    """End a delegation."""
    _ask(given, "end_delegation", {"id": id_}, lambda answer: [f"{answer['id']}: ended"])


@approvals.command("people")
@click.argument("file", type=click.File())
@click.option("--remove", "removed", multiple=True, help="Somebody who is gone; may be given several times.")
@_asking
def people_command(*, file: Iterable[str], removed: tuple[str, ...], **given: object) -> None:
    """Put the people of FILE, a JSON list or `-`, into the directory."""
    try:
        people: object = json.loads("".join(file))
    except ValueError as error:
        raise Conflict(f"expected a JSON list of people: {error}") from error
    values = {"people": people, "removed": list(removed)}
    _ask(given, "put_people", values, lambda answer: [f"version {answer['version']}: {answer['people']} people"])


@approvals.command("publish-policy")
@click.argument("artifact")
@_asking
def publish_command(*, artifact: str, **given: object) -> None:
    """Let the first policies take effect: those in the artifact ARTIFACT."""
    _ask(given, "publish_policy", {"artifact": artifact}, lambda answer: [f"version {answer['version']} holds"])


@approvals.command("what-if")
@click.argument("artifact")
@_asking
def what_if_command(*, artifact: str, **given: object) -> None:
    """Say what the policy drafted in ARTIFACT would make of all open requests."""
    _ask(given, "what_if", {"artifact": artifact}, _show_differences)


# Evidence


@approvals.command("report")
@click.argument("name", type=click.Choice(list(REPORTS)))
@click.option("--format", "form", type=click.Choice(list(MEDIA_TYPES)), default="json", show_default=True)
@click.option("--since", help="The period begins here: a time, or 30d before now.  [default: the beginning]")
@click.option("--until", help="It ends before this.  [default: the newest checkpoint]")
@click.option("--person", default="", help="Whom `data_subject` is about, by user id.")
@click.option("--log", "log", metavar="FILE", help="Make it from an export of the audit log, without a server.")
@click.option("--out", metavar="FILE", help="Where it goes; its seal goes to FILE.seal.  [default: standard output]")
@server_options
def report_command(
    *, name: str, form: Format, log: str | None, out: str | None, url: str, token: str, **asked: str | None
) -> None:
    """Make a compliance report NAME, sealed to a checkpoint of the audit chain.

    From an export it is the same report, but nothing vouches for the events: verify the export first.
    """
    now = time.time()
    since, until = (text and parse_time(text, now, way=-1) for text in (asked["since"], asked["until"]))
    values = {"since": since, "until": until, "person": asked["person"] or ""}
    if log is not None:
        document, seal = _report_from(log, Query(report=name, as_of=now, **values), form)  # type: ignore[arg-type]
    else:
        answer = asyncio.run(_command(url, token, "make_report", {"report": name, "format": form, **values}))
        document, seal = str(answer["document"]), str(answer["seal"])
    if out is None:
        click.echo(document)
    else:
        Path(out).write_text(document, "utf-8")
        Path(f"{out}.seal").write_text(seal, "utf-8")


def _report_from(log: str, query: Query, form: Format) -> tuple[str, str]:
    """Return a report that is made from an export, and what it rests on.

    Raises:
        Conflict: it is not made from an export, or is asked for wrongly.
    """
    try:
        with Path(log).open("rb") as file:
            made = build(query, read_audit_export(file), seal=None)
    except ValueError as error:
        raise Conflict(str(error)) from error
    document = render(made, form)
    return document, json.dumps(seal_json(made, document), ensure_ascii=False, indent=1)


@approvals.command("lineage")
@click.argument("artifact")
@server_options
def lineage_command(*, artifact: str, url: str, token: str) -> None:
    """Print the run facet of OpenLineage by which the request ARTIFACT authorises a run."""
    answer = asyncio.run(_command(url, token, "lineage", {"artifact": artifact}))
    click.echo(json.dumps(answer, ensure_ascii=False))


# From an export, without a server


@approvals.command("replay")
@click.option("--log", "log", required=True, metavar="FILE", help="An export of the audit log.")
@click.option("--request", "artifact", default="", help="Print the events of this request, and what each led to.")
def replay_command(*, log: str, artifact: str) -> None:
    """Decide again what the audit log says was decided, without a server.

    Ends with 0 when every request comes to the same, and with 1 and what differs when not. It does not tell whether
    the export is whole and unchanged: `quorate audit verify` does, and replays too.
    """
    replay = DecisionReplay()
    events = 0
    with Path(log).open("rb") as file:
        for entry in read_audit_export(file):
            event = entry.event
            replay.take(event)
            events += is_of_a_request(event)
            if event.artifact == artifact:
                for line in _explain(event, replay.requests.get(artifact)):
                    click.echo(line)
    for problem in replay.problems():
        click.echo(f"  {problem}")
    click.echo(f"{len(replay.requests)} requests of {events} events replayed, {len(replay.problems())} differences")
    sys.exit(1 if replay.problems() else 0)


def _explain(event: LoggedEvent, request: Request | None) -> list[str]:
    """Return an event of a request in words, with what each requirement has come to after it."""
    state = "" if request is None else f" -> {request.state}"
    lines = [f"{event.sequence:>6}  {event.time}  {event.type} by {event.actor}{state}"]
    for stage in () if request is None else request.active():
        for key, each in _results(request, stage.id).items():
            lines.append(
                f"        {stage.id}/{key}: {each.result}, {each.got:g} of {each.needed:g}  {each.reason}".rstrip()
            )
    return lines


def _results(request: Request | None, stage: str) -> Mapping[str, RequirementResult]:
    found = None if request is None else request.runs[stage].result
    return {} if found is None else found.requirements


# In words

INBOX = ("due_at", "risk", "priority", "artifact", "stage", "requester", "on_behalf_of")
NOTICES = ("at", "event", "request", "title", "state", "by")


def parse_time(text: str, now: float, *, way: int = 1) -> float:
    """Return the seconds since the epoch of a time with its offset, or of so many hours, days or weeks from now.

    With a `way` of -1 they are so many ago.

    Raises:
        Conflict: it is neither.
    """
    span = re.fullmatch(r"(\d+)([hdw])", text.strip())
    if span is not None:
        return now + way * int(span[1]) * SECONDS[span[2]]
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Conflict(f"expected a time like 2026-12-24T18:00+01:00, or 8h, 14d, 2w, not {text!r}")
    return found.timestamp()


def _show_request(answer: Json) -> list[str]:
    """Say where a request stands."""
    told = f"{answer['artifact']}: {answer['state']}"
    if answer.get("block"):
        told += f", blocked: {answer['block']}"
    if answer.get("resolved_by"):
        told += f", by {answer['resolved_by']}"
    return [told, f"  revision {answer['revision']}, hash {answer['content_hash']}"]


def _show_explanation(answer: Json) -> list[str]:
    """Say where a request stands, stage by stage."""
    lines = [*_show_request(_object(answer["request"])), f"  by policy version {answer['policy_version']}"]
    lines += [f"    {rule}" for rule in _list(answer["rules"])]
    for stage in map(_object, _list(answer["stages"])):
        due = f", due {_time(stage['due_at'])}" if stage["due_at"] is not None else ""
        lines.append(f"  stage {stage['id']}: {stage['state']}{due}")
        lines += [_requirement(_object(each)) for each in _list(stage["requirements"])]
    return lines


def _requirement(found: Json) -> str:
    said = [f"{found['id']}: {found['result']}, {found['got']:g} of {found['needed']:g}"]
    for what in ("approved_by", "rejected_by", "abstained_by", "may_decide"):
        people = _list(found[what])
        if people:
            said.append(f"{what.replace('_', ' ')} {', '.join(map(str, people))}")
    return "    " + "; ".join(said)


def _show_differences(answer: Json) -> list[str]:
    differences = [_object(each) for each in _list(answer["differences"])]
    lines = [f"{each['artifact']}: {each['now']} -> {each['then']} {_list(each['stages'])}" for each in differences]
    return [*lines, f"{len(lines)} of {answer['asked']} open requests would be treated otherwise"]


def _rows(found: object, columns: tuple[str, ...]) -> list[str]:
    """Return a table as lines, its columns aligned."""
    rows = [[_cell(each, column) for column in columns] for each in map(_object, _list(found))]
    if not rows:
        return []
    rows.insert(0, [column.removesuffix("_at") for column in columns])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cell(row: Json, column: str) -> str:
    value = row.get(column)
    if column in {"at", "due_at"}:
        return "" if value is None else _time(value)
    text = str(value or "")
    return "".join(each if each.isprintable() else " " for each in text)


def _time(at: object) -> str:
    return datetime.fromtimestamp(float(cast("float", at)), UTC).isoformat(timespec="minutes")


def _object(value: object) -> Json:
    return cast("Json", value)


def _list(value: object) -> list[object]:
    return list(cast("Iterable[object]", value))
