"""Two people, both dialects, real sockets: the first things anybody would try."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.system.peers import DIALECTS, Peer, until
from tests.system.servers import ServerProcess, token_for


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    async with ServerProcess(tmp_path) as running:
        yield running


@pytest.fixture(params=list(DIALECTS))
def dialect(request: pytest.FixtureRequest) -> type[Peer]:
    kind: type[Peer] = DIALECTS[request.param]
    return kind


async def test_two_people_write_together(server: ServerProcess, dialect: type[Peer]) -> None:
    anna = await dialect(server.websocket_url, "text/a", token_for("anna")).synced()
    ben = await dialect(server.websocket_url, "text/a", token_for("ben")).synced()

    anna.text += "hello "
    await until(lambda: str(ben.text) == "hello ", "Ben sees Anna's text")
    ben.text += "world"
    await until(lambda: str(anna.text) == "hello world", "Anna sees Ben's text")

    await anna.close()
    await ben.close()


async def test_the_dialects_share_a_document(server: ServerProcess) -> None:
    anna = await DIALECTS["y-websocket"](server.websocket_url, "text/a", token_for("a")).synced()
    ben = await DIALECTS["hocuspocus"](server.websocket_url, "text/a", token_for("b")).synced()

    anna.text += "é€😀"
    await until(lambda: str(ben.text) == "é€😀", "Ben sees Anna's text")
    ben.text += "!"
    await until(lambda: str(anna.text) == "é€😀!", "Anna sees Ben's text")
    await until(lambda: ben.acknowledged == 1, "Ben's edit is acknowledged")

    await anna.close()
    await ben.close()


async def test_a_killed_server_has_everything_after_restart(server: ServerProcess, dialect: type[Peer]) -> None:
    anna = await dialect(server.websocket_url, "text/a", token_for("anna")).synced()
    for letter in "durable":
        anna.text += letter
    await until(lambda: len(anna.received) > 1, "the echo")
    ben = await dialect(server.websocket_url, "text/a", token_for("ben")).synced()
    seen = str(ben.text)

    await server.kill()
    await server.start()

    carol = await dialect(server.websocket_url, "text/a", token_for("carol")).synced()
    assert str(carol.text).startswith(seen)
    await anna.connect()
    await until(lambda: str(carol.text) == "durable", "Carol sees all of Anna's text")
    for peer in (anna, ben, carol):
        await peer.close()


async def test_viewers_read_and_cannot_write(server: ServerProcess, dialect: type[Peer]) -> None:
    anna = await dialect(server.websocket_url, "text/a", token_for("anna")).synced()
    viewer = await dialect(server.websocket_url, "text/a", token_for("victor", role="viewer")).synced()

    viewer.text += "graffiti"
    anna.text += "text"
    await until(lambda: "text" in str(viewer.text), "the viewer sees the text")

    if viewer.scope is not None:
        assert viewer.scope == "readonly"
        await until(lambda: viewer.refused == 1, "SyncStatus 0")
    else:
        await until(lambda: viewer.denied, "a word about being read-only")
    assert str(anna.text) == "text"
    for peer in (anna, viewer):
        await peer.close()


async def test_guests_are_denied(server: ServerProcess, dialect: type[Peer]) -> None:
    guest = await dialect(server.websocket_url, "text/a", token_for("g", role="guest")).connect()
    await until(lambda: guest.denied, "denied")
    assert guest.denied is not None
    assert "permission-denied" in guest.denied or "may not read" in guest.denied
    await guest.close()


async def test_presence_reaches_everybody_and_ends_with_its_connection(
    server: ServerProcess, dialect: type[Peer]
) -> None:
    anna = await dialect(server.websocket_url, "text/a", token_for("anna")).synced()
    ben = await dialect(server.websocket_url, "text/a", token_for("ben")).synced()

    anna.set_presence(1, '{"user":{"name":"The Boss","color":"#f00"}}')
    await until(lambda: anna.doc.client_id in ben.present(), "Ben sees Anna")
    assert '"name":"anna"' in ben.present()[anna.doc.client_id].replace(" ", "")
    await until(lambda: anna.doc.client_id in anna.presence, "the echo that keeps Anna alive")
    await anna.close()
    await until(lambda: anna.doc.client_id not in ben.present(), "Ben sees Anna leave")
    await ben.close()
