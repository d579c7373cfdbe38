"""Stock clients, unmodified: each one edits, sees, is refused, comes back, and rests as its users expect."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.peers.node import require_node
from tests.system.peers import until
from tests.system.servers import ServerProcess, token_for
from tests.system.stock_clients import (
    FAMILIES,
    HOCUSPOCUS,
    Y_WEBSOCKET,
    Editor,
    PycrdtEditor,
    Studio,
    until_time,
)

QUICK = {"QUORATE_RECHECK_SECONDS": "0.2", "QUORATE_HANDSHAKE_SECONDS": "2"}
each_family = pytest.mark.parametrize("family", FAMILIES)
each_hocuspocus = pytest.mark.parametrize("family", HOCUSPOCUS)


@pytest.fixture(scope="module")
def node_program() -> Iterator[Studio]:
    with Studio(require_node()) as studio:
        yield studio


@pytest.fixture
def studio(node_program: Studio) -> Iterator[Studio]:
    yield node_program
    node_program.clear()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that leave it as it was."""
    running = ServerProcess(tmp_path_factory.mktemp("stock"), environment=QUICK).start_now()
    yield running
    running.kill_now()


Open = Callable[..., Editor]


@pytest.fixture
def open_editor(studio: Studio, server: ServerProcess) -> Open:
    """Open a document of the shared server, as a person with a role."""

    def opened(family: str, document: str, subject: str, role: str = "editor", **more: object) -> Editor:
        token = token_for(subject, role=role, name=subject.title())
        return studio.open(family, server.websocket_url, document, token, **more)

    return opened


def other_than(family: str) -> str:
    """A client of the other dialect."""
    return "hocuspocus-4" if family in Y_WEBSOCKET else "y-websocket-3"


# Editing


@each_family
async def test_two_dialects_edit_one_document(open_editor: Open, family: str) -> None:
    document = f"text/Über {family} 😀"
    anna = await open_editor(family, document, "anna").synced()
    ben = await open_editor(other_than(family), document, "ben").synced()
    await anna.write("é€😀 ")
    await ben.until(lambda seen: seen.text == "é€😀 ", "sees the other's text")
    await ben.write("Grüße 👩‍👩‍👧", at=2)
    await anna.until(lambda seen: seen.text == "é€Grüße 👩‍👩‍👧😀 ", "sees the other's text")
    for editor in (anna, ben):
        await editor.until(lambda seen: seen.is_saved, "told that all is durable")


async def test_pycrdts_provider_edits_with_others(open_editor: Open, server: ServerProcess) -> None:
    document = "text/pycrdt ü"
    anna = await open_editor("y-websocket-3", document, "anna").synced()
    await anna.write("é€😀 ")
    async with PycrdtEditor(server.websocket_url, document, token_for("ben")) as ben:
        await ben.synced()
        await until(lambda: ben.text == "é€😀 ", "sees the other's text")
        await ben.write("Grüße")
        await anna.until(lambda seen: seen.text == "é€😀 Grüße", "sees the other's text")


@pytest.mark.parametrize("family", Y_WEBSOCKET[1:])
async def test_a_token_may_travel_as_a_subprotocol(open_editor: Open, family: str) -> None:
    anna = open_editor(family, "text/subprotocol", "anna", asSubprotocol=True)
    await anna.synced()


# Presence


@each_family
async def test_presence_is_mutual_stamped_and_ends(open_editor: Open, family: str) -> None:
    document = f"text/presence-{family}"
    anna = await open_editor(family, document, "anna").synced()
    ben = await open_editor(other_than(family), document, "ben").synced()
    anna_id, ben_id = anna.report.client, ben.report.client
    anna.present(user={"name": "The Boss", "color": "#f00"}, cursor=3)
    ben.present(user={"name": "Nobody"})

    seen = await ben.until(lambda seen: anna_id in seen.presence, "sees the other")
    assert seen.presence[anna_id]["user"] | {"id": "anna"} == {
        "id": "anna",
        "name": "Anna",
        "color": "#f00",
    }
    assert seen.presence[anna_id]["cursor"] == 3
    seen = await anna.until(lambda seen: ben_id in seen.presence, "sees the other")
    assert seen.presence[ben_id]["user"]["name"] == "Ben"

    await anna.leave()
    await ben.until(lambda seen: anna_id not in seen.presence, "sees the other leave")


@each_family
async def test_presence_ends_with_a_cut_line_and_comes_back(open_editor: Open, family: str) -> None:
    document = f"text/cut-{family}"
    anna = await open_editor(family, document, "anna").synced()
    ben = await open_editor(other_than(family), document, "ben").synced()
    anna_id = anna.report.client
    anna.present(cursor=1)
    await ben.until(lambda seen: anna_id in seen.presence, "sees the other")
    anna.ask("disconnect")
    await ben.until(lambda seen: anna_id not in seen.presence, "sees the other gone")
    anna.ask("connect")
    await ben.until(
        lambda seen: seen.presence.get(anna_id, {}).get("cursor") == 1, "sees them again", seconds=5
    )  # before the renewal of presence, which comes after 15 s


# Refusals


@each_family
async def test_a_viewer_reads_and_is_not_deceived(open_editor: Open, family: str) -> None:
    document = f"text/viewer-{family}"
    anna = await open_editor(other_than(family), document, "anna").synced()
    await anna.write("text")
    viewer = await open_editor(family, document, "victor", role="viewer").synced()
    await viewer.until(lambda seen: seen.text == "text", "reads")
    if family in HOCUSPOCUS:
        seen = await viewer.until(lambda seen: not seen.has_unsynced, "nothing to save yet")
        assert seen.scope == "readonly"

    await viewer.write(" graffiti")
    await anna.write("!", at=0)
    seen = await viewer.until(lambda seen: "!" in seen.text, "still follows")
    assert anna.text == "!text"
    assert not seen.is_saved
    if family in Y_WEBSOCKET:
        await viewer.until(lambda seen: seen.refusals, "told why")
    assert viewer.report.opened == 1


@each_family
async def test_a_bad_token_opens_nothing(studio: Studio, server: ServerProcess, family: str) -> None:
    bad = studio.open(family, server.websocket_url, f"text/bad-{family}", "not-a-token")
    seen = await bad.until(lambda seen: seen.refusals, "denied")
    assert not seen.synced
    if family in HOCUSPOCUS:
        assert seen.refusals == ["not-authenticated"]
    else:
        seen = await bad.until(lambda seen: seen.codes, "closed")
        assert seen.codes[0] == 4401
    if family == "y-websocket-3":
        await bad.until(lambda seen: seen.has_stopped, "stopped for good")


async def test_pycrdts_provider_is_closed_with_a_bad_token(server: ServerProcess) -> None:
    async with PycrdtEditor(server.websocket_url, "text/a", "not-a-token") as bad:
        assert await bad.closed() == 4401
        assert not bad.is_synced


async def test_pycrdts_provider_only_reads_as_a_viewer(open_editor: Open, server: ServerProcess) -> None:
    anna = await open_editor("y-websocket-3", "text/pycrdt-viewer", "anna").synced()
    await anna.write("text")
    async with PycrdtEditor(server.websocket_url, "text/pycrdt-viewer", token_for("victor", role="viewer")) as viewer:
        await viewer.synced()
        await viewer.write(" graffiti")
        await anna.write("!", at=0)
        await until(lambda: "!text" in viewer.text, "still follows")
        assert anna.text == "!text"


async def test_pycrdts_provider_is_closed_when_its_user_is_revoked(server: ServerProcess) -> None:
    async with (
        PycrdtEditor(server.websocket_url, "text/pycrdt-revoked", token_for("mallory-pycrdt")) as mallory,
        server.http(token_for("root", role="owner")) as http,
    ):
        await mallory.synced()
        assert (await http.post("/api/revocations", json={"subject": "mallory-pycrdt"})).status_code == 204
        assert await mallory.closed() == 4401


async def test_pycrdts_provider_cannot_bring_a_deleted_document_back(server: ServerProcess) -> None:
    name = "text/pycrdt-deleted"
    async with server.http(token_for("root", role="owner")) as http:
        async with PycrdtEditor(server.websocket_url, name, token_for("anna")) as anna:
            await anna.synced()
            await anna.write("old content")
            assert (await http.delete(f"/api/documents/{name}")).status_code == 200
            assert await anna.closed() == 4404
        async with PycrdtEditor(server.websocket_url, name, token_for("anna"), anna.doc) as again:
            assert await again.closed() == 4404
            assert not again.is_synced
        assert (await http.get(f"/api/documents/{name}")).status_code == 410


@each_family
async def test_a_revoked_user_is_out(open_editor: Open, server: ServerProcess, family: str) -> None:
    subject = f"mallory-{family}"
    document = f"text/revoked-{family}"
    anna = await open_editor(other_than(family), document, "anna").synced()
    mallory = await open_editor(family, document, subject).synced()
    async with server.http(token_for("root", role="owner")) as http:
        answer = await http.post("/api/revocations", json={"subject": subject})
        assert answer.status_code == 204
    seen = await mallory.until(lambda seen: seen.refusals, "told", seconds=5)
    if family in Y_WEBSOCKET:
        seen = await mallory.until(lambda seen: seen.codes, "closed")
        assert seen.codes[0] == 4401
    assert mallory.report.has_stopped == (family == "y-websocket-3")
    await mallory.write("too late")
    await anna.write("!")
    await anna.until(lambda seen: seen.is_saved, "goes on")
    assert anna.text == "!"


@each_family
async def test_deleted_stays_deleted(open_editor: Open, server: ServerProcess, family: str) -> None:
    document = f"text/deleted-{family}"
    anna = await open_editor(family, document, "anna").synced()
    await anna.write("old content")
    await anna.until(lambda seen: seen.is_saved, "saved")
    async with server.http(token_for("root", role="owner")) as http:
        assert (await http.delete(f"/api/documents/{document}")).status_code == 200
        seen = await anna.until(lambda seen: seen.refusals, "told")
        assert "deleted" in seen.refusals[0]

        ben = open_editor(family, document, "ben")
        await ben.write("resurrected")
        seen = await ben.until(lambda seen: seen.refusals, "told")
        assert "deleted" in seen.refusals[0]
        if family in Y_WEBSOCKET:
            seen = await ben.until(lambda seen: seen.codes, "closed")
            assert seen.codes[0] == 4404
        assert seen.has_stopped == (family == "y-websocket-3")
        assert (await http.get(f"/api/documents/{document}")).status_code == 410


async def test_the_denied_do_not_hammer(studio: Studio, server: ServerProcess) -> None:
    """Clients that reconnect whatever they are told are made to slow down by themselves; the others stop."""
    names = lonely_names("denied")
    denied = [studio.open(family, server.websocket_url, names[family], "not-a-token") for family in FAMILIES]
    for editor in denied:
        await editor.until(lambda seen: seen.refusals, "denied")
    await asyncio.sleep(COUNTED_SECONDS)  # the time over which attempts are counted
    attempts = {editor.family: editor.report.attempts for editor in denied}
    assert attempts.pop("y-websocket-3") == 1
    assert [attempts.pop(family) for family in HOCUSPOCUS] == [1, 1, 1]
    assert max(attempts.values()) <= SELDOM, attempts


COUNTED_SECONDS = 5.0
SELDOM = 3
"""The first attempt is answered at once, the others after a pause of 3 s."""


async def test_a_text_message_closes_its_sender(server: ServerProcess) -> None:
    async with PycrdtEditor(server.websocket_url, "text/a", token_for("anna")) as anna:
        await anna.synced()
        await anna.say("hello")
        assert await anna.closed() == 1003


# Coming back


def lonely_names(prefix: str) -> dict[str, str]:
    return {family: f"text/{prefix}-{family}" for family in FAMILIES}


@pytest.mark.parametrize("end", ["drain", "kill"])
async def test_offline_edits_arrive_after_a_restart(studio: Studio, tmp_path: Path, end: str) -> None:
    """All clients share a document while the server goes and comes."""
    async with ServerProcess(tmp_path) as server:
        url = server.websocket_url
        editors = [studio.open(family, url, "text/all", token_for(family)) for family in FAMILIES]
        for editor in editors:
            await editor.synced()
            await editor.write(f"<{editor.family} before>")
        for editor in editors:
            await editor.until(lambda seen: seen.is_saved, "saved")
        if end == "drain":
            assert await server.stop() == 0
        else:
            await server.kill()
        code = 1012 if end == "drain" else 1006
        for editor in editors:
            seen = await editor.until(lambda seen: not seen.is_connected, "disconnected")
            assert seen.codes[0] == code, editor.family
            await editor.write(f"<{editor.family} offline>")

        await server.start()
        words = [f"<{family} {when}>" for family in FAMILIES for when in ("before", "offline")]
        for editor in editors:
            await editor.until(lambda seen: all(word in seen.text for word in words), "has it all")
            await editor.until(lambda seen: seen.is_saved, "told that all is durable")
        assert len({editor.text for editor in editors}) == 1
        async with PycrdtEditor(url, "text/all", token_for("witness")) as witness:
            await witness.synced()
            assert witness.text == editors[0].text
        studio.clear()


@pytest.mark.parametrize(("end", "code"), [("drain", 1012), ("kill", 1006)])
async def test_pycrdts_provider_brings_its_offline_edits(tmp_path: Path, end: str, code: int) -> None:
    async with ServerProcess(tmp_path) as server:
        async with PycrdtEditor(server.websocket_url, "a", token_for("anna")) as anna:
            await anna.synced()
            await anna.write("before ")
            await (server.kill() if end == "kill" else server.stop())
            assert await anna.closed() == code
            await anna.write("offline")
        await server.start()
        again = PycrdtEditor(server.websocket_url, "a", token_for("anna"), anna.doc)
        ben = PycrdtEditor(server.websocket_url, "a", token_for("ben"))
        async with again, ben:
            await until(lambda: ben.text == "before offline", "the other sees it all")


async def test_nothing_is_called_saved_while_the_database_is_locked(studio: Studio, tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server:
        names = lonely_names("locked")
        editors = [studio.open(family, server.websocket_url, names[family], token_for("anna")) for family in FAMILIES]
        for editor in editors:
            await editor.synced()
            await editor.until(lambda seen: seen.is_saved, "nothing to save")
        locked = sqlite3.connect(tmp_path / "quorate.db", isolation_level=None, timeout=10)
        locked.execute("BEGIN EXCLUSIVE")
        for editor in editors:
            await editor.write("one")
            await editor.write("two")
        await asyncio.sleep(OUTAGE_SECONDS)  # the outage itself
        for editor in editors:
            seen = editor.report
            assert not seen.is_saved, editor.family
            assert seen.unsynced == 2 if editor.family in HOCUSPOCUS else seen.unconfirmed == 6, seen
        locked.execute("ROLLBACK")
        locked.close()
        for editor in editors:
            seen = await editor.until(lambda seen: seen.is_saved, "saved")
            assert (seen.unsynced, seen.attempts) == (0, 1)
        studio.clear()


OUTAGE_SECONDS = 1.5


# Resting


async def test_resting_clients_stay_connected(studio: Studio, server: ServerProcess) -> None:
    """Stock clients reconnect if they hear nothing for 30 s; what they hear is the echo of their presence."""
    url, names = server.websocket_url, lonely_names("lonely")
    together = [studio.open(family, url, "text/rest", token_for(family)) for family in FAMILIES]
    lonely = [studio.open(family, url, names[family], token_for(family)) for family in FAMILIES]
    editors = together + lonely
    for editor in editors:
        await editor.synced()
        editor.present(cursor=1)
    async with PycrdtEditor(url, "text/rest-pycrdt", token_for("pycrdt")) as silent:
        await silent.synced()
        await until_time(time.time() + RESTING_SECONDS)
        await silent.write("awake")
        async with PycrdtEditor(url, "text/rest-pycrdt", token_for("pycrdt")) as other:
            await until(lambda: other.text == "awake", "the silent one was not cut off")
    assert {f"{editor.family} {editor.report.attempts}" for editor in editors} == {f"{family} 1" for family in FAMILIES}
    clients = {editor.report.client for editor in together}
    for editor in together:
        await editor.until(lambda seen: set(seen.presence) == clients, "everybody is still present")
        await editor.write(editor.family)
    for editor in together:
        await editor.until(lambda seen: all(name in seen.text for name in FAMILIES), "still follows")


RESTING_SECONDS = 70.0


# What only Hocuspocus has


@each_hocuspocus
async def test_many_documents_share_a_socket(open_editor: Open, family: str) -> None:
    """More at once than may wait for their tokens."""
    names = [f"text/many-{family}-{number}" for number in range(30)]
    many = [open_editor(family, name, "anna", socket="shared") for name in names]
    for number, editor in enumerate(many):
        await editor.write(str(number))
    for editor in many:
        seen = await editor.until(lambda seen: seen.is_saved, "saved")
        assert seen.opened == 1
    witness = await open_editor("y-websocket-3", names[17], "ben").synced()
    assert witness.text == "17"
    await many[17].leave()
    await witness.write("!")
    await many[16].write("!")
    await many[16].until(lambda seen: seen.is_saved and seen.text == "16!", "the others go on")


async def test_sessions_of_one_document_share_a_socket(studio: Studio, server: ServerProcess) -> None:
    anna, ben = (
        studio.open(
            "hocuspocus-4",
            server.websocket_url,
            "text/sessions",
            token_for(subject, name=subject.title()),
            socket="shared",
            options={"sessionAwareness": True},
        )
        for subject in ("anna", "ben")
    )
    await anna.synced()
    await ben.synced()
    await anna.write("é")
    await ben.until(lambda seen: seen.text == "é", "sees the other's text")
    client = anna.report.client
    anna.present(cursor=1)
    seen = await ben.until(lambda seen: client in seen.presence, "sees the other")
    assert seen.presence[client]["user"]["name"] == "Anna"
    await anna.leave()
    seen = await ben.until(lambda seen: client not in seen.presence, "sees the other leave")
    await ben.write("!")
    seen = await ben.until(lambda seen: seen.is_saved, "saved")
    assert seen.opened == 1


@pytest.mark.parametrize("family", HOCUSPOCUS[1:])
async def test_a_fresh_token_carries_the_connection_on(studio: Studio, server: ServerProcess, family: str) -> None:
    ends_at = time.time() + 2
    short, fresh = token_for("anna", seconds=2), token_for("anna")
    anna = await studio.open(family, server.websocket_url, "text/a", short, fresh).synced()
    await anna.until(lambda seen: seen.tokens_given == 2, "asked for a fresh token")
    await until_time(ends_at + 1)
    await anna.write("!")
    seen = await anna.until(lambda seen: seen.is_saved, "saved")
    assert (seen.attempts, seen.refusals, seen.tokens_given) == (1, [], 2)


async def test_who_cannot_be_asked_brings_a_fresh_token_by_reconnecting(studio: Studio, server: ServerProcess) -> None:
    short, fresh = token_for("anna", seconds=2), token_for("anna")
    anna = await studio.open("hocuspocus-2", server.websocket_url, "text/a", short, fresh).synced()
    seen = await anna.until(lambda seen: seen.opened == 2 and seen.synced, "came back")
    await anna.write("!")
    seen = await anna.until(lambda seen: seen.is_saved, "saved")
    assert (seen.codes, seen.refusals, seen.tokens_given) == ([4408], [], 2)


@pytest.mark.parametrize("family", HOCUSPOCUS[1:])
async def test_a_token_that_is_not_replaced_ends_the_document(
    studio: Studio, server: ServerProcess, family: str
) -> None:
    anna = studio.open(family, server.websocket_url, "text/a", token_for("anna", seconds=2))
    seen = await anna.until(lambda seen: seen.refusals, "denied")
    assert seen.refusals == ["not-authenticated"]
    assert (seen.attempts, seen.tokens_given) == (1, 2)


@each_hocuspocus
async def test_stateless_messages_break_nothing(open_editor: Open, family: str) -> None:
    anna = await open_editor(family, f"text/stateless-{family}", "anna").synced()
    anna.ask("sendStateless", payload="Grüße 😀")
    await anna.write("!")
    seen = await anna.until(lambda seen: seen.is_saved, "saved")
    assert seen.opened == 1


@each_hocuspocus
async def test_a_forced_sync_is_acknowledged(open_editor: Open, family: str) -> None:
    anna = await open_editor(family, f"text/forced-{family}", "anna").synced()
    await anna.until(lambda seen: seen.is_saved, "saved")
    anna.ask("forceSync")
    await anna.write("!")
    seen = await anna.until(lambda seen: seen.is_saved, "saved")
    assert seen.unsynced == 0


async def test_batched_edits_are_acknowledged(open_editor: Open) -> None:
    anna = open_editor("hocuspocus-4", "text/batched", "anna", options={"flushDelay": 50})
    await anna.synced()
    for letter in "batched":
        await anna.write(letter)
    assert anna.report.has_unsynced
    seen = await anna.until(lambda seen: seen.is_saved, "saved")
    assert (seen.unsynced, seen.text) == (0, "batched")
