"""The HTTP interface as a script uses it, against a real server."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from pycrdt import Doc, Text

from quorate_server.seeding import text_seed
from tests.system.peers import YWebSocketPeer, until
from tests.system.servers import ServerProcess, token_for


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    running = ServerProcess(tmp_path_factory.mktemp("http")).start_now()
    yield running
    running.kill_now()


@pytest.fixture
async def http(server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with server.http(token_for("owner", role="owner")) as client:
        yield client


def problem_of(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["title"]
    assert body["detail"]
    return str(body["type"]).removeprefix("urn:quorate:problem:")


async def create(http: httpx.AsyncClient, name: str, text: str = "hello") -> None:
    update = base64.b64encode(text_seed(text)).decode()
    answer = await http.post("/api/documents", json={"name": name, "update": update})
    assert answer.status_code == 201, answer.text


async def test_a_document_is_created_read_updated_deleted_and_restored(http: httpx.AsyncClient) -> None:
    await create(http, "text/life")
    view = (await http.get("/api/documents/text/life")).json()
    assert view["content"] == {"text": "hello"}
    assert (view["kind"], view["created_by"], view["last_sequence"], view["people"]) == ("text", "owner", 1, 0)

    state = (await http.get("/api/states/text/life")).content
    doc: Doc[Text] = Doc()
    doc.apply_update(state)
    body = doc.get("text", type=Text)
    since = doc.get_state()
    assert (await http.get("/api/state-vectors/text/life")).content == since
    body += " world"
    written = await http.post("/api/updates/text/life", content=doc.get_update(since))
    assert written.json() == {"name": "text/life", "sequence": 2}

    encoded = base64.urlsafe_b64encode(since).decode().rstrip("=")
    news = (await http.get("/api/states/text/life", params={"since": encoded})).content
    assert len(news) < len((await http.get("/api/states/text/life")).content)

    assert (await http.delete("/api/documents/text/life")).json()["epoch"] == 2
    assert problem_of(await http.get("/api/documents/text/life")) == "deleted"
    assert problem_of(await http.post("/api/documents", json={"name": "text/life"})) == "conflict"
    assert (await http.post("/api/restorations/text/life")).json()["epoch"] == 3
    assert (await http.get("/api/documents/text/life")).json()["content"] == {"text": "hello world"}


async def test_an_update_over_http_reaches_the_people_in_the_document(
    server: ServerProcess, http: httpx.AsyncClient
) -> None:
    await create(http, "text/live")
    anna = await YWebSocketPeer(server.websocket_url, "text/live", token_for("anna")).synced()
    doc: Doc[Text] = Doc()
    doc.apply_update((await http.get("/api/states/text/live")).content)
    body = doc.get("text", type=Text)
    before = doc.get_state()
    body += "!"
    await http.post("/api/updates/text/live", content=doc.get_update(before))
    await until(lambda: str(anna.text) == "hello!", "Anna sees it")
    assert (await http.get("/api/documents/text/live")).json()["people"] == 1
    await anna.close()


async def test_documents_are_listed_by_name_in_pages(http: httpx.AsyncClient) -> None:
    for name in ("list/b", "list/a", "list/c"):
        await create(http, name)
    first = (await http.get("/api/documents", params={"prefix": "list/", "limit": "2"})).json()
    assert [d["name"] for d in first["documents"]] == ["list/a", "list/b"]
    second = (await http.get("/api/documents", params={"prefix": "list/", "after": first["next"]})).json()
    assert [d["name"] for d in second["documents"]] == ["list/c"]
    assert second["next"] is None
    await http.delete("/api/documents/list/a")
    living = (await http.get("/api/documents", params={"prefix": "list/"})).json()
    assert [d["name"] for d in living["documents"]] == ["list/b", "list/c"]
    everything = (await http.get("/api/documents", params={"prefix": "list/", "deleted": "true"})).json()
    assert len(everything["documents"]) == 3


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "problem"),
    [
        ("GET", "/api/documents/text/nowhere", None, 404, "not-found"),
        ("DELETE", "/api/documents/text/nowhere", None, 404, "not-found"),
        ("POST", "/api/restorations/text/nowhere", None, 404, "not-found"),
        ("GET", "/api/documents?limit=0", None, 400, "malformed"),
        ("GET", "/api/documents?limit=many", None, 400, "malformed"),
        ("GET", "/api/documents?limit=%C2%B2", None, 400, "malformed"),
        ("GET", "/api/documents?limit=99999999", None, 400, "malformed"),
        ("POST", "/api/documents", b"{}", 422, "invalid"),
        ("POST", "/api/documents", b"not json", 422, "invalid"),
        ("POST", "/api/documents", b'{"name":"a","surprise":1}', 422, "invalid"),
        ("POST", "/api/documents", b'{"name":"a\\u0000b"}', 400, "malformed"),
        ("POST", "/api/documents", b'{"name":"\\ud800"}', 422, "invalid"),
        ("POST", "/api/updates/text/bad", b"\xff\xff", 400, "malformed"),
        ("POST", "/api/updates/text/bad", b"", 400, "malformed"),
        ("GET", "/api/states/text/bad?since=!!!", None, 400, "malformed"),
        ("GET", "/api/states/text/bad?since=_____w", None, 400, "malformed"),
        ("POST", "/api/revocations", b"{}", 409, "conflict"),
    ],
)
async def test_a_mistake_is_answered_with_its_problem(
    http: httpx.AsyncClient, method: str, path: str, body: bytes | None, status: int, problem: str
) -> None:
    if "text/bad" in path:
        await http.post("/api/documents", json={"name": "text/bad"})
    answer = await http.request(method, path, content=body)
    assert answer.status_code == status, answer.text
    assert problem_of(answer) == problem


async def test_rights_hold_over_http(server: ServerProcess, http: httpx.AsyncClient) -> None:
    await create(http, "text/rights")
    async with server.http(token_for("victor", role="viewer")) as viewer:
        assert (await viewer.get("/api/documents/text/rights")).status_code == 200
        for method, path in (
            ("POST", "/api/updates/text/rights"),
            ("DELETE", "/api/documents/text/rights"),
            ("POST", "/api/restorations/text/rights"),
        ):
            answer = await viewer.request(method, path, content=text_seed("no"))
            assert problem_of(answer) == "permission-denied"
        assert problem_of(await viewer.post("/api/documents", json={"name": "text/v"})) == "permission-denied"
        assert problem_of(await viewer.post("/api/revocations", json={"subject": "owner"})) == "permission-denied"
    async with server.http(token_for("gast", role="guest")) as guest:
        assert problem_of(await guest.get("/api/documents/text/rights")) == "permission-denied"
        assert (await guest.get("/api/documents")).json()["documents"] == []


async def test_a_body_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path, environment={"QUORATE_FRAME_BYTES": "1000"}) as server:
        async with server.http(token_for("anna")) as http:
            await http.post("/api/documents", json={"name": "a"})
            assert problem_of(await http.post("/api/updates/a", content=bytes(2000))) == "too-large"


async def test_a_revocation_survives_a_restart(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server:
        async with server.http(token_for("root", role="owner")) as http:
            await http.post("/api/revocations", json={"subject": "mallory"})
        mallory = token_for("mallory")
        await server.kill()
        await server.start()
        async with server.http(mallory) as http:
            assert (await http.get("/api/documents")).status_code == 401


async def test_the_description_names_every_endpoint_and_its_shapes(http: httpx.AsyncClient) -> None:
    described = (await http.get("/api/openapi.json")).json()
    assert described["openapi"].startswith("3.1")
    assert set(described["paths"]) >= {
        "/api/documents",
        "/api/documents/{name}",
        "/api/restorations/{name}",
        "/api/states/{name}",
        "/api/state-vectors/{name}",
        "/api/updates/{name}",
        "/api/revocations",
        "/api/kinds",
        "/api/engines",
        "/api/changes",
        "/api/access/{name}",
        "/api/grants/{name}",
        "/api/attributions/{name}",
        "/api/proposals/{name}",
        "/api/audit",
        "/api/audit/checkpoint",
        "/api/commands/access.share",
    }
    for operations in described["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            assert "default" in operation["responses"]


async def test_operators_can_watch(http: httpx.AsyncClient) -> None:
    await create(http, "text/watched")
    text = (await http.get("/metrics")).text
    for metric in (
        "quorate_connections", "quorate_rooms", "quorate_updates_total", "quorate_commit_seconds_bucket",
        "quorate_commit_entries_bucket", "quorate_journal_entries", "quorate_send_buffer_bytes",
        "quorate_event_loop_lag_seconds_bucket",
    ):  # fmt: skip
        assert f"\n{metric}" in text, metric
    assert (await http.get("/healthz")).text == "ok\n"
    assert (await http.get("/readyz")).text == "ready\n"


async def test_a_page_of_another_site_cannot_open_a_socket_of_an_open_server(tmp_path: Path) -> None:
    from websockets.asyncio.client import connect  # noqa: PLC0415
    from websockets.exceptions import InvalidStatus  # noqa: PLC0415
    from websockets.typing import Origin  # noqa: PLC0415

    async with ServerProcess(tmp_path, options=("--open",)) as server:
        url = f"{server.websocket_url}/sync/a"
        async with connect(url, origin=Origin("http://localhost:9000")) as socket:
            assert await socket.recv()
        with pytest.raises(InvalidStatus):
            await connect(url, origin=Origin("https://evil.example"))


async def test_one_name_is_created_once(http: httpx.AsyncClient) -> None:
    posts = [http.post("/api/documents", json={"name": "text/once"}) for _ in range(4)]
    answers = await asyncio.gather(*posts)
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
