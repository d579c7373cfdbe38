"""`quorate approvals ...` as typed, against a real server, and what its audit log proves without it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pycrdt import Doc, Map, Text

from quorate_plugins.approval.command_line import parse_time
from quorate_server.cli import quorate
from quorate_server.hooks import Conflict
from tests.system.servers import ServerProcess, token_for

PEOPLE = [
    {"id": "rita"},
    {"id": "sam", "roles": ["steward"]},
    {"id": "sue", "roles": ["steward"]},
    {"id": "sec", "roles": ["security"]},
]
NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    running = ServerProcess(tmp_path_factory.mktemp("approvals"), options=("--engines", "approvals")).start_now()
    assert "4 people" in said(running, "root", "people", "-", stdin=json.dumps(PEOPLE))
    yield running
    running.kill_now()


def run(server: ServerProcess, who: str, *arguments: str, stdin: str = "") -> Result:
    token = token_for(who, role="owner" if who == "root" else "editor")
    environment = {"QUORATE_URL": server.url, "QUORATE_TOKEN": token}
    return CliRunner(env=environment).invoke(quorate, ["approvals", *arguments], input=stdin)


def said(server: ServerProcess, who: str, *arguments: str, stdin: str = "") -> str:
    """What a command prints that works."""
    result = run(server, who, *arguments, stdin=stdin)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


async def write(server: ServerProcess, name: str, **fields: object) -> None:
    doc: Doc[Any] = Doc()
    request = doc.get("request", type=Map)
    with doc.transaction():
        request.update({"type": "schema_change", "title": "A column", "subject": "text/handbook"})
        request["justification"] = Text("needed")
        doc.get("fields", type=Map).update({"change": "ALTER TABLE", "is_breaking": False} | fields)
    async with server.http(token_for("rita")) as http:
        assert (await http.post("/api/documents", json={"name": name})).status_code == 201
        assert (await http.post(f"/api/updates/{name}", content=doc.get_update())).status_code < 300


def test_a_request_from_its_submission_to_the_proof_of_its_decision(server: ServerProcess, tmp_path: Path) -> None:
    asyncio.run(write(server, "approval/one"))
    assert "approval/one: pending" in said(server, "rita", "submit", "approval/one")

    inbox = said(server, "sam", "inbox")
    assert inbox.splitlines()[0].split() == [
        "due",
        "risk",
        "priority",
        "artifact",
        "stage",
        "requester",
        "on_behalf_of",
    ]
    assert "approval/one" in inbox
    assert said(server, "rita", "inbox") == "Nothing waits for you.\n"
    assert "decision_wanted" in said(server, "sam", "notices")

    shown = said(server, "sam", "show", "approval/one")
    assert "may decide sam, sue" in shown
    seen = json.loads(said(server, "sam", "show", "approval/one", "--json"))["request"]["content_hash"]
    assert f"hash {seen}" in shown

    stale = run(server, "sam", "decide", "approval/one", "approve", "--hash", "0" * 64)
    assert stale.exit_code != 0
    assert "not what you saw" in str(stale.exception)
    said(server, "sam", "decide", "approval/one", "approve", "--hash", seen, "--reason", "fine")

    log = export(server, tmp_path)
    assert "0 differences" in replayed(log).output
    told = CliRunner().invoke(quorate, ["approvals", "replay", "--log", str(log), "--request", "approval/one"]).output
    assert "approval.decided by sam" in told
    assert "role_security: unsatisfied, 0 of 1" in told


def export(server: ServerProcess, folder: Path) -> Path:
    log = folder / "export.jsonl"
    done = CliRunner().invoke(quorate, ["audit", "export", "--data", str(server.data), "--out", str(log)])
    assert done.exit_code == 0, done.output
    return log


def replayed(log: Path) -> Result:
    return CliRunner().invoke(quorate, ["approvals", "replay", "--log", str(log)])


def test_verification_decides_again(server: ServerProcess, tmp_path: Path) -> None:
    """Whoever writes another outcome than the rules give is found, even where the chain is made anew."""
    asyncio.run(write(server, "approval/verified", change="other"))
    said(server, "rita", "submit", "approval/verified")
    log = export(server, tmp_path)
    lines = log.read_text("utf-8").splitlines()
    place = next(n for n, line in enumerate(lines) if "approval.evaluated" in line and "approval/verified" in line)
    lines[place] = lines[place].replace(r"\"after\":\"pending\"", r"\"after\":\"approved\"")
    forged = tmp_path / "forged.jsonl"
    forged.write_text("".join(f"{line}\n" for line in lines), "utf-8")

    found = replayed(forged)
    assert found.exit_code == 1
    assert "says after 'approved', and is 'pending'" in found.output
    assert replayed(log).exit_code == 0
    assert replayed(tmp_path / "none.jsonl").exit_code != 0


def test_the_verification_of_the_log_replays_the_decisions(server: ServerProcess, tmp_path: Path) -> None:
    asyncio.run(seal(server))
    key = (server.data / "audit.key.pub").read_text("utf-8").strip()
    log = export(server, tmp_path)
    done = CliRunner().invoke(quorate, ["audit", "verify", "--log", str(log), "--key", key])
    assert done.exit_code == 0, done.output


async def seal(server: ServerProcess) -> None:
    async with server.http(token_for("root", role="owner")) as http:
        assert (await http.get("/api/audit/checkpoint")).status_code == 200


def test_a_report_is_the_same_from_the_server_and_from_an_export(server: ServerProcess, tmp_path: Path) -> None:
    asyncio.run(write(server, "approval/reported", change="yet another"))
    said(server, "rita", "submit", "approval/reported")
    online = tmp_path / "population.csv"
    said(server, "root", "report", "population", "--format", "csv", "--out", str(online))
    seal = json.loads((tmp_path / "population.csv.seal").read_text("utf-8"))
    assert seal["row_count"] >= 1
    offline = said(server, "root", "report", "population", "--format", "csv", "--log", str(export(server, tmp_path)))

    def rows(text: str) -> list[str]:
        return [line for line in text.splitlines() if '"approval/' in line]

    assert rows(online.read_text("utf-8")) == rows(offline) != []
    page = said(server, "root", "report", "separation_of_duties", "--format", "html", "--since", "30d")
    assert page.lstrip().startswith("<!doctype html>")
    refused = run(server, "rita", "report", "population")
    assert "403" in str(refused.exception)


def test_the_lineage_of_a_request_names_its_approval(server: ServerProcess) -> None:
    asyncio.run(write(server, "approval/traced", change="traced"))
    asked = json.loads(said(server, "rita", "submit", "approval/traced", "--json"))
    assert run(server, "rita", "lineage", "approval/traced").exit_code != 0  # nobody approved it yet
    for who in ("sam", "sec"):
        said(server, who, "decide", "approval/traced", "approve", "--hash", asked["content_hash"])
    facet = json.loads(said(server, "rita", "lineage", "approval/traced"))
    assert asked["content_hash"] in json.dumps(facet)


def test_standing_in_and_what_a_policy_would_change(server: ServerProcess) -> None:
    given = said(server, "sam", "delegate", "sec", "--until", "14d", "--type", "schema_change")
    assert "until" in given
    assert "ended" in said(server, "sam", "end-delegation", given.partition(":")[0])
    asyncio.run(draft(server))
    assert "open requests would be treated otherwise" in said(server, "root", "what-if", "configuration/draft")


async def draft(server: ServerProcess) -> None:
    doc: Doc[Any] = Doc()
    doc.get("settings", type=Map)["rules"] = {"none": {"effect": "forbid", "when": "request.risk == 'critical'"}}
    async with server.http(token_for("root", role="owner")) as http:
        await http.post("/api/documents", json={"name": "configuration/draft"})
        await http.post("/api/updates/configuration/draft", content=doc.get_update())


@pytest.mark.parametrize(
    ("text", "seconds"), [("8h", NOW + 28800), ("2w", NOW + 1209600), ("2027-01-15T09:00+01:00", 1800000000.0)]
)
def test_a_time_is_a_moment_or_so_long_from_now(text: str, seconds: float) -> None:
    assert parse_time(text, NOW) == seconds


def test_a_span_can_lie_in_the_past_and_a_moment_stays_where_it_is() -> None:
    assert parse_time("8h", NOW, way=-1) == NOW - 28800
    assert parse_time("20270115T090000+0100", NOW, way=-1) == NOW


@pytest.mark.parametrize("text", ["", "soon", "2027-01-15", "8x", "-3d"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Conflict, match="expected a time"):
        parse_time(text, NOW)


def test_a_mistake_is_one_clear_error(server: ServerProcess) -> None:
    assert "expected a JSON list" in str(run(server, "root", "people", "-", stdin="[").exception)
    assert run(server, "rita", "submit", "approval/none").exit_code != 0
