"""The three situations of the sample workspace, as somebody who tries the demo lives them."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

SCHEMA, ACCESS, EMERGENCY = "approval/loyalty-tier", "approval/read-retention-policy", "approval/restore-customer-feed"


class Demo:
    """`quorate demo`, and its people, signed in."""

    def __init__(self, data: Path) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "quorate_server", "demo", "--port", "0", "--data", str(data)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.child.stdout is not None
        found = re.search(r"ready on (http://\S+)", self.child.stdout.readline())
        assert found is not None, "the demo did not start"
        self.url = found[1]
        people = httpx.get(f"{self.url}/demo/people").json()["people"]
        self.tokens = {person["id"]: person["token"] for person in people}
        self.keys = iter(range(10**6))

    def give(self, who: str, command: str, **values: object) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.tokens[who]}", "Idempotency-Key": f"try-{next(self.keys)}"}
        answer = httpx.post(f"{self.url}/api/commands/approvals.{command}", json=values, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def stop(self) -> None:
        self.child.terminate()
        self.child.wait(timeout=30)
        if self.child.stdout is not None:
            self.child.stdout.close()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    data = tmp_path_factory.mktemp("demo")
    Demo(data).stop()  # what was set up before stays set up
    running = Demo(data)
    yield running
    running.stop()


def test_a_schema_change_takes_a_steward_and_then_security(demo: Demo) -> None:
    asked = demo.give("jonas", "submit", artifact=SCHEMA)
    assert asked["state"] == "pending"
    seen = asked["content_hash"]
    assert SCHEMA not in {item["artifact"] for item in demo.give("mei", "inbox")["items"]}
    stage = demo.give("amara", "explain", artifact=SCHEMA)["stages"][0]
    assert (stage["id"], stage["state"]) == ("steward", "active")
    first = demo.give("amara", "decide", artifact=SCHEMA, verdict="approve", content_hash=seen)
    assert first["request"]["state"] == "pending"
    last = demo.give("mei", "decide", artifact=SCHEMA, verdict="approve", content_hash=seen)
    assert last["request"]["state"] == "approved"
    told = demo.give("jonas", "notices")["notices"]
    assert [notice["event"] for notice in told if notice["request"] == SCHEMA] == ["decided"]


def test_reading_at_a_low_risk_is_given_at_once(demo: Demo) -> None:
    asked = demo.give("amara", "submit", artifact=ACCESS)
    assert asked["state"] == "fulfilled"
    assert asked["resolved_by"].startswith("policy:")
    token = demo.tokens["ravi"]
    why = httpx.get(f"{demo.url}/api/access/text/retention-policy", headers={"Authorization": f"Bearer {token}"}).json()
    assert {"scope": "text/retention-policy", "role": "viewer"}.items() <= max(
        why["roles"], key=lambda role: role.get("scope") or ""
    ).items()


def test_an_emergency_is_overridden_and_then_reviewed(demo: Demo) -> None:
    assert demo.give("jonas", "submit", artifact=EMERGENCY)["state"] == "pending"
    overridden = demo.give("amara", "override", artifact=EMERGENCY, reason="The report is due at noon.")
    assert overridden["state"] == "overridden"
    reviewed = demo.give("ravi", "review_override", artifact=EMERGENCY, reason="It was; security agrees.")
    assert reviewed["state"] == "overridden"


def test_a_workspace_that_is_there_is_left_as_people_made_it(demo: Demo, tmp_path: Path) -> None:
    """Also when the server has long forgotten which commands it was given at its first start."""
    first = Demo(tmp_path)
    first.give("amara", "put_people", people=[{"id": "mei", "name": "Mei", "roles": []}])
    first.stop()
    with closing(sqlite3.connect(tmp_path / "quorate.db")) as database, database:
        database.execute("DELETE FROM replies")
    second = Demo(tmp_path)
    asked = second.give("jonas", "submit", artifact=SCHEMA)
    assert asked["state"] == "pending"
    security = second.give("amara", "explain", artifact=SCHEMA)["stages"][1]
    assert security["state"] == "blocked"
    assert "mei" not in str(second.give("mei", "inbox"))
    second.stop()


def test_the_sample_policy_holds_and_says_what_a_draft_would_change(demo: Demo) -> None:
    answer = demo.give("amara", "what_if", artifact="configuration/approvals")
    assert answer["differences"] == []
