"""Wrong tokens, wrong names, too much, too early: each refused as documented, and nobody else notices."""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from quorate_server.tokens import sign_token
from tests.system.peers import DIALECTS, HocuspocusPeer, Peer, YWebSocketPeer, until
from tests.system.servers import SECRET, ServerProcess, token_for


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    async with ServerProcess(tmp_path, options=OPTIONS) as running:
        yield running


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that leave it as it was."""
    running = ServerProcess(tmp_path_factory.mktemp("shared"), options=OPTIONS).start_now()
    yield running
    running.kill_now()


OPTIONS = ("--issuer", "https://id.example", "--audience", "quorate")


def token(**changes: object) -> str:
    facts: dict[str, object] = {
        "secret": SECRET, "subject": "anna", "expires_seconds": 3600, "now": time.time(),
        "issuer": "https://id.example", "audience": "quorate",
    }  # fmt: skip
    return sign_token(**(facts | changes))  # type: ignore[arg-type]


def unsigned() -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = {"sub": "anna", "exp": time.time() + 99, "iss": "https://id.example", "aud": "quorate"}
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


BAD_TOKENS: dict[str, Callable[[], str]] = {
    "none": lambda: "",
    "garbage": lambda: "not-a-token",
    "wrong-secret": lambda: token(secret="x" * 40),
    "expired": lambda: token(now=time.time() - 7200),
    "foreign-issuer": lambda: token(issuer="https://evil.example"),
    "foreign-audience": lambda: token(audience="payroll"),
    "alg-none": unsigned,
    "huge": lambda: "a" * 8_000,
    "unknown-role": lambda: token(role="emperor"),
}


@pytest.mark.parametrize("dialect", list(DIALECTS))
@pytest.mark.parametrize("bad", list(BAD_TOKENS))
async def test_a_token_that_proves_nothing_opens_nothing(shared_server: ServerProcess, dialect: str, bad: str) -> None:
    peer = DIALECTS[dialect](shared_server.websocket_url, "text/a", BAD_TOKENS[bad]())
    await peer.connect()
    await until(lambda: peer.denied, "denied")
    if dialect == "y-websocket":
        await until(lambda: peer.close_code, "closed")
        assert peer.close_code == 4401
    else:
        assert peer.denied == "not-authenticated"
    assert not peer.is_synced
    await peer.close()


@pytest.mark.parametrize("bad", list(BAD_TOKENS))
async def test_http_answers_401_with_a_problem(shared_server: ServerProcess, bad: str) -> None:
    async with shared_server.http(BAD_TOKENS[bad]()) as http:
        answer = await http.get("/api/documents")
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["type"] == "urn:quorate:problem:not-authenticated"


@pytest.mark.parametrize("name", ["x" * 257, "a%00b", ""])
async def test_names_that_cannot_be_are_refused(shared_server: ServerProcess, name: str) -> None:
    peer = await YWebSocketPeer(shared_server.websocket_url, name, token()).connect()
    await until(lambda: peer.close_code, "closed")
    assert peer.close_code == 4400
    await peer.close()


async def closed_with(socket: ClientConnection) -> int:
    try:
        while True:
            await socket.recv()
    except websockets.ConnectionClosed:
        return socket.close_code or 1006


async def test_a_handshake_that_never_ends_is_answered(shared_server: ServerProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", shared_server.port)
    upgrade = b"Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    writer.write(b"GET /sync/a?token=" + b"a" * 20_000 + b" HTTP/1.1\r\n" + upgrade + b"\r\n")
    async with asyncio.timeout(10):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    writer.close()


async def test_a_socket_without_a_request_is_closed(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path, environment={"QUORATE_HANDSHAKE_SECONDS": "0.3"}) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /sync/a HTTP/1.1\r\nHost: a\r\nX-Slow:")
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()


async def test_a_socket_that_never_authenticates_is_closed(tmp_path: Path) -> None:
    environment = {"QUORATE_HANDSHAKE_SECONDS": "0.5"}
    async with ServerProcess(tmp_path, environment=environment) as server:
        async with connect(f"{server.websocket_url}/hocuspocus") as socket:
            assert await closed_with(socket) == 4408


async def test_the_deadline_of_the_handshake_does_not_count_the_time_of_the_server(tmp_path: Path) -> None:
    """Whoever is waiting for a document to be created has said all there is to say."""
    environment = {"QUORATE_HANDSHAKE_SECONDS": "0.3"}
    async with ServerProcess(tmp_path, environment=environment) as server:
        with closing(sqlite3.connect(tmp_path / "quorate.db", isolation_level=None, timeout=10)) as other:
            other.execute("BEGIN IMMEDIATE")
            peer = await HocuspocusPeer(server.websocket_url, "text/new", token_for("anna")).connect()
            await asyncio.sleep(1.2)
            assert (peer.close_code, peer.is_synced) == (None, False)
            other.execute("ROLLBACK")
        await until(lambda: peer.is_synced, "opened at last")
        await peer.close()


async def test_a_flood_before_authentication_is_closed(shared_server: ServerProcess) -> None:
    async with connect(f"{shared_server.websocket_url}/hocuspocus") as socket:
        for number in range(40):
            name = f"d{number:02}".encode()
            await socket.send(b"\x03" + name + b"\x00\x00\x01\x00")
        assert await closed_with(socket) == 4205


async def test_much_data_before_authentication_is_closed(shared_server: ServerProcess) -> None:
    async with connect(f"{shared_server.websocket_url}/hocuspocus") as socket:
        big = bytes(100_000)
        await socket.send(b"\x01d\x00\x02" + b"\xa0\x8d\x06" + big)
        assert await closed_with(socket) == 4205


async def test_a_frame_beyond_the_limit_closes_its_own_socket_only(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path, environment={"QUORATE_FRAME_BYTES": "100000"}) as server:
        good = await YWebSocketPeer(server.websocket_url, "a", token_for("good")).synced()
        bad = await YWebSocketPeer(server.websocket_url, "a", token_for("bad")).synced()
        bad.send(bytes(200_000))
        await until(lambda: bad.close_code, "closed")
        assert bad.close_code == 1009
        good.text += "still here"
        await until(lambda: len(good.received) > 1, "the echo")
        for peer in (good, bad):
            await peer.close()


@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_an_undecodable_update_ends_its_author_only(shared_server: ServerProcess, dialect: str) -> None:
    kind: type[Peer] = DIALECTS[dialect]
    good = await kind(shared_server.websocket_url, "a", token(subject="good")).synced()
    bad = await kind(shared_server.websocket_url, "a", token(subject="bad")).synced()
    bad.send(bad.encode_update(b"\xff\xff\xff\xff"))
    await until(lambda: bad.close_code, "closed")
    assert bad.close_code == (1007 if dialect == "y-websocket" else 4401)
    good.text += "still here"
    await until(lambda: len(good.received) > 1, "the echo")
    for peer in (good, bad):
        await peer.close()


@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_a_token_that_expires_ends_its_session(server: ServerProcess, dialect: str) -> None:
    short = token(expires_seconds=1, now=time.time() - 4)  # within the forgiven clock difference
    peer = await DIALECTS[dialect](server.websocket_url, "a", short).connect()
    await until(lambda: peer.denied, "denied")
    assert "expired" in peer.denied or peer.denied == "not-authenticated"  # type: ignore[operator]
    await peer.close()


@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_deleted_stays_deleted(server: ServerProcess, dialect: str) -> None:
    kind: type[Peer] = DIALECTS[dialect]
    offline = await kind(server.websocket_url, "text/a", token()).synced()
    offline.text += "old content"
    await until(lambda: len(offline.received) > 1, "the echo")
    async with server.http(token(role="owner")) as http:
        deleted = await http.delete("/api/documents/text/a")
        assert deleted.status_code == 200
        await until(lambda: offline.denied, "told that it is deleted")
        assert "deleted" in str(offline.denied)
        await offline.close()

        await offline.connect()
        await until(lambda: offline.denied, "still deleted")
        assert "deleted" in str(offline.denied)
        assert (await http.get("/api/documents/text/a")).status_code == 410
        assert (await http.get("/api/documents")).json()["documents"] == []

        await offline.close()
        restored = await http.post("/api/restorations/text/a")
        assert restored.status_code == 200
        assert restored.json()["epoch"] == 3
        view = (await http.get("/api/documents/text/a")).json()
        assert view["content"] == {"text": "old content"}


@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_a_revoked_user_is_out_within_seconds(server: ServerProcess, dialect: str) -> None:
    peer = await DIALECTS[dialect](server.websocket_url, "a", token(subject="mallory")).synced()
    async with server.http(token(subject="root", role="owner")) as http:
        answer = await http.post("/api/revocations", json={"subject": "mallory"})
        assert answer.status_code == 204
    await until(lambda: peer.denied, "denied", seconds=5)
    await peer.close()
    await peer.connect()
    await until(lambda: peer.denied, "denied again")
    await peer.close()


async def test_a_changed_policy_reaches_open_connections(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    options = ("--policies", str(policies))
    async with ServerProcess(tmp_path / "data", options=options) as server:
        peer = await DIALECTS["hocuspocus"](server.websocket_url, "text/a", token_for("anna")).synced()
        assert peer.scope == "read-write"
        rule = 'forbid (principal, action == Action::"write", resource == Document::"text/a");'
        (policies / "freeze.cedar").write_text(rule)
        await until(lambda: peer.scope == "readonly", "told to be read-only", seconds=8)
        peer.text += "too late"
        await until(lambda: peer.refused == 1, "SyncStatus 0")
        (policies / "ban.cedar").write_text('forbid (principal == User::"anna", action, resource);')
        await until(lambda: peer.denied, "denied", seconds=8)
        await peer.close()


async def test_draining_commits_and_sends_everybody_away(server: ServerProcess) -> None:
    peers = [
        await DIALECTS[dialect](server.websocket_url, "text/a", token(subject=dialect)).synced() for dialect in DIALECTS
    ]
    for peer in peers:
        peer.text += peer.name
    assert await server.stop() == 0
    await until(lambda: all(peer.close_code for peer in peers), "closed")
    assert {peer.close_code for peer in peers} == {1012}
    await server.start()
    for peer in peers:
        await peer.synced()
    await until(lambda: str(peers[0].text) == str(peers[1].text) == "text/atext/a", "all there")
    for peer in peers:
        await peer.close()


async def test_a_frame_of_too_many_messages_is_refused(shared_server: ServerProcess) -> None:
    peer = await YWebSocketPeer(shared_server.websocket_url, "queries", token()).synced()
    peer.send(b"\x03" * 100_000)
    await until(lambda: peer.close_code, "closed")
    assert peer.close_code == 1009
    await peer.close()


async def test_a_document_larger_than_the_send_buffer_can_be_opened(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path, environment={"QUORATE_SEND_BUFFER_BYTES": "100000"}) as server:
        anna = await YWebSocketPeer(server.websocket_url, "a", token_for("anna")).synced()
        anna.text += "x" * 3_000_000
        await until(lambda: len(anna.received) > 1, "the echo")
        ben = await YWebSocketPeer(server.websocket_url, "a", token_for("ben")).synced()
        ben.text += "!"
        await until(lambda: str(anna.text).endswith("!"), "Ben is connected")
        for peer in (anna, ben):
            await peer.close()
