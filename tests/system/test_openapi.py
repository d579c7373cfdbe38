"""The description of the HTTP interface is true: what fits it is answered as it says, and nothing breaks the server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.system.servers import ServerProcess, token_for

EXAMPLES = int(os.environ.get("QUORATE_FUZZ_CASES", "0")) or 15

UNDECIDABLE: list[Any] = [positive_data_acceptance]
"""No JSON Schema says what a Yjs update is, or which names are taken: what fits the schema may still be refused."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    running = ServerProcess(tmp_path_factory.mktemp("openapi"), environment={"QUORATE_LOG_LEVEL": "error"}).start_now()
    yield running
    running.kill_now()


def headers(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_for('schemathesis', role=role)}"}


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("role", ["owner", "guest"])
def test_every_operation_is_as_described(server: ServerProcess, role: str) -> None:
    """Each operation gets requests made from its description, and random ones: no 5xx, answers fit their schemas."""
    schema = schemathesis.openapi.from_url(f"{server.url}/api/openapi.json")
    schema.config.update(base_url=server.url)
    tried = 0
    for result in schema.get_all_operations():
        operation = result.ok()  # type: ignore[union-attr]  # an error fails the test

        @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def try_it(case: schemathesis.Case[Any]) -> None:
            nonlocal tried
            tried += 1
            response = case.call(headers=headers(role), timeout=10)
            assert response.status_code < 500, (case.as_curl_command(), response.text)
            case.validate_response(response, excluded_checks=UNDECIDABLE)

        try_it()
    assert tried >= 20 * EXAMPLES / 2, "the interface was described"


def test_commands_are_described_with_their_engines(server: ServerProcess) -> None:
    described = httpx.get(f"{server.url}/api/openapi.json").json()["paths"]
    assert {"/api/commands/access.share", "/api/commands/webhooks.create", "/api/commands/reminders.snooze"} <= set(
        described
    )
    share = described["/api/commands/access.share"]["post"]
    assert share["parameters"][0]["name"] == "Idempotency-Key"
    assert share["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Share"}


@given(st.binary(max_size=200))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_command_of_any_bytes_is_a_problem_and_no_more(server: ServerProcess, body: bytes) -> None:
    answer = httpx.post(f"{server.url}/api/commands/access.share", content=body, headers=headers("owner"))
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_data_folder_holds_the_key_that_signs(server: ServerProcess) -> None:
    key = Path(server.data) / "audit.key"
    assert key.stat().st_mode & 0o777 == 0o600
    note = httpx.get(f"{server.url}/api/audit/checkpoint", headers=headers("owner")).text
    assert note.startswith("quorate\n")
