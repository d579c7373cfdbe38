"""`/channel` on a real server: commands, the change feed, rights, kills, and the Python client over all of that."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from quorate_client import Change, Client, Disconnected, ProblemError
from quorate_protocol.channel_envelopes import (
    CommandRequest,
    FeedEvent,
    Hello,
    Json,
    Progress,
    Reply,
    Subscribe,
    SubscriptionClosed,
    Unsubscribe,
    Welcome,
)
from tests.system.channels import ChannelPeer
from tests.system.peers import until
from tests.system.servers import ServerProcess, token_for

OWNER = token_for("owner", role="owner")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    running = ServerProcess(tmp_path_factory.mktemp("channel")).start_now()
    yield running
    running.kill_now()


@pytest.fixture
async def peer(server: ServerProcess) -> AsyncIterator[ChannelPeer]:
    async with ChannelPeer(server.websocket_url, OWNER) as opened:
        await opened.welcomed()
        yield opened


async def create(server: ServerProcess, *names: str) -> None:
    async with server.http(OWNER) as http:
        for name in names:
            assert (await http.post("/api/documents", json={"name": name})).status_code == 201


def share(artifact: str, who: str, *, number: int = 1, key: str = "", role: str = "viewer") -> CommandRequest:
    values = {"artifact": artifact, "principal": f"user:{who}", "role": role}
    return CommandRequest(id=number, name="access.share", values=values, key=key)


def code_of(problem: Json | None) -> str:
    assert problem is not None
    assert problem["title"]
    assert problem["detail"]
    return str(problem["type"]).removeprefix("urn:quorate:problem:")


def told(event: Json) -> tuple[str, str]:
    return str(event["type"]).removeprefix("quorate."), str(event["subject"])


# Who is there


async def test_a_token_may_come_with_the_request_or_in_a_hello(server: ServerProcess) -> None:
    async with ChannelPeer(server.websocket_url, None, header=token_for("anna")) as peer:
        await peer.say(Unsubscribe(id=1))  # without waiting
        assert (await peer.welcomed()).user == "anna"
        await peer.say(Hello(token=token_for("anna")))
        assert (await peer.welcomed()).user == "anna"
        await peer.say(Hello(token=token_for("ben")))
        problem, code = await peer.end()
        assert (code_of(problem), code) == ("try-again", 1013)


@pytest.mark.parametrize("way", ["hello", "header"])
async def test_a_token_that_proves_nothing_is_told_so(server: ServerProcess, way: str) -> None:
    wrong = f"no-token-{way}"
    token, header = (wrong, "") if way == "hello" else (None, wrong)
    async with ChannelPeer(server.websocket_url, token, header=header) as peer:
        problem, code = await peer.end()
    assert (code_of(problem), code) == ("not-authenticated", 4401)


async def test_who_says_nothing_is_let_go(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path, environment={"QUORATE_HANDSHAKE_SECONDS": "0.2"}) as server:
        async with ChannelPeer(server.websocket_url, None) as peer:
            problem, code = await peer.end()
    assert (code_of(problem), code) == ("try-again", 1013)


@pytest.mark.parametrize(
    ("message", "said", "code"),
    [
        (b"\x80", "expected `type` to be one of hello, command, subscribe, unsubscribe, received nothing", 1007),
        (b"\xc1", "expected one msgpack map, received something else", 1007),
        (bytes(2**20 + 1), "channel_frame_bytes is limited to 1048576, received 1048577", 1009),
    ],
)
async def test_a_malformed_envelope_is_told_what_was_expected(
    peer: ChannelPeer, message: bytes, said: str, code: int
) -> None:
    await peer.socket.send(message)
    problem, closed = await peer.end()
    assert problem is not None
    assert (problem["detail"], closed) == (said, code)


async def test_a_revoked_token_ends_its_socket(server: ServerProcess) -> None:
    async with ChannelPeer(server.websocket_url, token_for("mallory")) as peer:
        await peer.welcomed()
        await peer.subscribed(Subscribe(id=1))
        async with server.http(OWNER) as http:
            await http.post("/api/revocations", json={"subject": "mallory"})
        await peer.say(share("text/nowhere", "x"))
        assert code_of((await peer.find(Reply)).problem) == "not-authenticated"
        began = time.monotonic()
        problem, code = await peer.end()
    assert (code_of(problem), code) == ("not-authenticated", 4401)
    assert time.monotonic() - began < 5


# Commands


async def test_many_commands_at_once_are_each_answered(server: ServerProcess, peer: ChannelPeer) -> None:
    names = [f"text/many-{number}" for number in range(8)]
    await create(server, *names)
    asked = [share(names[number % 8], f"u{number}", number=number) for number in range(300)]
    await peer.say(*asked)
    replies = [await peer.next() for _ in asked]
    assert all(isinstance(reply, Reply) and reply.answer == {"changed": True} for reply in replies)
    assert sorted(reply.id for reply in replies if isinstance(reply, Reply)) == list(range(300))


async def test_a_command_repeated_with_its_key_is_done_once(server: ServerProcess, peer: ChannelPeer) -> None:
    await create(server, "text/once")
    head = await peer_position(server)
    for number in (1, 2, 3):
        await peer.say(share("text/once", "ben", number=number, key="k-1"))
    assert [(await peer.find(Reply)).answer for _ in range(3)] == [{"changed": True}] * 3
    async with server.http(OWNER) as http:
        found = (await http.get("/api/changes", params={"after": str(head)})).json()["changes"]
    assert [change["type"] for change in found if change["subject"] == "text/once"] == ["quorate.access.changed"]
    await peer.say(share("text/once", "somebody-else", key="k-1"))
    assert code_of((await peer.find(Reply)).problem) == "key-reused"


async def peer_position(server: ServerProcess) -> int:
    async with ChannelPeer(server.websocket_url, OWNER) as peer:
        return (await peer.welcomed()).position


@pytest.mark.parametrize(
    ("name", "values", "code"),
    [
        ("access.nothing", {}, "command-unknown"),
        ("access.share", {}, "invalid"),
        ("access.share", {"artifact": "nowhere", "principal": "user:a", "role": "viewer"}, "not-found"),
        ("access.share_kind", {"kind": "poem", "principal": "user:a"}, "conflict"),
    ],
)
async def test_a_command_that_is_refused_is_answered_with_its_problem(
    peer: ChannelPeer, name: str, values: Mapping[str, object], code: str
) -> None:
    await peer.say(CommandRequest(id=9, name=name, values=values))
    reply = await peer.find(Reply)
    assert (reply.id, code_of(reply.problem)) == (9, code)
    await peer.say(Hello())
    assert isinstance(await peer.next(), Welcome)  # the socket goes on


# The feed


async def test_a_subscription_gets_what_fits_and_is_told_how_far_it_is(
    server: ServerProcess, peer: ChannelPeer
) -> None:
    start = await peer_position(server)
    await create(server, "code/fit", "text/fit", "text/other")
    await peer.say(
        share("code/fit", "a", number=1), share("text/fit", "a", number=2), share("text/other", "a", number=3)
    )
    wanted = {
        1: Subscribe(id=1, after=start, types=("access.*",)),
        2: Subscribe(id=2, after=start, types=("quorate.document.created",), prefix="text/"),
        3: Subscribe(id=3, after=start, kinds=("code",)),
        4: Subscribe(id=4, after=start, prefix="nothing/"),
    }
    replied = [await peer.find(Reply) for _ in range(3)]
    assert all(reply.problem is None for reply in replied)
    await peer.say(*wanted.values())
    head = await peer_position(server)
    found: dict[int, list[tuple[str, str]]] = {number: [] for number in wanted}
    positions = dict.fromkeys(wanted, 0)
    while min(positions.values()) < head:
        envelope = await peer.next()
        assert isinstance(envelope, (FeedEvent, Progress)), envelope
        positions[envelope.subscription] = envelope.position
        if isinstance(envelope, FeedEvent):
            found[envelope.subscription].append(told(envelope.event))
    assert {document for _, document in found[1]} == {"code/fit", "text/fit", "text/other"}
    assert {type_ for type_, _ in found[1]} == {"access.changed"}
    assert found[2] == [("document.created", "text/fit"), ("document.created", "text/other")]
    assert found[3] == [("document.created", "code/fit"), ("access.changed", "code/fit")]
    assert found[4] == []


async def test_a_position_beyond_the_end_is_refused_alone(peer: ChannelPeer) -> None:
    await peer.say(Subscribe(id=1, after=10**9), Subscribe(id=2))
    closed = await peer.find(SubscriptionClosed)
    assert (closed.subscription, code_of(closed.problem)) == (1, "conflict")


async def test_a_subscription_too_many_is_refused_alone(peer: ChannelPeer) -> None:
    await peer.say(*(Subscribe(id=number) for number in range(21)))
    closed = await peer.find(SubscriptionClosed)
    assert (closed.subscription, code_of(closed.problem)) == (20, "too-large")
    await peer.say(Unsubscribe(id=3))
    assert await peer.find(SubscriptionClosed) == SubscriptionClosed(subscription=3)
    await peer.say(Subscribe(id=3))
    while not (isinstance(found := await peer.next(), Progress) and found.subscription == 3):
        pass


async def test_whoever_may_not_read_a_document_hears_nothing_of_it(server: ServerProcess) -> None:
    await create(server, "text/secret", "text/open")
    async with ChannelPeer(server.websocket_url, token_for("gast", role="guest")) as guest:
        await guest.welcomed()
        await guest.subscribed(Subscribe(id=1))
        async with Client(server.url, token=OWNER) as owner:

            async def access(command: str, artifact: str, who: str, **more: str) -> None:
                await owner.command(command, {"artifact": artifact, "principal": f"user:{who}", **more})

            await access("access.share", "text/secret", "x", role="viewer")
            await access("access.share", "text/open", "gast", role="viewer")
            assert told(await guest.event()) == ("access.changed", "text/open")
            await access("access.revoke", "text/open", "gast")
            await access("access.share", "text/open", "unseen", role="viewer")
            await access("access.share", "text/open", "gast", role="viewer")
            event = await guest.event()
    assert event["data"] == {"actor": "owner", "scope": "text/open", "principal": "user:gast", "role": "viewer"}


async def test_a_reader_resumed_a_thousand_times_misses_nothing(server: ServerProcess) -> None:
    """Each change at least once, in order for each document, wherever a socket was cut."""
    names = [f"text/resume-{number}" for number in range(5)]
    start = await peer_position(server)
    await create(server, *names)
    source = random.Random(7)
    seen: dict[int, str] = {}
    position = start
    async with Client(server.url, token=OWNER) as client:
        stop = asyncio.Event()
        writing = asyncio.create_task(write_until(stop, client, names))
        for _ in range(1000):
            got = await read_some(server, position, source.randrange(3))
            assert [p for p, _ in got] == sorted({p for p, _ in got}), "in order, on each socket"
            seen |= dict(got)
            # What was read and not yet dealt with is read again.
            position = source.choice([position, *(p for p, _ in got)])
        stop.set()
        await writing
        head = await peer_position(server)
        async for change in client.changes(after=position, prefix="text/resume-", until=head):
            seen[change.position] = change.document
    async with server.http(OWNER) as http:
        assert list(seen.items()) == await all_changes(http, start, "text/resume-")


async def read_some(server: ServerProcess, after: int, count: int) -> list[tuple[int, str]]:
    """Read so many events on a new socket and cut it."""
    async with ChannelPeer(server.websocket_url, None, header=OWNER) as peer:
        await peer.say(Subscribe(id=1, after=after, prefix="text/resume-"))
        events = [await peer.find(FeedEvent) for _ in range(count)]
        peer.socket.transport.abort()
    return [(event.position, str(event.event["subject"])) for event in events]


async def write_until(stop: asyncio.Event, client: Client, names: list[str]) -> None:
    number = 0
    while not stop.is_set():
        values = [{"artifact": name, "principal": f"user:u{number}", "role": "viewer"} for name in names]
        await asyncio.gather(*(client.command("access.share", one) for one in values))
        number += 1


async def all_changes(http: httpx.AsyncClient, after: int, prefix: str) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    while True:
        page: dict[str, Any] = (await http.get("/api/changes", params={"after": after, "limit": 1000})).json()
        if page["next"] == after:
            return found
        after = page["next"]
        found += [(int(c["id"]), c["subject"]) for c in page["changes"] if c["subject"].startswith(prefix)]


# The client


async def test_a_client_goes_on_after_kills(tmp_path: Path) -> None:
    """Commands given while the server dies are done once, and a reader of the feed misses none of them."""
    async with ServerProcess(tmp_path, environment={"QUORATE_LEASE_SECONDS": "1"}) as server:
        await create(server, "text/killed")
        async with Client(server.url, token=OWNER) as client:
            seen: list[Change] = []

            async def read() -> None:
                async for change in client.changes(after=0, types=["access.changed"]):
                    seen.append(change)  # noqa: PERF401 - what came is looked at meanwhile

            reading = asyncio.create_task(read())
            for life in range(3):
                given = [
                    asyncio.create_task(
                        client.command(
                            "access.share",
                            {"artifact": "text/killed", "principal": f"user:{life}-{n}", "role": "viewer"},
                        )
                    )
                    for n in range(20)
                ]
                await asyncio.wait(given, return_when=asyncio.FIRST_COMPLETED)
                await server.kill()
                await server.start()
                assert [await answer for answer in given] == [{"changed": True}] * 20
            await until(lambda: len(seen) >= 60, "every change was read")
            reading.cancel()
    assert [change.position for change in seen] == sorted({change.position for change in seen})
    done = sorted(str(change.data["principal"]) for change in seen)
    assert done == sorted(f"user:{life}-{n}" for life in range(3) for n in range(20))


async def test_a_client_shows_a_fresh_token_when_the_old_one_expires(tmp_path: Path) -> None:
    made: list[str] = []

    def fresh() -> str:
        made.append(token_for("anna", role="owner", seconds=3 if len(made) < 2 else 3600))
        return made[-1]

    async with ServerProcess(tmp_path, environment={"QUORATE_RECHECK_SECONDS": "0.1"}) as server:
        await create(server, "text/a")
        async with Client(server.url, token=fresh) as client:
            feed = client.changes(after=0)
            assert (await anext(feed)).type == "document.created"
            assert len(made) == 2
            await until(lambda: len(made) >= 3, "a token was asked for anew")
            values = {"artifact": "text/a", "principal": "user:b", "role": "viewer"}
            assert await client.command("access.share", values) == {"changed": True}
            assert (await anext(feed)).type == "access.changed"
            await feed.aclose()


async def test_a_client_says_why_it_cannot_go_on(server: ServerProcess) -> None:
    with pytest.raises(ProblemError) as refused:
        await Client(server.url, token="wrong").__aenter__()
    assert (refused.value.code, refused.value.status) == ("not-authenticated", 401)
    with pytest.raises(Disconnected):
        await Client("http://127.0.0.1:9").__aenter__()
    with pytest.raises(ProblemError) as lost:
        await Client(f"{server.url}/elsewhere", token=OWNER).__aenter__()
    assert lost.value.status in {403, 404}
    async with Client(server.url, token=OWNER) as client:
        with pytest.raises(ProblemError) as unknown:
            await client.command("no.such")
        assert unknown.value.code == "command-unknown"
        with pytest.raises(ProblemError) as beyond:
            await anext(client.changes(after=10**9))
        assert beyond.value.code == "conflict"


async def test_a_command_fails_when_patience_ends(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server, Client(server.url, token=OWNER, patience_seconds=0.1) as client:
        await server.kill()
        with pytest.raises(Disconnected):
            await client.command("no.such")
