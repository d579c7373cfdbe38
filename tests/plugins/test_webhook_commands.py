"""The commands about webhooks: who may give them, what they change, and where secrets are seen."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from pydantic import ValidationError

from quorate_plugins.webhooks import Webhooks
from quorate_plugins.webhooks import messages as webhooks_messages
from quorate_server.errors import AccessDenied, Conflict
from tests.plugins.posting_houses import (
    SECRET_MARK,
    ask,
    open_webhooks,
    publish,
    settled,
)
from tests.plugins.receivers import receiving
from tests.server.houses import person, until


async def test_both_secrets_sign_for_a_day(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_webhooks(tmp_path) as house, receiving() as receiver:
        made = await ask(house, "create", url=receiver.url)
        renewed = await ask(house, "rotate", id=made["id"])
        assert renewed["secret"] != made["secret"]
        await publish(house, "thing.done")
        await until(lambda: receiver.got, "came")
        receiver.got[0].verify(made["secret"])
        receiver.got[0].verify(renewed["secret"])

        shift = 86_500.0
        monkeypatch.setattr(Webhooks, "clock", staticmethod(lambda: time.time() + shift))
        await publish(house, "thing.done")
        await until(lambda: len(receiver.got) == 2, "came")
        late = receiver.got[1]
        # Its time is a day ahead, which the library refuses: so compare by hand.
        body, at = late.body, float(late.headers["webhook-timestamp"])
        expected = webhooks_messages.headers_of(late.id, body, [renewed["secret"]], at)
        assert late.headers["webhook-signature"] == expected["webhook-signature"]


async def test_a_rotation_during_a_delivery_is_not_lost(tmp_path: object) -> None:
    """The engine notes what became of a delivery in the endpoint as it is then, not as it was when it began."""
    async with open_webhooks(tmp_path) as house:
        ports = asyncio.get_running_loop().create_future()

        async def gone_after_rotation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            ports.set_result(await ask(house, "rotate", id=key))
            writer.write(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(gone_after_rotation, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            key = (await ask(house, "create", url=f"http://127.0.0.1:{port}/"))["id"]
            await publish(house, "thing.done")
            renewed = await ports
            await settled(house, ("dead", 1, "the receiver answered 410 Gone"))
        kept = json.loads((await house.rooms.store.read_values("webhooks"))[f"endpoint/{key}"])
        assert (kept["secrets"][0], kept["is_disabled"]) == (renewed["secret"], True)


async def test_secrets_are_shown_once_and_stand_in_no_audit_chain(tmp_path: object) -> None:
    async with open_webhooks(tmp_path) as house, receiving() as receiver:
        url = f"{receiver.url}/T0KEN-IN-THE-PATH"
        made = await ask(house, "create", url=url)
        await ask(house, "rotate", id=made["id"])
        changed = await ask(house, "update", id=made["id"], types=["thing.*"])
        assert SECRET_MARK not in json.dumps([await ask(house, "list"), changed])
        await ask(house, "delete", id=made["id"])
        chain = await house.rooms.store.read_audit(after=0)
        said = b"".join(record.body for record in chain) + repr([record.texts for record in chain]).encode()
        assert b"webhook.created" in said
        assert SECRET_MARK.encode() not in said
        assert made["secret"].removeprefix(SECRET_MARK).encode() not in said
        assert b"T0KEN" not in said


# Commands


@pytest.mark.parametrize("role", ["editor", "reviewer", "viewer", "guest"])
@pytest.mark.parametrize(
    "command", ["create", "update", "delete", "list", "rotate", "enable", "test", "deliveries", "replay"]
)
async def test_commands_are_for_administrators(tmp_path: object, role: str, command: str) -> None:
    async with open_webhooks(tmp_path) as house:
        values = {} if command == "list" else {"url": "http://127.0.0.1:1/"} if command == "create" else {"id": "wh_1"}
        with pytest.raises(AccessDenied):
            await ask(house, command, user=person("anna", role=role), **values)
        assert (await ask(house, "list"))["endpoints"] == []


async def test_an_endpoint_is_changed_tested_and_removed(tmp_path: object) -> None:
    async with open_webhooks(tmp_path) as house, receiving() as old, receiving() as new:
        made = await ask(house, "create", url=old.url, types=["thing.*"])
        changed = await ask(house, "update", id=made["id"], url=new.url)
        assert (changed["url"], changed["types"]) == (new.url, ["thing.*"])
        message = (await ask(house, "test", id=made["id"]))["message"]
        await until(lambda: new.got, "the test came")
        new.got[0].verify(made["secret"])
        assert (new.ids, new.types) == ([message], ["quorate.webhooks.test"])
        await ask(house, "delete", id=made["id"])
        await publish(house, "thing.done")
        assert (await ask(house, "list"))["endpoints"] == []
        for command in ("update", "delete", "rotate", "enable", "test", "deliveries", "replay"):
            with pytest.raises(Conflict, match="no endpoint"):
                await ask(house, command, id=made["id"])
        assert old.got == []


async def test_creating_is_done_once_for_one_key(tmp_path: object) -> None:
    async with open_webhooks(tmp_path) as house, receiving() as receiver:
        first = await ask(house, "create", url=receiver.url, key="k")
        assert await ask(house, "create", url=receiver.url, key="k") == first
        assert len((await ask(house, "list"))["endpoints"]) == 1


async def test_there_is_a_most_of_endpoints(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quorate_plugins.webhooks.endpoints.MAX_ENDPOINTS", 3)
    async with open_webhooks(tmp_path) as house:
        asked = [ask(house, "create", url=f"http://127.0.0.1:1/{number}") for number in range(6)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(answer, Conflict) for answer in answers) == 3
        assert len((await ask(house, "list"))["endpoints"]) == 3


@pytest.mark.parametrize("types", [["a b"], ["*a"], [""], ["x" * 200], ["a"] * 51])
async def test_filters_that_match_nothing_are_refused(tmp_path: object, types: list[str]) -> None:
    async with open_webhooks(tmp_path) as house:
        with pytest.raises(ValidationError):
            await ask(house, "create", url="http://127.0.0.1:1/", types=types)
